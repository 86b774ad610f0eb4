// SPDX-License-Identifier: GPL-2.0

//! An experiment: a per-CPU global "current namespace", as the RFD considered and rejected it.
//!
//! It is set where a packet enters the stack: on receive by the first device that sees the packet,
//! on transmit to the namespace of the sending process. Two devices stacked on each other are
//! watched, say a macvlan (*upper*) and the device below it (*lower*). For each packet that passes
//! one of them, what the global says is compared with the namespace that the device is in, and so
//! is what the packet itself says: the namespace of its device, passed explicitly.
//!
//! Where both devices are in one namespace, both are right. Where they are not, the global cannot
//! be: nothing sets it between the two.

use kernel::{
    fmt,
    net::{
        pcpu_counters::PcpuCounters,
        Cookie,
        Namespace, //
    },
    prelude::*,
    sync::{
        rcu,
        Arc, //
    },
};

use crate::{
    device::NetDeviceRef,
    packet_type::{
        self,
        Direction,
        Packet,
        Protocol, //
    },
};

/// The global, in `current_namespace.c`. Nothing is 0: no cookie is.
mod current {
    // Safe to call whenever the module is there: they use per-CPU and per-task memory.
    unsafe extern "C" {
        #[link_name = "rnetns_bench_current_cookie_set"]
        pub(super) safe fn set(cookie: u64);
        #[link_name = "rnetns_bench_current_cookie"]
        pub(super) safe fn get() -> u64;
        #[link_name = "rnetns_bench_process_cookie"]
        pub(super) safe fn of_process() -> u64;
    }
}

/// Which of the two devices.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    Lower,
    Upper,
}

/// Packets, by way of attribution, direction, and whether it was right.
const NAMES: [&str; 8] = [
    "explicit_receive_right",
    "explicit_receive_wrong",
    "explicit_transmit_right",
    "explicit_transmit_wrong",
    "global_receive_right",
    "global_receive_wrong",
    "global_transmit_right",
    "global_transmit_wrong",
];

type Counts = PcpuCounters<{ NAMES.len() }>;

fn index(global: bool, direction: Direction, right: bool) -> usize {
    usize::from(global) * 4
        + usize::from(direction == Direction::Transmit) * 2
        + usize::from(!right)
}

/// Sees the packets of one device.
struct Observer {
    place: Place,
    /// The namespace in which the test found the device.
    truth: Cookie,
    counts: Arc<Counts>,
}

impl packet_type::Handler for Observer {
    fn receive(&self, packet: &Packet<'_>) {
        let direction = packet.direction();
        let guard = rcu::read_lock();
        let Some(explicit) = packet.net(&guard).map(Namespace::cookie) else {
            return;
        };
        drop(guard);
        match (direction, self.place) {
            (Direction::Receive, Place::Lower) => current::set(explicit.get()),
            (Direction::Transmit, Place::Upper) => {
                let process = current::of_process();
                // In a softirq no process sends: what was received last stays.
                if process != 0 {
                    current::set(process);
                }
            }
            // The packet has passed the other device before.
            _ => {}
        }
        let explicit = explicit == self.truth;
        let global = current::get() == self.truth.get();
        self.counts.add(index(false, direction, explicit), 1);
        self.counts.add(index(true, direction, global), 1);
    }
}

/// Both devices, watched.
pub(crate) struct Experiment {
    counts: Arc<Counts>,
    _observers: [Pin<KBox<packet_type::Registration<Observer>>>; 2],
}

impl Experiment {
    /// Watches two devices, each given with the namespace that it was found in.
    pub(crate) fn new(
        lower: (NetDeviceRef, Cookie),
        upper: (NetDeviceRef, Cookie),
    ) -> Result<Self> {
        let counts = Arc::new(Counts::new()?, GFP_KERNEL)?;
        let observe = |(dev, truth), place| {
            let observer = Observer {
                place,
                truth,
                counts: counts.clone(),
            };
            KBox::pin_init(
                packet_type::register(dev, Protocol::ALL, observer),
                GFP_KERNEL,
            )
        };
        Ok(Self {
            _observers: [observe(lower, Place::Lower)?, observe(upper, Place::Upper)?],
            counts,
        })
    }

    /// A line for each count.
    pub(crate) fn show(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, name) in NAMES.iter().enumerate() {
            f.write_fmt(fmt!("{}={}\n", *name, self.counts.sum(i)))?;
        }
        Ok(())
    }
}
