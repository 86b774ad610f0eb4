// SPDX-License-Identifier: GPL-2.0
/*
 * What `make study` needs from inside the kernel, and trace events do not give: where the fields of
 * struct sk_buff are, as this kernel was built, and packets with a headroom of any size.
 *
 * /sys/module/rnetns_study/parameters has the places. A frame written to the debugfs file of the same
 * name is received by a device, like one from a driver: see struct study_frame.
 */

#include <linux/debugfs.h>
#include <linux/etherdevice.h>
#include <linux/module.h>
#include <linux/netdevice.h>
#include <linux/skbuff.h>

static uint len_at = offsetof(struct sk_buff, len);
static uint data_len_at = offsetof(struct sk_buff, data_len);
static uint head_at = offsetof(struct sk_buff, head);
static uint tail_at = offsetof(struct sk_buff, tail);
static uint cloned_at;
static uint cloned_bit;

module_param(len_at, uint, 0444);
module_param(data_len_at, uint, 0444);
module_param(head_at, uint, 0444);
module_param(tail_at, uint, 0444);
module_param(cloned_at, uint, 0444);
module_param(cloned_bit, uint, 0444);

/* What is written to the file: this, and the frame behind it. */
struct study_frame {
	__u32 ifindex;
	/* Bytes before the IP header, where the Ethernet header is, too. */
	__u32 headroom;
};

static struct dentry *file;

/* No offsetof() of a bit: sets it, and looks where it is. */
static void find_cloned(void)
{
	static struct sk_buff skb __initdata;
	const u8 *bytes = (const u8 *)&skb;
	uint at;

	skb.cloned = 1;
	for (at = 0; at < sizeof(skb); at++) {
		if (bytes[at]) {
			cloned_at = at;
			cloned_bit = __ffs(bytes[at]);
		}
	}
}

static ssize_t receive(struct file *unused, const char __user *from, size_t size, loff_t *pos)
{
	struct study_frame frame;
	struct net_device *dev;
	struct sk_buff *skb;
	size_t length;
	int err;

	if (size < sizeof(frame) + ETH_HLEN || copy_from_user(&frame, from, sizeof(frame)))
		return -EINVAL;
	length = size - sizeof(frame);
	if (frame.headroom < ETH_HLEN || frame.headroom > PAGE_SIZE || length > ETH_FRAME_LEN)
		return -EINVAL;
	skb = alloc_skb(frame.headroom - ETH_HLEN + length, GFP_KERNEL);
	if (!skb)
		return -ENOMEM;
	skb_reserve(skb, frame.headroom - ETH_HLEN);
	if (copy_from_user(skb_put(skb, length), from + sizeof(frame), length)) {
		kfree_skb(skb);
		return -EFAULT;
	}
	dev = dev_get_by_index(current->nsproxy->net_ns, frame.ifindex);
	if (!dev) {
		kfree_skb(skb);
		return -ENODEV;
	}
	skb->protocol = eth_type_trans(skb, dev);
	err = netif_rx(skb);
	dev_put(dev);
	return err == NET_RX_SUCCESS ? size : -EIO;
}

static const struct file_operations operations = {
	.owner = THIS_MODULE,
	.write = receive,
};

static int __init study_init(void)
{
	find_cloned();
	file = debugfs_create_file("rnetns_study", 0200, NULL, NULL, &operations);
	return PTR_ERR_OR_ZERO(file);
}

static void __exit study_exit(void)
{
	debugfs_remove(file);
}

module_init(study_init);
module_exit(study_exit);

MODULE_DESCRIPTION("Places in struct sk_buff, and packets of any headroom, for measurements");
MODULE_LICENSE("GPL");
