// SPDX-License-Identifier: GPL-2.0

//! Sockets, as far as packets refer to them.
//!
//! C header: [`include/net/sock.h`](srctree/include/net/sock.h)

use kernel::types::Opaque;

use super::Namespace;
use crate::bindings;

/// A socket that a packet belongs to.
///
/// It may be one of the small ones (a request or a TIME-WAIT socket): only what all of them have is
/// reachable.
///
/// # Invariants
///
/// The `sock_common` part is valid while a reference exists.
#[repr(transparent)]
pub struct Sock {
    inner: Opaque<bindings::sock>,
}

impl Sock {
    /// Borrows a socket from a C pointer.
    ///
    /// # Safety
    ///
    /// `ptr` must point to a socket, of any size, that stays valid for `'a`.
    pub unsafe fn from_raw<'a>(ptr: *mut bindings::sock) -> &'a Self {
        // INVARIANT: The caller promises it for `'a`.
        // SAFETY: The type is transparent, and the caller promises validity.
        unsafe { &*ptr.cast::<Self>() }
    }

    /// Returns the namespace in which the socket was made, not that of its user.
    ///
    /// Wraps `sock_net()`. May be called from any context.
    ///
    /// # Examples
    ///
    /// ```
    /// fn sent_from(skb: &SkBuff, net: &Namespace) -> bool {
    ///     skb.sock().is_some_and(|sk| sk.net().tag() == net.tag())
    /// }
    /// ```
    #[inline]
    pub fn net(&self) -> &Namespace {
        // SAFETY: `skc_net` is in the part that the type invariant says is valid, and is set for
        // all kinds of sockets. A socket holds its namespace or is purged by the namespace's exit
        // callbacks before that is freed, so that it is valid while the socket is.
        unsafe { Namespace::from_raw(bindings::sock_net(self.inner.get())) }
    }
}
