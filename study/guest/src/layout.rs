// SPDX-License-Identifier: GPL-2.0

//! Where the fields of `struct sk_buff` are: the module was built by the same kernel build.

use std::fs;

use anyhow::{Context, Result};

const PARAMETERS: &str = "/sys/module/rnetns_study/parameters";

/// Offsets in bytes.
#[derive(Debug, Clone, Copy)]
pub struct Layout {
    pub len: u32,
    pub data_len: u32,
    pub head: u32,
    pub tail: u32,
    pub cloned: u32,
    /// The bit in that byte, and another one there.
    pub cloned_bit: u32,
    pub head_frag_bit: u32,
}

impl Layout {
    pub fn read() -> Result<Layout> {
        Ok(Layout {
            len: parameter("len_at")?,
            data_len: parameter("data_len_at")?,
            head: parameter("head_at")?,
            tail: parameter("tail_at")?,
            cloned: parameter("cloned_at")?,
            cloned_bit: parameter("cloned_bit")?,
            head_frag_bit: parameter("head_frag_bit")?,
        })
    }
}

fn parameter(name: &str) -> Result<u32> {
    let path = format!("{PARAMETERS}/{name}");
    let text = fs::read_to_string(&path).with_context(|| path.clone())?;
    text.trim().parse().context(path)
}
