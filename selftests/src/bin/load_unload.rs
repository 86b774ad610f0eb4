// SPDX-License-Identifier: GPL-2.0

//! Loading and unloading, with no, one and many namespaces besides the initial one: each has the
//! device and the state while the module is loaded, and neither before nor after.

use std::ffi::CString;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result, bail, ensure};
use nix::errno::Errno;

use rnetns_selftests::command::{ip, run};
use rnetns_selftests::ktap::{self, Outcome};
use rnetns_selftests::memory::{self, settled_namespaces, wait_for_namespaces};
use rnetns_selftests::module::{self, Module};
use rnetns_selftests::netns::{Netns, has_device};
use rnetns_selftests::wait_until;

/// Repeats. A leak or a stale registration shows at the second time.
const ROUNDS: u32 = 5;

fn main() -> ExitCode {
    if let Some(why) = memory::missing() {
        return ktap::skip_all(&why);
    }
    ktap::run(&[
        ("describes_itself", describes_itself),
        ("refuses_parameters_out_of_range_by_name", refuses_parameters),
        ("loads_and_unloads_in_the_initial_namespace_alone", || with_namespaces(0)),
        ("loads_and_unloads_with_one_more_namespace", || with_namespaces(1)),
        ("loads_and_unloads_with_200_namespaces", || with_namespaces(200)),
        ("loads_again_and_again", again_and_again),
        ("does_not_load_twice", twice),
        ("undoes_everything_when_a_device_name_is_taken", name_taken),
        ("takes_a_device_in_use_away", in_use),
    ])
}

/// The module's parameters.
const PARAMETERS: [&str; 7] =
    ["init_net_only", "rlo", "buckets", "quota", "max_quota", "timeout", "enable"];

/// Values that the module refuses, and the name that the kernel log must give.
const REFUSED: [(&str, &str); 6] = [
    ("buckets=1000", "from 1024 to 2097152"),
    ("buckets=4194304", "from 1024 to 2097152"),
    ("quota=0", "from 1 to 1048576"),
    ("quota=2 max_quota=1", "from 1 to 1 (max_quota)"),
    ("max_quota=0", "from 1 to 4194304"),
    ("timeout=0", "from 1 to 86400 seconds"),
];

/// The initial namespace and `count` new ones.
fn namespaces(count: usize) -> Result<Vec<Netns>> {
    [Netns::own()].into_iter().chain((0..count).map(|_| Netns::new())).collect()
}

/// How many of these namespaces have the device.
fn devices(namespaces: &[Netns]) -> Result<usize> {
    let has = namespaces.iter().map(|net| net.run(has_device));
    Ok(has.collect::<Result<Vec<_>>>()?.into_iter().filter(|&has| has).count())
}

/// Nothing of the module is left in any of these namespaces.
fn gone(namespaces: &[Netns]) -> Result<()> {
    let left = devices(namespaces)?;
    ensure!(left == 0, "{left} devices left behind");
    for path in ["/sys/module/rnetns", module::DEBUGFS] {
        ensure!(!Path::new(path).exists(), "{path} is still there");
    }
    Ok(())
}

fn with_namespaces(count: usize) -> Result<Outcome> {
    let module = Module::open()?;
    let at_first = settled_namespaces()?;
    let namespaces = namespaces(count)?;
    gone(&namespaces).context("before")?;
    let loaded = module.load()?;
    let (devices, want) = (devices(&namespaces)?, namespaces.len());
    ensure!(devices == want, "{devices} devices, want {want}");
    let states = module::all()?;
    for net in &namespaces {
        ensure!(states.contains_key(&net.inum()), "namespace {} has no state", net.inum());
    }
    // Other namespaces may be ending, and some of those are still listed.
    let alone = wait_until(|| module::all().is_ok_and(|states| states.len() == want));
    ensure!(alone, "{} namespaces have state, want {want}", module::all()?.len());
    loaded.unload()?;
    gone(&namespaces).context("after")?;
    drop(namespaces);
    wait_for_namespaces(at_first)?;
    Ok(Outcome::Pass)
}

fn again_and_again() -> Result<Outcome> {
    let module = Module::open()?;
    let namespaces = namespaces(2)?;
    for round in 1..=ROUNDS {
        let loaded = module.load().with_context(|| format!("round {round}"))?;
        ensure!(devices(&namespaces)? == 3, "round {round}: devices are missing");
        loaded.unload().with_context(|| format!("round {round}"))?;
        gone(&namespaces).with_context(|| format!("round {round}"))?;
    }
    Ok(Outcome::Pass)
}

fn twice() -> Result<Outcome> {
    let module = Module::open()?;
    let namespaces = namespaces(1)?;
    let loaded = module.load()?;
    match module.try_load() {
        Err(Errno::EEXIST) => {}
        Err(error) => bail!("the second time: {error}, want EEXIST"),
        Ok(second) => {
            std::mem::forget(second);
            bail!("loaded twice");
        }
    }
    ensure!(devices(&namespaces)? == 2, "the refused load took devices away");
    loaded.unload()?;
    Ok(Outcome::Pass)
}

/// The name is taken in the last of three namespaces: the module must undo what the others got.
fn name_taken() -> Result<Outcome> {
    let module = Module::open()?;
    let namespaces = namespaces(2)?;
    let (taken, others) = namespaces.split_last().context("three namespaces")?;
    taken.run(|| ip(&["link add rlo type dummy"]))?;
    // The module loader uses EEXIST for itself, so a module's init cannot return it.
    match module.try_load() {
        Err(Errno::EBUSY) => {}
        Err(error) => bail!("{error}, want EBUSY"),
        Ok(_) => bail!("loaded although a namespace has a device of that name"),
    }
    gone(others)?;
    // It is still the dummy: rlo could not be deleted.
    taken.run(|| ip(&["link del rlo"]))?;
    let loaded = module.load().context("without the obstacle")?;
    ensure!(devices(&namespaces)? == 3, "no device where the name was taken");
    loaded.unload()?;
    gone(&namespaces)?;
    Ok(Outcome::Pass)
}

fn in_use() -> Result<Outcome> {
    let module = Module::open()?;
    let at_first = settled_namespaces()?;
    let namespaces = namespaces(1)?;
    let loaded = module.load()?;
    let busy = &namespaces[1];
    busy.run(|| {
        ip(&["link set rlo up", "addr add 192.0.2.1/32 dev rlo", "route add 192.0.2.2/32 dev rlo"])
    })?;
    loaded.unload()?;
    gone(&namespaces)?;
    let routes = busy.run(|| run("ip route show"))?;
    ensure!(routes.is_empty(), "routes left: {routes}");
    drop(namespaces);
    wait_for_namespaces(at_first)?;
    Ok(Outcome::Pass)
}

fn describes_itself() -> Result<Outcome> {
    let file = module::file(module::NAME);
    let field = |name: &str| run(&format!("modinfo -F {name} {}", file.display()));
    for name in ["description", "author"] {
        ensure!(!field(name)?.trim().is_empty(), "no {name}");
    }
    ensure!(field("license")? == "GPL\n", "license {}", field("license")?);
    let parameters = field("parm")?;
    for line in parameters.lines() {
        let (name, text) = line.split_once(':').unwrap_or((line, ""));
        ensure!(PARAMETERS.contains(&name), "unknown parameter {name}");
        ensure!(text.len() > " (bool)".len(), "parameter {name} says nothing");
    }
    ensure!(parameters.lines().count() == PARAMETERS.len(), "parameters: {parameters}");
    Ok(Outcome::Pass)
}

fn refuses_parameters() -> Result<Outcome> {
    let module = Module::open()?;
    for (parameters, range) in REFUSED {
        let answer = module.load_with(&CString::new(parameters)?);
        ensure!(matches!(answer, Err(Errno::EINVAL)), "{parameters}: {:?}", answer.err());
        let log = run("dmesg")?;
        let said = log.lines().rev().find(|line| line.contains("rnetns: ")).unwrap_or_default();
        let name = parameters.split('=').next().unwrap_or_default();
        ensure!(said.contains(name) && said.contains(range), "{parameters}: {said:?}");
    }
    Ok(Outcome::Pass)
}
