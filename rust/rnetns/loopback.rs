// SPDX-License-Identifier: GPL-2.0

//! `rlo`: a loopback device in each namespace.
//!
//! It does what `drivers/net/loopback.c` does, and counts packets in the state of two namespaces:
//! that of the device, and that of the socket which sent them.

use core::num::NonZeroU32;
use kernel::{
    net::{
        net_device::{
            self,
            Features,
            LinkStats,
            OwnNetDevice,
            Setup,
            XmitResult, //
        },
        sk_buff::{
            RxResult,
            SkBuff, //
        },
        Namespace, //
    },
    pernet_slot,
    prelude::*,
    sync::rcu, //
};

use crate::{
    state::{
        Counter,
        State, //
    },
    support, //
};

/// The loopback device. It has no data of its own: its counters are in the [`State`] of its
/// namespace.
pub(crate) struct Rlo;

pernet_slot!(Rlo: net_device::Registered);

#[vtable]
impl net_device::Operations for Rlo {
    const NAME: &'static CStr = c"rlo";
    /// The largest that the keys of the route cache have room for. Programs that count on the index
    /// of the first device that they make in a namespace, or ask for one, ask for small ones.
    const IFINDEX: Option<NonZeroU32> = NonZeroU32::new(0x00ff_ffff);
    const ETHTOOL_STATS: &'static [&'static CStr] = &State::FIGURES;

    fn applies_to(net: &Namespace) -> bool {
        support::is_supported(net) && support::has_rlo()
    }

    fn setup(dev: &mut Setup<'_>) {
        dev.loopback()
            .mtu(64 * 1024)
            .live_addr_change()
            .no_queue()
            .hw_features(Features::GSO_SOFTWARE)
            .features(
                Features::SG
                    .or(Features::FRAGLIST)
                    .or(Features::GSO_SOFTWARE)
                    .or(Features::HW_CSUM)
                    .or(Features::RXCSUM)
                    .or(Features::SCTP_CRC)
                    .or(Features::HIGHDMA)
                    .or(Features::VLAN_CHALLENGED)
                    .or(Features::LOOPBACK),
            )
            .tso_max_size_unlimited();
    }

    #[inline]
    fn start_xmit(net: &Namespace, dev: &OwnNetDevice, mut skb: SkBuff<'_>) -> XmitResult {
        skb.tx_timestamp();
        // The clocks of sending and receiving differ.
        skb.clear_tstamp();
        count_sent(net, &skb);
        skb.orphan();
        if skb.has_dst() {
            // The packet is going to be queued, and its route must last for that.
            skb.dst_force();
            // Routes to `lo` deliver; a route that led here need not. Without a route, the packet
            // is routed where it comes in.
            if !skb.dst_is_local() {
                skb.dst_drop();
            }
        }
        if receive(dev, skb).is_none() {
            count(net, Counter::Dropped, 1);
        }
        XmitResult::Ok
    }

    fn get_stats64(_net: &Namespace, dev: &OwnNetDevice, stats: &mut LinkStats<'_>) {
        let (packets, bytes) = dev.lstats_read();
        stats.set_rx(packets, bytes);
        stats.set_tx(packets, bytes);
    }

    fn get_link(_net: &Namespace, _dev: &OwnNetDevice) -> bool {
        true
    }

    fn ethtool_stats(net: &Namespace, _dev: &OwnNetDevice, values: &mut [u64]) {
        if let Ok(state) = State::of(net, &rcu::read_lock()) {
            for (value, figure) in values.iter_mut().zip(state.figures()) {
                *value = figure;
            }
        }
    }
}

/// Makes `dev` receive what it has just sent. `None` if the packet was lost.
#[inline]
fn receive<'a>(dev: &'a OwnNetDevice, skb: SkBuff<'a>) -> Option<()> {
    let skb = skb.eth_type_trans(dev).ok()?;
    let len = skb.len();
    if skb.netif_rx() != RxResult::Success {
        return None;
    }
    dev.lstats_add(len);
    Some(())
}

/// Counts a packet in the namespace of the device, and in that of the socket.
#[inline]
fn count_sent(net: &Namespace, skb: &SkBuff<'_>) {
    let guard = rcu::read_lock();
    let len = u64::from(skb.len());
    let Ok(state) = State::of(net, &guard) else {
        return;
    };
    state.count_packet(Counter::DevicePackets, len);
    let Some(net) = skb.sock().and_then(|sock| sock.net(&guard)) else {
        return;
    };
    if let Ok(state) = State::of(net, &guard) {
        state.count_packet(Counter::SocketPackets, len);
    }
}

/// Counts in the state of `net`, if it has one: not while it is ending.
fn count(net: &Namespace, counter: Counter, value: u64) {
    if let Ok(state) = State::of(net, &rcu::read_lock()) {
        state.count(counter, value);
    }
}
