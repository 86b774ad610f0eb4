// SPDX-License-Identifier: GPL-2.0

//! Work that is done later, and not any more when what it is for has gone.
//!
//! C header: [`include/linux/workqueue.h`](srctree/include/linux/workqueue.h)

use core::ops::Deref;

use crate::{
    bindings,
    prelude::*,
    sync::LockClassKey,
    time::Jiffies,
    types::Opaque, //
};

/// What is done later, and with what.
pub trait Run: Send + Sync + 'static {
    /// Does it. Process context, may sleep. Returns in how many jiffies it is to be done again, if
    /// it is.
    fn run(&self) -> Option<Jiffies>;
}

/// A value, and work that is done with it now and then.
///
/// Dropping it waits until the work is not running, and lets it run no more; only then is the
/// value dropped.
///
/// # Invariants
///
/// `work` is initialised, with the callback for `T`.
///
/// # Examples
///
/// ```
/// # use kernel::net::deferred;
/// # use kernel::net::deferred::Deferred;
/// # use kernel::time::Jiffies;
/// struct Clean;
///
/// impl deferred::Run for Clean {
///     fn run(&self) -> Option<Jiffies> {
///         None
///     }
/// }
///
/// fn later() -> Result<Pin<KBox<Deferred<Clean>>>> {
///     let clean = KBox::pin_init(
///         Deferred::<Clean>::new(
///             Ok::<_, Error>(Clean),
///             kernel::static_lock_class!(),
///             kernel::static_lock_class!(),
///         ),
///         GFP_KERNEL,
///     )?;
///     clean.schedule(100);
///     Ok(clean)
/// }
/// ```
#[pin_data(PinnedDrop)]
#[repr(C)]
pub struct Deferred<T: Run> {
    // In front, for what is near it in memory.
    #[pin]
    value: T,
    #[pin]
    work: Opaque<bindings::delayed_work>,
}

// SAFETY: The work may be scheduled from any thread, and `T` is `Send`.
unsafe impl<T: Run> Send for Deferred<T> {}

// SAFETY: As above, and `T` is `Sync`.
unsafe impl<T: Run> Sync for Deferred<T> {}

impl<T: Run> Deferred<T> {
    /// Makes the value; the work is not scheduled yet. The keys are for lockdep.
    pub fn new<E>(
        value: impl PinInit<T, E>,
        work_key: Pin<&'static LockClassKey>,
        timer_key: Pin<&'static LockClassKey>,
    ) -> impl PinInit<Self, Error>
    where
        Error: From<E>,
    {
        try_pin_init!(Self {
            value <- value,
            work <- Opaque::ffi_init(move |work: *mut bindings::delayed_work| {
                // SAFETY: The structure is ours to write, and pinned until `drop` has waited for
                // the work. The names are static.
                unsafe {
                    bindings::init_work_with_key(
                        &raw mut (*work).work,
                        Some(run::<T>),
                        false,
                        c"rnetns_deferred".as_char_ptr(),
                        work_key.as_ptr(),
                    );
                    bindings::timer_init_key(
                        &raw mut (*work).timer,
                        Some(bindings::delayed_work_timer_fn),
                        bindings::TIMER_IRQSAFE,
                        c"rnetns_deferred_timer".as_char_ptr(),
                        timer_key.as_ptr(),
                    );
                }
            }),
        }? Error)
    }

    /// Lets the work be done in `delay` jiffies, or when it is scheduled for already, be that
    /// earlier or later. Says whether it was not scheduled.
    ///
    /// Any context. Wraps `schedule_delayed_work()`.
    #[inline]
    pub fn schedule(&self, delay: Jiffies) -> bool {
        // SAFETY: By the type invariant the work is initialised; `drop` disables it.
        unsafe { bindings::schedule_delayed_work(self.work.get().cast(), delay) }
    }

    /// Lets the work be done now, whenever it was scheduled for. Any context. Wraps
    /// `mod_delayed_work()`.
    #[inline]
    pub fn schedule_now(&self) {
        // SAFETY: As above.
        unsafe { bindings::mod_delayed_work_system(self.work.get().cast(), 0) };
    }
}

impl<T: Run> Deref for Deferred<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        &self.value
    }
}

/// # Safety
///
/// Called by the workqueue only, for the work of a [`Deferred<T>`].
unsafe extern "C" fn run<T: Run>(work: *mut bindings::work_struct) {
    // SAFETY: The caller promises what the work is part of; `drop` waits for running work before
    // anything of it goes.
    let deferred = unsafe {
        let work = crate::container_of!(work, bindings::delayed_work, work);
        let work = Opaque::cast_from(work.cast_const());
        &*crate::container_of!(work, Deferred<T>, work)
    };
    if let Some(delay) = deferred.value.run() {
        if !deferred.schedule(delay) {
            // Somebody has scheduled it while it ran, perhaps for later than this. Run once more:
            // that says when it is to be done again, all things considered.
            deferred.schedule_now();
        }
    }
}

#[pinned_drop]
impl<T: Run> PinnedDrop for Deferred<T> {
    fn drop(self: Pin<&mut Self>) {
        // SAFETY: By the type invariant the work is initialised. May sleep; afterwards it neither
        // runs nor can be scheduled.
        unsafe { bindings::disable_delayed_work_sync(self.work.get().cast()) };
    }
}
