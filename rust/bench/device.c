// SPDX-License-Identifier: GPL-2.0
/*
 * Inline functions of C that device.rs, packet_type.rs and xmit.rs call. The
 * module needs none of them.
 */

#include <linux/etherdevice.h>
#include <linux/netdevice.h>
#include <linux/skbuff.h>

void rnetns_bench_netdev_put(struct net_device *dev, netdevice_tracker *tracker);
void rnetns_bench_netdev_put(struct net_device *dev, netdevice_tracker *tracker)
{
	netdev_put(dev, tracker);
}

struct net_device *rnetns_bench_skb_dev(const struct sk_buff *skb);
struct net_device *rnetns_bench_skb_dev(const struct sk_buff *skb)
{
	return skb->dev;
}

bool rnetns_bench_skb_is_outgoing(const struct sk_buff *skb);
bool rnetns_bench_skb_is_outgoing(const struct sk_buff *skb)
{
	return skb->pkt_type == PACKET_OUTGOING;
}

void rnetns_bench_consume_skb(struct sk_buff *skb);
void rnetns_bench_consume_skb(struct sk_buff *skb)
{
	consume_skb(skb);
}

void rnetns_bench_kfree_skb(struct sk_buff *skb);
void rnetns_bench_kfree_skb(struct sk_buff *skb)
{
	kfree_skb(skb);
}

u32 rnetns_bench_header_room(const struct net_device *dev);
u32 rnetns_bench_header_room(const struct net_device *dev)
{
	return LL_RESERVED_SPACE(dev);
}

/* A packet of `room` and, behind that, `len` zero bytes. */
struct sk_buff *rnetns_bench_skb_new(struct net_device *dev, u16 protocol,
				     u32 room, u32 len);
struct sk_buff *rnetns_bench_skb_new(struct net_device *dev, u16 protocol,
				     u32 room, u32 len)
{
	struct sk_buff *skb = alloc_skb(room + len, GFP_ATOMIC);

	if (!skb)
		return NULL;
	skb_reserve(skb, room);
	skb_put_zero(skb, len);
	skb_reset_network_header(skb);
	skb->dev = dev;
	skb->protocol = htons(protocol);
	return skb;
}

int rnetns_bench_skb_header(struct sk_buff *skb, u16 protocol);
int rnetns_bench_skb_header(struct sk_buff *skb, u16 protocol)
{
	return dev_hard_header(skb, skb->dev, protocol, NULL, NULL, skb->len);
}
