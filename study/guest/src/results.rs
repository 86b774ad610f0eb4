// SPDX-License-Identifier: GPL-2.0

//! What a guest has measured, as it goes to the results file.

use anyhow::{Result, ensure};
use serde::{Deserialize, Serialize};

/// One way, one direction, one kind of traffic, one listener.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Measurement {
    pub way: String,
    pub direction: String,
    pub traffic: String,
    pub listener: String,
    /// Packets that the sender's device was given while copies were counted.
    pub packets: u64,
    /// With the route cache: packets whose route it had, and had not, meanwhile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache: Option<CacheUse>,
    pub copies: Vec<Place>,
    pub clones: Vec<Place>,
    /// Moves of bytes from fragments to the head.
    pub pulls: Vec<Place>,
    /// Packets that were split by software.
    pub splits: Vec<Place>,
    pub check: Check,
    /// Instructions for each packet, from the call that sends it to the end of the call that
    /// receives it: the median, and the rounds.
    pub instructions: f64,
    pub instruction_rounds: Vec<f64>,
}

/// What the route cache of the host's namespace was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct CacheUse {
    pub hits: u64,
    pub misses: u64,
}

/// A call stack that copies, and how often.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Place {
    /// The function that copies.
    pub function: String,
    /// Where it was called: symbol and offset.
    pub caller: String,
    /// Where that was called, and so on: the next few places of the stack.
    #[serde(default)]
    pub outer: Vec<String>,
    /// The callers, the innermost first; the first of them is the caller's.
    pub stack: Vec<String>,
    pub reason: String,
    pub times: u64,
    pub bytes: u64,
}

/// The same packets, counted by the memory that they were in: without the name of any function.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Check {
    /// Packets that endpoints gave their devices.
    pub packets: u64,
    /// Those of them that the sender gave its device.
    #[serde(default)]
    pub sent: u64,
    /// Allocated blocks of memory that were the head of a packet at any tracepoint.
    pub heads: u64,
    /// Copies that the probes saw of the same packets.
    pub copies: u64,
    /// Allocations of any kind, and their bytes.
    pub allocations: u64,
    pub allocated_bytes: u64,
}

impl Check {
    /// Heads of packets beyond those that endpoints gave their devices.
    pub fn copies_by_memory(&self) -> i64 {
        self.heads as i64 - self.packets as i64
    }
}

impl Place {
    pub fn count(places: &[Place]) -> u64 {
        places.iter().map(|place| place.times).sum()
    }
}

impl Measurement {
    /// Whether the numbers agree with each other: those that are shown, of messages `counted`, with
    /// those that were checked, of messages `checked`; and the latter with memory, where
    /// `by_memory`.
    pub fn verify(&self, counted: u64, checked: u64, by_memory: bool) -> Result<()> {
        let copies = Place::count(&self.copies);
        let Check { sent, heads, copies: again, .. } = self.check;
        ensure!(self.packets >= counted, "{} packets for {counted} messages", self.packets);
        ensure!(sent >= checked, "{sent} packets for {checked} messages, in the check");
        // A large message is now and then two packets: so it is rates that are compared.
        ensure!(
            copies * sent == again * self.packets,
            "{copies} copies of {} packets by histogram, {again} of {sent} by events",
            self.packets
        );
        ensure!(
            !by_memory || self.check.copies_by_memory() == again as i64,
            "{heads} heads of {} packets by memory, {again} copies by probes",
            self.check.packets
        );
        if let Some(CacheUse { hits, .. }) = self.cache {
            ensure!(hits >= self.packets, "{hits} hits of the cache for {} packets", self.packets);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 64 packets that are copied once, by histogram and by events.
    fn measurement(copies: u64) -> Measurement {
        let place = Place {
            function: "pskb_expand_head".to_owned(),
            caller: "a+0x1/0x2".to_owned(),
            outer: Vec::new(),
            stack: vec!["a".to_owned()],
            reason: "cloned".to_owned(),
            times: copies,
            bytes: 0,
        };
        Measurement {
            way: "w".to_owned(),
            direction: "out".to_owned(),
            traffic: "t".to_owned(),
            listener: "nobody".to_owned(),
            packets: 64,
            cache: None,
            copies: vec![place],
            clones: Vec::new(),
            pulls: Vec::new(),
            splits: Vec::new(),
            check: Check { packets: 64, sent: 32, heads: 96, copies: 32, ..Check::default() },
            instructions: 1.0,
            instruction_rounds: Vec::new(),
        }
    }

    fn refused(measurement: &Measurement) -> String {
        measurement.verify(64, 32, true).unwrap_err().to_string()
    }

    #[test]
    fn numbers_that_agree_are_accepted() {
        measurement(64).verify(64, 32, true).unwrap();
        // A message of two packets: 65 of them, and 33 in the check.
        let two = Measurement {
            packets: 65,
            check: Check { packets: 66, sent: 33, heads: 99, copies: 33, ..Check::default() },
            ..measurement(65)
        };
        two.verify(64, 32, true).unwrap();
    }

    #[test]
    fn copies_that_only_one_of_the_counts_has_are_refused() {
        assert_eq!(
            refused(&measurement(0)),
            "0 copies of 64 packets by histogram, 32 of 32 by events"
        );
        assert!(refused(&measurement(63)).starts_with("63 copies of 64 packets"));
        let check = Check { heads: 95, ..measurement(64).check };
        let unlike = Measurement { check, ..measurement(64) };
        assert_eq!(refused(&unlike), "95 heads of 64 packets by memory, 32 copies by probes");
        unlike.verify(64, 32, false).unwrap();
    }

    #[test]
    fn packets_that_nobody_saw_are_refused() {
        let some = Measurement { packets: 63, ..measurement(63) };
        assert_eq!(refused(&some), "63 packets for 64 messages");
        let check = Check { sent: 0, copies: 0, ..measurement(0).check };
        let none = Measurement { check, ..measurement(0) };
        assert_eq!(refused(&none), "0 packets for 32 messages, in the check");
    }

    #[test]
    fn a_cache_that_does_not_hit_is_refused() {
        let cache = Some(CacheUse { hits: 3, misses: 61 });
        let idle = Measurement { cache, ..measurement(64) };
        assert_eq!(refused(&idle), "3 hits of the cache for 64 packets");
    }
}
