// SPDX-License-Identifier: GPL-2.0

//! What differs between copies of a snapshot: the time and the random numbers.

use std::ffi::c_int;
use std::fs::File;
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::ioctl::{NoArg, Opcode, Setter, ioctl, opcode};
use rustix::time::{ClockId, Timespec, clock_settime};
use vmlab_init::protocol::{Start, Wake};

use crate::requests::{self, Requests};

const RNDADDENTROPY: Opcode = opcode::write::<[c_int; 2]>(b'R', 3);
const RNDRESEEDCRNG: Opcode = opcode::none(b'R', 7);

/// `struct rand_pool_info` of `linux/random.h`, with room for the seed.
#[repr(C)]
struct Pool {
    entropy_bits: c_int,
    bytes: c_int,
    seed: [u8; 32],
}

/// Waits while the machine is saved. Each copy continues from here.
pub fn up(requests: &mut Requests) -> Result<Start> {
    let Wake { start, seed, now } = requests::wait_for(requests, "the word to wake up")?;
    mix(seed).context("mix random numbers")?;
    set_clock(now).context("set the clock")?;
    Ok(start)
}

/// Reseeds the kernel's random number generator, which has the same state in all copies.
/// RNDRESEEDCRNG makes the seed take effect at once, and not only after some minutes.
fn mix(seed: [u8; 32]) -> Result<()> {
    let random = File::open("/dev/urandom").context("open /dev/urandom")?;
    let pool = Pool { entropy_bits: 256, bytes: 32, seed };
    // SAFETY: RNDADDENTROPY reads a rand_pool_info with as many bytes behind it as it says, which
    // `pool` is.
    unsafe { ioctl(&random, Setter::<RNDADDENTROPY, Pool>::new(pool)) }.context("RNDADDENTROPY")?;
    // SAFETY: RNDRESEEDCRNG has no argument.
    unsafe { ioctl(&random, NoArg::<RNDRESEEDCRNG>::new()) }.context("RNDRESEEDCRNG")
}

fn set_clock(now: Duration) -> Result<()> {
    let time = Timespec { tv_sec: now.as_secs().try_into()?, tv_nsec: now.subsec_nanos().into() };
    clock_settime(ClockId::Realtime, time)?;
    Ok(())
}
