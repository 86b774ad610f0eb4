// SPDX-License-Identifier: GPL-2.0
/*
 * C wrappers of inline functions and macros that Rust cannot call by itself.
 * Upstream, the kernel's own `rust/helpers/helpers.c` includes the files.
 */

#include <linux/compiler_types.h>

#ifdef __BINDGEN__
/* bindgen ignores inline functions. */
#define __rust_helper
#else
#define __rust_helper __always_inline
#endif

#include "../../patches/wiring/helpers.c"

/* For what has no user in a tree yet. */
__rust_helper struct net *rust_helper_maybe_get_net(struct net *net)
{
	return maybe_get_net(net);
}
