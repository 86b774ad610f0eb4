// SPDX-License-Identifier: GPL-2.0

//! The files that start measurements and show their results.
//!
//! In `/sys/kernel/debug/rnetns_bench/`:
//!
//! - `measure`: the write returns when it is done.
//!   - `state PID`, `traffic PID`: in the namespace of that process; `traffic` wants `lo` and `rlo`
//!     up. `lo NAME PID`: packets through `lo` alone.
//!   - `table SET ENTRIES NAMESPACES LOOK_UPS`, `update ENTRIES NAMESPACES`, `end ENTRIES`, and
//!     `fib ENTRIES LOOK_UPS ROUTES PID DEVICE`: see [`table`].
//!   - `forward NAME KIND FLOWS PACKETS ROUTES PID IN OUT [IN OUT]`: see [`forward`].
//!   - `hooks on|off`: see [`idle_hooks`].
//!   - `hold WHAT LINES empty|one|full`, `hold off`: keeps a table in memory, with as many entries
//!     as it has lines, or as it takes.
//! - `results`: what the last write to `measure` found, a line each: `NAME lost=N ns=A,B,...`: how
//!   many operations failed, and nanoseconds for one operation, once for each repeat.
//! - `watch`: `LOWER PID UPPER PID` starts the experiment of [`current_namespace`] on two devices,
//!   each in the namespace of a process; `off` ends it. It holds the devices: end it before they
//!   go.
//! - `attribution`: its counts, `NAME=COUNT` in each line.

use kernel::{
    debugfs::module_dir::{
        Entry,
        ModuleDir,
        ModuleFile, //
    },
    fmt,
    net::{
        Cookie,
        LiveNamespace,
        NamespaceRef, //
    },
    new_mutex,
    prelude::*,
    str::CString,
    sync::Mutex,
    uaccess::UserSliceReader, //
};

use crate::{
    current_namespace::Experiment,
    device::NetDeviceRef,
    figures::Figure,
    forward,
    idle_hooks::{
        self,
        IdleHooks, //
    },
    state,
    table::{
        self,
        Filling,
        Held, //
    },
    traffic, //
};

/// The files, for as long as this exists.
pub(crate) type Control = ModuleDir<Bench>;

/// The longest command, in bytes.
const COMMAND_LEN: usize = 192;

/// What the files share.
#[pin_data]
pub(crate) struct Bench {
    #[pin]
    results: Mutex<KVec<Figure>>,
    #[pin]
    experiment: Mutex<Option<Experiment>>,
    #[pin]
    held: Mutex<Option<Held>>,
    #[pin]
    hooks: Mutex<Option<IdleHooks>>,
}

/// Makes the files.
pub(crate) fn new() -> impl PinInit<Control> {
    let bench = pin_init!(Bench {
        results <- new_mutex!(KVec::new()),
        experiment <- new_mutex!(None),
        held <- new_mutex!(None),
        hooks <- new_mutex!(None),
    });
    static FILES: &[Entry<Bench>] = &[
        Entry::of::<Measure>(),
        Entry::of::<Results>(),
        Entry::of::<Watch>(),
        Entry::of::<Attribution>(),
    ];
    ModuleDir::new(c"rnetns_bench", FILES, bench)
}

struct Measure;

#[vtable]
impl ModuleFile for Measure {
    type Data = Bench;

    const NAME: &'static CStr = c"measure";

    fn write(bench: &Bench, reader: &mut UserSliceReader) -> Result {
        bench.measure(command(reader)?.to_str()?)
    }
}

struct Results;

#[vtable]
impl ModuleFile for Results {
    type Data = Bench;

    const NAME: &'static CStr = c"results";

    fn show(bench: &Bench, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let results = bench.results.lock();
        results.iter().try_for_each(|figure| figure.show(f))
    }
}

struct Watch;

#[vtable]
impl ModuleFile for Watch {
    type Data = Bench;

    const NAME: &'static CStr = c"watch";

    fn write(bench: &Bench, reader: &mut UserSliceReader) -> Result {
        bench.watch(command(reader)?.to_str()?)
    }
}

struct Attribution;

#[vtable]
impl ModuleFile for Attribution {
    type Data = Bench;

    const NAME: &'static CStr = c"attribution";

    fn show(bench: &Bench, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let experiment = bench.experiment.lock();
        experiment.as_ref().map_or(Ok(()), |it| it.show(f))
    }
}

impl Bench {
    fn measure(&self, command: &str) -> Result {
        let mut words = KVec::new();
        for word in command.split_ascii_whitespace() {
            words.push(word, GFP_KERNEL)?;
        }
        let mut results = self.results.lock();
        results.clear();
        *results = match &words[..] {
            ["state", pid] => state::measure(&*namespace(pid)?)?,
            ["traffic", pid] => traffic::measure(&*namespace(pid)?)?,
            ["lo", name, pid] => traffic::measure_lo(&*namespace(pid)?, name)?,
            ["table", set, entries, namespaces, n] => table::measure(
                set,
                number(entries)?,
                number(namespaces)?,
                number(n)?.into(),
            )?,
            ["update", entries, namespaces] => {
                table::measure_updates(number(entries)?, number(namespaces)?)?
            }
            ["end", entries] => table::measure_ends(number(entries)?)?,
            ["fib", entries, n, routes, pid, dev] => table::measure_fib(
                number(entries)?,
                number(n)?.into(),
                number(routes)?,
                device(dev, pid)?.0,
            )?,
            ["forward", name, kind, flows, packets, routes, pid, devices @ ..] => {
                let mut paths = KVec::new();
                for pair in devices.chunks(2) {
                    let [input, output] = pair else {
                        return Err(EINVAL);
                    };
                    let path = forward::Path::new(device(input, pid)?.0, device(output, pid)?.0);
                    paths.push(path, GFP_KERNEL)?;
                }
                let flows = forward::Flows::new(kind, number(flows)?, number(routes)?)?;
                forward::measure(name, flows, number(packets)?.into(), &mut paths)?
            }
            ["hooks", "on"] => {
                let mut hooks = self.hooks.lock();
                if hooks.is_none() {
                    *hooks = Some(idle_hooks::register()?);
                }
                KVec::new()
            }
            ["hooks", "off"] => {
                *self.hooks.lock() = None;
                KVec::new()
            }
            ["hold", "off"] => {
                *self.held.lock() = None;
                KVec::new()
            }
            ["hold", what, lines, filling] => {
                let filling = match *filling {
                    "empty" => Filling::Empty,
                    "one" => Filling::OneALine,
                    "full" => Filling::Full,
                    _ => return Err(EINVAL),
                };
                let held = Held::new(what, number(lines)?, filling)?;
                *self.held.lock() = Some(held);
                KVec::new()
            }
            _ => return Err(EINVAL),
        };
        Ok(())
    }

    fn watch(&self, command: &str) -> Result {
        let mut words = command.split_ascii_whitespace();
        let experiment = match (words.next(), words.next(), words.next(), words.next()) {
            (Some("off"), None, None, None) => None,
            (Some(lower), Some(lower_pid), Some(upper), Some(upper_pid)) => Some(Experiment::new(
                device(lower, lower_pid)?,
                device(upper, upper_pid)?,
            )?),
            _ => return Err(EINVAL),
        };
        *self.experiment.lock() = experiment;
        Ok(())
    }
}

/// What user space has written, without the white space around it.
pub(crate) fn command(reader: &mut UserSliceReader) -> Result<CString> {
    let mut buffer = [0u8; COMMAND_LEN];
    let len = reader.len();
    let bytes = buffer.get_mut(..len).ok_or(E2BIG)?;
    reader.read_slice(bytes)?;
    CString::try_from_fmt(fmt!("{}", core::str::from_utf8(bytes)?.trim()))
}

fn number(word: &str) -> Result<u32> {
    word.parse().map_err(|_| EINVAL)
}

/// The namespace of a process.
fn namespace(pid: &str) -> Result<NamespaceRef> {
    LiveNamespace::get_by_pid(pid.parse().map_err(|_| EINVAL)?)
}

/// A device in the namespace of a process, and that namespace's tag.
fn device(name: &str, pid: &str) -> Result<(NetDeviceRef, Cookie)> {
    let net = namespace(pid)?;
    let name = CString::try_from_fmt(fmt!("{}", name))?;
    Ok((NetDeviceRef::get_by_name(&net, &name)?, net.cookie()))
}
