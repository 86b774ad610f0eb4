// SPDX-License-Identifier: GPL-2.0

//! Keeps a guest from hanging when its memory is full.

use std::fs;

/// How many bytes are allocated at once.
const PIECE: usize = 1 << 20;

/// Memory is short when less than this fraction (one in 32) is available.
const SHORT: usize = 32;

/// Allocates memory while a program prints nothing and memory is short.
///
/// A program that has taken all memory may then wait for its own pages, which the kernel reads from
/// the host. For that the kernel allocates with `GFP_NOFS` (`page_cache_ra_unbounded()` in
/// mm/readahead.c), and for such a request `out_of_memory()` in mm/oom_kill.c kills nothing: it
/// relies on other requests. In a guest with one test there are none, and the test would hang until
/// its time limit. So PID 1 makes a request, and the kernel kills the program that has taken the
/// memory, and logs its name.
#[derive(Default)]
pub struct Asker {
    /// The allocated memory, kept for as long as memory is short. If it were freed, it would go to
    /// a processor's own list of free pages, and only the next allocation here would get it.
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

/// The number after a name, in kB.
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
