// SPDX-License-Identifier: GPL-2.0

//! `lab.toml`: the description of a project for the lab, in the project's root folder.
//!
//! Only the name is required. Anything that the file does not name is not built, checked or run.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Result, anyhow, bail};
use serde::Deserialize;
use series::source::Places;

/// The file, at the root of a project.
pub const FILE: &str = "lab.toml";

/// The content of `lab.toml`. Paths are relative to its folder.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Project {
    pub name: String,
    /// The pin file with the versions of kernel and tools, if not the lab's own.
    pub pins: Option<PathBuf>,
    /// Fragments of kernel configuration.
    #[serde(default)]
    pub config: Vec<PathBuf>,
    #[serde(default)]
    pub modules: Modules,
    #[serde(default)]
    pub selftests: Selftests,
    #[serde(default)]
    pub lint: Lint,
    pub compile_fail: Option<CompileFail>,
    pub examples: Option<Examples>,
    pub mutants: Option<Mutants>,
    pub in_tree: Option<InTree>,
    pub netlink: Option<Netlink>,
    pub bench: Option<Bench>,
    pub study: Option<Study>,
    /// The places of files and folders in a kernel tree.
    #[serde(default)]
    pub upstream: BTreeMap<PathBuf, PathBuf>,
    #[serde(default)]
    pub series: Series,
}

/// The modules to build.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Modules {
    /// The folder with the Kbuild file or Makefile.
    pub kbuild: Option<PathBuf>,
    /// File names of the modules that `run` and `shell` load, in this order.
    #[serde(default)]
    pub load: Vec<String>,
}

/// Programs for the guest.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Selftests {
    /// Folders in kselftest's layout.
    #[serde(default)]
    pub folders: Vec<PathBuf>,
    /// Packages of the project's cargo workspace whose programs are tests.
    #[serde(default)]
    pub packages: Vec<String>,
    /// Packages whose programs are in the guest's PATH.
    #[serde(default)]
    pub tools: Vec<String>,
    /// Tests, with `*` and `?` as in a shell, that do one thing after another. The emulated
    /// processors of their guests take turns in one thread of the host, which takes a third less of
    /// its time: processors in threads of their own wait for each other's locks and interrupts.
    #[serde(default)]
    pub sequential: Vec<String>,
    /// Whether the kernel tree's own network tests are compared without and with the modules.
    #[serde(default)]
    pub net: bool,
}

/// Style checks.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lint {
    /// Folders with kernel code in Rust, formatted by the kernel tree's rules.
    #[serde(default)]
    pub rust: Vec<PathBuf>,
    /// Whether to check that every source file has a licence, and that none has a hard-coded path
    /// or mirror.
    #[serde(default)]
    pub house_rules: bool,
}

/// Files that must not compile.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CompileFail {
    pub folder: PathBuf,
    /// The object whose compiler flags they get.
    pub like: PathBuf,
}

/// Examples in documentation.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Examples {
    pub folder: PathBuf,
    /// The object whose flags they get.
    pub like: PathBuf,
}

/// Patches that each break a rule of the module.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mutants {
    pub folder: PathBuf,
    /// Files and folders that the modules are built from.
    pub sources: Vec<PathBuf>,
    /// The files that mutants are generated from.
    #[serde(default)]
    pub made: Vec<Made>,
}

/// Files whose code is changed at one place at a time.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Made {
    /// A pattern of paths: `*` stands for characters of one name, `**` for folders.
    pub files: String,
    /// The tests, at least one of which must fail.
    pub tests: Vec<String>,
}

/// Builds of the code inside a kernel tree.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InTree {
    /// The wiring folder: what the tree's own files get.
    pub wiring: PathBuf,
    /// The target for make if the module is on.
    pub target: String,
    /// Folders whose files `[upstream]` places in the tree for these builds.
    pub sources: Vec<PathBuf>,
    #[serde(rename = "build")]
    pub builds: Vec<InTreeBuild>,
}

/// One of these builds.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InTreeBuild {
    pub name: String,
    /// Options as `NAME=value`, on top of those of the guest's kernel; the last one is the
    /// module's.
    pub config: Vec<String>,
    /// The target for make, if not the usual one.
    pub target: Option<String>,
}

/// C code that the kernel's ynl tool generates.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Netlink {
    pub folder: PathBuf,
    /// A path in that folder, like the files.
    pub specification: PathBuf,
    #[serde(rename = "file")]
    pub files: Vec<Generated>,
}

/// A file that ynl writes.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Generated {
    pub path: PathBuf,
    /// ynl's `--mode`.
    pub mode: String,
    /// Whether it is a header.
    pub header: bool,
}

/// The measurements of `bench`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bench {
    pub script: PathBuf,
    /// The module that it loads.
    pub module: String,
    /// The file that says which figures are compared with which others, and the targets.
    pub targets: Option<PathBuf>,
}

/// Measurements with a kernel of their own, each part in a guest of its own.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Study {
    /// Kernel options on top of those of the project.
    #[serde(default)]
    pub config: Vec<PathBuf>,
    /// The package with the guest's program, and the program's name.
    pub program: String,
    pub name: String,
    /// The package whose program writes documents from the results. The program gets the path of
    /// the results and the root of the project.
    pub report: Option<String>,
}

/// The patch series.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Series {
    /// The folder with a folder for each series.
    #[serde(default = "default_series")]
    pub folder: PathBuf,
    /// Patterns of paths that do not go to a kernel tree, even if `[upstream]` has a place for
    /// them.
    #[serde(default)]
    pub without: Vec<String>,
    /// The target for make in the tree after each patch; if missing, that of `[in_tree]`.
    pub target: Option<String>,
    /// Options that switch the code on: NAME=value.
    #[serde(default)]
    pub config: Vec<String>,
}

impl Default for Series {
    fn default() -> Series {
        Series { folder: default_series(), without: Vec::new(), target: None, config: Vec::new() }
    }
}

fn default_series() -> PathBuf {
    PathBuf::from("patches")
}

impl Project {
    /// The description that stands for a missing `lab.toml`.
    pub fn none() -> Project {
        Project {
            name: String::new(),
            pins: None,
            config: Vec::new(),
            modules: Modules::default(),
            selftests: Selftests::default(),
            lint: Lint::default(),
            compile_fail: None,
            examples: None,
            mutants: None,
            in_tree: None,
            netlink: None,
            bench: None,
            study: None,
            upstream: BTreeMap::new(),
            series: Series::default(),
        }
    }

    /// Reads `lab.toml` of the project at `root`.
    pub fn load(root: &Path) -> Result<Project> {
        let path = root.join(FILE);
        let text =
            std::fs::read_to_string(&path).map_err(|e| anyhow!("read {}: {e}", path.display()))?;
        parse(&text, root).map_err(|(line, why)| match line {
            Some(line) => anyhow!("{}:{line}: {why}", path.display()),
            None => anyhow!("{}: {why}", path.display()),
        })
    }

    /// The places of the project's files and folders in a kernel tree, for the series.
    pub fn places(&self) -> Places {
        // `a/.` and `a//` are `a`.
        let text = |path: &Path| path.components().collect::<PathBuf>().display().to_string();
        self.upstream.iter().map(|(here, there)| (text(here), text(there))).collect()
    }

    /// All paths that must exist.
    fn paths(&self) -> Vec<&Path> {
        let mut paths: Vec<&Path> = Vec::new();
        paths.extend(self.pins.as_deref());
        paths.extend(self.config.iter().map(PathBuf::as_path));
        paths.extend(self.modules.kbuild.as_deref());
        paths.extend(self.selftests.folders.iter().map(PathBuf::as_path));
        paths.extend(self.lint.rust.iter().map(PathBuf::as_path));
        paths.extend(self.compile_fail.iter().map(|it| it.folder.as_path()));
        paths.extend(self.examples.iter().map(|it| it.folder.as_path()));
        if let Some(mutants) = &self.mutants {
            paths.push(&mutants.folder);
            paths.extend(mutants.sources.iter().map(PathBuf::as_path));
        }
        if let Some(in_tree) = &self.in_tree {
            paths.push(&in_tree.wiring);
            paths.extend(in_tree.sources.iter().map(PathBuf::as_path));
        }
        paths.extend(self.netlink.iter().map(|it| it.folder.as_path()));
        if let Some(bench) = &self.bench {
            paths.push(&bench.script);
            paths.extend(bench.targets.as_deref());
        }
        if let Some(study) = &self.study {
            paths.extend(study.config.iter().map(PathBuf::as_path));
        }
        paths
    }

    /// Wrong values, each with the reason.
    fn fault(&self, root: &Path) -> Option<(String, String)> {
        let name = &self.name;
        if name.is_empty() || name.starts_with('.') || name.contains(['/', '\0']) {
            return Some((name.clone(), format!("`{name}` is not a folder name")));
        }
        if let Some(name) = self.modules.load.iter().find(|name| !name.ends_with(".ko")) {
            return Some((
                name.clone(),
                format!("`{name}` is not the file name of a module (NAME.ko)"),
            ));
        }
        let outside = |path: &Path| path.is_absolute() || path.starts_with("..");
        if let Some(path) = self.upstream.values().find(|path| outside(path)) {
            let shown = path.display().to_string();
            return Some((shown.clone(), format!("{shown} is not a folder of a kernel tree")));
        }
        self.paths().into_iter().find_map(|path| {
            let shown = path.display().to_string();
            if outside(path) {
                Some((shown.clone(), format!("{shown} is not inside the project")))
            } else if !root.join(path).exists() {
                Some((shown.clone(), format!("there is no {shown}")))
            } else {
                None
            }
        })
    }
}

/// Parses the text. The error has the wrong line and the reason.
fn parse(text: &str, root: &Path) -> Result<Project, (Option<usize>, String)> {
    let line = |at: usize| text[..at].matches('\n').count() + 1;
    let project: Project = toml::from_str(text).map_err(|error| {
        (error.span().map(|span| line(span.start)), error.message().replace('\n', ", "))
    })?;
    match project.fault(root) {
        None => Ok(project),
        Some((value, why)) => Err((text.find(&format!("\"{value}\"")).map(line), why)),
    }
}

/// The root of the project that a folder is in.
pub fn root_of(folder: &Path) -> Result<PathBuf> {
    match folder.ancestors().find(|dir| dir.join(FILE).is_file()) {
        Some(root) => Ok(root.to_owned()),
        None => bail!(
            "{} is not in a project of the lab: there is no {FILE}. `lab new DIR` makes a \
             project; `lab try PATH` needs none",
            folder.display()
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn project(text: &str) -> Result<Project> {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(FILE), text).unwrap();
        Project::load(dir.path()).map_err(|error| {
            anyhow!("{}", error.to_string().replace(&format!("{}/", dir.path().display()), ""))
        })
    }

    #[test]
    fn a_name_is_enough() {
        let project = project("name = \"demo\"\n").unwrap();
        assert_eq!(project.name, "demo");
        assert!(project.modules.load.is_empty() && !project.selftests.net);
    }

    #[test]
    fn a_mistake_is_named_with_file_and_line() {
        let cases = [
            ("name = \"a\"\nmodule = []\n", "lab.toml:2: unknown field `module`"),
            ("name = \"a\"\n\n[modules]\nload = \"x.ko\"\n", "lab.toml:4: invalid type"),
            ("config = []\n", "lab.toml:1: missing field `name`"),
            ("name = \"a\n", "lab.toml:1: "),
            ("name = \"a\"\n[selftests]\nfolders = [\"t\"]\n", "lab.toml:3: there is no t"),
            ("name = \"a\"\nconfig = [\"../c\"]\n", "lab.toml:2: ../c is not inside"),
            ("name = \"a/b\"\n", "lab.toml:1: `a/b` is not a folder name"),
            ("name = \"a\"\n[upstream]\nx = \"/net\"\n", "lab.toml:3: /net is not a folder"),
            ("name = \"a\"\n[modules]\nload = [\n\"x\"]\n", "lab.toml:4: `x` is not the file name"),
        ];
        for (text, want) in cases {
            let error = project(text).unwrap_err().to_string();
            assert!(error.starts_with(want) && !error.contains('\n'), "{text}: {error}");
        }
    }

    #[test]
    fn a_folder_has_one_place_however_it_is_written() {
        let project = project("name = \"a\"\n[upstream]\n\"rust/\" = \"net//a/\"\n").unwrap();
        let place = series::source::place(&project.places(), "rust/x.rs");
        assert_eq!(place.as_deref(), Some("net/a/x.rs"));
    }

    #[test]
    fn the_projects_own_file_is_right() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        Project::load(&root).unwrap();
    }

    #[test]
    fn a_project_is_found_from_any_folder_in_it() {
        let dir = tempfile::tempdir().unwrap();
        let deep = dir.path().join("rust/kernel/net");
        fs::create_dir_all(&deep).unwrap();
        fs::write(dir.path().join(FILE), "name = \"a\"\n").unwrap();
        assert_eq!(root_of(&deep).unwrap(), dir.path());
    }

    #[test]
    fn outside_of_a_project_both_ways_out_are_named() {
        let error = root_of(Path::new("/proc")).unwrap_err().to_string();
        assert!(error.starts_with("/proc is not in a project"), "{error}");
        assert!(error.contains("lab new") && error.contains("lab try"), "{error}");
    }
}
