// SPDX-License-Identifier: GPL-2.0

//! One cache line of the table: a few slots with key and value inside.
//!
//! | word | holds |
//! |---|---|
//! | 0 | sequence (24 bits, odd while the line is written), how many entries had to pass (8 bits) |
//! | 1 | the note of the only slot, where the line has one |
//! | 2.. | the values, two words each |
//! | then, for each slot | tag (24 bits) and whether it was used (8 bits), the key |

use core::{
    cell::UnsafeCell,
    hint,
    ptr, //
};

use crate::{
    bindings,
    prelude::*,
    sync::{
        atomic::{
            Acquire,
            Atomic,
            Relaxed,
            Release, //
        },
        barrier, //
    },
};

use super::{
    Tag,
    MAX_TAG, //
};

/// Words of 32 bits in a line.
const WORDS: usize = 16;

const HEAD: usize = 0;
const NOTE: usize = 1;
const VALUES: usize = 2;

const LOCKED: u32 = 1;
const SEQUENCE: u32 = 0x00ff_ffff;
const PASSED: u32 = 0xff00_0000;
const ONE_PASSED: u32 = 0x0100_0000;
const TAG: u32 = 0x00ff_ffff;

/// Which byte of a slot's first word says that the slot was used.
const USED_BYTE: usize = if cfg!(target_endian = "little") { 3 } else { 0 };

/// How often a look-up tries again when the line is written meanwhile.
const RETRIES: usize = 16;

// A value is a pointer, which is read as one word of 64 bits: the module is for 64-bit kernels. Who
// waits for a line spins: its owner must not be preempted, as bottom halves that are off ensure but
// on PREEMPT_RT, for which the module is not.

/// What no owner has as a tag: of slots that nobody finds, and that are not free yet.
pub(super) const DOOMED: u32 = MAX_TAG + 1;

/// How many slots fit into a line, for keys of `key_words` words.
#[inline]
pub(super) const fn slots(key_words: usize) -> usize {
    (WORDS - VALUES) / (key_words + 3)
}

/// What a look-up found in a line.
pub(super) struct Match {
    pub(super) way: usize,
    pub(super) value: *const c_void,
    pub(super) note: u32,
    used: bool,
}

/// Whether the reader has to look further.
pub(super) enum Scan {
    Found(Match),
    /// Not here; whether an entry of this line may be in one of the next.
    NotHere {
        look_on: bool,
    },
}

/// What a slot holds.
pub(super) struct Content<const N: usize> {
    pub(super) tag: u32,
    pub(super) used: bool,
    pub(super) key: [u32; N],
    pub(super) value: *const c_void,
    pub(super) note: u32,
}

/// A line. Zeroed memory is one with empty slots.
///
/// Readers see what writers write, word for word, and find out afterwards by the sequence whether
/// what they read belongs together.
#[repr(C, align(64))]
pub(super) struct Line<const N: usize>(UnsafeCell<[u32; WORDS]>);

// SAFETY: Words are read and written whole. Without the lock, only the flag of use and the count of
// entries that had to pass are written.
unsafe impl<const N: usize> Sync for Line<N> {}

impl<const N: usize> Line<N> {
    /// Slots in a line.
    pub(super) const WAYS: usize = slots(N);

    #[inline(always)]
    fn word(&self, index: usize) -> *mut u32 {
        debug_assert!(index < WORDS);
        self.0.get().cast::<u32>().wrapping_add(index)
    }

    #[inline(always)]
    fn load(&self, index: usize) -> u32 {
        // SAFETY: Every caller's index is below `WORDS`; words are written whole. `READ_ONCE()`.
        unsafe { self.word(index).read_volatile() }
    }

    #[inline(always)]
    fn store(&self, index: usize, value: u32) {
        // SAFETY: Every caller's index is below `WORDS`, and it holds the lock. `WRITE_ONCE()`.
        unsafe { self.word(index).write_volatile(value) }
    }

    #[inline(always)]
    fn value(&self, way: usize) -> *mut *const c_void {
        debug_assert!(way < Self::WAYS);
        self.word(VALUES + 2 * way).cast()
    }

    #[inline(always)]
    fn slot(way: usize) -> usize {
        VALUES + 2 * Self::WAYS + way * (N + 1)
    }

    #[inline(always)]
    fn load_value(&self, way: usize) -> *const c_void {
        // SAFETY: The place is in the line, aligned for a pointer, and written whole.
        unsafe { self.value(way).read_volatile() }
    }

    /// Looks for an entry. Any context; no store, no lock.
    ///
    /// An entry that is being written is as good as not there.
    #[inline(always)]
    pub(super) fn scan(&self, tag: Tag, key: &[u32; N]) -> Scan {
        for _ in 0..RETRIES {
            let head = self.load(HEAD);
            if head & LOCKED == 0 {
                read_barrier();
                let Some((way, first)) = self.matching(tag, key) else {
                    let look_on = head & PASSED != 0;
                    return Scan::NotHere { look_on };
                };
                let found = Match {
                    way,
                    value: self.load_value(way),
                    note: self.load(NOTE),
                    used: first & !TAG != 0,
                };
                read_barrier();
                if (self.load(HEAD) ^ head) & SEQUENCE == 0 {
                    return Scan::Found(found);
                }
            }
            hint::spin_loop();
        }
        Scan::NotHere { look_on: false }
    }

    /// The slot with this key, and its first word. Tells the truth to an owner whose tag it is; to
    /// others, only as far as the sequence stays the same.
    #[inline(always)]
    pub(super) fn matching(&self, tag: Tag, key: &[u32; N]) -> Option<(usize, u32)> {
        let mut way = 0;
        while way < Self::WAYS {
            let slot = Self::slot(way);
            let first = self.load(slot);
            let mut differ = (first ^ tag.get()) & TAG;
            let mut i = 0;
            while i < N {
                differ |= self.load(slot + 1 + i) ^ key[i];
                i += 1;
            }
            if differ == 0 {
                return Some((way, first));
            }
            way += 1;
        }
        None
    }

    /// Notes that an entry was used, by a store if that is not noted yet. If the slot holds another
    /// entry by now, that one counts as used.
    #[inline(always)]
    pub(super) fn mark_used(&self, found: &Match) {
        if !found.used {
            self.set_used(found.way, true);
        }
    }

    /// Changes the flag. Needs no lock: the byte is nobody else's, and a lost change does no harm.
    pub(super) fn set_used(&self, way: usize, used: bool) {
        let byte = self.word(Self::slot(way)).cast::<u8>();
        // SAFETY: The byte is in the line.
        unsafe { byte.wrapping_add(USED_BYTE).write_volatile(u8::from(used)) }
    }

    /// What is in a slot, read without regard to writers: the caller keeps them away.
    pub(super) fn content(&self, way: usize) -> Content<N> {
        let slot = Self::slot(way);
        let first = self.load(slot);
        Content {
            tag: first & TAG,
            used: first & !TAG != 0,
            key: core::array::from_fn(|i| self.load(slot + 1 + i)),
            value: self.load_value(way),
            note: self.load(NOTE),
        }
    }

    /// Whether an entry whose line this is may be in one of the next.
    pub(super) fn was_passed(&self) -> bool {
        self.load(HEAD) & PASSED != 0
    }

    /// How many entries had to pass.
    #[inline]
    pub(super) fn passed(&self) -> u32 {
        self.load(HEAD) / ONE_PASSED
    }

    /// A free slot; another may take it, unless the line is locked.
    #[inline]
    pub(super) fn free_way(&self) -> Option<usize> {
        (0..Self::WAYS).find(|&way| self.tag(way) == 0)
    }

    /// The tag in a slot, zero if that is free, [`DOOMED`] if it waits to be emptied.
    #[inline]
    pub(super) fn tag(&self, way: usize) -> u32 {
        self.load(Self::slot(way)) & TAG
    }

    /// Takes the lock of the line: other writers wait, readers look again. Process or softirq
    /// context, interrupts on; bottom halves are off until it is released, and nobody else but hard
    /// interrupts runs on this CPU.
    pub(super) fn lock(&self) -> Locked<'_, N> {
        // SAFETY: It is enabled again when the guard is dropped, on the same CPU. Where interrupts
        // are off, or in a hard interrupt, that complains (`__local_bh_enable_ip()`).
        unsafe { bindings::local_bh_disable() };
        loop {
            let head = self.load(HEAD);
            if head & LOCKED == 0 && self.head().cmpxchg(head, head | LOCKED, Acquire).is_ok() {
                // What is written now is not to be seen before the lock.
                write_barrier();
                return Locked { line: self, head };
            }
            hint::spin_loop();
        }
    }

    /// One more entry had to pass. A count that has reached its end stays there.
    pub(super) fn one_more_passed(&self) {
        self.count_passed(|head| (head & PASSED != PASSED).then(|| head + ONE_PASSED));
    }

    /// One of the entries that had to pass is gone.
    pub(super) fn one_less_passed(&self) {
        self.count_passed(|head| {
            (head & PASSED != PASSED && head & PASSED != 0).then(|| head - ONE_PASSED)
        });
    }

    /// Changes the count without taking the lock. No slot changes, so readers need not look again.
    /// A reader that is too late to see the count misses, at most, an entry that has just come.
    fn count_passed(&self, change: impl Fn(u32) -> Option<u32>) {
        loop {
            let head = self.load(HEAD);
            // Who has the lock stores the count that it has seen.
            if head & LOCKED == 0 {
                let Some(changed) = change(head) else {
                    return;
                };
                if self.head().cmpxchg(head, changed, Relaxed).is_ok() {
                    return;
                }
            }
            hint::spin_loop();
        }
    }

    fn head(&self) -> &Atomic<u32> {
        // SAFETY: The word is in the line and aligned; all accesses to it are whole.
        unsafe { Atomic::from_ptr(self.word(HEAD)) }
    }
}

// On x86, loads are not reordered with loads, nor stores with stores: the barriers are for the
// compiler alone, and a call of a helper would cost more than all the loads of a look-up.

/// `smp_rmb()`.
#[inline(always)]
fn read_barrier() {
    if cfg!(target_arch = "x86_64") {
        compiler_barrier();
    } else {
        barrier::smp_mb(barrier::Read);
    }
}

/// `smp_wmb()`.
#[inline(always)]
fn write_barrier() {
    if cfg!(target_arch = "x86_64") {
        compiler_barrier();
    } else {
        barrier::smp_mb(barrier::Write);
    }
}

/// `barrier()`.
#[inline(always)]
fn compiler_barrier() {
    // SAFETY: Nothing is executed: the compiler keeps accesses to memory on their side of it.
    unsafe { core::arch::asm!("", options(nostack, preserves_flags)) };
}

/// A line that only the owner of this writes to.
pub(super) struct Locked<'a, const N: usize> {
    line: &'a Line<N>,
    /// What the first word will be when the lock is released.
    head: u32,
}

impl<const N: usize> Locked<'_, N> {
    /// Readers that have begun must look again.
    fn changed(&mut self) {
        self.head = (self.head & PASSED) | (self.head.wrapping_add(2) & SEQUENCE);
    }

    /// A free slot.
    #[inline]
    pub(super) fn free_way(&self) -> Option<usize> {
        self.line.free_way()
    }

    /// Fills a slot.
    pub(super) fn fill(
        &mut self,
        way: usize,
        tag: Tag,
        key: &[u32; N],
        value: *const c_void,
        note: u32,
    ) {
        self.changed();
        let slot = Line::<N>::slot(way);
        self.line.store(slot, tag.get());
        for (i, word) in key.iter().enumerate() {
            self.line.store(slot + 1 + i, *word);
        }
        self.set_value(way, value, note);
    }

    /// Makes a slot unfindable, which keeps its value until it is emptied.
    pub(super) fn doom(&mut self, way: usize) {
        self.changed();
        self.line.store(Line::<N>::slot(way), DOOMED);
    }

    /// Empties a slot, and gives what its value was.
    pub(super) fn empty(&mut self, way: usize) -> *const c_void {
        self.changed();
        let old = self.line.load_value(way);
        self.set_value(way, ptr::null(), 0);
        self.line.store(Line::<N>::slot(way), 0);
        old
    }

    fn set_value(&mut self, way: usize, value: *const c_void, note: u32) {
        // SAFETY: The place is in the line and aligned for a pointer; readers read it whole.
        unsafe { self.line.value(way).write_volatile(value) };
        if Line::<N>::WAYS == 1 {
            self.line.store(NOTE, note);
        }
    }
}

impl<const N: usize> Drop for Locked<'_, N> {
    fn drop(&mut self) {
        self.line.head().store(self.head, Release);
        // SAFETY: It was disabled by `lock`.
        unsafe { bindings::local_bh_enable() };
    }
}
