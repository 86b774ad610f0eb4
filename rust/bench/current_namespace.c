// SPDX-License-Identifier: GPL-2.0
/* The per-CPU "current namespace" of current_namespace.rs: a cookie. */

#include <linux/percpu.h>
#include <linux/preempt.h>
#include <linux/sched.h>
#include <linux/nsproxy.h>
#include <net/net_namespace.h>

static DEFINE_PER_CPU(u64, rnetns_bench_current);

void rnetns_bench_current_cookie_set(u64 cookie);
void rnetns_bench_current_cookie_set(u64 cookie)
{
	this_cpu_write(rnetns_bench_current, cookie);
}

u64 rnetns_bench_current_cookie(void);
u64 rnetns_bench_current_cookie(void)
{
	return this_cpu_read(rnetns_bench_current);
}

/* The namespace of the process that runs; 0 if none does, as in a softirq. */
u64 rnetns_bench_process_cookie(void);
u64 rnetns_bench_process_cookie(void)
{
	if (in_hardirq() || in_serving_softirq() || !current->nsproxy)
		return 0;
	return current->nsproxy->net_ns->net_cookie;
}
