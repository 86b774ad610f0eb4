// SPDX-License-Identifier: GPL-2.0
// expect: E0603
// expect: struct `PernetDevice` is private

//! A device that was not registered with a namespace would not go with it.

include!("../preamble.rs");

/// Makes a device that nobody unregisters.
pub fn stray(net: &Namespace) -> Result<Pin<KBox<net_device::Registered>>> {
    KBox::pin_init(
        <net_device::PernetDevice<Null> as pernet::Operations>::init(net),
        GFP_KERNEL,
    )
}
