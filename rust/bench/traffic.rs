// SPDX-License-Identifier: GPL-2.0

//! Packets through `lo` and `rlo`, by one generator.

use kernel::{
    net::LiveNamespace,
    prelude::*,
    sync::atomic::{
        Atomic,
        Relaxed, //
    },
    time::{
        delay::fsleep,
        Delta, //
    },
};

use crate::{
    device::NetDeviceRef,
    figures::{
        rounds,
        time,
        Figure, //
    },
    packet_type::{
        self,
        Packet,
        Protocol, //
    },
    xmit::Outgoing, //
};

/// Packets in one repeat.
const PACKETS: u64 = 8192;
/// Packets under way at once: far less than the queue of a CPU holds.
const BATCH: u64 = 64;
/// Bytes behind the Ethernet header.
const LEN: u32 = 50;
/// How long packets may take to arrive, in milliseconds, before they are counted as lost.
const PATIENCE: u32 = 1000;

/// Counts what arrives.
struct Arrived(Atomic<u64>);

impl packet_type::Handler for Arrived {
    fn receive(&self, _packet: &Packet<'_>) {
        self.0.add(1, Relaxed);
    }
}

/// A device, and the handler that counts what it receives.
type Path = Pin<KBox<packet_type::Registration<Arrived>>>;

fn path(dev: NetDeviceRef) -> Result<Path> {
    KBox::pin_init(
        packet_type::register(dev, Protocol::EXPERIMENTAL, Arrived(Atomic::new(0))),
        GFP_KERNEL,
    )
}

/// Sends packets and waits for them; gives the number of those that were lost.
fn send(path: &Path) -> Result<u64> {
    let arrived = &path.handler().0;
    let before = arrived.load(Relaxed);
    let mut lost = 0;
    let mut sent = 0;
    while sent < PACKETS {
        for _ in 0..BATCH {
            // A packet that was refused is missing at the end.
            let _ = Outgoing::new(path.dev(), Protocol::EXPERIMENTAL, LEN)?.dev_queue_xmit();
        }
        sent += BATCH;
        lost = wait_for(arrived, before + sent - lost, lost);
    }
    Ok(lost)
}

/// Waits until `want` packets have arrived; gives the number lost so far.
fn wait_for(arrived: &Atomic<u64>, want: u64, lost: u64) -> u64 {
    // Mostly they have: a softirq delivers each at the end of its transmission.
    for _ in 0..PATIENCE {
        if arrived.load(Relaxed) >= want {
            return lost;
        }
        fsleep(Delta::from_millis(1));
    }
    lost + want.saturating_sub(arrived.load(Relaxed))
}

/// Measures both devices of `net`, in turn, so that drift does not favour one.
///
/// Both have to be up; `ENODEV` if one is not there.
pub(crate) fn measure(net: &LiveNamespace) -> Result<KVec<Figure>> {
    compare(&[
        ("packet_lo", path(NetDeviceRef::get_by_name(net, c"lo")?)?),
        ("packet_rlo", path(NetDeviceRef::get_by_name(net, c"rlo")?)?),
    ])
}

/// Measures `lo` alone.
pub(crate) fn measure_lo(net: &LiveNamespace, name: &str) -> Result<KVec<Figure>> {
    compare(&[(name, path(NetDeviceRef::get_by_name(net, c"lo")?)?)])
}

fn compare(paths: &[(&str, Path)]) -> Result<KVec<Figure>> {
    let mut figures = KVec::with_capacity(paths.len(), GFP_KERNEL)?;
    for (name, _) in paths {
        figures.push(Figure::new(name)?, GFP_KERNEL)?;
    }
    for repeat in rounds() {
        for ((_, path), figure) in paths.iter().zip(figures.iter_mut()) {
            let (nanoseconds, lost) = time(|| send(path));
            let lost = lost?;
            if lost == PACKETS {
                return Err(ENETDOWN);
            }
            figure.note(repeat, nanoseconds, PACKETS - lost);
            figure.note_lost(lost);
        }
    }
    Ok(figures)
}
