// SPDX-License-Identifier: GPL-2.0
/*
 * What the kernel asks without a cache: ip_route_input_noref(), for packets that
 * have come in on a device, in the loops of table.c.
 */

#include <linux/inetdevice.h>
#include <linux/ip.h>
#include <linux/netdevice.h>
#include <linux/skbuff.h>
#include <net/dst.h>
#include <net/inet_dscp.h>
#include <net/route.h>

#include "plan.h"

struct rnetns_bench_fib {
	struct net_device *dev;
	struct sk_buff *skb;
	u32 routes;
};

struct rnetns_bench_fib *rnetns_bench_fib_new(struct net_device *dev, u32 routes);
struct rnetns_bench_fib *rnetns_bench_fib_new(struct net_device *dev, u32 routes)
{
	struct rnetns_bench_fib *fib = kzalloc(sizeof(*fib), GFP_KERNEL);

	if (!fib)
		return NULL;
	fib->skb = alloc_skb(256, GFP_KERNEL);
	if (!fib->skb) {
		kfree(fib);
		return NULL;
	}
	fib->dev = dev;
	fib->routes = routes;
	fib->skb->dev = dev;
	fib->skb->skb_iif = dev->ifindex;
	fib->skb->protocol = htons(ETH_P_IP);
	fib->skb->pkt_type = PACKET_HOST;
	skb_reset_network_header(fib->skb);
	skb_put_zero(fib->skb, sizeof(struct iphdr));
	return fib;
}

void rnetns_bench_fib_free(struct rnetns_bench_fib *fib);
void rnetns_bench_fib_free(struct rnetns_bench_fib *fib)
{
	kfree_skb(fib->skb);
	kfree(fib);
}

static __always_inline u64 loop(struct rnetns_bench_fib *fib,
				struct rnetns_bench_plan *plan, u64 n,
				bool dependent)
{
	struct sk_buff *skb = fib->skb;
	struct iphdr *iph = ip_hdr(skb);
	u64 state = plan->state, found = 0;

	rcu_read_lock();
	while (n--) {
		unsigned long dst;
		u32 flow = rnetns_bench_next(plan, &state);

		iph->version = 4;
		iph->ihl = 5;
		iph->saddr = rnetns_bench_saddr(flow);
		iph->daddr = rnetns_bench_daddr(flow, fib->routes);
		if (ip_route_input_noref(skb, iph->daddr, iph->saddr, 0, fib->dev))
			continue;
		dst = (unsigned long)skb_dst(skb);
		skb_dst_drop(skb);
		found++;
		/* Adds nothing, but waits: pointers are not odd. */
		if (dependent)
			state += dst & 1;
	}
	rcu_read_unlock();
	plan->state = state;
	return found;
}

/* Asks for n flows; the number of those that have a route. */
u64 rnetns_bench_fib_look_up(struct rnetns_bench_fib *fib,
			     struct rnetns_bench_plan *plan, u64 n, bool dependent);
noinline u64 rnetns_bench_fib_look_up(struct rnetns_bench_fib *fib,
				      struct rnetns_bench_plan *plan, u64 n,
				      bool dependent)
{
	return dependent ? loop(fib, plan, n, true) : loop(fib, plan, n, false);
}
