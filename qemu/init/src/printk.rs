// SPDX-License-Identifier: GPL-2.0

//! The settings of the console that shows the kernel log. A test can change them. They are
//! restored, since the kernel's last messages, after PID 1 has stopped reading the log, are on the
//! console only.

use std::fs;

use crate::port::Port;

/// The files that say which levels are shown, and whether each message has its time.
const FILES: [&str; 2] =
    ["/sys/module/printk/parameters/ignore_loglevel", "/sys/module/printk/parameters/time"];

/// The settings as they were when they were read.
pub struct Settings(Vec<(&'static str, String)>);

impl Settings {
    /// Reads the current settings.
    pub fn look() -> Settings {
        let value = |file| Some((file, fs::read_to_string(file).ok()?));
        Settings(FILES.into_iter().filter_map(value).collect())
    }

    /// Restores these settings.
    pub fn restore(&self, port: &Port) {
        for (file, value) in &self.0 {
            if let Err(error) = fs::write(file, value) {
                port.note(format!("write {} to {file}: {error}", value.trim()));
            }
        }
    }
}
