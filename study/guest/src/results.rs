// SPDX-License-Identifier: GPL-2.0

//! What a guest has measured, as it goes to the results file.

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

/// A call stack that copies, and how often.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Place {
    /// The function that copies.
    pub function: String,
    /// Where it was called: symbol and offset.
    pub caller: String,
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
