// SPDX-License-Identifier: GPL-2.0

//! Keeps a guest whose memory is full from standing still.

use std::fs;

/// What is asked for at once, in bytes.
const PIECE: usize = 1 << 20;

/// Memory is short when less than this part of all is available.
const SHORT: usize = 32;

/// Asks for memory while a program says nothing and memory is short.
///
/// A program that has taken all memory may be reading its own pages from the host then. The kernel
/// asks for memory with `GFP_NOFS` there (`page_cache_ra_unbounded()` in mm/readahead.c), and for
/// such a request `out_of_memory()` in mm/oom_kill.c ends nobody: it relies on others to ask. In a
/// guest with one test there are no others, and the test would hang until its time is over. This
/// asks, and the kernel names the program that has taken the memory and ends it.
#[derive(Default)]
pub struct Asker {
    /// What was had is kept for as long as memory is short. Given back, it would wait in the lists
    /// of free pages that each processor has, where only the next question of ours would find it.
    kept: Vec<Vec<u8>>,
}

impl Asker {
    /// Another second has passed in silence.
    pub fn ask(&mut self) {
        if short() {
            self.kept.push(vec![1; PIECE]);
        } else {
            self.kept.clear();
        }
    }
}

fn short() -> bool {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let (total, available) = (number(&text, "MemTotal:"), number(&text, "MemAvailable:"));
    total.zip(available).is_some_and(|(total, available)| available < total / SHORT)
}

/// The number behind a name, in the unit of the file: kB.
fn number(text: &str, name: &str) -> Option<usize> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::number;

    #[test]
    fn a_number_is_found_by_its_name() {
        let text = "MemTotal:         118484 kB\nMemFree:  17 kB\nMemAvailable:       1232 kB\n";
        assert_eq!(number(text, "MemAvailable:"), Some(1232));
        assert_eq!(number(text, "SwapTotal:"), None);
    }
}
