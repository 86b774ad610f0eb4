// SPDX-License-Identifier: GPL-2.0

//! The kernel's own counters of faults, which do not depend on its log.

use std::fs;

use vmlab_init::protocol::Counters;

use crate::port::Port;

const WARNINGS: &str = "/sys/kernel/warn_count";
const OOPSES: &str = "/sys/kernel/oops_count";
const TAINT: &str = "/proc/sys/kernel/tainted";

/// Reports counters that this kernel lacks.
pub fn note_missing(port: &Port) {
    for file in [WARNINGS, OOPSES, TAINT].into_iter().filter(|file| number(file).is_none()) {
        port.note(format!("the kernel has no {file}: its log is not checked against that"));
    }
}

/// Reads the counters.
pub fn now() -> Counters {
    Counters { warnings: number(WARNINGS), oopses: number(OOPSES), taint: number(TAINT) }
}

fn number(file: &str) -> Option<u64> {
    fs::read_to_string(file).ok()?.trim().parse().ok()
}
