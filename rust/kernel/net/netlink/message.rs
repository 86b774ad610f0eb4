// SPDX-License-Identifier: GPL-2.0

//! What is put into messages, and where they are sent.
//!
//! C header: [`include/net/genetlink.h`](srctree/include/net/genetlink.h)

use core::{
    mem::ManuallyDrop,
    ptr::NonNull, //
};

use crate::{
    alloc::Flags,
    bindings,
    error::to_result,
    net::Namespace,
    prelude::*, //
};

use super::{
    request::GeneratedFamily,
    Family,
    GenlMsg,
    NetlinkSkBuff,
    GENLMSG_DEFAULT_SIZE, //
};

impl GenlMsg {
    /// Puts an attribute of any bytes into the message.
    #[inline]
    pub fn put_bytes(&mut self, attrtype: c_int, value: &[u8]) -> Result {
        self.put(attrtype, value)
    }

    /// Puts a number into the message, in 32 bits if it fits: what a specification calls `uint`.
    ///
    /// As `nla_put_uint()`.
    #[inline]
    pub fn put_uint(&mut self, attrtype: c_int, value: u64) -> Result {
        match u32::try_from(value) {
            Ok(value) => self.put(attrtype, &value),
            Err(_) => self.put(attrtype, &value),
        }
    }

    /// Sends the message as the answer to a request. Wraps `genlmsg_reply()`.
    ///
    /// # Safety
    ///
    /// `info` must be that of a request that is being answered.
    pub(super) unsafe fn reply(self, info: NonNull<bindings::genl_info>) -> Result {
        let me = ManuallyDrop::new(self);
        // SAFETY: The `skb` is valid, and its header in it. We pass ownership of the `skb` to
        // `genlmsg_reply` by not dropping `self`. The caller promises the request.
        unsafe {
            bindings::genlmsg_end(me.skb.skb.as_ptr(), me.hdr.as_ptr());
            to_result(bindings::genlmsg_reply(
                me.skb.skb.as_ptr(),
                info.as_ptr().cast(),
            ))
        }
    }

    /// Sends the message to a multicast group of one namespace.
    ///
    /// `ESRCH` if nobody listens. Wraps `genlmsg_multicast_netns()`.
    fn multicast_netns(
        self,
        family: &'static Family,
        net: &Namespace,
        portid: u32,
        group: u32,
        flags: Flags,
    ) -> Result {
        let me = ManuallyDrop::new(self);
        // SAFETY: The `skb`, `family` and `net` pointers are valid. We pass ownership of the `skb`
        // to `genlmsg_multicast_netns` by not dropping `self`.
        unsafe {
            bindings::genlmsg_end(me.skb.skb.as_ptr(), me.hdr.as_ptr());
            to_result(bindings::genlmsg_multicast_netns(
                family.as_raw().cast(),
                net.as_raw(),
                me.skb.skb.as_ptr(),
                portid,
                group,
                flags.as_raw(),
            ))
        }
    }
}

impl GeneratedFamily {
    /// Checks if there are any listeners for the given multicast group in a namespace.
    #[inline]
    fn has_listeners_in(&self, net: &Namespace, group: u32) -> bool {
        // SAFETY: The family and net pointers are valid.
        unsafe { bindings::genl_has_listeners(self.0.as_raw(), net.as_raw().cast(), group) > 0 }
    }

    /// Tells the listeners of a group in a namespace something, if there are any: a notification.
    ///
    /// `group` is its number within the family; `EINVAL` if it has no such group. `ENOMEM`,
    /// `EMSGSIZE`, or the error of `fill`; none if nobody listens.
    ///
    /// The family is to be registered. While it is not, the numbers of its groups are not its own:
    /// listeners of another family may get the message.
    pub fn notify(
        &'static self,
        net: &Namespace,
        group: u32,
        cmd: u8,
        flags: Flags,
        fill: impl FnOnce(&mut Message<'_>) -> Result,
    ) -> Result {
        let family = &self.0;
        // SAFETY: The family is valid, and the word constant.
        if group >= unsafe { (*family.as_raw()).n_mcgrps }.into() {
            return Err(EINVAL);
        }
        if !self.has_listeners_in(net, group) {
            return Ok(());
        }
        let skb = NetlinkSkBuff::new(GENLMSG_DEFAULT_SIZE, flags)?;
        let mut msg = skb.genlmsg_put(0, 0, family, cmd)?;
        fill(&mut Message::new(&mut msg))?;
        match msg.multicast_netns(family, net, 0, group, flags) {
            // The last of those who listened has left.
            Err(ESRCH) => Ok(()),
            sent => sent,
        }
    }
}

/// A [`GenlMsg`] that is being filled in.
///
/// It lends the message, but not as a whole: the buffer of a dump's message is the dump's, and must
/// not be exchanged for another.
pub struct Message<'a>(&'a mut GenlMsg);

impl<'a> Message<'a> {
    #[inline]
    pub(super) fn new(msg: &'a mut GenlMsg) -> Self {
        Self(msg)
    }

    /// Puts bytes. `EMSGSIZE` if they do not fit, as for all that is put.
    #[inline]
    pub fn put_bytes(&mut self, attr: u32, value: &[u8]) -> Result {
        self.0.put_bytes(attr as c_int, value)
    }

    /// Puts a number of 32 bits.
    #[inline]
    pub fn put_u32(&mut self, attr: u32, value: u32) -> Result {
        self.0.put_u32(attr as c_int, value)
    }

    /// Puts a number of 64 bits, in 32 if it fits: what a specification calls `uint`.
    #[inline]
    pub fn put_uint(&mut self, attr: u32, value: u64) -> Result {
        self.0.put_uint(attr as c_int, value)
    }

    /// Puts an attribute that says something by being there, if `value` is true.
    #[inline]
    pub fn put_flag(&mut self, attr: u32, value: bool) -> Result {
        if value {
            self.0.put_flag(attr as c_int)
        } else {
            Ok(())
        }
    }
}
