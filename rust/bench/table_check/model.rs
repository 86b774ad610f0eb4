// SPDX-License-Identifier: GPL-2.0

//! Random operations, each compared with what a plain list says.

use kernel::{
    net::tagged_table::{
        Audit,
        Owner,
        Place,
        Refused,
        Table,
        Tag, //
    },
    prelude::*,
    sync::{
        rcu,
        Arc, //
    },
    time::{
        delay::fsleep,
        msecs_to_jiffies,
        Delta, //
    },
};

use super::{
    shadow::{
        words,
        wrong_unless,
        Shadow, //
    },
    value::{
        Loan,
        Pool, //
    },
    Random,
    Stopped,
    Tally,
    Wrong, //
};

/// Owners that share the table.
const OWNERS: usize = 3;
/// Values: more than the entries and the slots that wait for their grace period.
const VALUES: usize = 4096;
/// The most keys an owner has.
const MAX_KEYS: u32 = 256;
/// How often slots that wait are emptied: in as many steps as there are slots, within these bounds.
const SETTLE_EVERY: (u32, u32) = (64, 256);
/// One in this many entries that find no room is tried again after a grace period.
const RETRY_EVERY: u64 = 64;
/// The whole table is checked once in this many steps, or in as many as it has lines.
const AUDIT_EVERY: u32 = 64;
/// How long flushed tags may take to come back, in milliseconds.
const PATIENCE_MS: i64 = 5000;

/// A table that one task uses.
///
/// The values are last: they outlive the table.
struct Model<const N: usize> {
    shadows: KVec<Shadow<N>>,
    table: Arc<Table<Loan, N>>,
    keys: u32,
    random: Random,
    tally: Tally,
    pool: Pool,
}

/// Runs `steps` random operations on a table of `lines` lines. With `lie`, the list is made wrong
/// on purpose half way, to see that the check notices.
pub(super) fn run<const N: usize>(
    lines: u32,
    steps: u32,
    seed: u32,
    lie: bool,
) -> Result<Tally, Stopped> {
    let slots = lines.checked_mul(Table::<Loan, N>::WAYS).ok_or(EINVAL)?;
    // Every other table takes fewer entries than it has slots, the others as many as find room.
    let limit = if seed % 2 == 0 {
        2 * slots
    } else {
        slots - slots / 8
    };
    let mut model = Model::<N>::new(lines, limit, slots.clamp(4, MAX_KEYS), seed)?;
    for step in 0..u64::from(steps) {
        if lie && step >= u64::from(steps / 2) {
            let _ = model.shadows[0].lie();
        }
        model.step(step).map_err(|stopped| match stopped {
            Stopped::Wrong(_, wrong) => Stopped::Wrong(step, wrong),
            failed => failed,
        })?;
    }
    model.end()
}

impl<const N: usize> Model<N> {
    fn new(lines: u32, limit: u32, keys: u32, seed: u32) -> Result<Self, Stopped> {
        let table = Table::new(lines, limit)?;
        let mut shadows = KVec::new();
        for number in 0..OWNERS as u32 {
            shadows.push(Shadow::new(&table, number, keys, true)?, GFP_KERNEL)?;
        }
        Ok(Self {
            shadows,
            table,
            keys,
            random: Random::new(seed),
            tally: Tally::default(),
            pool: Pool::new(VALUES)?,
        })
    }

    fn lend(&mut self, owner: u32, key: u32) -> Result<Loan, Stopped> {
        // SAFETY: `end`, and the order in which the fields are dropped, see to it that the pool
        // outlives the table; nobody else reads that.
        let loan = unsafe { self.pool.lend(owner, key) };
        Ok(loan.ok_or(Wrong("values are not given up"))?)
    }

    fn put(&mut self, at: usize, key: u32) -> Result<(), Stopped> {
        let loan = self.lend(at as u32, key)?;
        if self.shadows[at].put(key, loan, &mut self.tally)?
            || self.tally.no_room % RETRY_EVERY != 0
        {
            return Ok(());
        }
        self.settle()?;
        let sure = self.shadows[at].surely_has_room();
        let loan = self.lend(at as u32, key)?;
        let room = self.shadows[at].put(key, loan, &mut self.tally)?;
        wrong_unless(room || !sure, "an entry was refused although there is room")?;
        Ok(())
    }

    /// Lets all grace periods end: no slot waits for one any more.
    fn settle(&mut self) -> Result<(), Stopped> {
        // What waited before is emptied in the second round, and what it made wait in the third.
        for round in 0..3 {
            if round != 0 {
                rcu::synchronize_rcu();
            }
            for shadow in self.shadows.iter_mut() {
                shadow.settle(usize::MAX)?;
            }
        }
        Ok(())
    }

    fn step(&mut self, step: u64) -> Result<(), Stopped> {
        let at = self.random.below(OWNERS as u32) as usize;
        if self.shadows[at].tag().is_none() {
            return self.reap_all(at);
        }
        let key = self.random.below(self.keys);
        let budget = self.random.below(12) as usize + 1;
        let (random, tally, shadow) = (&mut self.random, &mut self.tally, &mut self.shadows[at]);
        match random.below(64) {
            0..=29 => self.put(at, key)?,
            30..=43 => {
                for shadow in self.shadows.iter_mut() {
                    shadow.look(key, tally)?;
                }
            }
            44..=51 => shadow.take_out(key)?,
            52..=53 => shadow.evict(tally)?,
            54 => shadow.expire(budget, tally)?,
            55 => shadow.expire_none()?,
            56..=58 => shadow.compare(budget, || random.below(16) == 0)?,
            59 => {
                let (rest, by) = (random.below(8), 8);
                shadow.take_out_if(budget, |key| key % by == rest)?;
            }
            60 => {
                shadow.flush()?;
                tally.flushes += 1;
            }
            61..=62 => {
                shadow.reap(budget)?;
            }
            _ if random.below(8) == 0 => {
                *shadow = Shadow::new(&self.table, at as u32, self.keys, true)?;
                tally.owners += 1;
            }
            _ => {}
        }
        let held = self
            .shadows
            .iter()
            .map(|shadow| u64::from(shadow.held()))
            .sum::<u64>();
        wrong_unless(
            self.table.entries() == held,
            "the table counts other entries",
        )?;
        let slots = self.table.lines() * Table::<Loan, N>::WAYS;
        let settle_every = u64::from(slots.clamp(SETTLE_EVERY.0, SETTLE_EVERY.1));
        if step % settle_every == settle_every - 1 {
            self.settle()?;
        }
        if step % u64::from(AUDIT_EVERY.max(self.table.lines())) == 0 {
            self.audit()?;
        }
        Ok(())
    }

    /// After too many flushes: an owner without a tag can do nothing else.
    fn reap_all(&mut self, at: usize) -> Result<(), Stopped> {
        for _ in 0..PATIENCE_MS {
            if self.shadows[at].reap(usize::MAX)? {
                return Ok(());
            }
            fsleep(Delta::from_millis(1));
        }
        Err(Wrong("flushed tags never come back").into())
    }

    fn audit(&mut self) -> Result<(), Stopped> {
        let audit = audit(&self.table)?;
        self.tally.displaced += u64::from(audit.displaced);
        Ok(())
    }

    /// Takes everything out, and sees that nothing is left.
    fn end(mut self) -> Result<Tally, Stopped> {
        for shadow in self.shadows.iter_mut() {
            shadow.compare(usize::MAX, || false)?;
        }
        self.audit()?;
        self.shadows.clear();
        wrong_unless(audit(&self.table)? == Audit::default(), "entries are left")?;
        wrong_unless(self.table.entries() == 0, "the table still counts entries")?;
        self.pool.settled()?;
        Ok(self.tally)
    }
}

/// Checks the invariants of the table, while nobody changes it.
pub(super) fn audit<const N: usize>(table: &Table<Loan, N>) -> Result<Audit, Wrong> {
    let audit = table.audit();
    wrong_unless(audit.unreachable == 0, "an entry cannot be reached")?;
    wrong_unless(
        audit.miscounted == 0,
        "a line has miscounted what passed it",
    )?;
    wrong_unless(
        table.entries() == audit.entries.into(),
        "the table counts other entries",
    )?;
    Ok(audit)
}

/// Flushes one after another: no tag comes back before it may, and all do in the end.
pub(super) fn flushes() -> Result<Tally, Stopped> {
    let mut model = Model::<4>::new(64, 128, 16, 1)?;
    let mut tags = KVec::new();
    for _ in 0..12 {
        for key in 0..4 {
            model.put(0, key)?;
        }
        let Some(tag) = model.shadows[0].tag() else {
            break;
        };
        tags.push(tag, GFP_KERNEL)?;
        model.shadows[0].flush()?;
        model.tally.flushes += 1;
        let loan = model.lend(0, 1)?;
        model.shadows[0].put_late(tag, 1, loan)?;
        // An owner that is new meanwhile gets another tag.
        let other = Shadow::new(&model.table, 1, 16, true)?;
        let taken = other.tag().is_none_or(|other| tags.contains(&other));
        wrong_unless(!taken, "a flushed tag was given to another owner too early")?;
    }
    wrong_unless(
        model.shadows[0].tag().is_none(),
        "there is no end to flushed tags",
    )?;
    model.reap_all(0)?;
    model.put(0, 1)?;
    let Model { shadows, tally, .. } = &mut model;
    shadows[0].look(1, tally)?;
    shadows[0].look(2, tally)?;
    model.end()
}

/// Walks whose place goes, moves, or is from another table.
pub(super) fn walks() -> Result<Tally, Stopped> {
    let mut model = Model::<4>::new(64, 128, 32, 1)?;
    for key in 0..24 {
        model.put(0, key)?;
    }
    for at in [0, 5, 13] {
        model.shadows[0].walk_over(at, Shadow::take_out)?;
        let key = model.shadows[0].key_at(at)?;
        let loan = model.lend(0, key)?;
        let Model { shadows, tally, .. } = &mut model;
        // It moves to the young end: the walk comes to it again.
        shadows[0].walk_over(at, |shadow, key| shadow.put(key, loan, tally).map(drop))?;
    }
    let mut large = Model::<4>::new(8192, 8192, 32, 1)?;
    for key in 0..24 {
        large.put(0, key)?;
    }
    let far = large.shadows[0].cursor_at_end();
    wrong_unless(
        model.shadows[0].count_from(far) <= 24,
        "a walk comes to foreign entries",
    )?;
    large.end()?;
    model.end()
}

/// Owners that others leave nothing still have the places that they were promised, each time.
pub(super) fn fair<const N: usize>() -> Result<Tally, Stopped> {
    static VALUE: u32 = 0;
    const TABLES: u32 = 16;
    const GREEDY: usize = 4;
    const LATE: usize = 8;
    let (mut tally, mut farthest) = (Tally::default(), 0);
    for _ in 0..TABLES {
        let ways = Table::<&'static u32, N>::WAYS;
        let limit = if ways == 1 { 384 } else { 320 };
        let table = Table::<&'static u32, N>::fair(512 / ways, limit, 16)?;
        let mut early = Owner::new(table.clone())?;
        let mut greedy = KVec::new();
        for _ in 0..GREEDY {
            greedy.push(Owner::new(table.clone())?, GFP_KERNEL)?;
        }
        for owner in greedy.iter_mut() {
            take_all(owner, &VALUE, &mut tally)?;
        }
        let mut late = KVec::new();
        for _ in 0..LATE {
            late.push(Owner::new(table.clone())?, GFP_KERNEL)?;
        }
        for owner in Iterator::chain(late.iter_mut(), [&mut early]) {
            wrong_unless(owner.place() == Place::Free, "an owner finds no place")?;
            wrong_unless(owner.promised() > 0, "an owner is promised nothing")?;
            // Those that were taken out wait for a grace period.
            for round in 0..2 {
                for key in 0..owner.promised() {
                    let tag = owner.tag().ok_or(EIO)?;
                    let key = words(round << 16 | key);
                    let taken = owner.insert(tag, &key, &VALUE, 0) == Ok(true);
                    wrong_unless(taken, "an entry did not get the place that was promised")?;
                    let guard = rcu::read_lock();
                    let found = table.find(&table.query(tag, &key), &guard).is_some();
                    wrong_unless(found, "an entry is not found where there was a place")?;
                    tally.found += 1;
                }
                while round == 0 && owner.evict().is_some() {}
            }
        }
        let audit = table.audit();
        wrong_unless(audit.unreachable == 0, "an entry cannot be reached")?;
        wrong_unless(audit.miscounted == 0, "a line has miscounted")?;
        tally.displaced += u64::from(audit.displaced);
        farthest = farthest.max(audit.farthest);
        let others = Iterator::chain(late.iter_mut(), [&mut early]);
        for owner in Iterator::chain(greedy.iter_mut(), others) {
            owner.flush();
            while owner.reap_one() {}
            owner.seal();
        }
        // One grace period for all of them.
        rcu::synchronize_rcu();
        drop((greedy, late, early));
        // All places were given back.
        let mut one = Owner::new(table.clone())?;
        take_all(&mut one, &VALUE, &mut tally)?;
        let most = u64::from(one.len()) * 2 >= table.limit();
        wrong_unless(most, "places were not given back")?;
    }
    wrong_unless(farthest >= 8, "no place was far: nothing was proved")?;
    accounts::<N>(&mut tally)?;
    Ok(tally)
}

/// What one owner gives back, another can have, again and again: neither more nor less.
fn accounts<const N: usize>(tally: &mut Tally) -> Result<(), Stopped> {
    static VALUE: u32 = 0;
    const LIMIT: u32 = 2560;
    let ways = Table::<&'static u32, N>::WAYS;
    let table = Table::<&'static u32, N>::fair(4096 / ways, LIMIT, 16)?;
    for _ in 0..4 {
        let mut owners = KVec::new();
        for _ in 0..3 {
            owners.push(Owner::new(table.clone())?, GFP_KERNEL)?;
        }
        for owner in owners.iter_mut() {
            take_all(owner, &VALUE, tally)?;
            let most = owner.len() > LIMIT / 2 && owner.len() < LIMIT / 8 * 7;
            wrong_unless(most, "an owner cannot have what others have given back")?;
            while owner.evict().is_some() {}
            for _ in 0..3 {
                owner.settle(usize::MAX, 1);
                rcu::synchronize_rcu();
            }
            wrong_unless(owner.settle(usize::MAX, 1), "slots wait for ever")?;
        }
    }
    Ok(())
}

/// Puts in entries, and takes out old ones for them, until all that may wait for a grace period
/// does.
fn take_all<const N: usize>(
    owner: &mut Owner<&'static u32, N>,
    value: &'static u32,
    tally: &mut Tally,
) -> Result<(), Stopped> {
    let (first, tag) = (1 << 20, owner.tag().ok_or(EIO)?);
    for key in first..first + 4096 {
        match owner.place() {
            Place::Free => {}
            Place::Full => {
                if owner.evict().is_none() {
                    return Ok(());
                }
                tally.evicted += 1;
            }
            Place::Waiting => return Ok(()),
        }
        match owner.insert(tag, &words(key), value, 0) {
            Ok(_) => tally.inserts += 1,
            Err(Refused::Limit) => tally.limited += 1,
            Err(_) => tally.no_room += 1,
        }
    }
    Err(Wrong("there is no end to what an owner may have").into())
}

/// However an owner is flushed and settled, each tag that it had is given back in the end.
pub(super) fn tags() -> Result<Tally, Stopped> {
    static VALUE: u32 = 0;
    const OTHERS: u32 = 16;
    let table = Table::<&'static u32, 4>::new(64, 128)?;
    let mut owner = Owner::new(table.clone())?;
    let mut tally = Tally::default();
    for key in 0..OTHERS {
        let Some(tag) = owner.tag() else {
            // Flushed entries wait to be reaped, and their tags with them.
            owner.settle(1, 1);
            continue;
        };
        if owner.insert(tag, &[key; 4], &VALUE, 0).is_ok() {
            tally.inserts += 1;
        }
        owner.flush();
        tally.flushes += 1;
    }
    wrong_unless(owner.tag().is_none(), "there is no end to flushed tags")?;
    drop(owner);
    let mut others = KVec::new();
    for number in 1..=OTHERS {
        let other = Owner::new(table.clone())?;
        let lowest = other.tag().is_some_and(|tag| tag.get() == number);
        wrong_unless(lowest, "a tag was never given back")?;
        others.push(other, GFP_KERNEL)?;
        tally.owners += 1;
    }
    Ok(tally)
}

/// No tag that is made of a number finds what was taken out, which may be dropped at any time.
pub(super) fn forgery() -> Result<Tally, Stopped> {
    static VALUE: u32 = 0;
    const KEY: [u32; 4] = [1, 2, 3, 4];
    let table = Table::<&'static u32, 4>::new(1, 2)?;
    let mut owner = Owner::new(table.clone())?;
    let mut tally = Tally::default();
    let mut finds = |number: u32| {
        let guard = rcu::read_lock();
        let found = Tag::from_number(number)
            .is_some_and(|tag| table.find(&table.query(tag, &KEY), &guard).is_some());
        *if found {
            &mut tally.found
        } else {
            &mut tally.not_found
        } += 1;
        found
    };
    let tag = owner.tag().ok_or(EIO)?;
    let inserted = owner.insert(tag, &KEY, &VALUE, 0).is_ok();
    wrong_unless(
        inserted && finds(tag.get()),
        "the tag of an entry does not find it",
    )?;
    owner.remove(&KEY);
    // All patterns of the bits that slots have for tags, and of those above, that are near an end.
    for high in [0, 1, 0x7f, 0xff] {
        for low in Iterator::chain(0..16, 0x00ff_fff0..0x0100_0000) {
            wrong_unless(
                !finds(high << 24 | low),
                "a tag that was made up finds what was taken out",
            )?;
        }
    }
    Ok(tally)
}

/// Entries in use outlast expiry, however long a run of it takes.
pub(super) fn expiry() -> Result<Tally, Stopped> {
    const KEYS: u32 = VALUES as u32 - 64;
    const AGE_MS: u32 = 80;
    let mut model = Model::<4>::new(2 * VALUES as u32, 2 * VALUES as u32, KEYS, 1)?;
    for key in 0..KEYS {
        model.put(0, key)?;
    }
    for _ in 0..10 {
        fsleep(Delta::from_millis(2 * i64::from(AGE_MS)));
        let Model { shadows, tally, .. } = &mut model;
        shadows[0].use_all(tally)?;
        shadows[0].expire_used(msecs_to_jiffies(AGE_MS) as u32)?;
    }
    fsleep(Delta::from_millis(2 * i64::from(AGE_MS)));
    let Model { shadows, tally, .. } = &mut model;
    shadows[0].expire_unused(msecs_to_jiffies(AGE_MS) as u32, tally)?;
    model.end()
}
