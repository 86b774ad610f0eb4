// SPDX-License-Identifier: GPL-2.0

//! A private git repository for a stack: commits become states, states become commits and mails.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Write as _;
use std::fs::File;
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::LazyLock;

use anyhow::{Context, Result, bail, ensure};
use tempfile::TempDir;
use vmlab::run::interrupt;
use vmlab::run::process;

use crate::unified;
use crate::weave::{Blob, Mode, Tree};

/// The branch with the stack.
const BRANCH: &str = "refs/heads/stack";

/// Where the person's own settings must not reach: they would change what git writes.
const SETTINGS: [&str; 11] = [
    "advice.mergeConflict=false",
    "core.abbrev=12",
    "core.autocrlf=false",
    "core.quotePath=false",
    "diff.algorithm=histogram",
    "diff.renames=true",
    "format.useAutoBase=false",
    "gc.auto=0",
    "i18n.commitEncoding=UTF-8",
    "i18n.logOutputEncoding=UTF-8",
    "user.useConfigOnly=true",
];

/// The person who made a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Person {
    pub name: String,
    pub mail: String,
}

/// A commit and its tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Commit {
    /// Subject, blank line, body.
    pub message: String,
    pub author: Person,
    /// As git stores it: seconds since 1970, and the time zone.
    pub date: String,
    pub tree: Tree,
}

/// A git repository.
pub struct Repository {
    folder: PathBuf,
    /// Removes the folder, if it is ours alone.
    _scratch: Option<TempDir>,
}

impl Repository {
    /// An empty one that is removed in the end.
    pub fn scratch() -> Result<Repository> {
        let scratch = TempDir::new().context("create a folder for git")?;
        let repository = Repository { folder: scratch.path().to_owned(), _scratch: Some(scratch) };
        repository.read(&["init", "--quiet", "--initial-branch=stack"])?;
        Ok(repository)
    }

    /// Somebody's. It is only read.
    pub fn at(folder: &Path) -> Repository {
        Repository { folder: folder.to_owned(), _scratch: None }
    }

    /// Where it is.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// A git command that hears nothing of the person's settings, but whose repositories they trust.
    pub fn command<S: AsRef<std::ffi::OsStr>>(&self, args: &[S]) -> Command {
        let mut command = Command::new("git");
        command.arg("-C").arg(&self.folder);
        for setting in SETTINGS {
            command.args(["-c", setting]);
        }
        for folder in trusted() {
            command.arg("-c").arg(format!("safe.directory={folder}"));
        }
        command.args(args);
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("GIT_") {
                command.env_remove(name);
            }
        }
        command.env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_NOSYSTEM", "1");
        command.env("LC_ALL", "C").env("TZ", "UTC").env("COLUMNS", "72");
        // Who commits is in no mail.
        command.env("GIT_COMMITTER_NAME", "series").env("GIT_COMMITTER_EMAIL", "series@localhost");
        command
    }

    /// What a git command prints, trimmed.
    pub fn read<S: AsRef<std::ffi::OsStr>>(&self, args: &[S]) -> Result<String> {
        process::read(&mut self.command(args))
    }

    /// What a git command prints about this input.
    fn ask(&self, args: &[&str], input: &[u8]) -> Result<Vec<u8>> {
        let mut file = tempfile::tempfile().context("create a file for git")?;
        file.write_all(input).context("write a file for git")?;
        file.rewind().context("rewind a file for git")?;
        let mut command = self.command(args);
        process::announce(&command);
        let errors = tempfile::tempfile().context("create a file for git")?;
        let complaint = errors.try_clone().context("duplicate a file")?;
        command.stdin(Stdio::from(file)).stdout(Stdio::piped()).stderr(Stdio::from(errors));
        let mut running = interrupt::spawn(&mut command)?;
        let mut output = Vec::new();
        if let Some(mut pipe) = running.child.stdout.take() {
            pipe.read_to_end(&mut output).context("read what git prints")?;
        }
        if !running.wait()?.success() {
            bail!("git {} failed: {}", args[0], process::excerpt(&text_of(complaint)));
        }
        Ok(output)
    }

    /// Makes a base without a message and a commit for each patch on top. The branch is the last.
    pub fn write(&self, base: &Tree, commits: &[Commit]) -> Result<()> {
        let mut stream = Vec::new();
        let nobody = Person { name: "base".into(), mail: "base@localhost".into() };
        add(&mut stream, None, "base\n", &nobody, "0 +0000", &Tree::new(), base);
        self.import(stream, None, base, commits)
    }

    /// The same on top of a commit of somebody's repository, of which `base` is a part.
    pub fn write_on(
        &self,
        their: &Path,
        commit: &str,
        base: &Tree,
        commits: &[Commit],
    ) -> Result<()> {
        let objects = Repository::at(their).read(&["rev-parse", "--git-path", "objects"])?;
        let objects = std::path::absolute(their.join(objects)).context("find their objects")?;
        let list = self.folder.join(".git/objects/info/alternates");
        std::fs::write(&list, format!("{}\n", objects.display()))
            .with_context(|| format!("write {}", list.display()))?;
        self.import(Vec::new(), Some(commit), base, commits)
    }

    /// Makes commits on top of what the stream has by now, or of that parent, whose tree is `before`.
    fn import<'a>(
        &self,
        mut stream: Vec<u8>,
        mut parent: Option<&str>,
        mut before: &'a Tree,
        commits: &'a [Commit],
    ) -> Result<()> {
        for Commit { message, author, date, tree } in commits {
            add(&mut stream, parent.take(), message, author, date, before, tree);
            before = tree;
        }
        self.ask(&["fast-import", "--quiet", "--force"], &stream)?;
        Ok(())
    }

    /// How git names the content of files.
    pub fn ids(&self, tree: &Tree) -> Result<BTreeMap<String, String>> {
        self.write(tree, &[])?;
        let list = self.ask(&["ls-tree", "-r", "-z", "--full-tree", "stack"], b"")?;
        let entries = list.split(|byte| *byte == 0).filter(|entry| !entry.is_empty());
        entries
            .map(|entry| {
                let entry = String::from_utf8_lossy(entry);
                let (what, path) = entry.split_once('\t').context("understand git ls-tree")?;
                let id = what.split(' ').nth(2).context("understand git ls-tree")?;
                Ok((path.to_owned(), id.to_owned()))
            })
            .collect()
    }

    /// A bundle of a commit and all that it is made from, as a branch of this name; without what is
    /// behind `base`.
    pub fn bundle(&self, branch: &str, commit: &str, base: Option<&str>) -> Result<Vec<u8>> {
        self.read(&["branch", "--force", branch, commit])?;
        let file = self.folder.join(".git/bundle");
        let mut command = self.command(&["bundle", "create", "--quiet"]);
        command.arg(&file).arg(branch).args(base.map(|base| format!("^{base}")));
        process::read(&mut command)?;
        std::fs::read(&file).with_context(|| format!("read {}", file.display()))
    }

    /// Applies mails on top of the branch, without any fuzz.
    pub fn am(&self, mails: &[PathBuf]) -> Result<()> {
        self.read(&["reset", "--quiet", "--hard", "stack"])?;
        self.apply(mails)
    }

    fn apply(&self, mails: &[PathBuf]) -> Result<()> {
        if mails.is_empty() {
            return Ok(());
        }
        let mut am =
            self.command(&["am", "--quiet", "--no-3way", "--whitespace=nowarn", "--empty=keep"]);
        for mail in mails {
            // git runs in its own folder.
            am.arg(std::path::absolute(mail).context("find the current folder")?);
        }
        process::read(&mut am).with_context(|| {
            let next = std::fs::read_to_string(self.folder.join(".git/rebase-apply/next"));
            let next = next.ok().and_then(|next| next.trim().parse::<usize>().ok());
            match next.and_then(|next| mails.get(next.checked_sub(1)?)) {
                Some(mail) => format!("apply {}", mail.display()),
                None => "apply mails".to_owned(),
            }
        })?;
        Ok(())
    }

    /// Applies mails on a commit, as a branch of its own.
    pub fn apply_beside(&self, branch: &str, base: &str, mails: &[PathBuf]) -> Result<()> {
        self.read(&["checkout", "--quiet", "-B", branch, base])?;
        self.apply(mails)
    }

    /// A mail for each commit of a range, in order.
    pub fn mails(&self, range: &str, options: &[&str]) -> Result<Vec<Vec<u8>>> {
        let out = TempDir::new().context("create a folder for mails")?;
        let mut command = self.command(&[
            "format-patch",
            "--quiet",
            "--always",
            "--numbered",
            "--zero-commit",
            "--no-signature",
            "--no-base",
            "--no-cover-letter",
            "--no-renames",
            "--binary",
        ]);
        command.args(options).arg("-o").arg(out.path()).arg(range);
        process::read(&mut command)?;
        let entries = std::fs::read_dir(out.path()).context("read a folder of mails")?;
        let names: BTreeSet<PathBuf> = entries
            .map(|entry| Ok(entry.context("read a folder of mails")?.path()))
            .collect::<Result<_>>()?;
        names.iter().map(|path| std::fs::read(path).context("read a mail")).collect()
    }

    /// How many lines a patch changes in each file, and which files it makes and removes.
    pub fn statistics(&self, patch: &[u8]) -> Result<Vec<u8>> {
        self.ask(&["apply", "--stat", "--summary", "-"], patch)
    }

    /// The tree of a commit.
    pub fn tree(&self, commit: &str) -> Result<Tree> {
        self.listed(&["ls-tree", "-r", "-z", "--full-tree", commit])
    }

    /// Those of these files that a commit has.
    pub fn files(&self, commit: &str, paths: &BTreeSet<&str>) -> Result<Tree> {
        let mut tree = Tree::new();
        // Not more than fit on a command line.
        for some in paths.iter().copied().collect::<Vec<_>>().chunks(500) {
            let list = ["ls-tree", "-r", "-z", "--full-tree", commit, "--"];
            tree.extend(self.listed(&[&list, some].concat())?);
        }
        tree.retain(|path, _| paths.contains(path.as_str()));
        Ok(tree)
    }

    /// The files that `git ls-tree` lists.
    fn listed(&self, args: &[&str]) -> Result<Tree> {
        let list = self.ask(args, b"")?;
        let entries: Vec<(String, Mode, String)> = list
            .split(|byte| *byte == 0)
            .filter(|entry| !entry.is_empty())
            .map(|entry| {
                let entry = String::from_utf8_lossy(entry);
                let (what, path) = entry.split_once('\t').context("understand git ls-tree")?;
                let words: Vec<&str> = what.split(' ').collect();
                let [bits, _, id] = words[..] else { bail!("git ls-tree says {entry}") };
                Ok((path.to_owned(), mode(bits)?, id.to_owned()))
            })
            .collect::<Result<_>>()?;
        let blobs = self.blobs(entries.iter().map(|entry| entry.2.as_str()))?;
        Ok(entries
            .into_iter()
            .map(|(path, mode, id)| (path, Blob { mode, content: blobs[&id].clone() }))
            .collect())
    }

    /// The commits of a range, oldest first, each with its tree. `before` is the tree in front of
    /// the first one, or the part of it that they change.
    pub fn commits(&self, range: &str, before: &Tree) -> Result<Vec<Commit>> {
        let format = "--format=%x01%an%x00%ae%x00%ad%x00%B%x00";
        let log = self.ask(
            &[
                "log",
                "--reverse",
                "--raw",
                "--no-abbrev",
                "--no-renames",
                "-m",
                "-z",
                "--date=raw",
                format,
                range,
            ],
            b"",
        )?;
        let parts: Vec<Vec<String>> = log
            .split(|byte| *byte == 1)
            .skip(1)
            .map(|part| {
                part.split(|byte| *byte == 0)
                    .map(|field| String::from_utf8_lossy(field).into_owned())
                    .collect()
            })
            .collect();
        let raws: Vec<Vec<Raw>> = parts
            .iter()
            .map(|part| raws(part.get(4..).unwrap_or_default()))
            .collect::<Result<_>>()?;
        let ids = raws.iter().flatten().filter_map(|raw| Some(raw.now.as_ref()?.1.as_str()));
        let blobs = self.blobs(ids)?;
        let mut tree = before.clone();
        let mut commits = Vec::new();
        for (part, raws) in parts.iter().zip(&raws) {
            for Raw { path, now } in raws {
                match now {
                    None => tree.remove(path),
                    Some((mode, id)) => {
                        let content = blobs[id].clone();
                        tree.insert(path.clone(), Blob { mode: *mode, content })
                    }
                };
            }
            let [name, mail, date, message, ..] = &part[..] else { bail!("git log says {part:?}") };
            commits.push(Commit {
                message: format!("{}\n", message.trim_end()),
                author: Person { name: name.clone(), mail: mail.clone() },
                date: date.clone(),
                tree: tree.clone(),
            });
        }
        Ok(commits)
    }

    /// The content of blobs, by id.
    fn blobs<'a>(&self, ids: impl Iterator<Item = &'a str>) -> Result<HashMap<String, Vec<u8>>> {
        let ids: BTreeSet<&str> = ids.collect();
        let mut input = String::new();
        for id in &ids {
            writeln!(input, "{id}")?;
        }
        let output = self.ask(&["cat-file", "--batch"], input.as_bytes())?;
        let mut blobs = HashMap::new();
        let mut rest = output.as_slice();
        for id in ids {
            let end = rest.iter().position(|byte| *byte == b'\n').context("a cut blob")?;
            let head = String::from_utf8_lossy(&rest[..end]).into_owned();
            let size: usize = head
                .rsplit(' ')
                .next()
                .and_then(|size| size.parse().ok())
                .with_context(|| format!("git cat-file says {head}"))?;
            let from = end + 1;
            ensure!(rest.len() > from + size, "git cat-file ends in the middle of {id}");
            blobs.insert(id.to_owned(), rest[from..from + size].to_vec());
            rest = &rest[from + size + 1..];
        }
        Ok(blobs)
    }
}

/// The folders whose repositories the person trusts though somebody else owns them, as they do in a
/// container. git reads no other ones.
fn trusted() -> &'static [String] {
    static TRUSTED: LazyLock<Vec<String>> = LazyLock::new(|| {
        let mut git = Command::new("git");
        // Not the settings of the repository that this program runs in.
        git.current_dir("/").args(["config", "--null", "--get-all", "safe.directory"]);
        let folders = process::capture(&mut git).map(|said| said.stdout).unwrap_or_default();
        folders.split_terminator('\0').map(str::to_owned).collect()
    });
    &TRUSTED
}

fn text_of(mut file: File) -> String {
    let mut text = String::new();
    // Only a complaint is lost with it.
    let _ = file.rewind();
    let _ = file.read_to_string(&mut text);
    text
}

/// A change of a file in `git log --raw`.
struct Raw {
    path: String,
    now: Option<(Mode, String)>,
}

/// Understands `:old-mode new-mode old-id new-id status`, and the path that follows.
fn raws(fields: &[String]) -> Result<Vec<Raw>> {
    let fields: Vec<&String> = fields.iter().filter(|field| !field.trim().is_empty()).collect();
    let raw = |pair: &[&String]| {
        let [what, path] = pair else { bail!("git log says {pair:?}") };
        let words: Vec<&str> = what.trim_start_matches(['\n', ':']).split(' ').collect();
        let [_, bits, _, id, status] = words[..] else { bail!("git log says {what}") };
        let now = if status == "D" { None } else { Some((mode(bits)?, id.to_owned())) };
        Ok(Raw { path: (*path).clone(), now })
    };
    fields.chunks(2).map(raw).collect()
}

fn mode(bits: &str) -> Result<Mode> {
    match bits {
        "100644" => Ok(Mode::Plain),
        "100755" => Ok(Mode::Executable),
        "120000" => Ok(Mode::Symlink),
        other => bail!("a file of mode {other}: submodules cannot be part of a series"),
    }
}

fn bits(mode: Mode) -> &'static str {
    match mode {
        Mode::Plain => "100644",
        Mode::Executable => "100755",
        Mode::Symlink => "120000",
    }
}

/// Adds a commit to a stream for `git fast-import`. The first one may have a parent.
fn add(
    stream: &mut Vec<u8>,
    parent: Option<&str>,
    message: &str,
    author: &Person,
    date: &str,
    before: &Tree,
    tree: &Tree,
) {
    let Person { name, mail } = author;
    let who = format!("{name} <{mail}> {date}");
    let head = format!("commit {BRANCH}\nauthor {who}\ncommitter {who}\n");
    stream.extend_from_slice(head.as_bytes());
    data(stream, message.as_bytes());
    if let Some(parent) = parent {
        stream.extend_from_slice(format!("from {parent}\n").as_bytes());
    }
    for path in before.keys().filter(|path| !tree.contains_key(*path)) {
        stream.extend_from_slice(format!("D {}\n", quoted(path)).as_bytes());
    }
    for (path, blob) in tree.iter().filter(|(path, blob)| before.get(*path) != Some(blob)) {
        let line = format!("M {} inline {}\n", bits(blob.mode), quoted(path));
        stream.extend_from_slice(line.as_bytes());
        data(stream, &blob.content);
    }
    stream.push(b'\n');
}

fn data(stream: &mut Vec<u8>, bytes: &[u8]) {
    stream.extend_from_slice(format!("data {}\n", bytes.len()).as_bytes());
    stream.extend_from_slice(bytes);
    stream.push(b'\n');
}

/// A path as git quotes it.
fn quoted(path: &str) -> String {
    format!("\"{}\"", path.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n"))
}

/// The paths that a mail touches, before and after it.
pub fn paths(mail: &str) -> BTreeSet<String> {
    let mut paths = BTreeSet::new();
    for line in mail.lines() {
        // Both paths are the same, or `rename from` and `rename to` follow.
        let path = unified::section(line);
        if let Some(path) = path.filter(|path| line.ends_with(&format!("a/{path} b/{path}"))) {
            paths.insert(path.to_owned());
        }
        for word in ["rename from ", "rename to ", "copy from ", "copy to "] {
            paths.extend(line.strip_prefix(word).map(str::to_owned));
        }
    }
    paths
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(files: &[(&str, &str)]) -> Tree {
        let blob = |text: &str| Blob { mode: Mode::Executable, content: text.into() };
        files.iter().map(|(path, text)| ((*path).to_owned(), blob(text))).collect()
    }

    #[test]
    fn what_is_written_is_read_back() {
        let repository = Repository::scratch().unwrap();
        let base = tree(&[("a", "1\n"), ("d/b \"c", "no line feed")]);
        let author = Person { name: "Jane Döe".into(), mail: "jane@example.org".into() };
        let commit = |message: &str, tree| Commit {
            message: message.into(),
            author: author.clone(),
            date: "1700000000 +0200".into(),
            tree,
        };
        let commits = [
            commit("first: do it\n\nFrom the start.\n", tree(&[("a", "2\n")])),
            commit("second\n", tree(&[("a", "2\n"), ("e", "")])),
        ];
        repository.write(&base, &commits).unwrap();
        assert_eq!(repository.tree("stack~2").unwrap(), base);
        assert_eq!(repository.tree("stack").unwrap(), commits[1].tree);
        assert_eq!(repository.commits("stack~2..stack", &base).unwrap(), commits);
    }

    #[test]
    fn the_paths_of_a_mail_are_found() {
        let mail = "diff --git a/x/y.c b/x/y.c\n--- a/x/y.c\ndiff --git a/o b/n\nrename from o\nrename to n\n";
        assert_eq!(paths(mail).into_iter().collect::<Vec<_>>(), ["n", "o", "x/y.c"]);
    }
}
