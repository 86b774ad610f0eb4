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
