// SPDX-License-Identifier: GPL-2.0
/*
 * The C twin of state.rs: the same structure in each namespace, found by
 * net_generic(), in the same loops. And the namespace as an argument against a
 * per-CPU "current namespace".
 */

#include <linux/percpu.h>
#include <net/net_namespace.h>
#include <net/netns/generic.h>

struct rnetns_bench_state {
	u64 value;
};

static unsigned int rnetns_bench_id __read_mostly;

static int __net_init rnetns_bench_state_init(struct net *net)
{
	struct rnetns_bench_state *state = net_generic(net, rnetns_bench_id);

	state->value = 1;
	return 0;
}

static struct pernet_operations rnetns_bench_ops = {
	.init = rnetns_bench_state_init,
	.id = &rnetns_bench_id,
	.size = sizeof(struct rnetns_bench_state),
};

int rnetns_bench_state_register(void);
int rnetns_bench_state_register(void)
{
	return register_pernet_subsys(&rnetns_bench_ops);
}

void rnetns_bench_state_unregister(void);
void rnetns_bench_state_unregister(void)
{
	unregister_pernet_subsys(&rnetns_bench_ops);
}

static __always_inline u64 read_state(const struct net *net)
{
	const struct rnetns_bench_state *state = net_generic(net, rnetns_bench_id);

	return READ_ONCE(state->value);
}

u64 rnetns_bench_state_read_guarded(const struct net *net, u64 n);
noinline u64 rnetns_bench_state_read_guarded(const struct net *net, u64 n)
{
	u64 sum = 0;

	rcu_read_lock();
	while (n--)
		sum += read_state(net);
	rcu_read_unlock();
	return sum;
}

u64 rnetns_bench_state_read(const struct net *net, u64 n);
noinline u64 rnetns_bench_state_read(const struct net *net, u64 n)
{
	u64 sum = 0;

	while (n--) {
		rcu_read_lock();
		sum += read_state(net);
		rcu_read_unlock();
	}
	return sum;
}

/* The state is read a function call away, as real code is. */
static noinline u64 work_explicit(const struct net *net)
{
	return read_state(net);
}

static DEFINE_PER_CPU(struct net *, rnetns_bench_current_net);

static noinline u64 work_current(void)
{
	return read_state(this_cpu_read(rnetns_bench_current_net));
}

u64 rnetns_bench_explicit(const struct net *net, u64 n);
noinline u64 rnetns_bench_explicit(const struct net *net, u64 n)
{
	u64 sum = 0;

	rcu_read_lock();
	while (n--)
		sum += work_explicit(net);
	rcu_read_unlock();
	return sum;
}

/* Set once, used often: the best case of the global. */
u64 rnetns_bench_current_get(struct net *net, u64 n);
noinline u64 rnetns_bench_current_get(struct net *net, u64 n)
{
	u64 sum = 0;

	rcu_read_lock();
	this_cpu_write(rnetns_bench_current_net, net);
	while (n--)
		sum += work_current();
	this_cpu_write(rnetns_bench_current_net, NULL);
	rcu_read_unlock();
	return sum;
}

/* Set and put back around each use, as where a packet enters the stack. */
u64 rnetns_bench_current_switch(struct net *net, u64 n);
noinline u64 rnetns_bench_current_switch(struct net *net, u64 n)
{
	u64 sum = 0;

	rcu_read_lock();
	while (n--) {
		struct net *before = this_cpu_read(rnetns_bench_current_net);

		this_cpu_write(rnetns_bench_current_net, net);
		sum += work_current();
		this_cpu_write(rnetns_bench_current_net, before);
	}
	rcu_read_unlock();
	return sum;
}
