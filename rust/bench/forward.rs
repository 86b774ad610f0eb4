// SPDX-License-Identifier: GPL-2.0

//! Packets through a machine that forwards them, by `forward.c`.
//!
//! A router is a namespace with two veth pairs: packets are sent by the outer end of one, and come
//! back at the outer end of the other. All routers are measured in turn, batch by batch, so that
//! whatever else the machine does hits each alike.

use kernel::{
    net::net_device::NetDevice,
    prelude::*,
    str::CString,
    time::{
        delay::fsleep,
        Delta, //
    },
};

use crate::{
    device::NetDeviceRef,
    figures::Figure,
    table::yield_now, //
};

/// Packets in a batch: as in `forward.c`.
const BATCH: u64 = 64;
/// How long packets may take to come back, in milliseconds, before they are counted as lost.
const PATIENCE: u32 = 200;

/// `struct rnetns_bench_forward`.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Flows {
    state: u64,
    mask: u32,
    routes: u32,
    router: [u8; 6],
    spoofed: bool,
}

mod c {
    use super::{
        Flows,
        NetDevice, //
    };

    // The functions of `forward.c`.
    unsafe extern "C" {
        pub(super) fn rnetns_bench_forward_batch(plan: *mut Flows, dev: *const NetDevice) -> u64;
        pub(super) fn rnetns_bench_received(dev: *const NetDevice) -> u64;
    }
}

impl Flows {
    /// `flows` is a power of two. `spoofed` packets have sources that hardly ever come again.
    pub(crate) fn new(kind: &str, flows: u32, routes: u32) -> Result<Self> {
        let spoofed = match kind {
            "flows" => false,
            "spoofed" => true,
            _ => return Err(EINVAL),
        };
        if !flows.is_power_of_two() || routes == 0 {
            return Err(EINVAL);
        }
        Ok(Self {
            state: 1,
            mask: flows - 1,
            routes,
            // The address that measure.sh gives each router.
            router: [2, 0, 0, 0, 0, 1],
            spoofed,
        })
    }
}

/// A way through a router.
pub(crate) struct Path {
    input: NetDeviceRef,
    output: NetDeviceRef,
}

impl Path {
    pub(crate) fn new(input: NetDeviceRef, output: NetDeviceRef) -> Self {
        Self { input, output }
    }

    fn received(&self) -> u64 {
        // SAFETY: The device is held.
        unsafe { c::rnetns_bench_received(&raw const *self.output) }
    }

    /// Sends a batch; how many nanoseconds it took.
    fn send(&self, flows: &mut Flows) -> Result<u64> {
        // SAFETY: The device is held, and the flows are borrowed.
        match unsafe { c::rnetns_bench_forward_batch(flows, &raw const *self.input) } {
            0 => Err(ENOMEM),
            nanoseconds => Ok(nanoseconds),
        }
    }
}

/// How often a measurement with many packets is repeated.
const REPEATS: usize = 7;

/// Packets of one burst of those that warm up, at most; four for each flow are enough.
const BURST: u64 = 8192;
/// How many bursts there are, and milliseconds between them. A cache that does not help needs up to
/// 32,000 packets to find that out, if it did help before, and looks twice a second whether it
/// would.
const BURSTS: usize = 10;
const BETWEEN: i64 = 150;

/// `forward NAME KIND FLOWS PACKETS ROUTES PID IN OUT...`: measures each path.
pub(crate) fn measure(
    name: &str,
    flows: Flows,
    packets: u64,
    paths: &mut [Path],
) -> Result<KVec<Figure>> {
    let mut figures = KVec::new();
    let mut plans = KVec::new();
    for i in 0..paths.len() {
        let name = CString::try_from_fmt(fmt!("{}_{}", name, i))?;
        figures.push(Figure::named(name), GFP_KERNEL)?;
        plans.push(flows, GFP_KERNEL)?;
    }
    let burst = BURST.min(4 * u64::from(flows.mask + 1));
    for _ in 0..BURSTS {
        send(paths, &mut plans, burst, None)?;
        fsleep(Delta::from_millis(BETWEEN));
    }
    for repeat in 0..REPEATS {
        send(paths, &mut plans, packets, Some((&mut figures, repeat)))?;
    }
    Ok(figures)
}

/// Sends packets by each path in turn.
fn send(
    paths: &[Path],
    plans: &mut [Flows],
    packets: u64,
    mut noted: Option<(&mut [Figure], usize)>,
) -> Result {
    let mut spent = KVec::from_elem(0u64, paths.len(), GFP_KERNEL)?;
    let mut before = KVec::new();
    for path in paths.iter() {
        before.push(path.received(), GFP_KERNEL)?;
    }
    let batches = packets.div_ceil(BATCH);
    for _ in 0..batches {
        for (i, path) in paths.iter().enumerate() {
            spent[i] += path.send(&mut plans[i])?;
        }
        yield_now();
    }
    let sent = batches * BATCH;
    for (i, path) in paths.iter().enumerate() {
        let lost = missing(path, before[i] + sent);
        if lost == sent {
            return Err(ENETDOWN);
        }
        if let Some((figures, repeat)) = &mut noted {
            figures[i].note(*repeat, spent[i], sent);
            figures[i].note_lost(lost);
        }
    }
    Ok(())
}

/// Waits for the last packets; how many never came.
fn missing(path: &Path, want: u64) -> u64 {
    for _ in 0..PATIENCE {
        if path.received() >= want {
            break;
        }
        fsleep(Delta::from_millis(1));
    }
    want.saturating_sub(path.received())
}
