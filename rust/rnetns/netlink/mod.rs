// SPDX-License-Identifier: GPL-2.0

//! The generic netlink family `rnetns`: how user space reads and changes the route cache of a
//! namespace.
//!
//! `rnetns.yaml` describes it; `rnetns_netlink_gen.[ch]` and the UAPI header are generated from
//! that, and declare the operations that are here. They work in the namespace of the socket that
//! asks. Rights are checked before they are called: the specification says which operations need
//! `CAP_NET_ADMIN` in the namespace's user namespace.

pub(crate) mod announce;
mod prefix;

use kernel::{
    genl_doit,
    genl_dumpit,
    genl_family,
    net::{
        netlink::{
            self,
            message::Message,
            request::{
                Attributes,
                Dump,
                GeneratedFamily,
                Request, //
            },
        },
        tagged_table::{
            Action,
            Walk, //
        },
        LiveNamespace,
        Namespace, //
    },
    prelude::*,
    sync::rcu,
    time::jiffies64_to_msecs,
    uapi::{
        RNETNS_A_ASIDE,
        RNETNS_A_BYPASSED,
        RNETNS_A_ENABLED,
        RNETNS_A_ENTRIES4,
        RNETNS_A_ENTRIES6,
        RNETNS_A_EVICTIONS,
        RNETNS_A_EXPIRIES,
        RNETNS_A_FLUSHED,
        RNETNS_A_HITS,
        RNETNS_A_INSERTS,
        RNETNS_A_INVALIDATIONS,
        RNETNS_A_LEFT,
        RNETNS_A_MAX_QUOTA,
        RNETNS_A_MISSES,
        RNETNS_A_QUOTA,
        RNETNS_A_REFUSALS,
        RNETNS_A_TIMEOUT,
        RNETNS_A_UNCACHEABLE,
        RNETNS_ENTRY_A_AGE,
        RNETNS_ENTRY_A_DST4,
        RNETNS_ENTRY_A_DST6,
        RNETNS_ENTRY_A_DST_LEN,
        RNETNS_ENTRY_A_FAMILY,
        RNETNS_ENTRY_A_FLOWLABEL,
        RNETNS_ENTRY_A_IIF,
        RNETNS_ENTRY_A_LOCAL,
        RNETNS_ENTRY_A_MARK,
        RNETNS_ENTRY_A_OIF,
        RNETNS_ENTRY_A_RP_FILTER,
        RNETNS_ENTRY_A_SRC4,
        RNETNS_ENTRY_A_SRC6,
        RNETNS_ENTRY_A_STALE,
        RNETNS_ENTRY_A_TOS,
        RNETNS_ENTRY_A_USED,
        RNETNS_FLUSH_A_DST4,
        RNETNS_FLUSH_A_DST6,
        RNETNS_FLUSH_A_DST_LEN,
        RNETNS_FLUSH_A_FLUSHED,
        RNETNS_FLUSH_A_IFINDEX, //
    },
    workqueue::deferred::Deferred, //
};

use self::prefix::Prefix;
use crate::route_cache::{
    cache::{
        Cache,
        Change,
        Entry,
        Key,
        Place,
        Report, //
    },
    devices,
    hooks,
    stats,
    tables, //
};

/// The family while it is registered.
pub(crate) struct Netlink {
    _family: netlink::Registration,
}

impl Netlink {
    /// Registers the family. Requests come from here on.
    pub(crate) fn new() -> Result<Self> {
        let registration = family().register()?;
        announce::begin();
        Ok(Self {
            _family: registration,
        })
    }
}

impl Drop for Netlink {
    fn drop(&mut self) {
        announce::end();
    }
}

fn family() -> &'static GeneratedFamily {
    genl_family!(rnetns_nl_family)
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
    Cache::of(request.net(), guard).ok_or_else(|| refuse(request))
}

fn refuse(request: &Request<'_>) -> Error {
    request.refuse(EAFNOSUPPORT, None, INIT_NET_ONLY)
}

fn cache_get(request: &Request<'_>) -> Result {
    let report = cache_of(request, &rcu::read_lock())?.report();
    request.reply(|message| put_report(message, &report))
}

fn put_report(message: &mut Message<'_>, report: &Report) -> Result {
    for (attr, value) in COUNTERS.iter().zip(report.stats) {
        message.put_uint(*attr, value)?;
    }
    message.put_u32(RNETNS_A_ENTRIES4, report.entries4)?;
    message.put_u32(RNETNS_A_ENTRIES6, report.entries6)?;
    message.put_u32(RNETNS_A_ASIDE, report.aside.into())?;
    message.put_u32(RNETNS_A_MAX_QUOTA, report.max_quota)?;
    message.put_u32(RNETNS_A_QUOTA, report.quota)?;
    message.put_u32(RNETNS_A_TIMEOUT, report.timeout)?;
    message.put_u32(RNETNS_A_ENABLED, report.enabled.into())
}

fn cache_set(request: &Request<'_>) -> Result {
    let attributes = request.attributes();
    let change = Change {
        quota: attributes.u32(RNETNS_A_QUOTA),
        timeout: attributes.u32(RNETNS_A_TIMEOUT),
        enabled: attributes.u32(RNETNS_A_ENABLED).map(|enabled| enabled != 0),
    };
    if change.is_empty() {
        return Err(request.refuse(EINVAL, None, c"no setting to change"));
    }
    let max_quota = tables::get()?.sizes.max_quota;
    if change.quota.is_some_and(|quota| quota > max_quota) {
        let why = c"more than max_quota, which is a parameter of the module";
        return Err(request.refuse(ERANGE, Some(RNETNS_A_QUOTA), why));
    }
    cache_of(request, &rcu::read_lock())?;
    // What can fail comes first.
    if change.enabled == Some(true) {
        hooks::put_in_the_way(request.net()).map_err(|error| {
            if error == EBUSY {
                let why = c"another hook has the last priority, and would come behind the cache";
                request.refuse(EBUSY, Some(RNETNS_A_ENABLED), why)
            } else {
                error
            }
        })?;
    }
    let report = {
        let guard = rcu::read_lock();
        let cache = cache_of(request, &guard)?;
        Cache::set(cache, &change)?;
        cache.report()
    };
    announce::cache(request.net(), &report);
    Ok(())
}

fn flush(request: &Request<'_>) -> Result {
    let attributes = request.attributes();
    let ifindex = attributes.u32(RNETNS_FLUSH_A_IFINDEX);
    let prefix = prefix(&attributes, &FLUSH_PREFIX)
        .map_err(|wrong| request.refuse(EINVAL, Some(wrong.attr), wrong.why))?;
    let flushed = if ifindex.is_none() && prefix.is_none() {
        Cache::flush_all(cache_of(request, &rcu::read_lock())?)
    } else {
        Cache::flush_some(request.net(), |entry, guard| {
            ifindex.is_none_or(|ifindex| devices::concerns(entry, ifindex, guard))
                && prefix.is_none_or(|prefix| prefix.holds(&entry.key))
        })
        .ok_or_else(|| refuse(request))?
    };
    announce::flush(request.net(), flushed);
    request.reply(|message| message.put_uint(RNETNS_FLUSH_A_FLUSHED, flushed))
}

/// The attributes that name a network: of IPv4, of IPv6, and the length.
struct PrefixAttrs {
    dst4: u32,
    dst6: u32,
    len: u32,
}

const FLUSH_PREFIX: PrefixAttrs = PrefixAttrs {
    dst4: RNETNS_FLUSH_A_DST4,
    dst6: RNETNS_FLUSH_A_DST6,
    len: RNETNS_FLUSH_A_DST_LEN,
};

const ENTRY_PREFIX: PrefixAttrs = PrefixAttrs {
    dst4: RNETNS_ENTRY_A_DST4,
    dst6: RNETNS_ENTRY_A_DST6,
    len: RNETNS_ENTRY_A_DST_LEN,
};

/// What is wrong with a network, and with which attribute.
struct Wrong {
    attr: u32,
    why: &'static CStr,
}

/// The network that the request names, if it names one.
fn prefix(attributes: &Attributes<'_>, attrs: &PrefixAttrs) -> Result<Option<Prefix>, Wrong> {
    let wrong = |attr, why| Err(Wrong { attr, why });
    let len = attributes.u32(attrs.len);
    let v4 = attributes.chunk(attrs.dst4).map(Prefix::v4);
    let v6 = attributes.chunk(attrs.dst6).map(Prefix::v6);
    let network = match (v4, v6) {
        (Some(_), Some(_)) => return wrong(attrs.dst6, c"dst4 and dst6 exclude each other"),
        (None, None) if len.is_some() => {
            return wrong(attrs.len, c"dst-len needs dst4 or dst6");
        }
        (None, None) => return Ok(None),
        (Some(network), None) | (None, Some(network)) => network,
    };
    let Some(len) = len else {
        return Ok(Some(network));
    };
    match network.shortened(len) {
        Some(network) => Ok(Some(network)),
        None => wrong(attrs.len, c"longer than an address of this family"),
    }
}

/// The entries that a dump shows.
struct Filter {
    family: Option<u32>,
    prefix: Option<Prefix>,
}

impl Filter {
    fn of(dump: &Dump<'_>) -> Result<Self> {
        let attributes = dump.attributes();
        let family = attributes.u32(RNETNS_ENTRY_A_FAMILY);
        if family.is_some_and(|family| ![prefix::AF_INET, prefix::AF_INET6].contains(&family)) {
            return Err(dump.refuse(EAFNOSUPPORT, c"family must be AF_INET or AF_INET6"));
        }
        let prefix =
            prefix(&attributes, &ENTRY_PREFIX).map_err(|wrong| dump.refuse(EINVAL, wrong.why))?;
        Ok(Self { family, prefix })
    }

    fn shows(&self, key: &Key) -> bool {
        self.family
            .is_none_or(|family| family == prefix::family(key))
            && self.prefix.is_none_or(|prefix| prefix.holds(key))
    }
}

/// More than the message of an entry needs.
const MESSAGE: usize = 192;

/// So many entries are looked at, and copied, while nobody can put in another. Formatting them
/// takes longer, and comes after that.
const BATCH: usize = 32;

fn entry_get(dump: &mut Dump<'_>, place: &mut Place) -> Result {
    let net: &LiveNamespace = dump.net();
    let filter = Filter::of(dump)?;
    let mut rows = KVec::with_capacity(BATCH, GFP_KERNEL)?;
    while !place.is_at_end() {
        let budget = BATCH.min(dump.room() / MESSAGE);
        if budget == 0 {
            return Err(EMSGSIZE);
        }
        {
            let guard = rcu::read_lock();
            let cache =
                Cache::of(net, &guard).ok_or_else(|| dump.refuse(EAFNOSUPPORT, INIT_NET_ONLY))?;
            dump.set_generation(cache.changes());
            let walk = cache.walk(place, budget, &mut |entry: &Entry<'_>| {
                if filter.shows(&entry.key) {
                    // There is room for all of them.
                    let _ = rows.push_within_capacity(Row::of(net, entry, &guard));
                }
                Action::Keep
            });
            // Entries have gone meanwhile, or moved: the dump says so.
            if walk == Walk::Outrun {
                place.pass_family();
            }
        }
        for row in &rows {
            dump.message(|message| row.put(message))?;
        }
        rows.clear();
    }
    // Entries may have gone between the first check and the walk. No message can say so any more;
    // the end of the dump does.
    if let Some(cache) = Cache::of(net, &rcu::read_lock()) {
        dump.set_generation(cache.changes());
    }
    Ok(())
}

/// What a dump shows of an entry.
struct Row {
    key: Key,
    oif: u32,
    is_local: bool,
    is_used: bool,
    is_stale: bool,
    age: u32,
}

impl Row {
    fn of(net: &Namespace, entry: &Entry<'_>, guard: &rcu::Guard) -> Self {
        let dst = entry.check(net, guard);
        Self {
            key: entry.key,
            oif: dst.map_or(0, |dst| dst.dev().ifindex() as u32),
            is_local: entry.dst.is_local(),
            is_used: entry.used,
            is_stale: dst.is_none(),
            age: entry.age,
        }
    }

    fn put(&self, message: &mut Message<'_>) -> Result {
        message.put_u32(RNETNS_ENTRY_A_FAMILY, prefix::family(&self.key))?;
        match &self.key {
            Key::V4(key) => {
                message.put_bytes(RNETNS_ENTRY_A_SRC4, &key.saddr.to_be_bytes())?;
                message.put_bytes(RNETNS_ENTRY_A_DST4, &key.daddr.to_be_bytes())?;
                message.put_u32(RNETNS_ENTRY_A_IIF, key.iif)?;
                message.put_u32(RNETNS_ENTRY_A_MARK, key.mark)?;
                message.put_u32(RNETNS_ENTRY_A_TOS, key.dscp.into())?;
                message.put_u32(RNETNS_ENTRY_A_RP_FILTER, key.rp_filter.into())?;
            }
            Key::V6(key) => {
                message.put_bytes(RNETNS_ENTRY_A_SRC6, &prefix::bytes(&key.saddr))?;
                message.put_bytes(RNETNS_ENTRY_A_DST6, &prefix::bytes(&key.daddr))?;
                message.put_u32(RNETNS_ENTRY_A_IIF, key.iif)?;
                message.put_u32(RNETNS_ENTRY_A_MARK, key.mark)?;
                message.put_u32(RNETNS_ENTRY_A_TOS, key.flowinfo >> 20)?;
                message.put_u32(RNETNS_ENTRY_A_FLOWLABEL, key.flowinfo & 0x000f_ffff)?;
            }
        }
        message.put_u32(RNETNS_ENTRY_A_OIF, self.oif)?;
        message.put_flag(RNETNS_ENTRY_A_LOCAL, self.is_local)?;
        message.put_flag(RNETNS_ENTRY_A_USED, self.is_used)?;
        message.put_flag(RNETNS_ENTRY_A_STALE, self.is_stale)?;
        message.put_uint(RNETNS_ENTRY_A_AGE, jiffies64_to_msecs(self.age.into()))
    }
}
