// SPDX-License-Identifier: GPL-2.0

//! `lab new`: makes a project whose tests pass at once.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::{Context, Result, bail};
use vmlab::run::files;
use vmlab::run::progress::say;

use crate::commands::new_series;

/// The placeholder for the project's name.
const NAME: &str = "@name@";

/// The placeholder for the name of its Kconfig option.
const OPTION: &str = "@NAME@";

/// The longest module name that the kernel accepts.
const LONGEST: usize = 55;

macro_rules! template {
    ($file:literal) => {
        include_str!(concat!("../../templates/", $file))
    };
}

/// The path and content of each file.
const FILES: [(&str, &str); 13] = [
    (".gitignore", template!("gitignore")),
    ("Kbuild", template!("Kbuild")),
    ("Makefile", template!("Makefile")),
    ("README.md", template!("README.md")),
    ("lab.toml", template!("project.toml")),
    ("rust/@name@_main.rs", template!("main.rs")),
    ("rust/pernet.rs", template!("pernet.rs")),
    ("selftests/Makefile", template!("selftests.mk")),
    ("selftests/config", template!("config")),
    ("selftests/counter.sh", template!("counter.sh")),
    ("selftests/expected-skips", template!("expected-skips")),
    ("selftests/namespaces.c", template!("namespaces.c")),
    ("selftests/settings", "timeout=45\n"),
];

/// Makes the project in `dir`, whose last part is its name.
pub(super) fn run(dir: &Path) -> Result<u8> {
    let name = name(dir)?;
    if fs::read_dir(dir).is_ok_and(|mut entries| entries.next().is_some()) || dir.is_file() {
        bail!("{} exists already: name a folder that does not", dir.display());
    }
    for (path, text) in FILES {
        let path = dir.join(path.replace(NAME, &name));
        let text = text.replace(NAME, &name).replace(OPTION, &name.to_uppercase());
        files::write_whole(&path, &text)?;
        let mode = if text.starts_with("#!") { 0o755 } else { 0o644 };
        fs::set_permissions(&path, fs::Permissions::from_mode(mode))
            .with_context(|| format!("set the mode of {}", path.display()))?;
    }
    if let Err(error) = new_series::make(dir, &name).context("make the patch series") {
        files::remove_dir(dir)?;
        return Err(error);
    }
    say(&format!("made {}; to see it work: cd {} && lab test", dir.display(), dir.display()));
    Ok(0)
}

/// The module's name: the folder's name, if the kernel and Rust accept it.
fn name(dir: &Path) -> Result<String> {
    let name = dir.file_name().with_context(|| format!("{} has no name", dir.display()))?;
    let name = name.to_string_lossy().replace('-', "_");
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    let starts = name.starts_with(|c: char| c.is_ascii_lowercase());
    if !starts || !name.chars().all(plain) || name.len() > LONGEST {
        bail!(
            "`{name}` cannot be a module's name: use at most {LONGEST} lower-case letters, digits, \
             `_` and `-`, and a letter first"
        );
    }
    Ok(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::expected_skips;
    use crate::project::Project;

    #[test]
    fn a_new_project_is_whole_and_says_nothing_of_the_template() {
        let dir = tempfile::tempdir().unwrap();
        let project = dir.path().join("my-module");
        run(&project).unwrap();
        assert_eq!(Project::load(&project).unwrap().name, "my_module");
        for file in crate::checks::house_rules::files(&project).unwrap() {
            let text = fs::read_to_string(&file).unwrap();
            assert!(!text.contains(NAME), "{}", file.display());
        }
        assert!(project.join("rust/my_module_main.rs").is_file());
        let mails = project.join("patches/1-my_module/v1");
        assert_eq!(fs::read_dir(mails).unwrap().count(), 3);
        assert!(!project.join("rust/Kconfig").exists(), "it is in the tree alone");
        let skips = expected_skips::load(&project.join("selftests")).unwrap();
        assert!(skips.is_some(), "no skip is allowed from the beginning");
        let script = project.join("selftests/counter.sh").metadata().unwrap();
        assert_eq!(script.permissions().mode() & 0o777, 0o755);
    }

    #[test]
    fn nothing_is_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let project = dir.path().join("mine");
        fs::create_dir(&project).unwrap();
        fs::write(project.join("notes"), "x").unwrap();
        let error = run(&project).unwrap_err().to_string();
        assert!(error.contains("exists already"), "{error}");
        assert_eq!(fs::read_dir(&project).unwrap().count(), 1);
    }

    #[test]
    fn a_name_that_no_module_can_have_is_refused() {
        for name in ["9lives", "Über", "a b", ".."] {
            assert!(super::name(&Path::new("/x").join(name)).is_err(), "{name}");
        }
        assert_eq!(super::name(Path::new("/x/net-thing2")).unwrap(), "net_thing2");
    }
}
