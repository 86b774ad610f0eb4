// SPDX-License-Identifier: GPL-2.0
// expect: lifetime may not live long enough

//! A namespace that is only borrowed may be freed any time after.

include!("../preamble.rs");

/// Something that lives on.
pub struct Keeper {
    /// The namespace it wants to remember.
    pub net: &'static Namespace,
}

/// Stores the borrowed namespace.
pub fn keep(net: &Namespace) -> Keeper {
    Keeper { net }
}
