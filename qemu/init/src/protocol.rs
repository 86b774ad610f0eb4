// SPDX-License-Identifier: GPL-2.0

//! The protocol between the lab and its guest.
//!
//! A [`GuestJob`] says what the guest has to do. It is in a file of the initramfs. If the guest
//! starts before the job is known, the lab sends the job as a line over a virtio port. The guest
//! answers over that port with frames: a kind, a length, bytes. The output of programs is sent as
//! it is, everything else as JSON.
//!
//! The port is not the console: on the console, a kernel message could split a line of a test, and
//! a test could forge a kernel message.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::io::{self, Read, Write};
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The name by which the guest finds the virtio port.
pub const PORT: &str = "lab.events";
/// Name of the virtio port with a command's standard input.
pub const INPUT: &str = "lab.input";
/// Tag of the 9p export of the host's root.
pub const HOST_TAG: &str = "host";
/// Where the lab's files are in the guest.
pub const LAB_DIR: &str = "/lab";
/// The file with a [`Beginning`].
pub const START_FILE: &str = "/lab/start.json";
/// The modules.
pub const MODULES_DIR: &str = "/lab/modules";
/// The selftests, and their current directory.
pub const SELFTESTS_DIR: &str = "/lab/selftests";
/// Programs that commands and tests find by their name.
pub const TOOLS_DIR: &str = "/lab/tools";
/// Start of the mark in the kernel log before a test, see [`GuestJob::mark`].
pub const LOG_BEGIN: &str = "vmlab-init: begin ";
/// Start of the mark after a test.
pub const LOG_END: &str = "vmlab-init: end ";
/// Start of the last mark: PID 1 has nothing more to do.
pub const LOG_DONE: &str = "vmlab-init: done ";
/// The search for leaks after the tests has marks like a test of this name.
pub const LEAKS: &str = "kmemleak";
/// Start of the line in the kernel log with the panic of PID 1.
pub const LOG_PANIC: &str = "vmlab-init: panicked: ";

/// The reason that PID 1 gives if the guest's memory is too small for the job's files.
pub const NO_ROOM: &str = "no memory for the files";

/// Part of the reason if a module was loaded and cannot be unloaded.
pub const DOES_NOT_UNLOAD: &str = "does not unload";

/// The tag of a 9p export for writing.
pub fn writable_tag(number: usize) -> String {
    format!("writable{number}")
}

/// The instructions in the initramfs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Beginning {
    /// PID 1 continues at once.
    Start(Start),
    /// The machine is saved as soon as PID 1 runs ([`Event::Saveable`], with this key), and each
    /// copy of it gets a [`Wake`].
    Save { key: u64 },
}

/// The instructions for a copy of a snapshot: the first line that the lab sends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wake {
    /// The same as in the initramfs of a machine that boots.
    pub start: Start,
    /// Random bytes, so that no two copies choose the same numbers.
    pub seed: [u8; 32],
    /// The time since 1970: the copy's clock still has the time of the snapshot.
    pub now: Duration,
}

/// What PID 1 knows when it starts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Start {
    /// A number that only the lab and PID 1 know, so that no other program speaks for PID 1 by
    /// accident.
    pub key: u64,
    /// What to do, if that was known when the guest was started. Otherwise the lab sends it as its
    /// first line.
    pub job: Option<GuestJob>,
    /// Whether a lab listens and answers. It does not if a person pastes QEMU's command line.
    pub answers: bool,
}

/// What the guest does, and with what.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GuestJob {
    /// A path on the host: the cpio archive (newc) with the files for [`LAB_DIR`].
    pub files: String,
    pub work: GuestWork,
    /// File names in [`MODULES_DIR`] of modules to load first, in this order. Before tests, they
    /// are also unloaded once, to check that this works.
    pub load: Vec<String>,
    /// Whether these modules stay loaded while tests run.
    pub keep_loaded: bool,
    /// Current directory of a command or a shell.
    pub directory: String,
    /// Variables for all programs.
    pub env: Vec<(String, String)>,
    /// Folders of the host to mount for writing, by number of [`writable_tag`].
    pub writable: Vec<String>,
    /// How long a namespace may take to go away after a test.
    pub settle_ms: u64,
    /// See [`Start::key`].
    pub key: u64,
}

impl GuestJob {
    /// A line for the kernel log that only PID 1 can write, since it depends on the key. Each line
    /// is different, so that a program that reads one in the log cannot guess the next.
    pub fn mark(&self, start: &str, name: &str, index: usize) -> String {
        mark(self.key, start, name, index)
    }
}

/// See [`GuestJob::mark`].
pub fn mark(key: u64, start: &str, name: &str, index: usize) -> String {
    let mut hasher = DefaultHasher::new();
    (key, start, name, index).hash(&mut hasher);
    format!("{start}{name} ({:016x})", hasher.finish())
}

/// The kernel's own counters. `None`: this kernel does not have the counter.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    /// Warnings since the boot, with reports of KASAN and the like.
    pub warnings: Option<u64>,
    /// Oopses since the boot.
    pub oopses: Option<u64>,
    /// The bits of the kernel's taint.
    pub taint: Option<u64>,
    /// Whether lockdep is still on.
    pub lockdep: Option<bool>,
}

/// The work of a guest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum GuestWork {
    /// Tests, which run one after another.
    Tests(Vec<GuestTest>),
    /// A line for a shell.
    Command(String),
    /// A shell for a person.
    Shell(Size),
}

/// A test program.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GuestTest {
    /// Its name for people.
    pub name: String,
    /// A file in [`SELFTESTS_DIR`].
    pub program: String,
    /// The time limit, after which it is killed.
    pub timeout_ms: u64,
}

/// Size of a terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Size {
    pub rows: u16,
    pub columns: u16,
}

/// How a program ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// It exited with this status.
    Exited(i32),
    /// A signal killed it.
    Killed(i32),
    /// PID 1 killed it, because it took too long.
    TimedOut,
    /// It took too long, and cannot be killed: it is stuck in the kernel.
    Stuck,
    NotStarted,
}

/// An event that the guest reports.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Event {
    /// PID 1 waits to be saved in a snapshot.
    Saveable,
    /// PID 1 runs and has its port.
    Hello {
        /// As in `uname -r`.
        release: String,
        /// The time since the kernel's start; `None` in a copy of a snapshot, whose kernel started
        /// long ago.
        uptime_ms: Option<u64>,
    },
    /// File systems are mounted, and all processors run. PID 1 now needs the job.
    Mounted,
    /// The job's files are there; work begins.
    Ready,
    /// A problem that does not stop the work.
    Note(String),
    /// The file name of a module that was loaded.
    Loaded(String),
    /// A module could not be loaded, or not unloaded.
    NotLoaded {
        /// Its file name.
        module: String,
        /// The kernel's own words.
        reason: String,
    },
    /// The test of this number starts.
    Begin(usize),
    /// The test of this number is over, and what it left behind is gone.
    End {
        index: usize,
        status: Status,
        /// How long it ran.
        ms: u64,
        /// The kernel's counters after it.
        counters: Counters,
        /// Problems that fail the test, whatever it printed.
        problems: Vec<String>,
        notes: Vec<String>,
    },
    /// The answer to [`Request::Whereabouts`]: where each process waits in the kernel.
    Whereabouts(Vec<String>),
    /// The command or the shell ended.
    Finished(Status),
    /// PID 1 cannot go on.
    GaveUp(String),
    /// All is done. The power goes off next.
    Done,
}

/// A message of the lab to a running guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Request {
    /// The person's terminal has this size now.
    Resize(Size),
    /// The work takes too long: report where each process waits.
    Whereabouts,
    /// The lab has read everything up to the last event: the power may go off.
    Heard,
}

/// A message of the guest to the lab.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    Event(Event),
    /// Standard output of the running program.
    Out(Vec<u8>),
    /// Its standard error.
    Err(Vec<u8>),
    /// Records of the kernel log, as /dev/kmsg gives them.
    Kernel(Vec<u8>),
}

const EVENT: u8 = b'e';
const OUT: u8 = b'1';
const ERR: u8 = b'2';
const KERNEL: u8 = b'k';

/// Bytes of the key in front of each event.
const KEY: usize = size_of::<u64>();

/// The length of the longest frame. A longer one means that the stream is damaged.
const LONGEST: u32 = 1 << 24;

/// Writes a frame with a single write.
pub fn write_frame(to: &mut impl Write, kind: u8, bytes: &[u8]) -> io::Result<()> {
    let length = u32::try_from(bytes.len()).map_err(io::Error::other)?;
    let mut frame = Vec::with_capacity(5 + bytes.len());
    frame.push(kind);
    frame.extend(length.to_le_bytes());
    frame.extend(bytes);
    to.write_all(&frame)
}

impl Frame {
    pub fn write(&self, to: &mut impl Write, key: u64) -> io::Result<()> {
        match self {
            Frame::Event(event) => {
                let mut bytes = key.to_le_bytes().to_vec();
                serde_json::to_writer(&mut bytes, event).map_err(io::Error::other)?;
                write_frame(to, EVENT, &bytes)
            }
            Frame::Out(bytes) => write_frame(to, OUT, bytes),
            Frame::Err(bytes) => write_frame(to, ERR, bytes),
            Frame::Kernel(bytes) => write_frame(to, KERNEL, bytes),
        }
    }

    /// Reads a frame; `None` if the stream ends between two frames.
    pub fn read(from: &mut impl Read, key: u64) -> io::Result<Option<Frame>> {
        let mut kind = Vec::with_capacity(1);
        if from.by_ref().take(1).read_to_end(&mut kind)? == 0 {
            return Ok(None);
        }
        let mut length = [0; 4];
        from.read_exact(&mut length)?;
        let length = u32::from_le_bytes(length);
        if length > LONGEST {
            return Err(io::Error::other(format!("a frame of {length} bytes")));
        }
        let mut bytes = vec![0; length as usize];
        from.read_exact(&mut bytes)?;
        match kind[0] {
            EVENT => event(&bytes, key).map(|event| Some(Frame::Event(event))),
            OUT => Ok(Some(Frame::Out(bytes))),
            ERR => Ok(Some(Frame::Err(bytes))),
            KERNEL => Ok(Some(Frame::Kernel(bytes))),
            other => Err(io::Error::other(format!("a frame of unknown kind {other:#x}"))),
        }
    }
}

fn event(bytes: &[u8], key: u64) -> io::Result<Event> {
    let (theirs, json) =
        bytes.split_at_checked(KEY).ok_or_else(|| io::Error::other("an event without a key"))?;
    if theirs != key.to_le_bytes() {
        return Err(io::Error::other("an event that is not PID 1's"));
    }
    serde_json::from_slice(json).map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(frames: &[Frame]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for frame in frames {
            frame.write(&mut bytes, 7).unwrap();
        }
        bytes
    }

    #[test]
    fn frames_arrive_as_they_were_sent() {
        let frames = [
            Frame::Event(Event::Hello { release: "7.3.4".into(), uptime_ms: Some(812) }),
            Frame::Out(b"ok 1 \xff\n".to_vec()),
            Frame::Err(Vec::new()),
            Frame::Kernel(b"6,0,1,-;Linux version 7.3.4\n".to_vec()),
            Frame::Event(Event::End {
                index: 3,
                status: Status::Exited(4),
                ms: 10,
                counters: Counters { warnings: Some(1), ..Counters::default() },
                problems: vec!["left sample loaded".into()],
                notes: Vec::new(),
            }),
        ];
        let bytes = sent(&frames);
        let mut rest = bytes.as_slice();
        for frame in &frames {
            assert_eq!(Frame::read(&mut rest, 7).unwrap().as_ref(), Some(frame));
        }
        assert_eq!(Frame::read(&mut rest, 7).unwrap(), None);
    }

    #[test]
    fn a_torn_stream_is_an_error_not_an_end() {
        let bytes = sent(&[Frame::Out(b"1234".to_vec())]);
        for length in 1..bytes.len() {
            assert!(Frame::read(&mut &bytes[..length], 7).is_err(), "{length} bytes");
        }
        assert!(Frame::read(&mut &b"x\0\0\0\0"[..], 7).is_err(), "unknown kind");
        assert!(Frame::read(&mut &b"1\xff\xff\xff\xff"[..], 7).is_err(), "absurd length");
    }

    #[test]
    fn a_job_survives_its_file() {
        let job = GuestJob {
            files: "/tmp/x/files".into(),
            work: GuestWork::Shell(Size { rows: 24, columns: 80 }),
            load: vec!["sample.ko".into()],
            keep_loaded: false,
            directory: "/src".into(),
            env: vec![("TERM".into(), "xterm".into())],
            writable: vec!["/results".into()],
            settle_ms: 5000,
            key: u64::MAX,
        };
        for job in [Some(job), None] {
            let start = Start { key: 7, job, answers: true };
            let beginning = Beginning::Start(start.clone());
            let text = serde_json::to_string(&beginning).unwrap();
            assert_eq!(serde_json::from_str::<Beginning>(&text).unwrap(), beginning);
            let wake = Wake { start, seed: [9; 32], now: Duration::from_nanos(1) };
            let text = serde_json::to_string(&wake).unwrap();
            assert_eq!(serde_json::from_str::<Wake>(&text).unwrap(), wake);
        }
    }

    #[test]
    fn only_who_has_the_key_speaks_for_pid_1() {
        let bytes = sent(&[Frame::Event(Event::Done)]);
        assert!(Frame::read(&mut bytes.as_slice(), 7).is_ok());
        assert!(Frame::read(&mut bytes.as_slice(), 8).is_err());
        assert!(Frame::read(&mut &b"e\x02\0\0\0{}"[..], 7).is_err(), "no key at all");
        let one = mark(7, LOG_END, "a", 0);
        assert!(one.starts_with("vmlab-init: end a ("));
        let others =
            [mark(8, LOG_END, "a", 0), mark(7, LOG_END, "a", 1), mark(7, LOG_BEGIN, "a", 0)];
        assert!(!others.contains(&one));
    }
}
