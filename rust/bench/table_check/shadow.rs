// SPDX-License-Identifier: GPL-2.0

//! An owner of entries, and beside it what it should have: a plain list.

use core::ops::ControlFlow;
use kernel::{
    net::tagged_table::{
        Action,
        Cursor,
        Owner,
        Refused,
        Table,
        Tag,
        Walk, //
    },
    prelude::*,
    sync::{
        rcu,
        Arc, //
    },
    time::{
        Instant,
        Monotonic, //
    },
};

use super::{
    value::Loan,
    Tally,
    Wrong, //
};

/// Lines where an entry may be, as in the table.
const MAX_PROBE: u32 = 8;
/// Owners keep a few places that they do not need, together one in this many of all, at most.
const SPARED: u64 = 8;
const OWNERS: u32 = 3;
/// How many used entries are passed over by an eviction, as in the table.
const MAX_SPARED: usize = 8;
/// How long a look-up may come to nothing because a line is being written, in milliseconds.
const PATIENCE: i64 = 5000;

/// The words of a key. Those of two numbers differ in one word or two, by one bit or more.
pub(super) fn words<const N: usize>(key: u32) -> [u32; N] {
    let mut words = [0x0a00_0000; N];
    words[key as usize % N] ^= key / N as u32 + 1;
    words
}

/// An entry that should be there.
#[derive(Clone, Copy)]
struct Known {
    key: u32,
    value: usize,
    note: u32,
    used: bool,
}

/// An owner, and what it should have.
pub(super) struct Shadow<const N: usize> {
    owner: Owner<Loan, N>,
    table: Arc<Table<Loan, N>>,
    number: u32,
    /// Oldest first.
    entries: KVec<Known>,
    /// Whether nobody else uses the table: then everything can be predicted.
    alone: bool,
}

impl<const N: usize> Shadow<N> {
    /// An owner whose keys will have numbers below `keys`.
    pub(super) fn new(
        table: &Arc<Table<Loan, N>>,
        number: u32,
        keys: u32,
        alone: bool,
    ) -> Result<Self> {
        Ok(Self {
            owner: Owner::new(table.clone())?,
            table: table.clone(),
            number,
            entries: KVec::with_capacity(keys as usize, GFP_KERNEL)?,
            alone,
        })
    }

    pub(super) fn tag(&self) -> Option<Tag> {
        self.owner.tag()
    }

    /// Entries that take room in the table.
    pub(super) fn held(&self) -> u32 {
        self.owner.held()
    }

    fn position(&self, key: u32) -> Option<usize> {
        self.entries.iter().position(|known| known.key == key)
    }

    /// The key of an entry, counted from the oldest.
    pub(super) fn key_at(&self, at: usize) -> Result<u32, Wrong> {
        let known = self.entries.get(at);
        Ok(known.ok_or(Wrong("the check itself is wrong"))?.key)
    }

    fn forget(&mut self, at: usize) -> Result<Known, Wrong> {
        self.entries
            .remove(at)
            .map_err(|_| Wrong("the check itself is wrong"))
    }

    fn remember(&mut self, known: Known) -> Result<(), Wrong> {
        let pushed = self.entries.push_within_capacity(known);
        pushed.map_err(|_| Wrong("there are more entries than keys"))
    }

    /// The oldest was used, and stays as a young one.
    fn renew(&mut self) -> Result<(), Wrong> {
        let known = self.forget(0)?;
        self.remember(Known {
            used: false,
            ..known
        })
    }

    fn lengths_agree(&self) -> Result<(), Wrong> {
        let agree = self.owner.len() as usize == self.entries.len()
            && self.owner.is_empty() == self.entries.is_empty();
        wrong_unless(agree, "the number of entries is wrong")
    }

    /// Puts in an entry. Says whether there was room for it.
    pub(super) fn put(&mut self, key: u32, loan: Loan, tally: &mut Tally) -> Result<bool, Wrong> {
        let Some(tag) = self.owner.tag() else {
            return Ok(true);
        };
        let note = key.wrapping_mul(7) + 1;
        let known = Known {
            key,
            value: loan.address(),
            note: if Table::<Loan, N>::WAYS == 1 { note } else { 0 },
            used: false,
        };
        let at = self.position(key);
        let full = |table: &Table<Loan, N>| {
            table.taken() + table.limit() / SPARED + 2 * u64::from(OWNERS) >= table.limit()
        };
        let mut room = true;
        match (self.owner.insert(tag, &words(key), loan, note), at) {
            (Ok(true), None) if self.table.entries() <= self.table.limit() => {
                tally.inserts += 1;
                self.remember(known)?;
            }
            (Ok(false), Some(at)) => {
                tally.replaced += 1;
                self.forget(at)?;
                self.remember(known)?;
            }
            (Err(Refused::Limit), at) if !self.alone || full(&self.table) => {
                tally.limited += 1;
                if let Some(at) = at {
                    self.forget(at)?;
                }
            }
            (Err(Refused::NoRoom), at) => {
                tally.no_room += 1;
                room = false;
                // The old one goes first.
                if let Some(at) = at {
                    self.forget(at)?;
                }
            }
            (Ok(true), None) => return Err(Wrong("an entry was taken beyond the limit")),
            (Ok(true), Some(_)) => return Err(Wrong("a key is there twice")),
            (Ok(false), None) => return Err(Wrong("an entry was replaced that was not there")),
            (Err(Refused::Flushed), _) => {
                return Err(Wrong("an entry was refused without a flush"))
            }
            (Err(_), _) => return Err(Wrong("an entry was refused although there is room")),
        }
        self.lengths_agree()?;
        Ok(room)
    }

    /// Whether the table has room for any entry, if no slot waits for a grace period.
    pub(super) fn surely_has_room(&self) -> bool {
        let slots = MAX_PROBE.min(self.table.lines()) * Table::<Loan, N>::WAYS;
        self.table.entries() < u64::from(slots)
    }

    /// Empties the slots whose grace period is over, and asks for one for the others.
    pub(super) fn settle(&mut self, budget: usize) -> Result<(), Wrong> {
        self.owner.settle(budget, 1);
        self.lengths_agree()
    }

    /// Puts in an entry by a tag from before a flush.
    pub(super) fn put_late(&mut self, tag: Tag, key: u32, loan: Loan) -> Result<(), Wrong> {
        let refused = self.owner.insert(tag, &words(key), loan, 0) == Err(Refused::Flushed);
        wrong_unless(refused, "an entry from before a flush was taken")?;
        self.lengths_agree()
    }

    /// Looks for an entry, there or not.
    pub(super) fn look(&mut self, key: u32, tally: &mut Tally) -> Result<(), Wrong> {
        let Some(tag) = self.owner.tag() else {
            return Ok(());
        };
        let at = self.position(key);
        let start: Instant<Monotonic> = Instant::now();
        loop {
            let guard = rcu::read_lock();
            let query = self.table.query(tag, &words(key));
            match (self.table.find(&query, &guard), at) {
                (Some(found), Some(at)) => {
                    found.value.check(self.number, key)?;
                    let known = &mut self.entries[at];
                    known.used = true;
                    tally.found += 1;
                    let same = found.value.address() == known.value && found.note == known.note;
                    return wrong_unless(same, "what was found is not what was put in");
                }
                (Some(_), None) => return Err(Wrong("an entry was found that was taken out")),
                (None, None) => {
                    tally.not_found += 1;
                    return Ok(());
                }
                (None, Some(_)) => {}
            }
            if self.alone || start.elapsed().as_millis() > PATIENCE {
                return Err(Wrong("an entry was not found"));
            }
        }
    }

    /// Takes out an entry, there or not.
    pub(super) fn take_out(&mut self, key: u32) -> Result<(), Wrong> {
        let at = self.position(key);
        let removed = self.owner.remove(&words(key));
        wrong_unless(
            removed == at.is_some(),
            "what was taken out is not what was there",
        )?;
        if let Some(at) = at {
            self.forget(at)?;
        }
        self.lengths_agree()
    }

    /// Takes out an old entry.
    pub(super) fn evict(&mut self, tally: &mut Tally) -> Result<(), Wrong> {
        let Some(gone) = self.owner.evict() else {
            return wrong_unless(self.entries.is_empty(), "an eviction says what is not so");
        };
        tally.evicted += 1;
        if !self.alone {
            let ours = self.entries.iter().any(|known| words(known.key) == gone);
            wrong_unless(ours, "an entry was evicted that was not there")?;
            return self.adopt(1);
        }
        for _ in 0..MAX_SPARED {
            if !self.entries[0].used {
                break;
            }
            self.renew()?;
        }
        let oldest = self.forget(0)?;
        wrong_unless(
            words(oldest.key) == gone,
            "another entry than the oldest was evicted",
        )?;
        self.lengths_agree()
    }

    /// Takes out entries that were not used, whatever their age.
    pub(super) fn expire(&mut self, budget: usize, tally: &mut Tally) -> Result<(), Wrong> {
        let (gone, next) = self.owner.expire(0, budget);
        tally.expired += u64::from(gone);
        if !self.alone {
            return self.adopt(gone as usize);
        }
        let mut want = 0;
        for _ in 0..budget {
            match self.entries.first() {
                None => break,
                Some(known) if known.used => self.renew()?,
                Some(_) => {
                    self.forget(0)?;
                    want += 1;
                }
            }
        }
        let due = (!self.entries.is_empty()).then_some(0);
        wrong_unless(gone == want && next == due, "expiry says what is not so")?;
        self.lengths_agree()
    }

    /// With an age that no entry has, no entry goes.
    pub(super) fn expire_none(&mut self) -> Result<(), Wrong> {
        let (gone, next) = self.owner.expire(u32::MAX, usize::MAX);
        let right = gone == 0 && next.is_some_and(|next| next > 0) != self.entries.is_empty();
        wrong_unless(right, "an entry expired before its time")?;
        self.lengths_agree()
    }

    /// Runs expiry with a real age over entries that are all in use: none may go.
    pub(super) fn expire_used(&mut self, age: u32) -> Result<(), Wrong> {
        let (gone, _) = self.owner.expire(age, usize::MAX >> 1);
        wrong_unless(gone == 0, "an entry expired that was in use")?;
        self.adopt(0)
    }

    /// Lets every entry be found, so that none looks unused.
    pub(super) fn use_all(&mut self, tally: &mut Tally) -> Result<(), Wrong> {
        for at in 0..self.entries.len() {
            let key = self.entries[at].key;
            self.look(key, tally)?;
        }
        Ok(())
    }

    /// Runs expiry with a real age over entries that nobody used for longer: all must go.
    pub(super) fn expire_unused(&mut self, age: u32, tally: &mut Tally) -> Result<(), Wrong> {
        let (gone, next) = self.owner.expire(age, usize::MAX);
        tally.expired += u64::from(gone);
        let all = gone as usize == self.entries.len() && next.is_none();
        self.entries.clear();
        wrong_unless(all, "an entry did not expire")?;
        self.lengths_agree()
    }

    /// Makes all entries unfindable. Returns the tag that they had.
    pub(super) fn flush(&mut self) -> Result<Option<Tag>, Wrong> {
        let (old, held) = (self.owner.tag(), self.owner.held());
        self.owner.flush();
        self.entries.clear();
        wrong_unless(
            old.is_none() || self.owner.tag() != old,
            "a flush keeps the tag",
        )?;
        wrong_unless(self.owner.held() == held, "a flush loses entries")?;
        self.lengths_agree()?;
        Ok(old)
    }

    /// Takes out flushed entries; true when nothing is left to do.
    pub(super) fn reap(&mut self, budget: usize) -> Result<bool, Wrong> {
        let done = self.owner.reap(budget);
        let right = !done || (self.owner.tag().is_some() && self.held() == self.owner.len());
        wrong_unless(right, "reaping says that it is done, and is not")?;
        self.lengths_agree()?;
        Ok(done)
    }

    /// Compares the list with what it should be, `budget` entries at a time. Stops and goes on in
    /// the middle of it when `stop` says so.
    pub(super) fn compare(
        &mut self,
        budget: usize,
        mut stop: impl FnMut() -> bool,
    ) -> Result<(), Wrong> {
        let (mut at, mut cursor) = (0, Cursor::default());
        let mut seen = Ok(());
        loop {
            let (entries, alone) = (&self.entries, self.alone);
            let walk = self.owner.walk(&mut cursor, budget, |entry| {
                if stop() {
                    return Action::Stop;
                }
                let right = entries.get(at).is_some_and(|known| {
                    entry.key == words(known.key)
                        && entry.value.address() == known.value
                        && entry.note == known.note
                        && (entry.used == known.used || !alone)
                });
                if seen.is_ok() {
                    seen = wrong_unless(right, "the list is not what it should be");
                }
                at += 1;
                Action::Keep
            });
            match walk {
                Walk::More => {}
                Walk::End => break,
                Walk::Outrun => return Err(Wrong("nothing moves, and a walk is outrun")),
            }
        }
        seen?;
        wrong_unless(at == self.entries.len(), "the list ends too early")
    }

    /// Takes out the entries whose key `which` chooses, by a walk.
    pub(super) fn take_out_if(
        &mut self,
        budget: usize,
        which: impl Fn(u32) -> bool,
    ) -> Result<(), Wrong> {
        let (mut at, mut cursor, mut right) = (0, Cursor::default(), true);
        loop {
            let entries = &self.entries;
            let walk = self.owner.walk(&mut cursor, budget, |entry| {
                let Some(known) = entries.get(at) else {
                    right = false;
                    return Action::Keep;
                };
                at += 1;
                right &= entry.key == words(known.key);
                if which(known.key) {
                    Action::Remove
                } else {
                    Action::Keep
                }
            });
            if walk != Walk::More {
                break;
            }
        }
        wrong_unless(
            right && at == self.entries.len(),
            "a walk that removes sees other entries",
        )?;
        self.entries.retain(|known| !which(known.key));
        self.lengths_agree()
    }

    /// A walk is at the entry `at`; something happens to that one, and the walk goes on with those
    /// after it.
    pub(super) fn walk_over(
        &mut self,
        at: usize,
        happens: impl FnOnce(&mut Self, u32) -> Result<(), Wrong>,
    ) -> Result<(), Wrong> {
        let mut cursor = Cursor::default();
        self.owner.walk(&mut cursor, at + 1, |_| Action::Keep);
        let here = self
            .entries
            .get(at)
            .ok_or(Wrong("the check itself is wrong"))?
            .key;
        let next = self
            .entries
            .get(at + 1)
            .ok_or(Wrong("the check itself is wrong"))?
            .key;
        happens(self, here)?;
        let start = self
            .position(next)
            .ok_or(Wrong("the check itself is wrong"))?;
        let (entries, mut now, mut right) = (&self.entries, start, true);
        self.owner.walk(&mut cursor, usize::MAX, |entry| {
            let known = entries.get(now);
            right &= known.is_some_and(|known| entry.key == words(known.key));
            now += 1;
            Action::Keep
        });
        let all = now == self.entries.len();
        wrong_unless(right && all, "a walk does not go on where it was")
    }

    /// Where a walk over all entries comes to.
    pub(super) fn cursor_at_end(&mut self) -> Cursor {
        let mut cursor = Cursor::default();
        self.owner.walk(&mut cursor, usize::MAX, |_| Action::Keep);
        cursor
    }

    /// How many entries a walk from there sees.
    pub(super) fn count_from(&mut self, mut cursor: Cursor) -> usize {
        let mut count = 0;
        self.owner.walk(&mut cursor, usize::MAX, |_| {
            count += 1;
            Action::Keep
        });
        count
    }

    /// If others use entries meanwhile, nobody can predict which ones go or move. So this accepts
    /// the table's list, if it is the known one without `gone` entries.
    fn adopt(&mut self, gone: usize) -> Result<(), Wrong> {
        let want = self.entries.len().saturating_sub(gone);
        let (entries, mut at, mut right) = (&mut self.entries, 0, true);
        self.owner
            .walk(&mut Cursor::default(), usize::MAX, |entry| {
                // What was seen before this one is in front of it by now.
                let known = entries.iter().skip(at).position(|known| {
                    entry.key == words(known.key) && entry.value.address() == known.value
                });
                match known {
                    Some(ahead) => {
                        entries[at..=at + ahead].rotate_right(1);
                        at += 1;
                    }
                    None => right = false,
                }
                Action::Keep
            });
        wrong_unless(
            right && at == want,
            "other entries are there than should be",
        )?;
        self.entries.truncate(want);
        self.lengths_agree()
    }

    /// For the check of the check: forgets what is there.
    pub(super) fn lie(&mut self) -> ControlFlow<()> {
        match self.entries.pop() {
            Some(_) => ControlFlow::Break(()),
            None => ControlFlow::Continue(()),
        }
    }
}

pub(super) fn wrong_unless(right: bool, what: &'static str) -> Result<(), Wrong> {
    if right {
        Ok(())
    } else {
        Err(Wrong(what))
    }
}
