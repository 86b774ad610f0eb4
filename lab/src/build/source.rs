// SPDX-License-Identifier: GPL-2.0

//! The kernel's source: the pinned package of Debian, or the user's own tree.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use vmlab::run::files;
use vmlab::run::interrupt;
use vmlab::run::process;
use vmlab::run::progress::{Step, Unit, say};

use crate::context::Lab;
use crate::host::apt::{self, Archive, Gone};
use crate::host::disk;
use crate::host::pins::{self, TarballPin};
use crate::host::places;
use crate::host::toolchain::Toolchain;
use crate::host::version;

/// Parts of the tree that no build here reads: the largest driver, and device-tree bindings. They
/// take a quarter of the disk space.
const LEFT_OUT: [&str; 2] = ["*/drivers/gpu/drm/amd/*.[ch]", "*/Documentation/devicetree"];

/// Architectures that are kept completely: the guest's, and User Mode Linux. Of the others, a build
/// only reads Kconfig files.
const ARCHES: [&str; 2] = ["x86", "um"];

/// A kernel tree.
#[derive(Debug, Clone)]
pub struct Source {
    pub dir: PathBuf,
    /// Its version number, such as `7.3.4`.
    pub version: String,
    /// Whether it never changes. A user's own tree does.
    pub fixed: bool,
    /// The name of the tree in cache keys.
    pub id: String,
}

/// The name of the pinned source in the cache.
pub fn base_entry(lab: &Lab) -> String {
    package_entry(lab, &lab.base.kernel.version)
}

fn package_entry(lab: &Lab, version: &str) -> String {
    // The parts that are left out belong to the key, too.
    let kept = files::key(LEFT_OUT.iter().chain(&ARCHES).chain(&["Kconfig"]));
    format!("source/{}_{version}-{}", lab.base.kernel.package, &kept[..4])
}

/// The tree to build: `KSRC`, else the pinned one.
pub fn find(lab: &Lab) -> Result<Source> {
    match &lab.settings.ksrc {
        Some(path) => user(lab, path),
        None => base(lab),
    }
}

/// Checks `KSRC`, as far as possible without tools and without unpacking a tarball.
pub fn check(lab: &Lab) -> Result<()> {
    match &lab.settings.ksrc {
        Some(path) if path.is_dir() => user(lab, path).map(drop),
        Some(path) => tarball(path).map(drop),
        None => Ok(()),
    }
}

/// The pinned source, from wherever it is available; else the newest version in the suite's
/// package.
fn base(lab: &Lab) -> Result<Source> {
    let pin = &lab.base.kernel;
    let gone = match package(lab, None, &pin.version) {
        Err(error) if error.is::<Gone>() => error,
        other => return other,
    };
    for uri in other_archives(lab)? {
        say(&format!("{} {} is looked for in {uri}", pin.package, pin.version));
        match package(lab, Some(&uri), &pin.version) {
            Err(error) => say(&format!("note: {error:#}")),
            found => return found,
        }
    }
    for tarball in &pin.tarballs {
        match pinned_tarball(lab, tarball) {
            Err(error) => say(&format!("note: {error:#}")),
            found => return found,
        }
    }
    interrupt::check()?;
    let versions = Archive::open(lab, &pin.suite)?.versions(&pin.package)?;
    let Some(newest) = versions.first() else { return Err(gone) };
    say(&format!("warning: {gone}"));
    say(&format!("warning: building {newest}, another version than this project was tested with"));
    package(lab, None, newest)
}

/// Other Debian archives that this machine's apt knows, and those of the pin.
fn other_archives(lab: &Lab) -> Result<Vec<String>> {
    let mirrors = apt::mirrors()?.into_iter().skip(1);
    Ok(mirrors.chain(lab.base.kernel.archives.iter().cloned()).collect())
}

/// The source package of this version, from the machine's mirror or another archive.
fn package(lab: &Lab, uri: Option<&str>, wanted: &str) -> Result<Source> {
    let pin = &lab.base.kernel;
    let id = package_entry(lab, wanted);
    let dir = lab.cache.entry(&id, |dir| {
        // Checked now, so that the disk is not full when half of the tree is unpacked.
        disk::check(lab.cache.dir(), disk::FIRST_BUILD)?;
        let archive = match uri {
            None => Archive::open(lab, &pin.suite)?,
            Some(uri) => Archive::open_at(lab, &pin.suite, uri)?,
        };
        let deb = archive.fetch(&pin.package, wanted)?;
        let step = Step::start("unpacking the kernel source", Unit::None, 0);
        unpack_package(deb.path(), &pin.package, dir)?;
        step.finish();
        Ok(())
    })?;
    let version = tree_version(&dir)?;
    if version != pins::number(wanted) {
        bail!("{} holds Linux {version}, not {}", dir.display(), pins::number(wanted));
    }
    Ok(Source { version, fixed: true, id, dir })
}

/// The pinned version without Debian's changes.
fn pinned_tarball(lab: &Lab, pin: &TarballPin) -> Result<Source> {
    let id = format!("source/tarball-{}", pin.sha256);
    let dir = lab.cache.entry(&id, |dir| {
        let scratch = lab.cache.scratch()?;
        let file = scratch.path().join("linux.tar");
        apt::download(lab, &pin.uri, &file, &pin.sha256)?;
        let mut tar = untar(dir, None);
        tar.arg("-f").arg(&file);
        process::read(&mut tar).with_context(|| format!("unpack {}", pin.uri))?;
        drop_arches(dir)
    })?;
    let version = tree_version(&dir)?;
    if version != lab.base.kernel_number() {
        bail!("{} holds Linux {version}, not {}", pin.uri, lab.base.kernel_number());
    }
    Ok(Source { version, fixed: true, id, dir })
}

/// Unpacks the tree from the package in one pipe, so that neither the archive in the package nor
/// the package's own tree is written to disk.
fn unpack_package(deb: &Path, package: &str, dir: &Path) -> Result<()> {
    let inner = format!("./usr/src/{package}.tar.xz");
    let mut fsys = Command::new("dpkg-deb");
    fsys.arg("--fsys-tarfile").arg(deb);
    let mut pick = Command::new("tar");
    pick.args(["-xO", &inner]);
    process::pipe(vec![fsys, pick, untar(dir, Some("--xz"))])?;
    drop_arches(dir)
}

fn untar(dir: &Path, compression: Option<&str>) -> Command {
    let mut tar = Command::new("tar");
    tar.arg("-x").args(compression).args(["--strip-components=1", "-C"]).arg(dir);
    tar.args(LEFT_OUT.map(|pattern| format!("--exclude={pattern}")));
    tar
}

fn drop_arches(dir: &Path) -> Result<()> {
    let arch = dir.join("arch");
    let entries = fs::read_dir(&arch).with_context(|| format!("read {}", arch.display()))?;
    for entry in entries.flatten() {
        let name = entry.file_name();
        let kept = ARCHES.iter().any(|keep| name == *keep);
        if entry.path().is_dir() && !kept {
            keep_kconfig(&entry.path())?;
        }
    }
    Ok(())
}

fn keep_kconfig(dir: &Path) -> Result<()> {
    let entries = fs::read_dir(dir).with_context(|| format!("read {}", dir.display()))?;
    for entry in entries.flatten() {
        let path = entry.path();
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            keep_kconfig(&path)?;
        } else if !entry.file_name().to_string_lossy().starts_with("Kconfig") {
            fs::remove_file(&path).with_context(|| format!("remove {}", path.display()))?;
        }
    }
    Ok(())
}

fn user(lab: &Lab, path: &Path) -> Result<Source> {
    let shown = path.display();
    let path = path.canonicalize().with_context(|| format!("KSRC={shown}"))?;
    if path.is_dir() {
        places::buildable(&path).with_context(|| format!("KSRC={shown}"))?;
        let version = check_tree(&path, lab).with_context(|| format!("KSRC={shown}"))?;
        let id = path.display().to_string();
        return Ok(Source { dir: path, version, fixed: false, id });
    }
    let name = tarball(&path)?;
    let content = file_hash(&path)?;
    let entry = format!("source/tarball-{content}");
    let dir = lab.cache.entry(&entry, |dir| {
        let step = Step::start(&format!("unpacking {name}"), Unit::None, 0);
        let mut tar = Command::new("tar");
        tar.arg("-x").args(["--strip-components=1", "-C"]).arg(dir).arg("-f").arg(&path);
        process::read(&mut tar).with_context(|| format!("KSRC={shown}"))?;
        check_tree(dir, lab).with_context(|| format!("KSRC={shown}"))?;
        step.finish();
        Ok(())
    })?;
    Ok(Source { version: tree_version(&dir)?, fixed: true, id: entry, dir })
}

/// The name of the user's tarball.
fn tarball(path: &Path) -> Result<String> {
    let shown = path.display();
    path.metadata().with_context(|| format!("KSRC={shown}"))?;
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    if !name.contains(".tar") && !name.ends_with(".tgz") {
        bail!("KSRC={shown}: neither a directory nor a tarball");
    }
    Ok(name)
}

fn file_hash(path: &Path) -> Result<String> {
    use sha2::{Digest, Sha256};
    let mut file = fs::File::open(path).with_context(|| format!("open {}", path.display()))?;
    let mut hash = Sha256::new();
    std::io::copy(&mut file, &mut hash).with_context(|| format!("read {}", path.display()))?;
    Ok(hash.finalize()[..8].iter().map(|byte| format!("{byte:02x}")).collect())
}

/// The files by which kbuild recognises a tree that was built in place (`outputmakefile` in its
/// Makefile).
const BUILT_IN_PLACE: [&str; 4] =
    [".config", "include/config", "arch/x86/include/generated", "arch/um/include/generated"];

/// Files that a tree must have, each with the message if it is missing.
fn check_tree(dir: &Path, lab: &Lab) -> Result<String> {
    let version = tree_version(dir)?;
    let pinned = lab.base.kernel_number();
    let needed: Vec<&str> = pinned.split('.').take(2).collect();
    let needed = needed.join(".");
    if !dir.join("rust/kernel/lib.rs").is_file() {
        bail!(
            "Linux {version} without Rust support (no rust/kernel/): use Linux {needed} or later"
        );
    }
    if !version::at_least(&version, &needed) {
        bail!(
            "Linux {version} is too old: the module builds on the Rust abstractions of Linux \
             {needed} and later"
        );
    }
    if BUILT_IN_PLACE.iter().any(|name| dir.join(name).exists()) {
        bail!(
            "the tree was built in place, so kbuild refuses to build it in another folder: run \
             `make mrproper` there, or give it as KBUILD instead"
        );
    }
    Ok(version)
}

/// Checks that the tools are new enough for this tree, by the tree's own list.
pub fn check_tools(source: &Source, tools: &Toolchain) -> Result<()> {
    let script = source.dir.join("scripts/min-tool-version.sh");
    for (tool, said) in [("rustc", &tools.versions.rustc), ("bindgen", &tools.versions.bindgen)] {
        let mut command = tools.machine.command("sh");
        let min = process::read(command.arg(&script).arg(tool))?;
        let have = version::find(said).unwrap_or_default();
        if !version::at_least(&have, &min) {
            bail!("Linux {} needs {tool} {min} or later; this is {have}", source.version);
        }
    }
    Ok(())
}

/// The version in the top Makefile.
fn tree_version(dir: &Path) -> Result<String> {
    let path = dir.join("Makefile");
    let text = fs::read_to_string(&path).unwrap_or_default();
    parse_version(&text).with_context(|| format!("{} is no kernel tree", dir.display()))
}

fn parse_version(makefile: &str) -> Option<String> {
    let value = |name: &str| {
        let line = makefile.lines().find(|line| line.split(" =").next() == Some(name))?;
        Some(line.split('=').nth(1)?.trim().to_owned())
    };
    let (version, patch) = (value("VERSION")?, value("PATCHLEVEL")?);
    let sub = value("SUBLEVEL").filter(|sub| !sub.is_empty() && sub != "0");
    Some(match sub {
        Some(sub) => format!("{version}.{patch}.{sub}"),
        None => format!("{version}.{patch}"),
    })
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::context::Settings;
    use crate::host::pins::Pins;
    use crate::project::Project;

    pub(crate) fn lab(dir: &Path) -> Lab {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        Lab {
            target: dir.join("target"),
            cache: crate::build::cache::Cache::at(dir.join("cache")),
            base: Pins::own().unwrap(),
            project: Project::none(),
            root,
            settings: Settings { jobs: 1, ..Settings::default() },
        }
    }

    fn tree(dir: &Path, version: (u32, u32, u32), rust: bool) {
        let (a, b, c) = version;
        fs::create_dir_all(dir.join("rust/kernel")).unwrap();
        let makefile = format!("VERSION = {a}\nPATCHLEVEL = {b}\nSUBLEVEL = {c}\n");
        fs::write(dir.join("Makefile"), makefile).unwrap();
        if rust {
            fs::write(dir.join("rust/kernel/lib.rs"), "").unwrap();
        }
    }

    #[test]
    fn the_version_is_read_from_the_makefile() {
        let text = "# SPDX\nVERSION = 7\nPATCHLEVEL = 3\nSUBLEVEL = 4\nEXTRAVERSION =\n";
        assert_eq!(parse_version(text).as_deref(), Some("7.3.4"));
        assert_eq!(
            parse_version("VERSION = 8\nPATCHLEVEL = 0\nSUBLEVEL = 0\n").as_deref(),
            Some("8.0")
        );
        assert_eq!(parse_version("all:\n"), None);
    }

    #[test]
    fn a_tree_that_cannot_work_says_why_in_one_line() {
        type Spoil = fn(&Path);
        let cases: [(Spoil, &str); 6] = [
            (|_| (), "is no kernel tree"),
            (|dir| tree(dir, (7, 3, 0), false), "without Rust support"),
            (|dir| tree(dir, (6, 12, 3), true), "Linux 6.12.3 is too old"),
            (
                |dir| {
                    tree(dir, (7, 3, 0), true);
                    fs::write(dir.join(".config"), "").unwrap();
                },
                "run `make mrproper`",
            ),
            (
                |dir| {
                    tree(dir, (7, 4, 0), true);
                    fs::create_dir_all(dir.join("include/config")).unwrap();
                },
                "or give it as KBUILD",
            ),
            (
                |dir| {
                    tree(dir, (7, 4, 0), true);
                    fs::create_dir_all(dir.join("arch/x86/include/generated")).unwrap();
                },
                "run `make mrproper`",
            ),
        ];
        for (spoil, want) in cases {
            let dir = tempfile::tempdir().unwrap();
            let ksrc = dir.path().join("linux");
            fs::create_dir(&ksrc).unwrap();
            spoil(&ksrc);
            let error = format!("{:#}", user(&lab(dir.path()), &ksrc).unwrap_err());
            assert!(error.contains(want), "{error}");
            assert!(error.starts_with("KSRC=") && !error.contains('\n'), "{error}");
        }
    }

    #[test]
    fn one_tree_has_one_name_whatever_path_leads_to_it() {
        let dir = tempfile::tempdir().unwrap();
        let ksrc = dir.path().join("linux");
        tree(&ksrc, (7, 4, 0), true);
        let link = dir.path().join("link to it");
        std::os::unix::fs::symlink(&ksrc, &link).unwrap();
        let lab = lab(dir.path());
        let (by_path, by_link) = (user(&lab, &ksrc).unwrap(), user(&lab, &link).unwrap());
        assert_eq!((by_path.id, by_path.dir), (by_link.id, by_link.dir));
    }

    #[test]
    fn a_tree_where_linux_cannot_be_built_is_refused_by_its_path() {
        let dir = tempfile::tempdir().unwrap();
        let ksrc = dir.path().join("my linux");
        tree(&ksrc, (7, 4, 0), true);
        let error = format!("{:#}", user(&lab(dir.path()), &ksrc).unwrap_err());
        assert!(error.starts_with("KSRC=") && error.contains("' ' in its path"), "{error}");
    }

    #[test]
    fn a_newer_tree_is_taken_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let ksrc = dir.path().join("linux");
        tree(&ksrc, (7, 4, 0), true);
        let source = user(&lab(dir.path()), &ksrc).unwrap();
        assert_eq!(source.version, "7.4");
        assert!(!source.fixed);
    }

    #[test]
    fn a_tarball_of_the_pinned_version_is_taken_only_with_its_sum() {
        use sha2::{Digest, Sha256};
        let dir = tempfile::tempdir().unwrap();
        let mut lab = lab(dir.path());
        lab.base.kernel.version = "7.3.1-1".into();
        let folder = dir.path().join("linux-7.3.1");
        tree(&folder, (7, 3, 1), true);
        fs::create_dir_all(folder.join("arch/x86")).unwrap();
        let file = dir.path().join("linux.tar");
        let mut tar = Command::new("tar");
        tar.arg("-cf").arg(&file).arg("-C").arg(dir.path()).arg("linux-7.3.1");
        process::read(&mut tar).unwrap();
        let sum = Sha256::digest(fs::read(&file).unwrap());
        let sha256: String = sum.iter().map(|byte| format!("{byte:02x}")).collect();
        let uri = format!("copy://{}", file.display());

        let wrong = TarballPin { uri: uri.clone(), sha256: sha256.replace(&sha256[..4], "0000") };
        let error = format!("{:#}", pinned_tarball(&lab, &wrong).unwrap_err());
        assert!(error.contains("Hash Sum mismatch"), "{error}");
        let source = pinned_tarball(&lab, &TarballPin { uri, sha256 }).unwrap();
        assert_eq!((source.version.as_str(), source.fixed), ("7.3.1", true));
    }

    #[test]
    fn a_tarball_is_unpacked_once_and_a_broken_one_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        tree(&dir.path().join("linux-7.3.1"), (7, 3, 1), true);
        let tarball = dir.path().join("linux-7.3.1.tar");
        let mut tar = Command::new("tar");
        tar.arg("-cf").arg(&tarball).arg("-C").arg(dir.path()).arg("linux-7.3.1");
        process::read(&mut tar).unwrap();
        let lab = lab(dir.path());
        let source = user(&lab, &tarball).unwrap();
        assert_eq!(source.version, "7.3.1");
        assert!(source.fixed && source.dir.starts_with(lab.cache.dir()));

        let broken = dir.path().join("linux-bad.tar");
        fs::write(&broken, "no archive").unwrap();
        let error = format!("{:#}", user(&lab, &broken).unwrap_err());
        assert!(error.starts_with("KSRC="), "{error}");
        assert_eq!(fs::read_dir(lab.cache.path("source")).unwrap().count(), 1);
        assert_eq!(fs::read_dir(lab.cache.path("tmp")).unwrap().count(), 0);
    }
}
