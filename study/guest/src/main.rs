// SPDX-License-Identifier: GPL-2.0

//! The guest's program of the study. It prints KTAP, and each result as a line `# result JSON`.
//!
//! `study --list` prints what there is to run, one a line: `known`, `claims`, and each way. Without it,
//! runs what the variable `STUDY_PART` says.

use std::env;
use std::process::ExitCode;

use anyhow::{Context, Result};
use rnetns_selftests::ktap::{self, Outcome};
use rnetns_selftests::module::Module;
use rnetns_study::claims::{self, Claim};
use rnetns_study::known;
use rnetns_study::layout::Layout;
use rnetns_study::measure::{Case, cases, verify};
use rnetns_study::tracing::Tracing;
use rnetns_study::world::{WAYS, Way, World, load_cache};

/// The part that checks the counters.
const KNOWN: &str = "known";
/// What it checks.
type Check = fn(&Tracing) -> Result<()>;
const CHECKS: [(&str, Check); 5] = [
    (
        "a cloned packet that is written to is copied once",
        known::a_cloned_packet_that_is_written_to_is_copied_once,
    ),
    (
        "a packet without the headroom is copied once",
        known::a_packet_without_the_headroom_is_copied_once,
    ),
    ("each function counts its own calls", known::each_function_counts_its_own_calls),
    (
        "a packet of a socket is copied once for XDP",
        known::a_packet_of_a_socket_is_copied_once_for_xdp,
    ),
    ("a record without room is refused", known::a_record_without_room_is_refused),
];
/// The part about the RFD's claims.
const CLAIMS: &str = "claims";
/// The ways of the quick study.
const QUICK: [Way; 4] = [Way::Direct, Way::Bridge, Way::Routed, Way::NatNft];

fn main() -> ExitCode {
    let quick = env::var_os("STUDY_QUICK").is_some_and(|value| value == "1");
    if env::args().nth(1).is_some_and(|word| word == "--list") {
        println!("{KNOWN}");
        if !quick {
            println!("{CLAIMS}");
        }
        for way in WAYS.iter().filter(|way| !quick || QUICK.contains(way)) {
            println!("{}", way.name());
        }
        return ExitCode::SUCCESS;
    }
    match run(quick) {
        Ok(code) => code,
        Err(error) => {
            println!("Bail out! {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Runs the part.
fn run(quick: bool) -> Result<ExitCode> {
    let part = env::var("STUDY_PART").context("STUDY_PART says which part")?;
    if part == CLAIMS {
        return run_claims();
    }
    let _module = Module::named(c"rnetns_study")?.load()?;
    let tracing = Tracing::open(&Layout::read()?)?;
    if part == KNOWN {
        let cases = CHECKS.iter().map(|(name, check)| {
            let check = *check;
            let tracing = &tracing;
            ((*name).to_owned(), move || check(tracing).map(|()| Outcome::Pass))
        });
        return Ok(ktap::run_each(cases));
    }
    let way = Way::find(&part)?;
    let _cache = if way.has_cache() { Some(load_cache()?) } else { None };
    let world = World::new(way)?;
    let cases = cases(&world, quick);
    let (world, tracing) = (&world, &tracing);
    Ok(ktap::run_each(
        cases.iter().map(|case| {
            (case.name(), move || measured(case, world, tracing).map(|()| Outcome::Pass))
        }),
    ))
}

fn run_claims() -> Result<ExitCode> {
    let _module = claims::load()?;
    type Figures = Box<dyn Fn() -> Result<Vec<Claim>>>;
    let mut cases: Vec<(String, Figures)> = vec![
        ("a parameter, and a current namespace".to_owned(), Box::new(claims::parameter)),
        ("an empty table".to_owned(), Box::new(claims::empty_table)),
    ];
    for namespaces in claims::NAMESPACES {
        let name = format!("look-ups in {namespaces} namespaces");
        cases.push((name, Box::new(move || claims::look_ups(namespaces))));
    }
    Ok(ktap::run_each(cases.into_iter().map(|(name, figures)| {
        (name, move || {
            for claim in figures()? {
                let text = serde_json::to_string(&claim).context("encode a result")?;
                println!("# result {text}");
            }
            Ok(Outcome::Pass)
        })
    })))
}

fn measured(case: &Case, world: &World, tracing: &Tracing) -> Result<()> {
    let measurement = case.measure(world, tracing)?;
    let text = serde_json::to_string(&measurement).context("encode a result")?;
    println!("# result {text}");
    verify(&measurement, world.way)
}
