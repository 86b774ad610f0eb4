// SPDX-License-Identifier: GPL-2.0

//! The state of each namespace: its age, its generation, its counters.

use kernel::{
    net::{
        pcpu_counters::PcpuCounters,
        pernet::{
            self,
            HasSlot, //
        },
        Namespace, //
    },
    pernet_slot,
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        rcu, //
    },
    time::{
        BootTime,
        Instant, //
    },
};

use crate::support;

/// The counters of a namespace.
#[derive(Clone, Copy)]
#[repr(usize)]
pub(crate) enum Counter {
    /// Packets that left by `rlo`, counted in the device's namespace. The next counter has their
    /// bytes.
    DevicePackets = 0,
    /// Packets that a socket of this namespace sent through an `rlo`, its own or another's. The
    /// next counter has their bytes.
    SocketPackets = 2,
    /// Packets that `rlo` could not deliver to itself.
    Dropped = 4,
}

const COUNTERS: usize = 5;

/// The state of a namespace.
pub(crate) struct State {
    /// When the namespace was created, or the module loaded, if that was later.
    created: Instant<BootTime>,
    /// Changes when everything that depends on it must be forgotten. Starts at 1.
    generation: Atomic<i64>,
    counters: PcpuCounters<COUNTERS>,
}

pernet_slot!(State);

#[vtable]
impl pernet::Operations for State {
    type Kind = pernet::Subsys;

    fn applies_to(net: &Namespace) -> bool {
        support::is_supported(net)
    }

    fn init(_net: &Namespace) -> impl PinInit<Self, Error> {
        Self::new()
    }
}

impl State {
    fn new() -> Result<Self> {
        Ok(Self {
            created: Instant::now(),
            generation: Atomic::new(1),
            counters: PcpuCounters::new()?,
        })
    }

    /// Returns the state of `net`.
    ///
    /// `EAFNOSUPPORT` where the module refuses to work, `ENODEV` while the namespace is being
    /// created or is ending.
    pub(crate) fn of<'g>(net: &Namespace, guard: &'g rcu::Guard) -> Result<&'g Self> {
        match Self::slot().get(net, guard) {
            Some(state) => Ok(state),
            None => support::check(net).and(Err(ENODEV)),
        }
    }

    /// Counts `value` more. May be called from any context.
    #[inline]
    pub(crate) fn count(&self, counter: Counter, value: u64) {
        self.counters.add(counter as usize, value);
    }

    /// Counts a packet of `len` bytes: `packets`, and the counter of bytes that follows it.
    #[inline]
    pub(crate) fn count_packet(&self, packets: Counter, len: u64) {
        self.counters.add_pair(packets as usize, 1, len);
    }

    /// Begins a new generation.
    pub(crate) fn next_generation(&self) {
        self.generation.add(1, Relaxed);
    }

    /// The names of [`figures`](Self::figures), in their order.
    pub(crate) const FIGURES: [&'static CStr; 2 + COUNTERS] = [
        c"age_ns",
        c"generation",
        c"device_packets",
        c"device_bytes",
        c"socket_packets",
        c"socket_bytes",
        c"dropped",
    ];

    /// The whole state as numbers; the first is the age in nanoseconds of boot time.
    pub(crate) fn figures(&self) -> [u64; 2 + COUNTERS] {
        core::array::from_fn(|i| match i {
            0 => self.created.elapsed().as_nanos() as u64,
            1 => self.generation.load(Relaxed) as u64,
            i => self.counters.sum(i - 2),
        })
    }
}
