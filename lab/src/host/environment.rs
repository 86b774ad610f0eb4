// SPDX-License-Identifier: GPL-2.0

//! The environment of every program that a run starts.
//!
//! Kbuild, cargo and rustc take flags from dozens of variables. A shell, an editor or another build
//! may have exported them for its own purposes, and they must not change what is built here. So the
//! lab removes them from its own environment once, for all commands.

use std::ffi::OsString;

/// Patterns of names. The Makefile reads them, too.
const LIST: &str = include_str!("../../environment");

/// Removes variables that would change a build, and makes programs print English.
///
/// Must be called before any thread is started.
pub fn clean() {
    for name in std::env::vars_os().map(|(name, _)| name).filter(is_listed) {
        // SAFETY: the caller promises that there is no other thread.
        unsafe { std::env::remove_var(name) };
    }
    // SAFETY: as above.
    unsafe { std::env::set_var("LC_ALL", "C") };
}

fn is_listed(name: &OsString) -> bool {
    name.to_str().is_some_and(|name| patterns().any(|pattern| fits(pattern, name)))
}

fn patterns() -> impl Iterator<Item = &'static str> {
    let lines = LIST.lines().filter(|line| !line.starts_with('#'));
    lines.flat_map(str::split_whitespace)
}

/// Matches like make's `filter`.
fn fits(pattern: &str, name: &str) -> bool {
    match pattern.split_once('%') {
        None => pattern == name,
        Some((start, end)) => {
            let middle = name.strip_prefix(start).and_then(|rest| rest.strip_suffix(end));
            middle.is_some_and(|middle| !middle.is_empty())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_changes_a_build_is_told_from_what_must_stay() {
        for name in [
            "ARCH",
            "KBUILD_OUTPUT",
            "KBUILD_BUILD_USER",
            "CONFIG_RUST",
            "RUSTC_WRAPPER",
            "CARGO_TARGET_DIR",
            "CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUSTFLAGS",
            "LC_MESSAGES",
            "GIT_DIR",
        ] {
            assert!(is_listed(&name.into()), "{name}");
        }
        for name in [
            "PATH",
            "HOME",
            "TMPDIR",
            "CARGO",
            "CARGO_HOME",
            "CARGO_NET_OFFLINE",
            "KBUILD",
            "KSRC",
            "CC",
            "RUSTUP_TOOLCHAIN",
            "RUSTUP_HOME",
            "LIBCLANG_PATH",
            "http_proxy",
            "GIT_SSH",
        ] {
            assert!(!is_listed(&name.into()), "{name}");
        }
    }

    #[test]
    fn patterns_mean_what_they_mean_to_make() {
        for (pattern, name, want) in
            [("A", "A", true), ("A", "AB", false), ("A_%", "A_B", true), ("A_%", "A", false)]
        {
            assert_eq!(fits(pattern, name), want, "{pattern} {name}");
        }
    }
}
