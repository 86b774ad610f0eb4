/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What `bindgen` reads for the `uapi` crate. Upstream, these lines belong to the
 * kernel's own `rust/uapi/uapi_helper.h`.
 */

#include <uapi/linux/rnetns.h>
