// SPDX-License-Identifier: GPL-2.0

//! The source out of tree, and where its files are in a kernel tree.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use glob::Pattern;
use vmlab::run::{files, process};

use crate::change::{self, Change};
use crate::git::Repository;
use crate::rules::fits;
use crate::weave::{Tree, Weave};

/// Files and folders of a project, and where they are in a kernel tree. The longest path that fits
/// counts.
pub type Places = BTreeMap<String, String>;

/// What a project says about its source.
#[derive(Debug, Clone)]
pub struct Source {
    root: PathBuf,
    places: Places,
    /// What stays here: patterns of paths below the root.
    without: Vec<Pattern>,
}

impl Source {
    /// A source below `root`.
    pub fn new(root: &Path, places: &Places, without: &[String]) -> Result<Source> {
        let pattern = |text: &String| Pattern::new(text).with_context(|| format!("read {text}"));
        Ok(Source {
            root: root.to_owned(),
            places: places.clone(),
            without: without.iter().map(pattern).collect::<Result<_>>()?,
        })
    }

    /// Where a file of the source is in a kernel tree, if it goes there.
    pub fn upstream(&self, path: &str) -> Option<String> {
        if self.without.iter().any(|pattern| fits(pattern, path)) {
            return None;
        }
        place(&self.places, path)
    }

    /// Where a file of a kernel tree is in the source, if it comes from there.
    pub fn local(&self, path: &str) -> Option<String> {
        let (place, rest) = longest(self.places.values(), path)?;
        let here = self.places.iter().find(|(_, there)| *there == place)?.0;
        let local = format!("{here}{rest}");
        // Another rule may send that file elsewhere.
        (self.upstream(&local).as_deref() == Some(path)).then_some(local)
    }

    /// The file of the source that is this one in a kernel tree.
    pub fn file(&self, path: &str) -> Option<PathBuf> {
        Some(self.root.join(self.local(path)?))
    }

    /// The last state with the source's files in place of those that come from it.
    pub fn over(&self, weave: &Weave) -> Result<Tree> {
        let own = self.read()?;
        let mut tree = weave.state(weave.last());
        // What a patch brings and the source does not have was removed there. What the base has
        // and the source does not have was never the source's.
        tree.retain(|path, _| {
            let brought = weave.file(path).is_some_and(|file| file.created_by().is_some());
            own.contains_key(path) || !brought || self.local(path).is_none()
        });
        tree.extend(own);
        Ok(tree)
    }

    /// Makes the source's files those of the last state.
    pub fn follow(&self, weave: &Weave, before: &Tree, change: &mut Change) -> Result<()> {
        let after = weave.state(weave.last());
        for path in before.keys().filter(|path| !after.contains_key(*path)) {
            if let Some(file) = self.file(path) {
                change.remove(file);
            }
        }
        for (path, blob) in after.iter().filter(|(path, blob)| before.get(*path) != Some(blob)) {
            // What the base has is none of the source's, unless the source has it as well.
            let brought = weave.file(path).is_some_and(|file| file.created_by().is_some());
            if let Some(file) = self.file(path).filter(|file| brought || file.exists()) {
                change.write(file, blob.clone());
            }
        }
        Ok(())
    }

    /// The files of the source, by their paths in a kernel tree.
    pub fn read(&self) -> Result<Tree> {
        let mut tree = Tree::new();
        for path in self.list()? {
            let Some(upstream) = self.upstream(&path) else {
                continue;
            };
            if let Some(blob) = change::read(&self.root.join(&path))? {
                tree.insert(upstream, blob);
            }
        }
        Ok(tree)
    }

    /// The files that git knows, and new ones that it is not told to ignore; without git, all but
    /// what is hidden or built.
    fn list(&self) -> Result<Vec<String>> {
        let repository = Repository::at(&self.root);
        let said = process::capture(&mut repository.command(&["rev-parse"]))?;
        if !said.ok {
            // git may not read one that somebody else owns, for example.
            ensure!(said.stderr.contains("not a git repository"), "{}", said.stderr.trim());
            let ours = |name: &str| name != BUILT && !name.starts_with('.');
            let files = files::walk(&self.root, |name, folder| !folder || ours(name))?.files;
            let names = files.iter().filter_map(|path| path.strip_prefix(&self.root).ok());
            return Ok(names.map(|name| name.to_string_lossy().into_owned()).collect());
        }
        let args =
            ["ls-files", "-z", "--cached", "--others", "--exclude-standard", "--deduplicate"];
        let list = process::read(&mut repository.command(&args))
            .context("list the files of the source")?;
        Ok(list.split('\0').filter(|path| !path.is_empty()).map(str::to_owned).collect())
    }
}

/// Where builds go.
const BUILT: &str = "target";

/// Where a file is in a kernel tree.
pub fn place(places: &Places, path: &str) -> Option<String> {
    let (place, rest) = longest(places.keys(), path)?;
    Some(format!("{}{rest}", places[place]))
}

/// The longest of these paths that is `path` or a folder above it, and the rest.
fn longest<'a>(
    places: impl Iterator<Item = &'a String>,
    path: &str,
) -> Option<(&'a String, String)> {
    let rest = |place: &'a String| {
        let rest = path.strip_prefix(place.as_str())?;
        (rest.is_empty() || rest.starts_with('/')).then(|| (place, rest.to_owned()))
    };
    places.filter_map(rest).max_by_key(|(place, _)| place.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn source() -> Source {
        let places = [
            ("rust/rnetns", "net/rnetns"),
            ("rust/rnetns/include", "include/uapi"),
            ("selftests", "tools/testing/selftests/net/rnetns"),
        ];
        let places = places.map(|(here, there)| (here.to_owned(), there.to_owned())).into();
        Source::new(Path::new("/p"), &places, &["selftests/**/*.rs".to_owned()]).unwrap()
    }

    #[test]
    fn the_longest_path_that_fits_counts() {
        let source = source();
        let there = |path| source.upstream(path);
        assert_eq!(there("rust/rnetns/a/b.rs").unwrap(), "net/rnetns/a/b.rs");
        assert_eq!(there("rust/rnetns/include/x.h").unwrap(), "include/uapi/x.h");
        assert_eq!(there("rust/rnetns/include").unwrap(), "include/uapi");
        assert_eq!(there("rust/rnetns2/a.rs"), None);
        assert_eq!(there("selftests/src/stress.rs"), None);
    }

    #[test]
    fn a_source_without_git_is_read_but_for_what_is_built() {
        let dir = tempfile::tempdir().unwrap();
        for path in ["selftests/a.sh", "target/b", "selftests/.gitignore", ".cache/c"] {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        let source = Source { root: dir.path().to_owned(), ..source() };
        let paths: Vec<String> = source.read().unwrap().into_keys().collect();
        let folder = "tools/testing/selftests/net/rnetns";
        assert_eq!(paths, [format!("{folder}/.gitignore"), format!("{folder}/a.sh")]);
    }

    #[test]
    fn a_path_of_the_tree_finds_its_way_back() {
        let source = source();
        let here = |path| source.local(path);
        assert_eq!(here("net/rnetns/a.rs").unwrap(), "rust/rnetns/a.rs");
        assert_eq!(here("include/uapi/x.h").unwrap(), "rust/rnetns/include/x.h");
        assert_eq!(here("net/rnetns/include/x.h"), None);
        assert_eq!(here("tools/testing/selftests/net/rnetns/x.rs"), None);
        assert_eq!(here("net/Kconfig"), None);
    }
}
