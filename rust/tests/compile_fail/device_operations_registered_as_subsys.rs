// SPDX-License-Identifier: GPL-2.0
// expect: E0271
// expect: type mismatch resolving `<Tunnel as Operations>::Kind == Subsys`

//! What lives with devices must leave before the subsystems do.

include!("../preamble.rs");

/// A state that is of a device.
pub struct Tunnel;

pernet_slot!(Tunnel);

#[vtable]
impl pernet::Operations for Tunnel {
    type Kind = pernet::Device;

    fn init(_net: &Namespace) -> impl PinInit<Self, Error> {
        Ok::<_, Error>(Self)
    }
}

/// Registers it as the wrong kind.
pub fn register() {
    let _ = pernet::register_pernet_subsys::<Tunnel>;
}
