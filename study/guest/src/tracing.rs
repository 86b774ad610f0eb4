// SPDX-License-Identifier: GPL-2.0

//! The kernel's own tracing: probes at the functions that copy, counted by call stack.

use std::collections::HashMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};

use crate::histogram::{self, Entry};
use crate::layout::Layout;
use crate::memory;
use crate::results::Place;

const ROOT: &str = "/sys/kernel/tracing";
/// Our group of events.
pub(crate) const GROUP: &str = "study";
/// What is recorded of each processor, in KiB.
pub(crate) const ROOM: u32 = 8192;
/// Headroom that XDP promises to programs.
const XDP_PACKET_HEADROOM: u64 = 256;
/// Callers of a place that are kept with their offsets.
const OUTER: usize = 4;
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
    /// Other values whose sums are needed. A histogram has room for three, with the number of hits.
    values: &'static [&'static str],
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
    values: &[],
    key: None,
};

const COUNTERS: [Counter; 11] = [
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
        filter: " if data_len == 0",
        reason: "",
        values: &["tail"],
        key: Some("flags"),
        ..COPY
    },
    Counter {
        event: "xdp_paged",
        function: "skb_pp_cow_data",
        filter: " if data_len > 0",
        reason: "",
        key: Some("flags"),
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
        let values: Vec<&str> = ["hitcount", plus, minus]
            .iter()
            .chain(self.values)
            .copied()
            .filter(|name| !name.is_empty())
            .collect();
        let key = self.key.map(|key| format!(",{key}")).unwrap_or_default();
        format!(
            "hist:keys=common_stacktrace,caller.sym-offset{key}:vals={}:size=2048{}",
            values.join(","),
            self.filter
        )
    }

    fn place(&self, entry: &Entry, layout: &Layout) -> Place {
        let (plus, minus) = self.bytes;
        // `[ffffffff81a0b1c4] ip_forward+0x2a4/0x5d0`, and maybe the module.
        let caller = entry.key("caller").split_whitespace().nth(1).unwrap_or_default().to_owned();
        let outer = callers(&entry.stack, &caller);
        let stack = std::iter::once(caller.as_str()).chain(outer.iter().copied());
        Place {
            function: self.function.to_owned(),
            stack: stack.map(|frame| symbol(frame).to_owned()).collect(),
            outer: outer.iter().take(OUTER).map(|frame| (*frame).to_owned()).collect(),
            caller,
            reason: self.reason(entry, layout),
            times: entry.value("hitcount"),
            bytes: entry.value(plus).saturating_sub(entry.value(minus)),
        }
    }

    fn reason(&self, entry: &Entry, layout: &Layout) -> String {
        let grows = !matches!(entry.key("nhead"), "" | "0");
        match (self.reason, grows) {
            ("", _) if self.key == Some("flags") => xdp_reason(entry, layout),
            ("", true) => "headroom".to_owned(),
            ("", false) if self.key.is_some() => "tailroom or other".to_owned(),
            ("cloned", true) => "cloned and headroom".to_owned(),
            (reason, _) => reason.to_owned(),
        }
    }
}

/// What of a packet is not as a program of XDP must have it. Packets with the same stack and flags
/// have the same size, so that their mean is that of each. The headroom of one that has data in
/// pages is not known. That somebody else holds the packet itself (`skb_shared()`) is not looked at:
/// a device has just been given it.
fn xdp_reason(entry: &Entry, layout: &Layout) -> String {
    let flags: u64 = entry.key("flags").parse().unwrap_or_default();
    let has = |bit: u32| flags >> bit & 1 == 1;
    // Where all of the data is in the head: what is before it.
    let headroom = entry
        .values
        .get("tail")
        .map(|end| end.saturating_sub(entry.value("len")) / entry.value("hitcount").max(1));
    let reasons = [
        (has(layout.cloned_bit), "cloned"),
        (!has(layout.head_frag_bit), "head is not of a page"),
        (headroom.is_none(), "data in pages"),
        (headroom.is_some_and(|room| room < XDP_PACKET_HEADROOM), "headroom"),
    ];
    let held: Vec<&str> =
        reasons.into_iter().filter_map(|(holds, name)| holds.then_some(name)).collect();
    held.join(", ")
}

/// The function of `symbol+0x1/0x2`.
fn symbol(frame: &str) -> &str {
    frame.split('+').next().unwrap_or_default()
}

/// The callers of a probe's caller, without the probe's own frames. The unwinder does not see the
/// caller itself: at a function's first instruction, its frame is not there yet.
fn callers<'a>(raw: &'a [String], caller: &str) -> Vec<&'a str> {
    let own = |frame: &String| MACHINERY.iter().any(|name| frame.starts_with(name));
    let from = raw.iter().rposition(own).map_or(0, |last| last + 1);
    let mut callers: Vec<&str> = Vec::new();
    for frame in &raw[from..] {
        // The probed function itself, and its caller again.
        let name = symbol(frame);
        let is_seen = name == symbol(caller) || COUNTERS.iter().any(|it| it.function == name);
        if !(callers.is_empty() && is_seen) {
            callers.push(frame);
        }
    }
    callers
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
    layout: Layout,
}

/// Packets that devices are given.
pub(crate) const QUEUED: &str = "net/net_dev_queue";
const QUEUED_TRIGGER: &str = "hist:keys=name:size=256";

/// The events at functions that copy, each function once.
pub(crate) fn copiers() -> impl Iterator<Item = &'static str> {
    let copiers = COUNTERS.iter().filter(|it| it.kind == Kind::Copy);
    // Both kinds of these events are the same function.
    copiers.map(|it| it.event).filter(|event| !["expand_own", "xdp_paged"].contains(event))
}

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
        let tracing = Tracing { root, layout: *layout };
        tracing.make_room(ROOM)?;
        for line in definitions(layout) {
            tracing.append("kprobe_events", &line)?;
        }
        memory::define(&tracing, layout)?;
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
            let places = entries.iter().map(|entry| counter.place(entry, &self.layout));
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
        self.ensure_no_misses()?;
        Ok((result?, counts))
    }

    /// Fails if a probe was hit and did not run: what it would have counted is lost.
    pub(crate) fn ensure_no_misses(&self) -> Result<()> {
        let missed = misses(&self.read("kprobe_profile")?)?;
        ensure!(missed == 0, "the probes have missed {missed} calls");
        Ok(())
    }

    /// Sets how much can be recorded of each processor, in KiB.
    pub fn make_room(&self, room: u32) -> Result<()> {
        self.write("buffer_size_kb", &room.to_string())
    }

    pub(crate) fn read(&self, name: &str) -> Result<String> {
        let path = self.root.join(name);
        fs::read_to_string(&path).with_context(|| path.display().to_string())
    }

    pub(crate) fn write(&self, name: &str, text: &str) -> Result<()> {
        put(&self.root.join(name), text, fs::OpenOptions::new().write(true).truncate(true))
    }

    pub(crate) fn append(&self, name: &str, text: &str) -> Result<()> {
        let result = put(&self.root.join(name), text, fs::OpenOptions::new().append(true));
        // The kernel's own words, with a mark below the wrong one.
        result.or_else(|error| Err(error.context(self.read("error_log")?)))
    }

    /// The same file of each processor.
    pub(crate) fn read_each(&self, name: &str) -> Result<Vec<String>> {
        let folder = self.root.join("per_cpu");
        let mut texts = Vec::new();
        for entry in fs::read_dir(&folder).with_context(|| folder.display().to_string())? {
            let path = entry.with_context(|| folder.display().to_string())?.path().join(name);
            let text = fs::read_to_string(&path);
            texts.push(text.with_context(|| path.display().to_string())?);
        }
        Ok(texts)
    }
}

/// The sum of the last column of `kprobe_profile`: event, hits, misses.
fn misses(profile: &str) -> Result<u64> {
    let mut sum = 0;
    for line in profile.lines() {
        let [event, _hits, misses] = line.split_whitespace().collect::<Vec<_>>()[..] else {
            bail!("`{line}` is no line of kprobe_profile");
        };
        sum += misses.parse::<u64>().with_context(|| format!("the misses of {event}"))?;
    }
    Ok(sum)
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
                "xdp_copy" | "xdp_paged" => format!(
                    "len=+{len}(+0(%si)):u32 data_len=+{data_len}(+0(%si)):u32 \
                     tail=+{tail}(+0(%si)):u32 flags=+{cloned}(+0(%si)):u8"
                ),
                _ => lengths.clone(),
            };
            format!("p:{GROUP}/{} {} caller=$stack0:x64 {arguments}", it.event, it.function)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const RAW: [&str; 6] = [
        "kprobe_dispatcher+0x1/0x2",
        "exc_int3+0x5/0x6",
        "asm_exc_int3+0x1/0x2",
        "pskb_expand_head+0x1/0x400",
        "ip_rcv+0x4/0x50",
        "process_backlog+0x1/0x2",
    ];
    const LAYOUT: Layout = Layout {
        len: 0,
        data_len: 0,
        head: 0,
        tail: 0,
        cloned: 0,
        cloned_bit: 0,
        head_frag_bit: 5,
    };

    fn entry(keys: &[(&str, &str)], values: &[(&str, u64)]) -> Entry {
        Entry {
            stack: RAW.map(str::to_owned).to_vec(),
            keys: keys.iter().map(|(name, key)| (name.to_string(), key.to_string())).collect(),
            values: values.iter().map(|(name, value)| (name.to_string(), *value)).collect(),
        }
    }

    #[test]
    fn the_frames_of_the_probe_are_left_out_and_the_caller_is_put_in() {
        let keys = [("caller", "[ffffffff81] ip_forward+0x100/0x300"), ("nhead", "0")];
        let place = COUNTERS[0].place(&entry(&keys, &[("hitcount", 3), ("tail", 30)]), &LAYOUT);
        assert_eq!(place.caller, "ip_forward+0x100/0x300");
        assert_eq!(place.outer, ["ip_rcv+0x4/0x50", "process_backlog+0x1/0x2"]);
        assert_eq!(place.stack, ["ip_forward", "ip_rcv", "process_backlog"]);
        assert_eq!((place.reason.as_str(), place.times, place.bytes), ("cloned", 3, 30));
        let keys = [("caller", "[ffffffffc0] call+0x1/0x3 [rnetns_study]")];
        assert_eq!(COPY.place(&entry(&keys, &[]), &LAYOUT).caller, "call+0x1/0x3");
    }

    #[test]
    fn xdp_copies_for_each_reason_that_the_packet_has() {
        let reason = |flags: &str, headroom: Option<u64>| {
            let mut values = vec![("hitcount", 2), ("len", 2 * 60)];
            values.extend(headroom.map(|room| ("tail", 2 * (room + 60))));
            xdp_reason(&entry(&[("flags", flags)], &values), &LAYOUT)
        };
        assert_eq!(reason("33", Some(256)), "cloned");
        assert_eq!(reason("0", Some(256)), "head is not of a page");
        assert_eq!(reason("32", None), "data in pages");
        assert_eq!(reason("32", Some(255)), "headroom");
        assert_eq!(reason("1", Some(0)), "cloned, head is not of a page, headroom");
    }

    #[test]
    fn calls_that_a_probe_has_missed_are_counted() {
        let profile = "  copy      12    0\n  clone   5   0\n";
        assert_eq!(misses(profile).unwrap(), 0);
        assert_eq!(misses(&profile.replace("5   0", "5   7")).unwrap(), 7);
        assert_eq!(misses("").unwrap(), 0);
        assert!(misses("copy 12").is_err());
        assert!(misses("copy 12 x").is_err());
    }
}
