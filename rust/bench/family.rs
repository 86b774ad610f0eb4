// SPDX-License-Identifier: GPL-2.0

//! A family of generic netlink, which has no operations.

use kernel::net::netlink::request::GeneratedFamily;

mod c {
    use kernel::bindings;

    // What `family.c` defines.
    unsafe extern "C" {
        pub(super) static mut rnetns_bench_family: bindings::genl_family;
    }
}

/// The number of its only group.
pub(crate) const GROUP: u32 = 0;

/// The family.
pub(crate) fn family() -> &'static GeneratedFamily {
    // SAFETY: The static is this module's, and nobody else uses it.
    unsafe { GeneratedFamily::from_raw(&raw mut c::rnetns_bench_family) }
}
