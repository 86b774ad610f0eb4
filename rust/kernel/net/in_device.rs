// SPDX-License-Identifier: GPL-2.0

//! What a namespace and its devices are told about IPv4 (`/proc/sys/net/ipv4/conf/`).
//!
//! C header: [`include/linux/inetdevice.h`](srctree/include/linux/inetdevice.h)

use core::ptr::NonNull;

use crate::{
    bindings,
    prelude::*,
    sync::rcu, //
};

use super::{
    net_device::NetDevice,
    Namespace, //
};

/// A setting of `conf/`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub enum Setting {
    /// `rp_filter`: packets are refused that would not be answered by the same device.
    RpFilter = bindings::IPV4_DEVCONF_RP_FILTER,
    /// `src_valid_mark`: the mark takes part in that.
    SrcValidMark = bindings::IPV4_DEVCONF_SRC_VMARK,
    /// `accept_local`: packets may come from an address of this machine.
    AcceptLocal = bindings::IPV4_DEVCONF_ACCEPT_LOCAL,
    /// `log_martians`: packets that are refused are told in the kernel log.
    LogMartians = bindings::IPV4_DEVCONF_LOG_MARTIANS,
    /// `forwarding`: packets for others are forwarded.
    Forwarding = bindings::IPV4_DEVCONF_FORWARDING,
    /// `bc_forwarding`: broadcasts are forwarded.
    BcForwarding = bindings::IPV4_DEVCONF_BC_FORWARDING,
}

/// What `rp_filter` means: the stack takes any other value than 0 and 1 for 2.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum SourceCheck {
    /// Sources are not checked.
    Off = 0,
    /// A packet must come in by the device that one to its source would leave by.
    Strict = 1,
    /// There must be a way to its source.
    Loose = 2,
}

/// A device's IPv4 side (`struct in_device`).
///
/// # Invariants
///
/// Device and namespace are borrowed for `'g`, and RCU is held.
pub struct InDevice<'g> {
    in_dev: NonNull<bindings::in_device>,
    all: NonNull<bindings::ipv4_devconf>,
    _guard: &'g rcu::Guard,
}

impl<'g> InDevice<'g> {
    /// The IPv4 side of `dev`, which is in `net`. None if IPv4 is off on the device.
    ///
    /// Wraps `__in_dev_get_rcu()`.
    #[inline]
    pub fn of(net: &'g Namespace, dev: &'g NetDevice, guard: &'g rcu::Guard) -> Option<Self> {
        // SAFETY: Both are valid. `ip_ptr` is an RCU pointer. `devconf_all` is set before a
        // namespace has devices, and freed by an `exit` callback: by the type invariant of
        // `Namespace`, after the borrow has ended.
        unsafe {
            let in_dev = (&raw const (*dev.as_raw()).ip_ptr).read_volatile();
            let all = (&raw const (*net.as_raw()).ipv4.devconf_all).read_volatile();
            Some(Self {
                in_dev: NonNull::new(in_dev.cast())?,
                all: NonNull::new(all.cast())?,
                _guard: guard,
            })
        }
    }

    /// The device's setting.
    #[inline]
    fn own(&self, setting: Setting) -> i32 {
        // SAFETY: By the type invariant the structure is valid; the index is one of the array's.
        unsafe {
            let own = (&raw const (*self.in_dev.as_ptr()).cnf.data).cast::<c_int>();
            own.add(setting as usize - 1).read_volatile()
        }
    }

    /// The device's setting, and that of all devices.
    #[inline]
    fn both(&self, setting: Setting) -> [i32; 2] {
        // SAFETY: By the type invariant the structure is valid; the index is one of the array's.
        let all = unsafe {
            let all = (&raw const (*self.all.as_ptr()).data).cast::<c_int>();
            all.add(setting as usize - 1).read_volatile()
        };
        [self.own(setting), all]
    }

    /// The larger of the device's setting and that of all devices. As `IN_DEV_MAXCONF()`.
    #[inline]
    pub fn max(&self, setting: Setting) -> i32 {
        let [own, all] = self.both(setting);
        own.max(all)
    }

    /// Whether the setting is on for the device or for all: anything but zero is. As
    /// `IN_DEV_ORCONF()`.
    #[inline]
    pub fn is_on(&self, setting: Setting) -> bool {
        self.both(setting) != [0, 0]
    }

    /// How strictly sources are checked. As `IN_DEV_RPFILTER()`.
    #[inline]
    pub fn source_check(&self) -> SourceCheck {
        match self.max(Setting::RpFilter) {
            0 => SourceCheck::Off,
            1 => SourceCheck::Strict,
            _ => SourceCheck::Loose,
        }
    }

    /// Whether packets that come in by the device are forwarded. As `IN_DEV_FORWARD()`.
    #[inline]
    pub fn forwards(&self) -> bool {
        self.own(Setting::Forwarding) != 0
    }

    /// Whether the device has an IPv4 address.
    #[inline]
    pub fn has_address(&self) -> bool {
        // SAFETY: The structure is valid under the guard; the pointer is only compared.
        let list = unsafe { (&raw const (*self.in_dev.as_ptr()).ifa_list).read_volatile() };
        !list.is_null()
    }
}
