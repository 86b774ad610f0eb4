// SPDX-License-Identifier: GPL-2.0

//! `rnetns.ko`, and the figures that it shows for a namespace.

use std::collections::BTreeMap;
use std::ffi::CStr;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::kmod::{DeleteModuleFlags, ModuleInitFlags, delete_module, finit_module};

use crate::wait_until;

/// The module's name.
pub const NAME: &CStr = c"rnetns";
/// Where the module shows its state.
pub const DEBUGFS: &str = "/sys/kernel/debug/rnetns";

/// A module's file, open.
pub struct Module {
    name: &'static CStr,
    file: File,
}

/// A module while it is loaded. Dropping this unloads it.
pub struct Loaded {
    name: &'static CStr,
}

impl Module {
    /// Opens `rnetns.ko` in `$MODULES_DIR`. Unloads a module that is still loaded.
    pub fn open() -> Result<Module> {
        Module::named(NAME)
    }

    /// Opens the file of another module. As [`open`](Module::open).
    pub fn named(name: &'static CStr) -> Result<Module> {
        let path = file(name);
        let file = File::open(&path).with_context(|| format!("open {}", path.display()))?;
        let shown = name.to_string_lossy();
        if Path::new("/sys/module").join(&*shown).exists() {
            unload(name).with_context(|| format!("unload {shown}, which is loaded already"))?;
        }
        Ok(Module { name, file })
    }

    /// Loads it.
    pub fn load(&self) -> Result<Loaded> {
        self.try_load().with_context(|| format!("load {}", self.name.to_string_lossy()))
    }

    /// Loads it, and returns the kernel's own answer.
    pub fn try_load(&self) -> Result<Loaded, Errno> {
        self.load_with(c"")
    }

    /// Loads it with parameters, as `insmod` takes them. Returns the kernel's own answer.
    pub fn load_with(&self, parameters: &CStr) -> Result<Loaded, Errno> {
        finit_module(&self.file, parameters, ModuleInitFlags::empty())?;
        Ok(Loaded { name: self.name })
    }
}

impl Loaded {
    /// Unloads it as soon as nobody uses it: who has one of its files open, say.
    pub fn unload(self) -> Result<()> {
        let name = self.name;
        std::mem::forget(self);
        let mut last = Ok(());
        wait_until(|| {
            last = unload(name);
            last != Err(Errno::EWOULDBLOCK)
        });
        last.with_context(|| format!("unload {}", name.to_string_lossy()))
    }
}

impl Drop for Loaded {
    fn drop(&mut self) {
        if let Err(error) = unload(self.name) {
            crate::ktap::comment(&format!("unload {}: {error}", self.name.to_string_lossy()));
        }
    }
}

/// Where a module's file is.
pub fn file(name: &CStr) -> PathBuf {
    let directory = std::env::var_os("MODULES_DIR").unwrap_or("/lab/modules".into());
    PathBuf::from(directory).join(format!("{}.ko", name.to_string_lossy()))
}

fn unload(name: &CStr) -> Result<(), Errno> {
    delete_module(name, DeleteModuleFlags::O_NONBLOCK)
}

/// The figures of a namespace's state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Figures(BTreeMap<String, u64>);

impl Figures {
    /// The figures of the namespace with inode number `inum`; an error if it has no state.
    pub fn of(inum: u64) -> Result<Figures> {
        match all()?.remove(&inum) {
            Some(figures) => Ok(figures),
            None => bail!("namespace {inum} has no state"),
        }
    }

    /// The figures of the route cache of the namespace with inode number `inum`.
    pub fn of_route_cache(inum: u64) -> Result<Figures> {
        let mut all = listed("route_cache")?;
        all.remove(&inum).with_context(|| format!("namespace {inum} has no route cache"))
    }

    /// One of them.
    pub fn get(&self, name: &str) -> Result<u64> {
        self.0.get(name).copied().with_context(|| format!("no figure {name}"))
    }

    /// How much the traffic counters have grown since `before`: packets and bytes by device, packets
    /// and bytes by socket.
    pub fn traffic_since(&self, before: &Figures) -> Result<Traffic> {
        let grown = |name| anyhow::Ok(self.get(name)? - before.get(name)?);
        Ok(Traffic {
            device: (grown("device_packets")?, grown("device_bytes")?),
            socket: (grown("socket_packets")?, grown("socket_bytes")?),
        })
    }
}

/// Packets and bytes, counted in two ways.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Traffic {
    /// By the namespace of the device.
    pub device: (u64, u64),
    /// By the namespace of the socket.
    pub socket: (u64, u64),
}

/// The figures of every namespace that has a state, by inode number.
pub fn all() -> Result<BTreeMap<u64, Figures>> {
    listed("namespaces")
}

/// The figures of every namespace's route cache, by inode number.
pub fn route_caches() -> Result<BTreeMap<u64, Figures>> {
    listed("route_cache")
}

/// The lines of a file of the module, by the inode number of the namespace.
fn listed(file: &str) -> Result<BTreeMap<u64, Figures>> {
    let path = Path::new(DEBUGFS).join(file);
    let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    text.lines()
        .map(|line| parse_line(line).with_context(|| format!("in {}: '{line}'", path.display())))
        .collect()
}

/// Begins a new generation in a namespace: `pid NUMBER` or `fd NUMBER`.
pub fn next_generation(command: &str) -> std::io::Result<()> {
    fs::write(Path::new(DEBUGFS).join("next_generation"), command)
}

fn parse_line(line: &str) -> Result<(u64, Figures)> {
    let mut words = line.split(' ');
    let inum = words.next().context("empty line")?.parse()?;
    let figures = words
        .map(|word| {
            let (name, value) = word.split_once('=').context("no name=value")?;
            Ok((name.to_owned(), value.parse()?))
        })
        .collect::<Result<_>>()?;
    Ok((inum, Figures(figures)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_figures_is_read_whole_or_not_at_all() {
        let (inum, figures) = parse_line("4026531833 age_ns=5 generation=1").unwrap();
        assert_eq!(inum, 4026531833);
        assert_eq!(figures.get("generation").unwrap(), 1);
        assert!(figures.get("dropped").is_err());
        for line in ["", "x age_ns=1", "1 age_ns", "1 age_ns=", "1 age_ns=-1"] {
            assert!(parse_line(line).is_err(), "{line}");
        }
    }
}
