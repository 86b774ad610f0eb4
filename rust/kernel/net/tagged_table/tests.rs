// SPDX-License-Identifier: GPL-2.0

//! What owners and look-ups may rely on.

#[macros::kunit_tests(rust_tagged_table)]
mod table {
    use super::super::*;
    use crate::sync::atomic::Relaxed;

    const KEY: [u32; 4] = [1, 2, 3, 4];

    /// A value that counts how often it was dropped.
    struct Counted(&'static Atomic<u32>);

    impl Drop for Counted {
        fn drop(&mut self) {
            self.0.add(1, Relaxed);
        }
    }

    // SAFETY: The counter is valid for ever.
    unsafe impl RcuValue for Counted {
        type Target = Atomic<u32>;

        fn into_raw(self) -> NonNull<Self::Target> {
            let raw = NonNull::from(self.0);
            core::mem::forget(self);
            raw
        }

        unsafe fn from_raw(raw: NonNull<Self::Target>) -> Self {
            // SAFETY: By the caller's promise it was made of such a reference.
            Self(unsafe { raw.as_ref() })
        }
    }

    type Numbers<const N: usize> = Table<&'static u32, N>;

    /// What a look-up under the tag of an owner gives.
    fn look<const N: usize>(owner: &Owner<&'static u32, N>, key: &[u32; N]) -> Option<u32> {
        let table = owner.table();
        let query = table.query(owner.tag()?, key);
        table
            .find(&query, &rcu::read_lock())
            .map(|found| *found.value)
    }

    /// Puts in an entry with the tag that the owner has.
    fn put<const N: usize>(
        owner: &mut Owner<&'static u32, N>,
        key: &[u32; N],
        value: &'static u32,
    ) -> Result<bool, Refused> {
        let tag = owner.tag().ok_or(Refused::Flushed)?;
        owner.insert(tag, key, value, 0)
    }

    fn wait_for_readers() {
        // SAFETY: The tests run in process context, outside of RCU sections.
        unsafe { bindings::synchronize_rcu() };
    }

    #[test]
    fn an_entry_is_found_under_its_own_tag_only() -> Result {
        let table = Numbers::<4>::new(64, 64)?;
        let (mut one, mut two) = (Owner::new(table.clone())?, Owner::new(table)?);
        assert_eq!(put(&mut one, &KEY, &1), Ok(true));
        assert_eq!(look(&one, &KEY), Some(1));
        assert_eq!(look(&two, &KEY), None);
        assert_eq!(put(&mut two, &KEY, &2), Ok(true));
        assert_eq!(look(&one, &KEY), Some(1));
        assert_eq!(look(&two, &KEY), Some(2));
        drop(one);
        assert_eq!(look(&two, &KEY), Some(2));
        Ok(())
    }

    #[test]
    fn a_key_has_one_value() -> Result {
        let mut owner = Owner::new(Numbers::<4>::new(64, 64)?)?;
        let tag = owner.tag().ok_or(EINVAL)?;
        assert!(owner.needs_place(tag, &KEY));
        assert_eq!(put(&mut owner, &KEY, &1), Ok(true));
        assert!(!owner.needs_place(tag, &KEY));
        assert_eq!(put(&mut owner, &KEY, &2), Ok(false));
        assert_eq!(look(&owner, &KEY), Some(2));
        assert_eq!(owner.len(), 1);
        assert!(owner.remove(&KEY));
        assert!(!owner.remove(&KEY));
        assert_eq!(look(&owner, &KEY), None);
        assert!(owner.is_empty());
        Ok(())
    }

    #[test]
    fn a_note_is_found_with_the_value_where_a_line_has_one_slot() -> Result {
        let mut owner = Owner::new(Numbers::<11>::new(64, 64)?)?;
        let tag = owner.tag().ok_or(EINVAL)?;
        assert_eq!(owner.insert(tag, &[7; 11], &1, 99), Ok(true));
        let query = owner.table().query(tag, &[7; 11]);
        let guard = rcu::read_lock();
        let found = owner.table().find(&query, &guard);
        assert_eq!(found.map(|found| found.note), Some(99));
        Ok(())
    }

    #[test]
    fn a_value_is_dropped_once_and_only_after_a_grace_period() -> Result {
        static DROPPED: Atomic<u32> = Atomic::new(0);
        let before = DROPPED.load(Relaxed);
        let dropped = || DROPPED.load(Relaxed) - before;
        let mut owner = Owner::new(Table::<Counted, 4>::new(64, 64)?)?;
        let tag = owner.tag().ok_or(EINVAL)?;
        for word in 0..3 {
            assert!(owner.insert(tag, &[word; 4], Counted(&DROPPED), 0).is_ok());
        }
        assert!(owner.remove(&[0; 4]));
        assert_eq!((owner.waiting(), owner.table().taken()), (1, 3));
        {
            let _guard = rcu::read_lock();
            assert!(!owner.settle(usize::MAX, 1));
            assert!(!owner.settle(usize::MAX, 1));
            assert_eq!(dropped(), 0);
        }
        wait_for_readers();
        assert!(owner.settle(usize::MAX, 1));
        assert_eq!((dropped(), owner.table().taken()), (1, 2));
        owner.seal();
        drop(owner);
        assert_eq!(dropped(), 3);
        Ok(())
    }

    #[test]
    fn a_full_table_refuses_and_keeps_what_it_has() -> Result {
        let mut owner = Owner::new(Numbers::<4>::new(64, 3)?)?;
        assert_eq!(owner.table().limit(), 3);
        for word in 0..3 {
            assert_eq!(put(&mut owner, &[word; 4], &1), Ok(true));
        }
        assert_eq!(put(&mut owner, &KEY, &1), Err(Refused::Limit));
        assert_eq!(owner.place(), Place::Full);
        assert_eq!(owner.table().entries(), 3);
        assert_eq!(look(&owner, &[0; 4]), Some(1));
        Ok(())
    }

    #[test]
    fn the_oldest_entry_that_was_not_used_is_evicted() -> Result {
        let mut owner = Owner::new(Numbers::<4>::new(64, 64)?)?;
        for word in 0..3 {
            assert_eq!(put(&mut owner, &[word; 4], &1), Ok(true));
        }
        let changes = owner.changes();
        assert_eq!(look(&owner, &[0; 4]), Some(1));
        assert_eq!(owner.evict(), Some([1; 4]));
        assert!(owner.changes() != changes);
        assert_eq!(look(&owner, &[1; 4]), None);
        assert_eq!(owner.evict(), Some([2; 4]));
        assert_eq!(owner.evict(), Some([0; 4]));
        assert_eq!(owner.evict(), None);
        Ok(())
    }

    #[test]
    fn what_was_used_does_not_expire() -> Result {
        let mut owner = Owner::new(Numbers::<4>::new(64, 64)?)?;
        assert_eq!(owner.expire(0, 8), (0, None));
        assert_eq!(put(&mut owner, &[1; 4], &1), Ok(true));
        assert_eq!(put(&mut owner, &[2; 4], &2), Ok(true));
        let (gone, due) = owner.expire(u32::MAX, 8);
        assert_eq!(gone, 0);
        assert!(due.is_some());
        assert_eq!(look(&owner, &[1; 4]), Some(1));
        assert_eq!(owner.expire(0, 2), (1, Some(0)));
        assert_eq!(look(&owner, &[2; 4]), None);
        assert_eq!(owner.len(), 1);
        Ok(())
    }

    #[test]
    fn a_walk_goes_on_where_it_was_and_shows_nothing_twice() -> Result {
        let mut owner = Owner::new(Numbers::<4>::new(64, 64)?)?;
        for word in 0..6 {
            assert_eq!(put(&mut owner, &[word; 4], &1), Ok(true));
        }
        let mut cursor = Cursor::default();
        let (mut seen, mut count) = ([u32::MAX; 6], 0);
        let mut first = true;
        while owner.walk(&mut cursor, 2, |entry| {
            seen[count] = entry.key[0];
            count += 1;
            if entry.key[0] == 1 {
                Action::Remove
            } else {
                Action::Keep
            }
        }) == Walk::More
        {
            if core::mem::take(&mut first) {
                // The entry that the cursor is at.
                assert!(owner.remove(&[0; 4]));
            }
        }
        assert_eq!((seen, count), ([0, 1, 2, 3, 4, 5], 6));
        assert_eq!(owner.len(), 4);
        let mut cursor = Cursor::default();
        for _ in 0..32 {
            let stopped = owner.walk(&mut cursor, 8, |_| Action::Stop);
            assert_eq!(stopped, Walk::More);
        }
        let all_go = owner.walk(&mut cursor, 8, |_| Action::Remove);
        assert_eq!((all_go, owner.len()), (Walk::End, 0));
        Ok(())
    }

    #[test]
    fn a_walk_that_new_entries_outrun_says_so() -> Result {
        const ENTRIES: u32 = 16;
        let mut owner = Owner::new(Numbers::<4>::new(256, 256)?)?;
        for word in 0..ENTRIES {
            assert_eq!(put(&mut owner, &[word; 4], &1), Ok(true));
        }
        let (mut cursor, mut shown) = (Cursor::default(), 0);
        let mut next = ENTRIES;
        loop {
            let walk = owner.walk(&mut cursor, 2, |_| {
                shown += 1;
                Action::Keep
            });
            if walk != Walk::More {
                assert_eq!(walk, Walk::Outrun);
                break;
            }
            assert!(shown <= 2 * ENTRIES);
            for _ in 0..3 {
                assert!(owner.evict().is_some());
                assert_eq!(put(&mut owner, &[next; 4], &1), Ok(true));
                next += 1;
            }
        }
        // Not before it has had the time to see all that were there.
        assert!(shown > 2 * ENTRIES);
        Ok(())
    }

    #[test]
    fn a_flush_hides_all_entries_at_once() -> Result {
        let mut owner = Owner::new(Numbers::<4>::new(64, 64)?)?;
        let old = owner.tag().ok_or(EINVAL)?;
        for word in 0..3 {
            assert_eq!(put(&mut owner, &[word; 4], &1), Ok(true));
        }
        owner.flush();
        assert!(owner.tag().is_some_and(|tag| tag != old));
        assert_eq!((owner.len(), owner.held()), (0, 3));
        assert_eq!(look(&owner, &[0; 4]), None);
        assert_eq!(owner.insert(old, &KEY, &1, 0), Err(Refused::Flushed));
        assert_eq!(put(&mut owner, &KEY, &2), Ok(true));
        assert!(owner.reap_one());
        assert!(!owner.reap(usize::MAX));
        assert_eq!(owner.held(), 1);
        wait_for_readers();
        assert!(owner.reap(usize::MAX));
        assert_eq!(owner.table().taken(), 1);
        assert_eq!(look(&owner, &KEY), Some(2));
        Ok(())
    }

    #[test]
    fn an_owner_has_what_it_was_promised_however_full_others_make_the_table() -> Result {
        assert!(Numbers::<4>::fair(64, 96, 0).is_err());
        assert!(Numbers::<4>::fair(64, 128, 4).is_err());
        let table = Numbers::<4>::fair(64, 96, 4)?;
        let mut greedy = Owner::new(table.clone())?;
        let mut modest = Owner::new(table)?;
        let mut word = 0;
        while greedy.place() == Place::Free {
            word += 1;
            let _ = put(&mut greedy, &[word; 4], &1);
            assert!(word < 1000);
        }
        assert!(greedy.len() > greedy.promised());
        assert_eq!(modest.place(), Place::Free);
        let promised = modest.promised();
        assert!(promised > 0);
        for word in 0..promised {
            assert_eq!(put(&mut modest, &[word; 4], &2), Ok(true));
        }
        assert_eq!(look(&modest, &[0; 4]), Some(2));
        assert!(!modest.has_too_much());
        Ok(())
    }

    #[test]
    fn owners_without_entries_leave_what_is_promised_to_others() -> Result {
        let table = Numbers::<4>::fair(1024, 1280, 64)?;
        let mut idle = KVec::new();
        for _ in 0..200 {
            idle.push(Owner::new(table.clone())?, GFP_KERNEL)?;
        }
        let mut first = Owner::new(table.clone())?;
        assert_eq!(first.place(), Place::Free);
        let promised = first.promised();
        assert!(promised > 1);
        first.rest();
        assert_eq!(first.promised(), 0);
        let mut second = Owner::new(table)?;
        assert_eq!(put(&mut second, &KEY, &1), Ok(true));
        assert_eq!(second.promised(), promised);
        second.rest();
        assert_eq!(look(&second, &KEY), Some(1));
        assert_eq!(second.promised(), promised);
        Ok(())
    }

    #[test]
    fn an_idle_owner_learns_how_much_others_may_want() -> Result {
        let table = Numbers::<4>::fair(1024, 1280, 64)?;
        let mut idle = Owner::new(table.clone())?;
        let mut late = Owner::new(table)?;
        assert!(!idle.has_places_of_all());
        for owner in [&mut idle, &mut late] {
            let mut word = 0;
            while owner.place() == Place::Free {
                word += 1;
                let _ = put(owner, &[word; 4], &1);
                assert!(word < 4000);
            }
        }
        assert!(idle.has_places_of_all());
        let (before, excess) = (idle.len(), idle.excess());
        assert!(excess > 0 && excess < before);
        for _ in 0..excess {
            let _ = idle.evict();
        }
        assert_eq!(idle.excess(), 0);
        Ok(())
    }

    #[test]
    fn every_entry_of_a_crowded_table_can_be_reached() -> Result {
        let mut owner = Owner::new(Numbers::<4>::new(64, 120)?)?;
        for word in 0..320 {
            if owner.place() != Place::Free {
                let _ = owner.evict();
                owner.settle(usize::MAX, 1);
                wait_for_readers();
                owner.settle(usize::MAX, 1);
            }
            let _ = put(&mut owner, &[word; 4], &1);
        }
        let audit = owner.table().audit();
        assert_eq!(audit.entries, owner.len());
        assert!(audit.displaced > 0 && audit.farthest > 0);
        assert_eq!((audit.unreachable, audit.miscounted), (0, 0));
        let query = owner.table().query(owner.tag().ok_or(EINVAL)?, &KEY);
        assert!(owner.table().line_of(&query) < owner.table().lines());
        Ok(())
    }

    #[test]
    fn a_sample_is_the_same_at_any_time_and_a_part_of_a_larger_one() -> Result {
        let table = Numbers::<4>::new(64, 64)?;
        let mut sampled = 0;
        for word in 0..4096 {
            let ends = [word, 0x0a00_0001];
            assert!(table.in_sample(0, &ends));
            let inside = table.in_sample(3, &ends);
            assert_eq!(table.in_sample(3, &ends), inside);
            assert!(!inside || table.in_sample(2, &ends));
            sampled += u32::from(inside);
        }
        assert!((256..1024).contains(&sampled));
        Ok(())
    }

    #[test]
    fn what_is_published_is_read_whole() {
        let published = Published::new();
        assert!(published.get().is_none());
        assert!(!published.is_off());
        let tag = Tag::from_number(MAX_TAG);
        published.set(tag, true);
        assert_eq!(published.get(), tag.map(|tag| (tag, true)));
        published.set_off();
        assert!(published.get().is_none() && published.is_off());
        assert!(Tag::from_number(0).is_none());
        assert!(Tag::from_number(MAX_TAG + 1).is_none());
    }
}
