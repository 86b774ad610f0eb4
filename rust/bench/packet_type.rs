// SPDX-License-Identifier: GPL-2.0

//! Handlers of packets: callbacks for the packets of a protocol, or for all, of one device.

use core::{
    marker::PhantomData,
    ptr::NonNull, //
};

use kernel::{
    bindings,
    net::{
        net_device::NetDevice,
        Namespace, //
    },
    prelude::*,
    sync::rcu,
    types::Opaque, //
};

use crate::device::NetDeviceRef;

mod c {
    use kernel::bindings::{
        net_device,
        sk_buff, //
    };

    // Functions of `device.c`.
    unsafe extern "C" {
        pub(super) fn rnetns_bench_consume_skb(skb: *mut sk_buff);
        pub(super) fn rnetns_bench_skb_dev(skb: *const sk_buff) -> *mut net_device;
        pub(super) fn rnetns_bench_skb_is_outgoing(skb: *const sk_buff) -> bool;
    }
}

/// Which packets a handler gets: an Ethernet type.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Protocol(u16);

impl Protocol {
    /// Every packet, also those that the device sends: `ETH_P_ALL`.
    pub(crate) const ALL: Self = Self(bindings::ETH_P_ALL as u16);
    /// For experiments on the local network: `ETH_P_802_EX1`.
    pub(crate) const EXPERIMENTAL: Self = Self(bindings::ETH_P_802_EX1 as u16);

    /// The number, in the byte order of this machine.
    #[inline]
    pub(crate) fn number(self) -> u16 {
        self.0
    }
}

/// Where a packet that passes a device goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Direction {
    /// The device has received it.
    Receive,
    /// The device is about to send it: `PACKET_OUTGOING`.
    Transmit,
}

/// A packet that a handler is shown. Others may see it too: nothing can be changed in it.
///
/// # Invariants
///
/// `skb` is valid for `'a`, and so is its device.
pub(crate) struct Packet<'a> {
    skb: NonNull<bindings::sk_buff>,
    _skb: PhantomData<&'a bindings::sk_buff>,
}

impl Packet<'_> {
    /// The device that the packet passes.
    #[inline]
    pub(crate) fn dev(&self) -> &NetDevice {
        // SAFETY: By the type invariant packet and device are valid.
        unsafe { NetDevice::from_raw(c::rnetns_bench_skb_dev(self.skb.as_ptr())) }
    }

    /// The namespace that the packet is in: that of the device which it passes, unless that goes.
    #[inline]
    pub(crate) fn net<'g>(&self, guard: &'g rcu::Guard) -> Option<&'g Namespace> {
        self.dev().net(guard)
    }

    /// Whether the device receives or sends it.
    #[inline]
    pub(crate) fn direction(&self) -> Direction {
        // SAFETY: By the type invariant the packet is valid.
        match unsafe { c::rnetns_bench_skb_is_outgoing(self.skb.as_ptr()) } {
            true => Direction::Transmit,
            false => Direction::Receive,
        }
    }
}

/// What is done with packets.
pub(crate) trait Handler: Send + Sync + 'static {
    /// Sees a packet. Bottom halves are off and RCU is held; runs on several CPUs at once.
    fn receive(&self, packet: &Packet<'_>);
}

/// A handler that is called for the packets of a device.
///
/// Dropping it ends that, and waits until no call is running: process context, sleeps. It holds the
/// device, which cannot be unregistered completely before: drop it soon when the device is to go.
///
/// # Invariants
///
/// `packet_type` is on the list of `dev`, and its callback belongs to `H`.
#[pin_data(PinnedDrop)]
pub(crate) struct Registration<H: Handler> {
    // The handler comes first: packets may arrive as soon as `packet_type` is there.
    handler: H,
    dev: NetDeviceRef,
    #[pin]
    packet_type: Opaque<bindings::packet_type>,
}

// SAFETY: It can be dropped on any thread, and `Handler` is `Send`.
unsafe impl<H: Handler> Send for Registration<H> {}

// SAFETY: What is reachable by reference is the handler, which is `Sync`, and a device.
unsafe impl<H: Handler> Sync for Registration<H> {}

/// Calls `handler` for the packets of `protocol` that pass `dev`.
///
/// Wraps `dev_add_pack()`. Process context.
pub(crate) fn register<H: Handler>(
    dev: NetDeviceRef,
    protocol: Protocol,
    handler: H,
) -> impl PinInit<Registration<H>, Error> {
    let raw = dev.as_raw();
    try_pin_init!(Registration {
        handler,
        dev,
        packet_type <- Opaque::ffi_init(move |packet_type: *mut bindings::packet_type| {
            // SAFETY: The structure is ours to write, and pinned until `drop` takes it off the
            // list. `raw` is held by `dev`, which is dropped after that.
            unsafe {
                packet_type.write(bindings::packet_type {
                    type_: protocol.0.to_be(),
                    dev: raw.cast(),
                    func: Some(receive::<H>),
                    ..pin_init::zeroed()
                });
                bindings::dev_add_pack(packet_type);
            }
        }),
    }? Error)
}

impl<H: Handler> Registration<H> {
    /// The handler.
    #[inline]
    pub(crate) fn handler(&self) -> &H {
        &self.handler
    }

    /// The device.
    #[inline]
    pub(crate) fn dev(&self) -> &NetDevice {
        &self.dev
    }
}

/// # Safety
///
/// Only the stack may call it, with a packet and one reference to it that the stack gives up, and
/// with a `packet_type` that is part of a [`Registration<H>`].
unsafe extern "C" fn receive<H: Handler>(
    skb: *mut bindings::sk_buff,
    _dev: *mut bindings::net_device,
    packet_type: *mut bindings::packet_type,
    _orig_dev: *mut bindings::net_device,
) -> c_int {
    let packet_type = Opaque::cast_from(packet_type.cast_const());
    // SAFETY: The caller promises what it is part of. `drop` waits for running calls, and the
    // handler was there before the `packet_type` was on a list.
    let handler =
        unsafe { &(*kernel::container_of!(packet_type, Registration<H>, packet_type)).handler };
    if let Some(skb) = NonNull::new(skb) {
        // INVARIANT: The reference that was given up lasts until it is dropped below; the stack
        // keeps the device, and that its namespace, while it handles the packet.
        handler.receive(&Packet {
            skb,
            _skb: PhantomData,
        });
    }
    // SAFETY: One reference is ours. Others, if any, are not touched.
    unsafe { c::rnetns_bench_consume_skb(skb) };
    0
}

#[pinned_drop]
impl<H: Handler> PinnedDrop for Registration<H> {
    fn drop(self: Pin<&mut Self>) {
        // SAFETY: By the type invariant it is on a list. This waits for a grace period.
        unsafe { bindings::dev_remove_pack(self.packet_type.get()) };
    }
}
