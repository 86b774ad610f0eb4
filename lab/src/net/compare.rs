// SPDX-License-Identifier: GPL-2.0

//! The kernel tree's own network tests, `tools/testing/selftests/net`, without and with the module:
//! a result that passes without it must pass with it.
//!
//! Each run of a test has its own guest, so that it finds nothing that another left behind. The
//! tests stay in the source tree, which the guest sees over 9p. Programs in C that they need are
//! built in another folder.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use vmlab::boot::kernel::Kernel;
use vmlab::judge::kernel_log::Finding;
use vmlab::judge::ktap::Counts;
use vmlab::run::files;
use vmlab::run::job::Test;
use vmlab::run::phases::millis;
use vmlab::run::process;
use vmlab::run::progress::{Step, Unit};
use xshell::cmd;

use crate::build::staging;
use crate::checks::as_kselftest;
use crate::context::Lab;
use crate::host::pins::Package;
use crate::host::toolchain::Toolchain;
use crate::net::results::{self, Differences, EXIT_STATUS, Results};

/// The tests' folder in a kernel tree.
const FOLDER: &str = "tools/testing/selftests/net";
/// The list of tests.
const LIST: &str = include_str!("../../net-selftests.toml");
/// The name for people.
const LIST_NAME: &str = "lab/net-selftests.toml";
/// The time limit of a test that is not in the list, before the engine's factor.
const DEFAULT_LIMIT: u64 = 300;
/// The line that shows that a run had the module.
pub const LOADED: &str = "lab: the module is loaded";
/// How many times a test with worse results is repeated.
pub const REPEATS: usize = 4;

/// `lab/net-selftests.toml`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct List {
    /// Packages with programs that the tests call.
    #[serde(rename = "package")]
    pub packages: Vec<Package>,
    /// C programs in the folder that the tests call.
    pub programs: Vec<String>,
    /// Tests that work in the lab.
    #[serde(rename = "test")]
    pub tests: Vec<Listed>,
    /// Tests that do not work in the lab.
    #[serde(rename = "left_out")]
    pub left_out: Vec<LeftOut>,
}

/// A test that works in the lab.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Listed {
    /// Its file.
    pub name: String,
    /// Its limit in seconds, before the engine's factor.
    pub limit: Option<u64>,
    /// Whether `make test` runs it, on the plain kernel.
    #[serde(default)]
    pub quick: bool,
}

/// A test that does not work in the lab.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LeftOut {
    /// Its file.
    pub name: String,
    /// Why.
    pub why: String,
}

impl List {
    /// The lab's own list.
    pub fn own() -> Result<List> {
        toml::from_str(LIST).with_context(|| format!("parse {LIST_NAME}"))
    }

    /// The requested tests, listed or not; without a request, all that work in the lab.
    pub fn choose(&self, names: &[String]) -> Vec<Test> {
        if names.is_empty() {
            return self.tests.iter().map(Listed::test).collect();
        }
        let known = |name: &str| self.tests.iter().find(|test| test.name == name);
        let test = |name: &String| match known(name) {
            Some(listed) => listed.test(),
            None => Test { name: name.clone(), timeout: Duration::from_secs(DEFAULT_LIMIT) },
        };
        names.iter().map(test).collect()
    }

    /// The tests that `make test` runs.
    pub fn quick(&self) -> Vec<Test> {
        self.tests.iter().filter(|test| test.quick).map(Listed::test).collect()
    }

    /// The tests of the tree's Makefile that are not in the list.
    fn unknown(&self, makefile: &str) -> Vec<String> {
        let listed = self.tests.iter().map(|test| &test.name);
        let known: Vec<&String> =
            listed.chain(self.left_out.iter().map(|test| &test.name)).collect();
        let theirs = programs(makefile);
        theirs.into_iter().filter(|name| !known.contains(&name)).collect()
    }
}

impl Listed {
    fn test(&self) -> Test {
        let limit = Duration::from_secs(self.limit.unwrap_or(DEFAULT_LIMIT));
        Test { name: self.name.clone(), timeout: limit }
    }
}

/// TEST_PROGS of a kselftest Makefile.
fn programs(makefile: &str) -> Vec<String> {
    let lines = makefile.lines().skip_while(|line| !line.starts_with("TEST_PROGS :="));
    let block = lines.skip(1).take_while(|line| !line.starts_with('#') && !line.is_empty());
    block.map(|line| line.trim_end_matches('\\').trim().to_owned()).collect()
}

/// The tests, ready to run.
#[derive(Debug)]
pub struct NetTests {
    folder: PathBuf,
    built: PathBuf,
    scripts: PathBuf,
    /// The name of the module in `/proc/modules`.
    module: String,
    /// A folder for the guest's `/lib/modules`, which `modprobe` reads.
    modules: PathBuf,
    /// Notes to print before the first test.
    pub notes: Vec<String>,
}

/// Prepares the tests of the tree: builds the C programs with the tree's own headers.
pub fn prepare(lab: &Lab, list: &List, kernel: &Kernel, tools: &Toolchain) -> Result<NetTests> {
    let folder = kernel.source.join(FOLDER);
    let makefile = folder.join("Makefile");
    let text =
        fs::read_to_string(&makefile).with_context(|| format!("read {}", makefile.display()))?;
    let mut notes = Vec::new();
    let unknown = list.unknown(&text);
    if !unknown.is_empty() {
        notes.push(format!("{LIST_NAME} does not know: {}", unknown.join(" ")));
    }
    // Keyed by the tree: another tree has other headers and programs.
    let tree = files::key([kernel.source.display().to_string(), kernel.release.clone()]);
    // The kernel's make builds there.
    let target = staging::output(&lab.cache, &lab.target.join("selftests-net"))?.join(tree);
    let built = target.join("bin");
    let scripts = target.join("scripts");
    files::make_dir(&built)?;
    files::make_dir(&scripts)?;
    let step = Step::start("building the kernel's network tests", Unit::None, 0);
    let modules = builtin_modules(&target, kernel, tools)?;
    // The pinned tree never changes, and to read all of its headers takes a second.
    let content = match lab.settings.own_kernel() {
        true => String::new(),
        false => headers_key(&kernel.source)?,
    };
    let mut make = tools.make();
    make.arg("-C").arg(&kernel.source);
    let headers = headers(make, &target, &content, &lab.log("headers"))?;
    let sources = Sources { folder: &folder, headers: &headers, headers_key: &content };
    for program in &list.programs {
        if let Err(error) = sources.compile(program, &built, &target.join("keys")) {
            // Tests that need it will skip, without and with the module.
            notes.push(format!("{program}: {error:#}"));
        }
    }
    step.finish();
    let module = lab.project.modules.load.first().map(String::as_str).unwrap_or_default();
    let module = module.trim_end_matches(".ko").replace('-', "_");
    Ok(NetTests { folder, built, scripts, module, modules, notes })
}

/// Makes a folder for `/lib/modules` that tells the guest's `modprobe` which modules are built in.
/// Some tests fail if `modprobe` does not know a module.
fn builtin_modules(target: &Path, kernel: &Kernel, tools: &Toolchain) -> Result<PathBuf> {
    let root = target.join("modules");
    let usr = root.join("usr");
    let dir = usr.join("lib/modules").join(&kernel.release);
    files::make_dir(&dir)?;
    // Some builds of kmod look into /lib, some into /usr/lib.
    if !root.join("lib").exists() {
        symlink("usr/lib", root.join("lib"))
            .with_context(|| format!("link {}", root.join("lib").display()))?;
    }
    for name in ["modules.builtin", "modules.builtin.modinfo", "modules.order"] {
        let from = kernel.build.join(name);
        fs::copy(&from, dir.join(name)).with_context(|| format!("copy {}", from.display()))?;
    }
    let (shell, release) = (tools.machine.shell(target)?, &kernel.release);
    process::read(&mut cmd!(shell, "depmod -b {root} {release}").into())?;
    Ok(dir)
}

/// What a kernel tree's headers for user space are made from.
const HEADERS: [&str; 4] =
    ["include/uapi", "arch/x86/include/uapi", "arch/x86/entry/syscalls", "scripts"];

/// Changes with the content of the tree's headers.
fn headers_key(tree: &Path) -> Result<String> {
    let mut parts = Vec::new();
    for folder in HEADERS.map(|name| tree.join(name)).iter().filter(|path| path.is_dir()) {
        // Of the scripts, only those that install headers.
        let wanted = |name: &str, is_folder: bool| {
            !folder.ends_with("scripts") || !is_folder && name.starts_with("headers")
        };
        for path in files::walk(folder, wanted)?.files {
            parts.push(path.as_os_str().as_encoded_bytes().to_vec());
            parts.push(fs::read(&path).with_context(|| format!("read {}", path.display()))?);
        }
    }
    Ok(files::key(parts))
}

/// The file with the key of the headers beside it, written when they are complete.
const HEADERS_OF: &str = "made-of";

/// Installs the tree's headers for user space: those of the distribution are older. `key` changes
/// with their content. `make` is for the tree.
fn headers(mut make: Command, target: &Path, key: &str, log: &Path) -> Result<PathBuf> {
    let dir = target.join("headers");
    let (include, stamp) = (dir.join("usr/include"), dir.join(HEADERS_OF));
    if fs::read_to_string(&stamp).is_ok_and(|then| then == key) {
        return Ok(include);
    }
    files::remove_dir(&dir)?;
    files::make_dir(&dir)?;
    make.arg(format!("O={}", dir.display())).arg("headers");
    process::logged(make, log, |_| ()).context("make the kernel's headers")?;
    files::write_whole(&stamp, key)?;
    Ok(include)
}

/// The sources of the C programs.
struct Sources<'a> {
    folder: &'a Path,
    headers: &'a Path,
    headers_key: &'a str,
}

impl Sources<'_> {
    /// Compiles a program, unless it was made of the same content. `keys` has a file with the key of
    /// each program.
    fn compile(&self, program: &str, to: &Path, keys: &Path) -> Result<()> {
        let (out, stamp) = (to.join(program), keys.join(program));
        let mut cc = c_compiler()?;
        let key = self.key(program, &cc)?;
        if out.exists() && fs::read_to_string(&stamp).is_ok_and(|then| then == key) {
            return Ok(());
        }
        files::remove_file(&out)?;
        // The file gets its name only when it is complete.
        let made = tempfile::NamedTempFile::new_in(to).context("create a file")?.into_temp_path();
        cc.args(["-O2", "-w", "-D_GNU_SOURCE", "-isystem"]).arg(self.headers);
        cc.arg("-I").arg(self.folder).arg("-I").arg(self.folder.join(".."));
        cc.arg(self.source(program)).arg("-o").arg(&made).args(["-lpthread"]);
        process::read(&mut cc)?;
        made.persist(&out).with_context(|| format!("write {}", out.display()))?;
        files::write_whole(&stamp, &key)
    }

    fn source(&self, program: &str) -> PathBuf {
        self.folder.join(format!("{program}.c"))
    }

    /// Changes with what a program is made of: its source, the headers beside it, those of the
    /// kernel, and the compiler.
    fn key(&self, program: &str, cc: &Command) -> Result<String> {
        let mut paths = vec![self.source(program)];
        for folder in [self.folder, &self.folder.join("..")] {
            let own = |name: &str, is_folder: bool| !is_folder && name.ends_with(".h");
            paths.extend(files::walk(folder, own)?.files);
        }
        let compiler = format!("{:?} {}", cc.get_program(), self.headers_key);
        let mut parts = vec![compiler.into_bytes()];
        for path in paths {
            parts.push(path.as_os_str().as_encoded_bytes().to_vec());
            parts.push(fs::read(&path).with_context(|| format!("read {}", path.display()))?);
        }
        Ok(files::key(parts))
    }
}

/// The compiler for these tests: CC, as in the tree's own Makefile, else this machine's compiler.
fn c_compiler() -> Result<Command> {
    let target = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let mut build = cc::Build::new();
    build.target(&target).host(&target).opt_level(2).no_default_flags(true);
    build.cargo_metadata(false).cargo_warnings(false).cargo_output(false);
    Ok(build.try_get_compiler().context("find a C compiler")?.to_command())
}

impl NetTests {
    /// Writes a script with the test's name for the guest's selftests folder. The script runs the
    /// test in the test's own folder, with the C programs in PATH, and prints its exit status.
    pub fn script(&self, test: &Test) -> Result<PathBuf> {
        if !self.folder.join(&test.name).is_file() {
            bail!("there is no {} in {}", test.name, self.folder.display());
        }
        let [folder, built, modules] = [&self.folder, &self.built, &self.modules]
            .map(|path| process::quote(&path.to_string_lossy()));
        let (name, module) = (process::quote(&test.name), &self.module);
        let text = format!(
            "#!/bin/sh\n\
             cp {built}/* {folder}/ && cd {folder} || exit 1\n\
             mkdir -p /lib/modules && ln -sfn {modules} /lib/modules/\"$(uname -r)\"\n\
             exec 2>&1\n\
             grep -q '^{module} ' /proc/modules && echo '{LOADED}'\n\
             ./{name}\n\
             echo \"{EXIT_STATUS}$?\"\n\
             exit 0\n"
        );
        as_kselftest::write_script(&self.scripts, &test.name, &text)
    }
}

/// One run of one test.
#[derive(Debug, Clone)]
pub struct Run {
    /// Its results.
    pub results: Results,
    /// Findings in the kernel log.
    pub findings: Vec<Finding>,
    /// Whether the guest died.
    pub died: bool,
    /// What else went wrong: the test hung, or left something behind.
    pub problems: Vec<String>,
}

/// A test, without and with the module.
#[derive(Debug, Serialize)]
pub struct Compared {
    /// Its file.
    pub name: String,
    /// The result without the module.
    pub without: Counts,
    /// The result with the module.
    pub with: Counts,
    #[serde(flatten)]
    pub differences: Differences,
    /// Findings in the kernel log of runs with the module only.
    pub findings: Vec<Finding>,
    /// What else went wrong only with the module.
    pub problems: Vec<String>,
    /// The number of pairs of runs.
    pub pairs: usize,
    /// The whole time, in ms.
    pub ms: u64,
}

/// Runs a test without and with the module, and again if something got worse.
pub fn compare(name: &str, mut run: impl FnMut(bool) -> Result<Run>) -> Result<Compared> {
    let start = Instant::now();
    let mut pairs = Vec::new();
    let (mut before, mut findings) = (Vec::new(), Vec::new());
    let (mut old_problems, mut problems) = (Vec::new(), Vec::new());
    loop {
        let mut without = run(false)?;
        if without.died {
            without = run(false)?;
        }
        if without.died {
            bail!("the guest died twice without the module: there is nothing to compare with");
        }
        let with = run(true)?;
        old_problems.extend(without.problems.iter().map(|problem| no_pids(problem)));
        problems.extend(with.problems);
        before.extend(without.findings);
        findings.extend(with.findings);
        pairs.push((without.results, with.results));
        let worse = !results::worse(&pairs[0].0, &pairs[0].1).is_empty();
        if !worse || pairs.len() > REPEATS {
            break;
        }
    }
    findings.retain(|finding| !before.iter().any(|other| same_place(other, finding)));
    problems.retain(|problem| !old_problems.contains(&no_pids(problem)));
    let (without, with) = &pairs[0];
    Ok(Compared {
        name: name.to_owned(),
        without: results::count(without),
        with: results::count(with),
        differences: results::differences(&pairs),
        findings,
        problems,
        pairs: pairs.len(),
        ms: millis(start.elapsed()),
    })
}

/// Whether two findings are the same fault: the same kind in the same function.
fn same_place(one: &Finding, other: &Finding) -> bool {
    let place = |finding: &Finding| match finding.stack.first() {
        Some(frame) => function(frame).to_owned(),
        // Addresses and numbers differ from run to run.
        None => finding.text.chars().filter(|c| !c.is_ascii_hexdigit()).collect(),
    };
    one.kind == other.kind && place(one) == place(other)
}

/// A text without the numbers of processes, which differ from run to run: `name (123)`. How many
/// namespaces are left does not.
fn no_pids(text: &str) -> String {
    let number = |text: &str| {
        let end = text.find(')')?;
        text[..end].bytes().all(|byte| byte.is_ascii_digit()).then_some(end)
    };
    let mut parts = text.split('(');
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |all, part| all + "(" + &part[number(part).unwrap_or(0)..])
}

/// The function of a frame, raw or decoded: `name+0x1/0x2`, `name at file:line`.
fn function(frame: &str) -> &str {
    frame.split(['+', ' ']).next().unwrap_or(frame)
}

impl Compared {
    /// The reason, if the test is worse with the module.
    pub fn failure(&self) -> Option<String> {
        let mut text = String::new();
        for name in &self.differences.worse {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "passes without the module and fails with it: {name}");
        }
        for name in &self.differences.suspect {
            let _ = writeln!(
                text,
                "failed in some of {} runs, all with the module: {name}",
                self.pairs
            );
        }
        for problem in &self.problems {
            let _ = writeln!(text, "with the module, {problem}");
        }
        for finding in &self.findings {
            let _ = write!(text, "{}", finding.quote());
        }
        (!text.is_empty()).then(|| text.trim_end().to_owned())
    }

    /// The reason, if the comparison shows nothing about the module.
    pub fn is_void(&self) -> Option<&'static str> {
        (self.without.passed == 0)
            .then_some("nothing passes without the module, either: there is nothing to compare")
    }

    /// The results in one line, and those that were not the same in every run.
    pub fn line(&self) -> String {
        let (a, b) = (self.without, self.with);
        let numbers =
            |c: Counts| format!("{} passed, {} failed, {} skipped", c.passed, c.failed, c.skipped);
        let with = if a == b { "the same".to_owned() } else { numbers(b) };
        let mut text = format!(
            "net/{}: without {}; with {with}; {:.0} s",
            self.name,
            numbers(a),
            self.ms as f64 / 1000.0
        );
        for name in &self.differences.flaky {
            let _ = write!(
                text,
                "\n        not the same every time ({} pairs of runs): {name}",
                self.pairs
            );
        }
        text
    }
}

/// Writes all results so far.
pub fn write(path: &Path, all: &[Compared]) -> Result<()> {
    let text = serde_json::to_string_pretty(all).context("encode the comparison")? + "\n";
    files::write_whole(path, &text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use vmlab::judge::ktap::TestResult;

    /// A tree whose `make headers` copies its headers.
    fn tree(dir: &Path) -> PathBuf {
        let tree = dir.join("linux");
        for (name, text) in [
            ("Makefile", "headers:\n\tmkdir -p $(O)/usr && cp -r include/uapi $(O)/usr/include\n"),
            ("include/uapi/linux/one.h", "#define ONE 1\n"),
            (
                "tests/net/one.c",
                "#include <linux/one.h>\n#include \"two.h\"\nint main(void) { return ONE + TWO; }\n",
            ),
            ("tests/two.h", "#define TWO 2\n"),
        ] {
            let path = tree.join(name);
            files::make_dir(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        tree
    }

    /// The exit status of the program, built from this tree, and whether its file is a new one.
    fn status(dir: &Path, tree: &Path) -> (Option<i32>, bool) {
        let (bin, folder) = (dir.join("bin"), tree.join("tests/net"));
        files::make_dir(&bin).unwrap();
        let old = std::time::SystemTime::UNIX_EPOCH;
        if let Ok(file) = fs::File::open(bin.join("one")) {
            file.set_modified(old).unwrap();
        }
        let key = headers_key(tree).unwrap();
        let mut make = Command::new("make");
        make.arg("-C").arg(tree);
        let headers = headers(make, dir, &key, &dir.join("log")).unwrap();
        let sources = Sources { folder: &folder, headers: &headers, headers_key: &key };
        sources.compile("one", &bin, &dir.join("keys")).unwrap();
        let status = Command::new(bin.join("one")).status().unwrap().code();
        let modified = fs::metadata(bin.join("one")).unwrap().modified().unwrap();
        (status, modified != old)
    }

    /// In a user's own tree, with files whose times tell nothing.
    #[test]
    fn paths_in_a_script_may_have_spaces_and_quotes() {
        let dir = tempfile::Builder::new().prefix("it's a ").tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        for name in ["net", "scripts"] {
            fs::create_dir(path(name)).unwrap();
        }
        fs::write(path("net/a.sh"), "").unwrap();
        let tests = NetTests {
            folder: path("net"),
            built: path("bin"),
            scripts: path("scripts"),
            module: "demo".to_owned(),
            modules: path("modules"),
            notes: Vec::new(),
        };
        let test = Test { name: "a.sh".to_owned(), timeout: Duration::ZERO };
        let script = fs::read_to_string(tests.script(&test).unwrap()).unwrap();
        let words: Vec<String> = script.lines().flat_map(shlex::split).flatten().collect();
        for name in ["net", "modules"] {
            assert!(words.iter().any(|word| *word == path(name).to_string_lossy()), "{script}");
        }
        let built = format!("{}/*", path("bin").display());
        assert!(
            words.iter().any(|word| word.trim_end_matches("/*") == built.trim_end_matches("/*"))
        );
    }

    #[test]
    fn a_header_that_changes_makes_programs_new_and_nothing_else_does() {
        let dir = tempfile::tempdir().unwrap();
        let tree = tree(dir.path());
        let change = |name: &str, text: &str| {
            fs::write(tree.join(name), text).unwrap();
            let file = fs::File::options().append(true).open(tree.join(name)).unwrap();
            file.set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
        };
        assert_eq!(status(dir.path(), &tree), (Some(3), true));
        assert_eq!(status(dir.path(), &tree), (Some(3), false));
        change("include/uapi/linux/one.h", "#define ONE 10\n");
        assert_eq!(status(dir.path(), &tree), (Some(12), true));
        change("tests/two.h", "#define TWO 20\n");
        assert_eq!(status(dir.path(), &tree), (Some(30), true));
        assert_eq!(status(dir.path(), &tree), (Some(30), false));
    }

    #[test]
    fn headers_that_could_not_be_made_are_made_again() {
        let dir = tempfile::tempdir().unwrap();
        let tree = tree(dir.path());
        let make = |makefile: &str| {
            let mut make = Command::new("make");
            make.arg("-C").arg(&tree).args(["-f", makefile]);
            headers(make, dir.path(), "key", &dir.path().join("log"))
        };
        fs::write(tree.join("broken"), "headers:\n\tmkdir -p $(O)/usr/include; exit 1\n").unwrap();
        assert!(make("broken").is_err());
        assert!(make("Makefile").unwrap().join("linux/one.h").exists());
    }

    #[test]
    fn results_are_written_whole_or_not_at_all_and_forgotten() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("new/results.json");
        files::remove_file(&path).unwrap();
        write(&path, &[]).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "[]\n");
        // A process that has the old file open must be able to read it to its end.
        let old = fs::File::open(&path).unwrap();
        write(&path, &[]).unwrap();
        assert_eq!(std::os::unix::fs::MetadataExt::nlink(&old.metadata().unwrap()), 0);
        files::remove_file(&path).unwrap();
        assert!(!path.exists());
    }

    #[test]
    fn a_program_of_the_tree_is_built_with_the_trees_headers() {
        let dir = tempfile::tempdir().unwrap();
        let (folder, headers) = (dir.path().join("net"), dir.path().join("include"));
        fs::create_dir_all(&folder).unwrap();
        fs::create_dir(&headers).unwrap();
        fs::write(headers.join("fresh.h"), "#define ANSWER 42\n").unwrap();
        let source = "#include <fresh.h>\nint main(void) { return ANSWER; }\n";
        fs::write(folder.join("good.c"), source).unwrap();
        fs::write(folder.join("bad.c"), "#include <none.h>\n").unwrap();

        let sources = Sources { folder: &folder, headers: &headers, headers_key: "" };
        let compile = |name| sources.compile(name, dir.path(), &dir.path().join("keys"));
        compile("good").unwrap();
        let status = Command::new(dir.path().join("good")).status().unwrap();
        assert_eq!(status.code(), Some(42));
        let error = compile("bad").unwrap_err();
        assert!(error.to_string().contains("none.h"), "{error:#}");
    }

    fn list() -> List {
        List::own().unwrap()
    }

    #[test]
    fn the_list_in_the_repository_parses_and_names_each_once() {
        let list = list();
        let listed = list.tests.iter().map(|test| &test.name);
        let mut names: Vec<&String> =
            listed.chain(list.left_out.iter().map(|test| &test.name)).collect();
        let all = names.len();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), all);
        assert!(list.left_out.iter().all(|test| !test.why.is_empty()));
        assert!(!list.quick().is_empty());
    }

    #[test]
    fn tests_that_the_list_does_not_know_can_be_asked_for() {
        let list = list();
        let names = ["fib_tests.sh".to_owned(), "new.sh".to_owned()];
        let chosen = list.choose(&names);
        assert_eq!(chosen[1], Test { name: "new.sh".into(), timeout: Duration::from_secs(300) });
        assert_eq!(list.choose(&[]).len(), list.tests.len());
    }

    #[test]
    fn what_a_new_tree_adds_is_noticed() {
        let makefile = "CFLAGS += -O2\n\nTEST_PROGS := \\\n\tfib_tests.sh \\\n\tbrand_new.sh \\\n\
                        # end of TEST_PROGS\n\nTEST_GEN_FILES := \\\n\tnettest \\\n#\n";
        assert_eq!(list().unknown(makefile), ["brand_new.sh"]);
    }

    fn results(a: TestResult) -> Run {
        let results = [("a".to_owned(), a), ("b".to_owned(), TestResult::Pass)].into();
        Run { results, findings: Vec::new(), died: false, problems: Vec::new() }
    }

    #[test]
    fn a_guest_that_dies_without_the_module_is_nothing_to_compare_with() {
        for (deaths, compares) in [(1, true), (2, false)] {
            let mut left = deaths;
            let compared = compare("t", |loaded| {
                let died = !loaded && left > 0;
                left -= i32::from(died);
                Ok(Run { died, ..results(if died { TestResult::Fail } else { TestResult::Pass }) })
            });
            assert_eq!(compared.is_ok_and(|it| it.failure().is_none()), compares);
        }
    }

    #[test]
    fn only_a_test_that_got_worse_runs_again() {
        for (with, pairs, fails) in
            [(TestResult::Pass, 1, false), (TestResult::Fail, 1 + REPEATS, true)]
        {
            let mut runs = 0;
            let compared = compare("t", |loaded| {
                runs += 1;
                Ok(results(if loaded { with } else { TestResult::Pass }))
            });
            let compared = compared.unwrap();
            assert_eq!((compared.pairs, runs), (pairs, 2 * pairs));
            assert_eq!(compared.failure().is_some(), fails);
        }
    }

    #[test]
    fn a_test_that_passes_nowhere_says_nothing() {
        let of = |verdict| {
            let results = || [("a".to_owned(), verdict)].into();
            let run = || Run {
                results: results(),
                findings: Vec::new(),
                died: false,
                problems: Vec::new(),
            };
            compare("t", |_| Ok(run())).unwrap()
        };
        assert!(of(TestResult::Pass).is_void().is_none());
        for verdict in [TestResult::Fail, TestResult::Skip] {
            let compared = of(verdict);
            assert!(compared.failure().is_none());
            assert!(compared.is_void().is_some());
        }
    }

    #[test]
    fn a_report_of_the_kernel_that_only_the_module_brings_is_a_failure() {
        let finding = |kind: &str| Finding {
            kind: kind.into(),
            text: "BUG".into(),
            stack: Vec::new(),
            ..Finding::default()
        };
        let compared = compare("t", |loaded| {
            let mut run = results(TestResult::Pass);
            run.findings.push(finding("warning"));
            if loaded {
                run.findings.push(finding("netdevice-leak"));
            }
            Ok(run)
        });
        let compared = compared.unwrap();
        assert_eq!(compared.findings.len(), 1);
        assert!(compared.failure().unwrap().contains("netdevice-leak"));
    }

    #[test]
    fn a_fault_that_is_there_without_the_module_hides_no_other() {
        let finding = |kind: &str, text: &str, frame: &str| Finding {
            kind: kind.into(),
            text: text.into(),
            stack: (!frame.is_empty()).then(|| frame.to_owned()).into_iter().collect(),
            test: None,
            from_user_space: false,
        };
        let oops = finding("oops", "Oops: int3 0000", "poke_int3_handler+0x1/0x2");
        let again = finding("oops", "Oops: int3 0000", "poke_int3_handler at a.c:3");
        let ours = finding("oops", "Oops: 0000", "sample::xmit+0x1/0x2");
        assert!(same_place(&oops, &again));
        assert!(!same_place(&oops, &ours));
        let dropped = |number| finding("lost", &format!("{number} messages dropped"), "");
        assert!(same_place(&dropped(3), &dropped(17)));
    }

    #[test]
    fn a_module_that_makes_a_test_hang_or_leave_things_is_a_failure() {
        let compared = compare("t", |loaded| {
            let problems = loaded.then(|| "left 1 namespaces behind".to_owned());
            Ok(Run { problems: problems.into_iter().collect(), ..results(TestResult::Pass) })
        });
        assert!(compared.unwrap().failure().unwrap().contains("left 1 namespaces"));
        let with = |without: &'static str, with: &'static str| {
            let problems = move |loaded| vec![if loaded { with } else { without }.to_owned()];
            compare("t", |loaded| {
                Ok(Run { problems: problems(loaded), ..results(TestResult::Pass) })
            })
        };
        assert!(with("left 1 namespaces", "left 2 namespaces").unwrap().failure().is_some());
        let always = with("process a (17) (x) stays", "process a (3) (x) stays");
        assert!(always.unwrap().failure().is_none());
    }
}
