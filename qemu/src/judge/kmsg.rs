// SPDX-License-Identifier: GPL-2.0

//! Records in the format of /dev/kmsg: `priority,sequence,time,flags;text`, then lines of
//! `KEY=value` that begin with a blank.

/// A record of the kernel log.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KernelRecord {
    /// The sequence number. A complete log has no gaps.
    pub sequence: u64,
    /// Microseconds since the boot.
    pub time: u64,
    /// The task or processor that wrote it, if the kernel notes that.
    pub caller: Option<String>,
    /// Whether a program wrote it, and not the kernel.
    pub from_user_space: bool,
    /// The text, of one or more lines.
    pub text: String,
}

impl KernelRecord {
    /// The record's lines in the format of dmesg.
    pub fn lines(&self) -> impl Iterator<Item = String> {
        let (seconds, part) = (self.time / 1_000_000, self.time % 1_000_000);
        let caller = self.caller.as_ref().map(|it| format!("[{it:>6}]")).unwrap_or_default();
        self.text.split('\n').map(move |line| format!("[{seconds:>5}.{part:06}]{caller} {line}"))
    }
}

/// Assembles records from pieces of a stream.
#[derive(Debug, Default)]
pub struct Records {
    rest: Vec<u8>,
}

/// Longer than any record with its escapes.
const LONGEST: usize = 64 << 10;

impl Records {
    /// Whether the stream ends inside of a record.
    pub fn is_torn(&self) -> bool {
        !self.rest.is_empty()
    }

    /// The records that end in this piece. `Err` is a line that is not a record.
    pub fn feed(&mut self, bytes: &[u8]) -> Vec<Result<KernelRecord, String>> {
        let mut records = Vec::new();
        for piece in bytes.split_inclusive(|&byte| byte == b'\n') {
            self.rest.extend(piece);
            if piece.ends_with(b"\n") || self.rest.len() > LONGEST {
                let line = std::mem::take(&mut self.rest);
                let line = String::from_utf8_lossy(&line);
                let line = line.trim_end_matches('\n');
                // Lines `KEY=value` are not needed.
                if !line.starts_with(' ') {
                    let shown = || line.chars().take(80).collect();
                    records.push(parse(line).ok_or_else(shown));
                }
            }
        }
        records
    }
}

fn parse(line: &str) -> Option<KernelRecord> {
    let (prefix, text) = line.split_once(';')?;
    let mut fields = prefix.split(',');
    let priority = number(fields.next()?)?;
    let sequence = number(fields.next()?)?;
    let time = number(fields.next()?)?;
    let caller = fields.find_map(|field| field.strip_prefix("caller=")).map(str::to_owned);
    // The lower three bits are the level, the others the facility: the kernel is 0.
    Some(KernelRecord {
        sequence,
        time,
        caller,
        from_user_space: priority >> 3 != 0,
        text: unescape(text),
    })
}

/// A number as the kernel writes it: without the sign and the zeros in front that `parse` would
/// take.
fn number(text: &str) -> Option<u64> {
    text.parse().ok().filter(|number: &u64| number.to_string() == text)
}

/// Decodes escapes: the kernel writes the backslash and all bytes except printable ASCII as `\x0a`.
fn unescape(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let digits = rest.get(2..4).filter(|_| rest.starts_with(b"\\x"));
        let byte = digits
            .filter(|digits| digits.iter().all(u8::is_ascii_hexdigit))
            .and_then(|digits| str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match byte {
            Some(byte) => (bytes.push(byte), rest = &rest[4..]).1,
            None => (bytes.push(first), rest = after).1,
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_kernel_writes_is_a_record() {
        for line in ["+6,0,0,-;text\n", "06,0,0,-;text\n", "6,0, 0,-;text\n", "6,0,0,-\n"] {
            let read = Records::default().feed(line.as_bytes());
            assert_eq!(read, [Err(line.trim_end().to_owned())]);
        }
        let read = Records::default().feed(b"6,0,0,-;\\x+f \\x41\n");
        assert_eq!(read[0].as_ref().unwrap().text, r"\x+f A");
    }

    #[test]
    fn records_are_read_in_pieces_of_any_size() {
        let stream = b"6,0,0,-;Linux version 7.3.4\n\
                       4,1,1234567,-,caller=T51;two\\x0alines \\x5c \\xc3\\xa9\n SUBSYSTEM=net\n DEVICE=+a:b\n\
                       12,2,1234568,c;<4>BUG; mine\nnonsense\n";
        let want = [
            Ok(KernelRecord { text: "Linux version 7.3.4".into(), ..KernelRecord::default() }),
            Ok(KernelRecord {
                sequence: 1,
                time: 1_234_567,
                caller: Some("T51".into()),
                from_user_space: false,
                text: "two\nlines \\ \u{e9}".into(),
            }),
            Ok(KernelRecord {
                sequence: 2,
                time: 1_234_568,
                from_user_space: true,
                text: "<4>BUG; mine".into(),
                ..KernelRecord::default()
            }),
            Err("nonsense".to_owned()),
        ];
        for size in 1..stream.len() {
            let mut records = Records::default();
            let got: Vec<_> = stream.chunks(size).flat_map(|piece| records.feed(piece)).collect();
            assert_eq!(got, want, "pieces of {size}");
        }
        let shown: Vec<String> = want[1].as_ref().unwrap().lines().collect();
        assert_eq!(shown, ["[    1.234567][   T51] two", "[    1.234567][   T51] lines \\ \u{e9}"]);
    }

    #[test]
    fn escapes_that_are_none_stay() {
        for text in ["\\x", "\\xg1", "\\", "a\\x0", "\\xé"] {
            assert_eq!(unescape(text), text);
        }
    }
}
