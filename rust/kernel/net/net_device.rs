// SPDX-License-Identifier: GPL-2.0

//! Network devices.
//!
//! [`Operations`] says what a device does, [`register`] puts one into every namespace, as
//! `drivers/net/loopback.c` does with `lo`. The device is made when its namespace is, and
//! unregistered, with those of other ending namespaces in one go, when that ends. Nobody else can
//! take it away: it has no `rtnl_link_ops` by which to be deleted, and cannot be moved to another
//! namespace.
//!
//! Not supported: devices of hardware, devices that user space makes (`rtnl_link_ops`), queues.
//!
//! C header: [`include/linux/netdevice.h`](srctree/include/linux/netdevice.h)

use core::{
    marker::PhantomData,
    num::NonZeroU32,
    ptr::{
        self,
        NonNull, //
    },
};

use crate::{
    bindings,
    error::{
        to_result,
        VTABLE_DEFAULT_ERROR, //
    },
    prelude::*,
    types::Opaque, //
};

use super::{
    pernet,
    rtnl,
    sk_buff::SkBuff,
    Namespace, //
};

/// A network device that was registered, or the one that takes the packets of devices which are
/// gone (`blackhole_netdev`).
///
/// # Invariants
///
/// The device was registered. While a reference exists, it is not being unregistered, or
/// `netdev_run_todo()` still waits for those who hold it. So the `struct net_device` is valid.
/// `blackhole_netdev`, which is never registered, is there for ever.
///
/// That is not so of its namespace, which waits for no device that has left it. Whoever deletes one
/// end of a pair (`veth`) waits for both, while the namespace of the other end may go.
#[repr(transparent)]
pub struct NetDevice {
    inner: Opaque<bindings::net_device>,
}

// SAFETY: A device belongs to no thread, and references to it can be given back by any.
unsafe impl Send for NetDevice {}

// SAFETY: The methods read what is constant or atomic, or count per CPU.
unsafe impl Sync for NetDevice {}

impl NetDevice {
    /// Borrows a device from a C pointer.
    ///
    /// # Safety
    ///
    /// `ptr` must point to a device that was registered, and whose unregistration does not stop to
    /// wait for those who hold it for `'a`; or to `blackhole_netdev`.
    #[inline]
    pub unsafe fn from_raw<'a>(ptr: *mut bindings::net_device) -> &'a Self {
        // INVARIANT: The caller promises it.
        // SAFETY: The type is transparent, and the caller promises validity.
        unsafe { &*ptr.cast::<Self>() }
    }

    /// Returns the C pointer.
    #[inline]
    pub fn as_raw(&self) -> *mut bindings::net_device {
        self.inner.get()
    }

    /// The namespace that the device is in now, or was in last.
    ///
    /// # Safety
    ///
    /// For `'a`, that namespace must not end. It does not in an RCU critical section in which the
    /// device was registered (`NETREG_REGISTERED`) at some time: whoever moves or unregisters it
    /// waits for a grace period before RTNL is released, and no namespace ends without RTNL.
    #[inline]
    pub(super) unsafe fn net_rcu<'a>(&self) -> &'a Namespace {
        // SAFETY: By the type invariant the device is valid; so is its namespace, as the caller
        // promises. The pointer is read whole, as `dev_net_rcu()` does.
        #[cfg(CONFIG_NET_NS)]
        unsafe {
            Namespace::from_raw((&raw const (*self.as_raw()).nd_net.net).read_volatile())
        }
        // SAFETY: There is one namespace, which is a static.
        #[cfg(not(CONFIG_NET_NS))]
        unsafe {
            Namespace::from_raw(&raw mut bindings::init_net)
        }
    }

    /// Whether the device is in this namespace now. The one that it is in may be gone.
    #[cfg(CONFIG_NETFILTER)]
    #[inline]
    pub(super) fn is_in(&self, net: &Namespace) -> bool {
        // SAFETY: By the type invariant the device is valid. The pointer is read whole, and not
        // followed.
        #[cfg(CONFIG_NET_NS)]
        let now = unsafe { (&raw const (*self.as_raw()).nd_net.net).read_volatile() };
        #[cfg(not(CONFIG_NET_NS))]
        let now = &raw mut bindings::init_net;
        now == net.as_raw()
    }

    /// The interface index, unique in the namespace.
    #[inline]
    pub fn ifindex(&self) -> i32 {
        // SAFETY: By the type invariant the device is valid.
        unsafe { (&raw const (*self.as_raw()).ifindex).read_volatile() }
    }

    /// Whether this is the `lo` of its namespace (`LOOPBACK_IFINDEX`). May be called from any
    /// context.
    #[inline]
    pub fn is_lo(&self) -> bool {
        self.ifindex() == bindings::LOOPBACK_IFINDEX as i32
    }

    /// Whether the device has an L3 master, such as a VRF, or is one: routes of its packets are
    /// looked up on behalf of the master.
    ///
    /// As `netif_is_l3_slave()` and `netif_is_l3_master()`. May be called from any context.
    #[inline]
    pub fn is_l3mdev(&self) -> bool {
        // SAFETY: By the type invariant the pointer is valid; the flags are one word.
        let flags = unsafe { bindings::netdev_priv_flags(self.as_raw()) };
        flags
            & (bindings::IFF_L3MDEV_MASTER
                | bindings::IFF_L3MDEV_SLAVE
                | bindings::IFF_L3MDEV_RX_HANDLER)
            != 0
    }
}

/// A device of a driver in Rust, which is called with it.
///
/// # Invariants
///
/// Those of [`NetDevice`]; and the driver has registered the device, with `lstats`.
#[repr(transparent)]
pub struct OwnNetDevice {
    dev: NetDevice,
}

impl core::ops::Deref for OwnNetDevice {
    type Target = NetDevice;

    #[inline]
    fn deref(&self) -> &NetDevice {
        &self.dev
    }
}

impl OwnNetDevice {
    /// The namespace that the device is in, from its registration to its end.
    #[inline]
    pub fn net(&self) -> &Namespace {
        // SAFETY: `register` makes devices that cannot be moved, and that nobody unregisters but
        // the end of their namespace (or of their registration), which then itself waits for those
        // who hold them.
        unsafe { self.dev.net_rcu() }
    }

    /// # Safety
    ///
    /// `ptr` must be registered, by [`register`], and stay valid for `'a`.
    #[inline]
    unsafe fn from_raw<'a>(ptr: *mut bindings::net_device) -> &'a Self {
        // INVARIANT: The caller promises both.
        // SAFETY: The types are transparent over `struct net_device`.
        unsafe { &*ptr.cast::<Self>() }
    }

    /// Counts a packet of `len` bytes on this CPU. Process or softirq context.
    ///
    /// Wraps `dev_lstats_add()`, with bottom halves off.
    #[inline]
    pub fn lstats_add(&self, len: u32) {
        // SAFETY: By the type invariant the device has `lstats`. The helper switches bottom halves
        // off: nobody else writes to those of this CPU meanwhile.
        unsafe { bindings::dev_lstats_add(self.as_raw(), len) };
    }

    /// Sums the counts of all CPUs: packets, and bytes. Wraps `dev_lstats_read()`.
    #[inline]
    pub fn lstats_read(&self) -> (u64, u64) {
        let (mut packets, mut bytes) = (0, 0);
        // SAFETY: By the type invariant the device has `lstats`; the pointers are to locals.
        unsafe { bindings::dev_lstats_read(self.as_raw(), &mut packets, &mut bytes) };
        (packets, bytes)
    }
}

/// What `start_xmit` answers: `netdev_tx_t`. The packet is gone in any case.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum XmitResult {
    /// Sent, or dropped: `NETDEV_TX_OK`.
    Ok,
}

/// Offload features of a device: `NETIF_F_*`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Features(u64);

impl Features {
    /// Scatter and gather.
    pub const SG: Self = Self::bit(bindings::NETIF_F_SG_BIT);
    /// Packets whose fragments are packets.
    pub const FRAGLIST: Self = Self::bit(bindings::NETIF_F_FRAGLIST_BIT);
    /// Everything that software can segment.
    pub const GSO_SOFTWARE: Self = Self(bindings::NETIF_F_GSO_SOFTWARE);
    /// Any checksum.
    pub const HW_CSUM: Self = Self::bit(bindings::NETIF_F_HW_CSUM_BIT);
    /// Received checksums are right.
    pub const RXCSUM: Self = Self::bit(bindings::NETIF_F_RXCSUM_BIT);
    /// SCTP's checksum.
    pub const SCTP_CRC: Self = Self::bit(bindings::NETIF_F_SCTP_CRC_BIT);
    /// Memory at any address.
    pub const HIGHDMA: Self = Self::bit(bindings::NETIF_F_HIGHDMA_BIT);
    /// Cannot carry VLANs.
    pub const VLAN_CHALLENGED: Self = Self::bit(bindings::NETIF_F_VLAN_CHALLENGED_BIT);
    /// Sends to itself.
    pub const LOOPBACK: Self = Self::bit(bindings::NETIF_F_LOOPBACK_BIT);

    const fn bit(bit: u32) -> Self {
        Self(1 << bit)
    }

    /// Both.
    #[inline]
    pub const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// A device that is being made, before it is registered: the `setup` of `alloc_netdev()`.
///
/// # Invariants
///
/// `dev` is valid, not registered, and this value's alone.
pub struct Setup<'a> {
    dev: NonNull<bindings::net_device>,
    _dev: PhantomData<&'a mut bindings::net_device>,
}

impl Setup<'_> {
    /// # Safety
    ///
    /// `dev` must be valid and not registered, and nobody else may use it while the value exists.
    unsafe fn from_raw(dev: NonNull<bindings::net_device>) -> Self {
        // INVARIANT: The caller promises all of it.
        Self {
            dev,
            _dev: PhantomData,
        }
    }

    #[inline]
    fn dev(&mut self) -> &mut bindings::net_device {
        // SAFETY: By the type invariant the device is valid and ours alone.
        unsafe { self.dev.as_mut() }
    }

    /// Makes it a loopback device: `ARPHRD_LOOPBACK`, Ethernet headers, no address resolution.
    ///
    /// `IFF_LOOPBACK` stays unset: it says "this is the namespace's `loopback_dev`". The IPv6 stack
    /// moves its null route to a device that registers with the flag (`ip6_route_dev_notify()`),
    /// which leaks a reference to `lo`, and leaves the route with a pointer to a device that goes.
    pub fn loopback(&mut self) -> &mut Self {
        // SAFETY: By the type invariant the device is valid and ours alone.
        unsafe { bindings::ether_setup(self.dev.as_ptr()) };
        let dev = self.dev();
        // `ether_setup()` is the way to `eth_header_ops`, which modules cannot name. What it has
        // set beyond those and the lengths, `lo` does not have.
        dev.type_ = bindings::ARPHRD_LOOPBACK as u16;
        dev.flags = bindings::net_device_flags_IFF_NOARP;
        dev.broadcast = [0; bindings::MAX_ADDR_LEN as usize];
        dev.min_mtu = 0;
        dev.max_mtu = 0;
        self.change_priv_flags(bindings::IFF_TX_SKB_SHARING, false);
        self
    }

    /// The largest packet, in bytes, without the link layer's header: at most `i32::MAX`, as large
    /// as user space can make it.
    #[inline]
    pub fn mtu(&mut self, mtu: u32) -> &mut Self {
        self.dev().mtu = mtu.min(i32::MAX as u32);
        self
    }

    /// The features that are on.
    #[inline]
    pub fn features(&mut self, features: Features) -> &mut Self {
        self.dev().features = features.0;
        self
    }

    /// The features that user space can change.
    #[inline]
    pub fn hw_features(&mut self, features: Features) -> &mut Self {
        self.dev().hw_features = features.0;
        self
    }

    /// Sends without a queue and without a lock: `start_xmit` runs on several CPUs at once.
    #[inline]
    pub fn no_queue(&mut self) -> &mut Self {
        self.change_priv_flags(bindings::IFF_NO_QUEUE, true);
        // SAFETY: The union's two sides are the same bits.
        unsafe { self.dev().__bindgen_anon_1.__bindgen_anon_1.set_lltx(1) };
        self
    }

    /// The hardware address can be changed while the device is up.
    #[inline]
    pub fn live_addr_change(&mut self) -> &mut Self {
        self.change_priv_flags(bindings::IFF_LIVE_ADDR_CHANGE, true);
        self
    }

    /// Segments of any size: `netif_set_tso_max_size(GSO_MAX_SIZE)`.
    #[inline]
    pub fn tso_max_size_unlimited(&mut self) -> &mut Self {
        // SAFETY: By the type invariant the device is valid and ours alone.
        unsafe { bindings::netif_set_tso_max_size(self.dev.as_ptr(), bindings::GSO_MAX_SIZE) };
        self
    }

    fn change_priv_flags(&mut self, flags: c_ulong, on: bool) {
        // SAFETY: The union's two sides are the same bits.
        let bits = unsafe { &mut self.dev().__bindgen_anon_1.__bindgen_anon_1 };
        let others = bits.priv_flags() & !flags;
        bits.set_priv_flags(if on { others | flags } else { others });
    }
}

/// The traffic counts that user space sees (`ip -s link`): `struct rtnl_link_stats64`.
pub struct LinkStats<'a>(&'a mut bindings::rtnl_link_stats64);

impl LinkStats<'_> {
    /// Sets the packets and bytes received.
    #[inline]
    pub fn set_rx(&mut self, packets: u64, bytes: u64) {
        self.0.rx_packets = packets;
        self.0.rx_bytes = bytes;
    }

    /// Sets the packets and bytes sent.
    #[inline]
    pub fn set_tx(&mut self, packets: u64, bytes: u64) {
        self.0.tx_packets = packets;
        self.0.tx_bytes = bytes;
    }
}

/// What a device does: `struct net_device_ops` and `struct ethtool_ops`.
///
/// `net` is the namespace that the device is in.
///
/// # Examples
///
/// A device that drops what it is given:
///
/// ```
/// # use kernel::net::Namespace;
/// # use kernel::net::net_device;
/// # use kernel::net::net_device::OwnNetDevice;
/// # use kernel::net::net_device::Setup;
/// # use kernel::net::net_device::XmitResult;
/// # use kernel::net::sk_buff::SkBuff;
/// # use kernel::pernet_slot;
/// struct Null;
///
/// pernet_slot!(Null: net_device::Registered);
///
/// #[vtable]
/// impl net_device::Operations for Null {
///     const NAME: &'static CStr = c"null0";
///
///     fn setup(dev: &mut Setup<'_>) {
///         dev.mtu(1500).no_queue();
///     }
///
///     fn start_xmit(_net: &Namespace, _dev: &OwnNetDevice, _skb: SkBuff<'_>) -> XmitResult {
///         XmitResult::Ok
///     }
/// }
/// ```
#[vtable]
pub trait Operations: pernet::HasSlot<Stored = Registered> {
    /// The name of the device in each namespace.
    const NAME: &'static CStr;

    /// The index that the device has in each namespace where no other device has it. Without one,
    /// it takes the next: the one that the first device would have that is made in the namespace.
    const IFINDEX: Option<NonZeroU32> = None;

    /// The names of what [`ethtool_stats`](Self::ethtool_stats) gives, of at most 31 bytes each.
    const ETHTOOL_STATS: &'static [&'static CStr] = &[];

    /// Whether `net` gets a device. The same answer each time. Process context.
    fn applies_to(_net: &Namespace) -> bool {
        true
    }

    /// Describes the device. Process context.
    fn setup(dev: &mut Setup<'_>);

    /// Sends a packet: `ndo_start_xmit`. Bottom halves are off, and RCU is held.
    fn start_xmit(net: &Namespace, dev: &OwnNetDevice, skb: SkBuff<'_>) -> XmitResult;

    /// Fills in the traffic counts: `ndo_get_stats64`. May be called from any context.
    fn get_stats64(_net: &Namespace, _dev: &OwnNetDevice, _stats: &mut LinkStats<'_>) {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Whether the link is up: `get_link` of ethtool. RTNL is held.
    fn get_link(_net: &Namespace, _dev: &OwnNetDevice) -> bool {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Fills in the values of [`ETHTOOL_STATS`](Self::ETHTOOL_STATS), in their order
    /// (`ethtool -S`). RTNL is held.
    fn ethtool_stats(_net: &Namespace, _dev: &OwnNetDevice, _values: &mut [u64]) {
        build_error!(VTABLE_DEFAULT_ERROR)
    }
}

/// The C side of a device's operations.
struct Vtable<T>(PhantomData<T>);

impl<T: Operations> Vtable<T> {
    const OPS: &'static bindings::net_device_ops = &bindings::net_device_ops {
        ndo_init: Some(Self::init),
        ndo_start_xmit: Some(Self::start_xmit),
        ndo_get_stats64: if T::HAS_GET_STATS64 {
            Some(Self::get_stats64)
        } else {
            None
        },
        ndo_set_mac_address: Some(bindings::eth_mac_addr),
        ..pin_init::zeroed()
    };

    /// Whether there are figures: where it can ask for some, ethtool takes for granted that there
    /// are.
    const HAS_FIGURES: bool = !T::ETHTOOL_STATS.is_empty();

    const ETHTOOL_OPS: &'static bindings::ethtool_ops = &bindings::ethtool_ops {
        get_link: if T::HAS_GET_LINK {
            Some(Self::get_link)
        } else {
            None
        },
        get_ts_info: Some(Self::get_ts_info),
        get_sset_count: if Self::HAS_FIGURES {
            Some(Self::get_sset_count)
        } else {
            None
        },
        get_strings: if Self::HAS_FIGURES {
            Some(Self::get_strings)
        } else {
            None
        },
        get_ethtool_stats: if Self::HAS_FIGURES {
            Some(Self::get_ethtool_stats)
        } else {
            None
        },
        ..pin_init::zeroed()
    };

    /// # Safety
    ///
    /// Called by `alloc_netdev()` only, with a device that nobody else knows.
    unsafe extern "C" fn setup(dev: *mut bindings::net_device) {
        let Some(ptr) = NonNull::new(dev) else {
            return;
        };
        // SAFETY: The caller lends the device, which is not registered, to this function alone.
        let mut setup = unsafe { Setup::from_raw(ptr) };
        T::setup(&mut setup);
        // It would send with interrupts off.
        setup.change_priv_flags(bindings::IFF_DISABLE_NETPOLL, true);
        let dev = setup.dev();
        dev.netdev_ops = Self::OPS;
        dev.ethtool_ops = ptr::from_ref(Self::ETHTOOL_OPS).cast();
        dev.needs_free_netdev = true;
        dev.set_netns_immutable(1);
        dev.set_pcpu_stat_type(bindings::netdev_stat_type_NETDEV_PCPU_STAT_LSTATS);
    }

    /// # Safety
    ///
    /// Called by `register_netdevice()` only.
    unsafe extern "C" fn init(dev: *mut bindings::net_device) -> c_int {
        // SAFETY: The core lends a valid device.
        unsafe { bindings::netdev_lockdep_set_classes(dev) };
        0
    }

    /// # Safety
    ///
    /// Called by the core only, with a registered device and a packet whose ownership it gives up.
    unsafe extern "C" fn start_xmit(
        skb: *mut bindings::sk_buff,
        dev: *mut bindings::net_device,
    ) -> bindings::netdev_tx_t {
        // SAFETY: The device stays registered while it transmits, and `register` has made it.
        let dev = unsafe { OwnNetDevice::from_raw(dev) };
        // SAFETY: The packet is ours, and its `dev` is the one that transmits it. The core holds
        // RCU during the callback, which the packet, whose lifetime `T` cannot choose, does not
        // outlive.
        let skb = unsafe { SkBuff::from_raw(NonNull::new_unchecked(skb)) };
        match T::start_xmit(dev.net(), dev, skb) {
            XmitResult::Ok => bindings::netdev_tx_NETDEV_TX_OK,
        }
    }

    /// # Safety
    ///
    /// Called by the core only, with a registered device and counts to fill in.
    unsafe extern "C" fn get_stats64(
        dev: *mut bindings::net_device,
        stats: *mut bindings::rtnl_link_stats64,
    ) {
        // SAFETY: The device stays registered during the callback; `register` has made it.
        let dev = unsafe { OwnNetDevice::from_raw(dev) };
        // SAFETY: The core lends the structure, zeroed, to this callback alone.
        let stats = unsafe { &mut *stats };
        T::get_stats64(dev.net(), dev, &mut LinkStats(stats));
    }

    /// # Safety
    ///
    /// Called by ethtool only, with a registered device.
    unsafe extern "C" fn get_link(dev: *mut bindings::net_device) -> u32 {
        // SAFETY: The device stays registered during the callback; `register` has made it.
        let dev = unsafe { OwnNetDevice::from_raw(dev) };
        u32::from(T::get_link(dev.net(), dev))
    }

    /// # Safety
    ///
    /// Called by ethtool only, with a registered device, and a structure to fill in.
    unsafe extern "C" fn get_ts_info(
        dev: *mut bindings::net_device,
        info: *mut bindings::kernel_ethtool_ts_info,
    ) -> c_int {
        // SAFETY: The arguments are handed through.
        unsafe { bindings::ethtool_op_get_ts_info(dev, info) }
    }

    /// # Safety
    ///
    /// Called by ethtool only, with a registered device.
    unsafe extern "C" fn get_sset_count(_dev: *mut bindings::net_device, sset: c_int) -> c_int {
        match sset as u32 {
            bindings::ethtool_stringset_ETH_SS_STATS => T::ETHTOOL_STATS.len() as c_int,
            _ => EOPNOTSUPP.to_errno(),
        }
    }

    /// # Safety
    ///
    /// Called by ethtool only, with a registered device, and room for the strings that
    /// `get_sset_count` counts.
    unsafe extern "C" fn get_strings(_dev: *mut bindings::net_device, sset: u32, data: *mut u8) {
        if sset != bindings::ethtool_stringset_ETH_SS_STATS {
            return;
        }
        for (i, name) in T::ETHTOOL_STATS.iter().enumerate() {
            let name = name.to_bytes_with_nul();
            let len = name.len().min(STRING_LEN);
            // SAFETY: ethtool has asked `get_sset_count` and gives that many zeroed fields of
            // `STRING_LEN` bytes; this is the `i`th.
            unsafe { ptr::copy_nonoverlapping(name.as_ptr(), data.add(i * STRING_LEN), len) };
        }
    }

    /// # Safety
    ///
    /// Called by ethtool only, with a registered device, and room for the values
    /// that `get_sset_count` counts.
    unsafe extern "C" fn get_ethtool_stats(
        dev: *mut bindings::net_device,
        _stats: *mut bindings::ethtool_stats,
        data: *mut u64,
    ) {
        // SAFETY: The device stays registered during the callback; `register` has made it.
        let dev = unsafe { OwnNetDevice::from_raw(dev) };
        // SAFETY: ethtool has asked `get_sset_count` and gives that many zeroed words.
        let values = unsafe { core::slice::from_raw_parts_mut(data, T::ETHTOOL_STATS.len()) };
        if T::HAS_ETHTOOL_STATS {
            T::ethtool_stats(dev.net(), dev, values);
        }
    }
}

/// The length of a name that ethtool shows: `ETH_GSTRING_LEN`.
const STRING_LEN: usize = bindings::ETH_GSTRING_LEN as usize;

/// The device of a namespace: what [`register`] keeps as the state of each.
///
/// # Invariants
///
/// `dev` is registered, and stays so until `exit_rtnl` of its namespace.
pub struct Registered {
    dev: NonNull<bindings::net_device>,
}

// SAFETY: It refers to a device, which is `Send` and `Sync`.
unsafe impl Send for Registered {}

// SAFETY: A shared one only says which device it is, and that is `Sync`.
unsafe impl Sync for Registered {}

impl Registered {
    /// Makes and registers a device of `T` in `net`. Takes RTNL.
    fn new<T: Operations>(net: &Namespace) -> Result<Self> {
        // SAFETY: The name fits (see `register`), and `setup` is for a device without private data.
        let dev = unsafe {
            bindings::alloc_netdev_mqs(
                0,
                T::NAME.as_char_ptr(),
                bindings::NET_NAME_PREDICTABLE as u8,
                Some(Vtable::<T>::setup),
                1,
                1,
            )
        };
        let dev = NonNull::new(dev).ok_or(ENOMEM)?;
        let rtnl = rtnl::lock(net);
        // SAFETY: The device is valid and not registered; RTNL of `net`, which it gets, is held.
        let registered = to_result(unsafe {
            bindings::dev_net_set(dev.as_ptr(), net.as_raw());
            if let Some(index) = T::IFINDEX.and_then(|index| c_int::try_from(index.get()).ok()) {
                if bindings::__dev_get_by_index(net.as_raw(), index).is_null() {
                    (*dev.as_ptr()).ifindex = index;
                }
            }
            bindings::register_netdevice(dev.as_ptr())
        });
        drop(rtnl);
        if let Err(err) = registered {
            // SAFETY: The device is not registered, and nobody knows it.
            unsafe { bindings::free_netdev(dev.as_ptr()) };
            return Err(err);
        }
        // INVARIANT: Just registered.
        Ok(Self { dev })
    }
}

/// What is done with the device of a namespace as that begins and ends.
///
/// Private, and so is the registration inside [`Registration`]: a device is made and unregistered
/// by the core's callbacks, and by nobody else.
struct PernetDevice<T>(PhantomData<T>);

// SAFETY: The slot is that of `T`, which returns the same each time.
unsafe impl<T: Operations> pernet::HasSlot for PernetDevice<T> {
    type Stored = Registered;

    #[inline]
    fn slot() -> &'static pernet::Slot<Registered> {
        T::slot()
    }
}

#[vtable]
impl<T: Operations> pernet::Operations for PernetDevice<T> {
    type Kind = pernet::Device;

    fn applies_to(net: &Namespace) -> bool {
        T::applies_to(net)
    }

    fn init(net: &Namespace) -> impl PinInit<Registered, Error> {
        Registered::new::<T>(net)
    }

    fn exit_rtnl(
        _net: &Namespace,
        registered: Pin<&Registered>,
        kill_list: &mut rtnl::KillList<'_>,
    ) {
        // SAFETY: The device is registered, RTNL of its namespace is held, and the list is
        // unregistered before that of all namespaces is released. After this, nobody uses the
        // value: readers are gone since `pre_exit`.
        unsafe {
            bindings::unregister_netdevice_queue(registered.dev.as_ptr(), kill_list.as_raw());
        }
    }
}

/// Puts a device of type `T` into every namespace, for as long as the registration exists.
///
/// Wraps `register_pernet_device()`, and is called where [`pernet`] says. `EBUSY` if `T` is
/// registered already, `EEXIST` if a namespace has a device of that name, `ENOMEM`.
pub fn register<T: Operations>() -> impl PinInit<Registration<T>, Error> {
    const {
        assert!(T::NAME.count_bytes() < bindings::IFNAMSIZ as usize);
        let mut i = 0;
        while i < T::ETHTOOL_STATS.len() {
            assert!(T::ETHTOOL_STATS[i].count_bytes() < STRING_LEN);
            i += 1;
        }
    }
    pin_init!(Registration {
        _devices <- pernet::register_pernet_device(),
    }? Error)
}

/// Devices of type `T` in every namespace: dropping it unregisters them.
#[pin_data]
pub struct Registration<T: Operations> {
    #[pin]
    _devices: pernet::Registration<PernetDevice<T>>,
}
