// SPDX-License-Identifier: GPL-2.0

//! Packets.
//!
//! A driver's [`start_xmit`](super::net_device::Operations::start_xmit) gets a [`SkBuff`], which it
//! consumes: handing it on ([`ReceivedSkBuff::netif_rx`]) or dropping it.
//!
//! C header: [`include/linux/skbuff.h`](srctree/include/linux/skbuff.h)

use core::{
    marker::PhantomData,
    mem::ManuallyDrop,
    ptr::NonNull, //
};

use crate::{
    bindings,
    prelude::*, //
};

use super::{
    net_device::{
        NetDevice,
        OwnNetDevice, //
    },
    sock::Sock, //
};

/// What became of a packet given to the stack.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RxResult {
    /// Queued for reception: `NET_RX_SUCCESS`.
    Success,
    /// Dropped by the stack, which was too busy: `NET_RX_DROP`.
    Drop,
}

/// A packet (`struct sk_buff`) that is in the hands of a device: on its way out, or just in.
///
/// Dropping it frees the packet, as one that could not be delivered (`kfree_skb()`).
///
/// # Invariants
///
/// `skb` points to a valid packet that this value owns. Its `dev` is set, to a device that is valid
/// for `'a`. `'a` is within one RCU critical section: that of the callback which was given the
/// packet.
pub struct SkBuff<'a> {
    skb: NonNull<bindings::sk_buff>,
    _dev: PhantomData<&'a NetDevice>,
}

impl<'a> SkBuff<'a> {
    /// Takes over a packet from C.
    ///
    /// # Safety
    ///
    /// `skb` must be valid, and the caller must own it and hand it over. `skb->dev` must be set,
    /// and that device must stay valid, and RCU held, for `'a`.
    #[inline]
    pub(super) unsafe fn from_raw(skb: NonNull<bindings::sk_buff>) -> Self {
        // INVARIANT: The caller promises all of it.
        Self {
            skb,
            _dev: PhantomData,
        }
    }

    #[inline]
    fn as_raw(&self) -> *mut bindings::sk_buff {
        self.skb.as_ptr()
    }

    /// The length in bytes, headers and fragments included.
    #[inline]
    pub fn len(&self) -> u32 {
        // SAFETY: By the type invariant the packet is valid.
        unsafe { (*self.as_raw()).len }
    }

    /// Whether there is no byte in it.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The bytes that lie in the linear part, `skb_headlen()`.
    #[inline]
    fn headlen(&self) -> u32 {
        // SAFETY: By the type invariant the packet is valid.
        unsafe { (*self.as_raw()).len - (*self.as_raw()).data_len }
    }

    /// The socket that sent the packet, if it is known and [`orphan`](Self::orphan) has not cut it.
    ///
    /// The socket may belong to another namespace than the device. One in TIME-WAIT does not count:
    /// it does not keep its namespace. Nor does one that was chosen to receive the packet: the
    /// packet does not hold it (`sock_pfree()`).
    #[inline]
    pub fn sock(&self) -> Option<&Sock> {
        let sk = NonNull::new(self.raw_sock())?;
        // SAFETY: By the type invariant the packet is valid.
        if unsafe { bindings::skb_sk_is_prefetched(self.as_raw()) } {
            return None;
        }
        // SAFETY: A packet with any other socket holds it (`sock_wfree()`, `sock_edemux()`) until it
        // is orphaned, which takes `&mut self`.
        unsafe { Sock::from_raw(sk.as_ptr()) }
    }

    #[inline]
    fn raw_sock(&self) -> *mut bindings::sock {
        // SAFETY: By the type invariant the packet is valid.
        unsafe { (*self.as_raw()).sk.cast() }
    }

    /// Reports that the device has sent the packet, to a sender that asked for a time stamp.
    ///
    /// Wraps `skb_tx_timestamp()`.
    #[inline]
    pub fn tx_timestamp(&mut self) {
        // SAFETY: By the type invariant the packet is valid and ours.
        unsafe { bindings::skb_tx_timestamp(self.as_raw()) };
    }

    /// Forgets the time stamp: clocks differ between sending and receiving.
    ///
    /// Wraps `skb_clear_tstamp()`.
    #[inline]
    pub fn clear_tstamp(&mut self) {
        // SAFETY: By the type invariant the packet is valid and ours.
        unsafe { bindings::skb_clear_tstamp(self.as_raw()) };
    }

    /// Detaches the packet from the socket that sent it, which gets its send buffer back.
    ///
    /// Wraps `skb_orphan()`.
    #[inline]
    pub fn orphan(&mut self) {
        // SAFETY: By the type invariant the packet is valid; the union's other side is for packets
        // that wait in a socket's queue.
        let destructor = unsafe {
            (*self.as_raw())
                .__bindgen_anon_3
                .__bindgen_anon_1
                .destructor
        };
        if destructor.is_none() && self.raw_sock().is_null() {
            return;
        }
        // SAFETY: By the type invariant the packet is valid and ours; no `&Sock` of it is left,
        // since that would borrow `self`.
        unsafe { bindings::skb_orphan(self.as_raw()) };
    }

    /// Whether the packet has a route: without one, there is nothing to keep or to drop.
    #[inline]
    pub fn has_dst(&self) -> bool {
        // SAFETY: By the type invariant the packet is valid; the union's other side is for packets
        // that wait in a socket's queue.
        unsafe {
            (*self.as_raw())
                .__bindgen_anon_3
                .__bindgen_anon_1
                ._skb_refdst
                != 0
        }
    }

    /// Whether the packet has a route without a reference, which is valid under RCU alone.
    #[inline]
    fn has_borrowed_dst(&self) -> bool {
        // SAFETY: By the type invariant the packet is valid; the union's other side is for packets
        // that wait in a socket's queue.
        let dst = unsafe {
            (*self.as_raw())
                .__bindgen_anon_3
                .__bindgen_anon_1
                ._skb_refdst
        };
        dst & bindings::SKB_DST_NOREF as c_ulong != 0
    }

    /// Makes the packet own a reference to its route, so that it can be queued.
    ///
    /// Wraps `skb_dst_force()`; a route that is going away is dropped instead.
    #[inline]
    pub fn dst_force(&mut self) {
        // SAFETY: By the type invariant the packet is valid and ours, and we are in the RCU
        // critical section in which it came: a route that it has without a reference is valid
        // meanwhile.
        unsafe { bindings::skb_dst_force(self.as_raw()) };
    }

    /// Drops the packet's route, so that its reception looks one up. Wraps `skb_dst_drop()`.
    #[inline]
    pub fn dst_drop(&mut self) {
        // SAFETY: By the type invariant the packet is valid and ours.
        unsafe { bindings::skb_dst_drop(self.as_raw()) };
    }

    /// Whether the packet's route delivers to this machine, when it is used for reception.
    ///
    /// `RTCF_LOCAL` of an IPv4 route, `RTF_LOCAL` of an IPv6 one; false without a route.
    #[inline]
    pub fn dst_is_local(&self) -> bool {
        // SAFETY: By the type invariant the packet is valid, and so is the route it has.
        let dst = unsafe { bindings::skb_dst(self.as_raw()) };
        if dst.is_null() {
            return false;
        }
        // SAFETY: The route is valid while the packet has it, and `ops` is set when it is made.
        // The family tells which structure the `dst_entry` is the first part of.
        unsafe {
            match u32::from((*(*dst).ops).family) {
                bindings::AF_INET => {
                    let rt = dst.cast::<bindings::rtable>();
                    (&raw const (*rt).rt_flags).read_volatile() & bindings::RTCF_LOCAL != 0
                }
                bindings::AF_INET6 => {
                    let rt = dst.cast::<bindings::rt6_info>();
                    (&raw const (*rt).rt6i_flags).read_volatile() & bindings::RTF_LOCAL != 0
                }
                _ => false,
            }
        }
    }

    /// Takes the Ethernet header off and makes the packet one that `dev` has received: sets its
    /// protocol, packet type and device. `dev` is the device that was to send it: a device of
    /// another namespace would get a route of this one, which may be freed with it.
    ///
    /// Wraps `eth_type_trans()`. A packet without a whole header in its linear part is given back.
    #[inline]
    pub fn eth_type_trans(self, dev: &'a OwnNetDevice) -> Result<ReceivedSkBuff<'a>, Self> {
        if self.headlen() < bindings::ETH_HLEN {
            return Err(self);
        }
        let me = ManuallyDrop::new(self);
        // SAFETY: The packet is valid and ours, and its linear part holds the header that is
        // pulled. The device is valid.
        unsafe {
            let protocol = bindings::eth_type_trans(me.as_raw(), dev.as_raw());
            let headers = &raw mut (*me.as_raw()).__bindgen_anon_4;
            (*headers).headers.as_mut().protocol = protocol;
        }
        // INVARIANT: `dev` is set again, to a device that the caller has borrowed for `'a`.
        Ok(ReceivedSkBuff(SkBuff {
            skb: me.skb,
            _dev: PhantomData,
        }))
    }
}

impl Drop for SkBuff<'_> {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: By the type invariant the packet is ours.
        unsafe { bindings::kfree_skb(self.as_raw()) };
    }
}

/// A packet that is ready to be received: its protocol and device are set.
///
/// # Invariants
///
/// Those of [`SkBuff`]; and `protocol`, `pkt_type` and the MAC header are set.
pub struct ReceivedSkBuff<'a>(SkBuff<'a>);

impl ReceivedSkBuff<'_> {
    /// The length in bytes, without the link layer's header.
    #[inline]
    pub fn len(&self) -> u32 {
        self.0.len()
    }

    /// Whether nothing follows the link layer's header.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Queues the packet for reception on this CPU, with a reference to its route if it has one.
    ///
    /// Wraps `__netif_rx()`: bottom halves must be off, as they are in `start_xmit`.
    #[inline]
    pub fn netif_rx(mut self) -> RxResult {
        if self.0.has_borrowed_dst() {
            self.0.dst_force();
        }
        let me = ManuallyDrop::new(self);
        // SAFETY: The packet is valid and prepared, and its ownership goes to the stack, whatever
        // the answer. It has nothing that is borrowed but its device, which is valid now: the stack
        // takes no packet of a device that is down, and drops those that wait when one goes down. A
        // call with bottom halves on would delay the packet, not break anything.
        match unsafe { bindings::__netif_rx(me.0.as_raw()) } as u32 {
            bindings::NET_RX_SUCCESS => RxResult::Success,
            _ => RxResult::Drop,
        }
    }
}
