// SPDX-License-Identifier: GPL-2.0

//! Running other programs: short ones for their output, long ones with a log.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result, bail};

use crate::run::interrupt::{self, Running};
use crate::run::print;

static VERBOSE: AtomicBool = AtomicBool::new(false);

/// Lines of a failed command's output that an error shows.
const SHOWN: usize = 12;

/// Prints every command before it runs (`V=1`).
pub fn set_verbose(on: bool) {
    VERBOSE.store(on, Ordering::Relaxed);
}

pub fn verbose() -> bool {
    VERBOSE.load(Ordering::Relaxed)
}

/// A command as a person would type it.
pub fn display(command: &Command) -> String {
    let mut words = Vec::new();
    if let Some(dir) = command.get_current_dir() {
        words.push(format!("cd {} &&", quote(&dir.to_string_lossy())));
    }
    for (name, value) in command.get_envs() {
        if let Some(value) = value {
            words.push(format!("{}={}", name.to_string_lossy(), quote(&value.to_string_lossy())));
        }
    }
    words.push(quote(&command.get_program().to_string_lossy()));
    words.extend(command.get_args().map(|arg| quote(&arg.to_string_lossy())));
    words.join(" ")
}

/// Quotes a word for the shell, if it has to be.
pub fn quote(word: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "-_./=+:,@%~".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

/// Prints the command if `V=1`.
pub fn announce(command: &Command) {
    if verbose() {
        print::err(&format!("+ {}\n", display(command)));
    }
}

fn name(command: &Command) -> String {
    Path::new(command.get_program())
        .file_name()
        .map_or_else(String::new, |name| name.to_string_lossy().into_owned())
}

/// The output of a finished program.
#[derive(Debug, Clone)]
pub struct Captured {
    /// Whether it exited with 0.
    pub ok: bool,
    /// Its exit status, if no signal killed it.
    pub status: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

/// Runs a short program to its end, whatever its exit status.
pub fn capture(command: &mut Command) -> Result<Captured> {
    announce(command);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut running = interrupt::spawn(command)?;
    let stderr = running.child.stderr.take();
    let stderr = std::thread::spawn(move || read_all(stderr));
    let stdout = read_all(running.child.stdout.take());
    let stderr = stderr.join().unwrap_or_default();
    let ended = running.wait()?;
    Ok(Captured { ok: ended.success(), status: ended.code(), stdout, stderr })
}

fn read_all(pipe: Option<impl Read>) -> String {
    let mut bytes = Vec::new();
    if let Some(mut pipe) = pipe {
        // A read error ends the text; the exit status judges the program.
        let _ = pipe.read_to_end(&mut bytes);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Runs a short program and returns its output, trimmed. An error quotes its standard error.
pub fn read(command: &mut Command) -> Result<String> {
    let said = capture(command)?;
    if !said.ok {
        bail!("{} failed: {}", name(command), excerpt(&(said.stderr + &said.stdout)));
    }
    Ok(said.stdout.trim().to_owned())
}

/// Runs a long program. Both its outputs go to the file `log` and, line by line, to `on_line`. An
/// error quotes the important lines and names the log.
pub fn logged(command: Command, log: &Path, on_line: impl FnMut(&str)) -> Result<()> {
    follow(command, interrupt::spawn, log, on_line)
}

/// Like [`logged`], for a package manager: see [`interrupt::spawn_gently`].
pub fn logged_gently(command: Command, log: &Path) -> Result<()> {
    follow(command, interrupt::spawn_gently, log, |_| ())
}

fn follow(
    mut command: Command,
    spawn: fn(&mut Command) -> Result<Running>,
    log: &Path,
    mut on_line: impl FnMut(&str),
) -> Result<()> {
    announce(&command);
    let name = name(&command);
    if let Some(dir) = log.parent() {
        std::fs::create_dir_all(dir).with_context(|| format!("create {}", dir.display()))?;
    }
    let mut file = File::create(log).with_context(|| format!("create {}", log.display()))?;
    let (reader, writer) = std::io::pipe().context("create a pipe")?;
    command
        .stdin(Stdio::null())
        .stdout(writer.try_clone().context("duplicate a pipe")?)
        .stderr(writer);
    let mut running = spawn(&mut command)?;
    // The command holds the pipe's other end: while it lives, no end of file.
    drop(command);

    let mut text = String::new();
    for line in BufReader::new(reader).split(b'\n') {
        let line = line.with_context(|| format!("read what {name} prints"))?;
        let line = String::from_utf8_lossy(&line);
        writeln!(file, "{line}").with_context(|| format!("write {}", log.display()))?;
        // cargo's messages are for programs.
        if verbose() && !line.starts_with("{\"reason\":") {
            print::err(&format!("{line}\n"));
        }
        on_line(&line);
        text.push_str(&line);
        text.push('\n');
    }
    if !running.wait()?.success() {
        bail!("{name} failed, log in {}:\n{}", log.display(), excerpt(&text));
    }
    Ok(())
}

/// Runs `commands`; the output of each is the input of the next.
pub fn pipe(commands: Vec<Command>) -> Result<()> {
    let mut input = Stdio::null();
    let mut running = Vec::new();
    let last = commands.len() - 1;
    for (i, mut command) in commands.into_iter().enumerate() {
        announce(&command);
        let program = name(&command);
        command.stdin(input).stderr(Stdio::piped());
        command.stdout(if i == last { Stdio::null() } else { Stdio::piped() });
        let mut child = interrupt::spawn(&mut command)?;
        input = child.child.stdout.take().map_or_else(Stdio::null, Stdio::from);
        // All are read at the same time: a program with many error messages must not block.
        let stderr = child.child.stderr.take();
        let said = std::thread::spawn(move || read_all(stderr));
        running.push((program, child, said));
    }
    let mut failed = Vec::new();
    // The last program first: its error is the cause. Those before it only fail because their
    // output is not read any more.
    for (name, mut child, said) in running.into_iter().rev() {
        let said = said.join().unwrap_or_default();
        if !child.wait()?.success() {
            failed.push(format!("{name} failed: {}", excerpt(&said)));
        }
    }
    match failed.first() {
        None => Ok(()),
        Some(first) => bail!("{first}"),
    }
}

/// The lines of a failed program's output that say why: lines that look like errors, with those
/// that follow; without any, the last lines.
pub fn excerpt(text: &str) -> String {
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    let start = lines
        .iter()
        .position(|line| looks_like_error(line))
        .unwrap_or(lines.len().saturating_sub(SHOWN));
    let shown: Vec<String> =
        lines[start..].iter().take(SHOWN).map(|line| format!("  {line}")).collect();
    if shown.is_empty() { "it printed nothing".to_owned() } else { shown.join("\n") }
}

fn looks_like_error(line: &str) -> bool {
    let line = line.to_ascii_lowercase();
    // make's own "*** Error 1" only says that something above it failed.
    !line.starts_with("make")
        && ["error:", "error[", "fatal:", "fatal error", "undefined!", "undefined symbol"]
            .iter()
            .any(|word| line.contains(word))
        || line.starts_with("e: ")
        || line.contains("no space left on device")
        || line.contains("no rule to make target")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_shown_as_typed() {
        let mut command = Command::new("make");
        command.args(["-C", "/a b", "it's"]).env("LLVM", "1");
        assert_eq!(display(&command), r"LLVM=1 make -C '/a b' 'it'\''s'");
    }

    #[test]
    fn an_excerpt_starts_at_the_first_error() {
        let cases = [
            (
                "  CC a.o\na.c:1:2: error: no b\n  note\nmake[1]: *** [x] Error 1\n",
                "  a.c:1:2: error: no b\n    note\n  make[1]: *** [x] Error 1",
            ),
            ("  RUSTC x\nerror[E0308]: mismatched\n", "  error[E0308]: mismatched"),
            ("one\ntwo\n", "  one\n  two"),
            ("", "it printed nothing"),
            ("ok\nE: Unable to locate package x\n", "  E: Unable to locate package x"),
            (
                "ok\nERROR: modpost: \"f\" [m.ko] undefined!\n",
                "  ERROR: modpost: \"f\" [m.ko] undefined!",
            ),
        ];
        for (text, want) in cases {
            assert_eq!(excerpt(text), want);
        }
    }

    #[test]
    fn reading_a_failed_program_quotes_it() {
        let mut command = Command::new("sh");
        command.args(["-c", "echo out; echo 'fatal: bad' >&2; exit 3"]);
        let error = read(&mut command).unwrap_err().to_string();
        assert_eq!(error, "sh failed:   fatal: bad\n  out");
    }

    #[test]
    fn a_log_holds_both_outputs_and_the_error_names_it() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("sub/x.log");
        let mut command = Command::new("sh");
        command.args(["-c", "echo one; echo two >&2; exit 1"]);
        let mut lines = Vec::new();
        let error = logged(command, &log, |line| lines.push(line.to_owned())).unwrap_err();
        assert_eq!(lines, ["one", "two"]);
        assert_eq!(std::fs::read_to_string(&log).unwrap(), "one\ntwo\n");
        assert!(error.to_string().contains(&log.display().to_string()));
    }

    #[test]
    fn a_program_of_a_pipe_may_complain_at_length() {
        let mut first = Command::new("sh");
        first.args(["-c", "yes complaint | head -c 1000000 >&2; echo done"]);
        let mut second = Command::new("grep");
        second.arg("done");
        pipe(vec![first, second]).unwrap();
    }

    #[test]
    fn a_broken_pipe_names_the_program_that_failed() {
        let mut first = Command::new("echo");
        first.arg("no archive");
        let mut second = Command::new("tar");
        second.args(["-x", "--xz", "-C", "/nonexistent"]);
        let error = pipe(vec![first, second]).unwrap_err();
        assert!(error.to_string().starts_with("tar failed"), "{error}");
    }
}
