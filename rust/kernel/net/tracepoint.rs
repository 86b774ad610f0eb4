// SPDX-License-Identifier: GPL-2.0

//! Tracepoints that can be called without `unsafe`.
//!
//! `kernel::declare_trace!` declares functions whose requirements are those of the C code, which it
//! does not know. Where C gets numbers, and addresses by pointers to what is `const`, there are
//! none: [`declare_safe_trace!`] takes nothing else.
//!
//! C header: [`include/linux/tracepoint.h`](srctree/include/linux/tracepoint.h)

use crate::bindings;

/// An address, as tracepoints take it.
#[derive(Clone, Copy)]
pub struct Address {
    family: u16,
    address: bindings::in6_addr,
}

impl Address {
    /// An IPv4 address, in the order of this machine.
    #[inline]
    pub fn v4(address: u32) -> Self {
        Self {
            family: bindings::AF_INET as u16,
            ..Self::v6([address.to_be(), 0, 0, 0])
        }
    }

    /// An IPv6 address, as it is in packets.
    #[inline]
    pub fn v6(words: [u32; 4]) -> Self {
        Self {
            family: bindings::AF_INET6 as u16,
            address: bindings::in6_addr {
                in6_u: bindings::in6_addr__bindgen_ty_1 { u6_addr32: words },
            },
        }
    }

    /// Its family, which C does not see of it.
    #[inline]
    pub fn family(&self) -> u16 {
        self.family
    }
}

/// What a tracepoint can be given.
///
/// # Safety
///
/// C may use what [`as_raw`](Self::as_raw) returns in any way that its C type allows, for as long
/// as the argument is borrowed.
pub unsafe trait Argument {
    /// What C gets.
    type Raw;

    /// Makes it of the argument.
    fn as_raw(&self) -> Self::Raw;
}

// SAFETY: A number has no requirement.
unsafe impl Argument for u32 {
    type Raw = u32;

    #[inline]
    fn as_raw(&self) -> u32 {
        *self
    }
}

// SAFETY: A number has no requirement.
unsafe impl Argument for u16 {
    type Raw = u16;

    #[inline]
    fn as_raw(&self) -> u16 {
        *self
    }
}

// SAFETY: The pointer is to something valid of that type, which C only reads: it is `const`.
unsafe impl Argument for Address {
    type Raw = *const bindings::in6_addr;

    #[inline]
    fn as_raw(&self) -> *const bindings::in6_addr {
        &raw const self.address
    }
}

/// Declares functions that call tracepoints of C.
///
/// Each takes a closure that returns the arguments. It is called while somebody traces and not
/// else: the function is a branch that is patched out then.
///
/// # Examples
///
/// ```ignore
/// declare_safe_trace! {
///     /// A packet was routed by an entry.
///     fn route_cache_hit(netns: u32, saddr: Address);
/// }
///
/// route_cache_hit(|| (net.inum(), Address::v4(saddr)));
/// ```
// The `unsafe` block has names in it alone, of C's function and of its arguments.
#[allow(clippy::macro_metavars_in_unsafe)]
#[macro_export]
macro_rules! declare_safe_trace {
    ($($(#[$attr:meta])* $vis:vis fn $name:ident($($arg:ident: $type:ty),* $(,)?);)*) => {$(
        $(#[$attr])*
        #[inline(always)]
        $vis fn $name(arguments: impl FnOnce() -> ($($type,)*)) {
            #[cfg(CONFIG_TRACEPOINTS)]
            {
                // SAFETY: The key is that of a tracepoint that C defines.
                let traced = unsafe {
                    $crate::macros::paste! {
                        $crate::jump_label::static_branch_unlikely!(
                            $crate::bindings::[< __tracepoint_ $name >],
                            $crate::bindings::tracepoint,
                            key
                        )
                    }
                };
                if traced {
                    #[cold]
                    fn call($($arg: $type),*) {
                        $(let $arg = $crate::net::tracepoint::Argument::as_raw(&$arg);)*
                        let trace = $crate::macros::paste! {
                            $crate::bindings::[< rust_do_trace_ $name >]
                        };
                        // SAFETY: C may use the arguments as their types allow until the call
                        // returns, says `Argument`: what they were made of is there until then.
                        unsafe { trace($($arg),*) }
                    }
                    let ($($arg,)*) = arguments();
                    call($($arg),*);
                }
            }
            #[cfg(not(CONFIG_TRACEPOINTS))]
            let _ = arguments;
        }
    )*};
}
