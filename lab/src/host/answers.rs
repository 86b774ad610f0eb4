// SPDX-License-Identifier: GPL-2.0

//! Remembers the output of commands such as `clang --version`. To run ten of them at each start of
//! the lab would take a third of a second.
//!
//! An answer is valid as long as the program's files are unchanged. Scripts, and programs that only
//! call other programs, are run every time, since it is unknown which programs they call.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use anyhow::Result;
use vmlab::run::files;

/// Programs that call another program, chosen by their name, the folder or the environment.
const CALL_OTHERS: [&str; 6] = ["rustup", "ccache", "sccache", "distcc", "icecc", "env"];

/// The most answers that are kept. More than these are of programs that do not exist any more.
const MOST: usize = 100;

static KNOWN: Mutex<Known> = Mutex::new(Known { file: None, answers: BTreeMap::new() });

/// Answers by question.
struct Known {
    file: Option<PathBuf>,
    answers: BTreeMap<String, String>,
}

/// Keeps answers in this file, and reads those in it. If this is not called, answers are only kept
/// for this run.
pub fn keep_in(file: PathBuf) {
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    let answers = fs::read(&file).ok().and_then(|text| serde_json::from_slice(&text).ok());
    known.answers = answers.unwrap_or_default();
    known.file = Some(file);
}

/// The answer to `question`, which must depend only on these files. If it is not known, calls
/// `ask`.
pub fn remembered(
    question: &str,
    files: &[PathBuf],
    ask: impl FnOnce() -> Result<String>,
) -> Result<String> {
    let Some(key) = key(question, files) else { return ask() };
    let known = || KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(answer) = known().answers.get(&key) {
        return Ok(answer.clone());
    }
    let answer = ask()?;
    known().learn(key, answer.clone());
    Ok(answer)
}

impl Known {
    fn learn(&mut self, key: String, answer: String) {
        if self.answers.len() >= MOST {
            self.answers.clear();
        }
        self.answers.insert(key, answer);
        // If this fails, the next run asks again.
        let _ = self.store();
    }

    fn store(&self) -> Result<()> {
        let Some(file) = &self.file else { return Ok(()) };
        files::write_whole(file, &serde_json::to_string(&self.answers)?)
    }
}

/// A key of the question and of the files' metadata, which change when a file is replaced. `None`
/// if the answer may depend on more than these files.
fn key(question: &str, files: &[PathBuf]) -> Option<String> {
    let mut key = question.to_owned();
    for file in files {
        let real = file.canonicalize().ok()?;
        if CALL_OTHERS.iter().any(|name| real.file_name().is_some_and(|it| it == *name)) {
            return None;
        }
        let meta = real.metadata().ok()?;
        if meta.is_file() && !is_binary(&real) {
            return None;
        }
        let (path, changed) = (real.display(), (meta.ctime(), meta.ctime_nsec()));
        key += &format!(" {path} {} {} {} {changed:?}", meta.dev(), meta.ino(), meta.len());
    }
    Some(key)
}

fn is_binary(file: &Path) -> bool {
    let mut magic = [0; 4];
    let read = File::open(file).and_then(|mut file| file.read_exact(&mut magic));
    read.is_ok() && magic == *b"\x7fELF"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_asked_again_when_it_is_another() {
        let dir = tempfile::tempdir().unwrap();
        let program = dir.path().join("tool");
        let ask = |answer: &str| {
            remembered("version", std::slice::from_ref(&program), || Ok(answer.to_owned())).unwrap()
        };
        fs::write(&program, b"\x7fELF one").unwrap();
        assert_eq!((ask("1"), ask("2")), ("1".into(), "1".into()));
        let new = dir.path().join("new");
        fs::write(&new, b"\x7fELF two").unwrap();
        fs::rename(&new, &program).unwrap();
        assert_eq!(ask("2"), "2");
    }

    #[test]
    fn who_calls_others_is_asked_every_time() {
        let dir = tempfile::tempdir().unwrap();
        let script = dir.path().join("clang");
        fs::write(&script, "#!/bin/sh\n").unwrap();
        let proxy = dir.path().join("rustup");
        fs::write(&proxy, b"\x7fELF").unwrap();
        let link = dir.path().join("rustc");
        std::os::unix::fs::symlink(&proxy, &link).unwrap();
        let missing = dir.path().join("missing");
        for files in [[script], [link], [missing]] {
            for answer in ["1", "2"] {
                let said = remembered("version", &files, || Ok(answer.to_owned())).unwrap();
                assert_eq!(said, answer, "{files:?}");
            }
        }
    }

    #[test]
    fn a_failure_is_no_answer() {
        let files = [std::env::current_exe().unwrap()];
        let fail = || anyhow::bail!("not now");
        assert!(remembered("a failure", &files, fail).is_err());
        assert_eq!(remembered("a failure", &files, || Ok("1".into())).unwrap(), "1");
    }
}
