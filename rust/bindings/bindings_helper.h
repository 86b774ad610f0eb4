/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What `bindgen` reads for the types and functions that the bindings of the
 * base kernel lack. Upstream, these lines belong to the kernel's own
 * `rust/bindings/bindings_helper.h`.
 *
 * Sorted alphabetically.
 */

#include <linux/etherdevice.h>
#include <linux/ethtool.h>
#include <linux/if_arp.h>
#include <linux/if_ether.h>
#include <linux/netdevice.h>
#include <linux/rtnetlink.h>
#include <net/net_namespace.h>
#include <net/netns/generic.h>
#include <net/sock.h>
#include <net/ip6_fib.h>
#include <net/route.h>

/* `bindgen` cannot evaluate these macros. */
const netdev_features_t RUST_CONST_HELPER_NETIF_F_GSO_SOFTWARE = NETIF_F_GSO_SOFTWARE;
const unsigned long RUST_CONST_HELPER_IFF_LIVE_ADDR_CHANGE = IFF_LIVE_ADDR_CHANGE;
const unsigned long RUST_CONST_HELPER_IFF_NO_QUEUE = IFF_NO_QUEUE;
const unsigned long RUST_CONST_HELPER_IFF_TX_SKB_SHARING = IFF_TX_SKB_SHARING;
