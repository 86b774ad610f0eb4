// SPDX-License-Identifier: GPL-2.0

//! Whether a table is what its invariants say: for tests.

use super::{
    Query,
    RcuValue,
    Table,
    Tag, //
};

/// What is in a table.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Audit {
    /// Slots with an entry.
    pub entries: u32,
    /// Entries that are not in the line where they are looked for first.
    pub displaced: u32,
    /// By how many lines, at most.
    pub farthest: u32,
    /// Entries that a look-up would never come to.
    pub unreachable: u32,
    /// How many lines are passed by more or fewer entries than they have counted.
    pub miscounted: u32,
}

impl<V: RcuValue, const N: usize> Table<V, N> {
    /// Looks at every line. Only while no entry is put in or taken out is the answer of any worth.
    pub fn audit(&self) -> Audit {
        let mut audit = Audit::default();
        let far =
            |index| (0..Self::WAYS).filter_map(move |way| self.distance_from_home(index, way));
        audit.farthest = (0..self.lines()).flat_map(far).max().unwrap_or(0);
        for index in 0..self.lines() {
            self.audit_slots(index, &mut audit);
            let passing = (1..=audit.farthest)
                .map(|distance| self.passing(index, distance))
                .sum::<u32>();
            audit.miscounted += u32::from(self.line(index).passed() != passing);
        }
        audit
    }

    /// The line where a look-up begins.
    #[inline]
    pub fn line_of(&self, query: &Query<N>) -> u32 {
        self.home(query.hash)
    }

    /// How many entries of the line `distance` further on had to pass this one.
    fn passing(&self, index: u32, distance: u32) -> u32 {
        let line = index.wrapping_add(distance) & self.mask;
        let from = |way| self.distance_from_home(line, way);
        (0..Self::WAYS)
            .filter(|&way| from(way).is_some_and(|far| far >= distance))
            .count() as u32
    }

    fn audit_slots(&self, index: u32, audit: &mut Audit) {
        for far in (0..Self::WAYS).filter_map(|way| self.distance_from_home(index, way)) {
            audit.entries += 1;
            audit.displaced += u32::from(far != 0);
            let passed = (1..=far).all(|back| self.line(index.wrapping_sub(back)).was_passed());
            audit.unreachable += u32::from(!passed);
        }
    }

    /// How far an entry is from the line where it is looked for first. None if the slot has none.
    fn distance_from_home(&self, index: u32, way: u32) -> Option<u32> {
        let content = self.line(index).content(way as usize);
        let tag = Tag::from_number(content.tag)?;
        let home = self.home(self.secrets.hash(tag, &content.key));
        Some(self.distance(home, index))
    }
}
