// SPDX-License-Identifier: GPL-2.0

//! The kernel's own counters of faults, which do not depend on its log.

use std::fs;

use vmlab_init::protocol::Counters;

use crate::port::Port;

const WARNINGS: &str = "/sys/kernel/warn_count";
const OOPSES: &str = "/sys/kernel/oops_count";
const TAINT: &str = "/proc/sys/kernel/tainted";
const LOCKDEP: &str = "/proc/lockdep_stats";

/// Reports counters that this kernel lacks.
pub fn note_missing(port: &Port) {
    for file in [WARNINGS, OOPSES, TAINT].into_iter().filter(|file| number(file).is_none()) {
        port.note(format!("the kernel has no {file}: its log is not checked against that"));
    }
}

/// Reads the counters.
pub fn now() -> Counters {
    Counters {
        warnings: number(WARNINGS),
        oopses: number(OOPSES),
        taint: number(TAINT),
        lockdep: fs::read_to_string(LOCKDEP).ok().and_then(|stats| is_on(&stats)),
    }
}

/// Whether lockdep still looks for faults: it stops with the first one.
fn is_on(stats: &str) -> Option<bool> {
    let line = stats.lines().find_map(|line| line.trim().strip_prefix("debug_locks:"))?;
    Some(line.trim() != "0")
}

fn number(file: &str) -> Option<u64> {
    fs::read_to_string(file).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lockdep_tells_whether_it_is_on() {
        let stats = " lock-classes:                         1012 [max: 8192]\n";
        assert_eq!(is_on(stats), None);
        assert_eq!(
            is_on(&format!("{stats} debug_locks:                             1\n")),
            Some(true)
        );
        assert_eq!(
            is_on(&format!("{stats} debug_locks:                             0\n")),
            Some(false)
        );
    }
}
