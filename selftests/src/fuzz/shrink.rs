// SPDX-License-Identifier: GPL-2.0

//! Cuts a list down while something stays true of it (delta debugging).

use anyhow::Result;

/// Leaves out what is not needed for `still`: large parts first, then single items. What is left
/// cannot lose one more.
pub fn shrink<T: Clone>(
    items: &[T],
    mut still: impl FnMut(&[T]) -> Result<bool>,
) -> Result<Vec<T>> {
    let mut items = items.to_vec();
    let mut part = items.len().div_ceil(2);
    while part > 0 {
        let mut has_changed = false;
        let mut end = items.len();
        // From the end: what comes later depends on what was before.
        while end > 0 {
            let begin = end.saturating_sub(part);
            let without = [&items[..begin], &items[end..]].concat();
            if still(&without)? {
                items = without;
                has_changed = true;
            }
            end = begin;
        }
        part = match (part, has_changed) {
            (1, true) => 1,
            _ => part / 2,
        };
    }
    Ok(items)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_needed_is_left() {
        let all: Vec<u32> = (0..100).collect();
        let mut asked = 0;
        let left = shrink(&all, |some| {
            asked += 1;
            Ok([3, 50, 51, 99].iter().all(|needed| some.contains(needed)))
        });
        assert_eq!(left.unwrap(), [3, 50, 51, 99]);
        assert!(asked < 120, "asked {asked} times");
    }
}
