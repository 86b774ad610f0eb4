// SPDX-License-Identifier: GPL-2.0

//! What a person sees.

pub mod recording;
pub mod tally;
