// SPDX-License-Identifier: GPL-2.0

//! Patterns for the first lines of kernel reports, and a list of harmless lines that match them.

use super::StackFrame;

/// Where a report ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// The report is one line.
    Line,
    /// It ends with its stack trace.
    Stack,
    /// It ends with `---[ end trace`.
    Trace,
    /// It ends with a line of `=`.
    Rule,
}

/// How a report's headline looks.
pub(super) struct Pattern {
    pub kind: &'static str,
    /// At the start of the message, or anywhere in it if it starts with `*`.
    text: &'static str,
    pub end: End,
}

const fn p(kind: &'static str, text: &'static str, end: End) -> Pattern {
    Pattern { kind, text, end }
}

/// More specific patterns come first: a report gets the kind of the first pattern that matches.
static PATTERNS: &[Pattern] = &[
    p("panic", "Kernel panic - not syncing", End::Trace),
    p("kasan", "BUG: KASAN:", End::Rule),
    p("kcsan", "BUG: KCSAN:", End::Rule),
    p("kfence", "BUG: KFENCE:", End::Rule),
    p("kmsan", "BUG: KMSAN:", End::Rule),
    p("ubsan", "UBSAN:", End::Trace),
    p("refcount", "refcount_t:", End::Trace),
    p("rust-panic", "rust_kernel: panicked at", End::Trace),
    p("list-corruption", "list_add ", End::Trace),
    p("list-corruption", "list_del corruption", End::Trace),
    p("debug-objects", "ODEBUG:", End::Trace),
    p("sleep-in-atomic", "BUG: sleeping function called from invalid context", End::Stack),
    p("sleep-in-atomic", "BUG: scheduling while atomic", End::Stack),
    p("sleep-in-atomic", "BUG: atomic scheduling while atomic", End::Stack),
    p("sleep-in-atomic", "*preemption imbalance", End::Trace),
    p("sleep-in-atomic", "huh, entered softirq", End::Line),
    p("lockdep", "WARNING: possible circular locking", End::Stack),
    p("lockdep", "WARNING: possible recursive locking", End::Stack),
    p("lockdep", "WARNING: possible irq lock inversion", End::Stack),
    p("lockdep", "WARNING: inconsistent lock state", End::Stack),
    p("lockdep", "WARNING: bad unlock balance", End::Stack),
    p("lockdep", "WARNING: bad contention detected", End::Stack),
    p("lockdep", "WARNING: held lock freed", End::Stack),
    p("lockdep", "WARNING: lock held when returning", End::Stack),
    p("lockdep", "WARNING: Nested lock was not taken", End::Stack),
    p("lockdep", "WARNING: suspicious RCU usage", End::Stack),
    p("lockdep", "*-unsafe lock order detected", End::Stack),
    p("lockdep", "INFO: trying to register non-static key", End::Stack),
    p("lockdep", "[ BUG: Invalid wait context ]", End::Stack),
    p("lockdep", "BUG: MAX_LOCKDEP_", End::Stack),
    p("lockdep", "BUG: workqueue leaked", End::Stack),
    p("lockdep", "*still has locks held", End::Stack),
    p("lockdep", "WARNING: RCU used illegally", End::Stack),
    p("rcu-stall", "*detected stalls on CPUs/tasks", End::Stack),
    p("rcu-stall", "*self-detected stall on CPU", End::Stack),
    p("rcu-stall", "*detected expedited stalls", End::Stack),
    p("rcu-stall", "*kthread starved for", End::Stack),
    p("rcu-stall", "*kthread timer wakeup didn't happen", End::Stack),
    p("hung-task", "INFO: task ", End::Stack),
    p("lockup", "watchdog: BUG: soft lockup", End::Stack),
    p("lockup", "*hard LOCKUP", End::Stack),
    p("lockup", "BUG: workqueue lockup", End::Line),
    p("workqueue", "*hogged CPU for", End::Line),
    p("netdevice-leak", "*to become free", End::Line),
    p("netdevice-leak", "*Dead loop on virtual device", End::Line),
    p("reference-leak", "*dst_release", End::Line),
    p("reference-leak", "ref_tracker:", End::Stack),
    p("reference-leak", "leaked reference", End::Stack),
    p("reference-leak", "*Freeing alive", End::Line),
    p("reference-leak", "*Attempt to release TCP socket", End::Line),
    p("reference-leak", "*Attempt to release alive", End::Line),
    p("reference-leak", "*stalled pool shutdown", End::Line),
    p("reference-leak", "*reference already released", End::Stack),
    p("memory-leak", "kmemleak: ", End::Line),
    p("memory-leak", "unreferenced object", End::Stack),
    p("neighbour-table", "*table overflow", End::Line),
    p("out-of-memory", "*invoked oom-killer", End::Stack),
    p("out-of-memory", "Out of memory", End::Line),
    p("out-of-memory", "Memory cgroup out of memory:", End::Line),
    p("allocation-failure", "*page allocation failure", End::Stack),
    p("allocation-failure", "SLUB: Unable to allocate memory", End::Line),
    p("duplicate-name", "*cannot create duplicate filename", End::Stack),
    p("duplicate-name", "*with -EEXIST, don't try to register", End::Line),
    p("duplicate-name", "sysctl duplicate entry", End::Stack),
    p("kobject", "*tried to init an initialized object", End::Stack),
    p("interrupt", "*nobody cared", End::Stack),
    p("interrupt", "Unbalanced enable for IRQ", End::Trace),
    p("network", "*hw csum failure", End::Stack),
    p("network", "NETDEV WATCHDOG:", End::Trace),
    p("network", "*is buggy, dev", End::Line),
    p("network", "RTNL: assertion failed", End::Trace),
    p("slab", "BUG ", End::Stack),
    p("slab", "*Slab cache still has objects", End::Stack),
    // BUG() also prints an oops, of the instruction that it is made of.
    p("bug", "kernel BUG at", End::Trace),
    p("oops", "BUG: unable to handle", End::Trace),
    p("oops", "BUG: kernel NULL pointer dereference", End::Trace),
    p("oops", "Oops", End::Trace),
    p("oops", "general protection fault", End::Trace),
    p("oops", "invalid opcode:", End::Trace),
    p("oops", "divide error:", End::Trace),
    p("oops", "stack segment:", End::Trace),
    p("oops", "int3:", End::Trace),
    p("oops", "double fault:", End::Trace),
    p("oops", "PANIC: double fault", End::Trace),
    p("oops", "Unable to handle kernel", End::Trace),
    p("oops", "Internal error:", End::Trace),
    p("oops", "kernel tried to execute", End::Trace),
    p("oops", "traps: PANIC", End::Trace),
    p("control-flow", "CFI failure at", End::Trace),
    p("msr", "unchecked MSR access error", End::Stack),
    p("bug", "[ BUG: ", End::Stack),
    p("bug", "BUG:", End::Stack),
    p("warning", "WARNING:", End::Trace),
    p("warning", "------------[ cut here ]------------", End::Trace),
    // Other messages, known only by these words.
    p("bug", "*BUG:", End::Stack),
    p("warning", "*WARNING:", End::Line),
    p("log-incomplete", "*printk messages dropped", End::Line),
];

/// Starts the reports of BUG() and WARN(), before their headline.
pub(super) const CUT: &str = "------------[ cut here ]------------";

/// The beginning of harmless lines that match a pattern above, and why they are harmless.
struct Harmless {
    text: &'static str,
    why: &'static str,
}

const fn h(text: &'static str, why: &'static str) -> Harmless {
    Harmless { text, why }
}

static HARMLESS: &[Harmless] = &[
    h("ref_tracker: memory allocation failure", "the tracker stops working, but nothing leaks"),
    h("Spectre V2 : WARNING: ", "about the emulated processor, not about the kernel"),
    h("MDS: WARNING: ", "about the emulated processor, not about the kernel"),
    h("traps: ", "a program crashed, which its exit status shows"),
    h("kmemleak: Kernel memory leak detector initialized", "kmemleak only reports its start"),
    h("kmemleak: Automatic memory scanning", "kmemleak only reports its start"),
    h("kmemleak:   ", "a detail of the leak in the line above"),
    h("INFO: task ", "harmless unless the task is blocked"),
    h("dst_release", "harmless unless it shows a count below zero"),
];

/// Whether fault injection announces an injected fault. The stack trace that follows is not a
/// finding. What breaks because of the injected fault is a finding.
pub(super) fn announces_a_fault(message: &str) -> bool {
    message.starts_with("FAULT_INJECTION: forcing a failure")
}

/// Whether a line may stand between such a message and the first frame of its stack. With low
/// verbosity the message has no stack; then the next stack belongs to another report.
pub(super) fn leads_to_an_announced_stack(message: &str) -> bool {
    let starts = ["name ", "CPU: ", "Tainted: ", "Hardware name: ", "Call Trace:", "<", "? "];
    let text = message.trim_start();
    starts.iter().any(|start| text.starts_with(start)) || StackFrame::parse(message).is_some()
}

fn is_harmless(message: &str) -> bool {
    let really = message.starts_with("traps: PANIC")
        || message.starts_with("INFO: task ") && message.contains("blocked")
        || message.contains("dst_release") && message.contains("refcnt:-");
    // The reasons are only for people who read this file.
    let listed = |it: &Harmless| !it.why.is_empty() && message.starts_with(it.text);
    !really && HARMLESS.iter().any(listed)
}

/// The pattern that a line matches, if it is the beginning of a report.
pub(super) fn headline(message: &str) -> Option<&'static Pattern> {
    let message = message.trim_start();
    if is_harmless(message) {
        return None;
    }
    PATTERNS.iter().find(|pattern| fits(pattern, message))
}

/// The most specific pattern for a report with these lines.
pub(super) fn name(lines: &[String]) -> Option<&'static Pattern> {
    let fits_one = |pattern: &&Pattern| lines.iter().any(|line| fits(pattern, line.trim_start()));
    PATTERNS.iter().find(fits_one)
}

fn fits(pattern: &Pattern, message: &str) -> bool {
    match pattern.text.strip_prefix('*') {
        Some(part) => contains_word(message, part),
        None if pattern.text == "list_add " => {
            message.starts_with(pattern.text)
                && (message.contains("corruption") || message.contains("double add"))
        }
        None => message.starts_with(pattern.text),
    }
}

/// Whether the message contains `part`, but not as the end of a longer word, as in `DEBUG:`.
fn contains_word(message: &str, part: &str) -> bool {
    message.match_indices(part).any(|(at, _)| {
        let inside = part.starts_with(char::is_alphanumeric)
            && message[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_');
        !inside
    })
}

/// Whether this line starts a stack trace, with or without a headline before it.
pub(super) fn begins_a_stack(message: &str) -> bool {
    let text = message.trim_start();
    let starts = ["Call Trace:", "Call trace:", "Backtrace:", "RIP: 0010:", "Stack trace:"];
    starts.iter().any(|start| text.starts_with(start))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_not_the_end_of_another() {
        assert!(headline("nf: DEBUG: all is well").is_none());
        assert_eq!(headline("nf: BUG: all is lost").map(|it| it.kind), Some("bug"));
        assert_eq!(headline("mydrv 0:1: WARNING: odd").map(|it| it.kind), Some("warning"));
        assert!(headline("[Firmware Bug]: TSC not listed").is_none());
    }

    #[test]
    fn what_is_harmless_is_told_from_what_only_begins_like_it() {
        assert!(headline("INFO: task accounting is on").is_none());
        assert!(headline("INFO: task a:1 blocked for more than 120 seconds.").is_some());
        assert!(headline("dst_release: dst:a refcnt:0").is_none());
        assert!(headline("dst_release: dst:0000000012345678 refcnt:-1").is_some());
        assert!(headline("traps: a.out[7] general protection fault ip:1 sp:2").is_none());
        assert!(headline("traps: PANIC: double fault, error_code: 0x0").is_some());
    }
}
