// SPDX-License-Identifier: GPL-2.0

//! Keys that someone chooses so that they meet in the table, without knowing its seed.
//!
//! They must spread as keys do that nobody has chosen.

use kernel::{
    net::tagged_table::{
        Owner,
        Table, //
    },
    prelude::*,
    sync::Arc, //
};

use super::{
    Random,
    Stopped,
    Tally,
    Wrong, //
};

/// Lines of a table, and how many keys come into it.
const LINES: u32 = 1024;
const KEYS: u32 = 512;

/// Tables, each with a seed of its own, that every attack is tried on.
const TABLES: u32 = 8;

/// More than this, for an attack on all of these tables, is not chance: twice what random keys come
/// to, and some.
const CHANCE: u64 = 2;
const SOME: u64 = 32;

/// What entries lead to.
static VALUE: u64 = 0;

type AnyTable<const N: usize> = Arc<Table<&'static u64, N>>;

fn table<const N: usize>() -> Result<AnyTable<N>> {
    Table::new(LINES, LINES)
}

/// How keys are chosen: the words of the key with a number.
type Choice<const N: usize> = fn(u32) -> [u32; N];

/// A key with `first` and `second` in the places where addresses begin, and nothing else.
fn two<const N: usize>(first: u32, second: u32) -> [u32; N] {
    let place = if N > 4 { 4 } else { 1 };
    core::array::from_fn(|word| match word {
        0 => first,
        word if word == place => second,
        _ => 0,
    })
}

/// Choices that need no table.
fn choices<const N: usize>() -> [Choice<N>; 7] {
    [
        |i| two(0x0a00_0000 + i, 0x0a09_0009),
        |i| two(i << 16, 0),
        |i| two(i, i.wrapping_neg()),
        |i| two(i, i),
        |i| two(1 << (i % 32), 1 << (i / 32 % 32)),
        |i| two(i.wrapping_mul(0x9e37_79b1), i << 8),
        |i| core::array::from_fn(|word| if word + 1 == N { i } else { 0 }),
    ]
}

/// Puts keys into a table.
fn fill<const N: usize>(
    table: AnyTable<N>,
    keys: impl Iterator<Item = [u32; N]>,
) -> Result<Tally, Stopped> {
    let mut owner = Owner::new(table.clone())?;
    let tag = owner.tag().ok_or(EIO)?;
    let mut tally = Tally::default();
    for key in keys {
        match owner.insert(tag, &key, &VALUE, 0) {
            Ok(true) => tally.inserts += 1,
            // The same key again: not one entry more.
            Ok(false) => {}
            Err(_) => tally.no_room += 1,
        }
    }
    tally.displaced = table.audit().displaced.into();
    Ok(tally)
}

/// What random keys come to.
fn chance<const N: usize>() -> Result<Tally, Stopped> {
    let mut all = Tally::default();
    for seed in 0..TABLES {
        let mut random = Random::new(seed + 1);
        let keys = (0..KEYS).map(|_| core::array::from_fn(|_| random.below(u32::MAX)));
        all.add(&fill::<N>(table()?, keys)?);
    }
    Ok(all)
}

fn compare(attack: &Tally, chance: &Tally) -> Result<(), Wrong> {
    let limit = |count: u64| count * CHANCE + SOME;
    if attack.no_room > limit(chance.no_room) {
        return Err(Wrong("keys that were chosen find no room"));
    }
    if attack.displaced > limit(chance.displaced) {
        return Err(Wrong("keys that were chosen lengthen chains"));
    }
    Ok(())
}

/// Attacks with keys of `N` words.
pub(super) fn run<const N: usize>() -> Result<Tally, Stopped> {
    let chance = chance::<N>()?;
    let mut all = Tally::default();
    for (number, choice) in (1..).zip(choices::<N>()) {
        let mut attack = Tally::default();
        for _ in 0..TABLES {
            attack.add(&fill(table()?, (0..KEYS).map(choice))?);
        }
        compare(&attack, &chance).map_err(|wrong| Stopped::Wrong(number, wrong))?;
        all.add(&attack);
    }
    let mut attack = Tally::default();
    for _ in 0..TABLES {
        attack.add(&fill(table()?, meeting::<N>()?.into_iter())?);
    }
    compare(&attack, &chance)?;
    all.add(&attack);
    Ok(all)
}

/// Keys that all belong into one line of a table that the attacker has.
fn meeting<const N: usize>() -> Result<KVec<[u32; N]>> {
    let table = table::<N>()?;
    let owner = Owner::new(table.clone())?;
    let tag = owner.tag().ok_or(EIO)?;
    let mut keys = KVec::new();
    let candidates = (0..KEYS * LINES * 4).map(|i| two(0x0a00_0000 + i, 0x0a09_0009));
    for key in candidates {
        if table.line_of(&table.query(tag, &key)) == 0 {
            keys.push(key, GFP_KERNEL)?;
        }
        // As many as decide it.
        if keys.len() == KEYS as usize / 4 {
            break;
        }
    }
    Ok(keys)
}
