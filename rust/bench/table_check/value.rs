// SPDX-License-Identifier: GPL-2.0

//! Values that know where they belong, and whether they were given up.

use core::ptr::NonNull;
use kernel::{
    alloc::KVVec,
    net::tagged_table::RcuValue,
    prelude::*,
    sync::atomic::{
        Acquire,
        Atomic,
        Full,
        Relaxed,
        Release, //
    },
};

use super::Wrong;

/// How many values are looked at for one that can be lent.
const TRIES: usize = 64;

const FREE: u32 = 0;
const LENT: u32 = 1;
const GIVEN_UP: u32 = 2;

/// What the entries of the checks lead to. Its memory stays, so a reader that finds it can always
/// tell whether it should have.
pub(super) struct Value {
    state: Atomic<u32>,
    owner: Atomic<u32>,
    key: Atomic<u32>,
    /// How often it was given up while it was not lent.
    twice: Atomic<u32>,
}

impl Value {
    fn new() -> Self {
        Self {
            state: Atomic::new(FREE),
            owner: Atomic::new(0),
            key: Atomic::new(0),
            twice: Atomic::new(0),
        }
    }

    /// What tells values apart.
    pub(super) fn address(&self) -> usize {
        core::ptr::from_ref(self).addr()
    }

    /// Whether it was inserted for this key and is still there. The caller has found it under RCU.
    pub(super) fn check(&self, owner: u32, key: u32) -> Result<(), Wrong> {
        if self.owner.load(Relaxed) != owner {
            return Err(Wrong("an entry of another owner was found"));
        }
        if self.key.load(Relaxed) != key {
            return Err(Wrong("an entry with another key was found"));
        }
        match self.state.load(Acquire) {
            LENT => Ok(()),
            _ => Err(Wrong("a value was given up while it could be read")),
        }
    }

    /// Whether nobody has it.
    fn can_be_lent(&self) -> bool {
        self.state.load(Acquire) != LENT
    }

    fn give_up(&self) {
        if self.state.xchg(GIVEN_UP, Full) != LENT {
            self.twice.add(1, Relaxed);
        }
    }
}

/// A value while it is lent; dropping it gives it up.
pub(super) struct Loan(NonNull<Value>);

// SAFETY: All that a value has is atomic.
unsafe impl Send for Loan {}

// SAFETY: As above.
unsafe impl Sync for Loan {}

impl Loan {
    /// What tells values apart.
    pub(super) fn address(&self) -> usize {
        self.0.addr().get()
    }
}

impl Drop for Loan {
    fn drop(&mut self) {
        // SAFETY: `Pool::lend` made its caller promise that the value is there.
        unsafe { self.0.as_ref() }.give_up();
    }
}

// SAFETY: By the promise that was made to `Pool::lend`, the value outlives the tables and their
// readers.
unsafe impl RcuValue for Loan {
    type Target = Value;

    fn into_raw(self) -> NonNull<Value> {
        let raw = self.0;
        core::mem::forget(self);
        raw
    }

    unsafe fn from_raw(raw: NonNull<Value>) -> Self {
        Self(raw)
    }
}

/// Values to be lent, in turn.
pub(super) struct Pool {
    values: KVVec<Value>,
    next: usize,
}

impl Pool {
    pub(super) fn new(count: usize) -> Result<Self> {
        let mut values = KVVec::with_capacity(count, GFP_KERNEL)?;
        for _ in 0..count {
            values.push(Value::new(), GFP_KERNEL)?;
        }
        Ok(Self { values, next: 0 })
    }

    /// Lends a value for an entry. None while those that are next are lent.
    ///
    /// # Safety
    ///
    /// The pool must outlive the loan, the tables that it is put in, and a grace period more.
    pub(super) unsafe fn lend(&mut self, owner: u32, key: u32) -> Option<Loan> {
        let count = self.values.len();
        let found = (0..TRIES.min(count))
            .map(|ahead| (self.next + ahead) % count)
            .find(|&at| self.values[at].can_be_lent())?;
        self.next = (found + 1) % count;
        let value = &self.values[found];
        value.owner.store(owner, Relaxed);
        value.key.store(key, Relaxed);
        value.state.store(LENT, Release);
        Some(Loan(NonNull::from(value)))
    }

    /// That everything was given up, and once. To be asked when the tables are gone.
    pub(super) fn settled(&self) -> Result<(), Wrong> {
        if self
            .values
            .iter()
            .any(|value| value.state.load(Acquire) == LENT)
        {
            return Err(Wrong("a value was not given up"));
        }
        if self
            .values
            .iter()
            .any(|value| value.twice.load(Relaxed) != 0)
        {
            return Err(Wrong("a value was given up twice"));
        }
        Ok(())
    }
}
