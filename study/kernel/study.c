// SPDX-License-Identifier: GPL-2.0
/*
 * What `make study` needs from inside the kernel, and trace events do not give: where the fields of
 * struct sk_buff are, as this kernel was built, packets with a headroom of any size, and calls of
 * each function that copies.
 *
 * /sys/module/rnetns_study/parameters has the places. A frame written to the debugfs file "frame" is
 * received by a device, like one from a driver: see struct study_frame. The name of a function
 * written to "call" has it called once, see call().
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
/* In the same byte. */
static uint head_frag_bit;

module_param(len_at, uint, 0444);
module_param(data_len_at, uint, 0444);
module_param(head_at, uint, 0444);
module_param(tail_at, uint, 0444);
module_param(cloned_at, uint, 0444);
module_param(cloned_bit, uint, 0444);
module_param(head_frag_bit, uint, 0444);

/* What is written to the file: this, and the frame behind it. */
struct study_frame {
	__u32 ifindex;
	/* Bytes before the IP header, where the Ethernet header is, too. */
	__u32 headroom;
};

static struct dentry *folder;

/* The only byte of a packet that is not zero, and its bit. */
static void __init find(const struct sk_buff *skb, uint *byte, uint *bit)
{
	const u8 *bytes = (const u8 *)skb;
	uint at;

	for (at = 0; at < sizeof(*skb); at++) {
		if (bytes[at]) {
			*byte = at;
			*bit = __ffs(bytes[at]);
		}
	}
}

/* No offsetof() of a bit: sets it, and looks where it is. */
static int __init find_bits(void)
{
	static struct sk_buff cloned __initdata, head_frag __initdata;
	uint at = 0;

	cloned.cloned = 1;
	find(&cloned, &cloned_at, &cloned_bit);
	head_frag.head_frag = 1;
	find(&head_frag, &at, &head_frag_bit);
	return at == cloned_at ? 0 : -ENXIO;
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

static const struct file_operations frame_operations = {
	.owner = THIS_MODULE,
	.write = receive,
};

/* What a packet of call() has in its head, and in a page. */
#define HEAD 100
#define PAGED 200

/* Calls the function whose name is written with a packet, once, and nothing else that copies. */
static ssize_t call(struct file *unused, const char __user *from, size_t size, loff_t *pos)
{
	struct sk_buff *skb, *copy = NULL;
	struct page *page;
	char name[32];
	int err = 0;

	if (size >= sizeof(name) || copy_from_user(name, from, size))
		return -EINVAL;
	name[size] = '\0';
	skb = alloc_skb(HEAD + PAGED, GFP_KERNEL);
	page = alloc_page(GFP_KERNEL | __GFP_ZERO);
	if (!skb || !page) {
		kfree_skb(skb);
		if (page)
			__free_page(page);
		return -ENOMEM;
	}
	skb_put_zero(skb, HEAD);
	skb_add_rx_frag(skb, 0, page, 0, PAGED, PAGE_SIZE);
	if (!strcmp(name, "skb_copy"))
		copy = skb_copy(skb, GFP_KERNEL);
	else if (!strcmp(name, "skb_copy_expand"))
		copy = skb_copy_expand(skb, 0, 0, GFP_KERNEL);
	else if (!strcmp(name, "__pskb_copy_fclone"))
		copy = pskb_copy(skb, GFP_KERNEL);
	else if (!strcmp(name, "skb_copy_ubufs"))
		err = skb_copy_ubufs(skb, GFP_KERNEL);
	else if (!strcmp(name, "skb_clone"))
		copy = skb_clone(skb, GFP_KERNEL);
	else if (!strcmp(name, "__pskb_pull_tail"))
		err = __pskb_pull_tail(skb, PAGED) ? 0 : -ENOMEM;
	else
		err = -EINVAL;
	kfree_skb(copy);
	kfree_skb(skb);
	return err ? err : size;
}

static const struct file_operations call_operations = {
	.owner = THIS_MODULE,
	.write = call,
};

static int __init study_init(void)
{
	int err = find_bits();

	if (err)
		return err;
	folder = debugfs_create_dir("rnetns_study", NULL);
	if (IS_ERR(folder))
		return PTR_ERR(folder);
	debugfs_create_file("frame", 0200, folder, NULL, &frame_operations);
	debugfs_create_file("call", 0200, folder, NULL, &call_operations);
	return 0;
}

static void __exit study_exit(void)
{
	debugfs_remove(folder);
}

module_init(study_init);
module_exit(study_exit);

MODULE_DESCRIPTION("Places in struct sk_buff, and packets of any headroom, for measurements");
MODULE_LICENSE("GPL");
