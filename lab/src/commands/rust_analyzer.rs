// SPDX-License-Identifier: GPL-2.0

//! `lab rust-analyzer`: writes the project description for an editor.

use anyhow::Result;
use vmlab::run::phases::Phases;
use vmlab::run::progress::say;

use crate::build::kernel::Variant;
use crate::build::modules;
use crate::build::pipeline;
use crate::checks::rust_analyzer;
use crate::context::Lab;

pub(super) fn run(lab: &Lab) -> Result<u8> {
    let mut base = pipeline::base(lab, Variant::Plain, &mut Phases::default())?;
    base.tools = base.tools.with_rust_src(lab)?;
    // An editor resolves items in the generated bindings, too.
    modules::build(lab, &base)?;
    let path = rust_analyzer::write(lab, &base)?;
    say(&format!("wrote {}", path.display()));
    Ok(0)
}
