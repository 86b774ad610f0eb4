// SPDX-License-Identifier: GPL-2.0

//! Builds the guest's PID 1, which becomes part of the program: so an installed `lab` does not need
//! this checkout. And names the code that judges tests: results that other code has judged are not
//! taken.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;

const TARGET: &str = "x86_64-unknown-linux-gnu";

fn main() {
    let here = PathBuf::from(variable("CARGO_MANIFEST_DIR"));
    let init = here.join("../qemu/init");
    for path in [init.join("src"), init.join("Cargo.toml"), here.join("../Cargo.toml")] {
        println!("cargo::rerun-if-changed={}", path.display());
    }
    judge(&here);
    // Another target folder: the cargo that runs this script holds the lock of its own.
    let target = Path::new(&variable("OUT_DIR")).join("init");
    let built = cargo(&init, &target).status();
    match built {
        Ok(status) if status.success() => {}
        Ok(status) => panic!("cargo build of vmlab-init: {status}"),
        Err(error) => panic!("run cargo for vmlab-init: {error}"),
    }
    let program = target.join(TARGET).join("guest/vmlab-init");
    println!("cargo::rustc-env=LAB_GUEST_INIT={}", program.display());
}

/// The code that boots guests and judges tests of patches.
const JUDGE: [&str; 7] = [
    "../qemu/src/boot",
    "../qemu/src/judge",
    "../qemu/src/run/job.rs",
    "../qemu/src/run/session.rs",
    "src/checks/as_kselftest.rs",
    "src/checks/kunit.rs",
    "src/checks/patch_states",
];

/// Gives that code a name, which changes with it.
fn judge(here: &Path) {
    let mut hash = DefaultHasher::new();
    for path in JUDGE {
        println!("cargo::rerun-if-changed={}", here.join(path).display());
        read_all(&here.join(path), &mut hash);
    }
    println!("cargo::rustc-env=LAB_JUDGE={:016x}", hash.finish());
}

fn read_all(path: &Path, hash: &mut DefaultHasher) {
    if path.is_dir() {
        let entries = path.read_dir().unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
        paths.sort();
        paths.iter().for_each(|path| read_all(path, hash));
    } else {
        let text =
            std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        (path.file_name(), text).hash(hash);
    }
}

fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn cargo(init: &Path, target: &Path) -> Command {
    let mut cargo = Command::new(variable("CARGO"));
    // These settings are meant for the lab, a program for the host, and not for the guest's PID 1.
    for name in ["CARGO_BUILD_TARGET", "CARGO_TARGET_DIR", "RUSTFLAGS", "CC"] {
        cargo.env_remove(name);
    }
    // When clippy checks the lab, these make cargo call clippy and not the compiler.
    cargo.env_remove("RUSTC_WORKSPACE_WRAPPER").env_remove("CLIPPY_ARGS");
    cargo.env("CARGO_ENCODED_RUSTFLAGS", "-Ctarget-feature=+crt-static");
    cargo.args(["build", "--quiet", "--locked", "--profile", "guest", "--target", TARGET]);
    cargo.arg("--target-dir").arg(target);
    cargo.arg("--manifest-path").arg(init.join("Cargo.toml"));
    cargo
}
