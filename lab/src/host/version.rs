// SPDX-License-Identifier: GPL-2.0

//! Version numbers in the output of programs.

/// The first dotted number in `text`, such as `19.1.7` in
/// `Debian clang version 19.1.7 (3~deb12u1)`.
pub fn find(text: &str) -> Option<String> {
    text.split(|c: char| c.is_whitespace() || "(),".contains(c)).find_map(|word| {
        let word = word.trim_start_matches('v');
        let number: String = word.chars().take_while(|c| c.is_ascii_digit() || *c == '.').collect();
        let number = number.trim_end_matches('.');
        let dotted = number.starts_with(|c: char| c.is_ascii_digit()) && number.contains('.');
        dotted.then(|| number.to_owned())
    })
}

/// Whether version `have` is at least `min`, compared number by number.
pub fn at_least(have: &str, min: &str) -> bool {
    let numbers =
        |v: &str| -> Vec<u64> { v.split('.').map(|part| part.parse().unwrap_or(0)).collect() };
    let (mut have, mut min) = (numbers(have), numbers(min));
    let length = have.len().max(min.len());
    have.resize(length, 0);
    min.resize(length, 0);
    have >= min
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_found_in_what_programs_print() {
        let cases = [
            ("rustc 1.95.0 (59807616e 2026-04-14)", Some("1.95.0")),
            ("Debian clang version 19.1.7 (3~deb12u1)", Some("19.1.7")),
            ("bindgen 0.72.1", Some("0.72.1")),
            ("QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7+deb12u18)", Some("7.2.22")),
            ("bison (GNU Bison) 3.8.2", Some("3.8.2")),
            ("Debian LLD 19.1.7 (compatible with GNU linkers)", Some("19.1.7")),
            ("gcc (Debian 12.2.0-14+deb12u1) 12.2.0", Some("12.2.0")),
            ("no number 7 here", None),
        ];
        for (text, want) in cases {
            assert_eq!(find(text).as_deref(), want, "{text}");
        }
    }

    #[test]
    fn versions_compare_by_number() {
        let cases = [
            ("1.95.0", "1.85.0", true),
            ("1.9.0", "1.85.0", false),
            ("9.0", "8.1", true),
            ("0.72", "0.71.1", true),
            ("17.0.1", "17.0.1", true),
            ("17.0.0", "17.0.1", false),
            ("7.2", "7.2.0", true),
        ];
        for (have, min, want) in cases {
            assert_eq!(at_least(have, min), want, "{have} {min}");
        }
    }
}
