// SPDX-License-Identifier: GPL-2.0
// expect: E0308
// expect: expected `&ValidDst`, found `&Dst`

//! A destination that is kept may have lost its device, which the stack uses.

include!("../preamble.rs");

/// Gives a packet a destination that may not be valid any more.
pub fn give<'a>(packet: &mut netfilter::Packet<'a>, dst: &'a Dst) {
    packet.set_dst_noref(dst);
}
