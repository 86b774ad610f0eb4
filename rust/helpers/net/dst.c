// SPDX-License-Identifier: GPL-2.0

#include <linux/skbuff.h>
#include <net/dst.h>
#include <net/inet_dscp.h>
#include <net/ip6_fib.h>
#include <net/ip_fib.h>
#include <net/route.h>
#include <net/sock.h>

#ifdef CONFIG_INET

__rust_helper struct dst_entry *rust_helper_dst_check(struct dst_entry *dst,
						      u32 cookie)
{
	return dst_check(dst, cookie);
}

__rust_helper bool rust_helper_dst_hold_safe(struct dst_entry *dst)
{
	return dst_hold_safe(dst);
}

__rust_helper int rust_helper_fib_lookup(struct net *net, struct flowi4 *flp,
					 struct fib_result *res, unsigned int flags)
{
	return fib_lookup(net, flp, res, flags);
}

__rust_helper kuid_t rust_helper_sock_net_uid(const struct net *net,
					      const struct sock *sk)
{
	return sock_net_uid(net, sk);
}

__rust_helper u8 rust_helper_inet_dsfield_to_dscp(u8 dsfield)
{
	return inet_dscp_to_dsfield(inet_dsfield_to_dscp(dsfield));
}

__rust_helper u32 rust_helper_rt6_get_cookie(const struct rt6_info *rt)
{
	return rt6_get_cookie(rt);
}

__rust_helper void rust_helper_skb_dst_set_noref(struct sk_buff *skb, struct dst_entry *dst)
{
	skb_dst_set_noref(skb, dst);
}

#endif
