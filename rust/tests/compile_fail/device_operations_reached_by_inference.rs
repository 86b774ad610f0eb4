// SPDX-License-Identifier: GPL-2.0
// expect: E0308
// expect: expected `&Registration<_>`, found `&Registration<Null>`

//! What makes a device in a namespace is the library's: a registration must not lead to it.

include!("../preamble.rs");

/// Makes the state of a namespace once more, by operations that need not be named.
pub fn make<T: pernet::Operations>(_: &pernet::Registration<T>, net: &Namespace) -> Result {
    drop(KBox::pin_init(T::init(net), GFP_KERNEL)?);
    Ok(())
}

/// Makes a device that nobody unregisters.
pub fn stray(devices: &net_device::Registration<Null>, net: &Namespace) -> Result {
    make(devices, net)
}
