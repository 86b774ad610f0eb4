// SPDX-License-Identifier: GPL-2.0

//! Lines in the format of the kernel's printk on a console.

/// The parts of a line of the console.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamped<'a> {
    /// Microseconds since the boot.
    pub time: Option<u64>,
    /// The task (`T123`) or processor (`C1`), if the kernel has CONFIG_PRINTK_CALLER. The lab's own
    /// kernels have it; a user's own kernel may lack it.
    pub caller: Option<&'a str>,
    /// The message.
    pub message: &'a str,
}

/// Removes `<4>`, `[   12.345678] ` and `[   T123] `.
pub fn stamped(line: &str) -> Stamped<'_> {
    let mut message = without_level(line);
    let (mut time, mut caller) = (None, None);
    while let Some((stamp, rest)) = message.strip_prefix('[').and_then(|rest| rest.split_once(']'))
    {
        let stamp = stamp.trim_start();
        if is_caller(stamp) {
            caller = Some(stamp);
        } else if is_time(stamp) {
            time = microseconds(stamp);
        } else {
            break;
        }
        message = rest.strip_prefix(' ').unwrap_or(rest);
    }
    Stamped { time, caller, message }
}

/// A line without its stamps.
pub fn message(line: &str) -> &str {
    stamped(line).message
}

fn without_level(line: &str) -> &str {
    let level = line.strip_prefix('<').and_then(|rest| rest.split_once('>'));
    match level {
        Some((level, rest)) if is_number(level) => rest,
        _ => line,
    }
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

fn is_time(stamp: &str) -> bool {
    stamp.split_once('.').is_some_and(|(whole, part)| is_number(whole) && is_number(part))
}

fn microseconds(stamp: &str) -> Option<u64> {
    let (seconds, part) = stamp.split_once('.')?;
    let part: u64 = format!("{part:0<6.6}").parse().ok()?;
    seconds.parse::<u64>().ok()?.checked_mul(1_000_000)?.checked_add(part)
}

fn is_caller(stamp: &str) -> bool {
    stamp.strip_prefix(['T', 'C']).is_some_and(is_number)
}

/// The records in a line of the console. If a program writes to the same device without a newline
/// at the end, the kernel's next message follows in the same line.
pub fn glued(line: &str) -> impl Iterator<Item = &str> {
    let starts = line.match_indices('[').map(|(at, _)| at).filter(|&at| begins(&line[at..]));
    let mut cuts: Vec<usize> = std::iter::once(0).chain(starts).collect();
    cuts.push(line.len());
    cuts.dedup();
    let pieces: Vec<&str> = cuts.windows(2).map(|pair| &line[pair[0]..pair[1]]).collect();
    pieces.into_iter()
}

/// Whether a record begins here: with a time in a field of at least twelve characters.
fn begins(text: &str) -> bool {
    let stamp = text.strip_prefix('[').and_then(|rest| rest.split_once("] "));
    stamp.is_some_and(|(stamp, _)| stamp.len() >= 12 && is_time(stamp.trim_start()))
        || text
            .strip_prefix('[')
            .and_then(|rest| rest.split_once("]["))
            .is_some_and(|(stamp, _)| stamp.len() >= 12 && is_time(stamp.trim_start()))
}

/// A line without the colours of a terminal and without control characters.
pub fn plain(line: &str) -> String {
    let mut text = String::with_capacity(line.len());
    let mut rest = line;
    while let Some(at) = rest.find("\u{1b}[") {
        text.push_str(&rest[..at]);
        let after = &rest[at + 2..];
        let end = after.find(|c: char| !matches!(c, '0'..='9' | ';' | '?'));
        rest = end.map_or("", |end| {
            &after[end + after[end..].chars().next().map_or(0, char::len_utf8)..]
        });
    }
    text.push_str(rest);
    text.retain(|c| c == '\t' || !c.is_control() && c != '\u{feff}');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamps_of_every_configuration_come_off() {
        let cases = [
            ("[    1.234567] a", Some(1_234_567), None, "a"),
            ("[   12.345678][   T51] a", Some(12_345_678), Some("T51"), "a"),
            ("<4>[   12.345678][    C1] a", Some(12_345_678), Some("C1"), "a"),
            ("<4>a", None, None, "a"),
            ("[ BUG: Invalid wait context ]", None, None, "[ BUG: Invalid wait context ]"),
            ("[    1.0]  indented", Some(1_000_000), None, " indented"),
            ("[<0>] f+0x1/0x2", None, None, "[<0>] f+0x1/0x2"),
            ("", None, None, ""),
        ];
        for (line, time, caller, message) in cases {
            assert_eq!(stamped(line), Stamped { time, caller, message }, "{line}");
        }
    }

    #[test]
    fn what_a_program_wrote_before_the_kernels_line_is_apart() {
        let of = |line| glued(line).collect::<Vec<_>>();
        assert_eq!(of("xyz[   12.345678] BUG: a"), ["xyz", "[   12.345678] BUG: a"]);
        assert_eq!(
            of("[    1.000000][   T1] a[    2.000000][   T1] b"),
            ["[    1.000000][   T1] a", "[    2.000000][   T1] b"]
        );
        assert_eq!(of("[    1.000000] a[12.3] b"), ["[    1.000000] a[12.3] b"]);
        assert_eq!(of(""), [""; 0]);
    }

    #[test]
    fn colours_and_control_characters_come_off() {
        assert_eq!(plain("\u{1b}[31mnot ok\u{1b}[0m 1 \0a\u{7}\tb\u{1b}["), "not ok 1 a\tb");
        assert_eq!(plain("\u{feff}ok \u{1b}[1\u{e9}x"), "ok x");
    }
}
