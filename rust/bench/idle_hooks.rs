// SPDX-License-Identifier: GPL-2.0

//! Hooks that do nothing.
//!
//! The kernel patches its code on the packets' path with the first hook and after the last one.
//! While these hooks are there, others can come and go without a patch. Emulators of several
//! processors apply such patches wrongly now and then.

use kernel::{
    net::{
        netfilter::{
            self,
            Packet,
            Protocol,
            Verdict, //
        },
        Namespace, //
    },
    pernet_slot,
    prelude::*, //
};

struct Idle4;
struct Idle6;

impl netfilter::PreRouting for Idle4 {
    const PROTOCOL: Protocol = Protocol::Ipv4;
    const PRIORITY: i32 = 0;

    fn pre_routing(_net: &Namespace, _packet: &mut Packet<'_>) -> Verdict {
        Verdict::Accept
    }
}

impl netfilter::PreRouting for Idle6 {
    const PROTOCOL: Protocol = Protocol::Ipv6;
    const PRIORITY: i32 = 0;

    fn pre_routing(_net: &Namespace, _packet: &mut Packet<'_>) -> Verdict {
        Verdict::Accept
    }
}

/// Both, in each namespace.
pub(crate) struct Idle;

pernet_slot!(Idle: netfilter::Registered);

impl netfilter::Hooks for Idle {
    fn hooks() -> &'static [netfilter::Hook] {
        static HOOKS: [netfilter::Hook; 2] = [
            netfilter::Hook::pre_routing::<Idle4>(),
            netfilter::Hook::pre_routing::<Idle6>(),
        ];
        &HOOKS
    }
}

/// The hooks while this exists.
pub(crate) type IdleHooks = Pin<KBox<netfilter::Registration<Idle>>>;

/// Registers them. Process context, sleeps.
pub(crate) fn register() -> Result<IdleHooks> {
    KBox::pin_init(netfilter::register(), GFP_KERNEL)
}
