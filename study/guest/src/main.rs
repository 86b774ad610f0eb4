// SPDX-License-Identifier: GPL-2.0

//! The guest's program of the study. It prints KTAP, and each result as a line `# result JSON`.
//!
//! `study --list` prints what there is to run, one a line: `known`, and each way. Without it, runs
//! what the variable `STUDY_PART` says.

use std::env;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use rnetns_selftests::module::Module;
use rnetns_study::layout::Layout;
use rnetns_study::measure::{Case, cases};
use rnetns_study::tracing::Tracing;
use rnetns_study::world::{WAYS, Way, World, load_cache};
use rnetns_study::{known, results::Measurement};

/// The part that checks the counters.
const KNOWN: &str = "known";
/// The ways of the quick study.
const QUICK: [Way; 4] = [Way::Direct, Way::Bridge, Way::Routed, Way::NatNft];

fn main() -> ExitCode {
    let quick = env::var_os("STUDY_QUICK").is_some_and(|value| value == "1");
    if env::args().nth(1).is_some_and(|word| word == "--list") {
        println!("{KNOWN}");
        for way in WAYS.iter().filter(|way| !quick || QUICK.contains(way)) {
            println!("{}", way.name());
        }
        return ExitCode::SUCCESS;
    }
    match run(quick) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            println!("Bail out! {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Runs the part. Returns whether all of it went well.
fn run(quick: bool) -> Result<bool> {
    println!("KTAP version 1");
    let part = env::var("STUDY_PART").context("STUDY_PART says which part")?;
    let _module = Module::named(c"rnetns_study")?.load()?;
    let tracing = Tracing::open(&Layout::read()?)?;
    if part == KNOWN {
        println!("1..2");
        let cases = [
            (
                "a cloned packet that is written to is copied once",
                known::a_cloned_packet_that_is_written_to_is_copied_once(&tracing),
            ),
            (
                "a packet without the headroom is copied once",
                known::a_packet_without_the_headroom_is_copied_once(&tracing),
            ),
        ];
        let mut well = true;
        for (number, (name, result)) in (1..).zip(cases) {
            well &= tell(number, name, &result);
        }
        return Ok(well);
    }
    let way = Way::find(&part)?;
    let _cache = if way == Way::RoutedCache { Some(load_cache()?) } else { None };
    let world = World::new(way)?;
    let cases = cases(&world, quick);
    println!("1..{}", cases.len());
    let mut well = true;
    for (number, case) in (1..).zip(&cases) {
        well &= tell(number, &case.name(), &measured(case, &world, &tracing));
    }
    Ok(well)
}

fn measured(case: &Case, world: &World, tracing: &Tracing) -> Result<()> {
    let measurement: Measurement = case.measure(world, tracing)?;
    let text = serde_json::to_string(&measurement).context("encode a result")?;
    println!("# result {text}");
    if measurement.packets == 0 {
        bail!("no packet was seen");
    }
    let copies = measurement.check.copies_by_memory();
    // What XDP copies to is from a pool, and not allocated for each packet.
    if copies != measurement.check.copies as i64 && world.way != Way::XdpRedirect {
        bail!("{copies} copies by memory, {} by probes", measurement.check.copies);
    }
    Ok(())
}

fn tell(number: usize, name: &str, result: &Result<()>) -> bool {
    match result {
        Ok(()) => println!("ok {number} {name}"),
        Err(error) => {
            for line in format!("{error:#}").lines() {
                println!("# {line}");
            }
            println!("not ok {number} {name}");
        }
    }
    result.is_ok()
}
