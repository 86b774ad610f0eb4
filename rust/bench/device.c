// SPDX-License-Identifier: GPL-2.0
/*
 * Inline functions of C that device.rs, packet_type.rs and xmit.rs call, and a
 * witness for misuse.rs. The module needs none of them.
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

/*
 * How often the core has said once more that a device leaves, while it waits for
 * those who hold it.
 */
static atomic_t repeats = ATOMIC_INIT(0);

static int count_repeat(struct notifier_block *block, unsigned long event,
			void *info)
{
	struct net_device *dev = netdev_notifier_info_to_dev(info);

	if (event == NETDEV_UNREGISTER && dev->reg_state == NETREG_UNREGISTERED)
		atomic_inc(&repeats);
	return NOTIFY_DONE;
}

static struct notifier_block repeat_block = { .notifier_call = count_repeat };

int rnetns_bench_repeats_begin(void);
int rnetns_bench_repeats_begin(void)
{
	atomic_set(&repeats, 0);
	return register_netdevice_notifier(&repeat_block);
}

void rnetns_bench_repeats_end(void);
void rnetns_bench_repeats_end(void)
{
	unregister_netdevice_notifier(&repeat_block);
}

u32 rnetns_bench_repeats(void);
u32 rnetns_bench_repeats(void)
{
	return atomic_read(&repeats);
}
