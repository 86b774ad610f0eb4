// SPDX-License-Identifier: ((GPL-2.0 WITH Linux-syscall-note) OR BSD-3-Clause)
/* Do not edit directly, auto-generated from: */
/*	Documentation/netlink/specs/rnetns.yaml */
/* YNL-GEN kernel source */
/* To regenerate run: tools/net/ynl/ynl-regen.sh */

#include <net/netlink.h>
#include <net/genetlink.h>

#include "rnetns_netlink_gen.h"

#include <uapi/linux/rnetns.h>

/* Integer value ranges */
static const struct netlink_range_validation rnetns_a_timeout_range = {
	.min	= 1ULL,
	.max	= 86400ULL,
};

static const struct netlink_range_validation rnetns_flush_a_ifindex_range = {
	.min	= 1ULL,
	.max	= S32_MAX,
};

/* RNETNS_CMD_CACHE_SET - do */
static const struct nla_policy rnetns_cache_set_nl_policy[RNETNS_A_ENABLED + 1] = {
	[RNETNS_A_QUOTA] = NLA_POLICY_MIN(NLA_U32, 1),
	[RNETNS_A_TIMEOUT] = NLA_POLICY_FULL_RANGE(NLA_U32, &rnetns_a_timeout_range),
	[RNETNS_A_ENABLED] = NLA_POLICY_MAX(NLA_U32, 1),
};

/* RNETNS_CMD_ENTRY_GET - dump */
static const struct nla_policy rnetns_entry_get_nl_policy[RNETNS_ENTRY_A_DST_LEN + 1] = {
	[RNETNS_ENTRY_A_FAMILY] = NLA_POLICY_MAX(NLA_U32, 10),
	[RNETNS_ENTRY_A_DST4] = { .type = NLA_BE32, },
	[RNETNS_ENTRY_A_DST6] = NLA_POLICY_EXACT_LEN(16),
	[RNETNS_ENTRY_A_DST_LEN] = NLA_POLICY_MAX(NLA_U32, 128),
};

/* RNETNS_CMD_FLUSH - do */
static const struct nla_policy rnetns_flush_nl_policy[RNETNS_FLUSH_A_DST_LEN + 1] = {
	[RNETNS_FLUSH_A_IFINDEX] = NLA_POLICY_FULL_RANGE(NLA_U32, &rnetns_flush_a_ifindex_range),
	[RNETNS_FLUSH_A_DST4] = { .type = NLA_BE32, },
	[RNETNS_FLUSH_A_DST6] = NLA_POLICY_EXACT_LEN(16),
	[RNETNS_FLUSH_A_DST_LEN] = NLA_POLICY_MAX(NLA_U32, 128),
};

/* Ops table for rnetns */
static const struct genl_split_ops rnetns_nl_ops[] = {
	{
		.cmd	= RNETNS_CMD_CACHE_GET,
		.doit	= rnetns_nl_cache_get_doit,
		.flags	= GENL_CMD_CAP_DO,
	},
	{
		.cmd		= RNETNS_CMD_CACHE_SET,
		.doit		= rnetns_nl_cache_set_doit,
		.policy		= rnetns_cache_set_nl_policy,
		.maxattr	= RNETNS_A_ENABLED,
		.flags		= GENL_UNS_ADMIN_PERM | GENL_CMD_CAP_DO,
	},
	{
		.cmd		= RNETNS_CMD_ENTRY_GET,
		.dumpit		= rnetns_nl_entry_get_dumpit,
		.policy		= rnetns_entry_get_nl_policy,
		.maxattr	= RNETNS_ENTRY_A_DST_LEN,
		.flags		= GENL_UNS_ADMIN_PERM | GENL_CMD_CAP_DUMP,
	},
	{
		.cmd		= RNETNS_CMD_FLUSH,
		.doit		= rnetns_nl_flush_doit,
		.policy		= rnetns_flush_nl_policy,
		.maxattr	= RNETNS_FLUSH_A_DST_LEN,
		.flags		= GENL_UNS_ADMIN_PERM | GENL_CMD_CAP_DO,
	},
};

static const struct genl_multicast_group rnetns_nl_mcgrps[] = {
	[RNETNS_NLGRP_EVENTS] = { "events", },
};

struct genl_family rnetns_nl_family __ro_after_init = {
	.name		= RNETNS_FAMILY_NAME,
	.version	= RNETNS_FAMILY_VERSION,
	.netnsok	= true,
	.parallel_ops	= true,
	.module		= THIS_MODULE,
	.split_ops	= rnetns_nl_ops,
	.n_split_ops	= ARRAY_SIZE(rnetns_nl_ops),
	.mcgrps		= rnetns_nl_mcgrps,
	.n_mcgrps	= ARRAY_SIZE(rnetns_nl_mcgrps),
};
