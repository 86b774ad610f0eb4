// SPDX-License-Identifier: GPL-2.0

//! The same work on many items, several at once.

use std::panic::resume_unwind;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Does `work` on each item, `jobs` at a time. The results are in the order of the items. rayon
/// could do this, but it is many crates for one loop.
pub fn each<T: Sync, R: Send>(items: &[T], jobs: usize, work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let next = AtomicUsize::new(0);
    let worker = || {
        let mut done = Vec::new();
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(item) = items.get(index) else { return done };
            done.push((index, work(item)));
        }
    };
    let mut done: Vec<(usize, R)> = std::thread::scope(|scope| {
        let threads: Vec<_> =
            (0..jobs.clamp(1, items.len().max(1))).map(|_| scope.spawn(worker)).collect();
        let results = threads.into_iter().map(|thread| thread.join());
        results.flat_map(|result| result.unwrap_or_else(|panic| resume_unwind(panic))).collect()
    });
    done.sort_by_key(|(index, _)| *index);
    done.into_iter().map(|(_, result)| result).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Barrier;

    #[test]
    fn results_are_in_the_items_order() {
        let items: Vec<u32> = (0..100).collect();
        for jobs in [0, 1, 3, 200] {
            assert_eq!(each(&items, jobs, |item| item + 1), (1..=100).collect::<Vec<_>>());
        }
        assert!(each(&[] as &[u32], 2, |item| *item).is_empty());
    }

    #[test]
    fn as_many_run_at_once_as_there_are_jobs() {
        let both = Barrier::new(2);
        // Each waits for the other, so this only ends if both run at the same time.
        each(&[(), ()], 2, |()| both.wait());
    }
}
