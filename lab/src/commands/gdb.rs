// SPDX-License-Identifier: GPL-2.0

//! `--gdb`: prints how to attach gdb to the waiting guest.

use std::num::NonZeroU16;
use std::path::{Path, PathBuf};
use std::process::Command;

use vmlab::boot::kernel::Kernel;
use vmlab::run::process;
use vmlab::run::progress::say;

/// The file of the kernel's build that loads the kernel's scripts into gdb.
const SCRIPTS: &str = "vmlinux-gdb.py";

/// Prints the command for another terminal.
pub(super) fn explain(kernel: &Kernel, port: NonZeroU16, modules: &[PathBuf]) {
    say(&format!("the guest waits for a debugger:\n  {}", attach(kernel, port)));
    say(&notes(kernel, modules.first().and_then(|path| path.parent())));
}

fn attach(kernel: &Kernel, port: NonZeroU16) -> String {
    let mut gdb = Command::new("gdb");
    if kernel.build.join(SCRIPTS).exists() {
        gdb.arg("-iex").arg(format!("add-auto-load-safe-path {}", kernel.build.display()));
    }
    gdb.arg("-ex").arg(format!("target remote :{port}"));
    process::display(gdb.arg(&kernel.vmlinux))
}

fn notes(kernel: &Kernel, modules: Option<&Path>) -> String {
    if !kernel.build.join(SCRIPTS).exists() {
        return "this kernel has function names and lines, but no types and no gdb scripts; to \
                build one with both, put CONFIG_GDB_SCRIPTS=y and CONFIG_DEBUG_INFO_REDUCED=n into \
                a file and give it with --config"
            .to_owned();
    }
    let modules = modules.map_or(String::new(), |folder| format!(" {}", folder.display()));
    format!("when modules are loaded: lx-symbols{modules}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_names_vmlinux_and_the_scripts_where_there_are_some() {
        let dir = tempfile::tempdir().unwrap();
        let build = dir.path().to_owned();
        let kernel = Kernel { vmlinux: build.join("vmlinux"), build, ..Kernel::default() };
        let port = NonZeroU16::new(1234).unwrap();
        let vmlinux = kernel.vmlinux.display();
        assert_eq!(attach(&kernel, port), format!("gdb -ex 'target remote :1234' {vmlinux}"));
        assert!(notes(&kernel, None).contains("CONFIG_GDB_SCRIPTS=y"));

        std::fs::write(dir.path().join(SCRIPTS), "").unwrap();
        let line = attach(&kernel, port);
        assert!(line.contains(&format!("add-auto-load-safe-path {}", dir.path().display())));
        assert!(notes(&kernel, Some(Path::new("/m"))).ends_with("lx-symbols /m"));
    }
}
