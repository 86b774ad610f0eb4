// SPDX-License-Identifier: GPL-2.0

//! What must not be in a kernel log.
//!
//! Searched in the whole log, from the first line to the last: no test can
//! declare a report its own. Fault injection's announcements are no reports;
//! what breaks because of an injected fault is.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};
use vmlab_init::protocol::{LOG_BEGIN, LOG_END};

/// A report of the kernel about itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// `oops`, `kasan`, `lockdep`, ...
    pub kind: String,
    /// The lines that say what it is.
    pub text: String,
    /// The frames, innermost first: as the kernel prints them, and as file:line
    /// once decoded.
    pub stack: Vec<String>,
    /// The test that was running.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub test: Option<String>,
}

/// Where a report ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// It is one line.
    Line,
    /// With its stack.
    Stack,
    /// With `---[ end trace`.
    Trace,
    /// With a line of `=`.
    Rule,
}

/// How a report's headline looks.
struct Pattern {
    kind: &'static str,
    /// At the start of the message, or anywhere in it if it starts with `*`.
    text: &'static str,
    end: End,
}

const fn p(kind: &'static str, text: &'static str, end: End) -> Pattern {
    Pattern { kind, text, end }
}

/// The more telling first: a report that fits several is named by the first.
const PATTERNS: [Pattern; 56] = [
    p("panic", "Kernel panic - not syncing", End::Trace),
    p("kasan", "BUG: KASAN:", End::Rule),
    p("kcsan", "BUG: KCSAN:", End::Rule),
    p("kfence", "BUG: KFENCE:", End::Rule),
    p("kmsan", "BUG: KMSAN:", End::Rule),
    p("ubsan", "UBSAN:", End::Trace),
    p("refcount", "refcount_t:", End::Trace),
    p("rust-panic", "rust_kernel: panicked at", End::Trace),
    p("list-corruption", "list_add corruption", End::Trace),
    p("list-corruption", "list_del corruption", End::Trace),
    p("debug-objects", "ODEBUG:", End::Trace),
    p("sleep-in-atomic", "BUG: sleeping function called from invalid context", End::Stack),
    p("sleep-in-atomic", "BUG: scheduling while atomic", End::Stack),
    p("sleep-in-atomic", "BUG: atomic scheduling while atomic", End::Stack),
    p("lockdep", "WARNING: possible circular locking", End::Stack),
    p("lockdep", "WARNING: possible recursive locking", End::Stack),
    p("lockdep", "WARNING: possible irq lock inversion", End::Stack),
    p("lockdep", "WARNING: inconsistent lock state", End::Stack),
    p("lockdep", "WARNING: bad unlock balance", End::Stack),
    p("lockdep", "WARNING: held lock freed", End::Stack),
    p("lockdep", "WARNING: lock held when returning", End::Stack),
    p("lockdep", "WARNING: Nested lock was not taken", End::Stack),
    p("lockdep", "WARNING: suspicious RCU usage", End::Stack),
    p("lockdep", "*-unsafe lock order detected", End::Stack),
    p("lockdep", "INFO: trying to register non-static key", End::Stack),
    p("lockdep", "[ BUG: Invalid wait context ]", End::Stack),
    p("lockdep", "BUG: MAX_LOCKDEP_", End::Stack),
    p("lockdep", "*leaked lock or atomic", End::Stack),
    p("lockdep", "WARNING: RCU used illegally", End::Stack),
    p("rcu-stall", "*detected stalls on CPUs/tasks", End::Stack),
    p("rcu-stall", "*self-detected stall on CPU", End::Stack),
    p("rcu-stall", "*detected expedited stalls", End::Stack),
    p("rcu-stall", "*rcu_preempt kthread starved", End::Stack),
    p("rcu-stall", "*kthread starved for", End::Stack),
    p("hung-task", "INFO: task ", End::Stack),
    p("lockup", "watchdog: BUG: soft lockup", End::Stack),
    p("lockup", "*hard LOCKUP", End::Stack),
    p("lockup", "BUG: workqueue lockup", End::Line),
    p("netdevice-leak", "unregister_netdevice: waiting for", End::Line),
    p("reference-leak", "ref_tracker:", End::Stack),
    p("reference-leak", "leaked reference", End::Stack),
    p("reference-leak", "*reference already released", End::Stack),
    p("memory-leak", "kmemleak: ", End::Line),
    p("memory-leak", "unreferenced object", End::Stack),
    p("out-of-memory", "Out of memory:", End::Line),
    p("out-of-memory", "Memory cgroup out of memory:", End::Line),
    p("slab", "BUG ", End::Stack),
    p("slab", "*Slab cache still has objects", End::Stack),
    p("oops", "BUG: unable to handle", End::Trace),
    p("oops", "BUG: kernel NULL pointer dereference", End::Trace),
    p("oops", "Oops:", End::Trace),
    p("oops", "general protection fault", End::Trace),
    p("bug", "kernel BUG at", End::Trace),
    p("bug", "BUG:", End::Stack),
    p("warning", "WARNING:", End::Trace),
    p("oops", "traps: PANIC", End::Trace),
];

/// Starts the reports of BUG() and WARN(), before their headline.
const CUT: &str = "------------[ cut here ]------------";

/// Lines that a report can have before it is cut off.
const LONGEST: usize = 300;

/// Lines of a report that are quoted, before its registers and stack.
const QUOTED: usize = 8;

/// A line without its time.
fn message(line: &str) -> &str {
    let mut rest = line;
    // `[   12.345678] ` and, where the kernel is so configured, `[   T123] `.
    while let Some(inner) = rest.strip_prefix('[') {
        match inner.split_once(']') {
            Some((stamp, after)) if is_stamp(stamp) => {
                rest = after.strip_prefix(' ').unwrap_or(after)
            }
            _ => break,
        }
    }
    rest
}

fn is_stamp(text: &str) -> bool {
    let text = text.trim_start().trim_start_matches(['T', 'C']);
    !text.is_empty() && text.chars().all(|c| c.is_ascii_digit() || c == '.')
}

fn headline(message: &str) -> Option<&'static Pattern> {
    PATTERNS.iter().find(|pattern| fits(pattern, message))
}

fn fits(pattern: &Pattern, message: &str) -> bool {
    // Each of these also introduces something harmless.
    let really = match pattern.kind {
        "hung-task" => message.contains("blocked"),
        "memory-leak" => {
            message.contains("suspected memory leak") || message.starts_with("unreferenced object")
        }
        "reference-leak" => !message.contains("memory allocation failure"),
        _ => true,
    };
    if !really {
        return false;
    }
    match pattern.text.strip_prefix('*') {
        Some(part) => message.contains(part),
        None => message.starts_with(pattern.text),
    }
}

/// Finds every report in a log.
pub fn scan<'a>(lines: impl IntoIterator<Item = &'a str>) -> Vec<Finding> {
    let mut scanner = Scanner::default();
    for line in lines {
        scanner.line(message(line));
    }
    scanner.close();
    scanner.found
}

#[derive(Debug, Default)]
struct Scanner {
    found: Vec<Finding>,
    test: Option<String>,
    open: Option<Report>,
}

/// A report that has not ended yet.
#[derive(Debug)]
struct Report {
    lines: Vec<String>,
    end: End,
    test: Option<String>,
    frames: usize,
}

impl Scanner {
    fn line(&mut self, message: &str) {
        if let Some(name) = message.strip_prefix(LOG_BEGIN) {
            self.close();
            self.test = Some(name.to_owned());
        } else if message.strip_prefix(LOG_END).is_some() {
            self.close();
            self.test = None;
        } else if self.open.is_some() {
            self.go_on(message);
        } else {
            self.look(message);
        }
    }

    fn look(&mut self, message: &str) {
        let end = if message == CUT { Some(End::Trace) } else { headline(message).map(|p| p.end) };
        if let Some(end) = end {
            let lines = vec![message.to_owned()];
            self.open = Some(Report { lines, end, test: self.test.clone(), frames: 0 });
            if end == End::Line {
                self.close();
            }
        }
    }

    fn go_on(&mut self, message: &str) {
        let Some(report) = &mut self.open else { return };
        if begins_another(report, message) {
            self.close();
            self.look(message);
            return;
        }
        report.frames += usize::from(Frame::parse(message).is_some());
        report.lines.push(message.to_owned());
        let over = match report.end {
            End::Line => true,
            End::Stack => {
                message.trim() == "</TASK>" || message.trim() == "</IRQ>" && report.frames > 40
            }
            End::Trace => message.starts_with("---[ end "),
            End::Rule => message.starts_with("======"),
        };
        if over || report.lines.len() >= LONGEST {
            self.close();
        }
    }

    /// Makes a finding of the open report.
    fn close(&mut self) {
        let Some(report) = self.open.take() else { return };
        let first =
            PATTERNS.iter().find(|pattern| report.lines.iter().any(|line| fits(pattern, line)));
        let frames = report.lines.iter().filter_map(|line| Frame::parse(line));
        self.found.push(Finding {
            kind: first.map_or("warning", |pattern| pattern.kind).to_owned(),
            text: quote(&report.lines),
            stack: frames.map(|frame| frame.to_string()).collect(),
            test: report.test,
        });
    }
}

/// A report that never got to its end is over when another one starts. Inside of
/// one, a second headline mostly belongs to it: an oops has up to three.
fn begins_another(report: &Report, message: &str) -> bool {
    let has_stack = report.frames > 0;
    let panic = message.starts_with("Kernel panic - not syncing");
    panic || has_stack && (message == CUT || headline(message).is_some())
}

/// The lines that say what happened.
fn quote(lines: &[String]) -> String {
    let detail = |line: &&String| {
        let line = line.as_str();
        let noise = [
            "Modules linked in:",
            "CPU:",
            "CPU#",
            "Call Trace:",
            "Hardware name:",
            "RIP:",
            "Tainted:",
        ];
        !noise.iter().any(|start| line.starts_with(start))
    };
    let told: Vec<&str> = lines
        .iter()
        .take_while(detail)
        .map(String::as_str)
        .filter(|line| *line != CUT && !line.trim().is_empty() && !line.starts_with("====="))
        .take(QUOTED)
        .collect();
    told.join("\n")
}

/// One place in a stack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// The symbol as the kernel prints it, mangled.
    pub symbol: String,
    /// Bytes into it.
    pub offset: u64,
    /// Its size, which tells symbols of the same name apart.
    pub size: u64,
    /// The module that it is in.
    pub module: Option<String>,
    /// Whether this is where it happened, and not where a call returns to.
    pub exact: bool,
}

impl Frame {
    /// Reads a line of a stack. Guesses of the unwinder (`? symbol`) are none.
    pub fn parse(line: &str) -> Option<Frame> {
        let line = line.trim();
        let (exact, place) = match line.strip_prefix("RIP: ") {
            // A user's address has no symbol and fails below.
            Some(rest) => (true, rest.split_once(':')?.1),
            None => (false, line),
        };
        let (place, module) = match place.split_once(' ') {
            // Newer kernels can add a build id to the module's name.
            Some((place, rest)) => {
                let inside = rest.strip_prefix('[')?.strip_suffix(']')?;
                (place, inside.split(' ').next().map(str::to_owned))
            }
            None => (place, None),
        };
        let (symbol, numbers) = place.rsplit_once("+0x")?;
        let (offset, size) = numbers.split_once("/0x")?;
        let hex = |digits| u64::from_str_radix(digits, 16).ok();
        Some(Frame {
            symbol: symbol.to_owned(),
            offset: hex(offset)?,
            size: hex(size)?,
            module,
            exact,
        })
    }
}

impl std::fmt::Display for Frame {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.exact {
            f.write_str("RIP: 0010:")?;
        }
        write!(f, "{}+{:#x}/{:#x}", self.symbol, self.offset, self.size)?;
        match &self.module {
            Some(module) => write!(f, " [{module}]"),
            None => Ok(()),
        }
    }
}

impl Finding {
    /// For people: headline, details, stack.
    pub fn quote(&self) -> String {
        let during = self.test.as_ref().map(|test| format!(" during {test}")).unwrap_or_default();
        let mut text = format!("kernel log, {}{during}:\n", self.kind);
        for line in self.text.lines() {
            let _ = writeln!(text, "  {line}");
        }
        for frame in self.stack.iter().take(24) {
            let _ = writeln!(text, "    {frame}");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(log: &str) -> Vec<String> {
        scan(log.lines()).into_iter().map(|finding| finding.kind).collect()
    }

    /// From a guest whose module was made to fail in four ways.
    #[test]
    fn recorded_crashes_are_found_and_belong_to_their_tests() {
        let found = scan(include_str!("../../tests/logs/crashes.log").lines());
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
                "warning",
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
            ("kasan", "BUG: KASAN: slab-use-after-free in rnetns_exit+0x1f/0x90 [rnetns]"),
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
            ("rust-panic", "rust_kernel: panicked at rust/rnetns/lib.rs:12:5:"),
            ("panic", "Kernel panic - not syncing: Fatal exception"),
        ];
        for (kind, line) in cases {
            for stamp in ["[    1.234567] ", "[   12.345678][   T51] ", ""] {
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
                   [    3.100000] rnetns: loading out-of-tree module taints kernel.\n\
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
    fn frames_are_read_and_guesses_are_not() {
        let frame = Frame::parse(" _RNvNtCs1_6rnetns3rlo4xmit+0x2a/0x90 [rnetns]").unwrap();
        assert_eq!(
            (frame.offset, frame.size, frame.module.as_deref()),
            (0x2a, 0x90, Some("rnetns"))
        );
        assert!(!frame.exact);
        assert!(Frame::parse("RIP: 0010:f+0x4/0x20").unwrap().exact);
        for other in
            [" ? f+0x1/0x2", "RIP: 0033:0x7f947954a829", "Code: Unable", "Comm: a+0xb", " <TASK>"]
        {
            assert_eq!(Frame::parse(other), None, "{other}");
        }
    }
}
