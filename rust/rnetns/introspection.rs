// SPDX-License-Identifier: GPL-2.0

//! The state of all namespaces, in one place.
//!
//! In `/sys/kernel/debug/rnetns/`:
//!
//! - `namespaces` lists the namespaces that have state, a line each: the inode number, then
//!   `name=value` for each figure.
//! - `route_cache` lists the same for the route caches of the namespaces.
//! - `tables` lists the tables that the route caches share: the family, the number of lines of
//!   slots, the number of entries of all namespaces, and the most that there may be. Flushed
//!   entries count until they are removed.
//! - `next_generation` takes a namespace, as `pid NUMBER` or `fd NUMBER` of the writer, and begins
//!   a new generation in it. `EAFNOSUPPORT` where the module refuses to work.
//!
//! Inside a namespace, `ethtool -S rlo` shows the same figures.

use kernel::{
    debugfs::module_dir::{
        Entry,
        ModuleDir,
        ModuleFile, //
    },
    fmt,
    net::{
        namespace::namespaces,
        LiveNamespace,
        NamespaceRef, //
    },
    prelude::*,
    sync::{
        rcu, //
    },
    uaccess::UserSliceReader, //
};

use crate::{
    route_cache::{
        cache::Cache,
        stats,
        tables::{
            self,
            Tables, //
        },
    },
    state::State,
    support, //
};

/// The files, for as long as this exists.
pub(crate) type Introspection = ModuleDir<()>;

/// The longest command that `next_generation` takes, in bytes.
const COMMAND_LEN: usize = 32;

/// Makes the files.
pub(crate) fn new() -> impl PinInit<Introspection> {
    static FILES: &[Entry<()>] = &[
        Entry::of::<Namespaces>(),
        Entry::of::<RouteCaches>(),
        Entry::of::<RouteTables>(),
        Entry::of::<NextGeneration>(),
    ];
    ModuleDir::new(c"rnetns", FILES, pin_init::init_zeroed())
}

struct Namespaces;

#[vtable]
impl ModuleFile for Namespaces {
    type Data = ();

    const NAME: &'static CStr = c"namespaces";

    fn show((): &(), f: &mut fmt::Formatter<'_>) -> fmt::Result {
        show_namespaces(f)
    }
}

struct RouteCaches;

#[vtable]
impl ModuleFile for RouteCaches {
    type Data = ();

    const NAME: &'static CStr = c"route_cache";

    fn show((): &(), f: &mut fmt::Formatter<'_>) -> fmt::Result {
        show_route_caches(f)
    }
}

struct RouteTables;

#[vtable]
impl ModuleFile for RouteTables {
    type Data = ();

    const NAME: &'static CStr = c"tables";

    fn show((): &(), f: &mut fmt::Formatter<'_>) -> fmt::Result {
        show_tables(f)
    }
}

struct NextGeneration;

#[vtable]
impl ModuleFile for NextGeneration {
    type Data = ();

    const NAME: &'static CStr = c"next_generation";

    fn write((): &(), reader: &mut UserSliceReader) -> Result {
        next_generation(reader)
    }
}

fn show_namespaces(f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let guard = rcu::read_lock();
    for net in namespaces(&guard).filter(|net| support::is_supported(net)) {
        let Ok(state) = State::of(net, &guard) else {
            continue;
        };
        write!(f, "{}", net.inum())?;
        for (name, value) in State::FIGURES.iter().zip(state.figures()) {
            f.write_fmt(fmt!(" {}={}", *name, value))?;
        }
        writeln!(f)?;
    }
    Ok(())
}

fn show_route_caches(f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let guard = rcu::read_lock();
    for net in namespaces(&guard) {
        let Some(cache) = Cache::of(net, &guard) else {
            continue;
        };
        let report = cache.report();
        f.write_fmt(fmt!(
            "{} entries4={} entries6={} quota={} timeout={} enabled={} aside={}",
            net.inum(),
            report.entries4,
            report.entries6,
            report.quota,
            report.timeout,
            u32::from(report.enabled),
            u32::from(report.aside),
        ))?;
        for (name, value) in stats::NAMES.iter().zip(report.stats) {
            f.write_fmt(fmt!(" {}={}", *name, value))?;
        }
        writeln!(f)?;
    }
    Ok(())
}

fn show_tables(f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let Ok(Tables { v4, v6, .. }) = tables::get() else {
        return Ok(());
    };
    let mut show = |family: &str, lines: u32, entries: u64, limit: u64| {
        f.write_fmt(fmt!(
            "{family} lines={lines} entries={entries} limit={limit}\n"
        ))
    };
    show("ipv4", v4.lines(), v4.entries(), v4.limit())?;
    show("ipv6", v6.lines(), v6.entries(), v6.limit())
}

fn next_generation(reader: &mut UserSliceReader) -> Result {
    let mut command = [0u8; COMMAND_LEN];
    let len = reader.len();
    let command = command.get_mut(..len).ok_or(E2BIG)?;
    reader.read_slice(command)?;
    let net = parse_namespace(core::str::from_utf8(command)?)?;
    support::check(&net)?;
    State::of(&net, &rcu::read_lock())?.next_generation();
    Ok(())
}

/// Finds the namespace that `pid NUMBER` or `fd NUMBER` stands for.
fn parse_namespace(command: &str) -> Result<NamespaceRef> {
    let mut words = command.split_ascii_whitespace();
    let (Some(kind), Some(number), None) = (words.next(), words.next(), words.next()) else {
        return Err(EINVAL);
    };
    let number = number.parse().map_err(|_| EINVAL)?;
    match kind {
        "pid" => LiveNamespace::get_by_pid(number),
        "fd" => LiveNamespace::get_by_fd(number),
        _ => Err(EINVAL),
    }
}
