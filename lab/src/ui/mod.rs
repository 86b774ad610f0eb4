// SPDX-License-Identifier: GPL-2.0

//! What a person sees.

pub mod colour;
pub mod recording;
pub mod tally;
