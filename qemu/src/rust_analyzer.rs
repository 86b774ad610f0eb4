// SPDX-License-Identifier: GPL-2.0

//! `rust-project.json`, by which an editor resolves the module's items and
//! those of the `kernel` crate.
//!
//! The kernel tree's own script writes it; two things are added that it cannot
//! know: the folder that our crate's sources span, and where its generated
//! bindings are.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::kernel::Kernel;
use crate::lab::Lab;
use crate::modules;
use crate::toolchain::Toolchain;

/// Writes the file into the checkout.
pub fn write(lab: &Lab, kernel: &Kernel, tools: &Toolchain) -> Result<PathBuf> {
    let out = lab.target.join("modules");
    let mut make = modules::make(lab, kernel, tools, &out);
    make.arg("rust-analyzer");
    modules::run(lab, make, "rust-analyzer")
        .context("ask the kernel tree for rust-project.json")?;
    let made = out.join("rust-project.json");
    let text = fs::read_to_string(&made).with_context(|| format!("read {}", made.display()))?;
    let project =
        serde_json::from_str(&text).with_context(|| format!("parse {}", made.display()))?;
    let project = complete(project, &lab.root, &out);
    let path = lab.root.join("rust-project.json");
    let text = serde_json::to_string_pretty(&project).context("write JSON")? + "\n";
    fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
    Ok(path)
}

/// Adds to the crates below `root` what the script cannot know.
fn complete(mut project: Value, root: &Path, out: &Path) -> Value {
    let bindings = out.join("rust/bindings");
    let crates = project["crates"].as_array_mut().into_iter().flatten();
    for krate in crates.filter(|krate| is_below(&krate["root_module"], root)) {
        krate["env"]["RNETNS_BINDINGS"] = json!(bindings);
        krate["source"] = json!({
            "include_dirs": [root.join("rust"), bindings],
            "exclude_dirs": [],
        });
    }
    project
}

fn is_below(path: &Value, root: &Path) -> bool {
    path.as_str()
        .is_some_and(|path| Path::new(path).starts_with(root))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_crates_learn_where_their_sources_and_bindings_are() {
        let project = json!({"crates": [
            {"root_module": "/k/rust/kernel/lib.rs", "env": {}},
            {"root_module": "/p/rust/rnetns/rnetns_main.rs", "env": {"RUST_MODFILE": "x"}},
        ]});
        let done = complete(project, Path::new("/p"), Path::new("/p/target/lab/modules"));
        assert_eq!(
            done["crates"][0],
            json!({"root_module": "/k/rust/kernel/lib.rs", "env": {}})
        );
        let ours = &done["crates"][1];
        assert_eq!(
            ours["env"]["RNETNS_BINDINGS"],
            "/p/target/lab/modules/rust/bindings"
        );
        assert_eq!(ours["env"]["RUST_MODFILE"], "x");
        assert_eq!(ours["source"]["include_dirs"][0], "/p/rust");
    }
}
