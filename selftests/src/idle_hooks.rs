// SPDX-License-Identifier: GPL-2.0

//! Hooks of `rnetns_bench` that do nothing, while the test runs.
//!
//! The kernel patches its code on the packets' path with the first netfilter hook and after the last
//! one. If a module comes and goes under traffic, an emulator of several processors gets that wrong
//! now and then, and one of them dies of a breakpoint ("Oops: int3").

use std::ffi::CStr;
use std::fs;

use anyhow::{Context, Result};

use crate::ktap::comment;
use crate::module::{self, Loaded, Module};

const MODULE: &CStr = c"rnetns_bench";
const CONTROL: &str = "/sys/kernel/debug/rnetns_bench/measure";

/// The hooks, while this exists.
pub struct IdleHooks {
    _module: Loaded,
}

impl IdleHooks {
    /// Registers them. `None` without `rnetns_bench.ko`: the test works without the hooks, too.
    pub fn register() -> Result<Option<IdleHooks>> {
        let path = module::file(MODULE);
        if !path.exists() {
            comment(&format!("no {}: code is patched under traffic", path.display()));
            return Ok(None);
        }
        let module = Module::named(MODULE)?.load()?;
        fs::write(CONTROL, "hooks on").context(CONTROL)?;
        Ok(Some(IdleHooks { _module: module }))
    }
}
