// SPDX-License-Identifier: GPL-2.0

//! State that every network namespace has one of.
//!
//! A type that implements [`Operations`] says how the state of a namespace is made and unmade.
//! While it is registered ([`register_pernet_subsys`], [`register_pernet_device`]), each namespace
//! has a value of it, in the storage that `net_generic()` finds.
//!
//! # Life of a value
//!
//! | the kernel | here |
//! |---|---|
//! | allocates zeroed storage and publishes it (`ops_init()`) | readers find storage that is not *ready*: `None` |
//! | `init` | [`Operations::init`], then *ready* |
//! | `pre_exit` | not *ready* any more, [`Operations::pre_exit`] |
//! | waits for a grace period (`synchronize_rcu()`) | readers that saw it *ready* finish |
//! | `exit_rtnl` | [`Operations::exit_rtnl`] |
//! | `exit` | the value is dropped in place |
//! | frees the storage | |
//!
//! So there is one way to read the value: under RCU ([`Slot::get`]).
//!
//! # Where to register, and to unregister
//!
//! In process context, where one may sleep, and not with RTNL held. Not in a callback of such
//! operations, nor in an event of a notifier of devices: these run with the locks
//! (`pernet_ops_rwsem`, RTNL) that registering and unregistering take, and wait for themselves.
//! That holds for all that is registered by way of this module or like it.
//!
//! C headers: [`include/net/net_namespace.h`](srctree/include/net/net_namespace.h),
//! [`include/net/netns/generic.h`](srctree/include/net/netns/generic.h)

use core::{
    cell::UnsafeCell,
    marker::PhantomData,
    mem::MaybeUninit,
    ptr, //
};

use crate::{
    bindings,
    error::{
        from_result,
        to_result,
        VTABLE_DEFAULT_ERROR, //
    },
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Full,
            Release, //
        },
        barrier,
        rcu, //
    },
    types::Opaque, //
};

use super::{
    rtnl::KillList,
    Namespace, //
};

/// Whether the namespaces' devices leave before the state does, or with it.
///
/// [`Subsys`] or [`Device`]; see the comment of `register_pernet_device()`.
pub trait Kind: private::Sealed {}

/// A subsystem: its state is there before any device of the namespace is, and after.
pub enum Subsys {}

/// A device, or what only lives with devices: made after the subsystems, gone before them.
pub enum Device {}

impl Kind for Subsys {}
impl Kind for Device {}

mod private {
    use crate::{
        bindings,
        prelude::*, //
    };

    /// The kernel's pair of functions for a kind.
    pub trait Sealed {
        /// # Safety
        ///
        /// `ops` must be valid, and stay where it is until it is unregistered; its callbacks must
        /// be those of the value whose id and size it has.
        unsafe fn register(ops: *mut bindings::pernet_operations) -> c_int;

        /// # Safety
        ///
        /// `ops` must be registered, by [`register`](Self::register) of the same kind.
        unsafe fn unregister(ops: *mut bindings::pernet_operations);
    }

    impl Sealed for super::Subsys {
        #[inline]
        unsafe fn register(ops: *mut bindings::pernet_operations) -> c_int {
            // SAFETY: As the caller promises.
            unsafe { bindings::register_pernet_subsys(ops) }
        }

        #[inline]
        unsafe fn unregister(ops: *mut bindings::pernet_operations) {
            // SAFETY: As the caller promises.
            unsafe { bindings::unregister_pernet_subsys(ops) }
        }
    }

    impl Sealed for super::Device {
        #[inline]
        unsafe fn register(ops: *mut bindings::pernet_operations) -> c_int {
            // SAFETY: As the caller promises.
            unsafe { bindings::register_pernet_device(ops) }
        }

        #[inline]
        unsafe fn unregister(ops: *mut bindings::pernet_operations) {
            // SAFETY: As the caller promises.
            unsafe { bindings::unregister_pernet_device(ops) }
        }
    }
}

/// What a value of the state looks like in the storage of a namespace. Zeroed memory is valid.
///
/// While the value is *ready*, the pointer to this in the array of the namespace has [`READY`]
/// added: so readers learn from one word whether there is storage, and whether they may use what is
/// in it. From `init` having finished until `pre_exit`, nobody but [`Slot`] and the callbacks here
/// use that pointer: the core copies it when the array grows, and frees what it points to after
/// `exit`.
#[repr(C)]
struct Storage<S> {
    /// Whether `value` holds a value. Only the callbacks use it, which never run at once.
    constructed: bool,
    /// When readers were shut out: the grace periods that had begun by then.
    withdrawn: bindings::rcu_gp_seq,
    value: MaybeUninit<S>,
}

/// What is added to a pointer to storage, which is aligned.
const READY: usize = 1;

/// The id that readers have while nothing is registered: no array is so long.
const NO_ID: c_uint = c_uint::MAX;

/// The place of a type's state in the namespaces: what `net_generic()` calls an id.
///
/// Made by [`pernet_slot!`](crate::pernet_slot), one for each type.
///
/// # Invariants
///
/// - `id` is that of the registered operations while there are any, and the storage behind it in
///   every namespace is a `Storage<S>`.
/// - `readable` is `id` from when all namespaces have gone through `init` until the unregistration
///   begins, and else [`NO_ID`]: at least a grace period before storage is freed.
pub struct Slot<S> {
    id: UnsafeCell<c_uint>,
    readable: UnsafeCell<c_uint>,
    claimed: Atomic<bool>,
    _stored: PhantomData<fn() -> S>,
}

// SAFETY: `id` is written by `register_pernet_*()` only, before callbacks read it; `readable` is
// read and written as a whole word; `claimed` is atomic. The slot gives no access to an `S` but
// what `Slot::get` does, which asks for `S: Sync`.
unsafe impl<S> Sync for Slot<S> {}

impl<S> Slot<S> {
    /// Makes a slot that nothing is registered in. For [`pernet_slot!`](crate::pernet_slot).
    #[doc(hidden)]
    pub const fn new() -> Self {
        // The allocator aligns any size to this and no more.
        const {
            assert!(align_of::<Storage<S>>() <= bindings::ARCH_KMALLOC_MINALIGN);
        }
        Self {
            id: UnsafeCell::new(0),
            readable: UnsafeCell::new(NO_ID),
            claimed: Atomic::new(false),
            _stored: PhantomData,
        }
    }

    fn id(&self) -> u32 {
        // SAFETY: Callbacks run after `register_pernet_*()` has written the id and before
        // `unregister_pernet_*()` returns, during which it does not change.
        unsafe { *self.id.get() }
    }

    /// Lets readers in, or keeps them out.
    fn set_readable(&self, id: u32) {
        // What the namespaces that there are have stored by now, `net_assign_generic()` has
        // published without a barrier: who sees the id sees their storage with what was zeroed, by
        // address dependencies from here on.
        barrier::smp_mb(barrier::Write);
        // SAFETY: Readers read the word at the same time, whole, as `READ_ONCE()` would. The only
        // writers are the registration's constructor and destructor; `claimed` lets in one of them.
        unsafe { self.readable.get().write_volatile(id) };
    }
}

impl<S> Slot<S> {
    /// Returns the value of `net` whether it is ready or not.
    ///
    /// # Safety
    ///
    /// Operations must be registered in the slot, `net` must have a value, and something must keep
    /// that from being dropped for `'a`.
    pub unsafe fn get_unready<'a>(&self, net: &Namespace) -> Option<&'a S> {
        let _guard = rcu::read_lock();
        // SAFETY: The caller promises that there is a value, and so that the id is that of its
        // storage. The guard is for the array, which may be replaced by a longer one.
        let storage = unsafe { storage::<S>(net, self.id()) }?;
        // SAFETY: The caller promises that the value is there for `'a`.
        Some(unsafe { (*storage).value.assume_init_ref() })
    }
}

impl<S: Sync + 'static> Slot<S> {
    /// Returns the state of `net`, if it has one that is ready.
    ///
    /// `None` while `net` is being created or is ending, while the type is not registered, and for
    /// a namespace that [`Operations::applies_to`] excludes.
    ///
    /// Wraps `net_generic()`. May be called from any context.
    ///
    /// # Examples
    ///
    /// ```
    /// # use kernel::net::Namespace;
    /// # use kernel::net::pernet::HasSlot;
    /// # use kernel::sync::rcu;
    /// # use kernel::pernet_slot;
    /// struct State {
    ///     generation: u32,
    /// }
    ///
    /// pernet_slot!(State);
    ///
    /// fn generation(net: &Namespace) -> Result<u32> {
    ///     let guard = rcu::read_lock();
    ///     let state = State::slot().get(net, &guard).ok_or(ENODEV)?;
    ///     Ok(state.generation)
    /// }
    /// ```
    #[inline]
    pub fn get<'g>(&self, net: &Namespace, _guard: &'g rcu::Guard) -> Option<&'g S> {
        // SAFETY: The word is read whole; see `set_readable`.
        let id = unsafe { self.readable.get().read_volatile() };
        // SAFETY: Where the array has this id, `readable` is set, so that the storage behind it is
        // a `Storage<S>`. It was so when the guard's critical section began or later, and the
        // destructor of the registration lets a grace period pass before storage is freed. `init`
        // that fails frees its storage at once, but that is never marked as ready.
        let storage = unsafe { entry::<S>(net, id) }?;
        if storage.addr() & READY == 0 {
            return None;
        }
        // A namespace that began later was on no list, and had no device that is up, before its
        // storage was there: who knows it on another CPU has synchronised with its creation.
        // SAFETY: As it is marked, `init` had finished, and `publish` ordered its writes before the
        // mark, on which every access of ours depends by its address. `pre_exit` had not run, or
        // not been seen: the grace period that follows it waits for the guard, and only then is the
        // value dropped. Without the mark, the pointer is to the storage.
        Some(unsafe { (*storage.byte_sub(READY)).value.assume_init_ref() })
    }
}

/// Finds the storage of the namespace behind `id`, ready or not.
///
/// # Safety
///
/// The pointer is as valid as `S` and `id` fit each other; it may be used for as long as the
/// storage is known to exist.
unsafe fn storage<S>(net: &Namespace, id: u32) -> Option<*mut Storage<S>> {
    // SAFETY: As the caller promises.
    let storage = unsafe { entry::<S>(net, id) }?;
    let storage = storage.map_addr(|addr| addr & !READY);
    (!storage.is_null()).then_some(storage)
}

/// What the namespace has behind `id` in its array: null, or a pointer to storage, perhaps marked
/// as [`READY`]. None if the array is not so long.
///
/// # Safety
///
/// As for [`storage`].
#[inline]
unsafe fn entry<S>(net: &Namespace, id: u32) -> Option<*mut Storage<S>> {
    // SAFETY: By the type invariant of `Namespace` the structure is valid. The array is replaced
    // under RCU (`net_assign_generic()`): this is its `rcu_dereference()`.
    let gen = unsafe { (&raw const (*net.as_raw()).gen_).read_volatile() };
    let gen = gen.cast::<bindings::net_generic>();
    // SAFETY: By the type invariant of `Namespace` the array is valid, and its head is the length.
    // A namespace that has not come to this id in its creation has a shorter array.
    if id >= unsafe { *gen.cast::<c_uint>() } {
        return None;
    }
    // SAFETY: The array has more than `id` pointers; the first ones overlay its head.
    Some(unsafe {
        gen.cast::<*mut Storage<S>>()
            .add(id as usize)
            .read_volatile()
    })
}

/// Changes what the namespace has behind `id`.
///
/// # Safety
///
/// The caller must be the namespace's only callback, of the operations that `id` belongs to.
unsafe fn set_entry<S>(net: &Namespace, id: u32, storage: *mut Storage<S>) {
    // SAFETY: As in `entry`. `net_assign_generic()` has made the array long enough, and nobody else
    // writes to it, nor replaces it, since the caller's caller holds `pernet_ops_rwsem`. Readers
    // read the word whole.
    unsafe {
        let gen = (&raw const (*net.as_raw()).gen_).read_volatile();
        gen.cast::<*mut Storage<S>>()
            .add(id as usize)
            .write_volatile(storage);
    }
}

/// A type that has a [`Slot`] of its own.
///
/// # Safety
///
/// `slot` must return the same slot each time. Types may share one if they store the same: only one
/// of them is registered at a time. Implemented by [`pernet_slot!`](crate::pernet_slot).
pub unsafe trait HasSlot: Sized + 'static {
    /// What is stored in the namespaces. Callbacks and readers run on any CPU.
    type Stored: Send + Sync + 'static;

    /// Returns the slot of the type.
    fn slot() -> &'static Slot<Self::Stored>;
}

/// Gives a type its [`Slot`](crate::net::pernet::Slot): `pernet_slot!(State)`.
///
/// With a second type, that is what the namespaces store: `pernet_slot!(Dummy: Registered)`.
#[macro_export]
macro_rules! pernet_slot {
    ($owner:ident) => {
        // SAFETY: The static is this implementation's own.
        unsafe impl $crate::net::pernet::HasSlot for $owner {
            type Stored = $owner;

            #[inline]
            fn slot() -> &'static $crate::net::pernet::Slot<$owner> {
                static SLOT: $crate::net::pernet::Slot<$owner> = $crate::net::pernet::Slot::new();
                &SLOT
            }
        }
    };
    ($owner:ident: $stored:ty) => {
        // SAFETY: The static is this implementation's own.
        unsafe impl $crate::net::pernet::HasSlot for $owner {
            type Stored = $stored;

            #[inline]
            fn slot() -> &'static $crate::net::pernet::Slot<$stored> {
                static SLOT: $crate::net::pernet::Slot<$stored> = $crate::net::pernet::Slot::new();
                &SLOT
            }
        }
    };
}

/// What happens to the state of a namespace as that begins and ends.
///
/// All of it runs in process context and may sleep. Callbacks for different namespaces may run at
/// the same time; those for one namespace do not.
///
/// # Examples
///
/// ```
/// # use kernel::net::Namespace;
/// # use kernel::net::pernet;
/// # use kernel::net::pernet::Subsys;
/// # use kernel::pernet_slot;
/// # use kernel::time::BootTime;
/// # use kernel::time::Instant;
/// struct State {
///     born: Instant<BootTime>,
/// }
///
/// pernet_slot!(State);
///
/// #[vtable]
/// impl pernet::Operations for State {
///     type Kind = Subsys;
///
///     fn init(_net: &Namespace) -> impl PinInit<State, Error> {
///         Ok::<_, Error>(State {
///             born: Instant::now(),
///         })
///     }
/// }
/// ```
#[vtable]
pub trait Operations: HasSlot {
    /// [`Subsys`] or [`Device`]: which of the two registrations the type is for.
    type Kind: Kind;

    /// Whether `net` gets a value. The same answer each time.
    fn applies_to(_net: &Namespace) -> bool {
        true
    }

    /// Makes the value of `net`. If it fails, the creation of `net` does, or the registration.
    fn init(net: &Namespace) -> impl PinInit<Self::Stored, Error>;

    /// `net` is ending: readers do not find the value any more, but some may still use it.
    fn pre_exit(_net: &Namespace, _stored: Pin<&Self::Stored>) {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// No reader is left. Devices of `net` to be unregistered are put on `kill_list`; RTNL of `net`
    /// is held.
    fn exit_rtnl(_net: &Namespace, _stored: Pin<&Self::Stored>, _kill_list: &mut KillList<'_>) {
        build_error!(VTABLE_DEFAULT_ERROR)
    }
}

/// Makes the value ready: a reader that sees the mark sees what `init` wrote.
///
/// # Safety
///
/// `storage` must be what `net` has behind `id`, its value constructed, and the caller the
/// namespace's only callback.
unsafe fn publish<S>(net: &Namespace, id: u32, storage: *mut Storage<S>) {
    barrier::smp_mb(barrier::Write);
    // SAFETY: As the caller promises.
    unsafe { set_entry(net, id, storage.wrapping_byte_add(READY)) };
}

/// Hides the value from readers to come, and notes when.
///
/// # Safety
///
/// As for [`publish`].
unsafe fn withdraw<S>(net: &Namespace, id: u32, storage: *mut Storage<S>) {
    // SAFETY: As the caller promises. The note is the callbacks'.
    unsafe {
        set_entry(net, id, storage);
        bindings::get_state_synchronize_rcu_full(&raw mut (*storage).withdrawn);
    }
}

/// Drops the value in place. Warns if readers may still be using it.
///
/// # Safety
///
/// `storage` must hold a value, withdrawn a grace period ago, and the caller be the namespace's
/// only callback.
unsafe fn destroy<S>(storage: *mut Storage<S>) {
    // SAFETY: The caller promises a valid storage, and so the note that `withdraw` made in it.
    let seen = unsafe { bindings::poll_state_synchronize_rcu_full(&raw mut (*storage).withdrawn) };
    crate::warn_on!(!seen);
    // SAFETY: The caller promises a value that nobody refers to any more. It is not moved.
    unsafe {
        (*storage).constructed = false;
        (*storage).value.assume_init_drop();
    }
}

/// The callbacks that `struct pernet_operations` points to.
struct Callbacks<T>(PhantomData<T>);

impl<T: Operations> Callbacks<T> {
    /// # Safety
    ///
    /// Called by `ops_init()` only, for a `T` that is being or has been registered.
    unsafe extern "C" fn init(net: *mut bindings::net) -> c_int {
        from_result(|| {
            // SAFETY: The core keeps `net`, its array and what earlier operations have made for it
            // during the callback, which comes before all of `exit`. The reference does not leave
            // it.
            let net = unsafe { Namespace::from_raw(net) };
            if !T::applies_to(net) {
                return Ok(0);
            }
            // SAFETY: The core has put storage of `size_of::<Storage<_>>()` zeroed bytes behind
            // the id that it has given to the slot of `T`, and keeps it there during `init`.
            let storage = unsafe { storage::<T::Stored>(net, T::slot().id()) }.ok_or(EINVAL)?;
            // SAFETY: The storage is valid, aligned (see `Slot::new`), and holds no value yet. It
            // does not move until the core frees it, which is after the value was dropped.
            let made = unsafe { T::init(net).__init((*storage).value.as_mut_ptr()) };
            if let Err(err) = made {
                // SAFETY: `ops_init()`, which holds `pernet_ops_rwsem`, has just published this
                // pointer, and nobody but it writes to the array.
                unsafe { forget_storage(net, T::slot().id()) };
                return Err(err);
            }
            // SAFETY: The storage is valid and its value constructed, by this, the only callback.
            unsafe {
                (*storage).constructed = true;
                publish(net, T::slot().id(), storage);
            }
            Ok(0)
        })
    }

    /// # Safety
    ///
    /// Called by `ops_undo_list()` only, after `init` has succeeded for `net`.
    unsafe extern "C" fn pre_exit(net: *mut bindings::net) {
        // SAFETY: The core keeps `net` during the callback, and the reference does not leave it.
        let net = unsafe { Namespace::from_raw(net) };
        // SAFETY: The core calls this after `init` and before `exit`.
        let Some(storage) = (unsafe { Self::constructed(net) }) else {
            return;
        };
        // SAFETY: It is the namespace's, with a value, and this is the only callback.
        unsafe { withdraw(net, T::slot().id(), storage) };
        if T::HAS_PRE_EXIT {
            // SAFETY: The value is there until `exit`, and the reference does not last so long.
            T::pre_exit(net, unsafe { Self::stored(storage) });
        }
    }

    /// # Safety
    ///
    /// Called by `ops_exit_rtnl_list()` only, which holds RTNL of `net`, between `pre_exit` and
    /// `exit`.
    unsafe extern "C" fn exit_rtnl(
        net: *mut bindings::net,
        dev_kill_list: *mut bindings::list_head,
    ) {
        // SAFETY: The core keeps `net` during the callback, and the reference does not leave it.
        let net = unsafe { Namespace::from_raw(net) };
        // SAFETY: The core unregisters what is on this list before it releases RTNL.
        let mut kill_list = unsafe { KillList::from_raw(dev_kill_list) };
        // SAFETY: The core calls this after `init` and before `exit`.
        if let Some(storage) = unsafe { Self::constructed(net) } {
            // SAFETY: The value is there until `exit`, and the reference does not last so long.
            let stored = unsafe { Self::stored(storage) };
            T::exit_rtnl(net, stored, &mut kill_list);
        }
    }

    /// # Safety
    ///
    /// Called by `ops_exit_list()` only, once, a grace period after `pre_exit`.
    unsafe extern "C" fn exit(net: *mut bindings::net) {
        // SAFETY: The core keeps `net` and its array during the callback. Other `exit` callbacks
        // may have run: the reference is used to find the storage, and is given to nobody.
        let net = unsafe { Namespace::from_raw(net) };
        // SAFETY: The core calls this after `init`.
        let Some(storage) = (unsafe { Self::constructed(net) }) else {
            return;
        };
        // SAFETY: The value is constructed, `pre_exit` has withdrawn it, and the core has waited
        // for a grace period since.
        unsafe { destroy(storage) };
    }

    /// Returns the storage of `net`, if `init` has made a value in it.
    ///
    /// # Safety
    ///
    /// To be called in the callbacks after `init`, and the pointer not kept beyond them.
    unsafe fn constructed(net: &Namespace) -> Option<*mut Storage<T::Stored>> {
        // SAFETY: As in `init`; the storage is there until `exit` has returned.
        let storage = unsafe { storage::<T::Stored>(net, T::slot().id()) }?;
        // SAFETY: The storage is valid, and only callbacks use the flag.
        unsafe { (*storage).constructed }.then_some(storage)
    }

    /// Borrows the value.
    ///
    /// # Safety
    ///
    /// `storage` must hold a value, until after `'a`.
    unsafe fn stored<'a>(storage: *mut Storage<T::Stored>) -> Pin<&'a T::Stored> {
        // SAFETY: The caller promises a value. It does not move until `exit` drops it in place.
        unsafe { Pin::new_unchecked((*storage).value.assume_init_ref()) }
    }
}

/// Takes the storage of an `init` that failed away from readers: `ops_init()` frees it at once.
///
/// # Safety
///
/// The caller must be the `init` callback of the operations that `id` belongs to.
unsafe fn forget_storage(net: &Namespace, id: u32) {
    // SAFETY: As the caller promises.
    unsafe { set_entry::<()>(net, id, ptr::null_mut()) };
    rcu::synchronize_rcu();
}

/// Operations that are registered: every namespace has a value of `T::Stored`.
///
/// Dropping it ends that: each value goes through `pre_exit` and `exit`. Process context, sleeps.
///
/// # Invariants
///
/// `ops` is registered, as what `T::Kind` says, and holds the slot of `T`.
#[pin_data(PinnedDrop)]
pub struct Registration<T: Operations> {
    #[pin]
    ops: Opaque<bindings::pernet_operations>,
    _operations: PhantomData<fn() -> T>,
}

// SAFETY: It can be dropped on any thread: unregistering needs process context alone.
unsafe impl<T: Operations> Send for Registration<T> {}

// SAFETY: A shared reference gives no access to `ops`; what it leads to is the values, which are
// `Sync`, by way of the slot.
unsafe impl<T: Operations> Sync for Registration<T> {}

/// Registers subsystem operations: wraps `register_pernet_subsys()`.
///
/// Runs [`Operations::init`] for each namespace there is. Process context, sleeps. `EBUSY` if `T`
/// is registered already; else the error of an `init` that failed, after undoing the others.
///
/// # Examples
///
/// ```
/// # use kernel::net::pernet;
/// # use kernel::net::pernet::register_pernet_subsys;
/// # use kernel::net::pernet::Subsys;
/// #[pin_data]
/// struct Module<T: pernet::Operations> {
///     #[pin]
///     state: pernet::Registration<T>,
/// }
///
/// fn init<T: pernet::Operations<Kind = Subsys>>() -> impl PinInit<Module<T>, Error> {
///     try_pin_init!(Module { state <- register_pernet_subsys() })
/// }
/// ```
pub fn register_pernet_subsys<T>() -> impl PinInit<Registration<T>, Error>
where
    T: Operations<Kind = Subsys>,
{
    Registration::new()
}

/// Registers device operations: wraps `register_pernet_device()`.
///
/// As [`register_pernet_subsys`]; a namespace's devices go before its subsystems.
pub fn register_pernet_device<T>() -> impl PinInit<Registration<T>, Error>
where
    T: Operations<Kind = Device>,
{
    Registration::new()
}

impl<T: Operations> Registration<T> {
    fn new() -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            ops <- Opaque::try_ffi_init(|ops: *mut bindings::pernet_operations| {
                let slot = T::slot();
                if slot.claimed.xchg(true, Full) {
                    return Err(EBUSY);
                }
                // SAFETY: `ops` is ours to write, and pinned: it stays until `drop` unregisters
                // it. The id is a static's, and the size that of what the callbacks store.
                let registered = to_result(unsafe {
                    ops.write(bindings::pernet_operations {
                        init: Some(Callbacks::<T>::init),
                        pre_exit: Some(Callbacks::<T>::pre_exit),
                        exit: Some(Callbacks::<T>::exit),
                        exit_rtnl: if T::HAS_EXIT_RTNL {
                            Some(Callbacks::<T>::exit_rtnl)
                        } else {
                            None
                        },
                        id: slot.id.get(),
                        size: size_of::<Storage<T::Stored>>(),
                        ..pin_init::zeroed()
                    });
                    <T::Kind as private::Sealed>::register(ops)
                });
                if let Err(err) = registered {
                    slot.claimed.store(false, Release);
                    return Err(err);
                }
                // INVARIANT: Each namespace has gone through `init`.
                slot.set_readable(slot.id());
                Ok(())
            }),
            _operations: PhantomData,
        }? Error)
    }
}

#[pinned_drop]
impl<T: Operations> PinnedDrop for Registration<T> {
    fn drop(self: Pin<&mut Self>) {
        // INVARIANT: No reader from here on. Those that came before are in RCU critical sections,
        // which `ops_undo_list()` waits for between `pre_exit` and `exit`.
        T::slot().set_readable(NO_ID);
        // SAFETY: By the type invariant `ops` is registered, as the same kind, and is not
        // unregistered elsewhere.
        unsafe { <T::Kind as private::Sealed>::unregister(self.ops.get()) };
        T::slot().claimed.store(false, Release);
    }
}
