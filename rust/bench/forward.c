// SPDX-License-Identifier: GPL-2.0
/*
 * Packets for a machine that forwards them. One end of a veth pair sends them,
 * the other end belongs to a router, and they come back by another pair. Only
 * the time from transmission on counts, not how a packet is made.
 */

#include <linux/etherdevice.h>
#include <linux/if_ether.h>
#include <linux/ip.h>
#include <linux/netdevice.h>
#include <linux/skbuff.h>
#include <linux/udp.h>
#include <net/ip.h>

#include "plan.h"

/* Bytes on the wire without the checksum: the shortest frame. */
#define FRAME 60

struct rnetns_bench_forward {
	u64 state;
	/* A power of two less one. */
	u32 mask;
	u32 routes;
	u8 router[ETH_ALEN];
	/* A source that no other packet has. */
	bool spoofed;
};

#define BATCH 64

static struct sk_buff *packet(struct rnetns_bench_forward *plan, struct net_device *dev)
{
	unsigned int room = LL_RESERVED_SPACE(dev);
	/* Headroom for a second link layer's header: routers have it. */
	struct sk_buff *skb = alloc_skb(room + 32 + FRAME, GFP_ATOMIC);
	struct ethhdr *eth;
	struct udphdr *udp;
	struct iphdr *ip;
	u32 flow;

	if (!skb)
		return NULL;
	plan->state = rnetns_bench_step(plan->state);
	flow = (u32)(plan->state >> 33) & plan->mask;
	skb_reserve(skb, room + 32);
	eth = skb_put_zero(skb, FRAME);
	skb_reset_mac_header(skb);
	skb_set_network_header(skb, ETH_HLEN);
	skb_set_transport_header(skb, ETH_HLEN + sizeof(*ip));
	ether_addr_copy(eth->h_dest, plan->router);
	ether_addr_copy(eth->h_source, dev->dev_addr);
	eth->h_proto = htons(ETH_P_IP);
	ip = ip_hdr(skb);
	ip->version = 4;
	ip->ihl = 5;
	ip->ttl = 32;
	ip->protocol = IPPROTO_UDP;
	ip->tot_len = htons(FRAME - ETH_HLEN);
	ip->saddr = rnetns_bench_saddr(flow);
	ip->daddr = rnetns_bench_daddr(flow, plan->routes);
	if (plan->spoofed)
		ip->saddr = htonl(0x1e000000u | (u32)(plan->state >> 40));
	ip_send_check(ip);
	udp = udp_hdr(skb);
	udp->source = htons(1024 + (flow & 1023));
	udp->dest = htons(9);
	udp->len = htons(FRAME - ETH_HLEN - sizeof(*ip));
	skb->protocol = htons(ETH_P_IP);
	skb->dev = dev;
	skb->priority = 0;
	return skb;
}

/*
 * Sends a batch; gives the nanoseconds that it took until the packets had gone
 * through, or 0 without memory.
 */
u64 rnetns_bench_forward_batch(struct rnetns_bench_forward *plan, struct net_device *dev);
noinline u64 rnetns_bench_forward_batch(struct rnetns_bench_forward *plan,
					struct net_device *dev)
{
	struct sk_buff *skbs[BATCH];
	u64 start;
	int i;

	for (i = 0; i < BATCH; i++) {
		skbs[i] = packet(plan, dev);
		if (!skbs[i])
			goto fail;
	}
	start = ktime_get_ns();
	local_bh_disable();
	for (i = 0; i < BATCH; i++)
		dev_queue_xmit(skbs[i]);
	/* Here the softirq runs that receives them, forwards them, and receives again. */
	local_bh_enable();
	return max(ktime_get_ns() - start, 1ull);
fail:
	while (i--)
		kfree_skb(skbs[i]);
	return 0;
}

/* How many packets a device has received. */
u64 rnetns_bench_received(struct net_device *dev);
u64 rnetns_bench_received(struct net_device *dev)
{
	struct rtnl_link_stats64 stats;

	return dev_get_stats(dev, &stats)->rx_packets;
}
