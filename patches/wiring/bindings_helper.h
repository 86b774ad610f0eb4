/* SPDX-License-Identifier: GPL-2.0 */
#include <linux/etherdevice.h>
#include <linux/idr.h>
#include <linux/if_arp.h>
#include <linux/if_ether.h>
#include <linux/inetdevice.h>
#include <linux/net.h>
#include <linux/netdevice.h>
#include <linux/netfilter.h>
#include <linux/percpu-refcount.h>
#include <linux/percpu.h>
#include <linux/rtnetlink.h>
#include <linux/vmalloc.h>
#include <net/dst.h>
#include <net/inet6_hashtables.h>
#include <net/inet_hashtables.h>
#include <net/ip.h>
#include <net/ip6_fib.h>
#include <net/ip6_route.h>
#include <net/ip_fib.h>
#include <net/net_namespace.h>
#include <net/netns/generic.h>
#include <net/route.h>
#include <net/sock.h>
#include <net/udp.h>

const u16 RUST_CONST_HELPER_IPSKB_DOREDIRECT = IPSKB_DOREDIRECT;
const u16 RUST_CONST_HELPER_IPSKB_MULTIPATH = IPSKB_MULTIPATH;
const netdev_features_t RUST_CONST_HELPER_NETIF_F_GSO_SOFTWARE = NETIF_F_GSO_SOFTWARE;
const unsigned long RUST_CONST_HELPER_IFF_DISABLE_NETPOLL = IFF_DISABLE_NETPOLL;
const unsigned long RUST_CONST_HELPER_IFF_L3MDEV_MASTER = IFF_L3MDEV_MASTER;
const unsigned long RUST_CONST_HELPER_IFF_L3MDEV_RX_HANDLER = IFF_L3MDEV_RX_HANDLER;
const unsigned long RUST_CONST_HELPER_IFF_L3MDEV_SLAVE = IFF_L3MDEV_SLAVE;
const unsigned long RUST_CONST_HELPER_IFF_LIVE_ADDR_CHANGE = IFF_LIVE_ADDR_CHANGE;
const unsigned long RUST_CONST_HELPER_IFF_NO_QUEUE = IFF_NO_QUEUE;
const unsigned long RUST_CONST_HELPER_IFF_TX_SKB_SHARING = IFF_TX_SKB_SHARING;
