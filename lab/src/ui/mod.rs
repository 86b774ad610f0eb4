// SPDX-License-Identifier: GPL-2.0

//! Output for people.

pub mod colour;
pub mod recording;
pub mod tally;
