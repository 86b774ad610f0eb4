// SPDX-License-Identifier: GPL-2.0

//! The frequency of the clock that an emulated processor reads (TSC). It is the host's own clock.
//!
//! The kernel measures the speed when it boots, and again for each processor. That takes 150 ms,
//! and on a busy machine the result can be far off: in one boot, the guest's time ran forty times
//! too fast. So the lab passes the speed to the kernel.

use std::arch::x86_64::_rdtsc;
use std::fs;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use crate::boot::kernel::Kernel;

/// An undisturbed reading of both clocks takes less than this.
const QUICK: Duration = Duration::from_micros(20);

/// The most readings for one moment.
const READINGS: u32 = 100;

/// The kernel options that tell the frequency.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Clock {
    /// For the option `lpj=`: how often the clock ticks in a jiffy. `None` if the kernel's
    /// configuration is unknown.
    pub loops_per_jiffy: Option<u64>,
    /// For the option `tsc_early_khz=`.
    pub kilohertz: u64,
}

impl Clock {
    /// Measures the clock, for this kernel.
    pub fn of(kernel: &Kernel) -> Clock {
        let ticks = ticks_per_second();
        let config = fs::read_to_string(kernel.build.join(".config")).unwrap_or_default();
        let loops_per_jiffy = jiffies_per_second(&config).map(|jiffies| ticks / jiffies);
        Clock { loops_per_jiffy, kilohertz: ticks / 1000 }
    }
}

fn jiffies_per_second(config: &str) -> Option<u64> {
    let hz: u64 = config.lines().find_map(|line| line.strip_prefix("CONFIG_HZ=")?.parse().ok())?;
    (hz > 0).then_some(hz)
}

fn ticks_per_second() -> u64 {
    static MEASURED: OnceLock<u64> = OnceLock::new();
    *MEASURED.get_or_init(|| {
        let (start, first) = both_clocks();
        std::thread::sleep(Duration::from_millis(10));
        let (end, last) = both_clocks();
        let ticks = u128::from(last - first) * 1_000_000_000 / (end - start).as_nanos();
        u64::try_from(ticks).unwrap_or(u64::MAX)
    })
}

/// The time and the ticks at the same moment. Another program may run between the two readings, and
/// spoil them. So this takes the quickest of several readings.
fn both_clocks() -> (Instant, u64) {
    quickest(|| {
        let time = Instant::now();
        // SAFETY: every processor that runs a 64-bit kernel has this instruction.
        let ticks = unsafe { _rdtsc() };
        (time.elapsed(), (time, ticks))
    })
}

/// The quickest reading. All are slow where a hypervisor handles the instruction.
fn quickest<T>(mut read: impl FnMut() -> (Duration, T)) -> T {
    let mut best = read();
    for _ in 1..READINGS {
        if best.0 < QUICK {
            break;
        }
        let next = read();
        if next.0 < best.0 {
            best = next;
        }
    }
    best.1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernels_ticks_are_those_of_its_configuration() {
        assert_eq!(jiffies_per_second("CONFIG_HZ_250=y\nCONFIG_HZ=250\n"), Some(250));
        assert_eq!(jiffies_per_second("# CONFIG_HZ is not set\n"), None);
        assert_eq!(jiffies_per_second("CONFIG_HZ=0\n"), None);
    }

    #[test]
    fn a_slow_clock_is_read_all_the_same() {
        let mut readings = 0;
        let best = quickest(|| {
            readings += 1;
            (QUICK * if readings == 5 { 2 } else { 3 }, readings)
        });
        assert_eq!((best, readings), (5, READINGS));
        let mut readings = 0;
        quickest(|| {
            readings += 1;
            (QUICK / readings, ())
        });
        assert_eq!(readings, 2, "a quick one is enough");
    }

    #[test]
    fn the_clock_is_as_fast_as_the_time_it_takes() {
        let ticks = ticks_per_second();
        let (start, first) = both_clocks();
        std::thread::sleep(Duration::from_millis(50));
        let (end, last) = both_clocks();
        let want = ticks as f64 * (end - start).as_secs_f64();
        assert!(((last - first) as f64 / want - 1.0).abs() < 0.01, "{ticks} a second");
    }
}
