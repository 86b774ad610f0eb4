// SPDX-License-Identifier: GPL-2.0

//! The virtio port to the lab.

use std::fs::{self, File};
use std::io::BufReader;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::termios::{OptionalActions, tcgetattr, tcsetattr};
use vmlab_init::protocol::{Event, Frame, INPUT, PORT};

use crate::boot;
use crate::requests::Requests;

/// The port in User Mode Linux: a serial line.
const SERIAL: &str = "/dev/ttyS0";

const PORTS: &str = "/sys/class/virtio-ports";

const DRIVER: &str = "/sys/bus/virtio/drivers/virtio_console";

/// The channel to the lab. Its copies take turns.
#[derive(Clone)]
pub struct Port {
    file: Arc<Mutex<File>>,
    /// The key that is sent before each event.
    pub key: u64,
}

impl Port {
    /// Waits for the port with the right name and opens it.
    pub fn open() -> Result<Port> {
        let file = if boot::user_mode() { serial()? } else { virtio(PORT)? };
        Ok(Port { file: Arc::new(Mutex::new(file)), key: 0 })
    }

    /// The messages from the lab.
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

/// Waits for a port: the host announces it in a message, so it can appear a little after the
/// driver. There is no limit here: the lab has one for the whole boot.
fn virtio(wanted: &str) -> Result<File> {
    if !has_device() {
        bail!("no device with virtio ports (CONFIG_VIRTIO_PCI, CONFIG_VIRTIO_CONSOLE?)");
    }
    let path = wait_for(|| Ok(named(wanted)))?;
    let file = File::options().read(true).write(true).open(&path);
    let file = file.with_context(|| format!("open {}", path.display()))?;
    // Another message says that somebody is at the other end. Until then a read gives the end of
    // the file.
    wait_for(|| Ok((!is_hung_up(&file)?).then_some(())))?;
    Ok(file)
}

/// Whether there is a device with virtio ports. Drivers find their devices before PID 1 starts.
fn has_device() -> bool {
    let devices = fs::read_dir(DRIVER).into_iter().flatten().flatten();
    devices.into_iter().any(|entry| entry.file_name().to_string_lossy().starts_with("virtio"))
}

/// Polls until `look` finds something, since sysfs does not notify of changes.
fn wait_for<T>(mut look: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    loop {
        if let Some(found) = look()? {
            return Ok(found);
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn is_hung_up(file: &File) -> Result<bool> {
    let mut fds = [PollFd::new(file, PollFlags::OUT)];
    poll(&mut fds, Some(&Timespec::default())).context("ask about a port")?;
    Ok(fds[0].revents().contains(PollFlags::HUP))
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

/// The port with a command's standard input; `None` in User Mode Linux. To be opened before PID 1
/// reports that it is ready: the lab then sends the input, and may soon close the port.
pub fn input() -> Result<Option<File>> {
    if boot::user_mode() { Ok(None) } else { virtio(INPUT).map(Some) }
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
