// SPDX-License-Identifier: GPL-2.0
/*
 * C wrappers of inline functions and macros that Rust cannot call by itself.
 * Upstream, each file goes to `rust/helpers/net/` and the kernel's own
 * `rust/helpers/helpers.c` includes it.
 *
 * Sorted alphabetically.
 */

#include <linux/compiler_types.h>

#define __rust_helper

#include "dst.c"
#include "filter.c"
#include "genetlink.c"
#include "idr.c"
#include "mm.c"
#include "net_namespace.c"
#include "netdevice.c"
#include "netfilter.c"
#include "percpu.c"
#include "percpu_refcount.c"
#include "skbuff.c"
#include "spinlock_bh.c"
#include "workqueue.c"
