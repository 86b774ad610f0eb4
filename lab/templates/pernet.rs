// SPDX-License-Identifier: GPL-2.0

//! Callbacks for network namespaces: the one place with `unsafe` code.
//!
//! A namespace is identified by its address, which is compared and never dereferenced. So nothing
//! can be used after its namespace ended, and no reference count is needed.

use core::marker::PhantomData;

use kernel::{
    bindings,
    error::from_result,
    prelude::*,
    types::Opaque, //
};

/// Identifies a namespace among all that exist at the same time.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Id(usize);

impl Id {
    /// The namespace of the running process.
    pub(crate) fn current() -> Id {
        // SAFETY: `current` is the running task. Only a task itself changes its `nsproxy`, and has
        // one until it exits, which it cannot while it runs this.
        let net = unsafe { (*(*bindings::get_current()).nsproxy).net_ns };
        Id(net as usize)
    }
}

/// Callbacks for the beginning and the end of each namespace.
pub(crate) trait Namespaces: 'static {
    /// A namespace begins, or existed before the registration. An error makes its creation fail.
    fn begin(net: Id) -> Result;

    /// A namespace ends. [`Namespaces::begin`] was called for it, and there will be no further
    /// call.
    fn end(net: Id);
}

/// While this exists, the kernel calls the callbacks of `T`.
pub(crate) struct Registration<T: Namespaces> {
    operations: KBox<Opaque<bindings::pernet_operations>>,
    _type: PhantomData<T>,
}

// SAFETY: The kernel locks the list of operations itself. Nothing here uses them otherwise.
unsafe impl<T: Namespaces> Send for Registration<T> {}
// SAFETY: A shared reference gives access to nothing: its fields are private, and no method reads
// them.
unsafe impl<T: Namespaces> Sync for Registration<T> {}

impl<T: Namespaces> Registration<T> {
    /// Registers the callbacks. Calls [`Namespaces::begin`] for all existing namespaces before it
    /// returns.
    pub(crate) fn new() -> Result<Self> {
        let operations = bindings::pernet_operations {
            init: Some(Self::init),
            exit: Some(Self::exit),
            ..Default::default()
        };
        let operations = KBox::new(Opaque::new(operations), GFP_KERNEL)?;
        // SAFETY: The operations are in a box that does not move what it holds, and which is
        // freed after they are unregistered. When this fails, the kernel has forgotten them.
        let result = unsafe { bindings::register_pernet_subsys(operations.get()) };
        kernel::error::to_result(result)?;
        Ok(Registration {
            operations,
            _type: PhantomData,
        })
    }

    /// # Safety
    ///
    /// To be called only by the kernel, for a namespace that begins.
    unsafe extern "C" fn init(net: *mut bindings::net) -> kernel::ffi::c_int {
        from_result(|| T::begin(Id(net as usize)).map(|()| 0))
    }

    /// # Safety
    ///
    /// To be called only by the kernel, for a namespace that ends.
    unsafe extern "C" fn exit(net: *mut bindings::net) {
        T::end(Id(net as usize));
    }
}

impl<T: Namespaces> Drop for Registration<T> {
    fn drop(&mut self) {
        // SAFETY: They were registered in `new`, and are unregistered only here. The kernel calls
        // `exit` for every namespace, and calls none of the operations after this returns.
        unsafe { bindings::unregister_pernet_subsys(self.operations.get()) };
    }
}
