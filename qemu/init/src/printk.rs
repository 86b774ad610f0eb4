// SPDX-License-Identifier: GPL-2.0

//! How the console shows the kernel log. Programs can change that, and what is said when nothing
//! reads the log any more is on the console alone.

use std::fs;

use crate::port::Port;

/// Whether messages of every level are shown, and whether with their time.
const FILES: [&str; 2] =
    ["/sys/module/printk/parameters/ignore_loglevel", "/sys/module/printk/parameters/time"];

/// The settings of a moment.
pub struct Settings(Vec<(&'static str, String)>);

impl Settings {
    /// Those of now.
    pub fn look() -> Settings {
        let value = |file| Some((file, fs::read_to_string(file).ok()?));
        Settings(FILES.into_iter().filter_map(value).collect())
    }

    /// Restores them.
    pub fn restore(&self, port: &Port) {
        for (file, value) in &self.0 {
            if let Err(error) = fs::write(file, value) {
                port.note(format!("write {} to {file}: {error}", value.trim()));
            }
        }
    }
}
