// SPDX-License-Identifier: GPL-2.0

//! What the lab and the guest's PID 1 agree on. The program itself is `main.rs`.

pub mod protocol;
