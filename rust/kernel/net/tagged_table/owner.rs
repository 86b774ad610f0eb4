// SPDX-License-Identifier: GPL-2.0

//! Owners of entries, and the list that each has of its own.

use core::ptr::NonNull;

use crate::{
    bindings,
    prelude::*,
    sync::{
        atomic::{
            Acquire,
            Relaxed,
            Release, //
        },
        Arc, //
    },
    task::might_sleep,
    time::Jiffies, //
};

use super::{
    line::Content,
    RcuValue,
    Table,
    Tag,
    CHUNK_SHIFT,
    MAX_CHUNK,
    MAX_PROBE,
    MAX_TAG,
    PROMISED_AT_ONCE,
    SHARE, //
};

/// No slot.
const NONE: u32 = u32::MAX;

/// How many flushed tags may wait for their entries to be reaped.
const MAX_FLUSHED: usize = 4;

/// How often all lines are looked at for a free slot that was promised, while others take and free
/// some.
const ROUNDS: usize = 64;

/// How many entries that turn out to be in use are passed over for one that has to go.
const MAX_SPARED: usize = 8;

/// What a look-up does not need of a slot.
#[repr(C)]
pub(super) struct Link {
    prev: u32,
    next: u32,
    /// When it was put on the list: the lower half of jiffies.
    stamp: u32,
    /// Its place in the order of the list.
    order: u32,
}

/// Entries linked by their slots, oldest first.
#[derive(Clone, Copy)]
struct List {
    head: u32,
    tail: u32,
    len: u32,
}

impl List {
    const EMPTY: Self = Self {
        head: NONE,
        tail: NONE,
        len: 0,
    };
}

/// Whether an owner has a place for an entry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Place {
    /// It has.
    Free,
    /// It has as many entries as it may have: one has to go.
    Full,
    /// Too many were taken out, and wait for a grace period.
    Waiting,
}

/// Why an entry was not taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refused {
    /// The owner has no [place](Owner::place) for it.
    Limit,
    /// The few lines where the key may be are full.
    NoRoom,
    /// The owner was [flushed](Owner::flush) since the look-up.
    Flushed,
}

/// An entry, for a look at it.
pub struct Entry<'a, T, const N: usize> {
    /// The key.
    pub key: [u32; N],
    /// The value.
    pub value: &'a T,
    /// What was put in with the value, zero where lines have several slots.
    pub note: u32,
    /// Whether it was found since it was put on the list, or last renewed.
    pub used: bool,
    /// For how long it has been there, in jiffies, since then.
    pub age: u32,
}

/// What is to be done with an entry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Action {
    /// It stays where it is.
    Keep,
    /// It is taken out, and its value dropped.
    Remove,
    /// The walk ends before it.
    Stop,
}

/// How far a walk has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Walk {
    /// There may be more.
    More,
    /// To the end of the list.
    End,
    /// More entries come to the end of the list, or move there, than the walk passes: it has looked
    /// at twice as many as there were at any time. It may never end.
    Outrun,
}

/// A place in an owner's list, from which a walk goes on.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug, Zeroable)]
pub struct Cursor {
    begun: bool,
    /// The slot that the walk has come to, and the place in the order that its entry had then.
    slot: u32,
    at: u32,
    /// What the walk has shown: entries up to this place.
    order: u32,
    /// How many entries it has looked at, and the most that there were meanwhile.
    looked_at: u32,
    most: u32,
}

/// One of the users of a shared [`Table`]: all entries under its tag are its own.
///
/// Everything needs `&mut`, and so a lock around the owner if several CPUs use it. Dropping it
/// drops its entries, at a cost that depends on their number, and may sleep: process context, and
/// no RCU critical section. A look-up by its tag after that may find the entries of another owner.
///
/// # Invariants
///
/// - `live` has exactly the slots of the table that have `tag`, `flushed` those with one of
///   `flushed_tags`; these tags are from the table's allocator and nobody else's.
/// - If there is a `tag`, there is a free place among `flushed_tags`.
/// - `doomed` and `dying` have slots of ours that nobody finds, each with a value. Since those of
///   `dying` were last findable, as since entries had a tag of `dying_tags`, the grace period
///   `grace` was asked for.
/// - `promised` and `granted` places were taken from the table's `reserve` and from what it has
///   `free`. `most` and `most_slots` are what these have room for, and `taken` is at most
///   `most_slots`.
pub struct Owner<V: RcuValue, const N: usize> {
    table: Arc<Table<V, N>>,
    tag: Option<Tag>,
    live: List,
    flushed: List,
    flushed_tags: [Option<Tag>; MAX_FLUSHED],
    /// Linked by `next` alone, as `dying` is.
    doomed: u32,
    doomed_tail: u32,
    doomed_len: u32,
    dying: u32,
    /// The slots of all four lists.
    taken: u32,
    /// Which of `flushed_tags`, a bit for each.
    dying_tags: u8,
    grace: Option<c_ulong>,
    promised: u32,
    granted: u32,
    /// How many entries, and how many slots, may be ours by that.
    most: u32,
    most_slots: u32,
    next_order: u32,
    changes: u32,
}

/// The lower half of jiffies.
fn now() -> u32 {
    // SAFETY: The word is read whole, as `READ_ONCE()` would.
    unsafe { (&raw const bindings::jiffies).read_volatile() as u32 }
}

impl<V: RcuValue, const N: usize> Owner<V, N> {
    /// Makes an owner without entries. `ENOSPC` if there are 2^24 already, `ENOMEM`. May sleep.
    pub fn new(table: Arc<Table<V, N>>) -> Result<Self> {
        let tag = table.new_tag()?;
        // INVARIANT: No slot has a tag that was just given out. There are no places yet.
        Ok(Self {
            table,
            tag: Some(tag),
            live: List::EMPTY,
            flushed: List::EMPTY,
            flushed_tags: [None; MAX_FLUSHED],
            doomed: NONE,
            doomed_tail: NONE,
            doomed_len: 0,
            dying: NONE,
            taken: 0,
            dying_tags: 0,
            grace: None,
            promised: 0,
            granted: 0,
            most: 0,
            most_slots: 0,
            next_order: 0,
            changes: 0,
        })
    }

    /// The table that it shares.
    pub fn table(&self) -> &Arc<Table<V, N>> {
        &self.table
    }

    /// The tag of its entries; `None` while no tag is free.
    pub fn tag(&self) -> Option<Tag> {
        self.tag
    }

    /// How many entries it has that look-ups find.
    pub fn len(&self) -> u32 {
        self.live.len
    }

    /// Whether look-ups find none.
    pub fn is_empty(&self) -> bool {
        self.live.len == 0
    }

    /// How many entries it has, with those that were flushed and not reaped yet: what it takes of
    /// the table.
    pub fn held(&self) -> u32 {
        self.live.len + self.flushed.len
    }

    /// How many entries it has places for, whatever others do: from when it asks for the first
    /// [place](Self::place) until it [rests](Self::rest).
    pub fn promised(&self) -> u32 {
        self.promised
    }

    /// Whether it has a place for one more entry. Takes some of those that are there for all, if it
    /// has none and may have more.
    #[inline]
    pub fn place(&mut self) -> Place {
        if self.has_place() {
            Place::Free
        } else {
            self.another_place()
        }
    }

    #[inline(always)]
    fn has_place(&self) -> bool {
        self.held() < self.most && self.taken < self.most_slots
    }

    #[cold]
    fn another_place(&mut self) -> Place {
        if self.promised == 0 {
            self.set_promised(self.table.promise());
            if self.has_place() {
                return Place::Free;
            }
        }
        self.take_places();
        if self.has_place() {
            Place::Free
        } else if self.held() >= self.most {
            Place::Full
        } else {
            Place::Waiting
        }
    }

    /// Whether it has more of the places for all than its part, because others have come since.
    #[inline]
    pub fn has_too_much(&self) -> bool {
        // A part of nothing has no bounds, where none is promised either.
        self.table.promise != 0
            && i64::from(self.granted) > SHARE * self.table.free() + i64::from(MAX_CHUNK)
    }

    /// How many entries it should take out, because others want the places: what it has beyond its
    /// part. For one that puts nothing in, and so never asks for a place.
    pub fn excess(&self) -> u32 {
        if !self.has_too_much() {
            return 0;
        }
        // Those given back are there for all, of whom it is one.
        let all = i64::from(self.granted) + self.table.free().max(0);
        let part = all * SHARE / (SHARE + 1);
        let most = i64::from(self.promised) + part;
        (i64::from(self.held()) - most).clamp(0, u32::MAX.into()) as u32
    }

    /// Whether it has places that others may want.
    pub fn has_places_of_all(&self) -> bool {
        self.granted != 0
    }

    /// Gives all places back, those that were promised, too, if nothing of the table is its own any
    /// more: others are promised these. Asks for them again with the next entry.
    pub fn rest(&mut self) {
        if self.taken != 0 || self.promised + self.granted == 0 {
            return;
        }
        let (promised, granted) = (self.promised, self.granted);
        self.set_granted(0);
        self.set_promised(0);
        self.table.give_back(promised, granted);
    }

    /// So many places for all are taken or given back at once: the more, the more it has, and the
    /// more are left. So many small owners leave few unused when these are wanted.
    fn chunk(&self) -> u32 {
        let at_ease = self.table.free() >> self.table.ease;
        (at_ease as u32)
            .max(self.granted >> CHUNK_SHIFT)
            .clamp(1, MAX_CHUNK)
    }

    /// Takes some of the places for all, if it may have more of them.
    fn take_places(&mut self) {
        let (free, chunk) = (&self.table.free.0, self.chunk());
        let granted = self.granted + chunk;
        let mut seen = self.table.free();
        loop {
            let left = seen - i64::from(chunk);
            if left < 0 || (self.table.promise != 0 && i64::from(granted) > SHARE * left) {
                return;
            }
            // The slots that these places are for were emptied before they were given back.
            match free.cmpxchg(seen, left, Acquire) {
                Ok(_) => break,
                Err(now) => seen = now,
            }
        }
        self.set_granted(granted);
    }

    /// Gives back what it does not need of the places for all, but for a few that it may need soon.
    #[cold]
    fn give_places_back(&mut self) {
        let before = self.granted;
        while self.granted != 0 {
            let chunk = self.chunk().min(self.granted);
            let spared = if self.has_too_much() { 0 } else { chunk - 1 };
            let (now, left) = (self.granted, self.granted - chunk);
            self.set_granted(left);
            if self.held() + spared > self.most || self.taken + spared > self.most_slots {
                self.set_granted(now);
                break;
            }
        }
        let given = before - self.granted;
        if given != 0 {
            self.table.free.0.fetch_add(i64::from(given), Release);
        }
    }

    fn set_granted(&mut self, granted: u32) {
        // INVARIANT: Just taken from the table, or about to be given back.
        self.granted = granted;
        self.set_most();
    }

    fn set_promised(&mut self, promised: u32) {
        // INVARIANT: Just taken from the table, or about to be given back.
        self.promised = promised;
        self.set_most();
    }

    fn set_most(&mut self) {
        let (promised, granted) = (self.promised, self.granted);
        self.most = promised + granted;
        self.most_slots = 2 * promised + granted + (granted >> self.table.spare);
    }

    /// How many slots wait until a grace period is asked for.
    pub fn waiting(&self) -> u32 {
        self.doomed_len
    }

    /// A number that changes when an entry goes, or changes its place in the list.
    pub fn changes(&self) -> u32 {
        self.changes
    }

    /// Puts in an entry, or replaces the value of the one that has this key. `Ok` says whether it
    /// was a new one.
    ///
    /// `tag` is the one that was looked up with before the value was made: what was made before a
    /// [`flush`](Self::flush) is refused after it. Never takes out another entry. Process or
    /// softirq context, interrupts on.
    pub fn insert(
        &mut self,
        tag: Tag,
        key: &[u32; N],
        value: V,
        note: u32,
    ) -> Result<bool, Refused> {
        if self.tag != Some(tag) {
            return Err(Refused::Flushed);
        }
        let home = self.table.home(self.table.secrets.hash(tag, key));
        let old = self.position(tag, key, home);
        if let Some(slot) = old {
            // Who has found the old value may still read it.
            self.take_out(slot, false);
        }
        if self.place() != Place::Free {
            return Err(Refused::Limit);
        }
        let slot = self.fill(tag, key, home, value, note)?;
        self.taken += 1;
        // INVARIANT: The slot has the tag now, and was on no list: it was free.
        self.append(slot);
        Ok(old.is_none())
    }

    /// Whether [`insert`](Self::insert) would take one more place of the table. Any context.
    pub fn needs_place(&mut self, tag: Tag, key: &[u32; N]) -> bool {
        let home = self.table.home(self.table.secrets.hash(tag, key));
        self.tag == Some(tag) && self.position(tag, key, home).is_none()
    }

    /// Takes out the entry with this key. Process or softirq context, interrupts on.
    pub fn remove(&mut self, key: &[u32; N]) -> bool {
        let Some(tag) = self.tag else {
            return false;
        };
        let home = self.table.home(self.table.secrets.hash(tag, key));
        let slot = self.position(tag, key, home);
        if let Some(slot) = slot {
            self.take_out(slot, false);
        }
        slot.is_some()
    }

    /// Takes out the oldest entry that was not used since it was put in or renewed; entries that
    /// were are renewed, up to a limit. Returns its key, if there was one.
    pub fn evict(&mut self) -> Option<[u32; N]> {
        for _ in 0..MAX_SPARED {
            let head = self.live.head;
            if head == NONE {
                return None;
            }
            if !self.content(head).used {
                break;
            }
            self.renew(head);
        }
        let head = self.live.head;
        let key = self.content(head).key;
        self.take_out(head, false);
        Some(key)
    }

    /// Takes out entries that were not used for `age` jiffies, and renews those that were; looks at
    /// `budget` of them at most, and at none that is not due.
    ///
    /// Returns how many have gone, and in how many jiffies the next is due, if there is one.
    pub fn expire(&mut self, age: u32, budget: usize) -> (u32, Option<Jiffies>) {
        let mut gone = 0;
        for _ in 0..budget {
            let head = self.live.head;
            if head == NONE {
                return (gone, None);
            }
            // The time is read each time: what this run has renewed is never older than now.
            let old = now().wrapping_sub(self.link(head).stamp);
            if old < age {
                return (gone, Some((age - old) as Jiffies));
            }
            if self.content(head).used {
                self.renew(head);
            } else {
                self.take_out(head, false);
                gone += 1;
            }
        }
        (gone, (self.live.head != NONE).then_some(0))
    }

    /// Makes all entries unfindable at once: the owner gets another tag. Process or softirq
    /// context, interrupts on; costs the same for any number of entries.
    ///
    /// [`tag`](Self::tag) is `None` afterwards if there was no memory for another, or if too many
    /// tags wait to be reaped.
    pub fn flush(&mut self) {
        self.changes = self.changes.wrapping_add(1);
        let Some(tag) = self.tag.take() else {
            return;
        };
        self.append_live_to_flushed();
        // INVARIANT: With a tag, there was a free place; without one free now, there is no tag.
        let mut free = self.flushed_tags.iter_mut().filter(|place| place.is_none());
        if let Some(place) = free.next() {
            *place = Some(tag);
        }
        if free.next().is_some() {
            self.tag = self.table.new_tag_atomic().ok();
        }
    }

    /// Takes out flushed entries, `budget` of them at most, and [settles](Self::settle). Says
    /// whether nothing is left to do.
    ///
    /// The tag from before the flush must not be in use any more for new look-ups. Process or
    /// softirq context, interrupts on.
    pub fn reap(&mut self, budget: usize) -> bool {
        self.reap_some(budget);
        self.settle(budget, 1)
    }

    /// Drops the values of entries that were taken out, `budget` of them at most, and gives tags
    /// back, where a grace period is over; asks for one if `batch` entries wait for that, or tags
    /// do. Says whether nothing is left to do.
    pub fn settle(&mut self, budget: usize, batch: u32) -> bool {
        if let Some(grace) = self.grace {
            // SAFETY: The function has no requirement.
            if !unsafe { bindings::poll_state_synchronize_rcu(grace) } {
                return false;
            }
            if !self.bury(budget) {
                return false;
            }
            self.grace = None;
        }
        if self.doomed_len >= batch.max(1) || self.tags_to_give_back() != 0 {
            self.ask_for_grace_period();
            return false;
        }
        if self.doomed != NONE {
            return false;
        }
        if self.tag.is_none() && self.flushed_tags.iter().any(Option::is_none) {
            // INVARIANT: There is a free place among `flushed_tags`.
            self.tag = self.table.new_tag_atomic().ok();
        }
        self.flushed.len == 0 && self.tag.is_some()
    }

    /// All that is taken out by now waits for a grace period that begins now: after that, dropping
    /// the owner does not wait.
    pub fn seal(&mut self) {
        if self.doomed != NONE || self.dying != NONE {
            self.ask_for_grace_period();
        }
    }

    /// The flushed tags that no entry has any more.
    fn tags_to_give_back(&self) -> u8 {
        if self.flushed.len != 0 {
            return 0;
        }
        let bits = self.flushed_tags.iter().enumerate();
        bits.fold(0, |all, (bit, tag)| all | u8::from(tag.is_some()) << bit)
    }

    fn ask_for_grace_period(&mut self) {
        // INVARIANT: What was doomed is unfindable by now, and goes in front of what is dying.
        if self.doomed != NONE {
            let (tail, dying) = (self.doomed_tail, self.dying);
            self.link_mut(tail).next = dying;
            self.dying = self.doomed;
        }
        self.doomed = NONE;
        self.doomed_tail = NONE;
        self.doomed_len = 0;
        self.dying_tags = self.tags_to_give_back();
        // SAFETY: The function has no requirement. It lets the grace period begin, too: where
        // nobody else wants one, there would be none.
        self.grace = Some(unsafe { bindings::start_poll_synchronize_rcu() });
    }

    /// Empties slots whose grace period is over. Says whether that were all, whose tags are then
    /// given back.
    fn bury(&mut self, budget: usize) -> bool {
        for _ in 0..budget {
            let slot = self.dying;
            if slot == NONE {
                break;
            }
            self.dying = self.link(slot).next;
            let (index, way) = self.line_and_way(slot);
            let old = self.table.line(index).lock().empty(way);
            self.taken -= 1;
            // SAFETY: By the type invariant the slot was ours, with a value. Readers that had found
            // that value have ended their critical sections.
            drop(unsafe { owned::<V>(old) });
        }
        if self.granted != 0 && self.taken + self.chunk() < self.most_slots {
            self.give_places_back();
        }
        if self.dying != NONE {
            return false;
        }
        for (bit, place) in self.flushed_tags.iter_mut().enumerate() {
            if self.dying_tags & (1 << bit) != 0 {
                if let Some(tag) = place.take() {
                    self.table.tags.free(tag.get());
                }
            }
        }
        self.dying_tags = 0;
        true
    }

    /// Takes out a flushed entry. Says whether there was one.
    pub fn reap_one(&mut self) -> bool {
        if self.flushed.head == NONE {
            return false;
        }
        self.take_out(self.flushed.head, true);
        true
    }

    fn reap_some(&mut self, budget: usize) {
        for _ in 0..budget {
            if !self.reap_one() {
                return;
            }
        }
    }

    /// Shows entries to `look`, oldest first, `budget` of them at most, and does with each what it
    /// says. Says how far that was.
    ///
    /// `cursor` is where to begin, and is set to where to go on. If the entry that it points to is
    /// gone meanwhile, or has moved, the walk goes on with those that are younger than it was.
    pub fn walk(
        &mut self,
        cursor: &mut Cursor,
        budget: usize,
        mut look: impl FnMut(&Entry<'_, V::Target, N>) -> Action,
    ) -> Walk {
        let now = now();
        cursor.most = cursor.most.max(self.live.len);
        let mut slot = self.resume(cursor);
        for _ in 0..budget {
            if slot == NONE {
                return Walk::End;
            }
            cursor.looked_at = cursor.looked_at.saturating_add(1);
            let (next, order, stamp) = {
                let link = self.link(slot);
                (link.next, link.order, link.stamp)
            };
            if cursor.begun && order.wrapping_sub(cursor.order) as i32 <= 0 {
                // On the way to where the walk was, whose entry is gone.
                (cursor.slot, cursor.at) = (slot, order);
                slot = next;
                continue;
            }
            let content = self.content(slot);
            let Some(value) = NonNull::new(content.value.cast_mut().cast::<V::Target>()) else {
                return Walk::End;
            };
            let entry = Entry {
                key: content.key,
                // SAFETY: By the type invariant the value is valid while it is in the slot, from
                // which it is not taken while `look` runs.
                value: unsafe { value.as_ref() },
                note: content.note,
                used: content.used,
                age: now.wrapping_sub(stamp),
            };
            match look(&entry) {
                Action::Keep => {
                    cursor.begun = true;
                    (cursor.slot, cursor.at, cursor.order) = (slot, order, order);
                }
                // The cursor stays at the last that was kept: from there, the way on is short.
                Action::Remove => self.take_out(slot, false),
                Action::Stop => {
                    // It will be looked at again.
                    cursor.looked_at -= 1;
                    return Walk::More;
                }
            }
            slot = next;
        }
        if slot == NONE {
            Walk::End
        } else if cursor.looked_at / 2 > cursor.most {
            Walk::Outrun
        } else {
            Walk::More
        }
    }

    /// The slot after the one that the cursor points to; the first one, if its entry is gone.
    fn resume(&self, cursor: &Cursor) -> u32 {
        if !cursor.begun {
            return self.live.head;
        }
        // A cursor may come from anywhere, another table for one.
        let known = cursor.slot < self.table.lines() * Table::<V, N>::WAYS;
        let mine = self.tag.is_some_and(|tag| {
            let (index, way) = self.line_and_way(cursor.slot);
            known && self.table.line(index).tag(way) == tag.get()
        });
        if mine && self.link(cursor.slot).order == cursor.at {
            return self.link(cursor.slot).next;
        }
        self.live.head
    }

    /// Line and way of a slot.
    fn line_and_way(&self, slot: u32) -> (u32, usize) {
        let ways = Table::<V, N>::WAYS;
        ((slot / ways) & self.table.mask, (slot % ways) as usize)
    }

    fn content(&self, slot: u32) -> Content<N> {
        let (index, way) = self.line_and_way(slot);
        self.table.line(index).content(way)
    }

    /// Finds the slot of a key that is ours, as a look-up does: it is there or not, since nobody
    /// else changes our slots, nor takes back what our entries have counted in the lines they
    /// passed.
    fn position(&self, tag: Tag, key: &[u32; N], home: u32) -> Option<u32> {
        let mut distance = 0;
        loop {
            let index = home.wrapping_add(distance) & self.table.mask;
            let line = self.table.line(index);
            if let Some((way, _)) = line.matching(tag, key) {
                return Some(index * Table::<V, N>::WAYS + way as u32);
            }
            if !line.was_passed() || distance == self.table.mask {
                return None;
            }
            distance += 1;
        }
    }

    /// Puts an entry into the first free slot from its home on, where it has a place. By the
    /// invariant of the table there is a free slot. One that is not promised is looked for in a few
    /// lines only.
    fn fill(
        &mut self,
        tag: Tag,
        key: &[u32; N],
        home: u32,
        value: V,
        note: u32,
    ) -> Result<u32, Refused> {
        let value = value.into_raw();
        let lines = MAX_PROBE.min(self.table.lines());
        match self.fill_near(tag, key, home, value, note, lines) {
            Some(slot) => Ok(slot),
            None => self.fill_far(tag, key, home, value, note),
        }
    }

    #[cold]
    fn fill_far(
        &mut self,
        tag: Tag,
        key: &[u32; N],
        home: u32,
        value: NonNull<V::Target>,
        note: u32,
    ) -> Result<u32, Refused> {
        let lines = self.table.lines();
        if self.held() < self.promised {
            // Others may fill the one that is free, and free another that was passed already.
            for _ in 0..ROUNDS {
                if let Some(slot) = self.fill_near(tag, key, home, value, note, lines) {
                    return Ok(slot);
                }
            }
        }
        self.give_places_back();
        // SAFETY: It was made of a value just now, and no slot holds it.
        drop(unsafe { V::from_raw(value) });
        Err(Refused::NoRoom)
    }

    #[inline(always)]
    fn fill_near(
        &self,
        tag: Tag,
        key: &[u32; N],
        home: u32,
        value: NonNull<V::Target>,
        note: u32,
        lines: u32,
    ) -> Option<u32> {
        let table = &self.table;
        for distance in 0..lines {
            let index = home.wrapping_add(distance) & table.mask;
            // A full line is not worth its lock; of the others, the lock tells.
            if table.line(index).free_way().is_none() {
                continue;
            }
            let mut line = table.line(index).lock();
            let Some(way) = line.free_way() else {
                continue;
            };
            line.fill(way, tag, key, value.as_ptr().cast(), note);
            drop(line);
            for passed in 0..distance {
                table.line(home.wrapping_add(passed)).one_more_passed();
            }
            return Some(index * Table::<V, N>::WAYS + way as u32);
        }
        None
    }

    /// Makes an entry of ours unfindable. Its value is dropped after a grace period.
    fn take_out(&mut self, slot: u32, flushed: bool) {
        let (index, way) = self.line_and_way(slot);
        let content = self.content(slot);
        let Some(tag) = Tag::from_number(content.tag) else {
            return;
        };
        self.unlink(slot, flushed);
        self.changes = self.changes.wrapping_add(1);
        let table = &self.table;
        table.line(index).lock().doom(way);
        let home = table.home(table.secrets.hash(tag, &content.key));
        for passed in 0..table.distance(home, index) {
            table.line(home.wrapping_add(passed)).one_less_passed();
        }
        // INVARIANT: Nobody finds it any more, and it is on no other list.
        let next = self.doomed;
        self.link_mut(slot).next = next;
        self.doomed = slot;
        if next == NONE {
            self.doomed_tail = slot;
        }
        self.doomed_len += 1;
    }

    fn link(&self, slot: u32) -> &Link {
        debug_assert!(slot < self.table.lines() * Table::<V, N>::WAYS);
        // SAFETY: Slots of ours are in the array, and only we use their links: see the invariant of
        // the table.
        unsafe { self.table.links.add(slot as usize).as_ref() }
    }

    fn link_mut(&mut self, slot: u32) -> &mut Link {
        debug_assert!(slot < self.table.lines() * Table::<V, N>::WAYS);
        // SAFETY: As in `link`, and `self` is borrowed mutably.
        unsafe { self.table.links.add(slot as usize).as_mut() }
    }

    /// Puts a slot at the young end of the list.
    fn append(&mut self, slot: u32) {
        let tail = self.live.tail;
        let order = self.next_order;
        self.next_order = order.wrapping_add(1);
        *self.link_mut(slot) = Link {
            prev: tail,
            next: NONE,
            stamp: now(),
            order,
        };
        if tail == NONE {
            self.live.head = slot;
        } else {
            self.link_mut(tail).next = slot;
        }
        self.live.tail = slot;
        self.live.len += 1;
    }

    fn unlink(&mut self, slot: u32, flushed: bool) {
        let Link { prev, next, .. } = *self.link(slot);
        if prev != NONE {
            self.link_mut(prev).next = next;
        }
        if next != NONE {
            self.link_mut(next).prev = prev;
        }
        let list = if flushed {
            &mut self.flushed
        } else {
            &mut self.live
        };
        if prev == NONE {
            list.head = next;
        }
        if next == NONE {
            list.tail = prev;
        }
        list.len -= 1;
    }

    /// To the young end, as one that was not used yet.
    fn renew(&mut self, slot: u32) {
        let (index, way) = self.line_and_way(slot);
        self.table.line(index).set_used(way, false);
        self.touch(slot);
    }

    fn touch(&mut self, slot: u32) {
        self.unlink(slot, false);
        self.append(slot);
        self.changes = self.changes.wrapping_add(1);
    }

    fn append_live_to_flushed(&mut self) {
        let live = core::mem::replace(&mut self.live, List::EMPTY);
        if live.len == 0 {
            return;
        }
        if self.flushed.tail == NONE {
            self.flushed = live;
            return;
        }
        let tail = self.flushed.tail;
        self.link_mut(tail).next = live.head;
        self.link_mut(live.head).prev = tail;
        self.flushed.tail = live.tail;
        self.flushed.len += live.len;
    }
}

/// Makes the owned value of what a slot held.
///
/// # Safety
///
/// `raw` is from `V::into_raw`, and no slot holds it any more.
unsafe fn owned<V: RcuValue>(raw: *const c_void) -> Option<V> {
    let raw = NonNull::new(raw.cast_mut().cast::<V::Target>())?;
    // SAFETY: By the caller's promise.
    Some(unsafe { V::from_raw(raw) })
}

impl<V: RcuValue, const N: usize> Table<V, N> {
    /// Promises some places to an owner: as many as the table promises each, if there are enough
    /// left.
    fn promise(&self) -> u32 {
        let mut seen = self.reserve.load(Relaxed);
        loop {
            let part = (seen + PROMISED_AT_ONCE - 1) / PROMISED_AT_ONCE;
            let promised = part.clamp(0, self.promise.into());
            if promised == 0 {
                return 0;
            }
            match self.reserve.cmpxchg(seen, seen - promised, Acquire) {
                Ok(_) => return promised as u32,
                Err(now) => seen = now,
            }
        }
    }

    /// Takes all places of an owner back.
    fn give_back(&self, promised: u32, granted: u32) {
        self.reserve.fetch_add(promised.into(), Release);
        self.free.0.fetch_add(granted.into(), Release);
    }

    fn new_tag(&self) -> Result<Tag> {
        Tag::from_number(self.tags.alloc(1, MAX_TAG, GFP_KERNEL)?).ok_or(EINVAL)
    }

    fn new_tag_atomic(&self) -> Result<Tag> {
        Tag::from_number(self.tags.alloc(1, MAX_TAG, GFP_ATOMIC)?).ok_or(EINVAL)
    }
}

impl<V: RcuValue, const N: usize> Drop for Owner<V, N> {
    fn drop(&mut self) {
        might_sleep();
        while self.live.head != NONE {
            self.take_out(self.live.head, false);
        }
        self.reap_some(usize::MAX);
        if self.doomed != NONE {
            self.seal();
        }
        if let Some(grace) = self.grace {
            // SAFETY: Has to be called where one may sleep, and outside of RCU critical sections,
            // whose readers may still use what is dropped here. No type keeps safe code to that, as
            // for all else that sleeps; `might_sleep()` has said so where the kernel checks it.
            // Where a grace period has passed since `seal`, as at the end of a namespace, this does
            // not wait.
            unsafe { bindings::cond_synchronize_rcu(grace) };
            self.bury(usize::MAX);
        }
        for tag in Iterator::chain(self.flushed_tags.iter().flatten(), &self.tag) {
            self.table.tags.free(tag.get());
        }
        self.table.give_back(self.promised, self.granted);
    }
}
