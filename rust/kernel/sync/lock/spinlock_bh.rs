// SPDX-License-Identifier: GPL-2.0

//! Spinlocks that are taken both by packets and by processes.
//!
//! C header: [`include/linux/spinlock.h`](srctree/include/linux/spinlock.h)

use crate::{
    bindings,
    prelude::*,
    sync::lock::{
        Backend,
        Lock, //
    },
};

/// A spinlock whose owner runs with bottom halves off, so that no packet that this CPU receives
/// meanwhile waits for it. Wraps `spin_lock_bh()`.
///
/// Process or softirq context, interrupts on: when the guard is dropped, packets that have come are
/// received, with interrupts on. With lockdep, the kernel says so where that is wrong. Where
/// interrupts are off, use a [`SpinLockIrq`](crate::sync::SpinLockIrq).
pub type SpinLockBh<T> = Lock<T, SpinLockBhBackend>;

/// The backend of [`SpinLockBh`].
pub struct SpinLockBhBackend;

/// Creates a [`SpinLockBh`] initialiser with a newly-created lock class.
#[macro_export]
macro_rules! new_spinlock_bh {
    ($inner:expr) => {
        $crate::sync::SpinLockBh::new(
            $inner,
            $crate::optional_name!(),
            $crate::static_lock_class!(),
        )
    };
}
pub use new_spinlock_bh;

// SAFETY: `spin_lock_bh()` gives mutual exclusion; `relock` locks in the same way.
unsafe impl Backend for SpinLockBhBackend {
    type State = bindings::spinlock_t;
    type GuardState = ();

    #[inline]
    unsafe fn init(ptr: *mut Self::State, name: *const c_char, key: *mut bindings::lock_class_key) {
        // SAFETY: The caller promises a pointer that is valid for writes, and a name and a key
        // that stay.
        unsafe { bindings::__spin_lock_init(ptr, name, key) }
    }

    #[inline]
    unsafe fn lock(ptr: *mut Self::State) -> Self::GuardState {
        // SAFETY: The caller promises that the lock was initialised.
        unsafe { bindings::spin_lock_bh(ptr.cast()) }
    }

    #[inline]
    unsafe fn unlock(ptr: *mut Self::State, _guard_state: &Self::GuardState) {
        // SAFETY: The caller promises that it owns the lock.
        unsafe { bindings::spin_unlock_bh(ptr.cast()) }
    }

    #[inline]
    unsafe fn try_lock(ptr: *mut Self::State) -> Option<Self::GuardState> {
        // SAFETY: The caller promises that the lock was initialised.
        unsafe { bindings::spin_trylock_bh(ptr.cast()) }.then_some(())
    }

    #[inline]
    unsafe fn assert_is_held(ptr: *mut Self::State) {
        // SAFETY: The caller promises that the lock was initialised.
        unsafe { bindings::spin_assert_is_held(ptr) }
    }
}
