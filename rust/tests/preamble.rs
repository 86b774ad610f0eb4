// SPDX-License-Identifier: GPL-2.0

// What every compile test begins with: a module, the abstractions, and a state that each namespace
// has one of. Included by the tests, which are crates of their own and never run.

#[allow(unused_imports)]
use kernel::{
    net::{
        dst::{
            self,
            Dst,
            OwnedDst,
            ValidDst, //
        },
        in_device,
        namespace::namespaces,
        net_device::{
            self,
            LinkStats,
            NetDevice,
            OwnNetDevice,
            Setup,
            XmitResult, //
        },
        netdev_notifier,
        netfilter,
        pcpu_counters::PcpuCounters,
        pernet::{
            self,
            register_pernet_device,
            register_pernet_subsys,
            HasSlot,
            Subsys, //
        },
        rtnl,
        sk_buff::{
            ReceivedSkBuff,
            SkBuff, //
        },
        sock::Sock,
        tagged_table::{
            Owner,
            Table, //
        },
        LiveNamespace,
        Namespace,
        NamespaceRef, //
    },
    pernet_slot,
    prelude::*,
    sync::{
        aref::ARef,
        atomic::{
            Atomic,
            Relaxed, //
        },
        rcu,
        Arc, //
    },
    time::{
        BootTime,
        Instant,
        Jiffies, //
    },
};

module! {
    type: CompileTest,
    name: "compile_test",
    authors: ["rnetns developers"],
    description: "Never loaded",
    license: "GPL",
}

/// The module that `#[vtable]` asks for.
pub struct CompileTest;

impl kernel::Module for CompileTest {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        Ok(Self)
    }
}

/// A state of the plainest kind.
pub struct State(u32);

impl State {
    fn generation(&self) -> u32 {
        self.0
    }
}

pernet_slot!(State);

#[vtable]
impl pernet::Operations for State {
    type Kind = pernet::Subsys;

    fn init(net: &Namespace) -> impl PinInit<Self, Error> {
        Ok::<_, Error>(Self(net.inum()))
    }
}

/// A device of the plainest kind: it drops what it is given.
pub struct Null;

pernet_slot!(Null: net_device::Registered);

#[vtable]
impl net_device::Operations for Null {
    const NAME: &'static CStr = c"null0";

    fn setup(dev: &mut Setup<'_>) {
        dev.mtu(1500).no_queue();
    }

    fn start_xmit(_net: &Namespace, _dev: &OwnNetDevice, _skb: SkBuff<'_>) -> XmitResult {
        XmitResult::Ok
    }
}

/// Hooks of the plainest kind: they look at packets.
pub struct Look;

pernet_slot!(Look: netfilter::Registered);

impl netfilter::PreRouting for Look {
    const PROTOCOL: netfilter::Protocol = netfilter::Protocol::Ipv4;
    const PRIORITY: i32 = 0;

    fn pre_routing(_net: &Namespace, _packet: &mut netfilter::Packet<'_>) -> netfilter::Verdict {
        netfilter::Verdict::Accept
    }
}

impl netfilter::Hooks for Look {
    fn hooks() -> &'static [netfilter::Hook] {
        static HOOKS: [netfilter::Hook; 1] = [netfilter::Hook::pre_routing::<Look>()];
        &HOOKS
    }
}
