// SPDX-License-Identifier: GPL-2.0

//! Packets made in the kernel and given to a device to send.
//!
//! C header: [`include/linux/netdevice.h`](srctree/include/linux/netdevice.h)

use core::{
    mem::ManuallyDrop,
    ptr::NonNull, //
};

use crate::{
    bindings,
    error::to_result,
    prelude::*, //
};

use super::{
    net_device::NetDevice,
    packet_type::Protocol, //
};

/// The most bytes of a packet behind the link-layer header: what an IP packet has at most.
pub const MAX_LEN: u32 = 0xffff;

/// A packet with a link-layer header, ready to be sent by its device.
///
/// # Invariants
///
/// `skb` is valid and owned; its device is `dev`, its protocol and headers are set.
pub struct Outgoing<'a> {
    skb: NonNull<bindings::sk_buff>,
    _dev: &'a NetDevice,
}

impl<'a> Outgoing<'a> {
    /// Makes a packet of `len` zero bytes behind a link-layer header from `dev` to itself.
    ///
    /// Wraps `alloc_skb()` and `dev_hard_header()`. May be called from any context. `EMSGSIZE` for
    /// more than [`MAX_LEN`], `ENOMEM`, or `EINVAL` if the device's header cannot be made.
    #[inline]
    pub fn new(dev: &'a NetDevice, protocol: Protocol, len: u32) -> Result<Self> {
        // SAFETY: The device is valid: its constants are read.
        let room = unsafe { bindings::LL_RESERVED_SPACE(dev.as_raw()) };
        if len > MAX_LEN || room > MAX_LEN {
            return Err(EMSGSIZE);
        }
        let size = room + len;
        // SAFETY: The size is far from where the allocator's own sums, of 32 bits, would overflow.
        let skb = unsafe { bindings::alloc_skb(size, bindings::GFP_ATOMIC) };
        let skb = NonNull::new(skb).ok_or(ENOMEM)?;
        // INVARIANT: The packet is new; `Outgoing` owns it from here, and frees it on error. What
        // follows sets the rest.
        let packet = Self { skb, _dev: dev };
        // SAFETY: The packet is new and has `room` bytes and `len` behind them. `dev` is borrowed for
        // as long as the packet is ours.
        let header = unsafe {
            bindings::skb_reserve(skb.as_ptr(), room as i32);
            bindings::skb_put_zero(skb.as_ptr(), len);
            bindings::skb_reset_network_header(skb.as_ptr());
            bindings::skb_set_dev(skb.as_ptr(), dev.as_raw());
            bindings::skb_set_protocol(skb.as_ptr(), protocol.number().to_be());
            bindings::dev_hard_header(
                skb.as_ptr(),
                dev.as_raw(),
                protocol.number(),
                core::ptr::null(),
                core::ptr::null(),
                len,
            )
        };
        if header < 0 {
            return Err(EINVAL);
        }
        Ok(packet)
    }

    /// Gives the packet to its device. Wraps `dev_queue_xmit()`; interrupts must be on.
    ///
    /// # Examples
    ///
    /// ```
    /// # use kernel::net::net_device::NetDevice;
    /// # use kernel::net::packet_type;
    /// # use kernel::net::xmit;
    /// fn send(dev: &NetDevice) -> Result {
    ///     xmit::Outgoing::new(dev, packet_type::Protocol::EXPERIMENTAL, 50)?.dev_queue_xmit()
    /// }
    /// ```
    #[inline]
    pub fn dev_queue_xmit(self) -> Result {
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
        unsafe { bindings::kfree_skb(self.skb.as_ptr()) };
    }
}
