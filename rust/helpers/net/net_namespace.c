// SPDX-License-Identifier: GPL-2.0

#include <net/net_namespace.h>
#include <net/sock.h>

#ifdef CONFIG_NET

#ifndef CONFIG_NET_NS
__rust_helper struct net *rust_helper_get_net_ns_by_fd(int fd)
{
	return get_net_ns_by_fd(fd);
}

#endif

__rust_helper int rust_helper_check_net(const struct net *net)
{
	return check_net(net);
}

__rust_helper bool rust_helper_net_initialized(const struct net *net)
{
	return net_initialized(net);
}

__rust_helper void rust_helper_netns_tracker_alloc(struct net *net,
						   netns_tracker *tracker,
						   gfp_t gfp)
{
	netns_tracker_alloc(net, tracker, gfp);
}

__rust_helper void rust_helper_put_net_track(struct net *net,
					     netns_tracker *tracker)
{
	put_net_track(net, tracker);
}

__rust_helper struct net *rust_helper_sock_net(const struct sock *sk)
{
	return sock_net(sk);
}

#endif
