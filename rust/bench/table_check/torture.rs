// SPDX-License-Identifier: GPL-2.0

//! Several tasks at once change the entries of several owners, in a table that is much too small,
//! while others look up.

use kernel::{
    net::tagged_table::{
        Published,
        Table, //
    },
    new_mutex,
    prelude::*,
    sync::{
        new_spinlock_bh,
        rcu,
        Arc,
        Mutex,
        SpinLockBh, //
    },
    time::{
        Instant,
        Monotonic, //
    },
};

use super::{
    model::audit,
    shadow::{
        words,
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

type Words = [u32; 4];
const N: usize = size_of::<Words>() / size_of::<u32>();

/// Lines of the table: so few that every line is fought for.
const LINES: u32 = 64;
/// Entries that it takes: fewer than it has slots, so that both bounds are met.
const LIMIT: u32 = 80;
/// Owners whose entries come and go.
const OWNERS: usize = 4;
/// The owner whose entries stay.
const STEADY: usize = OWNERS;
const ALL: usize = OWNERS + 1;
/// Keys of an owner; together more than there is room for.
const KEYS: u32 = 48;
/// Entries that stay.
const STEADY_KEYS: u32 = 16;
/// Tasks that change entries.
const CHURNERS: usize = 2;
const VALUES: usize = 4096;
/// Steps between looks at the clock.
const ROUND: u32 = 256;
/// How often in a row a look-up may miss an entry because its line is being written. Between one
/// and the next lies a grace period: whoever was writing then has ended.
const PATIENCE: usize = 100;

/// What the tasks share. The values are last: they outlive the table.
#[pin_data]
pub(super) struct Torture {
    #[pin]
    owners: [SpinLockBh<Option<Shadow<N>>>; ALL],
    published: [Published; ALL],
    table: Arc<Table<Loan, N>>,
    #[pin]
    pools: [Mutex<Option<Pool>>; CHURNERS],
}

impl Torture {
    pub(super) fn new() -> Result<Arc<Self>> {
        let table = Table::new(LINES, LIMIT)?;
        let mut shadows = KVec::new();
        for number in 0..ALL as u32 {
            shadows.push(Some(Shadow::new(&table, number, KEYS, false)?), GFP_KERNEL)?;
        }
        let mut pools = KVec::new();
        for _ in 0..CHURNERS {
            pools.push(Pool::new(VALUES)?, GFP_KERNEL)?;
        }
        let torture = Arc::pin_init(
            try_pin_init!(Self {
                owners <- pin_init::pin_init_array_from_fn(|at| {
                    new_spinlock_bh!(shadows.get_mut(at).and_then(Option::take))
                }),
                published: core::array::from_fn(|_| Published::new()),
                table,
                pools <- pin_init::pin_init_array_from_fn(|_| new_mutex!(pools.pop())),
            }? Error),
            GFP_KERNEL,
        )?;
        torture.settle()?;
        Ok(torture)
    }

    /// Puts in the entries that stay, and lets look-ups begin.
    fn settle(&self) -> Result {
        let (mut tally, mut pool) = (Tally::default(), self.pools[0].lock());
        let pool = (*pool).as_mut().ok_or(EINVAL)?;
        for key in 0..STEADY_KEYS {
            let loan = self.lend(pool, STEADY, key).ok_or(EINVAL)?;
            self.with(STEADY, |shadow| shadow.put(key, loan, &mut tally).map(drop))
                .map_err(|_| EINVAL)?;
        }
        for at in 0..OWNERS {
            self.with(at, |_| Ok(())).map_err(|_| EINVAL)?;
        }
        if tally.inserts == u64::from(STEADY_KEYS) {
            Ok(())
        } else {
            Err(EINVAL)
        }
    }

    fn lend(&self, pool: &mut Pool, owner: usize, key: u32) -> Option<Loan> {
        // SAFETY: The pools are dropped after the table. A reader holds an `Arc` of all this for
        // longer than RCU.
        unsafe { pool.lend(owner as u32, key) }
    }

    /// Does something with an owner, unless it is being replaced, and publishes its tag for
    /// look-ups.
    fn with(
        &self,
        at: usize,
        work: impl FnOnce(&mut Shadow<N>) -> Result<(), Wrong>,
    ) -> Result<(), Wrong> {
        let mut shadow = self.owners[at].lock();
        let Some(shadow) = &mut *shadow else {
            return Ok(());
        };
        let result = work(shadow);
        self.published[at].set(shadow.tag(), false);
        result
    }

    /// Changes entries for `ms` milliseconds.
    pub(super) fn churn(&self, which: usize, ms: u32, seed: u32) -> Result<Tally, Stopped> {
        let mut pool = self.pools[which].lock();
        let pool = (*pool).as_mut().ok_or(EINVAL)?;
        let (mut random, mut tally) = (Random::new(seed), Tally::default());
        let (start, mut step) = (Instant::<Monotonic>::now(), 0);
        while start.elapsed().as_millis() < ms.into() {
            for _ in 0..ROUND {
                step += 1;
                self.change(pool, &mut random, &mut tally)
                    .map_err(|stopped| match stopped {
                        Stopped::Wrong(_, wrong) => Stopped::Wrong(step, wrong),
                        failed => failed,
                    })?;
            }
        }
        Ok(tally)
    }

    fn change(
        &self,
        pool: &mut Pool,
        random: &mut Random,
        tally: &mut Tally,
    ) -> Result<(), Stopped> {
        let at = random.below(OWNERS as u32) as usize;
        let key = random.below(KEYS);
        let budget = random.below(12) as usize + 1;
        match random.below(64) {
            0..=31 => self.put(pool, at, key, tally)?,
            32..=35 => self.with(at, |shadow| shadow.look(key, tally))?,
            36 => self.with(at, |shadow| shadow.settle(budget))?,
            37..=55 => self.with(at, |shadow| shadow.take_out(key))?,
            56..=57 => self.with(at, |shadow| shadow.evict(tally))?,
            58 => self.with(at, |shadow| shadow.expire(budget, tally))?,
            59 => self.with(at, |shadow| {
                shadow.compare(budget, || random.below(16) == 0)
            })?,
            60 => self.with(at, |shadow| shadow.take_out_if(budget, |key| key % 8 == 0))?,
            61 => {
                tally.flushes += 1;
                self.with(at, |shadow| shadow.flush().map(drop))?;
            }
            62 => self.with(at, |shadow| shadow.reap(budget).map(drop))?,
            _ if random.below(16) == 0 => {
                tally.owners += 1;
                self.replace(at)?;
            }
            _ => {}
        }
        Ok(())
    }

    fn put(&self, pool: &mut Pool, at: usize, key: u32, tally: &mut Tally) -> Result<(), Stopped> {
        let loan = self
            .lend(pool, at, key)
            .ok_or(Wrong("values are not given up"))?;
        let mut room = true;
        self.with(at, |shadow| {
            room = shadow.put(key, loan, tally)?;
            Ok(())
        })?;
        if !room {
            // Most slots wait for a grace period, or for an owner that asks for one.
            for at in 0..OWNERS {
                self.with(at, |shadow| shadow.settle(usize::MAX))?;
            }
            rcu::synchronize_rcu();
        }
        Ok(())
    }

    /// Ends an owner, and puts another in its place.
    fn replace(&self, at: usize) -> Result {
        let old = {
            let mut shadow = self.owners[at].lock();
            self.published[at].set(None, false);
            shadow.take()
        };
        if old.is_none() {
            return Ok(());
        }
        // Nobody looks up by its tag after that.
        rcu::synchronize_rcu();
        drop(old);
        let new = Shadow::new(&self.table, at as u32, KEYS, false)?;
        *self.owners[at].lock() = Some(new);
        Ok(())
    }

    /// Looks up for `ms` milliseconds.
    pub(super) fn read(&self, ms: u32, seed: u32) -> Result<Tally, Stopped> {
        let (mut random, mut tally) = (Random::new(seed), Tally::default());
        let start = Instant::<Monotonic>::now();
        while start.elapsed().as_millis() < ms.into() {
            for _ in 0..ROUND {
                let (at, key) = (random.below(OWNERS as u32), random.below(KEYS));
                if self.find(at as usize, key)? {
                    tally.found += 1;
                } else {
                    tally.not_found += 1;
                }
            }
            self.find_steady(random.below(STEADY_KEYS))?;
        }
        Ok(tally)
    }

    fn find(&self, at: usize, key: u32) -> Result<bool, Wrong> {
        let guard = rcu::read_lock();
        let Some((tag, _)) = self.published[at].get() else {
            return Ok(false);
        };
        let query = self.table.query(tag, &words::<N>(key));
        match self.table.find(&query, &guard) {
            Some(found) => found.value.check(at as u32, key).map(|()| true),
            None => Ok(false),
        }
    }

    /// Entries that stay are found, except for moments when others write to their line.
    fn find_steady(&self, key: u32) -> Result<(), Wrong> {
        for _ in 0..PATIENCE {
            if self.find(STEADY, key)? {
                return Ok(());
            }
            rcu::synchronize_rcu();
        }
        Err(Wrong("an entry that stays is not found"))
    }

    /// Looks at what is left, when all tasks have ended, and takes it out.
    pub(super) fn end(&self) -> Result<Tally, Stopped> {
        let mut tally = Tally::default();
        for at in 0..ALL {
            self.with(at, |shadow| shadow.compare(usize::MAX, || false))?;
        }
        tally.displaced = audit(&self.table)?.displaced.into();
        for at in 0..ALL {
            self.published[at].set(None, false);
            let shadow = self.owners[at].lock().take();
            drop(shadow);
        }
        if self.table.entries() != 0 || self.table.audit() != Default::default() {
            return Err(Wrong("entries are left").into());
        }
        for pool in &self.pools {
            pool.lock().as_ref().ok_or(EINVAL)?.settled()?;
        }
        Ok(tally)
    }
}
