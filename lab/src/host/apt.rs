// SPDX-License-Identifier: GPL-2.0

//! Packages of Debian's archive, fetched without touching the system.
//!
//! A private configuration (sources, lists, cache) reads one suite from the mirror that the machine
//! itself uses, and checks signatures against the archive's keyring. From apt's own files in `/etc`
//! it takes only how to reach the network (`Acquire::` settings, such as proxies).

use std::fmt::{self, Write as _};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use tempfile::TempDir;
use vmlab::run::files;
use vmlab::run::interrupt;
use vmlab::run::process;
use vmlab::run::progress::{Step, Unit};

use crate::context::Lab;

/// Where Debian keeps the archive's keys; the suffix depends on the release.
const KEYRINGS: [&str; 2] = [
    "/usr/share/keyrings/debian-archive-keyring.gpg",
    "/usr/share/keyrings/debian-archive-keyring.pgp",
];

/// Lists younger than this are not fetched again.
const FRESH: Duration = Duration::from_secs(3600);

/// One suite of the archive.
#[derive(Debug)]
pub struct Archive<'a> {
    lab: &'a Lab,
    suite: String,
    dir: PathBuf,
    /// Another archive than the machine's mirror.
    uri: Option<String>,
}

/// The error if an archive does not have the requested version, or does not have it any more.
#[derive(Debug)]
pub struct Gone(String);

impl fmt::Display for Gone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Gone {}

/// A fetched package; removed on drop.
#[derive(Debug)]
pub struct Deb {
    _dir: TempDir,
    path: PathBuf,
}

impl Deb {
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl<'a> Archive<'a> {
    /// Reads the lists of `suite`, unless they were read within the hour.
    pub fn open(lab: &'a Lab, suite: &str) -> Result<Archive<'a>> {
        Archive { lab, suite: suite.to_owned(), dir: PathBuf::new(), uri: None }.read(suite, false)
    }

    /// The same suite in another archive, which may be the snapshot of a date.
    pub fn open_at(lab: &'a Lab, suite: &str, uri: &str) -> Result<Archive<'a>> {
        let name = format!("{suite}-{}", files::key([uri]));
        let uri = Some(uri.to_owned());
        Archive { lab, suite: suite.to_owned(), dir: PathBuf::new(), uri }.read(&name, false)
    }

    /// Checks that the mirror answers, by reading the lists again.
    pub fn reach(lab: &Lab, suite: &str) -> Result<String> {
        Archive { lab, suite: suite.to_owned(), dir: PathBuf::new(), uri: None }
            .read(suite, true)?
            .configure()
    }

    fn read(mut self, name: &str, again: bool) -> Result<Archive<'a>> {
        let entry = format!("apt/{name}");
        self.dir = self.lab.cache.path(&entry);
        let _lock = self.lab.cache.lock(&entry)?;
        self.configure()?;
        if again || !self.fresh() {
            self.update()?;
        }
        Ok(self)
    }

    fn stamp(&self) -> PathBuf {
        self.dir.join("updated")
    }

    fn fresh(&self) -> bool {
        let modified = fs::metadata(self.stamp()).and_then(|meta| meta.modified());
        modified.ok().and_then(|time| time.elapsed().ok()).is_some_and(|age| age < FRESH)
    }

    fn configure(&self) -> Result<String> {
        let uri = match &self.uri {
            Some(uri) => uri.clone(),
            None => mirror()?,
        };
        let keyring = KEYRINGS.iter().find(|path| Path::new(path).exists());
        let keyring = keyring
            .context("Debian's archive keys are missing: apt-get install debian-archive-keyring")?;
        for sub in ["lists/partial", "cache/archives/partial"] {
            files::make_dir(&self.dir.join(sub))?;
        }
        let settings = process::read(Command::new("apt-config").arg("dump"))?;
        let dir = &self.dir;
        write_if_changed(&dir.join("sources.list"), &self.source_line(&uri, keyring))?;
        write_if_changed(&dir.join("apt.conf"), &config_text(dir, &settings))?;
        write_if_changed(&dir.join("status"), "")?;
        Ok(uri)
    }

    fn source_line(&self, uri: &str, keyring: &str) -> String {
        // The lists of a snapshot have expired, but their signatures are still checked.
        let past = if self.uri.is_some() { " check-valid-until=no" } else { "" };
        format!("deb [signed-by={keyring}{past}] {uri} {} main\n", self.suite)
    }

    fn apt(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.env("APT_CONFIG", self.dir.join("apt.conf")).env("LC_ALL", "C");
        command
    }

    fn update(&self) -> Result<()> {
        let mut update = self.apt("apt-get");
        // Otherwise apt only warns of an unreachable mirror.
        update.args(["-q", "-o", "APT::Update::Error-Mode=any", "update"]);
        let log = self.lab.log(&format!("apt-update-{}", self.suite));
        process::logged_gently(update, &log).map_err(|error| explain(error, &self.suite))?;
        fs::write(self.stamp(), "").with_context(|| format!("write {}", self.stamp().display()))
    }

    /// The versions of `package` in the suite, newest first.
    pub fn versions(&self, package: &str) -> Result<Vec<String>> {
        let table = process::read(self.apt("apt-cache").args(["madison", package]))?;
        Ok(parse_madison(&table))
    }

    fn size(&self, package: &str, version: &str) -> u64 {
        let wanted = format!("{package}={version}");
        let shown = process::read(self.apt("apt-cache").args(["show", &wanted]));
        let size = |text: &str| text.lines().find_map(|l| l.strip_prefix("Size: ")?.parse().ok());
        // Only for the progress line.
        shown.ok().and_then(|text| size(&text)).unwrap_or(0)
    }

    /// Fetches a package of exactly this version. apt checks its signatures.
    pub fn fetch(&self, package: &str, version: &str) -> Result<Deb> {
        let versions = self.versions(package)?;
        if !versions.iter().any(|have| have == version) {
            return Err(Gone(gone(package, version, &self.suite, &versions)).into());
        }
        let dir = self.lab.cache.scratch()?;
        let mut command = self.apt("apt-get");
        command.args(["-q", "download", &format!("{package}={version}")]).current_dir(dir.path());
        let total = self.size(package, version);
        let mut step = Step::start(&format!("fetching {package} {version}"), Unit::Bytes, total);
        process::announce(&command);
        let log = dir.path().join("apt.log");
        let out = fs::File::create(&log).with_context(|| format!("create {}", log.display()))?;
        command.stdin(std::process::Stdio::null());
        command.stdout(out.try_clone().context("duplicate a file")?).stderr(out);
        let mut running = interrupt::spawn_gently(&mut command)?;
        let status = loop {
            if let Some(status) = running.try_wait()? {
                break status;
            }
            step.set(size_of(dir.path()));
            std::thread::sleep(Duration::from_millis(100));
        };
        if !status.success() {
            let said = fs::read_to_string(&log).unwrap_or_default();
            let error = anyhow::anyhow!("apt-get failed: {}", process::excerpt(&said));
            return Err(explain(error, &self.suite));
        }
        step.finish();
        let path = find_deb(dir.path())?;
        Ok(Deb { _dir: dir, path })
    }
}

fn size_of(dir: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(dir) else {
        return 0;
    };
    entries.flatten().filter_map(|entry| Some(entry.metadata().ok()?.len())).sum()
}

fn find_deb(dir: &Path) -> Result<PathBuf> {
    let entries = fs::read_dir(dir).with_context(|| format!("read {}", dir.display()))?;
    let mut paths = entries.flatten().map(|entry| entry.path());
    paths
        .find(|path| path.extension().is_some_and(|ext| ext == "deb"))
        .with_context(|| format!("apt-get download left no package in {}", dir.display()))
}

fn write_if_changed(path: &Path, text: &str) -> Result<()> {
    if fs::read_to_string(path).is_ok_and(|have| have == text) {
        return Ok(());
    }
    fs::write(path, text).with_context(|| format!("write {}", path.display()))
}

fn config_text(dir: &Path, machine: &str) -> String {
    let dir = dir.display();
    let mut text = format!(
        "Dir::Etc::sourcelist \"{dir}/sources.list\";\n\
         Dir::Etc::sourceparts \"/dev/null\";\n\
         Dir::Etc::parts \"/dev/null\";\n\
         Dir::Etc::main \"/dev/null\";\n\
         Dir::Etc::preferences \"/dev/null\";\n\
         Dir::Etc::preferencesparts \"/dev/null\";\n\
         Dir::State::lists \"{dir}/lists\";\n\
         Dir::State::status \"{dir}/status\";\n\
         Dir::Cache \"{dir}/cache\";\n\
         APT::Sandbox::User \"root\";\n\
         Acquire::Languages \"none\";\n\
         Acquire::Retries \"3\";\n"
    );
    for line in machine.lines().filter(|line| how_to_reach(line)) {
        let _ = writeln!(text, "{line}");
    }
    text
}

/// The machine's settings for reaching a mirror: proxies, time-outs, certificates, and the like of
/// `Acquire::…::Proxy-Auto-Detect`.
fn how_to_reach(line: &str) -> bool {
    let name = line.split(' ').next().unwrap_or_default();
    let scheme = ["Acquire::http::", "Acquire::https::", "Acquire::ForceIPv"];
    scheme.iter().any(|prefix| name.starts_with(prefix)) && line.ends_with(';')
}

/// The URI of the Debian archive in the machine's own sources.
fn mirror() -> Result<String> {
    mirrors()?.into_iter().next().context(
        "this machine's apt sources name no Debian archive: add one, or build with \
         KSRC=/your/kernel/tree and a toolchain that has rust-src",
    )
}

/// The URIs of all Debian archives in the machine's own sources, in their order.
pub fn mirrors() -> Result<Vec<String>> {
    let format = "$(LABEL)|$(REPO_URI)";
    let mut command = Command::new("apt-get");
    command.args(["indextargets", "--format", format, "Created-By: Packages"]).env("LC_ALL", "C");
    let targets = process::read(&mut command).context("ask apt for this machine's mirror")?;
    Ok(choose_mirrors(&targets))
}

/// Chooses the Debian archives: by their label, or by the last part of the URI, if the machine has
/// not read their lists yet. Security and third-party archives have other labels.
fn choose_mirrors(targets: &str) -> Vec<String> {
    let targets: Vec<(&str, &str)> =
        targets.lines().filter_map(|line| line.split_once('|')).collect();
    let labelled = targets.iter().filter(|(label, _)| *label == "Debian");
    let named = targets.iter().filter(|(label, uri)| {
        (label.is_empty() || label.starts_with('$'))
            && uri.trim_end_matches('/').ends_with("/debian")
    });
    let mut uris: Vec<String> = Vec::new();
    for (_, uri) in labelled.chain(named) {
        if !uris.iter().any(|have| have == uri) {
            uris.push((*uri).to_owned());
        }
    }
    uris
}

/// Downloads a file with apt's helper, which uses apt's proxies. The file is removed if its
/// checksum is wrong.
pub fn download(lab: &Lab, uri: &str, to: &Path, sha256: &str) -> Result<()> {
    let step = Step::start(&format!("fetching {uri}"), Unit::None, 0);
    let mut helper = Command::new("/usr/lib/apt/apt-helper");
    helper.args(["download-file", uri]).arg(to).arg(format!("SHA256:{sha256}"));
    helper.env("LC_ALL", "C");
    process::logged_gently(helper, &lab.log("download")).with_context(|| format!("fetch {uri}"))?;
    step.finish();
    Ok(())
}

fn parse_madison(table: &str) -> Vec<String> {
    table
        .lines()
        .filter(|line| line.contains("Packages"))
        .filter_map(|line| Some(line.split('|').nth(1)?.trim().to_owned()))
        .collect()
}

fn gone(package: &str, version: &str, suite: &str, have: &[String]) -> String {
    let have = if have.is_empty() { "nothing".to_owned() } else { have.join(", ") };
    format!(
        "{package} {version} is gone from {suite}, which has: {have}. Pin one of those in \
         lab/pins.toml, or build with KSRC=/your/kernel/tree"
    )
}

/// Turns apt's complaints into advice.
fn explain(error: anyhow::Error, suite: &str) -> anyhow::Error {
    let text = error.to_string();
    let has = |words: &[&str]| words.iter().any(|word| text.contains(word));
    if has(&["No space left on device"]) {
        return error;
    }
    if has(&["NO_PUBKEY", "not signed", "EXPKEYSIG", "BADSIG"]) {
        return error.context(format!(
            "the signature of {suite} does not check out with this machine's keys: \
             apt-get install --only-upgrade debian-archive-keyring"
        ));
    }
    let offline = [
        "Temporary failure resolving",
        "Could not resolve",
        "Could not connect",
        "Connection refused",
        "Connection timed out",
        "Network is unreachable",
        "Failed to fetch",
        "Unable to connect",
    ];
    if has(&offline) {
        return error.context(format!(
            "cannot reach the Debian mirror for {suite}: no network? Run again when online, \
             or build with KBUILD=/a/finished/build"
        ));
    }
    error.context(format!("read the packages of {suite}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIRROR: &str = "http://mirror.example/debian/";

    #[test]
    fn the_mirror_is_the_machines_own_debian_archive() {
        let security = "Debian-Security|http://mirror.example/debian-security/";
        let cases = [
            (format!("{security}\nDebian|{MIRROR}\n"), Some(MIRROR)),
            // A machine whose lists were never read has no labels yet.
            (format!("|http://mirror.example/debian-security/\n|{MIRROR}\n"), Some(MIRROR)),
            (format!("Other|http://other.example/debian/\nDebian|{MIRROR}\n"), Some(MIRROR)),
            ("Docker|http://docker.example/linux/debian/\n".to_owned(), None),
            (String::new(), None),
        ];
        for (targets, want) in cases {
            assert_eq!(choose_mirrors(&targets).first().map(String::as_str), want, "{targets}");
        }
    }

    #[test]
    fn nothing_of_the_system_is_used_but_how_to_reach_the_network() {
        let machine = "Acquire::http::Proxy \"http://p:1/\";\n\
                       APT::Update::Post-Invoke:: \"rm -f /var/cache/apt/*.bin\";\n\
                       Dir::State \"var/lib/apt\";\n\
                       Acquire::GzipIndexes \"true\";\n";
        let text = config_text(Path::new("/c"), machine);
        assert!(text.contains("Acquire::http::Proxy \"http://p:1/\";"));
        assert!(!text.contains("Post-Invoke"));
        assert!(text.contains("Dir::State::lists \"/c/lists\";"));
        assert!(!text.contains("var/lib/apt"));
    }

    #[test]
    fn the_source_is_checked_against_debians_keys() {
        let dir = tempfile::tempdir().unwrap();
        let lab = crate::build::source::tests::lab(dir.path());
        let line = |uri: Option<&str>| {
            let uri = uri.map(str::to_owned);
            let archive = Archive { lab: &lab, suite: "s".into(), dir: PathBuf::new(), uri };
            archive.source_line(MIRROR, "/k.gpg")
        };
        assert_eq!(line(None), format!("deb [signed-by=/k.gpg] {MIRROR} s main\n"));
        let past = format!("deb [signed-by=/k.gpg check-valid-until=no] {MIRROR} s main\n");
        assert_eq!(line(Some(MIRROR)), past);
    }

    #[test]
    fn versions_are_read_from_the_table() {
        let table = format!(
            " rust-src | 1.96.1+dfsg1-2 | {MIRROR} s/main amd64 Packages\n \
              rust-src | 1.95.0+dfsg1-2 | {MIRROR} s/main amd64 Packages\n \
              rust-src | 1.95.0+dfsg1-2 | {MIRROR} s/main Sources\n"
        );
        assert_eq!(parse_madison(&table), ["1.96.1+dfsg1-2", "1.95.0+dfsg1-2"]);
    }

    #[test]
    fn a_version_that_is_gone_names_what_there_is() {
        let text = gone("linux-source-7.3", "7.3.4-1", "s", &["7.3.9-1".to_owned()]);
        assert!(text.contains("7.3.4-1 is gone from s, which has: 7.3.9-1"));
        assert!(text.contains("lab/pins.toml"));
    }

    #[test]
    fn recorded_complaints_of_apt_are_explained() {
        let cases = [
            (
                "E: Failed to fetch http://x/InRelease  Temporary failure resolving 'x'",
                "cannot reach the Debian mirror",
            ),
            (
                "E: Failed to fetch http://x/InRelease  Could not connect to x:80 (1.2.3.4). - connect (111: Connection refused)",
                "cannot reach the Debian mirror",
            ),
            (
                "W: GPG error: http://x s InRelease: The following signatures couldn't be verified because the public key is not available: NO_PUBKEY 0E98404D386FA1D9\nE: The repository 'http://x s InRelease' is not signed.",
                "the signature of s does not check out",
            ),
            ("E: You don't have enough free space", "read the packages of s"),
        ];
        for (said, want) in cases {
            let text = format!("{:#}", explain(anyhow::anyhow!(said), "s"));
            assert!(text.starts_with(want), "{text}");
        }
    }
}
