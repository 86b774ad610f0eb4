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

    /// What follows the words of most reports.
    const TRACE: &str = "CPU: 0 UID: 0 PID: 123 Comm: ip Tainted: G           O        7.3.4 #1 PREEMPTLAZY\n\
        Tainted: [O]=OOT_MODULE\nHardware name: QEMU Standard PC (Q35 + ICH9, 2009), BIOS 1.16\n\
        Call Trace:\n <TASK>\n dump_stack_lvl+0x5d/0x80\n mydrv_open+0x1/0x2 [mydrv]\n \
        ? guess+0x1/0x2\n do_syscall_64+0x72/0x1e0\n </TASK>\n";

    /// The place and the registers of a fault, and its stack.
    const FAULT: &str = "CPU: 0 UID: 0 PID: 123 Comm: ip Not tainted 7.3.4 #1 PREEMPTLAZY\n\
        Hardware name: QEMU Standard PC (Q35 + ICH9, 2009), BIOS 1.16\n\
        RIP: 0010:mydrv_open+0x1/0x2 [mydrv]\nCode: 08 89 e8 5b 5d <0f> 0b c3\n\
        RSP: 0018:ffff888000b7fa10 EFLAGS: 00000246\nRAX: 0000000000000000 RBX: ffff88800031efd0\n\
        CR2: ffffffff9fffffe6 CR3: 0000000000953000 CR4: 00000000003506b0\n\
        Call Trace:\n <TASK>\n do_syscall_64+0x72/0x1e0\n RIP: 0033:0x7fda1bf32829\n </TASK>\n\
        Modules linked in: mydrv(O+)\n";

    const CUT: &str = "------------[ cut here ]------------\n";
    const RULE: &str = "==================================================================\n";
    const WHERE: &str = "WARNING: net/core/dev.c:12 at mydrv_open+0x1/0x2 [mydrv], CPU#0: ip/123\n";
    const END_TRACE: &str = "---[ end trace 0000000000000000 ]---\n";

    /// Whole reports in the kernel's own words: each is one finding, with its kind, its first line
    /// and the place of the fault.
    #[test]
    fn whole_reports_are_one_finding_each() {
        let lines = |parts: &[&str]| parts.concat();
        let reports = [
            (
                "warning",
                "WARNING: net/core/dev.c:12 at mydrv_open+0x1/0x2 [mydrv], CPU#0: ip/123",
                lines(&[CUT, WHERE, "Modules linked in: mydrv(O+)\n", FAULT, END_TRACE]),
            ),
            ("warning", "it is broken", lines(&[CUT, "it is broken\n", WHERE, FAULT, END_TRACE])),
            (
                "refcount",
                "WARNING: net/core/dev.c:12 at mydrv_open+0x1/0x2 [mydrv], CPU#0: ip/123",
                lines(&[CUT, WHERE, "refcount_t: saturated; leaking memory.\n", FAULT, END_TRACE]),
            ),
            (
                "refcount",
                "refcount_t: underflow; use-after-free.",
                lines(&[CUT, "refcount_t: underflow; use-after-free.\n", WHERE, FAULT, END_TRACE]),
            ),
            (
                "bug",
                "kernel BUG at drivers/mydrv.c:7!",
                lines(&[
                    CUT,
                    "kernel BUG at drivers/mydrv.c:7!\n",
                    "Oops: invalid opcode: 0000 [#1] SMP PTI\n",
                    FAULT,
                    END_TRACE,
                    "RIP: 0010:mydrv_open+0x1/0x2 [mydrv]\nCode: 08 89 e8\nRSP: 0018:ffff888000b7fa10\n",
                ]),
            ),
            (
                "oops",
                "Oops: general protection fault, probably for non-canonical address 0x6b6b6b6b6b6b6b6b: 0000 [#1] SMP PTI",
                lines(&[
                    "Oops: general protection fault, probably for non-canonical address 0x6b6b6b6b6b6b6b6b: 0000 [#1] SMP PTI\n",
                    FAULT,
                    END_TRACE,
                ]),
            ),
            (
                "oops",
                "BUG: kernel NULL pointer dereference, address: 0000000000000008",
                lines(&[
                    "BUG: kernel NULL pointer dereference, address: 0000000000000008\n",
                    "#PF: supervisor read access in kernel mode\n",
                    "#PF: error_code(0x0000) - not-present page\nPGD 0 P4D 0 \n",
                    "Oops: Oops: 0000 [#1] SMP PTI\n",
                    FAULT,
                    END_TRACE,
                ]),
            ),
            (
                "panic",
                "Kernel panic - not syncing: Fatal exception",
                lines(&[
                    "Kernel panic - not syncing: Fatal exception\n",
                    TRACE,
                    "Kernel Offset: disabled\n",
                    "---[ end Kernel panic - not syncing: Fatal exception ]---\n",
                ]),
            ),
            (
                "kasan",
                "BUG: KASAN: slab-use-after-free in mydrv_open+0x1/0x2 [mydrv]",
                lines(&[
                    RULE,
                    "BUG: KASAN: slab-use-after-free in mydrv_open+0x1/0x2 [mydrv]\n",
                    "Read of size 8 at addr ffff888103a5c0c0 by task ip/123\n\n",
                    TRACE,
                    "\nAllocated by task 123:\n kasan_save_stack+0x1c/0x40\n mydrv_init+0x1/0x2 [mydrv]\n",
                    "\nFreed by task 123:\n kasan_save_stack+0x1c/0x40\n kfree+0x1/0x2\n",
                    "\nThe buggy address belongs to the object at ffff888103a5c0c0\n which belongs to the cache kmalloc-64 of size 64\n",
                    "The buggy address is located 0 bytes inside of\n freed 64-byte region [ffff888103a5c0c0, ffff888103a5c100)\n",
                    "\nMemory state around the buggy address:\n ffff888103a5bf80: fb fb fb fb\n>ffff888103a5c000: fb fb\n                   ^\n",
                    RULE,
                    "Disabling lock debugging due to kernel taint\n",
                ]),
            ),
            (
                "kcsan",
                "BUG: KCSAN: data-race in mydrv_open / mydrv_poll",
                lines(&[
                    RULE,
                    "BUG: KCSAN: data-race in mydrv_open / mydrv_poll\n",
                    "\nwrite to 0xffff888103a5c0c0 of 8 bytes by task 123 on cpu 1:\n mydrv_open+0x1/0x2 [mydrv]\n do_syscall_64+0x72/0x1e0\n",
                    "\nread to 0xffff888103a5c0c0 of 8 bytes by interrupt on cpu 0:\n mydrv_poll+0x1/0x2\n",
                    "\nvalue changed: 0x0000000000000000 -> 0x0000000000000001\n",
                    "\nReported by Kernel Concurrency Sanitizer on:\nCPU: 0 UID: 0 PID: 0 Comm: swapper/0 Not tainted 7.3.4 #1\nHardware name: QEMU\n",
                    RULE,
                ]),
            ),
            (
                "ubsan",
                "UBSAN: array-index-out-of-bounds in drivers/mydrv.c:7:3",
                lines(&[
                    CUT,
                    "UBSAN: array-index-out-of-bounds in drivers/mydrv.c:7:3\n",
                    "index 8 is out of range for type 'int [4]'\n",
                    TRACE,
                    "---[ end trace ]---\n",
                ]),
            ),
            (
                "lockdep",
                "WARNING: possible circular locking dependency detected",
                lines(&[
                    "\n======================================================\n",
                    "WARNING: possible circular locking dependency detected\n7.3.4 #1 Not tainted\n",
                    "------------------------------------------------------\nip/123 is trying to acquire lock:\n",
                    "ffff888103a5c0c0 (&a->lock){+.+.}-{4:4}, at: mydrv_open+0x1/0x2 [mydrv]\n",
                    "\nbut task is already holding lock:\nffff888103a5c0d0 (&b->lock){+.+.}-{4:4}, at: mydrv_poll+0x1/0x2\n",
                    "\nwhich lock already depends on the new lock.\n\n\nthe existing dependency chain (in reverse order) is:\n",
                    "\n-> #1 (&b->lock){+.+.}-{4:4}:\n       mydrv_poll+0x1/0x2\n\n-> #0 (&a->lock){+.+.}-{4:4}:\n       mydrv_open+0x1/0x2 [mydrv]\n",
                    "\nother info that might help us debug this:\n\n Possible unsafe locking scenario:\n\n       CPU0                    CPU1\n",
                    "       ----                    ----\n  lock(&b->lock);\n                               lock(&a->lock);\n\n *** DEADLOCK ***\n",
                    "\n1 lock held by ip/123:\n #0: ffff888103a5c0d0 (&b->lock){+.+.}-{4:4}, at: mydrv_poll+0x1/0x2\n\nstack backtrace:\n",
                    TRACE,
                ]),
            ),
            (
                "lockdep",
                "INFO: trying to register non-static key.",
                lines(&[
                    "INFO: trying to register non-static key.\nThe code is fine but needs lockdep annotation, or maybe\n",
                    "you didn't initialize this object before use?\nturning off the locking correctness validator.\n",
                    TRACE,
                ]),
            ),
            (
                "lockdep",
                "BUG: workqueue leaked atomic, lock or RCU: kworker/0:1[31]",
                lines(&[
                    "BUG: workqueue leaked atomic, lock or RCU: kworker/0:1[31]\n     preempt=0x00000001 lock=0->0 RCU=0->0 workfn=mydrv_work\n",
                    "1 lock held by kworker/0:1/31:\n #0: ffff888103a5c0d0 (&b->lock){+.+.}-{4:4}, at: mydrv_poll+0x1/0x2\n",
                    TRACE,
                ]),
            ),
            (
                "rcu-stall",
                "rcu: INFO: rcu_preempt self-detected stall on CPU",
                lines(&[
                    "rcu: INFO: rcu_preempt self-detected stall on CPU\n",
                    "rcu: \t0-....: (20999 ticks this GP) idle=1234/1/0x4000000000000002 softirq=50/50 fqs=5250\n",
                    "rcu: \t(t=21000 jiffies g=100 q=20 ncpus=2)\n",
                    FAULT,
                ]),
            ),
            (
                "rcu-stall",
                "rcu: INFO: rcu_preempt detected stalls on CPUs/tasks:",
                lines(&[
                    "rcu: INFO: rcu_preempt detected stalls on CPUs/tasks:\n",
                    "rcu: \t1-....: (1 GPs behind) idle=1234/1/0x4000000000000000 softirq=50/51 fqs=5250\n",
                    "rcu: \t(detected by 0, t=21002 jiffies, g=100, q=20 ncpus=2)\n",
                    "Sending NMI from CPU 0 to CPUs 1:\nNMI backtrace for cpu 1\n",
                    FAULT,
                ]),
            ),
            (
                "hung-task",
                "INFO: task ip:123 blocked for more than 120 seconds.",
                lines(&[
                    "INFO: task ip:123 blocked for more than 120 seconds.\n      Not tainted 7.3.4 #1\n",
                    "\"echo 0 > /proc/sys/kernel/hung_task_timeout_secs\" disables this message.\n",
                    "task:ip              state:D stack:0     pid:123   tgid:123   ppid:1      task_flags:0x400000 flags:0x00000000\n",
                    "Call Trace:\n <TASK>\n mydrv_open+0x1/0x2 [mydrv]\n schedule+0x1/0x2\n </TASK>\n",
                ]),
            ),
            (
                "lockup",
                "watchdog: BUG: soft lockup - CPU#0 stuck for 26s! [ip:123]",
                lines(&[
                    "watchdog: BUG: soft lockup - CPU#0 stuck for 26s! [ip:123]\n",
                    "CPU#0 Utilization every 4s during lockup:\n\t#1: 100% system,\t  0% softirq,\t  1% hardirq,\t  0% idle\n",
                    "Modules linked in: mydrv(O+)\n",
                    FAULT,
                ]),
            ),
            (
                "allocation-failure",
                "ip: page allocation failure: order:4, mode:0x40cc0(GFP_KERNEL), nodemask=(null),cpuset=/,mems_allowed=0",
                lines(&[
                    "ip: page allocation failure: order:4, mode:0x40cc0(GFP_KERNEL), nodemask=(null),cpuset=/,mems_allowed=0\n",
                    TRACE,
                    "Mem-Info:\nactive_anon:0 inactive_anon:13\n",
                ]),
            ),
            (
                "duplicate-name",
                "sysfs: cannot create duplicate filename '/class/net/rlo'",
                lines(&["sysfs: cannot create duplicate filename '/class/net/rlo'\n", TRACE]),
            ),
            (
                "duplicate-name",
                "kobject: kobject_add_internal failed for rlo with -EEXIST, don't try to register things with the same name in the same directory.",
                lines(&[
                    "kobject: kobject_add_internal failed for rlo with -EEXIST, don't try to register things with the same name in the same directory.\n",
                ]),
            ),
            (
                "sleep-in-atomic",
                "BUG: scheduling while atomic: ip/123/0x00000002",
                lines(&[
                    "BUG: scheduling while atomic: ip/123/0x00000002\n1 lock held by ip/123:\n",
                    " #0: ffff888103a5c0d0 (&b->lock){+.+.}-{4:4}, at: mydrv_poll+0x1/0x2\nModules linked in: mydrv(O+)\n",
                    "Preemption disabled at:\n[<ffffffffa0201010>] mydrv_poll+0x1/0x2 [mydrv]\n",
                    TRACE,
                ]),
            ),
            (
                "sleep-in-atomic",
                "BUG: sleeping function called from invalid context at mm/slub.c:12",
                lines(&[
                    "BUG: sleeping function called from invalid context at mm/slub.c:12\n",
                    "in_atomic(): 1, irqs_disabled(): 0, non_block: 0, pid: 123, name: ip\n",
                    "preempt_count: 1, expected: 0\nRCU nest depth: 0, expected: 0\n1 lock held by ip/123:\n",
                    " #0: ffff888103a5c0d0 (&b->lock){+.+.}-{4:4}, at: mydrv_poll+0x1/0x2\n",
                    TRACE,
                ]),
            ),
            (
                "memory-leak",
                "kmemleak: unreferenced object 0xffff888103a5c0c0 (size 64):",
                lines(&[
                    "kmemleak: unreferenced object 0xffff888103a5c0c0 (size 64):\n",
                    "kmemleak:   comm \"ip\", pid 123, jiffies 4294892296\n",
                    "kmemleak:   hex dump (first 32 bytes):\nkmemleak:     00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00\n",
                    "kmemleak:   backtrace (crc 1234):\nkmemleak:     mydrv_open+0x1/0x2 [mydrv]\n",
                ]),
            ),
        ];
        for (kind, first, report) in reports {
            for stamp in ["[    1.234567] ", "[    1.234567][  T123] "] {
                // Before and after it, another task says something.
                let around = "[    1.0][   T99] mydrv: all is well\n";
                let log: String =
                    report.lines().map(|line| format!("{stamp}{line}\n{around}")).collect();
                let found = scan(log.lines());
                let told: Vec<(&str, &str)> = found
                    .iter()
                    .map(|it| (it.kind.as_str(), it.text.lines().next().unwrap_or_default()))
                    .collect();
                assert_eq!(told, [(kind, first)], "{log}");
                let has_stack = report.contains("\n mydrv_") || report.contains("RIP: ");
                let place = |frame: &String| frame.contains("mydrv_open+0x1/0x2 [mydrv]");
                assert!(!has_stack || found[0].stack.iter().any(place), "{log}");
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
                   [    3.450000] kobject: kobject_add_internal failed for lo (error: -12 parent: net)\n\
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
