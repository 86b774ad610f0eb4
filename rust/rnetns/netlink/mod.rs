// SPDX-License-Identifier: GPL-2.0

//! The generic netlink family `rnetns`: how user space reads and changes the route cache of a
//! namespace.
//!
//! `rnetns.yaml` describes it; `rnetns_netlink_gen.[ch]` and the UAPI header are generated from
//! that, and declare the operations that are here. They work in the namespace of the socket that
//! asks. Rights are checked before they are called: the specification says which operations need
//! `CAP_NET_ADMIN` in the namespace's user namespace.

mod prefix;

use kernel::{
    net::netlink,
    prelude::*,
    sync::rcu, //
};

use self::prefix::Prefix;
use crate::{
    bindings::uapi::*,
    genl_doit, genl_dumpit, genl_family,
    net::{
        deferred::Deferred,
        genl::{
            Dump,
            Message,
            Request, //
        },
        jiffies::jiffies_to_msecs,
        tagged_table::Action,
        ActiveNamespace, //
    },
    route_cache::{
        cache::{
            Cache,
            Change,
            Entry,
            Key,
            Place, //
        },
        devices,
        hooks,
        stats,
        tables, //
    },
};

/// The family while it is registered.
pub(crate) struct Netlink {
    _family: netlink::Registration,
}

impl Netlink {
    /// Registers the family. Requests come from here on.
    pub(crate) fn new() -> Result<Self> {
        let family: &'static netlink::Family = genl_family!(rnetns_nl_family);
        Ok(Self {
            _family: family.register()?,
        })
    }
}

genl_doit!(rnetns_nl_cache_get_doit => cache_get);
genl_doit!(rnetns_nl_cache_set_doit => cache_set);
genl_doit!(rnetns_nl_flush_doit => flush);
genl_dumpit!(rnetns_nl_entry_get_dumpit => entry_get);

/// The attributes that counters have, in the order of [`stats::Stat`].
const COUNTERS: [u32; stats::STATS] = [
    RNETNS_A_HITS,
    RNETNS_A_MISSES,
    RNETNS_A_INSERTS,
    RNETNS_A_EVICTIONS,
    RNETNS_A_EXPIRIES,
    RNETNS_A_INVALIDATIONS,
    RNETNS_A_FLUSHED,
    RNETNS_A_REFUSALS,
    RNETNS_A_UNCACHEABLE,
    RNETNS_A_BYPASSED,
    RNETNS_A_LEFT,
];

/// Why there is no cache in a namespace.
const INIT_NET_ONLY: &CStr = c"the module works in the initial namespace only (init_net_only)";

/// The cache of the namespace; an error where the module refuses to work.
fn cache_of<'g>(request: &Request<'_>, guard: &'g rcu::Guard) -> Result<&'g Deferred<Cache>> {
    Cache::of(request.net(), guard).ok_or_else(|| request.refuse(EAFNOSUPPORT, None, INIT_NET_ONLY))
}

fn cache_get(request: &Request<'_>) -> Result {
    let max_quota = tables::get()?.sizes.max_quota;
    let report = cache_of(request, &rcu::read_lock())?.report();
    request.reply(|message| {
        for (attr, value) in COUNTERS.iter().zip(report.stats) {
            message.put_uint(*attr, value)?;
        }
        message.put_u32(RNETNS_A_ENTRIES4, report.entries4)?;
        message.put_u32(RNETNS_A_ENTRIES6, report.entries6)?;
        message.put_u8(RNETNS_A_ASIDE, report.aside.into())?;
        message.put_u32(RNETNS_A_MAX_QUOTA, max_quota)?;
        message.put_u32(RNETNS_A_QUOTA, report.quota)?;
        message.put_u32(RNETNS_A_TIMEOUT, report.timeout)?;
        message.put_u8(RNETNS_A_ENABLED, report.enabled.into())
    })
}

fn cache_set(request: &Request<'_>) -> Result {
    let change = Change {
        quota: request.u32(RNETNS_A_QUOTA),
        timeout: request.u32(RNETNS_A_TIMEOUT),
        enabled: request.u8(RNETNS_A_ENABLED).map(|enabled| enabled != 0),
    };
    let max_quota = tables::get()?.sizes.max_quota;
    if change.quota.is_some_and(|quota| quota > max_quota) {
        let why = c"more than max_quota, which is a parameter of the module";
        return Err(request.refuse(ERANGE, Some(RNETNS_A_QUOTA), why));
    }
    Cache::set(cache_of(request, &rcu::read_lock())?, &change, max_quota)?;
    if change.enabled.is_some() {
        hooks::follow_cache(request.net()).inspect_err(|_| {
            // Without hooks the cache is off, and the setting must say so.
            let off = Change {
                enabled: Some(false),
                ..Change::default()
            };
            if let Ok(cache) = cache_of(request, &rcu::read_lock()) {
                let _ = Cache::set(cache, &off, max_quota);
            }
            // Another request may have registered them meanwhile. Unregistering does not fail.
            let _ = hooks::follow_cache(request.net());
        })?;
    }
    Ok(())
}

fn flush(request: &Request<'_>) -> Result {
    let ifindex = request.u32(RNETNS_FLUSH_A_IFINDEX);
    let prefix = prefix(request)?;
    let flushed = if ifindex.is_none() && prefix.is_none() {
        Cache::flush_all(cache_of(request, &rcu::read_lock())?)
    } else {
        flush_chosen(request, |entry, guard| {
            ifindex.is_none_or(|ifindex| devices::concerns(entry, ifindex, guard))
                && prefix.is_none_or(|prefix| prefix.holds(&entry.key))
        })?
    };
    request.reply(|message| message.put_uint(RNETNS_FLUSH_A_FLUSHED, flushed))
}

/// Removes the entries that `which` chooses, some at a time.
fn flush_chosen(
    request: &Request<'_>,
    mut which: impl FnMut(&Entry<'_>, &rcu::Guard) -> bool,
) -> Result<u64> {
    let mut place = Place::default();
    let mut flushed = 0;
    loop {
        let guard = rcu::read_lock();
        let cache = cache_of(request, &guard)?;
        let (gone, at_end) =
            Cache::flush_some(cache, &mut place, &mut |entry| which(entry, &guard));
        flushed += gone;
        if at_end {
            return Ok(flushed);
        }
    }
}

/// The network that the request names, if it names one.
fn prefix(request: &Request<'_>) -> Result<Option<Prefix>> {
    let len = request.u32(RNETNS_FLUSH_A_DST_LEN);
    let Some(address) = request.bytes(RNETNS_FLUSH_A_DST) else {
        return match len {
            None => Ok(None),
            Some(_) => {
                let why = c"a length of a network without its address";
                Err(request.refuse(EINVAL, Some(RNETNS_FLUSH_A_DST_LEN), why))
            }
        };
    };
    let network = Prefix::new(address).ok_or_else(|| {
        let why = c"an address has 4 or 16 bytes";
        request.refuse(EINVAL, Some(RNETNS_FLUSH_A_DST), why)
    })?;
    let Some(len) = len else {
        return Ok(Some(network));
    };
    let network = network.shortened(len).ok_or_else(|| {
        let why = c"longer than an address of this family";
        request.refuse(EINVAL, Some(RNETNS_FLUSH_A_DST_LEN), why)
    })?;
    Ok(Some(network))
}

fn entry_get(dump: &mut Dump<'_>, place: &mut Place) -> Result {
    let net: &ActiveNamespace = dump.net();
    loop {
        let guard = rcu::read_lock();
        let cache =
            Cache::of(net, &guard).ok_or_else(|| dump.refuse(EAFNOSUPPORT, INIT_NET_ONLY))?;
        dump.set_generation(cache.changes());
        let mut result = Ok(());
        let at_end = cache.walk(place, &mut |entry: &Entry<'_>| {
            result = dump.message(|message| put_entry(message, entry, &guard));
            if result.is_ok() {
                Action::Keep
            } else {
                Action::Stop
            }
        });
        result?;
        if at_end {
            // Entries may have gone between the first check and the walk. No message can say so any
            // more; the end of the dump does.
            dump.set_generation(cache.changes());
            return Ok(());
        }
    }
}

fn put_entry(message: &mut Message<'_>, entry: &Entry<'_>, guard: &rcu::Guard) -> Result {
    match &entry.key {
        Key::V4(key) => {
            message.put_u16(RNETNS_ENTRY_A_FAMILY, prefix::AF_INET)?;
            message.put_bytes(RNETNS_ENTRY_A_SRC, &key.saddr.to_be_bytes())?;
            message.put_bytes(RNETNS_ENTRY_A_DST, &key.daddr.to_be_bytes())?;
            message.put_u32(RNETNS_ENTRY_A_IIF, key.iif)?;
            message.put_u32(RNETNS_ENTRY_A_MARK, key.mark)?;
            message.put_u32(RNETNS_ENTRY_A_FLOWINFO, key.dscp.into())?;
        }
        Key::V6(key) => {
            message.put_u16(RNETNS_ENTRY_A_FAMILY, prefix::AF_INET6)?;
            message.put_bytes(RNETNS_ENTRY_A_SRC, &prefix::bytes(&key.saddr))?;
            message.put_bytes(RNETNS_ENTRY_A_DST, &prefix::bytes(&key.daddr))?;
            message.put_u32(RNETNS_ENTRY_A_IIF, key.iif)?;
            message.put_u32(RNETNS_ENTRY_A_MARK, key.mark)?;
            message.put_u32(RNETNS_ENTRY_A_FLOWINFO, key.flowinfo)?;
        }
    }
    let oif = entry
        .dst
        .check_now(guard)
        .map_or(0, |dst| dst.dev().ifindex());
    message.put_u32(RNETNS_ENTRY_A_OIF, oif as u32)?;
    message.put_flag(RNETNS_ENTRY_A_LOCAL, entry.dst.is_local())?;
    message.put_flag(RNETNS_ENTRY_A_USED, entry.used)?;
    message.put_uint(RNETNS_ENTRY_A_AGE, jiffies_to_msecs(entry.age.into()))
}
