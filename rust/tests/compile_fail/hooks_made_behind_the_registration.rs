// SPDX-License-Identifier: GPL-2.0
// expect: E0603
// expect: struct `PernetHooks` is private

//! Hooks that were not registered with a namespace would outlive it, and the module.

include!("../preamble.rs");

/// Registers hooks that nobody unregisters.
pub fn stray(net: &Namespace) -> Result {
    drop(KBox::pin_init(
        <netfilter::PernetHooks<Look> as pernet::Operations>::init(net),
        GFP_KERNEL,
    )?);
    Ok(())
}
