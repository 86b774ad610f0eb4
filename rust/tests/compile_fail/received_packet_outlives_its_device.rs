// SPDX-License-Identifier: GPL-2.0
// expect: E0505
// expect: cannot move out of `dev` because it is borrowed

//! Who holds a device may be the last one that it waits for: a packet does not keep it.

include!("../preamble.rs");

use core::ops::Deref;

/// Gives a packet to the stack whose device may be gone.
pub fn receive(skb: SkBuff<'_>, dev: impl Deref<Target = OwnNetDevice>) {
    let Ok(skb) = skb.eth_type_trans(&dev) else {
        return;
    };
    drop(dev);
    skb.netif_rx();
}
