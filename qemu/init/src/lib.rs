// SPDX-License-Identifier: GPL-2.0

//! The protocol between the lab and the guest's PID 1. The program itself is `main.rs`.

pub mod protocol;
