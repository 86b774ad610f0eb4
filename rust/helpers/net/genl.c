// SPDX-License-Identifier: GPL-2.0

#include <net/genetlink.h>

#ifdef CONFIG_NET

__rust_helper struct net *rust_helper_genl_info_net(const struct genl_info *info)
{
	return genl_info_net(info);
}

__rust_helper int rust_helper_genlmsg_reply(struct sk_buff *skb,
					    struct genl_info *info)
{
	return genlmsg_reply(skb, info);
}

__rust_helper int rust_helper_genlmsg_multicast_netns(const struct genl_family *family,
						      struct net *net,
						      struct sk_buff *skb,
						      u32 portid, unsigned int group,
						      gfp_t flags)
{
	return genlmsg_multicast_netns(family, net, skb, portid, group, flags);
}

__rust_helper int rust_helper_skb_tailroom(const struct sk_buff *skb)
{
	return skb_tailroom(skb);
}

__rust_helper const struct genl_info *
rust_helper_genl_info_dump(struct netlink_callback *cb)
{
	return genl_info_dump(cb);
}

__rust_helper void rust_helper_genl_dump_check_consistent(struct netlink_callback *cb,
							  void *user_hdr)
{
	genl_dump_check_consistent(cb, user_hdr);
}

#endif
