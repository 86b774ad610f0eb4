/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Tracepoints of rnetns.
 */

#undef TRACE_SYSTEM
#define TRACE_SYSTEM rnetns

#if !defined(_NET_RNETNS_TRACE_H) || defined(TRACE_HEADER_MULTI_READ)
#define _NET_RNETNS_TRACE_H

#include <linux/in.h>
#include <linux/in6.h>
#include <linux/socket.h>
#include <linux/string.h>
#include <linux/tracepoint.h>

#ifndef _NET_RNETNS_TRACE_ADDRESS
#define _NET_RNETNS_TRACE_ADDRESS
/* An address in the form that %pIS takes; an IPv4 one is in the first word. */
static inline void rnetns_trace_address(void *to, u16 family,
					const struct in6_addr *address)
{
	struct sockaddr_in6 *sin6 = to;
	struct sockaddr_in *sin = to;

	memset(to, 0, sizeof(*sin6));
	sin->sin_family = family;
	if (family == AF_INET)
		sin->sin_addr.s_addr = address->s6_addr32[0];
	else
		sin6->sin6_addr = *address;
}
#endif

DECLARE_EVENT_CLASS(rnetns_route_cache,

	TP_PROTO(u32 netns, u16 family, const struct in6_addr *saddr,
		 const struct in6_addr *daddr, u32 iif, u32 mark, u32 oif),

	TP_ARGS(netns, family, saddr, daddr, iif, mark, oif),

	TP_STRUCT__entry(
		__field(u32, netns)
		__field(u32, iif)
		__field(u32, oif)
		__field(u32, mark)
		__field(u16, family)
		__array(__u8, saddr, sizeof(struct sockaddr_in6))
		__array(__u8, daddr, sizeof(struct sockaddr_in6))
	),

	TP_fast_assign(
		__entry->netns = netns;
		__entry->iif = iif;
		__entry->oif = oif;
		__entry->mark = mark;
		__entry->family = family;
		rnetns_trace_address(__entry->saddr, family, saddr);
		rnetns_trace_address(__entry->daddr, family, daddr);
	),

	TP_printk("netns=%u iif=%u oif=%u mark=%#x src=%pISc dst=%pISc",
		  __entry->netns, __entry->iif, __entry->oif, __entry->mark,
		  __entry->saddr, __entry->daddr)
);

/* A packet was routed by an entry. */
DEFINE_EVENT(rnetns_route_cache, route_cache_hit,
	TP_PROTO(u32 netns, u16 family, const struct in6_addr *saddr,
		 const struct in6_addr *daddr, u32 iif, u32 mark, u32 oif),
	TP_ARGS(netns, family, saddr, daddr, iif, mark, oif)
);

/* There was none that is valid; where it goes is not known yet. */
DEFINE_EVENT(rnetns_route_cache, route_cache_miss,
	TP_PROTO(u32 netns, u16 family, const struct in6_addr *saddr,
		 const struct in6_addr *daddr, u32 iif, u32 mark, u32 oif),
	TP_ARGS(netns, family, saddr, daddr, iif, mark, oif)
);

/* An entry had to go for another of the same namespace. */
DEFINE_EVENT(rnetns_route_cache, route_cache_evict,
	TP_PROTO(u32 netns, u16 family, const struct in6_addr *saddr,
		 const struct in6_addr *daddr, u32 iif, u32 mark, u32 oif),
	TP_ARGS(netns, family, saddr, daddr, iif, mark, oif)
);

#endif /* _NET_RNETNS_TRACE_H */

#undef TRACE_INCLUDE_PATH
#define TRACE_INCLUDE_PATH .
#undef TRACE_INCLUDE_FILE
#define TRACE_INCLUDE_FILE trace

/* This part must be outside protection */
#include <trace/define_trace.h>
