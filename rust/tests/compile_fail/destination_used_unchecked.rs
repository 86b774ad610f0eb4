// SPDX-License-Identifier: GPL-2.0
// expect: E0599
// expect: no method named `dev` found for reference `&Dst`

//! A destination that is kept may have lost its device, which may be freed.

include!("../preamble.rs");

/// Asks for the device of a destination that may not be valid any more.
pub fn leaves_by(dst: &Dst) -> i32 {
    dst.dev().ifindex()
}
