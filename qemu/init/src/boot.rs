// SPDX-License-Identifier: GPL-2.0

//! The first and the last steps of PID 1.

use std::fs;
use std::io;
use std::os::fd::AsRawFd;
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::system::{RebootCommand, reboot, uname};
use vmlab_init::protocol::{Event, GuestJob, MODULES_DIR, SELFTESTS_DIR};

/// Variables of every program in the guest.
const ENVIRONMENT: [(&str, &str); 6] = [
    ("PATH", "/lab/tools:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"),
    ("HOME", "/root"),
    ("LC_ALL", "C"),
    ("TERM", "dumb"),
    ("MODULES_DIR", MODULES_DIR),
    ("SELFTESTS_DIR", SELFTESTS_DIR),
];

/// PID 1's first message. A copy of a snapshot does not tell how long the boot took.
pub fn hello(is_copy: bool) -> Event {
    Event::Hello {
        release: uname().release().to_string_lossy().into_owned(),
        uptime_ms: (!is_copy).then(|| uptime().as_millis().try_into().unwrap_or(u64::MAX)),
    }
}

fn uptime() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    Duration::try_from(now).unwrap_or_default()
}

/// Sets the variables that programs inherit.
pub fn environment(job: &GuestJob) {
    let own = ENVIRONMENT.map(|(name, value)| (name.to_owned(), value.to_owned()));
    for (name, value) in own.iter().chain(&job.env) {
        // SAFETY: PID 1 has no other thread yet.
        unsafe { std::env::set_var(name, value) };
    }
}

/// Brings the initial namespace's loopback device up: most tests assume it.
pub fn loopback_up() -> Result<()> {
    let socket = std::net::UdpSocket::bind("0.0.0.0:0").context("open a socket")?;
    // SAFETY: all-zero bytes are a valid ifreq: numbers and a union of numbers.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(b"lo") {
        *to = from.cast_signed();
    }
    let up = libc::IFF_UP | libc::IFF_RUNNING;
    request.ifr_ifru.ifru_flags = up.try_into().context("interface flags")?;
    // SAFETY: SIOCSIFFLAGS reads an ifreq, which `request` is, and keeps no pointer to it.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request) };
    if result < 0 { Err(io::Error::last_os_error().into()) } else { Ok(()) }
}

/// Whether this is User Mode Linux and not a virtual machine.
pub fn user_mode() -> bool {
    let processor = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    processor.lines().any(|line| line.starts_with("vendor_id") && line.ends_with("User Mode Linux"))
}

/// Switches off. There is nothing to sync: all files are in memory. QEMU runs with `-no-reboot`, so
/// a restart ends it without ACPI. User Mode Linux would start itself again.
pub fn power_off() -> ! {
    let how = if user_mode() { RebootCommand::PowerOff } else { RebootCommand::Restart };
    if let Err(error) = reboot(how) {
        panic!("switch off: {error}");
    }
    loop {
        std::thread::park();
    }
}

/// The trimmed content of a file in the guest; `None` if there is none.
pub fn read(path: &str) -> Option<String> {
    Some(fs::read_to_string(path).ok()?.trim().to_owned())
}
