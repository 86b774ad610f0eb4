// SPDX-License-Identifier: GPL-2.0

//! The crate that modules out of tree know as `kernel`: the base kernel's, and what this project
//! adds to it.
//!
//! Modules say `kernel::net::pernet` here as they will in a kernel tree, and the abstractions
//! `crate::bindings` and `crate::prelude`. So their text is the same in both homes. What is in this
//! folder stands for what only a tree has: `lib.rs` and `mod.rs` of its `kernel` crate, and its
//! crates of bindings. It is compiled before the modules, and linked into each of them.

// Macros say `::kernel`, in this crate as in others.
extern crate self as kernel;

// KUnit tests begin with `#[macros::kunit_tests]`.
#[cfg(CONFIG_KUNIT = "y")]
pub extern crate macros;

pub use theirs::*;

#[doc(hidden)]
pub mod bindings;
pub mod debugfs;
#[path = "../kernel/ida.rs"]
pub mod ida;
pub mod mm;
pub mod net;
pub mod prelude;
pub mod sync;
pub mod time;
pub mod uapi;
pub mod workqueue;

/// What stands in front of messages of this crate, as in the base kernel's.
const __LOG_PREFIX: &[u8] = b"rust_kernel\0";

/// The module that `#[vtable]` asks for, as in the base kernel's crate.
struct LocalModule;

impl ModuleMetadata for LocalModule {
    const NAME: &'static str::CStr = c"rust_kernel";

    const THIS_MODULE: ThisModule = {
        // SAFETY: Whoever is handed this may get and put a module that is null.
        unsafe { ThisModule::from_ptr(core::ptr::null_mut()) }
    };
}
