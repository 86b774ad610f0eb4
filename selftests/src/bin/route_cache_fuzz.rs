// SPDX-License-Identifier: GPL-2.0

//! Random scenes, with and without the route cache: what arrives where, errors and counters are the
//! same.
//!
//! `route_cache_fuzz [SEED [SCENES]]`: scene number n of a seed has the seed `SEED + n`, so one scene
//! can be run alone. Without a seed one is drawn, and printed.

use std::fs::File;
use std::io::Read;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, Result, ensure};

use rnetns_selftests::fuzz::scene::{self, Step, scene};
use rnetns_selftests::fuzz::shrink::shrink;
use rnetns_selftests::fuzz::{Difference, Second, Tally, run, script, world};
use rnetns_selftests::ktap::{self, Outcome, comment};
use rnetns_selftests::module::{Loaded, Module};

/// Scenes as a selftest.
const SCENES: u64 = 15;
/// How many different scenes are told, before the rest is not run.
const TOLD: usize = 3;

fn main() -> ExitCode {
    ktap::run(&[
        ("a_difference_is_noticed_and_cut_down", difference),
        ("packets_go_where_they_go_without_the_cache", scenes),
    ])
}

fn argument(number: usize) -> Result<Option<u64>> {
    let word = std::env::args().nth(number).filter(|word| !word.is_empty());
    word.map(|word| word.parse().with_context(|| format!("'{word}' is no number"))).transpose()
}

fn seed() -> Result<u64> {
    if let Some(seed) = argument(1)? {
        return Ok(seed);
    }
    let mut bytes = [0; 4];
    File::open("/dev/urandom")
        .and_then(|mut file| file.read_exact(&mut bytes))
        .context("a seed")?;
    Ok(u32::from_ne_bytes(bytes).into())
}

/// Without a cache, a world that does not mark packets differs from one that does. Of a scene in which
/// a mark decides, what is needed for that is left.
fn difference() -> Result<Outcome> {
    let _module = load()?;
    let steps = scene::about_a_mark();
    let (_, difference) = run(&steps, Second::WithoutMarks)?;
    let difference = difference.context("nobody notices that packets have no marks")?;
    let least = cut_down(&steps, &difference, Second::WithoutMarks)?;
    comment(&format!("{} steps, cut down to {}", steps.len(), least.len()));
    // The other route, the rule, the mark, the packet.
    ensure!(least.len() == 4, "other steps are left:\n{}", script(&least));
    let (_, difference) = run(&steps, Second::WithoutCache)?;
    ensure!(difference.is_none(), "the cache makes a difference: {difference:?}");
    Ok(Outcome::Pass)
}

/// The module, with caches that are off at first and let no entry expire.
fn load() -> Result<Loaded> {
    let module = Module::open()?.load_with(c"enable=N timeout=3600").context("load rnetns")?;
    world::without_limits()?;
    Ok(module)
}

/// The fewest steps that still show a difference.
fn cut_down(steps: &[Step], difference: &Difference, second: Second) -> Result<Vec<Step>> {
    shrink(&steps[..difference.after], |steps| Ok(run(steps, second)?.1.is_some()))
}

fn scenes() -> Result<Outcome> {
    let (first, scenes) = (seed()?, argument(2)?.unwrap_or(SCENES));
    comment(&format!("SEED={first} SCENES={scenes}"));
    let _module = load()?;
    let (begin, mut tally, mut told) = (Instant::now(), Tally::default(), 0);
    let mut done = 0;
    for seed in first..first.saturating_add(scenes) {
        let steps = scene(seed);
        let (one, difference) =
            run(&steps, Second::WithoutCache).with_context(|| format!("SEED={seed}"))?;
        tally.add(one);
        done += 1;
        if let Some(difference) = difference {
            told += 1;
            tell(seed, &steps, &difference)?;
            if told == TOLD {
                break;
            }
        }
    }
    comment(&format!("{done} scenes in {:.1} s: {tally:?}", begin.elapsed().as_secs_f64()));
    ensure!(told == 0, "{told} of {done} scenes differ: SEED={first} SCENES={done}");
    // Else it says nothing.
    ensure!(done < 10 || tally.hits > tally.packets / 10, "hardly anything hits");
    Ok(Outcome::Pass)
}

fn tell(seed: u64, steps: &[Step], difference: &Difference) -> Result<()> {
    comment(&format!("SEED={seed} SCENES=1 differs after {} steps:", difference.after));
    comment(&difference.text);
    if run(steps, Second::WithoutCache)?.1.is_none() {
        comment("It does not differ when it is run again.");
        return Ok(());
    }
    let least = cut_down(steps, difference, Second::WithoutCache)?;
    match run(&least, Second::WithoutCache)?.1 {
        Some(difference) => {
            comment(&format!("cut down to {} steps:\n{}", least.len(), difference.text))
        }
        None => comment("cut down, it does not differ each time"),
    }
    comment(&script(&least));
    Ok(())
}
