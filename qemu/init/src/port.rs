// SPDX-License-Identifier: GPL-2.0

//! The virtio port to the lab.

use std::fs::{self, File};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::termios::{OptionalActions, tcgetattr, tcsetattr};
use vmlab_init::protocol::{Event, Frame, INPUT, PORT};

use crate::boot;

/// What User Mode Linux has instead: a serial line.
const SERIAL: &str = "/dev/ttyS0";

const PORTS: &str = "/sys/class/virtio-ports";

/// How long the port may take to appear: the host announces it in a message, so
/// it can come a little after the driver.
const PATIENCE: Duration = Duration::from_secs(10);

/// The lab's ear. Its copies take turns.
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

    /// A second handle, for the thread that listens.
    pub fn listener(&self) -> Result<File> {
        let file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        file.try_clone().context("duplicate the port")
    }

    /// Tells the lab something. When the lab is gone, so is this machine: QEMU
    /// dies with it, and there is nobody to tell.
    pub fn send(&self, frame: &Frame) {
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = frame.write(&mut *file, self.key);
    }

    /// Tells the lab what happened.
    pub fn event(&self, event: &Event) {
        self.send(&Frame::Event(event.clone()));
    }

    /// Tells the lab that something is not as it should be.
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

/// Bytes are to pass a terminal as they are.
fn serial() -> Result<File> {
    let line = File::options().read(true).write(true).open(SERIAL);
    let line = line.with_context(|| format!("open {SERIAL}"))?;
    let mut settings = tcgetattr(&line).with_context(|| format!("ask about {SERIAL}"))?;
    settings.make_raw();
    tcsetattr(&line, OptionalActions::Now, &settings).with_context(|| format!("set {SERIAL}"))?;
    Ok(line)
}

/// What the lab feeds a command with; nothing in User Mode Linux.
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
