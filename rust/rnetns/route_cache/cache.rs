// SPDX-License-Identifier: GPL-2.0

//! A namespace's part of the route cache.

use kernel::{
    prelude::*,
    sync::{
        rcu,
        Arc, //
    },
    time::{
        msecs_to_jiffies,
        Jiffies, //
    },
};

use super::{
    aside::Aside,
    key::{
        Key4,
        Key6,
        WORDS4,
        WORDS6, //
    },
    stats::{
        Counters,
        Stat,
        STATS, //
    },
    tables, //
};
use crate::{
    net::{
        deferred::{
            self,
            Deferred, //
        },
        dst::{
            Dst,
            OwnedDst, //
        },
        pernet::{
            self,
            HasSlot, //
        },
        spinlock_bh::SpinLockBh,
        tagged_table::{
            Action,
            Cursor,
            Owner,
            Published,
            Refused,
            Table,
            Tag, //
        },
        Namespace, //
    },
    new_spinlock_bh, pernet_slot, support,
};

/// How many entries a run of the deferred work looks at, and a walk while it holds the lock.
const BUDGET: usize = 256;

/// How soon deferred work that has more to do goes on, in jiffies.
const SOON: Jiffies = 1;

/// How often an aside cache is asked whether it should come back, in milliseconds.
const ASIDE_CHECK_MS: u32 = 500;

/// What a look-up comes to.
pub(crate) enum Lookup<'g> {
    /// The route, which was checked to be what it was.
    Hit(&'g Dst),
    /// None that is valid; [`Cache::insert`] takes one with this ticket.
    Miss(Ticket),
    /// The packet is none of the cache's business.
    Aside,
}

/// That there is something to look up, and how.
#[derive(Clone, Copy)]
pub(crate) struct Ready {
    tag: Tag,
    sample: u32,
}

/// What an entry must be put in with: that there was no flush since the look-up.
pub(crate) struct Ticket(Tag);

/// IPv4 or IPv6.
pub(crate) trait Family<const N: usize> {
    /// What look-ups use.
    fn side(cache: &Cache) -> &Side<N>;
    /// What changes are made to.
    fn owner(owned: &mut Owned) -> &mut Owner<OwnedDst, N>;
}

/// IPv4.
pub(crate) struct Inet4;
/// IPv6.
pub(crate) struct Inet6;

impl Family<WORDS4> for Inet4 {
    #[inline(always)]
    fn side(cache: &Cache) -> &Side<WORDS4> {
        &cache.side4
    }

    fn owner(owned: &mut Owned) -> &mut Owner<OwnedDst, WORDS4> {
        &mut owned.v4
    }
}

impl Family<WORDS6> for Inet6 {
    #[inline(always)]
    fn side(cache: &Cache) -> &Side<WORDS6> {
        &cache.side6
    }

    fn owner(owned: &mut Owned) -> &mut Owner<OwnedDst, WORDS6> {
        &mut owned.v6
    }
}

/// What look-ups of a family use: the shared table, and the namespace's tag in it.
pub(crate) struct Side<const N: usize> {
    table: Arc<Table<OwnedDst, N>>,
    published: Published,
}

/// What only who holds the lock uses.
pub(crate) struct Owned {
    v4: Owner<OwnedDst, WORDS4>,
    v6: Owner<OwnedDst, WORDS6>,
    enabled: bool,
    quota: u32,
    timeout_secs: u32,
    aside: Aside,
}

impl Owned {
    fn entries(&self) -> u32 {
        self.v4.len() + self.v6.len()
    }

    fn timeout(&self) -> u32 {
        msecs_to_jiffies(self.timeout_secs.saturating_mul(1000)) as u32
    }
}

/// A namespace's cache.
#[pin_data]
pub(crate) struct Cache {
    side4: Side<WORDS4>,
    side6: Side<WORDS6>,
    counters: Counters,
    max_quota: u32,
    #[pin]
    owned: SpinLockBh<Owned>,
}

/// What a namespace's pernet storage holds: the cache, and the work that is done for it.
pub(crate) struct PernetCache;

pernet_slot!(PernetCache: Deferred<Cache>);

#[vtable]
impl pernet::Operations for PernetCache {
    type Kind = pernet::Subsys;

    fn applies_to(net: &Namespace) -> bool {
        support::is_supported(net)
    }

    fn init(_net: &Namespace) -> impl PinInit<Deferred<Cache>, Error> {
        Deferred::new(
            Cache::new(),
            kernel::static_lock_class!(),
            kernel::static_lock_class!(),
        )
    }

    fn pre_exit(_net: &Namespace, cache: Pin<&Deferred<Cache>>) {
        // The devices of the namespace go before its state does: by then, nothing keeps a route.
        cache.close();
    }
}

/// What the cache of a namespace says about itself.
pub(crate) struct Report {
    /// The counters, in the order of [`Stat`].
    pub(crate) stats: [u64; STATS],
    /// IPv4 entries now.
    pub(crate) entries4: u32,
    /// IPv6 entries now.
    pub(crate) entries6: u32,
    /// How many of both there may be.
    pub(crate) quota: u32,
    /// After how many seconds without use an entry goes.
    pub(crate) timeout: u32,
    /// Whether it is on.
    pub(crate) enabled: bool,
    /// Whether it steps aside.
    pub(crate) aside: bool,
}

/// What is to be changed; what is none stays.
#[derive(Default)]
pub(crate) struct Change {
    /// How many entries the namespace may have.
    pub(crate) quota: Option<u32>,
    /// After how many seconds without use an entry goes.
    pub(crate) timeout: Option<u32>,
    /// Whether the cache is on.
    pub(crate) enabled: Option<bool>,
}

/// The key of an entry.
pub(crate) enum Key {
    /// Of an IPv4 route.
    V4(Key4),
    /// Of an IPv6 route.
    V6(Key6),
}

/// An entry, for a look at it.
pub(crate) struct Entry<'a> {
    /// Its key.
    pub(crate) key: Key,
    /// Where packets go.
    pub(crate) dst: &'a Dst,
    /// What its validity is checked with.
    pub(crate) cookie: u32,
    /// Whether it was used since it was put in or found in use.
    pub(crate) used: bool,
    /// For how many jiffies it has been there since then.
    pub(crate) age: u32,
}

/// A place among the entries of a namespace.
#[derive(Clone, Copy, Default)]
pub(crate) struct Place {
    v6: bool,
    cursor: Cursor,
}

impl Cache {
    fn new() -> impl PinInit<Self, Error> {
        pin_init::pin_init_scope(|| {
            let tables = tables::get()?;
            let sizes = tables.sizes;
            let mut owned = Owned {
                v4: Owner::new(tables.v4.clone())?,
                v6: Owner::new(tables.v6.clone())?,
                enabled: sizes.enable,
                quota: sizes.quota,
                timeout_secs: sizes.timeout,
                aside: Aside::new(None),
            };
            let side4 = Side {
                table: tables.v4,
                published: Published::new(),
            };
            let side6 = Side {
                table: tables.v6,
                published: Published::new(),
            };
            publish(&side4.published, &side6.published, &mut owned);
            Ok::<_, Error>(try_pin_init!(Self {
                side4,
                side6,
                counters: Counters::new()?,
                max_quota: sizes.max_quota,
                owned <- new_spinlock_bh!(owned),
            }? Error))
        })
    }

    /// The cache of `net`. None while the namespace is being created or is ending, and where the
    /// module refuses to work.
    #[inline]
    pub(crate) fn of<'g>(net: &Namespace, guard: &'g rcu::Guard) -> Option<&'g Deferred<Self>> {
        PernetCache::slot().get(net, guard)
    }

    /// Whether the cache is on.
    #[inline(always)]
    pub(crate) fn ready<F: Family<N>, const N: usize>(&self) -> Option<Ready> {
        let (tag, sample) = F::side(self).published.get()?;
        Some(Ready { tag, sample })
    }

    /// Looks for the route of a packet. Counts what it comes to, but for a hit: whether that is
    /// used, the caller knows.
    #[inline(always)]
    pub(crate) fn lookup<'g, F: Family<N>, const N: usize>(
        &self,
        ready: Ready,
        key: &[u32; N],
        guard: &'g rcu::Guard,
    ) -> Lookup<'g> {
        let Ready { tag, sample } = ready;
        let side = F::side(self);
        let query = side.table.query(tag, key);
        if sample != 0 && !query.in_sample(sample) {
            self.counters.count(Stat::Bypassed);
            return Lookup::Aside;
        }
        if let Some(found) = side.table.find(&query, guard) {
            if found.value.check(found.note, guard) {
                return Lookup::Hit(found.value);
            }
            self.forget::<F, N>(key);
        }
        self.counters.count(Stat::Misses);
        Lookup::Miss(Ticket(tag))
    }

    /// Takes out an entry whose route has changed.
    #[cold]
    fn forget<F: Family<N>, const N: usize>(&self, key: &[u32; N]) {
        if F::owner(&mut self.owned.lock()).remove(key) {
            self.counters.count(Stat::Invalidations);
        }
    }

    /// Puts in the route of a packet that a look-up has missed. Any context but hard interrupts.
    pub(crate) fn insert<F: Family<N>, const N: usize>(
        this: &Deferred<Self>,
        ticket: Ticket,
        key: &[u32; N],
        dst: OwnedDst,
        cookie: u32,
    ) {
        let counters = &this.counters;
        let mut guard = this.owned.lock();
        let owned = &mut *guard;
        if !owned.enabled {
            return;
        }
        let first = owned.entries() == 0;
        let mut evicted = 0;
        while owned.entries() >= owned.quota && evict::<F, N>(owned) {
            evicted += 1;
        }
        if F::side(this).table.entries() >= F::side(this).table.limit() {
            // The table is full: only for an entry of our own there is place.
            evicted += u64::from(F::owner(owned).evict());
        }
        match F::owner(owned).insert(ticket.0, key, dst, cookie) {
            Ok(true) => counters.count(Stat::Inserts),
            Ok(false) => {}
            Err(Refused::Limit | Refused::NoRoom | Refused::Flushed) => {
                counters.count(Stat::Refusals);
            }
        }
        if evicted != 0 {
            counters.add(Stat::Evictions, evicted);
        }
        let was_aside = owned.aside.is_aside();
        if owned.aside.missed(counters) {
            this.publish(owned);
        }
        let timeout = owned.timeout();
        let aside = owned.aside.is_aside();
        drop(guard);
        if aside && !was_aside {
            this.schedule(msecs_to_jiffies(ASIDE_CHECK_MS));
        } else if first {
            this.schedule(timeout as Jiffies);
        }
    }

    /// Counts something that the packet path alone knows.
    #[inline]
    pub(crate) fn count(&self, stat: Stat) {
        self.counters.count(stat);
    }

    fn publish(&self, owned: &mut Owned) {
        publish(&self.side4.published, &self.side6.published, owned);
    }

    /// Makes all entries unfindable at once. Any context but hard interrupts.
    pub(crate) fn flush_all(this: &Deferred<Self>) {
        let mut owned = this.owned.lock();
        let entries = owned.entries();
        owned.v4.flush();
        owned.v6.flush();
        this.publish(&mut owned);
        drop(owned);
        this.counters.add(Stat::Flushed, entries.into());
        this.schedule_now();
    }

    /// Takes out entries that `which` chooses, and says how many those were. Not from a packet's
    /// path: it looks at all entries of the namespace, but never keeps the lock for long.
    pub(crate) fn flush_if(&self, mut which: impl FnMut(&Entry<'_>) -> bool) -> u64 {
        let mut gone = 0;
        let mut place = Place::default();
        let mut choose = |entry: &Entry<'_>| {
            if which(entry) {
                gone += 1;
                Action::Remove
            } else {
                Action::Keep
            }
        };
        while !self.walk(&mut place, &mut choose) {}
        self.counters.add(Stat::Flushed, gone);
        gone
    }

    /// Shows some entries, from `place` on, which is moved on. Says whether that were all.
    pub(crate) fn walk(
        &self,
        place: &mut Place,
        look: &mut impl FnMut(&Entry<'_>) -> Action,
    ) -> bool {
        let mut owned = self.owned.lock();
        if !place.v6 {
            let at_end = owned.v4.walk(&mut place.cursor, BUDGET, |entry| {
                look(&Entry {
                    key: Key::V4(Key4::from_words(&entry.key)),
                    dst: entry.value,
                    cookie: entry.note,
                    used: entry.used,
                    age: entry.age,
                })
            });
            if at_end {
                *place = Place {
                    v6: true,
                    cursor: Cursor::default(),
                };
            }
            return false;
        }
        owned.v6.walk(&mut place.cursor, BUDGET, |entry| {
            look(&Entry {
                key: Key::V6(Key6::from_words(&entry.key)),
                dst: entry.value,
                cookie: entry.note,
                used: entry.used,
                age: entry.age,
            })
        })
    }

    /// A number that changes when an entry goes or changes its place.
    pub(crate) fn changes(&self) -> u32 {
        let owned = self.owned.lock();
        owned.v4.changes().wrapping_add(owned.v6.changes())
    }

    /// Changes settings. `ERANGE` for a quota or a timeout that cannot be had: nothing is changed.
    pub(crate) fn set(this: &Deferred<Self>, change: &Change) -> Result {
        if change
            .quota
            .is_some_and(|quota| !(1..=this.max_quota).contains(&quota))
        {
            return Err(ERANGE);
        }
        if let Some(timeout) = change.timeout {
            tables::check_timeout(timeout)?;
        }
        let mut owned = this.owned.lock();
        owned.timeout_secs = change.timeout.unwrap_or(owned.timeout_secs);
        owned.quota = change.quota.unwrap_or(owned.quota);
        let was = owned.enabled;
        owned.enabled = change.enabled.unwrap_or(was);
        if was != owned.enabled {
            owned.aside = Aside::new(Some(&this.counters));
            let entries = owned.entries();
            owned.v4.flush();
            owned.v6.flush();
            this.counters.add(Stat::Flushed, entries.into());
        }
        this.publish(&mut owned);
        drop(owned);
        this.schedule_now();
        Ok(())
    }

    /// Takes out all entries; no other is put in any more.
    fn close(&self) {
        let mut owned = self.owned.lock();
        owned.enabled = false;
        self.publish(&mut owned);
        while owned.v4.evict() || owned.v6.evict() {}
        while owned.v4.reap_one() || owned.v6.reap_one() {}
    }

    /// The largest quota that can be set.
    pub(crate) fn max_quota(&self) -> u32 {
        self.max_quota
    }

    /// What there is to say about the cache.
    pub(crate) fn report(&self) -> Report {
        let stats = self.counters.sums();
        let owned = self.owned.lock();
        Report {
            stats,
            entries4: owned.v4.len(),
            entries6: owned.v6.len(),
            quota: owned.quota,
            timeout: owned.timeout_secs,
            enabled: owned.enabled,
            aside: owned.aside.is_aside(),
        }
    }
}

/// Shows look-ups what they may use.
fn publish(side4: &Published, side6: &Published, owned: &mut Owned) {
    let sample = owned.aside.sample();
    let on = |tag: Option<Tag>| tag.filter(|_| owned.enabled);
    side4.set(on(owned.v4.tag()), sample);
    side6.set(on(owned.v6.tag()), sample);
}

/// Takes out an old entry: of the family that wants the place, or else of the other.
fn evict<F: Family<N>, const N: usize>(owned: &mut Owned) -> bool {
    F::owner(owned).evict() || owned.v4.evict() || owned.v6.evict()
}

impl deferred::Run for Cache {
    /// Expires and reaps, some entries each time, and asks whether an aside cache should come back.
    fn run(&self) -> Option<Jiffies> {
        let mut guard = self.owned.lock();
        let owned = &mut *guard;
        let reaped = [owned.v4.reap(BUDGET), owned.v6.reap(BUDGET)];
        let mut evicted = 0;
        while evicted < BUDGET as u64 && owned.entries() > owned.quota {
            if !(owned.v4.evict() || owned.v6.evict()) {
                break;
            }
            evicted += 1;
        }
        let timeout = owned.timeout();
        let (gone4, next4) = owned.v4.expire(timeout, BUDGET);
        let (gone6, next6) = owned.v6.expire(timeout, BUDGET);
        owned.aside.judge(&self.counters);
        self.publish(owned);
        let mut next = match (next4, next6) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        if owned.aside.is_aside() {
            let check = msecs_to_jiffies(ASIDE_CHECK_MS);
            next = Some(next.map_or(check, |next| next.min(check)));
        }
        if reaped.contains(&false) || owned.entries() > owned.quota {
            next = Some(SOON);
        }
        drop(guard);
        self.counters
            .add(Stat::Expiries, u64::from(gone4) + u64::from(gone6));
        self.counters.add(Stat::Evictions, evicted);
        next.map(|next| next.max(SOON))
    }
}
