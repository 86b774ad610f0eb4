// SPDX-License-Identifier: GPL-2.0

//! Raw bindings: those of the base kernel, and what they lack.
//!
//! Where both have a name (`net_device`, which the base kernel's bindings only declare), the one
//! here is whole and hides the other. Upstream, this module is the kernel's `bindings` crate.

#[allow(
    clippy::all,
    clippy::as_underscore,
    clippy::cast_lossless,
    clippy::ptr_as_ptr,
    clippy::ref_as_ptr,
    clippy::undocumented_unsafe_blocks,
    dead_code,
    improper_ctypes,
    missing_docs,
    non_camel_case_types,
    non_snake_case,
    non_upper_case_globals,
    unnecessary_transmutes,
    unreachable_pub,
    unsafe_op_in_unsafe_fn
)]
mod generated {
    use kernel::ffi;
    use pin_init::{
        MaybeZeroable,
        Zeroable, //
    };

    // What the kernel defines by hand, because its `bindgen` parameters block it.
    type __kernel_size_t = usize;
    type __kernel_ssize_t = isize;
    type __kernel_ptrdiff_t = isize;

    // SAFETY: The type is a newtype around its storage; `bindgen` does not say so by itself.
    unsafe impl<Storage: Zeroable> Zeroable for __BindgenBitfieldUnit<Storage> {}

    // A name that `include!` defines takes precedence over one from a glob.
    pub use super::helpers::*;
    // With trace events it is no inline function, so that the kernel's own bindings have it too.
    pub use super::helpers::consume_skb;
    pub use kernel::bindings::*;

    include!(concat!(env!("RNETNS_BINDINGS"), "/bindings_generated.rs"));
}

#[allow(clippy::all, dead_code, improper_ctypes, missing_docs, unreachable_pub)]
mod helpers {
    use super::generated::*;
    use kernel::ffi;

    include!(concat!(
        env!("RNETNS_BINDINGS"),
        "/bindings_helpers_generated.rs"
    ));
}

pub use generated::*;

/// What user space knows, of `include/uapi/linux/rnetns.h`. Upstream, the `uapi` crate has it.
#[allow(unused_imports)]
pub mod uapi {
    pub use super::generated::{
        RNETNS_A_ASIDE,
        RNETNS_A_BYPASSED,
        RNETNS_A_ENABLED,
        RNETNS_A_ENTRIES4,
        RNETNS_A_ENTRIES6,
        RNETNS_A_EVICTIONS,
        RNETNS_A_EXPIRIES,
        RNETNS_A_FLUSHED,
        RNETNS_A_HITS,
        RNETNS_A_INSERTS,
        RNETNS_A_INVALIDATIONS,
        RNETNS_A_LEFT,
        RNETNS_A_MAX_QUOTA,
        RNETNS_A_MISSES,
        RNETNS_A_QUOTA,
        RNETNS_A_REFUSALS,
        RNETNS_A_TIMEOUT,
        RNETNS_A_UNCACHEABLE,
        RNETNS_CMD_CACHE_NTF,
        RNETNS_CMD_FLUSH_NTF,
        RNETNS_ENTRY_A_AGE,
        RNETNS_ENTRY_A_DST4,
        RNETNS_ENTRY_A_DST6,
        RNETNS_ENTRY_A_DST_LEN,
        RNETNS_ENTRY_A_FAMILY,
        RNETNS_ENTRY_A_FLOWLABEL,
        RNETNS_ENTRY_A_IIF,
        RNETNS_ENTRY_A_LOCAL,
        RNETNS_ENTRY_A_MARK,
        RNETNS_ENTRY_A_OIF,
        RNETNS_ENTRY_A_RP_FILTER,
        RNETNS_ENTRY_A_SRC4,
        RNETNS_ENTRY_A_SRC6,
        RNETNS_ENTRY_A_STALE,
        RNETNS_ENTRY_A_TOS,
        RNETNS_ENTRY_A_USED,
        RNETNS_FLUSH_A_DST4,
        RNETNS_FLUSH_A_DST6,
        RNETNS_FLUSH_A_DST_LEN,
        RNETNS_FLUSH_A_FLUSHED, //
        RNETNS_FLUSH_A_IFINDEX,
    };
}
