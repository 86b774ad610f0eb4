// SPDX-License-Identifier: GPL-2.0

//! Finds reports of faults in a kernel log.
//!
//! The whole log is searched, and no test can exclude a report. Every stack trace is a finding,
//! whatever is above it. The words of a report decide its kind. [`patterns`] lists harmless lines,
//! each with the reason.

mod frame;
mod patterns;
mod scanner;

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

pub use frame::StackFrame;
pub use scanner::{Record, Scanner};

/// A report of the kernel about itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// `oops`, `kasan`, `lockdep`, ...
    pub kind: String,
    /// The lines that say what it is.
    pub text: String,
    /// The frames, innermost first, as the kernel prints them. Decoded ones have file and line.
    pub stack: Vec<String>,
    /// The test that was running.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub test: Option<String>,
    /// Whether a program wrote it to /dev/kmsg, and not the kernel.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub from_user_space: bool,
}

impl Finding {
    /// The finding as text for people: headline, details, stack.
    pub fn quote(&self) -> String {
        self.quoted(24)
    }

    /// The same with only the first frames, to be printed during a run.
    pub(crate) fn quote_shortly(&self) -> String {
        self.quoted(6)
    }

    fn quoted(&self, frames: usize) -> String {
        let during = self.test.as_ref().map(|test| format!(" during {test}")).unwrap_or_default();
        let by = if self.from_user_space { ", written by a program" } else { "" };
        let mut text = format!("kernel log, {}{during}{by}:\n", self.kind);
        for line in self.text.lines() {
            let _ = writeln!(text, "  {line}");
        }
        for frame in self.stack.iter().take(frames) {
            let _ = writeln!(text, "    {frame}");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vmlab_init::protocol::{LOG_BEGIN, LOG_END};

    fn scan<'a>(lines: impl IntoIterator<Item = &'a str>) -> Vec<Finding> {
        let mut scanner = Scanner::default();
        for line in lines {
            let message = crate::judge::printk::message(line);
            if let Some(name) = message.strip_prefix(LOG_BEGIN) {
                scanner.begin(name);
            } else if message.starts_with(LOG_END) {
                scanner.end();
            } else {
                scanner.console_line(line);
            }
        }
        scanner.finish().0
    }

    fn kinds(log: &str) -> Vec<String> {
        scan(log.lines()).into_iter().map(|finding| finding.kind).collect()
    }

    /// The log of a guest whose module fails in several ways on purpose.
    #[test]
    fn recorded_crashes_are_found_and_belong_to_their_tests() {
        let found = scan(include_str!("../../../tests/logs/crashes.log").lines());
        let told: Vec<(&str, &str, &str)> = found
            .iter()
            .map(|f| (f.kind.as_str(), f.test.as_deref().unwrap(), f.text.lines().next().unwrap()))
            .collect();
        let want = [
            ("warning", "warn", "deliberate 7"),
            ("refcount", "ref", "refcount_t: decrement hit 0; leaking memory."),
            (
                "sleep-in-atomic",
                "atomic",
                "BUG: sleeping function called from invalid context at a.c:17",
            ),
            ("sleep-in-atomic", "atomic", "BUG: scheduling while atomic: insmod/48/0x00000002"),
            (
                "sleep-in-atomic",
                "atomic",
                "initcall init_module+0x0/0x1000 [l2crash] returned with preemption imbalance ",
            ),
            ("oops", "null", "BUG: kernel NULL pointer dereference, address: 0000000000000000"),
        ];
        assert_eq!(told, want);
        assert_eq!(found[5].stack[0], "RIP: 0010:other_file+0x4/0x20 [l2crash]");
        assert_eq!(found[5].stack[1], "init_module+0x46/0x1000 [l2crash]");
        assert!(found.iter().all(|finding| !finding.stack.iter().any(|frame| frame.contains('?'))));
        assert!(found[0].text.contains("WARNING: a.c:9 at middle+0xb/0x20 [l2crash]"));
        assert!(!found[5].text.contains("RAX"));
    }

    /// As the format strings of Linux 7.3 print them.
    #[test]
    fn every_kind_of_report_is_found() {
        let cases = [
            ("memory-leak", "unreferenced object 0xffff888103a5c0c0 (size 64):"),
            ("kasan", "BUG: KASAN: slab-use-after-free in sample_exit+0x1f/0x90 [sample]"),
            ("kcsan", "BUG: KCSAN: data-race in a+0x1/0x2 / b+0x3/0x4"),
            ("kfence", "BUG: KFENCE: use-after-free read in a+0x1/0x2"),
            ("ubsan", "UBSAN: array-index-out-of-bounds in net/core/dev.c:12:3"),
            ("lockdep", "WARNING: possible circular locking dependency detected"),
            ("lockdep", "WARNING: possible recursive locking detected"),
            ("lockdep", "WARNING: inconsistent lock state"),
            ("lockdep", "WARNING: SOFTIRQ-safe -> SOFTIRQ-unsafe lock order detected"),
            ("lockdep", "WARNING: bad unlock balance detected!"),
            ("lockdep", "WARNING: suspicious RCU usage"),
            ("lockdep", "[ BUG: Invalid wait context ]"),
            ("lockdep", "INFO: trying to register non-static key."),
            ("rcu-stall", "rcu: INFO: rcu_preempt detected stalls on CPUs/tasks:"),
            ("rcu-stall", "rcu: INFO: rcu_preempt self-detected stall on CPU"),
            ("hung-task", "INFO: task kworker/u8:2:31 blocked for more than 120 seconds."),
            ("lockup", "watchdog: BUG: soft lockup - CPU#1 stuck for 26s! [insmod:51]"),
            ("lockup", "watchdog: CPU0: Watchdog detected hard LOCKUP on cpu 0"),
            (
                "netdevice-leak",
                "unregister_netdevice: waiting for rlo to become free. Usage count = 2",
            ),
            ("reference-leak", "ref_tracker: net notrefcnt@ffff888003a3c1d0 has 1/1 users at"),
            ("reference-leak", "ref_tracker: reference already released."),
            (
                "memory-leak",
                "kmemleak: 3 new suspected memory leaks (see /sys/kernel/debug/kmemleak)",
            ),
            ("out-of-memory", "Out of memory: Killed process 61 (tail) total-vm:1, anon-rss:2"),
            ("slab", "BUG kmalloc-64 (Tainted: G           O       ): Poison overwritten"),
            ("list-corruption", "list_del corruption. prev->next should be a, but was b"),
            (
                "oops",
                "general protection fault, probably for non-canonical address 0x6b6b: 0000 [#1]",
            ),
            ("oops", "BUG: unable to handle page fault for address: ffffc90000a3d000"),
            ("bug", "kernel BUG at net/core/dev.c:11!"),
            ("rust-panic", "rust_kernel: panicked at rust/sample/lib.rs:12:5:"),
            ("panic", "Kernel panic - not syncing: Fatal exception"),
            ("netdevice-leak", "Dead loop on virtual device rlo, fix it urgently!"),
            ("reference-leak", "dst_release: dst:00000000c3a1d7f2 refcnt:-1"),
            ("neighbour-table", "neighbour: arp_cache: neighbor table overflow!"),
            ("workqueue", "workqueue: work_fn [sample] hogged CPU for >10000us 4 times, consider"),
            (
                "allocation-failure",
                "ip: page allocation failure: order:4, mode:0x40cc0(GFP_KERNEL)",
            ),
            ("duplicate-name", "sysfs: cannot create duplicate filename '/class/net/rlo'"),
            ("duplicate-name", "kobject_add_internal failed for a with -EEXIST, don't try"),
            ("kobject", "kobject: 'a' (0000000012345678): tried to init an initialized object"),
            ("interrupt", "irq 3: nobody cared (try booting with the \"irqpoll\" option)"),
            ("network", "rlo: hw csum failure"),
            ("reference-leak", "IPv4: Freeing alive in_device 00000000a1b2c3d4"),
            ("reference-leak", "IPv4: Attempt to release alive inet socket 00000000a1b2c3d4"),
            (
                "reference-leak",
                "page_pool_release_retry() stalled pool shutdown: id 3, 1 inflight 60 sec",
            ),
            (
                "sleep-in-atomic",
                "huh, entered softirq 3 NET_RX with preempt_count 00000101, exited with 00000102?",
            ),
            ("network", "protocol 0800 is buggy, dev rlo"),
            ("oops", "divide error: 0000 [#1] SMP"),
            ("lockdep", "WARNING: bad contention detected!"),
            ("bug", "BUG: something that nobody has thought of"),
            ("bug", "mydrv: BUG: something"),
            ("warning", "mydrv 0000:01: WARNING: something"),
            ("log-incomplete", "** 12 printk messages dropped **"),
        ];
        for (kind, line) in cases {
            for stamp in
                ["[    1.234567] ", "[   12.345678][   T51] ", "<4>[   12.345678][    C1] ", ""]
            {
                assert_eq!(kinds(&format!("{stamp}{line}\n")), [kind], "{line}");
            }
        }
    }

    #[test]
    fn what_a_healthy_guest_logs_is_no_finding() {
        let log = "[    0.000000] Linux version 7.3.4\n\
                   [    0.029655] Spectre V2 : Vulnerable\n\
                   [    2.061881] clocksource: Watchdog remote CPU 1 read timed out\n\
                   [    2.234544] overlayfs: failed to set xattr on upper\n\
                   [    3.100000] sample: loading out-of-tree module taints kernel.\n\
                   [    3.200000] INFO: lockdep is turned off.\n\
                   [    3.300000] kmemleak: Kernel memory leak detector initialized (mem pool available: 15)\n\
                   [    3.400000] traps: a.out[77] general protection fault ip:1 sp:2 error:0\n\
                   [    3.500000] ref_tracker: memory allocation failure, unreliable refcount tracker.\n";
        assert_eq!(kinds(log), [""; 0]);
    }

    #[test]
    fn announced_faults_are_no_findings_but_their_consequences_are() {
        let announced = "[    5.0] FAULT_INJECTION: forcing a failure.\n\
                         [    5.0] name failslab, interval 1, probability 100, space 0, times -1\n\
                         [    5.0] CPU: 0 UID: 0 PID: 9 Comm: ip Not tainted 7.3.4 #1\n\
                         [    5.0] Call Trace:\n[    5.0]  <TASK>\n\
                         [    5.0]  dump_stack_lvl+0x5c/0x80\n[    5.0]  should_failslab+0x1/0x2\n\
                         [    5.0]  </TASK>\n";
        assert_eq!(kinds(announced), [""; 0]);
        let broken =
            format!("{announced}[    5.1] BUG: kernel NULL pointer dereference, address: 8\n");
        assert_eq!(kinds(&broken), ["oops"]);
        // A report in the middle of the announced stack, and one where there is no stack.
        let leak = "[    5.0] unregister_netdevice: waiting for lo to become free\n";
        let lines: Vec<&str> = announced.split_inclusive('\n').collect();
        for at in 1..=lines.len() {
            let log = [&lines[..at].concat(), leak, &lines[at..].concat()].concat();
            assert_eq!(kinds(&log), ["netdevice-leak"], "{at}");
        }
        let no_stack = format!("{}{}[    5.2] mydrv: odd\n", lines[0], lines[1]);
        assert_eq!(kinds(&no_stack), [""; 0]);
        let others = "[    5.2] Call Trace:\n[    5.2]  a+0x1/0x2\n[    5.2]  b+0x1/0x2\n";
        assert_eq!(kinds(&format!("{no_stack}{others}")), ["stack-trace"]);
    }

    #[test]
    fn a_report_that_is_cut_off_counts_and_a_panic_stands_alone() {
        let log = "[    5.0] BUG: kernel NULL pointer dereference, address: 0000000000000008\n\
                   [    5.0] RIP: 0010:a+0x1/0x2\n\
                   [    5.0] ---[ end trace 0000000000000000 ]---\n\
                   [    5.0] Kernel panic - not syncing: Fatal exception in interrupt\n";
        assert_eq!(kinds(log), ["oops", "panic"]);
        let cut: String = log.lines().take(1).collect();
        assert_eq!(kinds(&cut), ["oops"]);
        let no_end: Vec<&str> = log.lines().filter(|line| !line.contains("end trace")).collect();
        assert_eq!(kinds(&no_end.join("\n")), ["oops", "panic"]);
    }

    #[test]
    fn two_tests_do_not_share_a_report() {
        let log = "[    1.0] vmlab-init: begin a\n[    1.1] BUG: KASAN: double-free in f+0x1/0x2\n\
                   [    1.2] vmlab-init: end a\n[    1.3] vmlab-init: begin b\n\
                   [    1.4] WARNING: net/core/dev.c:1 at g+0x1/0x2, CPU#0: ip/1\n[    1.5] vmlab-init: end b\n\
                   [    1.6] unregister_netdevice: waiting for lo to become free. Usage count = 1\n";
        let told: Vec<_> = scan(log.lines()).into_iter().map(|f| (f.kind, f.test)).collect();
        let want = [("kasan", Some("a")), ("warning", Some("b")), ("netdevice-leak", None)];
        assert_eq!(told, want.map(|(kind, test)| (kind.to_owned(), test.map(str::to_owned))));
    }

    #[test]
    fn a_stack_is_a_finding_whatever_is_above_it() {
        let log = "[    1.0] mydrv: all is well\n[    1.0] CPU: 0 UID: 0 PID: 9 Comm: ip Not tainted 7.3.4 #1\n\
                   [    1.0] Hardware name: QEMU\n[    1.0] Call Trace:\n[    1.0]  <TASK>\n\
                   [    1.0]  dump_stack_lvl+0x5d/0x80\n[    1.0]  mydrv_open+0x1/0x2 [mydrv]\n[    1.0]  </TASK>\n";
        let found = scan(log.lines());
        assert_eq!(found.len(), 1);
        assert_eq!(
            (found[0].kind.as_str(), found[0].text.as_str()),
            ("stack-trace", "mydrv: all is well")
        );
        assert_eq!(found[0].stack, ["dump_stack_lvl+0x5d/0x80", "mydrv_open+0x1/0x2 [mydrv]"]);
        // Without a headline.
        assert_eq!(kinds("a+0x1/0x2\nb+0x1/0x2 [mydrv]\n"), ["stack-trace"]);
        assert_eq!(kinds("returns a+0x1/0x2 here\nb+0x1/0x2\n"), [""; 0]);
        assert_eq!(kinds("RIP: 0010:a+0x1/0x2\n"), ["stack-trace"]);
        assert_eq!(kinds("RIP: 0033:0x7f947954a829\n"), [""; 0]);
    }

    /// As on a serial line when a program also writes to it.
    #[test]
    fn what_is_glued_behind_a_programs_words_is_found() {
        let leak = "unregister_netdevice: waiting for rlo to become free. Usage count = 2";
        for before in ["xyz", "50%\r", "\u{1b}[31m"] {
            assert_eq!(kinds(&format!("{before}[   12.345678] {leak}\n")), ["netdevice-leak"]);
        }
    }

    /// Two processors report at once, and the kernel notes the caller of each line.
    #[test]
    fn reports_of_two_processors_are_told_apart() {
        let log = "[    1.0][    C0] BUG: KASAN: use-after-free in a+0x1/0x2\n\
                   [    1.0][    C1] ------------[ cut here ]------------\n\
                   [    1.0][    C0] Call Trace:\n\
                   [    1.0][    C1] WARNING: net/core/dev.c:1 at b+0x1/0x2\n\
                   [    1.0][    C0]  in_a+0x1/0x2\n\
                   [    1.0][    C1]  in_b+0x1/0x2\n\
                   [    1.0][    C1] ---[ end trace 0000000000000000 ]---\n\
                   [    1.0][    C0] ==================================\n";
        let told: Vec<_> = scan(log.lines()).into_iter().map(|f| (f.kind, f.stack)).collect();
        let want = [("warning", "in_b+0x1/0x2"), ("kasan", "in_a+0x1/0x2")];
        assert_eq!(told, want.map(|(kind, frame)| (kind.to_owned(), vec![frame.to_owned()])));
    }

    #[test]
    fn two_sanitizers_in_one_log_are_two_findings() {
        let log = "[    1.0] ==================\n[    1.0] BUG: KCSAN: data-race in a / b\n\
                   [    1.0] write to 0xffff888 of 8 bytes by task 7 on cpu 1:\n[    1.0]  a+0x1/0x2\n\
                   [    1.0] ==================\n\
                   [    1.1] ------------[ cut here ]------------\n\
                   [    1.1] UBSAN: shift-out-of-bounds in net/core/dev.c:1:2\n[    1.1]  c+0x1/0x2\n\
                   [    1.1] ---[ end trace ]---\n";
        assert_eq!(kinds(log), ["kcsan", "ubsan"]);
    }

    #[test]
    fn a_one_line_report_inside_of_another_is_not_lost() {
        let log = "[    1.0] BUG: KASAN: use-after-free in a+0x1/0x2\n\
                   [    1.0] unregister_netdevice: waiting for lo to become free. Usage count = 1\n\
                   [    1.0]  a+0x1/0x2\n[    1.0] ==================\n";
        assert_eq!(kinds(log), ["netdevice-leak", "kasan"]);
    }

    #[test]
    fn a_program_that_writes_into_the_log_does_not_hide_a_report() {
        let mut scanner = Scanner::default();
        let mut say = |from_user_space, message| {
            scanner.record(Record { caller: None, from_user_space, message });
        };
        say(false, "BUG: KASAN: use-after-free in a+0x1/0x2");
        say(true, "==================");
        say(true, "<4>BUG: mine");
        say(false, "Call Trace:\n a+0x1/0x2\n==================");
        assert_eq!(scanner.from_kernel(), 1);
        let (found, omitted) = scanner.finish();
        let told: Vec<_> =
            found.iter().map(|f| (f.kind.as_str(), f.from_user_space, f.stack.len())).collect();
        assert_eq!((told, omitted), (vec![("kasan", false, 1), ("bug", true, 0)], 0));
    }

    #[test]
    fn a_flood_of_reports_takes_bounded_memory() {
        let mut scanner = Scanner::default();
        for number in 0..5000 {
            scanner.console_line(&format!("[    1.0][   T{number}] BUG: a"));
        }
        let (found, omitted) = scanner.finish();
        assert_eq!((found.len(), found.len() + omitted), (200, 5000));
    }
}
