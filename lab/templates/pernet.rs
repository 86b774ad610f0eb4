// SPDX-License-Identifier: GPL-2.0

//! Callbacks for network namespaces: the one place with `unsafe` code.
//!
//! A namespace is told from others by its address, which is compared and never followed. So
//! there is nothing that could be used after its namespace ended, and nothing to be counted.

use core::marker::PhantomData;

use kernel::{bindings, error::from_result, prelude::*, types::Opaque};

/// Tells a namespace from all others that exist at the same time.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Id(usize);

impl Id {
    /// That of the running process.
    pub(crate) fn current() -> Id {
        // SAFETY: `current` is the running task. Only a task itself changes its `nsproxy`, and has
        // one until it exits, which it cannot while it runs this.
        let net = unsafe { (*(*bindings::get_current()).nsproxy).net_ns };
        Id(net as usize)
    }
}

/// Who wants to hear of namespaces.
pub(crate) trait Namespaces: 'static {
    /// A namespace begins, or was there before the registration. An error fails its creation.
    fn begin(net: Id) -> Result;

    /// A namespace ends. It had begun, and no further call is about it.
    fn end(net: Id);
}

/// While this exists, `T` hears of namespaces.
pub(crate) struct Registration<T: Namespaces> {
    operations: KBox<Opaque<bindings::pernet_operations>>,
    _type: PhantomData<T>,
}

// SAFETY: The kernel locks the list of operations itself; from here nothing else is done with them.
unsafe impl<T: Namespaces> Send for Registration<T> {}
// SAFETY: As above.
unsafe impl<T: Namespaces> Sync for Registration<T> {}

impl<T: Namespaces> Registration<T> {
    /// Calls [`Namespaces::begin`] for all namespaces that there are before it returns.
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
    /// To be called by the kernel alone, for a namespace that begins.
    unsafe extern "C" fn init(net: *mut bindings::net) -> kernel::ffi::c_int {
        from_result(|| T::begin(Id(net as usize)).map(|()| 0))
    }

    /// # Safety
    ///
    /// To be called by the kernel alone, for a namespace that ends.
    unsafe extern "C" fn exit(net: *mut bindings::net) {
        T::end(Id(net as usize));
    }
}

impl<T: Namespaces> Drop for Registration<T> {
    fn drop(&mut self) {
        // SAFETY: They were registered in `new`, and are unregistered here alone. The kernel calls
        // `exit` for every namespace, and none of them after this returns.
        unsafe { bindings::unregister_pernet_subsys(self.operations.get()) };
    }
}
