// SPDX-License-Identifier: GPL-2.0

//! The tables that all namespaces share, and how large they are.

use kernel::{
    mm::totalram_pages,
    net::{
        dst,
        pernet::{
            self,
            HasSlot, //
        },
        tagged_table::Table,
        LiveNamespace,
        Namespace, //
    },
    page::PAGE_SIZE,
    pernet_slot,
    prelude::*,
    sync::{
        rcu,
        Arc, //
    },
};

use super::key::{
    WORDS4,
    WORDS6, //
};

/// Whom the destinations in the tables are held for.
pub(crate) struct Holder;

pernet_slot!(Holder: dst::Holds);

/// A destination that is held.
pub(crate) type OwnedDst = dst::OwnedDst<Holder>;

/// The table of IPv4 routes.
pub(crate) type Table4 = Table<OwnedDst, WORDS4>;
/// The table of IPv6 routes.
pub(crate) type Table6 = Table<OwnedDst, WORDS6>;

/// The fewest and the most lines of a table.
const BUCKETS: core::ops::RangeInclusive<u32> = 1 << 10..=1 << 21;

/// By default there is one line for this much memory, and at most as many as take less than 8 MiB
/// for both families. A hit on an entry that is in no cache of the processor costs more than a
/// small routing table does: most machines gain nothing by a table that is much larger than these
/// caches. Who has more flows in use at a time asks for more lines.
const MEMORY_PER_BUCKET: usize = 32 << 10;
const MAX_DEFAULT_BUCKETS: u32 = 32 << 10;
const MOST_DEFAULT_BYTES: usize = 8 << 20;
const _: () = {
    let line = Table4::BYTES_PER_LINE + Table6::BYTES_PER_LINE;
    assert!(MAX_DEFAULT_BUCKETS as usize * line <= MOST_DEFAULT_BYTES);
};

/// The most that the largest quota of a namespace can be.
const MAX_QUOTA: u32 = 1 << 22;

/// The places of each table that a namespace with entries is promised, whatever others do. One
/// eighth of a table is for that: some dozens of namespaces have this many, and those that come
/// then have fewer.
const PROMISE: u32 = 64;

/// The longest time that an entry may be idle, in seconds.
const MAX_TIMEOUT: u32 = 86400;

/// The sizes that the module's parameters ask for.
#[derive(Clone, Copy)]
pub(crate) struct Sizes {
    /// Lines of each table.
    pub(crate) buckets: u32,
    /// How many entries a namespace may have, unless it is told otherwise.
    pub(crate) quota: u32,
    /// The largest quota that a namespace can be given.
    pub(crate) max_quota: u32,
    /// Seconds without use after which an entry is dropped, unless the namespace is told otherwise.
    pub(crate) timeout: u32,
    /// Whether namespaces begin with the cache on.
    pub(crate) enable: bool,
}

/// Says what is wrong with a parameter.
fn refuse(name: &str, value: u32, least: u32, most: u32, note: &str) -> Error {
    pr_err!("{name}={value} is refused: it must be from {least} to {most}{note}\n");
    EINVAL
}

impl Sizes {
    /// Checks what the module's parameters say; the reason for a refusal is in the kernel log.
    pub(crate) fn new(
        buckets: u32,
        quota: u32,
        max_quota: u32,
        timeout: u32,
        enable: bool,
    ) -> Result<Self> {
        let buckets = match buckets {
            0 => default_buckets(),
            n if n.is_power_of_two() && BUCKETS.contains(&n) => n,
            n => {
                let note = ", a power of two; 0 for a number that fits the memory";
                return Err(refuse("buckets", n, *BUCKETS.start(), *BUCKETS.end(), note));
            }
        };
        if !(1..=MAX_QUOTA).contains(&max_quota) {
            return Err(refuse("max_quota", max_quota, 1, MAX_QUOTA, ""));
        }
        if !(1..=max_quota).contains(&quota) {
            return Err(refuse("quota", quota, 1, max_quota, " (max_quota)"));
        }
        check_timeout(timeout)
            .map_err(|_| refuse("timeout", timeout, 1, MAX_TIMEOUT, " seconds"))?;
        Ok(Self {
            buckets,
            quota,
            max_quota,
            timeout,
            enable,
        })
    }
}

/// Whether a timeout, in seconds, is one that can be had.
pub(crate) fn check_timeout(seconds: u32) -> Result {
    if (1..=MAX_TIMEOUT).contains(&seconds) {
        Ok(())
    } else {
        Err(ERANGE)
    }
}

/// A number of lines that fits the memory of the machine.
fn default_buckets() -> u32 {
    let wanted = totalram_pages().saturating_mul(PAGE_SIZE) / MEMORY_PER_BUCKET;
    let wanted = u32::try_from(wanted).unwrap_or(u32::MAX);
    let wanted = wanted.clamp(*BUCKETS.start(), MAX_DEFAULT_BUCKETS);
    // The largest power of two that is not above it.
    1 << (u32::BITS - 1 - wanted.leading_zeros())
}

/// Both tables.
#[derive(Clone)]
pub(crate) struct Tables {
    /// IPv4 routes.
    pub(crate) v4: Arc<Table4>,
    /// IPv6 routes.
    pub(crate) v6: Arc<Table6>,
    /// The settings that namespaces begin with.
    pub(crate) sizes: Sizes,
}

impl Tables {
    /// Allocates the tables. A table takes fewer entries than it has slots, so that most are found
    /// in the first line that is read: five for four lines of IPv4's two slots each, three for four
    /// of IPv6's one.
    fn new(sizes: Sizes) -> Result<Self> {
        let lines = sizes.buckets;
        let no_memory = |_: &Error| {
            pr_err!("no memory for tables of {lines} lines: load with a smaller buckets=\n")
        };
        Ok(Self {
            v4: Table::fair(lines, lines / 4 * 5, PROMISE).inspect_err(no_memory)?,
            v6: Table::fair(lines, lines / 4 * 3, PROMISE).inspect_err(no_memory)?,
            sizes,
        })
    }
}

pernet_slot!(Tables);

/// They are state of the initial namespace: there is one for all.
#[vtable]
impl pernet::Operations for Tables {
    type Kind = pernet::Subsys;

    fn applies_to(net: &Namespace) -> bool {
        net.is_init_net()
    }

    fn init(_net: &Namespace) -> impl PinInit<Self, Error> {
        crate::sizes().and_then(Tables::new)
    }
}

/// The tables, for a namespace that begins.
pub(crate) fn get() -> Result<Tables> {
    let guard = rcu::read_lock();
    let tables = Tables::slot().get(LiveNamespace::init_net(), &guard);
    tables.cloned().ok_or(ENODEV)
}
