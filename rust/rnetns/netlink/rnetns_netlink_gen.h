/* SPDX-License-Identifier: ((GPL-2.0 WITH Linux-syscall-note) OR BSD-3-Clause) */
/* Do not edit directly, auto-generated from: */
/*	Documentation/netlink/specs/rnetns.yaml */
/* YNL-GEN kernel header */
/* To regenerate run: tools/net/ynl/ynl-regen.sh */

#ifndef _LINUX_RNETNS_GEN_H
#define _LINUX_RNETNS_GEN_H

#include <net/netlink.h>
#include <net/genetlink.h>

#include <uapi/linux/rnetns.h>

int rnetns_nl_cache_get_doit(struct sk_buff *skb, struct genl_info *info);
int rnetns_nl_cache_set_doit(struct sk_buff *skb, struct genl_info *info);
int rnetns_nl_entry_get_dumpit(struct sk_buff *skb,
			       struct netlink_callback *cb);
int rnetns_nl_flush_doit(struct sk_buff *skb, struct genl_info *info);

enum {
	RNETNS_NLGRP_EVENTS,
};

extern struct genl_family rnetns_nl_family;

#endif /* _LINUX_RNETNS_GEN_H */
