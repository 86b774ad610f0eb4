// SPDX-License-Identifier: GPL-2.0

#include <net/inet6_hashtables.h>
#include <net/inet_hashtables.h>
#include <net/ip.h>
#include <net/ipv6.h>
#include <net/udp.h>

#ifdef CONFIG_INET

__rust_helper u32 rust_helper_ipv4_portaddr_hash(const struct net *net, __be32 saddr,
						 unsigned int port)
{
	return ipv4_portaddr_hash(net, saddr, port);
}

__rust_helper u32 rust_helper_ipv6_portaddr_hash(const struct net *net,
						 const struct in6_addr *addr6,
						 unsigned int port)
{
	return ipv6_portaddr_hash(net, addr6, port);
}

__rust_helper struct udp_hslot *rust_helper_udp_hashslot2(struct udp_table *table,
							  unsigned int hash)
{
	return udp_hashslot2(table, hash);
}

__rust_helper bool rust_helper_inet_match(const struct net *net, const struct sock *sk,
					  const __addrpair cookie, const __portpair ports,
					  int dif, int sdif)
{
	return inet_match(net, sk, cookie, ports, dif, sdif);
}

#if IS_ENABLED(CONFIG_IPV6)

__rust_helper bool rust_helper_inet6_match(const struct net *net, const struct sock *sk,
					   const struct in6_addr *saddr,
					   const struct in6_addr *daddr,
					   const __portpair ports,
					   const int dif, const int sdif)
{
	return inet6_match(net, sk, saddr, daddr, ports, dif, sdif);
}

#endif

#endif
