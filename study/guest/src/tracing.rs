// SPDX-License-Identifier: GPL-2.0

//! The kernel's own tracing: probes at the functions that copy, counted by call stack, and a record
//! of where packets are in memory.

use std::collections::HashMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::histogram::{self, Entry};
use crate::layout::Layout;
use crate::results::{Check, Place};

const ROOT: &str = "/sys/kernel/tracing";
/// Our group of events.
const GROUP: &str = "study";
/// Callers whose instruction lies in these are not callers of a probe, but the probe itself.
const MACHINERY: [&str; 8] = [
    "asm_exc_int3",
    "exc_int3",
    "do_int3",
    "kprobe_",
    "optimized_callback",
    "opt_pre_handler",
    "aggr_pre_handler",
    "0x",
];

/// What an event says of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Copy,
    Clone,
    Pull,
    Split,
}

/// A histogram of calls.
struct Counter {
    event: &'static str,
    function: &'static str,
    kind: Kind,
    /// Which calls.
    filter: &'static str,
    /// Why these copy; where the event has no better answer.
    reason: &'static str,
    /// The values whose sums, one minus the other, are bytes.
    bytes: (&'static str, &'static str),
    /// A third key besides stack and caller.
    key: Option<&'static str>,
}

/// A copy of a whole packet.
const COPY: Counter = Counter {
    event: "copy",
    function: "skb_copy",
    kind: Kind::Copy,
    filter: "",
    reason: "whole copy",
    bytes: ("len", ""),
    key: None,
};

const COUNTERS: [Counter; 10] = [
    Counter {
        event: "expand_cloned",
        function: "pskb_expand_head",
        filter: " if cloned == 1",
        reason: "cloned",
        bytes: ("tail", ""),
        key: Some("nhead"),
        ..COPY
    },
    Counter {
        event: "expand_own",
        function: "pskb_expand_head",
        filter: " if cloned == 0",
        reason: "",
        bytes: ("tail", ""),
        key: Some("nhead"),
        ..COPY
    },
    COPY,
    Counter { event: "copy_expand", function: "skb_copy_expand", ..COPY },
    Counter {
        event: "pskb_copy",
        function: "__pskb_copy_fclone",
        reason: "private head",
        bytes: ("len", "data_len"),
        ..COPY
    },
    Counter {
        event: "ubufs",
        function: "skb_copy_ubufs",
        reason: "pages of the user",
        bytes: ("data_len", ""),
        ..COPY
    },
    Counter {
        event: "xdp_copy",
        function: "skb_pp_cow_data",
        reason: "XDP wants a packet of its own",
        ..COPY
    },
    Counter {
        event: "clone",
        function: "skb_clone",
        kind: Kind::Clone,
        reason: "",
        bytes: ("", ""),
        ..COPY
    },
    Counter {
        event: "pull",
        function: "__pskb_pull_tail",
        kind: Kind::Pull,
        reason: "frags",
        bytes: ("delta", ""),
        ..COPY
    },
    Counter { event: "split", function: "skb_segment", kind: Kind::Split, reason: "", ..COPY },
];

impl Counter {
    fn trigger(&self) -> String {
        let (plus, minus) = self.bytes;
        let values: Vec<&str> =
            ["hitcount", plus, minus].into_iter().filter(|name| !name.is_empty()).collect();
        let key = self.key.map(|key| format!(",{key}")).unwrap_or_default();
        format!(
            "hist:keys=common_stacktrace,caller.sym-offset{key}:vals={}:size=2048{}",
            values.join(","),
            self.filter
        )
    }

    fn place(&self, entry: &Entry) -> Place {
        let (plus, minus) = self.bytes;
        // `[ffffffff81a0b1c4] ip_forward+0x2a4/0x5d0`
        let caller = entry.key("caller").rsplit(' ').next().unwrap_or_default().to_owned();
        let grows = !matches!(entry.key("nhead"), "" | "0");
        let reason = match (self.reason, grows) {
            ("", true) => "headroom",
            ("", false) if self.key.is_some() => "tailroom or other",
            ("cloned", true) => "cloned and headroom",
            (reason, _) => reason,
        };
        Place {
            function: self.function.to_owned(),
            stack: stack(&entry.stack, &caller),
            caller,
            reason: reason.to_owned(),
            times: entry.value("hitcount"),
            bytes: entry.value(plus).saturating_sub(entry.value(minus)),
        }
    }
}

/// The callers without the probe's own frames, and with the one that the unwinder does not see: at a
/// function's first instruction, its frame is not there yet.
fn stack(raw: &[String], caller: &str) -> Vec<String> {
    let own = |frame: &String| MACHINERY.iter().any(|name| frame.starts_with(name));
    let from = raw.iter().rposition(own).map_or(0, |last| last + 1);
    let name = |frame: &str| frame.split('+').next().unwrap_or_default().to_owned();
    let mut stack = vec![name(caller)];
    for frame in raw[from..].iter().map(|frame| name(frame)) {
        // The probed function itself, and its caller again.
        if stack.len() == 1 && (frame == stack[0] || COUNTERS.iter().any(|it| it.function == frame))
        {
            continue;
        }
        stack.push(frame);
    }
    stack
}

/// What was counted while something ran.
#[derive(Debug, Default)]
pub struct Counts {
    pub copies: Vec<Place>,
    pub clones: Vec<Place>,
    pub pulls: Vec<Place>,
    pub splits: Vec<Place>,
    /// Packets given to devices, by the device's name.
    pub sent: HashMap<String, u64>,
}

/// The events of this study.
pub struct Tracing {
    root: PathBuf,
}

/// Packets that devices are given.
const QUEUED: &str = "net/net_dev_queue";
const QUEUED_TRIGGER: &str = "hist:keys=name:size=256";
/// Tracepoints that see a packet.
const SEEN: [(&str, &str); 8] = [
    ("seen_queue", "net.net_dev_queue"),
    ("seen_start", "net.net_dev_start_xmit"),
    ("seen_rx", "net.netif_rx"),
    ("seen_receive", "net.netif_receive_skb"),
    ("seen_gro", "net.napi_gro_receive_entry"),
    ("seen_read", "skb.skb_copy_datagram_iovec"),
    ("seen_consume", "skb.consume_skb"),
    ("seen_kfree", "skb.kfree_skb"),
];
const MEMORY: [&str; 4] =
    ["kmem/kmalloc", "kmem/kmem_cache_alloc", "kmem/kfree", "kmem/kmem_cache_free"];

impl Tracing {
    /// Makes the events.
    pub fn open(layout: &Layout) -> Result<Tracing> {
        let root = PathBuf::from(ROOT);
        if !root.join("kprobe_events").exists() {
            nix::mount::mount(
                Some("tracefs"),
                &root,
                Some("tracefs"),
                nix::mount::MsFlags::empty(),
                None::<&str>,
            )
            .context("mount tracefs")?;
        }
        let tracing = Tracing { root };
        // Addresses as they are, to compare them.
        tracing.write("options/hash-ptr", "0")?;
        tracing.write("buffer_size_kb", "8192")?;
        for line in definitions(layout) {
            tracing.append("kprobe_events", &line)?;
        }
        for (name, event) in SEEN {
            let line = format!("e:{GROUP}/{name} {event} head=+{}($skbaddr):x64", layout.head);
            tracing.append("dynamic_events", &line)?;
        }
        Ok(tracing)
    }

    /// Counts copies while something runs.
    pub fn count<T>(&self, what: impl FnOnce() -> Result<T>) -> Result<(T, Counts)> {
        let triggers: Vec<(String, String)> = COUNTERS
            .iter()
            .map(|it| (format!("events/{GROUP}/{}", it.event), it.trigger()))
            .chain([(format!("events/{QUEUED}"), QUEUED_TRIGGER.to_owned())])
            .collect();
        for (event, trigger) in &triggers {
            self.write(&format!("{event}/trigger"), trigger)?;
        }
        let result = what();
        let mut counts = Counts::default();
        for counter in &COUNTERS {
            let text = self.read(&format!("events/{GROUP}/{}/hist", counter.event))?;
            let entries = histogram::parse(&text).context(counter.event)?;
            let places = entries.iter().map(|entry| counter.place(entry));
            match counter.kind {
                Kind::Copy => counts.copies.extend(places),
                Kind::Clone => counts.clones.extend(places),
                Kind::Pull => counts.pulls.extend(places),
                Kind::Split => counts.splits.extend(places),
            }
        }
        for entry in histogram::parse(&self.read(&format!("events/{QUEUED}/hist"))?)? {
            counts.sent.insert(entry.key("name").to_owned(), entry.value("hitcount"));
        }
        for (event, trigger) in &triggers {
            self.write(&format!("{event}/trigger"), &format!("!{trigger}"))?;
        }
        Ok((result?, counts))
    }

    /// Records where packets are in memory while something runs. `endpoints` are the devices that
    /// packets come from.
    pub fn check<T>(
        &self,
        endpoints: &[&str],
        what: impl FnOnce() -> Result<T>,
    ) -> Result<(T, Check)> {
        let copiers = COUNTERS.iter().filter(|it| it.kind == Kind::Copy);
        // Both kinds of this event are the same function.
        let copiers = copiers.filter(|it| it.event != "expand_own");
        let events: Vec<String> = SEEN
            .iter()
            .map(|(name, _)| format!("{GROUP}/{name}"))
            .chain(copiers.map(|it| format!("{GROUP}/{}", it.event)))
            .chain(MEMORY.iter().map(|name| (*name).to_owned()))
            .chain([QUEUED.to_owned()])
            .collect();
        self.write("tracing_on", "0")?;
        self.write("trace", "")?;
        for event in &events {
            self.write(&format!("events/{event}/enable"), "1")?;
        }
        self.write("tracing_on", "1")?;
        let result = what();
        self.write("tracing_on", "0")?;
        let text = self.read("trace")?;
        for event in &events {
            self.write(&format!("events/{event}/enable"), "0")?;
        }
        Ok((result?, heads(&text, endpoints)))
    }

    fn read(&self, name: &str) -> Result<String> {
        let path = self.root.join(name);
        fs::read_to_string(&path).with_context(|| path.display().to_string())
    }

    fn write(&self, name: &str, text: &str) -> Result<()> {
        put(&self.root.join(name), text, fs::OpenOptions::new().write(true).truncate(true))
    }

    fn append(&self, name: &str, text: &str) -> Result<()> {
        let result = put(&self.root.join(name), text, fs::OpenOptions::new().append(true));
        // The kernel's own words, with a mark below the wrong one.
        result.or_else(|error| Err(error.context(self.read("error_log")?)))
    }
}

fn put(path: &Path, text: &str, options: &fs::OpenOptions) -> Result<()> {
    let file = options.open(path);
    file.and_then(|mut file| file.write_all(text.as_bytes()))
        .with_context(|| format!("write `{text}` to {}", path.display()))
}

/// The probes at the first instruction of each function. Arguments are in registers.
fn definitions(layout: &Layout) -> Vec<String> {
    let Layout { len, data_len, tail, cloned, cloned_bit, .. } = *layout;
    let lengths =
        format!("len=+{len}(%di):u32 data_len=+{data_len}(%di):u32 tail=+{tail}(%di):u32");
    let bit = format!("cloned=+{cloned}(%di):b1@{cloned_bit}/8");
    COUNTERS
        .iter()
        .map(|it| {
            let arguments = match it.event {
                "expand_cloned" | "expand_own" => {
                    format!("nhead=%si:s32 ntail=%dx:s32 {bit} {lengths}")
                }
                "pull" => format!("delta=%si:s32 {lengths}"),
                // struct page_pool *, struct sk_buff **
                "xdp_copy" => format!("len=+{len}(+0(%si)):u32"),
                _ => lengths.clone(),
            };
            format!("p:{GROUP}/{} {} caller=$stack0:x64 {arguments}", it.event, it.function)
        })
        .collect()
}

/// Follows memory through a trace: an allocated block that was once the head of a packet counts. A
/// copy that meets no tracepoint any more, such as of a UDP packet that is copied behind the last
/// device, is not seen.
fn heads(trace: &str, endpoints: &[&str]) -> Check {
    let mut check = Check::default();
    // Whether a living block has been the head of a packet.
    let mut living: HashMap<&str, bool> = HashMap::new();
    for line in trace.lines().filter(|line| !line.starts_with('#')) {
        let get = |name: &str| {
            let mut fields = line.split_ascii_whitespace().filter_map(|word| word.split_once('='));
            fields.find(|(field, _)| *field == name).map(|(_, value)| value)
        };
        // The time ends in a colon, too.
        let mut words = line.split_ascii_whitespace();
        let is_event = |word: &&str| word.ends_with(':') && !word.contains('.');
        let Some(event) = words.find(is_event) else { continue };
        match event.trim_end_matches(':') {
            "kmalloc" | "kmem_cache_alloc" => {
                check.allocations += 1;
                let bytes = get("bytes_alloc").and_then(|bytes| bytes.parse::<u64>().ok());
                check.allocated_bytes += bytes.unwrap_or(0);
                if let Some(block) = get("ptr") {
                    living.insert(without_prefix(block), false);
                }
            }
            "kfree" | "kmem_cache_free" => {
                if let Some(block) = get("ptr") {
                    living.remove(without_prefix(block));
                }
            }
            "net_dev_queue" => {
                let device = get("dev").unwrap_or_default();
                check.packets += u64::from(endpoints.contains(&device));
            }
            name if name.starts_with("seen_") => {
                let head = get("head").map(without_prefix).unwrap_or_default();
                if let Some(seen) = living.get_mut(head)
                    && !std::mem::replace(seen, true)
                {
                    check.heads += 1;
                }
            }
            name if COUNTERS.iter().any(|it| it.event == name) => check.copies += 1,
            _ => {}
        }
    }
    check
}

/// Tracepoints write addresses with zeros in front, probes with `0x`.
fn without_prefix(address: &str) -> &str {
    address.trim_start_matches("0x").trim_start_matches('0')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_frames_of_the_probe_are_left_out_and_the_caller_is_put_in() {
        let raw = [
            "kprobe_dispatcher+0x1/0x2",
            "exc_int3+0x5/0x6",
            "asm_exc_int3+0x1/0x2",
            "pskb_expand_head+0x1/0x400",
            "ip_rcv+0x4/0x50",
            "process_backlog+0x1/0x2",
        ]
        .map(str::to_owned);
        let stack = stack(&raw, "ip_forward+0x100/0x300");
        assert_eq!(stack, ["ip_forward", "ip_rcv", "process_backlog"]);
    }

    #[test]
    fn a_block_that_was_a_head_counts_once_and_again_when_it_is_another_block() {
        let trace = "\
# tracer: nop
 study-61 [000] ..... 9.1: kmalloc: call_site=a+0x1/0x2 ptr=ffff888001 bytes_req=600 bytes_alloc=640 node=-1
 study-61 [000] ..... 9.2: net_dev_queue: dev=out0 skbaddr=ffff88800a len=84
 study-61 [000] ..... 9.2: seen_queue: (net.net_dev_queue) head=0xffff888001
 study-61 [000] ..s.. 9.3: kmem_cache_alloc: call_site=b ptr=ffff888002 bytes_req=704 bytes_alloc=704 node=0
 study-61 [000] ..s.. 9.3: expand_cloned: (pskb_expand_head+0x0/0x10) caller=0x1 cloned=1
 study-61 [000] ..s.. 9.4: seen_receive: (net.netif_receive_skb) head=0xffff888002
 study-61 [000] ..s.. 9.4: seen_consume: (skb.consume_skb) head=0xffff888002
 study-61 [000] ..s.. 9.4: net_dev_queue: dev=up0 skbaddr=ffff88800a len=84
 study-61 [000] ..s.. 9.5: kmem_cache_free: call_site=b ptr=ffff888002 name=skbuff_small_head
 study-61 [000] ..s.. 9.6: kmem_cache_alloc: call_site=b ptr=ffff888002 bytes_req=704 bytes_alloc=704 node=0
 study-61 [000] ..s.. 9.7: seen_rx: (net.netif_rx) head=0xffff888002
";
        let check = heads(trace, &["out0", "eth0"]);
        assert_eq!((check.packets, check.heads, check.copies), (1, 3, 1));
        assert_eq!((check.allocations, check.allocated_bytes), (3, 640 + 704 * 2));
    }
}
