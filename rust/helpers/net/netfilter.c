// SPDX-License-Identifier: GPL-2.0

#include <linux/netfilter_bridge.h>
#include <linux/skbuff.h>
#include <net/xfrm.h>

#ifdef CONFIG_NET

__rust_helper bool rust_helper_nf_bridge_in_prerouting(const struct sk_buff *skb)
{
	return nf_bridge_in_prerouting(skb);
}

__rust_helper bool rust_helper_secpath_exists(struct sk_buff *skb)
{
	return secpath_exists(skb);
}

__rust_helper bool rust_helper_skb_has_extensions(struct sk_buff *skb)
{
	return skb_has_extensions(skb);
}

#endif
