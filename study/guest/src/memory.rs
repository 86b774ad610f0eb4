// SPDX-License-Identifier: GPL-2.0

//! The same copies, counted without the name of any function that copies: a record of where packets
//! are in memory.

use std::collections::HashMap;

use anyhow::{Context, Result, ensure};

use crate::layout::Layout;
use crate::results::Check;
use crate::tracing::{GROUP, QUEUED, Tracing, copiers};

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

/// The devices that packets of a measurement come from.
#[derive(Debug, Clone, Copy)]
pub struct Endpoints<'a> {
    /// The sender's.
    pub sends: &'a str,
    /// The receiver's, who may answer.
    pub answers: &'a str,
}

/// Makes the events.
pub(crate) fn define(tracing: &Tracing, layout: &Layout) -> Result<()> {
    // Addresses as they are, to compare them.
    tracing.write("options/hash-ptr", "0")?;
    for (name, event) in SEEN {
        let line = format!("e:{GROUP}/{name} {event} head=+{}($skbaddr):x64", layout.head);
        tracing.append("dynamic_events", &line)?;
    }
    Ok(())
}

/// Records where packets are in memory while something runs.
pub fn check<T>(
    tracing: &Tracing,
    endpoints: Endpoints,
    what: impl FnOnce() -> Result<T>,
) -> Result<(T, Check)> {
    let events: Vec<String> = SEEN
        .iter()
        .map(|(name, _)| format!("{GROUP}/{name}"))
        .chain(copiers().map(|event| format!("{GROUP}/{event}")))
        .chain(MEMORY.iter().map(|name| (*name).to_owned()))
        .chain([QUEUED.to_owned()])
        .collect();
    tracing.write("tracing_on", "0")?;
    tracing.write("trace", "")?;
    for event in &events {
        tracing.write(&format!("events/{event}/enable"), "1")?;
    }
    tracing.write("tracing_on", "1")?;
    let result = what();
    tracing.write("tracing_on", "0")?;
    let text = tracing.read("trace")?;
    let stats = tracing.read_each("stats")?;
    for event in &events {
        tracing.write(&format!("events/{event}/enable"), "0")?;
    }
    let result = result?;
    let lost: u64 = stats.iter().map(|text| lost(text)).sum::<Result<u64>>()?;
    ensure!(lost == 0, "the record has no room for {lost} events");
    tracing.ensure_no_misses()?;
    Ok((result, heads(&text, endpoints)?))
}

/// Events that are not in a processor's record, by its `stats`.
fn lost(stats: &str) -> Result<u64> {
    const LOSSES: [&str; 3] = ["overrun", "commit overrun", "dropped events"];
    let mut sum = 0;
    for name in LOSSES {
        let value = |line: &str| line.strip_prefix(name)?.strip_prefix(':').map(str::to_owned);
        let value = stats.lines().find_map(value).with_context(|| format!("no `{name}`"))?;
        sum += value.trim().parse::<u64>().with_context(|| format!("`{name}`"))?;
    }
    Ok(sum)
}

/// Follows memory through a trace: an allocated block that was once the head of a packet counts. A
/// copy that meets no tracepoint any more, such as of a UDP packet that is copied behind the last
/// device, is not seen.
fn heads(trace: &str, endpoints: Endpoints) -> Result<Check> {
    let mut check = Check::default();
    // Whether a living block has been the head of a packet.
    let mut living: HashMap<&str, bool> = HashMap::new();
    for line in trace.lines().filter(|line| !line.starts_with('#')) {
        // `CPU:0 [LOST 5 EVENTS]`
        ensure!(!line.contains("[LOST "), "the record has lost events: {line}");
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
                check.packets += u64::from([endpoints.sends, endpoints.answers].contains(&device));
                check.sent += u64::from(device == endpoints.sends);
            }
            name if name.starts_with("seen_") => {
                let head = get("head").map(without_prefix).unwrap_or_default();
                if let Some(seen) = living.get_mut(head)
                    && !std::mem::replace(seen, true)
                {
                    check.heads += 1;
                }
            }
            name if copiers().any(|event| event == name) => check.copies += 1,
            _ => {}
        }
    }
    Ok(check)
}

/// Tracepoints write addresses with zeros in front, probes with `0x`.
fn without_prefix(address: &str) -> &str {
    address.trim_start_matches("0x").trim_start_matches('0')
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENDPOINTS: Endpoints<'_> = Endpoints { sends: "out0", answers: "eth0" };
    const TRACE: &str = "\
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

    #[test]
    fn a_block_that_was_a_head_counts_once_and_again_when_it_is_another_block() {
        let check = heads(TRACE, ENDPOINTS).unwrap();
        assert_eq!((check.packets, check.sent, check.heads, check.copies), (1, 1, 3, 1));
        assert_eq!((check.allocations, check.allocated_bytes), (3, 640 + 704 * 2));
    }

    #[test]
    fn a_record_that_has_lost_events_is_refused() {
        let mut lines: Vec<&str> = TRACE.lines().collect();
        lines.insert(4, "CPU:0 [LOST 5 EVENTS]");
        assert!(heads(&lines.join("\n"), ENDPOINTS).unwrap_err().to_string().contains("LOST 5"));
        let stats = "entries: 7\noverrun: 0\ncommit overrun: 0\nbytes: 52\n\
                     oldest event ts:     4.1\nnow ts:     5.2\ndropped events: 0\nread events: 1\n";
        assert_eq!(lost(stats).unwrap(), 0);
        assert_eq!(lost(&stats.replace("\noverrun: 0", "\noverrun: 3")).unwrap(), 3);
        assert_eq!(lost(&stats.replace("dropped events: 0", "dropped events: 4")).unwrap(), 4);
        assert!(lost("entries: 7\n").is_err());
    }
}
