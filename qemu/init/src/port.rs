// SPDX-License-Identifier: GPL-2.0

//! The virtio port to the lab.

use std::fs::{self, File};
use std::io::BufReader;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::termios::{OptionalActions, tcgetattr, tcsetattr};
use vmlab_init::protocol::{Event, Frame, INPUT, PORT};

use crate::boot;
use crate::requests::Requests;

/// The port in User Mode Linux: a serial line.
const SERIAL: &str = "/dev/ttyS0";

const PORTS: &str = "/sys/class/virtio-ports";

/// How long to wait for the port: the host announces it in a message, so it can appear a little
/// after the driver.
const PATIENCE: Duration = Duration::from_secs(10);

/// The channel to the lab. Its copies take turns.
#[derive(Clone)]
pub struct Port {
    file: Arc<Mutex<File>>,
    key: u64,
}

impl Port {
    /// Waits for the port with the right name and opens it.
    pub fn open(key: u64) -> Result<Port> {
        let file = if boot::user_mode() { serial()? } else { virtio()? };
        Ok(Port { file: Arc::new(Mutex::new(file)), key })
    }

    /// The other direction.
    pub fn requests(&self) -> Result<Requests> {
        let file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(BufReader::new(file.try_clone().context("duplicate the port")?))
    }

    /// Sends a frame to the lab. An error does not matter: if the lab is gone, QEMU dies with it.
    pub fn send(&self, frame: &Frame) {
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = frame.write(&mut *file, self.key);
    }

    /// Sends an event.
    pub fn event(&self, event: &Event) {
        self.send(&Frame::Event(event.clone()));
    }

    /// Sends a note about a problem.
    pub fn note(&self, text: String) {
        self.event(&Event::Note(text));
    }
}

fn virtio() -> Result<File> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(path) = find() {
            let file = File::options().read(true).write(true).open(&path);
            return file.with_context(|| format!("open {}", path.display()));
        }
        if Instant::now() > deadline {
            bail!("no virtio port named {PORT} (CONFIG_VIRTIO_PCI, CONFIG_VIRTIO_CONSOLE?)");
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Makes a terminal pass bytes unchanged.
fn serial() -> Result<File> {
    let line = File::options().read(true).write(true).open(SERIAL);
    let line = line.with_context(|| format!("open {SERIAL}"))?;
    let mut settings = tcgetattr(&line).with_context(|| format!("ask about {SERIAL}"))?;
    settings.make_raw();
    tcsetattr(&line, OptionalActions::Now, &settings).with_context(|| format!("set {SERIAL}"))?;
    Ok(line)
}

/// The port with a command's standard input; `None` in User Mode Linux.
pub fn input() -> Option<File> {
    File::open(named(INPUT)?).ok()
}

fn find() -> Option<PathBuf> {
    named(PORT)
}

fn named(wanted: &str) -> Option<PathBuf> {
    for entry in fs::read_dir(PORTS).ok()?.flatten() {
        let name = fs::read_to_string(entry.path().join("name")).unwrap_or_default();
        let device = PathBuf::from("/dev").join(entry.file_name());
        if name.trim() == wanted && device.exists() {
            return Some(device);
        }
    }
    None
}
