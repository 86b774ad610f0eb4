// SPDX-License-Identifier: GPL-2.0

//! Whether the table that namespaces share does what it should.
//!
//! | module | holds |
//! |---|---|
//! | [`value`] | values that know where they belong, and whether they were given up |
//! | [`shadow`] | an owner, and beside it a plain list of what it should have |
//! | [`model`] | random operations, each compared with the list |
//! | [`attack`] | keys that someone has chosen |
//! | [`torture`] | the same on several CPUs at once, beside look-ups |
//!
//! In `/sys/kernel/debug/rnetns_table_check/`:
//!
//! - `run`: the write returns when it is done; `EBADMSG` when the table does not what it should.
//!   - `model WORDS LINES STEPS SEED`: keys of 4 or 11 words. `lie STEPS`: a model that is wrong
//!     on purpose, which must be noticed.
//!   - `attack WORDS`: keys that were chosen to meet.
//!   - `fair WORDS`: what owners are promised, beside others that take all they may.
//!   - `flushes`, `walks`, `expiry`, `forgery`, `tags`: one behaviour each.
//!   - `begin`, then several `churn 0|1 MS SEED` and `read MS SEED` at once, then `end`.
//! - `report`: what was done, `NAME=COUNT` in each line, and what was wrong.

mod attack;
mod model;
mod shadow;
mod torture;
mod value;

use kernel::{
    debugfs::module_dir::{
        Entry,
        ModuleDir,
        ModuleFile, //
    },
    fmt,
    new_mutex,
    prelude::*,
    str::CString,
    sync::{
        Arc,
        Mutex, //
    },
    uaccess::UserSliceReader, //
};

use self::torture::Torture;
use crate::control::command;

/// The files, for as long as this exists.
pub(crate) type TableCheck = ModuleDir<Files>;

/// What the table did that it should not.
#[derive(Clone, Copy)]
struct Wrong(&'static str);

/// Why a check ended.
enum Stopped {
    /// The table is wrong: in which step, and in what.
    Wrong(u64, Wrong),
    /// There was no memory, say.
    Failed(Error),
}

impl From<Wrong> for Stopped {
    fn from(wrong: Wrong) -> Self {
        Self::Wrong(0, wrong)
    }
}

impl From<Error> for Stopped {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

impl From<kernel::alloc::AllocError> for Stopped {
    fn from(error: kernel::alloc::AllocError) -> Self {
        Self::Failed(error.into())
    }
}

/// What was done: a check in which nothing happens proves nothing.
#[derive(Clone, Copy, Default)]
struct Tally {
    inserts: u64,
    replaced: u64,
    limited: u64,
    no_room: u64,
    found: u64,
    not_found: u64,
    evicted: u64,
    expired: u64,
    flushes: u64,
    owners: u64,
    displaced: u64,
}

impl Tally {
    fn add(&mut self, other: &Self) {
        self.inserts += other.inserts;
        self.replaced += other.replaced;
        self.limited += other.limited;
        self.no_room += other.no_room;
        self.found += other.found;
        self.not_found += other.not_found;
        self.evicted += other.evicted;
        self.expired += other.expired;
        self.flushes += other.flushes;
        self.owners += other.owners;
        self.displaced += other.displaced;
    }

    fn show(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, count) in [
            ("inserts", self.inserts),
            ("replaced", self.replaced),
            ("limited", self.limited),
            ("no_room", self.no_room),
            ("found", self.found),
            ("not_found", self.not_found),
            ("evicted", self.evicted),
            ("expired", self.expired),
            ("flushes", self.flushes),
            ("owners", self.owners),
            ("displaced", self.displaced),
        ] {
            f.write_fmt(fmt!("{}={}\n", name, count))?;
        }
        Ok(())
    }
}

/// Numbers that look random, and are the same for the same seed.
struct Random(u64);

impl Random {
    fn new(seed: u32) -> Self {
        Self((u64::from(seed) << 1) | 1)
    }

    fn below(&mut self, limit: u32) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (((self.0 >> 32) * u64::from(limit)) >> 32) as u32
    }
}

/// What the last checks came to.
#[derive(Default)]
struct Report {
    tally: Tally,
    wrong: Option<(u64, Wrong)>,
}

/// What the files share.
#[pin_data]
pub(crate) struct Files {
    #[pin]
    report: Mutex<Report>,
    #[pin]
    torture: Mutex<Option<Arc<Torture>>>,
}

/// Makes the files.
pub(crate) fn new() -> impl PinInit<TableCheck> {
    let files = pin_init!(Files {
        report <- new_mutex!(Report::default()),
        torture <- new_mutex!(None),
    });
    static FILES: &[Entry<Files>] = &[Entry::of::<Run>(), Entry::of::<ReportFile>()];
    ModuleDir::new(c"rnetns_table_check", FILES, files)
}

struct Run;

#[vtable]
impl ModuleFile for Run {
    type Data = Files;

    const NAME: &'static CStr = c"run";

    fn write(files: &Files, reader: &mut UserSliceReader) -> Result {
        files.run(&command(reader)?)
    }
}

struct ReportFile;

#[vtable]
impl ModuleFile for ReportFile {
    type Data = Files;

    const NAME: &'static CStr = c"report";

    fn show(files: &Files, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        files.show(f)
    }
}

impl Files {
    fn run(&self, command: &CString) -> Result {
        let mut words = KVec::new();
        for word in command.to_str()?.split_ascii_whitespace() {
            words.push(word, GFP_KERNEL)?;
        }
        let number = |word: &str| word.parse::<u32>().map_err(|_| EINVAL);
        let result = match &words[..] {
            ["model", "4", lines, steps, seed] => {
                self.fresh();
                model::run::<4>(number(lines)?, number(steps)?, number(seed)?, false)
            }
            ["model", "11", lines, steps, seed] => {
                self.fresh();
                model::run::<11>(number(lines)?, number(steps)?, number(seed)?, false)
            }
            ["lie", steps] => {
                self.fresh();
                model::run::<4>(64, number(steps)?, 1, true)
            }
            ["attack", words] => {
                self.fresh();
                match *words {
                    "4" => attack::run::<4>(),
                    "11" => attack::run::<11>(),
                    _ => return Err(EINVAL),
                }
            }
            ["fair", words] => {
                self.fresh();
                match *words {
                    "4" => model::fair::<4>(),
                    "11" => model::fair::<11>(),
                    _ => return Err(EINVAL),
                }
            }
            ["flushes"] => {
                self.fresh();
                model::flushes()
            }
            ["walks"] => {
                self.fresh();
                model::walks()
            }
            ["expiry"] => {
                self.fresh();
                model::expiry()
            }
            ["tags"] => {
                self.fresh();
                model::tags()
            }
            ["forgery"] => {
                self.fresh();
                model::forgery()
            }
            ["begin"] => {
                self.fresh();
                *self.torture.lock() = Some(Torture::new()?);
                Ok(Tally::default())
            }
            ["churn", which @ ("0" | "1"), ms, seed] => {
                let (torture, which) = (self.torture()?, number(which)?);
                torture.churn(which as usize, number(ms)?, number(seed)?)
            }
            ["read", ms, seed] => self.torture()?.read(number(ms)?, number(seed)?),
            ["end"] => {
                let torture = self.torture.lock().take();
                torture.ok_or(ENOENT)?.end()
            }
            _ => return Err(EINVAL),
        };
        self.note(result)
    }

    fn fresh(&self) {
        *self.report.lock() = Report::default();
    }

    fn torture(&self) -> Result<Arc<Torture>> {
        self.torture.lock().clone().ok_or(ENOENT)
    }

    fn note(&self, result: Result<Tally, Stopped>) -> Result {
        let mut report = self.report.lock();
        match result {
            Ok(tally) => {
                report.tally.add(&tally);
                Ok(())
            }
            Err(Stopped::Wrong(step, wrong)) => {
                pr_err!("table check: step {}: {}\n", step, wrong.0);
                report.wrong.get_or_insert((step, wrong));
                Err(EBADMSG)
            }
            Err(Stopped::Failed(error)) => Err(error),
        }
    }

    fn show(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let report = self.report.lock();
        report.tally.show(f)?;
        if let Some((step, wrong)) = report.wrong {
            f.write_fmt(fmt!("wrong in step {}: {}\n", step, wrong.0))?;
        }
        Ok(())
    }
}
