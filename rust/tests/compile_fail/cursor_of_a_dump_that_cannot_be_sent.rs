// SPDX-License-Identifier: GPL-2.0
// expect: E0277
// expect: `*mut u32` cannot be sent between threads safely

//! A dump goes on in whichever thread reads its next part, with what it noted in the last one.

include!("../preamble.rs");

use kernel::{
    bindings,
    net::netlink::request::{
        dumpit,
        Dump, //
    },
};

fn entries(_dump: &mut Dump<'_>, _cursor: &mut *mut u32) -> Result {
    Ok(())
}

/// # Safety
///
/// Never called.
pub unsafe fn dump(skb: *mut bindings::sk_buff, cb: *mut bindings::netlink_callback) -> i32 {
    // SAFETY: As above.
    unsafe { dumpit(skb, cb, entries) }
}
