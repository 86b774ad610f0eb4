// SPDX-License-Identifier: GPL-2.0

//! Access to the state of a namespace: in Rust, and by the C twin (`state.c`).

use kernel::{
    error::to_result,
    net::{
        pernet::{
            self,
            HasSlot, //
        },
        LiveNamespace,
        Namespace, //
    },
    pernet_slot,
    prelude::*,
    sync::rcu, //
};

use crate::figures::{
    rounds,
    time,
    Figure, //
};

/// Accesses in one repeat: some milliseconds, many times what the clock can tell apart.
const ACCESSES: u64 = 200_000;

/// What each namespace has, here and in the twin.
pub(crate) struct State {
    value: u64,
}

pernet_slot!(State);

#[vtable]
impl pernet::Operations for State {
    type Kind = pernet::Subsys;

    fn init(_net: &Namespace) -> impl PinInit<Self, Error> {
        Ok::<_, Error>(Self { value: 1 })
    }
}

mod c {
    use super::Namespace;
    use kernel::ffi::c_int;

    // The functions of `state.c`. All but the first two read the state of a namespace `n` times. A
    // `Namespace` is a `struct net`, and `Twin` has registered the state.
    unsafe extern "C" {
        pub(super) fn rnetns_bench_state_register() -> c_int;
        pub(super) fn rnetns_bench_state_unregister();
        pub(super) fn rnetns_bench_state_read_guarded(net: &Namespace, n: u64) -> u64;
        pub(super) fn rnetns_bench_state_read(net: &Namespace, n: u64) -> u64;
        pub(super) fn rnetns_bench_explicit(net: &Namespace, n: u64) -> u64;
        pub(super) fn rnetns_bench_current_get(net: &Namespace, n: u64) -> u64;
        pub(super) fn rnetns_bench_current_switch(net: &Namespace, n: u64) -> u64;
    }
}

/// The twin's state, registered.
pub(crate) struct Twin(());

impl Twin {
    pub(crate) fn register() -> Result<Self> {
        // SAFETY: Called once, when the module loads.
        to_result(unsafe { c::rnetns_bench_state_register() })?;
        Ok(Self(()))
    }
}

impl Drop for Twin {
    fn drop(&mut self) {
        // SAFETY: There is one `Twin`, and it has registered the state.
        unsafe { c::rnetns_bench_state_unregister() };
    }
}

/// In one RCU critical section.
#[inline(never)]
fn read_guarded(net: &Namespace, n: u64) -> u64 {
    let guard = rcu::read_lock();
    let mut sum = 0;
    for _ in 0..n {
        // Where there is none, the sum tells.
        sum += State::slot()
            .get(net, &guard)
            .map_or(0, |state| state.value);
    }
    sum
}

/// In an RCU critical section each.
#[inline(never)]
fn read(net: &Namespace, n: u64) -> u64 {
    let mut sum = 0;
    for _ in 0..n {
        let guard = rcu::read_lock();
        // Where there is none, the sum tells.
        sum += State::slot()
            .get(net, &guard)
            .map_or(0, |state| state.value);
    }
    sum
}

/// Calls a function of the twin.
macro_rules! twin {
    ($function:ident) => {
        // SAFETY: The files by which this is started exist only while the `Twin` does, and the
        // namespace is in use.
        |net, n| unsafe { c::$function(net, n) }
    };
}

type Way = fn(&Namespace, u64) -> u64;

const WAYS: [(&str, Way); 7] = [
    ("state_rust_guarded", read_guarded),
    ("state_c_guarded", twin!(rnetns_bench_state_read_guarded)),
    ("state_rust", read),
    ("state_c", twin!(rnetns_bench_state_read)),
    ("explicit", twin!(rnetns_bench_explicit)),
    ("current_get", twin!(rnetns_bench_current_get)),
    ("current_switch", twin!(rnetns_bench_current_switch)),
];

/// Measures each way, in turn, so that drift does not favour one.
pub(crate) fn measure(net: &LiveNamespace) -> Result<KVec<Figure>> {
    let mut figures = KVec::with_capacity(WAYS.len(), GFP_KERNEL)?;
    for (name, _) in WAYS {
        figures.push(Figure::new(name)?, GFP_KERNEL)?;
    }
    for repeat in rounds() {
        for ((_, way), figure) in WAYS.iter().zip(figures.iter_mut()) {
            let (nanoseconds, sum) = time(|| way(net, ACCESSES));
            // Each value is 1; 0 says that a namespace had none.
            if sum != ACCESSES {
                return Err(EIO);
            }
            figure.note(repeat, nanoseconds, ACCESSES);
        }
    }
    Ok(figures)
}
