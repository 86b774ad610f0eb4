// SPDX-License-Identifier: GPL-2.0

//! A hash table that many owners share. Each owner finds only its own entries.
//!
//! A large table is not allocated once for each namespace. All namespaces share one, whose entries
//! carry a *tag* that is part of the key. An [`Owner`] (a namespace, say) has a tag. It inserts and
//! removes entries, while everybody may [look up](Table::find) entries under a tag.
//!
//! - A look-up runs under RCU: no lock, no allocation, no reference. Its only store is a flag which
//!   says that the entry was used, and only if the flag is not set yet.
//! - The table is an array of cache lines. A line has slots with key *and* value inside, and a
//!   sequence number that shows whether the line was written while it was read. If the line of an
//!   entry is full, the entry goes to one of the next few, and the lines in between count it. So a
//!   look-up reads one line, unless that line was once full.
//! - Writers lock single lines. What a look-up does not need is in a second array: the links of
//!   each owner's list of its entries, oldest first. So the end of an owner costs what its entries
//!   cost, whatever the size of the table.
//! - No entry is ever dropped to make room for another owner's. A table may [promise](Table::fair)
//!   each owner some places, which it has however full others make the table. The others are there
//!   for all, in equal parts.
//!
//! A value that was removed is dropped a grace period later. Until then it stays in its slot, where
//! no new look-up finds it. So a look-up needs no reference to return a value.

mod audit;
mod hash;
mod line;
mod owner;
mod published;
#[cfg(CONFIG_KUNIT = "y")]
mod tests;

use core::{
    mem::offset_of,
    num::NonZeroU32,
    ptr::NonNull, //
};

use crate::{
    alloc::AllocError,
    bindings,
    ida::Ida,
    prelude::*,
    sync::{
        atomic::Atomic,
        rcu,
        Arc, //
    },
};

pub use self::audit::Audit;
pub use self::owner::{
    Action,
    Cursor,
    Entry,
    Owner,
    Place,
    Refused,
    Walk, //
};
pub use self::published::Published;
use self::{
    hash::{
        Hash,
        Secrets, //
    },
    line::{
        Line,
        Scan, //
    },
    owner::Link, //
};

/// In how many lines a place is looked for, beginning with the one where a look-up begins. An entry
/// that finds none in them is refused, unless its owner was promised the place.
const MAX_PROBE: u32 = 8;

/// Of the places for all, an owner may have this many times what is left. A single one gets four
/// fifths of them; several get equal parts.
const SHARE: i64 = 4;

/// Of a table that promises places, one in this many is for that. What is left of these is promised
/// in ever smaller parts to owners that have entries: those who come late get few, or none if very
/// many have some.
const PROMISED: i64 = 8;
const PROMISED_AT_ONCE: i64 = 16;

/// Places for all are taken and given back so many at once, at most, and not more than one
/// sixteenth of what an owner has, or of what may be at ease: entries that come and go write no
/// memory that owners share.
const MAX_CHUNK: u32 = 64;
const CHUNK_SHIFT: u32 = 4;

/// The largest tag: it has 24 bits, and the pattern above this one is that of slots which nobody
/// finds any more, and whose values may be about to be dropped.
const MAX_TAG: u32 = 0x00ff_fffe;

/// What tells the entries of one owner from those of the others.
///
/// While entries have it, and for a grace period after that, no other owner of the same table gets
/// the same.
///
/// # Invariants
///
/// The number is one that tables give out: from 1 to [`MAX_TAG`]. So it is none of those that a
/// slot has without an entry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Tag(NonZeroU32);

impl Tag {
    /// The number, from 1.
    #[inline(always)]
    pub fn get(self) -> u32 {
        self.0.get()
    }

    /// The tag with this number, if tables give out such a one. A wrong number finds another
    /// owner's entries.
    #[inline(always)]
    pub fn from_number(number: u32) -> Option<Self> {
        if number > MAX_TAG {
            return None;
        }
        // INVARIANT: Neither zero nor above the largest.
        NonZeroU32::new(number).map(Self)
    }
}

/// An owned pointer to something that others may read as well. The table drops it a grace period
/// after nobody can find it any more.
///
/// # Safety
///
/// `into_raw` gives a pointer that is valid until what `from_raw` makes of it is dropped.
pub unsafe trait RcuValue: Send + Sync + Sized + 'static {
    /// What the pointer leads to.
    type Target: Sync + 'static;

    /// Makes a pointer of it.
    fn into_raw(self) -> NonNull<Self::Target>;

    /// Makes it of the pointer.
    ///
    /// # Safety
    ///
    /// `raw` is from `into_raw`, and this is called once for each of these.
    unsafe fn from_raw(raw: NonNull<Self::Target>) -> Self;
}

// SAFETY: The reference is valid for ever.
unsafe impl<T: Sync + 'static> RcuValue for &'static T {
    type Target = T;

    #[inline]
    fn into_raw(self) -> NonNull<T> {
        NonNull::from(self)
    }

    #[inline]
    unsafe fn from_raw(raw: NonNull<T>) -> Self {
        // SAFETY: By the caller's promise it was made of such a reference.
        unsafe { raw.as_ref() }
    }
}

/// A key to be looked for, with its hash.
#[derive(Clone, Copy)]
pub struct Query<const N: usize> {
    tag: Tag,
    key: [u32; N],
    hash: Hash,
}

/// What a look-up gives.
pub struct Found<'g, T> {
    /// The value, for as long as the guard is held.
    pub value: &'g T,
    /// What was put in with the value, zero where lines have several slots.
    pub note: u32,
}

/// A cache line of its own, for what is written often beside what is read often.
#[repr(C, align(64))]
struct OwnLine<T>(T);

/// The table, for keys of `N` words and values `V`.
///
/// Look-ups read the fields in front; changes write to those behind them, in other cache lines.
///
/// Each owner has an account of places: those that it was promised, and those for all that it has
/// taken. It has no more entries than that. Those that wait for a grace period after they were
/// taken out have places, too: as many again as were promised, and a part of the others, 1 in
/// 2^`spare`.
///
/// # Invariants
///
/// - `free` and `reserve` are what owners have not taken of `limit` places, those for all and those
///   to be promised. If `promise` is not zero, the places of all accounts together, with those for
///   entries that wait, are no more than there are slots.
/// - `lines` is an array of `mask + 1` lines, `links` one with an element for each of their slots;
///   `mask + 1` is 2^(32 - `shift`).
/// - A slot with a tag has a value that came from `V::into_raw`, and is on the list of exactly one
///   [`Owner`]; only that owner uses the slot's link and changes the slot.
#[pin_data(PinnedDrop)]
#[repr(C)]
pub struct Table<V: RcuValue, const N: usize> {
    lines: NonNull<Line<N>>,
    links: NonNull<Link>,
    mask: u32,
    shift: u32,
    secrets: Secrets,
    limit: u32,
    promise: u32,
    ease: u32,
    spare: u32,
    free: OwnLine<Atomic<i64>>,
    reserve: Atomic<i64>,
    #[pin]
    tags: Ida,
    _values: core::marker::PhantomData<V>,
}

// SAFETY: The arrays belong to no thread, and `V` is `Send`.
unsafe impl<V: RcuValue, const N: usize> Send for Table<V, N> {}

// SAFETY: Readers get values, which are `Sync`, by shared reference; writers hold a line's lock,
// and the links of a slot are used through `&mut Owner` only. `V` is `Send`: owners may be on any
// CPU.
unsafe impl<V: RcuValue, const N: usize> Sync for Table<V, N> {}

/// Zeroed memory of its own, for large arrays: of huge pages where that is possible. Where there is
/// not enough, the allocator does not warn: who wants the table says so.
fn zeroed_array<T>(count: usize) -> Result<NonNull<T>, AllocError> {
    let size = count.checked_mul(size_of::<T>()).ok_or(AllocError)?;
    // SAFETY: The function has no requirement.
    let memory = unsafe {
        bindings::vmalloc_huge_node_noprof(
            size,
            bindings::GFP_KERNEL | bindings::__GFP_ZERO | bindings::__GFP_NOWARN,
            bindings::NUMA_NO_NODE,
        )
    };
    NonNull::new(memory.cast()).ok_or(AllocError)
}

impl<V: RcuValue, const N: usize> Table<V, N> {
    /// Slots in a line, for this length of key.
    pub const WAYS: u32 = line::slots(N) as u32;

    /// Bytes of the table for each line of it.
    pub const BYTES_PER_LINE: usize =
        size_of::<Line<N>>() + Self::WAYS as usize * size_of::<Link>();

    /// What look-ups read, and what changes write, are in different cache lines.
    const SEPARATE: () = {
        let (read, count) = (offset_of!(Self, spare), offset_of!(Self, free));
        assert!(offset_of!(Self, secrets) < read && read < count);
        assert!(count % 64 == 0 && offset_of!(Self, tags) >= count + 64);
    };

    /// A line has a place for a key.
    const ROOM: () = assert!(Self::WAYS > 0, "a key does not fit into a line");

    /// Makes an empty table of `lines` cache lines, for at most `limit` entries. Who comes first
    /// may have them all.
    ///
    /// `EINVAL` if `lines` is not a power of two, `ENOMEM`, `ERESTARTSYS` if a signal comes before
    /// the kernel has random numbers. May sleep.
    ///
    /// # Examples
    ///
    /// ```
    /// # use kernel::net::tagged_table::Owner;
    /// # use kernel::net::tagged_table::Table;
    /// # use kernel::sync::Arc;
    /// # use kernel::sync::rcu;
    /// // A thousand lines of two slots each: keys of four words.
    /// static VALUE: u32 = 7;
    /// let table: Arc<Table<&'static u32, 4>> = Table::new(1024, 1024)?;
    /// let mut owner = Owner::new(table.clone())?;
    /// let tag = owner.tag().ok_or(EINVAL)?;
    /// assert!(owner.insert(tag, &[1, 2, 3, 4], &VALUE, 0).is_ok());
    /// let guard = rcu::read_lock();
    /// let query = table.query(tag, &[1, 2, 3, 4]);
    /// assert_eq!(table.find(&query, &guard).map(|found| *found.value), Some(7));
    /// # Ok::<(), Error>(())
    /// ```
    #[inline]
    pub fn new(lines: u32, limit: u32) -> Result<Arc<Self>> {
        Self::make(lines, limit, 0)
    }

    /// The same, for owners that do not trust each other. Each that has entries is promised up to
    /// `promise` places, which it has whatever others do, and has its part of the rest.
    ///
    /// An owner has all that it was promised unless it has taken out as many within a grace period.
    /// `EINVAL` if `limit` is too near to the number of slots for that.
    pub fn fair(lines: u32, limit: u32, promise: u32) -> Result<Arc<Self>> {
        if promise == 0 {
            return Err(EINVAL);
        }
        Self::make(lines, limit, promise)
    }

    fn make(lines: u32, limit: u32, promise: u32) -> Result<Arc<Self>> {
        let () = Self::SEPARATE;
        let () = Self::ROOM;
        if !lines.is_power_of_two() || u64::from(lines) * u64::from(Self::WAYS) > MAX_SLOTS {
            return Err(EINVAL);
        }
        let slots = i64::from(lines * Self::WAYS);
        let all = i64::from(limit);
        let reserve = if promise == 0 { 0 } else { all / PROMISED };
        let free = all - reserve;
        // What does not fit for entries that wait has no place beside those that do not.
        let fits = |spare: &u32| 2 * reserve + free + (free >> spare) <= slots;
        let spare = (1..u32::BITS).find(fits);
        let ease = (limit | 1).ilog2().saturating_sub(3).max(6);
        if promise != 0 && spare.is_none() {
            return Err(EINVAL);
        }
        let (mask, shift) = (lines - 1, 32 - lines.trailing_zeros());
        let secrets = Secrets::new()?;
        let array = zeroed_array::<Line<N>>(lines as usize)?;
        let links = zeroed_array::<Link>((lines * Self::WAYS) as usize).inspect_err(|_| {
            // SAFETY: Allocated just now, and not used.
            unsafe { bindings::vfree(array.as_ptr().cast()) }
        })?;
        // INVARIANT: The arrays have these sizes; no slot has a tag, and nobody has an account.
        let table = Arc::pin_init(
            pin_init!(Self {
                lines: array,
                links,
                mask,
                shift,
                secrets,
                limit,
                promise,
                ease,
                spare: spare.unwrap_or(u32::BITS - 1),
                free: OwnLine(Atomic::new(free)),
                reserve: Atomic::new(reserve),
                tags <- Ida::new(),
                _values: core::marker::PhantomData,
            }),
            GFP_KERNEL,
        );
        table.inspect_err(|_| {
            // SAFETY: As above: what would have freed them was not made.
            unsafe {
                bindings::vfree(array.as_ptr().cast());
                bindings::vfree(links.as_ptr().cast());
            }
        })
    }

    /// How many lines the table has.
    pub fn lines(&self) -> u32 {
        self.mask + 1
    }

    /// How many entries are in the table, of all owners. Looks at each line: for reports and tests.
    #[inline]
    pub fn entries(&self) -> u64 {
        self.count(|tag| Tag::from_number(tag).is_some())
    }

    /// How many slots are not free: the entries, and what waits for a grace period. As
    /// [`entries`](Self::entries).
    pub fn taken(&self) -> u64 {
        self.count(|tag| tag != 0)
    }

    fn count(&self, which: impl Fn(u32) -> bool) -> u64 {
        let ways = |index| (0..Self::WAYS as usize).map(move |way| self.line(index).tag(way));
        (0..self.lines())
            .map(|index| ways(index).filter(|&tag| which(tag)).count() as u64)
            .sum()
    }

    /// How many entries the table takes, of all owners.
    #[inline]
    pub fn limit(&self) -> u64 {
        self.limit.into()
    }

    /// How many places for all are left.
    #[inline]
    fn free(&self) -> i64 {
        // SAFETY: The word is valid, and written whole. A helper's call would cost more than to
        // read it.
        unsafe { self.free.0.as_ptr().read_volatile() }.max(0)
    }

    /// Whether the ends of a flow (two addresses, an even number of words) belong to a sample, 1 in
    /// 2^`shift`, of all flows: chosen at random, but the same at any time.
    #[inline(always)]
    pub fn in_sample<const M: usize>(&self, shift: u32, ends: &[u32; M]) -> bool {
        self.secrets.in_sample(shift, ends)
    }

    /// Prepares a look-up.
    #[inline(always)]
    pub fn query(&self, tag: Tag, key: &[u32; N]) -> Query<N> {
        Query {
            tag,
            key: *key,
            hash: self.secrets.hash(tag, key),
        }
    }

    /// Looks for an entry. May be called from any context.
    ///
    /// An entry that another CPU is writing may not be found.
    #[inline(always)]
    pub fn find<'g>(
        &self,
        query: &Query<N>,
        _guard: &'g rcu::Guard,
    ) -> Option<Found<'g, V::Target>> {
        let home = self.home(query.hash);
        let mut distance = 0;
        loop {
            let line = self.line(home.wrapping_add(distance));
            match line.scan(query.tag, &query.key) {
                Scan::Found(found) => {
                    line.mark_used(&found);
                    let value = NonNull::new(found.value.cast_mut().cast::<V::Target>())?;
                    return Some(Found {
                        // SAFETY: By the type invariant it was in a slot, after the guard's
                        // critical section began, and came from `V::into_raw`. Its owner drops it
                        // a grace period after it was taken from there.
                        value: unsafe { value.as_ref() },
                        note: found.note,
                    });
                }
                Scan::NotHere { look_on: false } => return None,
                Scan::NotHere { look_on: true } if distance == self.mask => return None,
                Scan::NotHere { look_on: true } => distance += 1,
            }
        }
    }

    #[inline(always)]
    fn line(&self, index: u32) -> &Line<N> {
        // SAFETY: By the type invariant there are `mask + 1` lines, which live as long as `self`.
        unsafe { self.lines.add((index & self.mask) as usize).as_ref() }
    }

    /// The line where a key is looked for first.
    #[inline(always)]
    fn home(&self, hash: Hash) -> u32 {
        hash.line(self.shift)
    }

    /// How far a line is from the one where a key is looked for first, which is `home`.
    fn distance(&self, home: u32, line: u32) -> u32 {
        line.wrapping_sub(home) & self.mask
    }
}

/// The largest number of slots: an index is a `u32`, and one of its values means "no slot".
const MAX_SLOTS: u64 = 1 << 31;

#[pinned_drop]
impl<V: RcuValue, const N: usize> PinnedDrop for Table<V, N> {
    fn drop(self: Pin<&mut Self>) {
        // SAFETY: By the type invariant these are ours. Owners hold the table, so they are gone,
        // and all entries with them. Readers borrow the table, so they are gone, too.
        unsafe {
            bindings::vfree(self.lines.as_ptr().cast::<c_void>());
            bindings::vfree(self.links.as_ptr().cast::<c_void>());
        }
    }
}
