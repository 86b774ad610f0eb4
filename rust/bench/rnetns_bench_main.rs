// SPDX-License-Identifier: GPL-2.0

//! Measurements of the abstractions and of `rnetns`, with C twins beside the Rust.
//!
//! | module | holds |
//! |---|---|
//! | [`state`] | access to per-namespace state: Rust, C, explicit, by a per-CPU global |
//! | [`traffic`] | packets per second through `lo` and `rlo` |
//! | [`table`] | the table that all namespaces share, `rhashtable` and others, and the FIB |
//! | [`plan`] | which keys are looked up, and in which order |
//! | [`forward`] | packets through a machine that forwards them |
//! | [`device`], [`packet_type`], [`xmit`] | finding a device, watching its packets, sending through it |
//! | [`current_namespace`] | the per-CPU global as an experiment: where it is wrong |
//! | [`table_check`] | whether the table that namespaces share does what it should |
//! | [`idle_hooks`] | hooks that do nothing, so that others come and go without code being patched |
//! | [`figures`] | repeats of a measurement, and how they are shown |
//! | [`misuse`] | what safe code may do though it should not |
//! | [`control`] | the files in debugfs by which all of it is started and read |

// Behind the pointers that the C twins take, structures of the kernel have members without fields:
// trackers, for example, that are switched off.
#![allow(improper_ctypes)]

use kernel::{
    net::pernet,
    prelude::*, //
};

mod control;
mod current_namespace;
mod device;
mod family;
mod figures;
mod forward;
mod idle_hooks;
mod misuse;
mod null;
mod packet_type;
mod plan;
mod state;
mod table;
mod table_check;
mod traffic;
mod xmit;

use crate::{
    control::Control,
    misuse::Misuse,
    state::{
        State,
        Twin, //
    },
    table_check::TableCheck,
};

module! {
    type: RnetnsBench,
    name: "rnetns_bench",
    authors: ["rnetns developers"],
    description: "Measurements of network namespace abstractions in Rust, beside C",
    license: "GPL",
}

/// The module while it is loaded. The files go first: they use the rest.
#[pin_data]
pub struct RnetnsBench {
    #[pin]
    control: Control,
    #[pin]
    misuse: Misuse,
    #[pin]
    state: pernet::Registration<State>,
    twin: Twin,
    #[pin]
    table_check: TableCheck,
}

impl kernel::InPlaceModule for RnetnsBench {
    fn init(_module: &'static ThisModule) -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            twin: Twin::register()?,
            state <- pernet::register_pernet_subsys(),
            control <- control::new(),
            misuse <- misuse::new(),
            table_check <- table_check::new(),
        })
    }
}
