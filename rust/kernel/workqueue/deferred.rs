// SPDX-License-Identifier: GPL-2.0

//! Delayed work that is embedded in the value it works on, scheduled by reference.
//!
//! An [`Arc`](crate::sync::Arc) that is enqueued keeps its value until the work is done. Here it is
//! the other way round: dropping the value cancels the work.
//!
//! C header: [`include/linux/workqueue.h`](srctree/include/linux/workqueue.h)

use core::{
    ops::Deref,
    ptr::NonNull, //
};

use crate::{
    bindings,
    prelude::*,
    sync::LockClassKey,
    time::Jiffies,
    workqueue::{
        impl_has_delayed_work,
        DelayedWork,
        HasWork,
        Queue,
        RawDelayedWorkItem,
        RawWorkItem,
        Work,
        WorkItem,
        WorkItemPointer, //
    },
};

/// Creates an initialiser of a [`Deferred`] with newly-created lock classes.
#[macro_export]
macro_rules! new_deferred {
    ($value:expr) => {
        $crate::workqueue::deferred::Deferred::new(
            $value,
            $crate::optional_name!(),
            $crate::static_lock_class!(),
            $crate::static_lock_class!(),
        )
    };
}
pub use new_deferred;

/// What is done later, and with what.
pub trait Run: Send + Sync + 'static {
    /// Does the work. Process context, may sleep.
    ///
    /// Returns in how many jiffies it is to be done again, if it is. Must not drop the [`Deferred`]
    /// that `self` is in, which would wait for itself.
    fn run(&self) -> Option<Jiffies>;
}

/// A value, and a [`DelayedWork`] that is done with it now and then.
///
/// Dropping it disables the work and waits until it is not running (`disable_delayed_work_sync()`);
/// only then is the value dropped.
///
/// # Examples
///
/// ```
/// # use kernel::time::Jiffies;
/// # use kernel::workqueue::deferred::new_deferred;
/// # use kernel::workqueue::deferred::Deferred;
/// # use kernel::workqueue::deferred::Run;
/// struct Clean;
///
/// impl Run for Clean {
///     fn run(&self) -> Option<Jiffies> {
///         pr_info!("cleaning\n");
///         None
///     }
/// }
///
/// let clean: Pin<KBox<Deferred<Clean>>> =
///     KBox::pin_init(new_deferred!(Ok::<_, Error>(Clean)), GFP_KERNEL)?;
/// assert!(clean.schedule(100));
/// assert!(!clean.schedule(200));
/// clean.schedule_now();
/// # Ok::<(), Error>(())
/// ```
#[pin_data(PinnedDrop)]
#[repr(C)]
pub struct Deferred<T: Run> {
    // In front, for what is near it in memory.
    #[pin]
    value: T,
    #[pin]
    work: DelayedWork<Self>,
}

impl_has_delayed_work! {
    impl{T: Run} HasDelayedWork<Self> for Deferred<T> { self.work }
}

impl<T: Run> Deferred<T> {
    /// Creates the value; the work is not scheduled yet.
    ///
    /// Use [`new_deferred!`] instead.
    pub fn new<E>(
        value: impl PinInit<T, E>,
        name: &'static CStr,
        work_key: Pin<&'static LockClassKey>,
        timer_key: Pin<&'static LockClassKey>,
    ) -> impl PinInit<Self, Error>
    where
        Error: From<E>,
    {
        try_pin_init!(Self {
            value <- value,
            work <- DelayedWork::new(name, work_key, name, timer_key),
        }? Error)
    }

    /// Lets the work be done in `delay` jiffies, or when it is scheduled for already, be that
    /// earlier or later. Returns whether it was not scheduled.
    ///
    /// May be called from any context. As `schedule_delayed_work()`.
    #[inline]
    pub fn schedule(&self, delay: Jiffies) -> bool {
        // INVARIANT: A reference to a `Deferred`, which is pinned, as the only way to make one is.
        queue().enqueue_delayed(Borrowed(NonNull::from(self)), delay)
    }

    /// Lets the work be done now, whenever it was scheduled for.
    ///
    /// May be called from any context. Wraps `mod_delayed_work()`.
    #[inline]
    pub fn schedule_now(&self) {
        // SAFETY: The work was initialised by `new`, and `drop` disables it. The queue is a static
        // of the kernel.
        unsafe {
            bindings::mod_delayed_work_on(
                bindings::wq_misc_consts_WORK_CPU_UNBOUND as c_int,
                bindings::system_percpu_wq,
                self.delayed_work(),
                0,
            )
        };
    }

    #[inline]
    fn delayed_work(&self) -> *mut bindings::delayed_work {
        // CAST: `DelayedWork` is transparent over `Opaque<delayed_work>`.
        (&raw const self.work).cast_mut().cast()
    }
}

/// The queue of `schedule_delayed_work()`.
#[inline]
fn queue() -> &'static Queue {
    // SAFETY: It is a static of the kernel, always available.
    unsafe { Queue::from_raw(bindings::system_percpu_wq) }
}

impl<T: Run> Deref for Deferred<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        &self.value
    }
}

/// What the workqueue has of a [`Deferred`].
///
/// # Invariants
///
/// It points to a `Deferred` that is pinned, and not dropped before its work is disabled.
pub struct Borrowed<T: Run>(NonNull<Deferred<T>>);

// SAFETY: It is a reference to a value that is `Sync`, and to work that any thread may use.
unsafe impl<T: Run> Send for Borrowed<T> {}

impl<T: Run> WorkItem for Deferred<T> {
    type Pointer = Borrowed<T>;

    fn run(this: Borrowed<T>) {
        // SAFETY: By the type invariant the `Deferred` is there: `drop` waits for running work
        // before anything of it goes.
        let this = unsafe { this.0.as_ref() };
        if let Some(delay) = this.value.run() {
            if !this.schedule(delay) {
                // Somebody has scheduled it while it ran, perhaps for later than this. Run once
                // more: that says when it is to be done again, all things considered.
                this.schedule_now();
            }
        }
    }
}

// SAFETY: The pointer is to the work of a `Deferred`. It stays valid until the function was called,
// or until `drop` has disabled the work, so that nobody calls it.
unsafe impl<T: Run> RawWorkItem<0> for Borrowed<T> {
    type EnqueueOutput = bool;

    #[inline]
    unsafe fn __enqueue<F>(self, queue_work_on: F) -> bool
    where
        F: FnOnce(*mut bindings::work_struct) -> bool,
    {
        // SAFETY: By the type invariant the `Deferred` is there.
        let work = unsafe { Deferred::<T>::raw_get_work(self.0.as_ptr()) };
        // SAFETY: That is the work of the `Deferred`, which is initialised.
        queue_work_on(unsafe { Work::raw_get(work) })
    }
}

// SAFETY: By `impl_has_delayed_work!` the work is that of a `delayed_work`, which the same holds
// for.
unsafe impl<T: Run> RawDelayedWorkItem<0> for Borrowed<T> {}

// SAFETY: `__enqueue` uses the work that `DelayedWork::new` has initialised with this function.
unsafe impl<T: Run> WorkItemPointer<0> for Borrowed<T> {
    unsafe extern "C" fn run(ptr: *mut bindings::work_struct) {
        // CAST: `Work` is transparent over `Opaque<work_struct>`.
        let work = ptr.cast::<Work<Deferred<T>>>();
        // SAFETY: The caller promises a pointer from `__enqueue`, and so to the work of a
        // `Deferred`.
        let this = unsafe { Deferred::work_container_of(work) };
        // SAFETY: As above: it is not null.
        let this = unsafe { NonNull::new_unchecked(this) };
        // INVARIANT: It was one when it was enqueued, and `drop` waits for this function.
        <Deferred<T> as WorkItem>::run(Borrowed(this))
    }
}

#[pinned_drop]
impl<T: Run> PinnedDrop for Deferred<T> {
    fn drop(self: Pin<&mut Self>) {
        // SAFETY: The work was initialised by `new`. May sleep; afterwards it neither runs nor can
        // be scheduled.
        unsafe { bindings::disable_delayed_work_sync(self.delayed_work()) };
    }
}
