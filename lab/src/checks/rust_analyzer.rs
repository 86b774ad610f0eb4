// SPDX-License-Identifier: GPL-2.0

//! `rust-project.json`: with it, an editor resolves the items of the module and of the `kernel`
//! crate.
//!
//! The kernel tree's own script describes the kernel's crates, but it finds an out-of-tree crate
//! only beside a Makefile that names it. So this adds the project's crates, from the commands that
//! kbuild recorded. The script also lists `core` as an ordinary crate; then rust-analyzer does not
//! find the methods of primitive types. So this replaces the standard library's crates by the path
//! of its sources.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::build::kbuild_flags;
use crate::build::modules;
use crate::build::pipeline::Prepared;
use crate::checks::house_rules;
use crate::context::Lab;

/// Writes the file into the checkout.
pub fn write(lab: &Lab, base: &Prepared) -> Result<PathBuf> {
    let out = modules::output(lab, base, "modules")?;
    let mut make = modules::make(lab, base, &out)?;
    make.arg("rust-analyzer");
    modules::run(lab, make, "rust-analyzer")
        .context("ask the kernel tree for rust-project.json")?;
    let made = out.join("rust-project.json");
    let text = fs::read_to_string(&made).with_context(|| format!("read {}", made.display()))?;
    let project =
        serde_json::from_str(&text).with_context(|| format!("parse {}", made.display()))?;
    let project = complete(project, &crates(&out)?, &sources(lab), &out);
    let project = match &base.tools.rust_src {
        Some(library) => with_standard_library(project, library),
        None => project,
    };
    let path = lab.root.join("rust-project.json");
    let text = serde_json::to_string_pretty(&project).context("write JSON")? + "\n";
    fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
    Ok(path)
}

fn sources(lab: &Lab) -> Vec<PathBuf> {
    lab.project.lint.rust.iter().map(|folder| lab.root.join(folder)).collect()
}

/// A crate of the project.
#[derive(Debug, Clone)]
struct Ours {
    name: String,
    root: PathBuf,
    /// The names of other crates in its sources, and their files, if they are known.
    externs: Vec<(String, Option<PathBuf>)>,
    /// Variables that its sources read at compile time.
    env: Vec<(String, String)>,
}

/// The crates that kbuild compiled into `out`.
fn crates(out: &Path) -> Result<Vec<Ours>> {
    let mut found = Vec::new();
    for object in
        house_rules::files(out)?.iter().filter(|p| p.extension().is_some_and(|e| e == "o"))
    {
        let object = object.strip_prefix(out).unwrap_or(object);
        // Objects of C files have no rustc command.
        let Ok(flags) = kbuild_flags::read(out, object) else {
            continue;
        };
        let Some(root) = flags.source.clone() else {
            continue;
        };
        let name = object.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        found.push(Ours { name, root, externs: flags.externs(), env: flags.variables() });
    }
    Ok(found)
}

/// Adds the project's crates to the description of the kernel's.
fn complete(mut project: Value, ours: &[Ours], sources: &[PathBuf], out: &Path) -> Value {
    let folders: Vec<&Path> = sources.iter().map(PathBuf::as_path).chain([out]).collect();
    let Some(crates) = project["crates"].as_array_mut() else {
        return project;
    };
    crates.retain(|krate| !ours.iter().any(|o| krate["root_module"] == json!(o.root)));
    let index = |name: &str| crates.iter().position(|krate| krate["display_name"] == name);
    let cfg = index("kernel").map_or(json!([]), |kernel| crates[kernel]["cfg"].clone());
    // If a crate of the project and one of the kernel have the same name, the project's counts.
    let find = |name: &str, path: Option<&Path>| {
        let Some(path) = path else { return index(name) };
        let stem = path.file_stem().unwrap_or_default().to_string_lossy();
        let name = stem.strip_prefix("lib").unwrap_or(&stem);
        match ours.iter().position(|krate| krate.name == name) {
            Some(place) if path.starts_with(out) => Some(crates.len() + place),
            _ => index(name),
        }
    };
    let added: Vec<Value> = ours
        .iter()
        .map(|krate| {
            let mut deps: BTreeMap<&str, Option<&Path>> = BTreeMap::from([("core", None)]);
            for (name, path) in &krate.externs {
                // As for the compiler, a name with a file overrides one without.
                let known = deps.entry(name).or_default();
                *known = path.as_deref().or(*known);
            }
            let deps: Vec<Value> = deps
                .into_iter()
                .filter_map(|(name, path)| Some(json!({"crate": find(name, path)?, "name": name})))
                .collect();
            let mut env: BTreeMap<&str, &str> =
                krate.env.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
            env.insert("RUST_MODFILE", "This is only for rust-analyzer");
            json!({
                "display_name": krate.name,
                "root_module": krate.root,
                "is_workspace_member": true,
                "is_proc_macro": false,
                "edition": "2021",
                "deps": deps,
                "cfg": cfg,
                "env": env,
                "source": { "include_dirs": folders, "exclude_dirs": [] },
            })
        })
        .collect();
    crates.extend(added);
    project
}

/// Replaces the crates of the standard library by the path of its sources.
fn with_standard_library(mut project: Value, library: &Path) -> Value {
    let Some(crates) = project["crates"].as_array() else { return project };
    let kept: Vec<usize> = (0..crates.len())
        .filter(|index| !is_below(&crates[*index]["root_module"], library))
        .collect();
    let renumber = |old: &Value| kept.iter().position(|index| old.as_u64() == Some(*index as u64));
    let crates: Vec<Value> = kept
        .iter()
        .map(|index| {
            let mut krate = crates[*index].clone();
            let deps = krate["deps"].as_array().cloned().unwrap_or_default();
            krate["deps"] = deps
                .iter()
                .filter_map(|dep| {
                    Some(json!({"crate": renumber(&dep["crate"])?, "name": dep["name"]}))
                })
                .collect();
            krate
        })
        .collect();
    project["crates"] = json!(crates);
    project["sysroot_src"] = json!(library);
    project
}

fn is_below(path: &Value, folder: &Path) -> bool {
    path.as_str().is_some_and(|path| Path::new(path).starts_with(folder))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_crates_are_added_with_what_they_were_compiled_with() {
        let project = json!({"crates": [
            {"display_name": "core", "root_module": "/r/core/src/lib.rs"},
            {"display_name": "kernel", "root_module": "/k/rust/kernel/lib.rs", "cfg": ["CONFIG_NET"]},
        ]});
        let ours = [Ours {
            name: "sample_main".into(),
            root: "/p/rust/sample_main.rs".into(),
            externs: vec![("kernel".into(), None), ("unknown".into(), None)],
            env: vec![("BINDINGS".into(), "/p/out/bindings".into())],
        }];
        let done = complete(project.clone(), &ours, &["/p/rust".into()], Path::new("/p/out"));
        assert_eq!(done["crates"][0], project["crates"][0]);
        assert_eq!(done["crates"][1], project["crates"][1]);
        let krate = &done["crates"][2];
        assert_eq!(krate["root_module"], "/p/rust/sample_main.rs");
        assert_eq!(krate["cfg"], json!(["CONFIG_NET"]));
        assert_eq!(
            krate["deps"],
            json!([{"crate": 0, "name": "core"}, {"crate": 1, "name": "kernel"}])
        );
        assert_eq!(krate["env"]["BINDINGS"], "/p/out/bindings");
        assert_eq!(krate["source"]["include_dirs"], json!(["/p/rust", "/p/out"]));
    }

    #[test]
    fn a_crate_of_ours_can_have_the_name_of_one_of_the_kernel() {
        let project =
            json!({"crates": [{"display_name": "kernel", "root_module": "/k/rust/kernel/lib.rs"}]});
        let krate = |name: &str, externs: &[(&str, Option<&str>)]| Ours {
            name: name.into(),
            root: format!("/p/{name}.rs").into(),
            externs: externs
                .iter()
                .map(|(name, path)| ((*name).into(), path.map(Into::into)))
                .collect(),
            env: Vec::new(),
        };
        let ours = [
            krate("main", &[("kernel", Some("/p/out/facade/libkernel.rmeta")), ("kernel", None)]),
            krate("kernel", &[("kernel", None), ("theirs", Some("/k/rust/libkernel.rmeta"))]),
        ];
        let done = complete(project, &ours, &[], Path::new("/p/out"));
        assert_eq!(done["crates"][1]["deps"], json!([{"crate": 2, "name": "kernel"}]));
        assert_eq!(
            done["crates"][2]["deps"],
            json!([{"crate": 0, "name": "kernel"}, {"crate": 0, "name": "theirs"}])
        );
    }

    #[test]
    fn the_standard_library_is_a_folder_and_no_crate() {
        let project = json!({"crates": [
            {"display_name": "core", "root_module": "/r/library/core/src/lib.rs", "deps": []},
            {"display_name": "ffi", "root_module": "/k/ffi.rs", "deps": [{"crate": 0, "name": "core"}]},
            {"display_name": "kernel", "root_module": "/k/lib.rs",
             "deps": [{"crate": 0, "name": "core"}, {"crate": 1, "name": "ffi"}]},
        ]});
        let done = with_standard_library(project, Path::new("/r/library"));
        assert_eq!(done["sysroot_src"], "/r/library");
        assert_eq!(done["crates"].as_array().unwrap().len(), 2);
        assert_eq!(done["crates"][0]["deps"], json!([]));
        assert_eq!(done["crates"][1]["deps"], json!([{"crate": 0, "name": "ffi"}]));
    }

    #[test]
    fn a_second_run_describes_each_crate_once() {
        let ours = [Ours {
            name: "m".into(),
            root: "/p/m.rs".into(),
            externs: Vec::new(),
            env: Vec::new(),
        }];
        let run = |project| complete(project, &ours, &[], Path::new("/p/out"));
        let once = run(json!({"crates": []}));
        assert_eq!(run(once.clone()), once);
    }
}
