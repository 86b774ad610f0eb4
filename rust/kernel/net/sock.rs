// SPDX-License-Identifier: GPL-2.0

//! Sockets, as far as packets refer to them.
//!
//! C header: [`include/net/sock.h`](srctree/include/net/sock.h)

use crate::{
    bindings,
    sync::rcu,
    types::Opaque, //
};

use super::Namespace;

/// A socket that a packet belongs to.
///
/// It may be a small one, of a connection request: only what all kinds have is reachable. It is
/// none in TIME-WAIT.
///
/// # Invariants
///
/// While a reference exists, the `sock_common` part is valid, and so is the memory of the namespace
/// in it: the socket has a count on the `struct net`, `passive` if not an active one. The socket of
/// a request holds a listening one, which has.
#[repr(transparent)]
pub struct Sock {
    inner: Opaque<bindings::sock>,
}

impl Sock {
    /// Borrows a socket from a C pointer; `None` for one in TIME-WAIT.
    ///
    /// # Safety
    ///
    /// `ptr` must point to a socket, of any size, that stays valid for `'a`.
    #[inline]
    pub unsafe fn from_raw<'a>(ptr: *mut bindings::sock) -> Option<&'a Self> {
        // SAFETY: The caller promises validity, and all kinds of sockets have a state.
        let state = unsafe { (&raw const (*ptr).__sk_common.skc_state).read_volatile() };
        // `inet_twsk_alloc()` takes no count on the namespace, which may be gone while a packet
        // still refers to the socket. One in TIME-WAIT stays so, and no other becomes so.
        if u32::from(state) == bindings::TCP_TIME_WAIT {
            return None;
        }
        // INVARIANT: The caller promises validity for `'a`; the other kinds have a count.
        // SAFETY: The type is transparent, and the caller promises validity.
        Some(unsafe { &*ptr.cast::<Self>() })
    }

    /// Returns the namespace of the socket, unless its end has begun.
    ///
    /// A socket of the kernel's own keeps the memory of `struct net`, and not the namespace: a
    /// packet that waits in a queue can refer to such a socket after the `exit` callbacks have freed
    /// all per-namespace data. Therefore the count of users is asked, under RCU: what counts now has
    /// its data until the guard is dropped.
    ///
    /// Some sockets of the kernel's own belong to one namespace after another, and to `init_net`
    /// meanwhile: ICMP's and TCP's for replies.
    ///
    /// Wraps `sock_net()`, `net_initialized()` and `check_net()`. May be called from any context.
    ///
    /// # Examples
    ///
    /// ```
    /// # use kernel::net::sock::Sock;
    /// # use kernel::sync::rcu;
    /// fn is_live(sk: &Sock) -> bool {
    ///     sk.net(&rcu::read_lock()).is_some()
    /// }
    /// ```
    #[inline]
    pub fn net<'guard>(&self, _guard: &'guard rcu::Guard) -> Option<&'guard Namespace> {
        let net = self.raw_net();
        // SAFETY: By the type invariant the memory of the `struct net` is valid. Both only read it.
        let in_use = unsafe { bindings::net_initialized(net) && bindings::check_net(net) != 0 };
        // SAFETY: The creation of the namespace is over, so that only `cleanup_net()` ends it,
        // after its count has come to zero. It was above zero within this RCU section. Between
        // that end and the `exit` callbacks, `cleanup_net()` waits for a grace period, and so for
        // `'guard`; until then storage and `gen` array are valid.
        in_use.then(|| unsafe { Namespace::from_raw(net) })
    }

    #[inline]
    fn raw_net(&self) -> *mut bindings::net {
        // SAFETY: `skc_net` is in the part that the type invariant says is valid, and is set for
        // all kinds of sockets.
        unsafe { bindings::sock_net(self.inner.get()) }
    }
}
