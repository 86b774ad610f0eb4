// SPDX-License-Identifier: GPL-2.0
// expect: E0308
// expect: expected `&OwnNetDevice`, found `&NetDevice`

//! A packet may have a route of its namespace, which does not outlive it.

include!("../preamble.rs");

/// Hands a packet to whatever device a destination leads to.
pub fn receive(skb: SkBuff<'_>, dst: &ValidDst) {
    if let Ok(skb) = skb.eth_type_trans(dst.dev()) {
        skb.netif_rx();
    }
}
