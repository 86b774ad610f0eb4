// SPDX-License-Identifier: GPL-2.0

//! Loads and unloads modules. If that fails, the reason is what the kernel logs.

use std::fs::{self, File};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use vmlab_init::protocol::{DOES_NOT_UNLOAD, Event, MODULES_DIR};

use crate::kmsg::Since;
use crate::port::Port;

/// Loads modules in this order and reports each. Stops at the first failure.
pub fn load_all(files: &[String], port: &mut Port) -> bool {
    for file in files {
        match load(file) {
            Ok(()) => port.event(&Event::Loaded(file.clone())),
            Err(error) => {
                let reason = format!("{error:#}");
                port.event(&Event::NotLoaded { module: file.clone(), reason });
                return false;
            }
        }
    }
    true
}

fn load(file: &str) -> Result<()> {
    let path = Path::new(MODULES_DIR).join(file);
    let module = File::open(&path).with_context(|| format!("open {}", path.display()))?;
    let log = Since::now()?;
    let Err(error) = rustix::system::finit_module(&module, c"", 0) else {
        return Ok(());
    };
    let name = name_of(file);
    // An errno such as "exec format error" says little. The kernel log has the reason.
    let said: Vec<String> = log.lines().into_iter().filter(|line| line.contains(&name)).collect();
    if said.is_empty() { bail!("{error}") } else { bail!("{} ({error})", said.join("; ")) }
}

/// Unloads modules, the last one first. Returns what went wrong.
pub fn unload_all(files: &[String], patience: Duration) -> Vec<String> {
    let deadline = Instant::now() + patience;
    let mut problems = Vec::new();
    for file in files.iter().rev() {
        let name = name_of(file);
        if let Err(error) = unload(&name, deadline) {
            problems.push(format!("{name} {DOES_NOT_UNLOAD}: {error}"));
        }
    }
    problems
}

/// Unloads a module. If it is in use, tries again until the deadline: the kernel ends namespaces in
/// the background, and they hold the module until then.
pub fn unload(name: &str, deadline: Instant) -> rustix::io::Result<()> {
    let name = std::ffi::CString::new(name).map_err(|_| rustix::io::Errno::INVAL)?;
    loop {
        match rustix::system::delete_module(&name, libc::O_NONBLOCK) {
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::BUSY)
                if Instant::now() < deadline =>
            {
                std::thread::sleep(Duration::from_millis(10));
            }
            result => return result,
        }
    }
}

/// The modules that are loaded now.
pub fn loaded() -> Vec<String> {
    names(&fs::read_to_string("/proc/modules").unwrap_or_default())
}

fn names(proc_modules: &str) -> Vec<String> {
    let name = |line: &str| line.split(' ').next().map(str::to_owned);
    proc_modules.lines().filter_map(name).collect()
}

/// The kernel's name for a module file.
fn name_of(file: &str) -> String {
    file.trim_end_matches(".ko").replace('-', "_")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_the_kernels() {
        assert_eq!(name_of("sample-bench.ko"), "sample_bench");
        let list = "sample_bench 16384 0 - Live 0x0\nsample 40960 1 sample_bench, Live 0x0 (O)\n";
        assert_eq!(names(list), ["sample_bench", "sample"]);
    }
}
