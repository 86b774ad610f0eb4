// SPDX-License-Identifier: GPL-2.0
// expect: E0277
// expect: the trait bound `NamespaceRef: From<&Namespace>` is not satisfied

//! A borrowed namespace may be ending: taking a reference must be able to fail.

include!("../preamble.rs");

/// Counts a reference to a namespace that may have none left.
pub fn keep(net: &Namespace) -> NamespaceRef {
    net.into()
}
