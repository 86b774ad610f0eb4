// SPDX-License-Identifier: GPL-2.0

//! The text of an event's `hist` file.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};

/// An entry of a histogram.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Entry {
    /// The call stack, the innermost function first.
    pub stack: Vec<String>,
    /// The other keys.
    pub keys: BTreeMap<String, String>,
    pub values: BTreeMap<String, u64>,
}

impl Entry {
    pub fn value(&self, name: &str) -> u64 {
        self.values.get(name).copied().unwrap_or(0)
    }

    pub fn key(&self, name: &str) -> &str {
        self.keys.get(name).map_or("", String::as_str)
    }
}

/// The key of call stacks.
const STACK: &str = "common_stacktrace";

/// Reads all entries. An error if events were lost for lack of room.
pub fn parse(text: &str) -> Result<Vec<Entry>> {
    let mut entries = Vec::new();
    // An entry is `{ KEYS } VALUES`, of which the keys may have several lines.
    let mut keys: Option<String> = None;
    for line in text.lines() {
        if let Some(dropped) = line.trim().strip_prefix("Dropped:")
            && dropped.trim() != "0"
        {
            bail!("a histogram has no room for {dropped} events");
        }
        if let Some(rest) = line.strip_prefix("{ ") {
            keys = Some(String::new());
            take(rest, &mut keys, &mut entries)?;
        } else if keys.is_some() {
            take(line, &mut keys, &mut entries)?;
        }
    }
    Ok(entries)
}

/// Takes a line of an entry.
fn take(line: &str, keys: &mut Option<String>, entries: &mut Vec<Entry>) -> Result<()> {
    let text = keys.get_or_insert_default();
    match line.split_once("} hitcount:") {
        None => {
            text.push_str(line);
            text.push('\n');
        }
        Some((last, values)) => {
            text.push_str(last);
            entries.push(entry(text, &format!("hitcount:{values}"))?);
            *keys = None;
        }
    }
    Ok(())
}

fn entry(keys: &str, values: &str) -> Result<Entry> {
    let mut entry = Entry::default();
    for part in keys.split([',', '\n']).map(str::trim).filter(|part| !part.is_empty()) {
        match part.split_once(':') {
            Some((STACK, _)) => {}
            Some((name, value)) => {
                entry.keys.insert(name.trim().to_owned(), value.trim().to_owned());
            }
            None => entry.stack.push(part.to_owned()),
        }
    }
    let mut words = values.split_whitespace();
    while let Some(word) = words.next() {
        let (name, value) = word.split_once(':').context("a value without a name")?;
        // The number may follow the colon at once.
        let value = if value.is_empty() { words.next().unwrap_or_default() } else { value };
        let value = value.parse().with_context(|| format!("{name} is `{value}`"))?;
        entry.values.insert(name.to_owned(), value);
    }
    Ok(entry)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
# event histogram
#
# trigger info: hist:keys=common_stacktrace,caller.sym-offset:vals=hitcount,len [active]
#

{ common_stacktrace:
         ip_rcv+0x4d/0x60
         __netif_receive_skb+0x3b/0x90
, caller: [ffffffff81a0b1c4] ip_forward+0x2a4/0x5d0                               , nhead:         16} hitcount:         64  len:       5376
{ common_stacktrace:
         udp_send_skb+0x4d/0x60
, caller: [ffffffff81a0b1c4] x+0x1/0x5} hitcount:          1  len:         84

Totals:
    Hits: 65
    Entries: 2
    Dropped: 0
";

    #[test]
    fn entries_have_stack_keys_and_values() {
        let entries = parse(TEXT).unwrap();
        assert_eq!(entries.len(), 2);
        let first = &entries[0];
        assert_eq!(first.stack, ["ip_rcv+0x4d/0x60", "__netif_receive_skb+0x3b/0x90"]);
        assert_eq!(first.key("caller"), "[ffffffff81a0b1c4] ip_forward+0x2a4/0x5d0");
        assert_eq!(first.key("nhead"), "16");
        assert_eq!((first.value("hitcount"), first.value("len")), (64, 5376));
        assert_eq!(entries[1].value("hitcount"), 1);
    }

    #[test]
    fn lost_events_are_an_error() {
        let text = TEXT.replace("Dropped: 0", "Dropped: 3");
        assert!(parse(&text).unwrap_err().to_string().contains("no room for"));
    }

    #[test]
    fn no_events_are_no_entries() {
        assert_eq!(parse("# event histogram\n\nTotals:\n    Hits: 0\n").unwrap(), []);
    }
}
