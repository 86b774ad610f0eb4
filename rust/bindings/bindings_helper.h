/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What `bindgen` reads for the types and functions that the bindings of the
 * base kernel lack. Upstream, the lines that are included here belong to the
 * kernel's own `rust/bindings/bindings_helper.h`, which has these three.
 */

#include <linux/ethtool.h>
#include <linux/random.h>
#include <linux/workqueue.h>

#include "../../patches/wiring/bindings_helper.h"

#include "../rnetns/netlink/rnetns_netlink_gen.h"
#include "../rnetns/trace.h"
