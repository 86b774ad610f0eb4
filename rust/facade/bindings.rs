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
    use pin_init::{
        MaybeZeroable,
        Zeroable, //
    };
    use theirs::ffi;

    // What the kernel defines by hand, because its `bindgen` parameters block it.
    type __kernel_size_t = usize;
    type __kernel_ssize_t = isize;
    type __kernel_ptrdiff_t = isize;

    // SAFETY: The type is a newtype around its storage; `bindgen` does not say so by itself.
    unsafe impl<Storage: Zeroable> Zeroable for __BindgenBitfieldUnit<Storage> {}

    // A name that `include!` defines takes precedence over one from a glob.
    pub use super::helpers::*;
    pub use theirs::bindings::*;

    include!(concat!(env!("RNETNS_BINDINGS"), "/bindings_generated.rs"));
}

#[allow(clippy::all, dead_code, improper_ctypes, missing_docs, unreachable_pub)]
mod helpers {
    use super::generated::*;
    use theirs::ffi;

    include!(concat!(
        env!("RNETNS_BINDINGS"),
        "/bindings_helpers_generated.rs"
    ));
}

pub use generated::*;
