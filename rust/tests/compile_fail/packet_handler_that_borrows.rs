// SPDX-License-Identifier: GPL-2.0
// expect: E0478
// expect: lifetime bound not satisfied

//! A registration may be forgotten: packets then still come to its handler.

include!("../preamble.rs");

/// A handler that uses what it does not own.
pub struct Count<'a>(&'a Atomic<u64>);

impl packet_type::Handler for Count<'_> {
    fn receive(&self, _packet: &packet_type::Packet<'_>) {
        self.0.add(1, Relaxed);
    }
}
