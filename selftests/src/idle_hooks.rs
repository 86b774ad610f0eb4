// SPDX-License-Identifier: GPL-2.0

//! Hooks of `rnetns_bench` that do nothing, while the test runs.
//!
//! The kernel patches its code on the packets' path with the first netfilter hook and after the last
//! one. If a module comes and goes under traffic, an emulator of several processors gets that wrong
//! now and then, and one of them dies of a breakpoint ("Oops: int3").

use std::fs::{self, File};

use anyhow::{Context, Result};
use nix::kmod::{DeleteModuleFlags, ModuleInitFlags, delete_module, finit_module};

use crate::ktap::comment;
use crate::module::Module;

const CONTROL: &str = "/sys/kernel/debug/rnetns_bench/measure";

/// The hooks, while this exists.
pub struct IdleHooks(());

impl IdleHooks {
    /// Registers them. `None` without `rnetns_bench.ko`: the test works without the hooks, too.
    pub fn register() -> Result<Option<IdleHooks>> {
        let path = Module::path().with_file_name("rnetns_bench.ko");
        let Ok(file) = File::open(&path) else {
            comment(&format!("no {}: code is patched under traffic", path.display()));
            return Ok(None);
        };
        finit_module(&file, c"", ModuleInitFlags::empty()).context("load rnetns_bench")?;
        let hooks = IdleHooks(());
        fs::write(CONTROL, "hooks on").context(CONTROL)?;
        Ok(Some(hooks))
    }
}

impl Drop for IdleHooks {
    fn drop(&mut self) {
        if let Err(error) = delete_module(c"rnetns_bench", DeleteModuleFlags::O_NONBLOCK) {
            comment(&format!("unload rnetns_bench: {error}"));
        }
    }
}
