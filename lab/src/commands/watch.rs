// SPDX-License-Identifier: GPL-2.0

//! `--watch`: runs the command again whenever a file changes.

use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::Duration;

use anyhow::{Context, Result};
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use vmlab::run::interrupt;
use vmlab::run::progress::say;

use crate::checks::house_rules;
use crate::cli::{Action, Cli};
use crate::project;

/// A run starts when nothing has changed for this long: an editor writes a file in several steps.
const QUIET: Duration = Duration::from_millis(100);
/// How often to check for Ctrl-C.
const TICK: Duration = Duration::from_millis(200);

/// Does `work` now and after each change, until Ctrl-C.
pub fn run(cli: &Cli, work: impl Fn() -> Result<u8>) -> Result<u8> {
    let root = root(cli)?;
    let mut watched = Watched::new(&root)?;
    loop {
        if let Err(error) = work() {
            interrupt::check()?;
            say(&format!("error: {error:#}"));
        }
        interrupt::check()?;
        watched.follow()?;
        say(&format!("watching {}; Ctrl-C ends it", root.display()));
        let changed = watched.wait()?;
        say(&format!("{} changed", changed.display()));
    }
}

/// The folder to watch: the project, or the folder of `lab try`.
fn root(cli: &Cli) -> Result<PathBuf> {
    let here = std::env::current_dir().context("find the current directory")?;
    match &cli.command {
        Action::Try(args) => {
            let path = &args.path;
            let path = path.canonicalize().with_context(|| path.display().to_string())?;
            Ok(if path.is_dir() { path } else { path.parent().unwrap_or(&path).to_owned() })
        }
        _ => project::root_of(&here),
    }
}

/// The folders of a project, without build results.
struct Watched {
    root: PathBuf,
    watcher: RecommendedWatcher,
    events: Receiver<notify::Result<Event>>,
}

impl Watched {
    fn new(root: &Path) -> Result<Watched> {
        let (sender, events) = mpsc::channel();
        let watcher = notify::recommended_watcher(sender).context("watch files")?;
        let mut watched = Watched { root: root.to_owned(), watcher, events };
        watched.follow()?;
        Ok(watched)
    }

    /// Watches all current folders, one by one: a watch of the whole tree would include build
    /// results. Folders that were watched before are watched again, since they may have been
    /// replaced.
    fn follow(&mut self) -> Result<()> {
        for folder in house_rules::folders(&self.root)? {
            self.watcher
                .watch(&folder, RecursiveMode::NonRecursive)
                .with_context(|| format!("watch {}", folder.display()))?;
        }
        Ok(())
    }

    /// Waits until nothing changes any more. Returns the first file that changed since the last
    /// call.
    fn wait(&self) -> Result<PathBuf> {
        let mut changed = None;
        loop {
            let patience = if changed.is_some() { QUIET } else { TICK };
            match self.events.recv_timeout(patience) {
                Ok(event) => {
                    let event = event.context("watch files")?;
                    changed = changed.or_else(|| self.concerns(&event));
                }
                Err(RecvTimeoutError::Timeout) => {
                    interrupt::check()?;
                    if let Some(path) = changed {
                        return Ok(path);
                    }
                }
                Err(RecvTimeoutError::Disconnected) => {
                    anyhow::bail!(
                        "the kernel no longer reports changed files (inotify): start again"
                    )
                }
            }
        }
    }

    /// The file of an event, if it belongs to the project.
    fn concerns(&self, event: &Event) -> Option<PathBuf> {
        if matches!(event.kind, EventKind::Access(_)) {
            return None;
        }
        let path = event.paths.first()?.strip_prefix(&self.root).ok()?;
        let first = path.components().next()?.as_os_str().to_string_lossy().into_owned();
        let name = path.file_name()?.to_string_lossy();
        let ours = first != "target" && !name.starts_with('.') && !name.ends_with('~');
        ours.then(|| path.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_change_of_a_source_is_noticed_and_one_of_what_is_built_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        for folder in ["rust", "target"] {
            fs::create_dir(root.join(folder)).unwrap();
        }
        fs::write(root.join("rust/a.rs"), "one").unwrap();
        let watched = Watched::new(&root).unwrap();
        fs::write(root.join("target/x.o"), "built").unwrap();
        fs::read(root.join("rust/a.rs")).unwrap();
        fs::write(root.join(".a.rs.swp"), "an editor's").unwrap();
        fs::write(root.join("rust/a.rs"), "two").unwrap();
        assert_eq!(watched.wait().unwrap(), Path::new("rust/a.rs"));
    }

    #[test]
    fn a_new_folder_is_watched_from_the_next_run_on() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        let mut watched = Watched::new(&root).unwrap();
        fs::create_dir(root.join("new")).unwrap();
        fs::write(root.join("new/a.rs"), "one").unwrap();
        assert_eq!(watched.wait().unwrap(), Path::new("new"));
        watched.follow().unwrap();
        fs::write(root.join("new/a.rs"), "two").unwrap();
        assert_eq!(watched.wait().unwrap(), Path::new("new/a.rs"));
    }

    /// A folder that was removed and made again, as by `git checkout` of another branch and back.
    #[test]
    fn a_folder_that_went_and_came_back_is_watched() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        let make = || {
            fs::create_dir(root.join("rust")).unwrap();
            fs::write(root.join("rust/a.rs"), "one").unwrap();
        };
        make();
        let mut watched = Watched::new(&root).unwrap();
        fs::remove_dir_all(root.join("rust")).unwrap();
        make();
        assert!(watched.wait().unwrap().starts_with("rust"));
        watched.follow().unwrap();
        fs::write(root.join("rust/a.rs"), "two").unwrap();
        assert_eq!(watched.wait().unwrap(), Path::new("rust/a.rs"));
    }
}
