// SPDX-License-Identifier: GPL-2.0

//! A namespace's part of the route cache.

use kernel::{
    net::{
        dst::{
            Dst,
            ValidDst, //
        },
        netfilter,
        pernet::{
            self,
            HasSlot, //
        },
        tagged_table::{
            Action,
            Cursor,
            Owner,
            Place as TablePlace,
            Published,
            Refused,
            Table,
            Tag,
            Walk, //
        },
        Namespace, //
    },
    pernet_slot,
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Relaxed,
            Release, //
        },
        barrier,
        new_spinlock_bh,
        rcu,
        Arc,
        SpinLockBh, //
    },
    time::{
        msecs_to_jiffies,
        Jiffies, //
    },
    workqueue::deferred::{
        self,
        new_deferred,
        Deferred, //
    },
};

use super::{
    aside::{
        Aside,
        SAMPLE, //
    },
    hooks,
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
    tables::{
        self,
        OwnedDst, //
    },
    trace, //
};
use crate::{
    netlink::announce,
    support, //
};

/// How many entries a run of the deferred work looks at.
const BUDGET: usize = 256;

/// How many entries are looked at for a flush while the lock is held.
const FLUSH_BUDGET: usize = 64;

/// How many entries of its own a namespace gives for one that it puts in. Two, so that one that has
/// more than it may have comes down.
const MAX_EVICTIONS: usize = 2;

/// How many entries of a namespace, besides those that it has, may wait for a grace period before
/// their places are free: so few at least, and a quarter of its quota.
const MIN_DOOMED: u32 = 256;

/// How many of these are freed with each entry that is put in: more than go for it.
const SETTLED: usize = 4;

/// While the cache steps aside, this many removed entries share a grace period, at most: in a
/// flood, entries are removed all the time. Otherwise each has its own grace period. Until its end
/// the slot is taken, and a key has few slots.
const MAX_BATCH: u32 = 64;

/// How soon deferred work that has more to do goes on, in jiffies.
const SOON: Jiffies = 1;

/// How often an aside cache gives back what was taken out, in milliseconds.
const ASIDE_REAP_MS: u32 = 100;

/// How often an aside cache is asked whether it should come back, in milliseconds.
const ASIDE_CHECK_MS: u32 = 500;

/// How often a cache with more entries than it was promised looks whether others want places, in
/// milliseconds.
const SHARE_CHECK_MS: u32 = 2000;

/// What a look-up comes to.
pub(crate) enum Lookup<'g> {
    /// The route, which was checked to be what it was.
    Hit(&'g ValidDst),
    /// None that is valid; [`Cache::insert`] takes one with this ticket.
    Miss(Ticket),
}

/// That there is something to look up, and how.
#[derive(Clone, Copy)]
pub(crate) struct Ready {
    tag: Tag,
    sampled: bool,
}

/// What an entry must be put in with: that neither a flush nor a change of routes came since the
/// look-up.
pub(crate) struct Ticket {
    ready: Ready,
    generation: u32,
    flushes: u32,
    /// Whether this is one of many misses after which the cache is judged.
    is_counted: bool,
}

/// IPv4 or IPv6.
pub(crate) trait Family<const N: usize> {
    /// The table that all namespaces share.
    fn table(cache: &Cache) -> &Table<OwnedDst, N>;
    /// The namespace's tag in it.
    fn published(cache: &Cache) -> &Published;
    /// What changes are made to.
    fn owner(owners: &mut Owners) -> &mut Owner<OwnedDst, N>;
    /// The key that the table has in this form.
    fn key(words: &[u32; N]) -> Key;
    /// A number that changes when routes of `net` do.
    fn generation(net: &Namespace) -> u32;
    /// The route, if it is still what it was when it was put in with this note.
    fn check<'g>(
        net: &Namespace,
        dst: &'g Dst,
        note: u32,
        guard: &'g rcu::Guard,
    ) -> Option<&'g ValidDst>;
}

/// IPv4.
pub(crate) struct Inet4;
/// IPv6.
pub(crate) struct Inet6;

impl Family<WORDS4> for Inet4 {
    #[inline(always)]
    fn table(cache: &Cache) -> &Table<OwnedDst, WORDS4> {
        &cache.table4
    }

    #[inline(always)]
    fn published(cache: &Cache) -> &Published {
        &cache.published4
    }

    fn owner(owners: &mut Owners) -> &mut Owner<OwnedDst, WORDS4> {
        &mut owners.v4
    }

    fn key(words: &[u32; WORDS4]) -> Key {
        Key::V4(Key4::from_words(words))
    }

    fn generation(net: &Namespace) -> u32 {
        net.rt_genid_ipv4()
    }

    /// The destination has the generation itself. One that its route has given up meanwhile for
    /// another is not told about exceptions any more; one that belongs to an exception which has
    /// ended may become one again, by another redirect or path MTU.
    #[inline(always)]
    fn check<'g>(
        _net: &Namespace,
        dst: &'g Dst,
        _note: u32,
        guard: &'g rcu::Guard,
    ) -> Option<&'g ValidDst> {
        dst.check(0, guard)
            .filter(|dst| dst.is_local() || (dst.is_kept_by_route() && !dst.is_exception()))
    }
}

impl Family<WORDS6> for Inet6 {
    #[inline(always)]
    fn table(cache: &Cache) -> &Table<OwnedDst, WORDS6> {
        &cache.table6
    }

    #[inline(always)]
    fn published(cache: &Cache) -> &Published {
        &cache.published6
    }

    fn owner(owners: &mut Owners) -> &mut Owner<OwnedDst, WORDS6> {
        &mut owners.v6
    }

    fn key(words: &[u32; WORDS6]) -> Key {
        Key::V6(Key6::from_words(words))
    }

    #[inline(always)]
    fn generation(net: &Namespace) -> u32 {
        net.fib6_generation()
    }

    /// The destination knows about its own tree only: a route in a table that is asked before is
    /// noticed by the number that all tables of the namespace share. For the rest it is asked.
    #[inline(always)]
    fn check<'g>(
        net: &Namespace,
        dst: &'g Dst,
        note: u32,
        guard: &'g rcu::Guard,
    ) -> Option<&'g ValidDst> {
        if note != net.fib6_generation() {
            return None;
        }
        dst.check_now(guard)
    }
}

/// The entries of the namespace.
pub(crate) struct Owners {
    v4: Owner<OwnedDst, WORDS4>,
    v6: Owner<OwnedDst, WORDS6>,
}

impl Owners {
    /// Entries that are found.
    fn entries(&self) -> u32 {
        self.v4.len() + self.v6.len()
    }

    /// Whether they have places that others may want.
    fn share(&self) -> bool {
        self.v4.has_places_of_all() || self.v6.has_places_of_all()
    }

    /// All that the tables hold of the namespace, with what was flushed and not reaped yet.
    fn held(&self) -> u32 {
        self.v4.held() + self.v6.held()
    }

    /// How many entries were taken out that no grace period was asked for yet.
    fn waiting(&self) -> u32 {
        self.v4.waiting() + self.v6.waiting()
    }

    /// Frees the slots of a few removed entries; `batch` of them share a grace period.
    fn settle(&mut self, batch: u32) {
        self.v4.settle(SETTLED, batch);
        self.v6.settle(SETTLED, batch);
    }

    /// Takes out an entry that was flushed. Says whether there was one.
    fn reap_one(&mut self) -> bool {
        self.v4.reap_one() || self.v6.reap_one()
    }

    /// Takes out an old entry of this family. Says whether there was one.
    fn evict_own<F: Family<N>, const N: usize>(&mut self, netns: u32) -> bool {
        let Some(words) = F::owner(self).evict() else {
            return false;
        };
        trace::evict(netns, || F::key(&words));
        true
    }

    /// Takes out an old entry: of the family that wants the place, or else of the other. Says
    /// whether there was one.
    fn evict<F: Family<N>, const N: usize>(&mut self, netns: u32) -> bool {
        self.evict_own::<F, N>(netns)
            || self.evict_own::<Inet4, _>(netns)
            || self.evict_own::<Inet6, _>(netns)
    }

    /// Makes room for an entry where there may be `limit` of them. Says how many had to go that
    /// were still good.
    fn make_room<F: Family<N>, const N: usize>(&mut self, limit: u32, netns: u32) -> u64 {
        let mut evicted = 0;
        for _ in 0..MAX_EVICTIONS {
            if self.held() < limit {
                break;
            }
            // What was flushed goes first.
            if !self.reap_one() {
                evicted += u64::from(self.evict::<F, N>(netns));
            }
        }
        // As much as there may be of the table: what goes must be of this family. Two, if that is
        // more than its part by now.
        let full = F::owner(self).place() == TablePlace::Full;
        let goes = usize::from(full) + usize::from(F::owner(self).has_too_much());
        for _ in 0..goes {
            if !F::owner(self).reap_one() {
                evicted += u64::from(self.evict_own::<F, N>(netns));
            }
        }
        evicted
    }

    /// Takes out at most `budget` entries of this family that have places which others want. Says
    /// how many.
    fn give_way<F: Family<N>, const N: usize>(&mut self, netns: u32, budget: usize) -> usize {
        let excess = F::owner(self).excess() as usize;
        (0..excess.min(budget))
            .take_while(|_| self.evict_own::<F, N>(netns))
            .count()
    }

    /// Makes all entries unfindable. Returns how many those were.
    ///
    /// Who has none keeps its tag. Each tag that is given up has to wait for a grace period, and
    /// after a few of these there is none to look up with: a cache that is flushed again and again,
    /// but has nothing in it, is to stay in use.
    fn flush(&mut self) -> u32 {
        let entries = self.entries();
        if !self.v4.is_empty() {
            self.v4.flush();
        }
        if !self.v6.is_empty() {
            self.v6.flush();
        }
        entries
    }
}

/// The data under the lock. Large parts are allocated separately: an allocation that is a little
/// larger than a power of two takes the next power of two.
pub(crate) struct Owned {
    owners: KBox<Owners>,
    enabled: bool,
    quota: u32,
    max_quota: u32,
    timeout_secs: u32,
    aside: Aside,
    /// The hooks, since it has stepped aside; and whether they were taken out of the packets' way.
    hooks: Option<netfilter::Switch>,
    is_out: bool,
    /// Whether it stepped aside when that was announced last.
    announced_aside: bool,
    /// The inode number of the namespace, to name it.
    netns: u32,
}

impl Owned {
    fn timeout(&self) -> u32 {
        msecs_to_jiffies(self.timeout_secs.saturating_mul(1000)) as u32
    }

    /// How many entries there may be now.
    fn limit(&self) -> u32 {
        self.aside.limit(self.quota)
    }

    /// Whether it has stepped aside, or come back, since this was asked.
    fn is_news(&mut self) -> bool {
        let aside = self.aside.is_aside();
        core::mem::replace(&mut self.announced_aside, aside) != aside
    }

    /// Puts in a route, if there is a place for it or can be made one.
    fn insert<F: Family<N>, const N: usize>(
        &mut self,
        counters: &Counters,
        tag: Tag,
        key: &[u32; N],
        dst: OwnedDst,
        note: u32,
    ) {
        let (limit, netns) = (self.limit(), self.netns);
        let batch = if self.aside.is_aside() {
            (limit / 8).min(MAX_BATCH)
        } else {
            1
        };
        let owners = &mut *self.owners;
        if owners.waiting() != 0 {
            owners.settle(batch);
        }
        if owners.waiting() >= MIN_DOOMED.max(limit / 4) {
            counters.count(Stat::Refusals);
            return;
        }
        // What replaces an entry, or is refused, does not need the place of another.
        let has_room = owners.held() < limit
            && F::owner(owners).place() == TablePlace::Free
            && !F::owner(owners).has_too_much();
        let evicted = if has_room || !F::owner(owners).needs_place(tag, key) {
            0
        } else {
            owners.make_room::<F, N>(limit, netns)
        };
        match F::owner(owners).insert(tag, key, dst, note) {
            Ok(true) => counters.count(Stat::Inserts),
            Ok(false) => {}
            Err(Refused::Limit | Refused::NoRoom | Refused::Flushed) => {
                counters.count(Stat::Refusals);
            }
        }
        if evicted != 0 {
            counters.add(Stat::Evictions, evicted);
        }
    }
}

/// A namespace's cache.
///
/// Look-ups read all of these. What is written with each entry is in memory of its own: no look-up
/// waits for a cache line that another CPU writes to.
#[pin_data]
#[repr(C)]
pub(crate) struct Cache {
    published4: Published,
    published6: Published,
    table4: Arc<Table<OwnedDst, WORDS4>>,
    table6: Arc<Table<OwnedDst, WORDS6>>,
    counters: Counters,
    /// How often all entries were flushed: what was looked up before a flush is not put in after
    /// it.
    flushes: Atomic<u32>,
    owned: Pin<KBox<SpinLockBh<Owned>>>,
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

    fn init(net: &Namespace) -> impl PinInit<Deferred<Cache>, Error> {
        new_deferred!(Cache::new(net.inum()))
    }

    fn pre_exit(_net: &Namespace, cache: Pin<&Deferred<Cache>>) {
        // The devices of the namespace go before its state does, and are waited for: the work gives
        // back routes in the meantime.
        cache.close();
        cache.schedule_now();
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
    /// The largest quota that can be set.
    pub(crate) max_quota: u32,
    /// After how many seconds without use an entry goes.
    pub(crate) timeout: u32,
    /// Whether it is on.
    pub(crate) enabled: bool,
    /// Whether it steps aside.
    pub(crate) aside: bool,
}

/// The settings to change; those that are `None` stay.
#[derive(Default)]
pub(crate) struct Change {
    /// How many entries the namespace may have.
    pub(crate) quota: Option<u32>,
    /// After how many seconds without use an entry goes.
    pub(crate) timeout: Option<u32>,
    /// Whether the cache is on.
    pub(crate) enabled: Option<bool>,
}

impl Change {
    /// Whether nothing is to change.
    pub(crate) fn is_empty(&self) -> bool {
        self.quota.is_none() && self.timeout.is_none() && self.enabled.is_none()
    }
}

/// The key of an entry.
#[derive(Clone, Copy)]
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
    /// Whether it was used since it was put in or found in use.
    pub(crate) used: bool,
    /// For how many jiffies it has been there since then.
    pub(crate) age: u32,
    /// What was noted with it.
    note: u32,
}

impl Entry<'_> {
    /// Its route, if that is still what it was.
    pub(crate) fn check<'g>(
        &'g self,
        net: &Namespace,
        guard: &'g rcu::Guard,
    ) -> Option<&'g ValidDst> {
        match self.key {
            Key::V4(_) => Inet4::check(net, self.dst, self.note, guard),
            Key::V6(_) => Inet6::check(net, self.dst, self.note, guard),
        }
    }
}

/// A place among the entries of a namespace.
#[derive(Clone, Copy, Default, Zeroable)]
pub(crate) struct Place {
    v6: bool,
    is_at_end: bool,
    cursor: Cursor,
}

impl Place {
    /// Whether there are no more entries.
    pub(crate) fn is_at_end(&self) -> bool {
        self.is_at_end
    }

    /// Moves on to those of the next family, if there is one.
    pub(crate) fn pass_family(&mut self) {
        *self = Self {
            v6: true,
            is_at_end: self.v6,
            cursor: Cursor::default(),
        };
    }
}

impl Cache {
    fn new(netns: u32) -> impl PinInit<Self, Error> {
        pin_init::pin_init_scope(move || {
            let tables = tables::get()?;
            let sizes = tables.sizes;
            let counters = Counters::new()?;
            let owners = Owners {
                v4: Owner::new(tables.v4.clone())?,
                v6: Owner::new(tables.v6.clone())?,
            };
            let mut owned = Owned {
                owners: KBox::new(owners, GFP_KERNEL)?,
                enabled: sizes.enable,
                quota: sizes.quota,
                max_quota: sizes.max_quota,
                timeout_secs: sizes.timeout,
                aside: Aside::new(&counters),
                hooks: None,
                is_out: false,
                announced_aside: false,
                netns,
            };
            let (published4, published6) = (Published::new(), Published::new());
            publish(&published4, &published6, &mut owned);
            let owned = KBox::pin_init(new_spinlock_bh!(owned), GFP_KERNEL)?;
            Ok::<_, Error>(try_pin_init!(Self {
                published4,
                published6,
                table4: tables.v4,
                table6: tables.v6,
                counters,
                flushes: Atomic::new(0),
                owned,
            }? Error))
        })
    }

    /// The cache of `net`. None while the namespace is being created or is ending, and where the
    /// module refuses to work.
    #[inline]
    pub(crate) fn of<'g>(net: &Namespace, guard: &'g rcu::Guard) -> Option<&'g Deferred<Self>> {
        PernetCache::slot().get(net, guard)
    }

    /// Whether packets between these ends are looked up. `ends` are both addresses. Counts
    /// those that are let pass: because the cache steps aside, or because it was flushed several
    /// times within a grace period and has no tag until that is over.
    #[inline(always)]
    pub(crate) fn ready<F: Family<N>, const N: usize, const M: usize>(
        &self,
        ends: &[u32; M],
    ) -> Option<Ready> {
        let Some((tag, aside)) = F::published(self).get() else {
            if !F::published(self).is_off() {
                self.counters.count(Stat::Bypassed);
            }
            return None;
        };
        let sampled = F::table(self).in_sample(SAMPLE, ends);
        if aside && !sampled {
            self.counters.count(Stat::Bypassed);
            return None;
        }
        Some(Ready { tag, sampled })
    }

    /// Looks for the route of a packet. Counts what it comes to, but for a hit: whether that is
    /// [used](Self::used) or [left](Self::left), the caller knows.
    #[inline(always)]
    pub(crate) fn lookup<'g, F: Family<N>, const N: usize>(
        &self,
        net: &Namespace,
        ready: Ready,
        key: &[u32; N],
        guard: &'g rcu::Guard,
    ) -> Lookup<'g> {
        let table = F::table(self);
        if let Some(found) = table.find(&table.query(ready.tag, key), guard) {
            if let Some(dst) = F::check(net, found.value, found.note, guard) {
                return Lookup::Hit(dst);
            }
            self.forget::<F, N>(key);
        }
        let is_counted = self.counters.count_parts(Stat::Misses);
        if ready.sampled {
            self.counters.count_sampled_miss();
        }
        let generation = F::generation(net);
        let flushes = self.flushes.load(Relaxed);
        // What the routes are looked up in is not older than that.
        barrier::smp_mb(barrier::Read);
        Lookup::Miss(Ticket {
            ready,
            generation,
            flushes,
            is_counted,
        })
    }

    /// A packet goes the way that was found.
    #[inline(always)]
    pub(crate) fn used(&self, ready: Ready) {
        self.counters.count(Stat::Hits);
        if ready.sampled {
            self.counters.count_sampled_hit();
        }
    }

    /// A packet's route was found, and is of no use: it is left to the sockets.
    pub(crate) fn left(this: &Deferred<Self>, net: &Namespace, ready: Ready, guard: &rcu::Guard) {
        if ready.sampled {
            this.counters.count_sampled_miss();
        }
        if this.counters.count_parts(Stat::Left) {
            Self::judge(this, net, guard, |aside| aside.in_vain(&this.counters));
        }
    }

    /// Lets the cache step aside, if `judge` says so. Tells whoever listens what has changed.
    #[cold]
    fn judge(
        this: &Deferred<Self>,
        net: &Namespace,
        guard: &rcu::Guard,
        judge: impl FnOnce(&mut Aside) -> bool,
    ) {
        let mut owned = this.owned.lock();
        let steps_aside = owned.enabled && judge(&mut owned.aside);
        if steps_aside {
            this.step_aside(&mut owned, net, guard);
        }
        let is_news = owned.is_news();
        drop(owned);
        if steps_aside {
            // The work that is waiting may do so for long.
            this.schedule_now();
        }
        if is_news {
            announce::aside(net, || this.report(), guard);
        }
    }

    /// Takes out an entry whose route has changed.
    #[cold]
    fn forget<F: Family<N>, const N: usize>(&self, key: &[u32; N]) {
        if F::owner(&mut self.owned.lock().owners).remove(key) {
            self.counters.count(Stat::Invalidations);
        }
    }

    /// The route of a packet that a look-up has missed cannot be kept: that counts, too, when it is
    /// judged whether the cache is worth its cost. Process or softirq context, interrupts on.
    pub(crate) fn decline(
        this: &Deferred<Self>,
        net: &Namespace,
        ticket: Ticket,
        guard: &rcu::Guard,
    ) {
        this.count(Stat::Uncacheable);
        let sampled = ticket.ready.sampled;
        if sampled || ticket.is_counted {
            Self::judge(this, net, guard, |aside| {
                (ticket.is_counted && aside.in_vain(&this.counters))
                    || (sampled && aside.missed(&this.counters))
            });
        }
    }

    /// Puts in the route of a packet that a look-up has missed. Process or softirq context,
    /// interrupts on.
    pub(crate) fn insert<F: Family<N>, const N: usize>(
        this: &Deferred<Self>,
        net: &Namespace,
        ticket: Ticket,
        key: &[u32; N],
        dst: OwnedDst,
        guard: &rcu::Guard,
    ) {
        let counters = &this.counters;
        let Ticket {
            ready,
            generation,
            flushes,
            is_counted,
        } = ticket;
        let Ready { tag, sampled } = ready;
        // What the routes were looked up in is not younger than that.
        barrier::smp_mb(barrier::Read);
        if F::generation(net) != generation || F::check(net, &dst, generation, guard).is_none() {
            counters.count(Stat::Refusals);
            return;
        }
        let mut lock = this.owned.lock();
        let owned = &mut *lock;
        if !owned.enabled {
            return;
        }
        if this.flushes.load(Relaxed) != flushes {
            counters.count(Stat::Refusals);
            return;
        }
        let was_empty = owned.owners.entries() == 0;
        let shared = owned.owners.share();
        owned.insert::<F, N>(counters, tag, key, dst, generation);
        let is_first = was_empty && owned.owners.entries() != 0;
        let begins_to_share = !shared && owned.owners.share();
        // Whether it was taken or not: where there is no place, most look-ups miss.
        let steps_aside = (is_counted && owned.aside.in_vain(counters))
            || (sampled && owned.aside.missed(counters));
        if steps_aside {
            this.step_aside(owned, net, guard);
        }
        let timeout = owned.timeout();
        let is_news = owned.is_news();
        drop(lock);
        if begins_to_share {
            this.schedule_now();
        }
        if steps_aside {
            // The work that is waiting may do so for long.
            this.schedule_now();
        } else if is_first {
            this.schedule(timeout as Jiffies);
        }
        if is_news {
            announce::aside(net, || this.report(), guard);
        }
    }

    /// Counts something that the packet path alone knows.
    #[inline]
    pub(crate) fn count(&self, stat: Stat) {
        self.counters.count(stat);
    }

    /// Makes all entries unfindable, and refuses those that are on their way. Returns how many the
    /// former were.
    fn flush(&self, owned: &mut Owned) -> u32 {
        // Only who holds the lock writes. What made the flush necessary is seen before the number
        // is.
        let flushes = self.flushes.load(Relaxed).wrapping_add(1);
        self.flushes.store(flushes, Release);
        owned.owners.flush()
    }

    fn publish(&self, owned: &mut Owned) {
        publish(&self.published4, &self.published6, owned);
    }

    /// Lets packets pass. The work takes the hooks out of their way.
    #[cold]
    fn step_aside(&self, owned: &mut Owned, net: &Namespace, guard: &rcu::Guard) {
        if owned.hooks.is_none() {
            owned.hooks = hooks::switch(net, guard);
        }
        self.publish(owned);
    }

    /// Takes the hooks out of the packets' way, if the cache steps aside, or puts them back when it
    /// is time to try. Only the work does, which never runs twice at once. Process context, sleeps.
    fn move_hooks(&self) {
        let (switch, is_out, is_aside, comes_back) = {
            let owned = self.owned.lock();
            let Some(switch) = owned.hooks.clone().filter(|_| owned.enabled) else {
                return;
            };
            let (aside, is_out) = (&owned.aside, owned.is_out);
            (switch, is_out, aside.is_aside(), aside.is_time())
        };
        if is_aside && !(is_out && comes_back) {
            // Somebody may have put them there meanwhile.
            let is_out = switch.turn_off_if_alone();
            self.owned.lock().is_out = is_out;
        } else if is_out && switch.turn_on().is_ok() {
            let mut owned = self.owned.lock();
            owned.is_out = false;
            if comes_back {
                owned.aside.come_back(&self.counters, false);
            }
            self.publish(&mut owned);
        }
    }

    /// Whether the cache is on.
    pub(crate) fn is_enabled(&self) -> bool {
        self.owned.lock().enabled
    }

    /// Makes all entries unfindable at once, and says how many those were. Process or softirq
    /// context, interrupts on.
    ///
    /// A cache without entries can be flushed at any rate. One that has entries each time, and is
    /// flushed more often than a few times in a grace period, is out of use until that is over: its
    /// packets go on as without it, and are counted as bypassed.
    pub(crate) fn flush_all(this: &Deferred<Self>) -> u64 {
        let mut owned = this.owned.lock();
        let entries = u64::from(this.flush(&mut owned));
        this.publish(&mut owned);
        drop(owned);
        this.counters.add(Stat::Flushed, entries);
        this.schedule_now();
        entries
    }

    /// Takes out the entries that `which` chooses, and says how many have gone. None while the
    /// namespace has no cache. Process context: lets packets through in between.
    ///
    /// Where these put in entries, or move them, faster than this can look at them, all entries go.
    pub(crate) fn flush_some(
        net: &Namespace,
        mut which: impl FnMut(&Entry<'_>, &rcu::Guard) -> bool,
    ) -> Option<u64> {
        let mut place = Place::default();
        let mut flushed = 0;
        while !place.is_at_end() {
            let guard = rcu::read_lock();
            let this = Cache::of(net, &guard)?;
            let mut gone = 0;
            let walk = this.walk(&mut place, FLUSH_BUDGET, &mut |entry: &Entry<'_>| {
                if which(entry, &guard) {
                    gone += 1;
                    Action::Remove
                } else {
                    Action::Keep
                }
            });
            this.counters.add(Stat::Flushed, gone);
            flushed += gone;
            if walk == Walk::Outrun {
                return Some(flushed + Cache::flush_all(this));
            }
        }
        // Some that were removed earlier may still hold routes that are to go.
        if let Some(this) = Cache::of(net, &rcu::read_lock()) {
            this.schedule_now();
        }
        Some(flushed)
    }

    /// Shows some entries, `budget` at most, from `place` on, which is moved on. Nobody puts in
    /// another meanwhile. Says how far that was among those of a family.
    pub(crate) fn walk(
        &self,
        place: &mut Place,
        budget: usize,
        look: &mut impl FnMut(&Entry<'_>) -> Action,
    ) -> Walk {
        let mut owned = self.owned.lock();
        let Place { v6, cursor, .. } = place;
        let walk = if !*v6 {
            owned.owners.v4.walk(cursor, budget, |entry| {
                look(&Entry {
                    key: Key::V4(Key4::from_words(&entry.key)),
                    dst: entry.value,
                    used: entry.used,
                    age: entry.age,
                    note: entry.note,
                })
            })
        } else {
            owned.owners.v6.walk(cursor, budget, |entry| {
                look(&Entry {
                    key: Key::V6(Key6::from_words(&entry.key)),
                    dst: entry.value,
                    used: entry.used,
                    age: entry.age,
                    note: entry.note,
                })
            })
        };
        if walk == Walk::End {
            place.pass_family();
        }
        walk
    }

    /// A number that changes when an entry goes or changes its place.
    pub(crate) fn changes(&self) -> u32 {
        let owned = self.owned.lock();
        let owners = &*owned.owners;
        owners.v4.changes().wrapping_add(owners.v6.changes())
    }

    /// Changes settings. `ERANGE` for a quota or a timeout that cannot be had: nothing is changed.
    /// Process context.
    pub(crate) fn set(this: &Deferred<Self>, change: &Change) -> Result {
        if let Some(timeout) = change.timeout {
            tables::check_timeout(timeout)?;
        }
        let mut owned = this.owned.lock();
        let max_quota = owned.max_quota;
        if change
            .quota
            .is_some_and(|quota| !(1..=max_quota).contains(&quota))
        {
            return Err(ERANGE);
        }
        owned.timeout_secs = change.timeout.unwrap_or(owned.timeout_secs);
        owned.quota = change.quota.unwrap_or(owned.quota);
        let was = owned.enabled;
        owned.enabled = change.enabled.unwrap_or(was);
        let mut flushed = 0;
        if was != owned.enabled {
            owned.aside = Aside::new(&this.counters);
            owned.announced_aside = false;
            flushed = this.flush(&mut owned).into();
        }
        this.publish(&mut owned);
        drop(owned);
        this.counters.add(Stat::Flushed, flushed);
        this.schedule_now();
        Ok(())
    }

    /// Switches it off before any packet has come to it. Process context.
    pub(crate) fn stay_off(&self) {
        let mut owned = self.owned.lock();
        owned.enabled = false;
        self.publish(&mut owned);
    }

    /// Takes out all entries; no other is put in any more.
    fn close(&self) {
        let mut owned = self.owned.lock();
        owned.enabled = false;
        self.publish(&mut owned);
        self.flush(&mut owned);
        drop(owned);
        // Nobody waits for long, where there are many.
        while !self.reap_flushed() {}
        let mut owned = self.owned.lock();
        owned.owners.v4.seal();
        owned.owners.v6.seal();
    }

    /// Takes out some entries that were flushed. Says whether that were all.
    fn reap_flushed(&self) -> bool {
        let mut owned = self.owned.lock();
        !(0..BUDGET).all(|_| owned.owners.reap_one())
    }

    /// What there is to say about the cache.
    pub(crate) fn report(&self) -> Report {
        let stats = self.counters.sums();
        let owned = self.owned.lock();
        Report {
            stats,
            entries4: owned.owners.v4.len(),
            entries6: owned.owners.v6.len(),
            quota: owned.quota,
            max_quota: owned.max_quota,
            timeout: owned.timeout_secs,
            enabled: owned.enabled,
            aside: owned.aside.is_aside(),
        }
    }
}

/// Shows look-ups what they may use.
fn publish(published4: &Published, published6: &Published, owned: &mut Owned) {
    if !owned.enabled {
        published4.set_off();
        published6.set_off();
        return;
    }
    let aside = owned.aside.is_aside();
    published4.set(owned.owners.v4.tag(), aside);
    published6.set(owned.owners.v6.tag(), aside);
}

impl deferred::Run for Cache {
    /// Expires and reaps, some entries each time, and judges whether the cache is worth its cost.
    fn run(&self) -> Option<Jiffies> {
        self.move_hooks();
        let mut guard = self.owned.lock();
        let owned = &mut *guard;
        let (timeout, quota, netns) = (owned.timeout(), owned.quota, owned.netns);
        let owners = &mut *owned.owners;
        // Who puts nothing in is not asked to make room by that.
        let mut evicted = owners.give_way::<Inet4, _>(netns, BUDGET);
        evicted += owners.give_way::<Inet6, _>(netns, BUDGET - evicted);
        while evicted < BUDGET && owners.entries() > quota {
            if !owners.evict::<Inet4, _>(netns) {
                break;
            }
            evicted += 1;
        }
        let (gone4, next4) = owners.v4.expire(timeout, BUDGET);
        let (gone6, next6) = owners.v6.expire(timeout, BUDGET);
        // At last, for what was taken out just now.
        let reaped = [owners.v4.reap(BUDGET), owners.v6.reap(BUDGET)];
        owners.v4.rest();
        owners.v6.rest();
        let share = owners.share().then(|| msecs_to_jiffies(SHARE_CHECK_MS));
        let is_over = owners.entries() > quota;
        let is_flushed = owners.held() > owners.entries();
        if !owned.is_out {
            owned.aside.check(&self.counters);
        }
        self.publish(owned);
        let aside = owned.aside.is_aside();
        drop(guard);
        self.counters
            .add(Stat::Expiries, u64::from(gone4) + u64::from(gone6));
        self.counters.add(Stat::Evictions, evicted as u64);
        let more = (is_over || is_flushed).then_some(SOON);
        // While the cache steps aside, entries of the sample go all the time: that is no reason to
        // be here all the time.
        let waiting = reaped.contains(&false).then(|| {
            if aside {
                msecs_to_jiffies(ASIDE_REAP_MS)
            } else {
                SOON
            }
        });
        let check = aside.then(|| msecs_to_jiffies(ASIDE_CHECK_MS));
        let next = [next4, next6, share, more, waiting, check]
            .into_iter()
            .flatten()
            .min();
        next.map(|next| next.max(SOON))
    }
}
