// SPDX-License-Identifier: GPL-2.0
/* A family without operations, as those that are generated, for misuse.rs. */

#include <linux/module.h>
#include <net/genetlink.h>

static const struct genl_multicast_group rnetns_bench_groups[] = {
	{ "events", },
};

extern struct genl_family rnetns_bench_family;
struct genl_family rnetns_bench_family __ro_after_init = {
	.name		= "rnetns_bench",
	.version	= 1,
	.netnsok	= true,
	.parallel_ops	= true,
	.module		= THIS_MODULE,
	.mcgrps		= rnetns_bench_groups,
	.n_mcgrps	= ARRAY_SIZE(rnetns_bench_groups),
};
