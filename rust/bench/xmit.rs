// SPDX-License-Identifier: GPL-2.0

//! Packets made in the kernel and given to a device to send.

use core::{
    mem::ManuallyDrop,
    ptr::NonNull, //
};

use kernel::{
    bindings,
    error::to_result,
    net::net_device::NetDevice,
    prelude::*, //
};

use crate::packet_type::Protocol;

mod c {
    use kernel::bindings::{
        net_device,
        sk_buff, //
    };
    use kernel::ffi::c_int;

    // Functions of `device.c`.
    unsafe extern "C" {
        pub(super) fn rnetns_bench_header_room(dev: *const net_device) -> u32;
        pub(super) fn rnetns_bench_kfree_skb(skb: *mut sk_buff);
        pub(super) fn rnetns_bench_skb_new(
            dev: *mut net_device,
            protocol: u16,
            room: u32,
            len: u32,
        ) -> *mut sk_buff;
        pub(super) fn rnetns_bench_skb_header(skb: *mut sk_buff, protocol: u16) -> c_int;
    }
}

/// The most bytes of a packet behind the link-layer header: what an IP packet has at most.
pub(crate) const MAX_LEN: u32 = 0xffff;

/// A packet with a link-layer header, ready to be sent by its device.
///
/// # Invariants
///
/// `skb` is valid and owned; its device is `dev`, its protocol and headers are set.
pub(crate) struct Outgoing<'a> {
    skb: NonNull<bindings::sk_buff>,
    _dev: &'a NetDevice,
}

impl<'a> Outgoing<'a> {
    /// Makes a packet of `len` zero bytes behind a link-layer header from `dev` to itself.
    ///
    /// Wraps `alloc_skb()` and `dev_hard_header()`. May be called from any context. `EMSGSIZE` for
    /// more than [`MAX_LEN`], `ENOMEM`, or `EINVAL` if the device's header cannot be made.
    #[inline]
    pub(crate) fn new(dev: &'a NetDevice, protocol: Protocol, len: u32) -> Result<Self> {
        // SAFETY: The device is valid: its constants are read.
        let room = unsafe { c::rnetns_bench_header_room(dev.as_raw()) };
        if len > MAX_LEN || room > MAX_LEN {
            return Err(EMSGSIZE);
        }
        // SAFETY: The size is far from where the allocator's own sums, of 32 bits, would overflow.
        // `dev` is borrowed for as long as the packet is ours.
        let skb = unsafe { c::rnetns_bench_skb_new(dev.as_raw(), protocol.number(), room, len) };
        let skb = NonNull::new(skb).ok_or(ENOMEM)?;
        // INVARIANT: The packet is new; `Outgoing` owns it from here, and frees it on error. What
        // follows makes the header.
        let packet = Self { skb, _dev: dev };
        // SAFETY: The packet has room for the header of its device.
        let header = unsafe { c::rnetns_bench_skb_header(skb.as_ptr(), protocol.number()) };
        if header < 0 {
            return Err(EINVAL);
        }
        Ok(packet)
    }

    /// Gives the packet to its device. Wraps `dev_queue_xmit()`; interrupts must be on.
    #[inline]
    pub(crate) fn dev_queue_xmit(self) -> Result {
        let me = ManuallyDrop::new(self);
        // SAFETY: The packet is valid and complete, and its ownership goes to the stack.
        match unsafe { bindings::__dev_queue_xmit(me.skb.as_ptr(), core::ptr::null_mut()) } {
            err if err < 0 => to_result(err),
            0 => Ok(()),
            // `NET_XMIT_DROP` and its like.
            _ => Err(ENOBUFS),
        }
    }
}

impl Drop for Outgoing<'_> {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: By the type invariant the packet is ours.
        unsafe { c::rnetns_bench_kfree_skb(self.skb.as_ptr()) };
    }
}
