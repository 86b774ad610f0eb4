// SPDX-License-Identifier: GPL-2.0
// expect: E0382
// expect: borrow of moved value: `skb`

//! Once the stack has the packet, it may be freed on another CPU.

include!("../preamble.rs");

/// Asks for the length too late.
pub fn receive(skb: ReceivedSkBuff<'_>) -> u32 {
    skb.netif_rx();
    skb.len()
}
