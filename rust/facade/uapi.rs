// SPDX-License-Identifier: GPL-2.0

//! What user space knows. Upstream, this is the kernel's `uapi` crate, whose `uapi_helper.h`
//! includes the headers.

#![allow(clippy::all, missing_docs, non_camel_case_types)]

use theirs::ffi;

// A name that `include!` defines takes precedence over one from a glob.
pub use theirs::uapi::*;

include!(concat!(env!("RNETNS_BINDINGS"), "/uapi_generated.rs"));
