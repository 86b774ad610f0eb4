// SPDX-License-Identifier: GPL-2.0

//! Several guests at once.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;

/// Does `work` on each task: in their order, at most `slots` at once. A task for which `waits` is
/// true spends most of its time waiting: it takes no slot and begins at once. When a task has
/// ended, the calling thread calls `ended`, which returns whether to begin more tasks.
pub fn run<T: Sync, R: Send>(
    tasks: &[T],
    slots: usize,
    waits: impl Fn(&T) -> bool,
    work: impl Fn(&T) -> R + Sync,
    mut ended: impl FnMut(&T, R) -> bool,
) {
    let (waiting, tasks): (Vec<&T>, Vec<&T>) = tasks.iter().partition(|task| waits(task));
    let next = AtomicUsize::new(0);
    // A channel without a buffer: a worker with a result waits until the result is taken.
    let (sender, results) = mpsc::sync_channel(0);
    std::thread::scope(|scope| {
        for task in waiting {
            let (sender, work) = (sender.clone(), &work);
            // The receiver lives as long as this scope.
            scope.spawn(move || drop(sender.send((task, work(task)))));
        }
        for _ in 0..slots.clamp(1, tasks.len().max(1)) {
            let (sender, next, work, tasks) = (sender.clone(), &next, &work, &tasks);
            scope.spawn(move || {
                while let Some(task) = tasks.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let _ = sender.send((*task, work(task)));
                }
            });
        }
        drop(sender);
        for (task, result) in results {
            if !ended(task, result) {
                next.store(tasks.len(), Ordering::Relaxed);
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Barrier;

    #[test]
    fn every_task_is_done_once() {
        let tasks: Vec<u32> = (0..50).collect();
        let mut done = Vec::new();
        run(
            &tasks,
            4,
            |task| task % 7 == 0,
            |task| task * 2,
            |task, twice| {
                done.push((*task, twice));
                true
            },
        );
        done.sort_unstable();
        assert_eq!(done, tasks.iter().map(|task| (*task, task * 2)).collect::<Vec<_>>());
    }

    #[test]
    fn tasks_run_at_the_same_time() {
        // Each waits for the other, so they only end if they run at the same time.
        let both = Barrier::new(2);
        let mut done = 0;
        run(
            &[(), ()],
            2,
            |()| false,
            |()| both.wait(),
            |(), _| {
                done += 1;
                true
            },
        );
        assert_eq!(done, 2);
    }

    #[test]
    fn nothing_new_begins_once_the_caller_has_had_enough() {
        let mut done = Vec::new();
        run(
            &[1, 2, 3, 4],
            1,
            |_| false,
            |task| *task,
            |_, task| {
                done.push(task);
                task < 2
            },
        );
        // The worker may have begun one more task before the second result was taken.
        assert!(done.starts_with(&[1, 2]) && done.len() < 4, "{done:?}");
    }

    #[test]
    fn a_task_that_waits_takes_no_slot() {
        // The first waits for the second, which has the only slot.
        let both = Barrier::new(2);
        let mut done = Vec::new();
        let wait = |task: &u8| {
            both.wait();
            *task
        };
        run(
            &[1, 2],
            1,
            |task| *task == 1,
            wait,
            |task, _| {
                done.push(*task);
                true
            },
        );
        done.sort_unstable();
        assert_eq!(done, [1, 2]);
    }

    #[test]
    fn no_tasks_are_no_work() {
        run(&[] as &[u8], 3, |_| false, |_| (), |_, ()| panic!("nothing to hear of"));
    }
}
