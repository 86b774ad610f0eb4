// SPDX-License-Identifier: GPL-2.0

//! Netfilter hooks: callbacks on the packets of a namespace, at a place on their way.
//!
//! A hook belongs to one namespace, which it is given with each packet. It is registered in each
//! namespace as that begins, or later, and gone from it a grace period before the state of the
//! namespace goes, or the module's code: no hook runs any more then.
//!
//! C header: [`include/linux/netfilter.h`](srctree/include/linux/netfilter.h)

use core::{
    marker::PhantomData,
    ptr::NonNull, //
};

use crate::{
    bindings,
    error::to_result,
    new_mutex,
    prelude::*,
    sync::{
        rcu,
        Arc,
        Mutex, //
    },
};

use super::{
    net_device::NetDevice,
    pernet,
    LiveNamespace,
    Namespace, //
};

/// Which packets a hook sees.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Protocol {
    /// IPv4 packets: `NFPROTO_IPV4`.
    Ipv4 = bindings::NFPROTO_IPV4 as u8,
    /// IPv6 packets: `NFPROTO_IPV6`.
    Ipv6 = bindings::NFPROTO_IPV6 as u8,
}

/// What becomes of a packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// It goes on: `NF_ACCEPT`.
    Accept,
}

/// A hook on packets that have come in and were not routed yet: `NF_INET_PRE_ROUTING`.
///
/// # Examples
///
/// ```
/// # use kernel::net::Namespace;
/// # use kernel::net::netfilter;
/// # use kernel::pernet_slot;
/// struct Look;
///
/// impl netfilter::PreRouting for Look {
///     const PROTOCOL: netfilter::Protocol = netfilter::Protocol::Ipv4;
///     const PRIORITY: i32 = netfilter::LAST;
///
///     fn pre_routing(_net: &Namespace, packet: &mut netfilter::Packet<'_>) -> netfilter::Verdict {
///         let _ = packet.ipv4_header();
///         netfilter::Verdict::Accept
///     }
/// }
///
/// pernet_slot!(Look: netfilter::Registered);
///
/// impl netfilter::Hooks for Look {
///     fn hooks() -> &'static [netfilter::Hook] {
///         static HOOKS: [netfilter::Hook; 1] = [netfilter::Hook::pre_routing::<Look>()];
///         &HOOKS
///     }
/// }
///
/// fn look() -> impl PinInit<netfilter::Registration<Look>, Error> {
///     netfilter::register()
/// }
/// ```
pub trait PreRouting: 'static {
    /// Which packets.
    const PROTOCOL: Protocol;
    /// The order among hooks: the lowest comes first.
    const PRIORITY: i32;

    /// Sees a packet of `net`. RCU is held, and bottom halves are off unless the packet was queued
    /// for user space on its way; must not sleep. Runs on several CPUs at once.
    fn pre_routing(net: &Namespace, packet: &mut Packet<'_>) -> Verdict;
}

/// The priority of a hook that comes after all others: `NF_IP_PRI_LAST`.
///
/// Among equals, netfilter puts the new one in front. So a hook of this priority is not registered
/// where there is another one: that would come behind it.
pub const LAST: i32 = i32::MAX;

/// A packet at a hook, whose IP header was checked by the stack.
///
/// # Invariants
///
/// `skb` is a packet of `protocol`, valid for `'a` and nobody else's, its device is the one that it
/// came in by, which was in `net` when the hook began, and RCU is held for `'a`.
pub struct Packet<'a> {
    skb: NonNull<bindings::sk_buff>,
    protocol: Protocol,
    net: &'a Namespace,
    _skb: PhantomData<&'a mut bindings::sk_buff>,
}

/// What is read of an IPv4 header. Addresses are numbers in the order of this machine.
#[derive(Clone, Copy)]
pub struct Ipv4Header {
    /// The length in words of 32 bits: more than five if there are options.
    pub ihl: u8,
    /// The type of service.
    pub tos: u8,
    /// Whether this is a fragment of a packet.
    pub is_fragment: bool,
    /// The protocol that is carried.
    pub protocol: u8,
    /// The source.
    pub saddr: u32,
    /// The destination.
    pub daddr: u32,
}

/// What is read of an IPv6 header.
#[derive(Clone, Copy)]
pub struct Ipv6Header {
    /// Traffic class and flow label, as a number in the order of this machine.
    pub flowinfo: u32,
    /// The type of the next header.
    pub nexthdr: u8,
    /// The source, as in the packet.
    pub saddr: [u32; 4],
    /// The destination, as in the packet.
    pub daddr: [u32; 4],
}

impl<'a> Packet<'a> {
    #[inline]
    pub(super) fn as_raw(&self) -> *mut bindings::sk_buff {
        self.skb.as_ptr()
    }

    /// The namespace that the packet is in.
    #[inline(always)]
    pub fn net(&self) -> &'a Namespace {
        self.net
    }

    /// Which packets the hook is for.
    #[inline(always)]
    pub fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// Evidence that RCU is held.
    #[inline(always)]
    pub fn rcu(&self) -> &'a rcu::Guard {
        // SAFETY: By the type invariant RCU is held for `'a`, which is all that a guard means. It
        // has no size, so that a reference to it needs no memory; and it is not dropped.
        unsafe { NonNull::<rcu::Guard>::dangling().as_ref() }
    }

    /// The device that the packet came in by.
    #[inline]
    pub fn dev(&self) -> &'a NetDevice {
        // SAFETY: By the type invariant packet and device are valid: devices outlive the RCU
        // critical section in which packets are received.
        unsafe { device_of(self.as_raw()) }
    }

    /// The packet's mark.
    #[inline]
    pub fn mark(&self) -> u32 {
        // SAFETY: By the type invariant the packet is valid.
        let headers = unsafe { (*self.as_raw()).__bindgen_anon_4.headers.as_ref() };
        // Where neither is there, one union less stands before it.
        #[cfg(any(CONFIG_XPS, CONFIG_NET_RX_BUSY_POLL))]
        let union = &headers.__bindgen_anon_4;
        #[cfg(not(any(CONFIG_XPS, CONFIG_NET_RX_BUSY_POLL)))]
        let union = &headers.__bindgen_anon_3;
        // SAFETY: All of the union are words.
        unsafe { union.mark }
    }

    /// Whether something decided already where it goes: a route, or a socket that takes it.
    #[inline]
    pub fn is_decided(&self) -> bool {
        // SAFETY: By the type invariant the packet is valid.
        unsafe {
            let skb = &*self.as_raw();
            skb.__bindgen_anon_3.__bindgen_anon_1._skb_refdst != 0 || !skb.sk.is_null()
        }
    }

    /// Whether the packet was protected by IPsec (`secpath_exists()`), or was shown to netfilter by
    /// a bridge (`nf_bridge_in_prerouting()`).
    #[inline(always)]
    pub fn has_special_extensions(&self) -> bool {
        // SAFETY: By the type invariant the packet is valid.
        cfg!(CONFIG_SKB_EXTENSIONS)
            && unsafe {
                bindings::skb_has_extensions(self.as_raw())
                    && (bindings::secpath_exists(self.as_raw())
                        || bindings::nf_bridge_in_prerouting(self.as_raw()))
            }
    }

    /// The first `LEN` bytes from the network header on. `None` if they are not in one piece; the
    /// stack has checked that the header itself is.
    #[inline(always)]
    pub(super) fn header<const LEN: usize>(&self) -> Option<[u8; LEN]> {
        // SAFETY: By the type invariant the packet is valid: its data, from `data` on, are
        // `len - data_len` bytes in one piece, and the network header begins there at this hook.
        unsafe {
            let skb = &*self.as_raw();
            if (skb.len - skb.data_len) < LEN as u32 {
                return None;
            }
            Some(skb.data.cast::<[u8; LEN]>().read())
        }
    }

    /// Words of the network header, as they are in the packet.
    #[inline(always)]
    fn words<const AT: usize, const LEN: usize, const WORDS: usize>(&self) -> Option<[u32; WORDS]> {
        const { assert!(AT + 4 * WORDS <= LEN) };
        let header = self.header::<LEN>()?;
        let word = |at: usize| [header[at], header[at + 1], header[at + 2], header[at + 3]];
        Some(core::array::from_fn(|i| {
            u32::from_ne_bytes(word(AT + 4 * i))
        }))
    }

    /// Source and destination of an IPv4 packet, as they are in it.
    #[inline(always)]
    pub fn ipv4_addresses(&self) -> Option<[u32; 2]> {
        self.words::<12, 20, 2>()
    }

    /// Source and destination of an IPv6 packet, as they are in it.
    #[inline(always)]
    pub fn ipv6_addresses(&self) -> Option<[u32; 8]> {
        self.words::<8, 40, 8>()
    }

    /// Reads the IPv4 header.
    #[inline(always)]
    pub fn ipv4_header(&self) -> Option<Ipv4Header> {
        let header = self.header::<20>()?;
        let word = |at: usize| {
            u32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]])
        };
        Some(Ipv4Header {
            ihl: header[0] & 0x0f,
            tos: header[1],
            is_fragment: u16::from_be_bytes([header[6], header[7]]) & 0x3fff != 0,
            protocol: header[9],
            saddr: word(12),
            daddr: word(16),
        })
    }

    /// Reads the IPv6 header.
    #[inline(always)]
    pub fn ipv6_header(&self) -> Option<Ipv6Header> {
        let header = self.header::<40>()?;
        let word = |at: usize| [header[at], header[at + 1], header[at + 2], header[at + 3]];
        let address = |at: usize| core::array::from_fn(|i| u32::from_ne_bytes(word(at + 4 * i)));
        Some(Ipv6Header {
            flowinfo: u32::from_be_bytes(word(0)) & 0x0fff_ffff,
            nexthdr: header[6],
            saddr: address(8),
            daddr: address(24),
        })
    }
}

/// A hook, before it is registered: `struct nf_hook_ops`.
#[repr(transparent)]
pub struct Hook(bindings::nf_hook_ops);

// SAFETY: Netfilter only reads it.
unsafe impl Sync for Hook {}

impl Hook {
    /// The hook that `T` is.
    pub const fn pre_routing<T: PreRouting>() -> Self {
        Self(bindings::nf_hook_ops {
            hook: Some(hook::<T>),
            pf: T::PROTOCOL as u8,
            hooknum: bindings::nf_inet_hooks_NF_INET_PRE_ROUTING,
            priority: T::PRIORITY,
            ..pin_init::zeroed()
        })
    }
}

/// The hooks that each namespace has, while they are registered in it.
pub trait Hooks: pernet::HasSlot<Stored = Registered> {
    /// Which these are. Asked whenever they are about to be registered in a namespace.
    fn hooks() -> &'static [Hook];

    /// Whether packets of `net` are seen. The same answer each time.
    fn applies_to(_net: &Namespace) -> bool {
        true
    }

    /// Whether the hooks of a namespace are there from its beginning on.
    fn are_on_at_first(_net: &Namespace) -> bool {
        true
    }

    /// Called when the hooks of `net` are to be on at first and cannot be registered, because
    /// another one is [`LAST`].
    fn stay_off(_net: &Namespace) {}
}

/// The hooks of one namespace, if they are registered: what is stored there for a type that
/// implements [`Hooks`].
pub struct Registered {
    state: Arc<State>,
}

impl Registered {
    fn new<T: Hooks>(net: &Namespace) -> Result<Self> {
        // INVARIANT: None is registered.
        let state = Arc::pin_init(
            pin_init!(State {
                net: NonNull::from(net).cast(),
                hooks: T::hooks,
                turned <- new_mutex!(Some(Turned::Off)),
            }),
            GFP_KERNEL,
        )?;
        if T::are_on_at_first(net) {
            match state.turn_on() {
                Err(error) if error == EBUSY => T::stay_off(net),
                result => result?,
            }
        }
        Ok(Self { state })
    }
}

/// A handle to switch the hooks of a namespace on and off later, even if the namespace is gone by
/// then.
#[derive(Clone)]
pub struct Switch(Arc<State>);

impl Switch {
    /// That of `net`, as far as [`turn_on`] would find hooks there.
    pub fn of<T: Hooks>(net: &Namespace, guard: &rcu::Guard) -> Option<Self> {
        Some(Self(T::slot().get(net, guard)?.state.clone()))
    }

    /// Registers the hooks. `EBUSY` if one would be [`LAST`] where there is another one, `ENODEV`
    /// if the namespace is ending. Process context, sleeps.
    pub fn turn_on(&self) -> Result {
        self.0.turn_on()
    }

    /// Unregisters the hooks, unless there are others in the namespace: packets may then wait for
    /// the verdict of a program, and would be lost. Says whether none of these is registered any
    /// more. Process context, sleeps.
    pub fn turn_off_if_alone(&self) -> bool {
        let turned = self.0.turn(|net, turned, _hooks| match *turned {
            Turned::On(hooks) if are_alone(net, hooks) => {
                State::unregister(net, turned);
                Ok(true)
            }
            Turned::On(_) => Ok(false),
            Turned::Off => Ok(true),
        });
        turned.unwrap_or(true)
    }
}

/// Where the hooks of a namespace are.
///
/// # Invariants
///
/// - [`Turned::On`] has the hooks that are registered in the namespace `net`.
/// - That namespace is valid while `turned` is something and locked: before it goes,
///   [`close`](Self::close) waits for the lock, and leaves nothing.
#[pin_data]
struct State {
    net: NonNull<bindings::net>,
    hooks: fn() -> &'static [Hook],
    #[pin]
    turned: Mutex<Option<Turned>>,
}

// SAFETY: The namespace belongs to no thread.
unsafe impl Send for State {}

// SAFETY: As above, and the pointer is used under the lock only.
unsafe impl Sync for State {}

/// What was done with the hooks of a namespace.
#[derive(Clone, Copy)]
enum Turned {
    /// They are not registered.
    Off,
    /// These are.
    On(&'static [Hook]),
}

impl State {
    /// Does something with the hooks; `ENODEV` if the namespace is ending, or the registration.
    ///
    /// `work` gets what was done with them, and those that are to be registered.
    fn turn<R>(
        &self,
        work: impl FnOnce(&Namespace, &mut Turned, &'static [Hook]) -> Result<R>,
    ) -> Result<R> {
        let mut turned = self.turned.lock();
        let turned = (*turned).as_mut().ok_or(ENODEV)?;
        // SAFETY: By the type invariant the namespace is valid while the lock is held, and the
        // reference does not last longer.
        let net = unsafe { Namespace::from_raw(self.net.as_ptr()) };
        work(net, turned, (self.hooks)())
    }

    /// Registers the hooks, if they are not. `EBUSY` if one would be last, and is not.
    fn turn_on(&self) -> Result {
        self.turn(|net, turned, hooks| match turned {
            Turned::On(_) => Ok(()),
            Turned::Off if hooks.iter().any(|hook| hook.would_not_be_last(net)) => Err(EBUSY),
            Turned::Off => Self::register(net, turned, hooks),
        })
    }

    fn register(net: &Namespace, turned: &mut Turned, hooks: &'static [Hook]) -> Result {
        let (ops, number) = (hooks.as_ptr().cast(), u32::try_from(hooks.len())?);
        // SAFETY: The namespace is valid. The hooks are statics, which last until the module's code
        // goes: `close` unregisters them before that.
        to_result(unsafe { bindings::nf_register_net_hooks(net.as_raw(), ops, number) })?;
        // INVARIANT: Just registered.
        *turned = Turned::On(hooks);
        Ok(())
    }

    fn unregister(net: &Namespace, turned: &mut Turned) {
        if let Turned::On(hooks) = *turned {
            // SAFETY: By the type invariant they are registered.
            unsafe { unregister(net, hooks) };
            // INVARIANT: Just unregistered.
            *turned = Turned::Off;
        }
    }

    /// Unregisters the hooks if they are registered, for good.
    fn close(&self) {
        // Held throughout: whoever waits for the lock must not register them once more.
        let mut turned = self.turned.lock();
        if let Some(on) = (*turned).as_mut() {
            // SAFETY: By the type invariant the namespace is valid while the lock is held.
            let net = unsafe { Namespace::from_raw(self.net.as_ptr()) };
            Self::unregister(net, on);
        }
        // INVARIANT: None is registered, and the namespace is not used after that.
        *turned = None;
    }
}

impl Hook {
    /// The hooks of `net` at the same place: `nf_hook_entry_head()`.
    fn others<'g>(&self, net: &Namespace, _guard: &'g rcu::Guard) -> Option<Registrations<'g>> {
        let at = self.0.hooknum as usize;
        // SAFETY: The namespace is valid. The arrays are replaced under RCU: this is their
        // `rcu_dereference()`.
        let entries = unsafe {
            let nf = &raw const (*net.as_raw()).nf;
            match u32::from(self.0.pf) {
                bindings::NFPROTO_IPV4 => (&raw const (*nf).hooks_ipv4[at]).read_volatile(),
                bindings::NFPROTO_IPV6 => (&raw const (*nf).hooks_ipv6[at]).read_volatile(),
                _ => return None,
            }
        };
        // SAFETY: As above, and RCU is held for `'g`.
        unsafe { Registrations::from_raw(entries.cast()) }
    }

    /// Whether a hook of `net` that is there would come behind this one, which is to be [`LAST`],
    /// if that were registered now.
    fn would_not_be_last(&self, net: &Namespace) -> bool {
        let guard = rcu::read_lock();
        self.0.priority == LAST
            && self
                .others(net, &guard)
                .is_some_and(|others| others.last_priority() == LAST)
    }
}

/// The hooks that are registered at one place.
///
/// # Invariants
///
/// The pointer is to a `struct nf_hook_entries` with at least one hook, which netfilter has
/// published, and RCU is held for `'g`.
struct Registrations<'g>(NonNull<bindings::nf_hook_entries>, PhantomData<&'g ()>);

impl Registrations<'_> {
    /// # Safety
    ///
    /// `entries` must be null, or published by netfilter, and RCU be held for the lifetime.
    unsafe fn from_raw(entries: *mut bindings::nf_hook_entries) -> Option<Self> {
        // INVARIANT: As the caller promises; netfilter publishes no empty array.
        NonNull::new(entries).map(|entries| Self(entries, PhantomData))
    }

    fn len(&self) -> usize {
        // SAFETY: By the type invariant the structure is valid; the number does not change.
        unsafe { (*self.0.as_ptr()).num_hook_entries }.into()
    }

    /// The priority of the last one.
    fn last_priority(&self) -> i32 {
        let len = self.len();
        // SAFETY: By the type invariant there is a hook; the pointers to what was registered come
        // behind the hooks (`nf_hook_entries_get_hook_ops()`), and lead to structures that stay for
        // a grace period, as those who list hooks rely on.
        unsafe {
            let hooks = (&raw const (*self.0.as_ptr()).hooks).cast::<bindings::nf_hook_entry>();
            let ops = hooks.add(len).cast::<*const bindings::nf_hook_ops>();
            (*ops.add(len - 1).read_volatile()).priority
        }
    }
}

/// Whether no hook but these is in `net`, at any place where a packet could be made to wait.
fn are_alone(net: &Namespace, hooks: &[Hook]) -> bool {
    let guard = rcu::read_lock();
    let others = |pf: u32, at: usize, entries: *mut c_void| {
        // SAFETY: Read under RCU, from where netfilter publishes it.
        let there = unsafe { Registrations::from_raw(entries.cast()) };
        let is_ours = |hook: &&Hook| u32::from(hook.0.pf) == pf && hook.0.hooknum as usize == at;
        there.is_some_and(|there| there.len() != hooks.iter().filter(is_ours).count())
    };
    macro_rules! has_others {
        ($field:ident, $pf:expr) => {
            // SAFETY: The namespace is valid; the arrays are replaced under RCU, which is held.
            (0..unsafe { (*net.as_raw()).nf.$field.len() }).any(|at| {
                // SAFETY: The namespace is valid, and `at` within the array: `rcu_dereference()`.
                let entries = unsafe { (&raw const (*net.as_raw()).nf.$field[at]).read_volatile() };
                others($pf, at, entries.cast())
            })
        };
    }
    #[cfg(CONFIG_NETFILTER_FAMILY_ARP)]
    if has_others!(hooks_arp, bindings::NFPROTO_ARP) {
        return false;
    }
    #[cfg(CONFIG_NETFILTER_FAMILY_BRIDGE)]
    if has_others!(hooks_bridge, bindings::NFPROTO_BRIDGE) {
        return false;
    }
    let is_alone = !has_others!(hooks_ipv4, bindings::NFPROTO_IPV4)
        && !has_others!(hooks_ipv6, bindings::NFPROTO_IPV6);
    drop(guard);
    is_alone
}

/// # Safety
///
/// These very hooks must be registered in `net`.
unsafe fn unregister(net: &Namespace, hooks: &'static [Hook]) {
    let (ops, number) = (hooks.as_ptr().cast(), hooks.len() as u32);
    // SAFETY: The namespace is valid, and the caller promises the rest.
    unsafe { bindings::nf_unregister_net_hooks(net.as_raw(), ops, number) };
}

/// What is done with the hooks of a namespace as that begins and ends.
///
/// Private, and so is the registration inside [`Registration`]: nobody but the core's callbacks
/// makes a [`Registered`], so that each is unregistered before its namespace goes, or the module's
/// code.
struct PernetHooks<T>(PhantomData<fn() -> T>);

// SAFETY: The slot is that of `T`, which returns the same each time.
unsafe impl<T: Hooks> pernet::HasSlot for PernetHooks<T> {
    type Stored = Registered;

    #[inline]
    fn slot() -> &'static pernet::Slot<Registered> {
        T::slot()
    }
}

#[vtable]
impl<T: Hooks> pernet::Operations for PernetHooks<T> {
    type Kind = pernet::Subsys;

    fn applies_to(net: &Namespace) -> bool {
        T::applies_to(net)
    }

    fn init(net: &Namespace) -> impl PinInit<Registered, Error> {
        Registered::new::<T>(net)
    }

    fn pre_exit(_net: &Namespace, registered: Pin<&Registered>) {
        // Hooks that run meanwhile end before the grace period does that follows.
        registered.state.close();
    }
}

/// The device of a packet that was received.
///
/// # Safety
///
/// The packet is valid, and its device stays for `'a`.
#[inline]
unsafe fn device_of<'a>(skb: *mut bindings::sk_buff) -> &'a NetDevice {
    // SAFETY: As the caller promises.
    unsafe {
        NetDevice::from_raw(
            (*skb)
                .__bindgen_anon_1
                .__bindgen_anon_1
                .__bindgen_anon_1
                .dev
                .cast(),
        )
    }
}

/// # Safety
///
/// Called by netfilter only, with a packet of the namespace in `state`.
unsafe extern "C" fn hook<T: PreRouting>(
    _priv: *mut c_void,
    skb: *mut bindings::sk_buff,
    state: *const bindings::nf_hook_state,
) -> c_uint {
    // SAFETY: There is always a packet.
    let skb = unsafe { NonNull::new_unchecked(skb) };
    // SAFETY: `nf_hook()` holds RCU, and so does who gives a packet back from a queue: the
    // namespace of a device that receives stays for that.
    let net = unsafe { Namespace::from_raw((*state).net) };
    // SAFETY: The packet has a device, which who gives it back from a queue holds.
    let dev = unsafe { device_of(skb.as_ptr()) };
    // A program may have had the packet, and the device have moved meanwhile: netfilter drops what
    // waits when a device goes down, but not what comes to wait after that. The stack routes such a
    // packet where the device is now.
    if !dev.is_in(net) {
        return bindings::NF_ACCEPT;
    }
    // INVARIANT: The packet is lent to the hook; `nf_hook()` holds RCU meanwhile, and the stack has
    // checked the header before. The device was in the namespace just now.
    let mut packet = Packet {
        skb,
        protocol: T::PROTOCOL,
        net,
        _skb: PhantomData,
    };
    match T::pre_routing(net, &mut packet) {
        Verdict::Accept => bindings::NF_ACCEPT,
    }
}

/// Gives each namespace that there is and will be the hooks, until what this makes is dropped.
///
/// Wraps `nf_register_net_hooks()`. Process context, sleeps.
pub fn register<T: Hooks>() -> impl PinInit<Registration<T>, Error> {
    pin_init!(Registration {
        _hooks <- pernet::register_pernet_subsys(),
    }? Error)
}

/// Registered hooks: dropping it ends that, and waits until they run nowhere any more.
#[pin_data]
pub struct Registration<T: Hooks> {
    #[pin]
    _hooks: pernet::Registration<PernetHooks<T>>,
}

/// Registers the hooks of one namespace that [was without them at
/// first](Hooks::are_on_at_first): they cost nothing on a packet's way until then.
///
/// `ENOMEM`; `EBUSY` for hooks that would be [`LAST`] where there is another one; `ENODEV` for a
/// namespace that [`Hooks::applies_to`] excludes, and while `T` is not [registered](register).
/// Process context, sleeps.
pub fn turn_on<T: Hooks>(net: &LiveNamespace) -> Result {
    let switch = Switch::of::<T>(net, &rcu::read_lock());
    switch.ok_or(ENODEV)?.turn_on()
}
