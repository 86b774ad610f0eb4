// SPDX-License-Identifier: GPL-2.0

//! Trailers that reviewers gave in their answers, from a mailbox of the thread.

use std::io::BufReader;

use anyhow::{Context, Result};
use mail_parser::MessageParser;
use mail_parser::mailbox::mbox::MessageIterator;

/// What stands in front of a reviewer's name.
pub const WORDS: [&str; 3] = ["Reviewed-by", "Acked-by", "Tested-by"];

/// A trailer in an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Given {
    /// The subject of the patch that is answered, without brackets; of the cover letter: its title.
    pub subject: String,
    pub version: u32,
    /// Whether the cover letter is answered: the trailer is for all patches.
    pub all: bool,
    /// The whole line.
    pub trailer: String,
    /// The address of who sent it, if the trailer names another one.
    pub stranger: Option<String>,
}

/// Whether a line of a message is a trailer of a reviewer.
pub fn is_review(line: &str) -> bool {
    line.split_once(": ").is_some_and(|(word, _)| WORDS.contains(&word))
}

/// Whether a line is one of the last lines of a message, with a word in front.
pub fn is_trailer(line: &str) -> bool {
    let word = line.split_once(": ").map(|(word, _)| word);
    let others = ["Cc", "Closes", "Fixes", "Link"];
    word.is_some_and(|word| word.ends_with("-by") || others.contains(&word))
}

/// All trailers of a mailbox, in its order.
pub fn read(mailbox: &[u8]) -> Result<Vec<Given>> {
    let mut all = Vec::new();
    for mail in MessageIterator::new(BufReader::new(mailbox)) {
        let mail = mail.ok().context("read a mail of the mailbox")?;
        let Some(message) = MessageParser::default().parse(mail.contents()) else {
            continue;
        };
        let (Some(subject), Some(body)) = (message.subject(), message.body_text(0)) else {
            continue;
        };
        let Some((subject, version, all_patches)) = answered(subject) else {
            continue;
        };
        let sender = message.from().and_then(|from| from.first()).and_then(|from| from.address());
        for line in body.lines().map(str::trim_end).filter(|line| is_review(line)) {
            let own = sender.is_none_or(|sender| {
                line.to_lowercase().contains(&format!("<{}>", sender.to_lowercase()))
            });
            all.push(Given {
                subject: subject.clone(),
                version,
                all: all_patches,
                trailer: line.to_owned(),
                stranger: sender.filter(|_| !own).map(str::to_owned),
            });
        }
    }
    Ok(all)
}

/// The patch that a subject answers: `Re: [PATCH net-next v2 3/7] net: add x`. The title, the
/// version, and whether it is the cover letter.
fn answered(subject: &str) -> Option<(String, u32, bool)> {
    let (_, rest) = subject.split_once('[')?;
    let answer = subject.to_lowercase().starts_with("re:");
    let (brackets, title) = rest.split_once(']')?;
    if !answer || !brackets.contains("PATCH") {
        return None;
    }
    let words = || brackets.split_whitespace();
    let version = words().find_map(|word| word.strip_prefix('v')?.parse().ok()).unwrap_or(1);
    let number = words().find_map(|word| word.split_once('/')?.0.parse::<u32>().ok());
    Some((title.split_whitespace().collect::<Vec<_>>().join(" "), version, number == Some(0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAILBOX: &str = "From a@z Thu Jan  1 00:00:00 1970\n\
        From: Rita Reviewer <rita@example.org>\n\
        Subject: Re: [PATCH net-next v2 3/7]\n net: demo: count packets\n\n\
        On Friday Jane wrote:\n> Reviewed-by: Nobody <nobody@example.org>\n\
        Looks good.\n\nReviewed-by: Rita Reviewer <rita@example.org>\n\n\
        From a@z Thu Jan  1 00:00:00 1970\n\
        From: Tom <tom@example.org>\n\
        Subject: Re: [PATCH net-next 0/7] net: demo\n\n\
        Tested-by: Tom <tom@example.org>\nAcked-by: Boss <boss@example.org>\n\n\
        From a@z Thu Jan  1 00:00:00 1970\n\
        From: Jane <jane@example.org>\n\
        Subject: [PATCH net-next 1/7] net: demo: add\n\n\
        Reviewed-by: In The Patch <p@example.org>\n";

    #[test]
    fn the_last_lines_of_a_message_are_known_by_their_words() {
        for line in ["Cc: a@x", "Closes: https://x", "Fixes: 0123 (\"a\")", "Tested-by: A <a@x>"] {
            assert!(is_trailer(line), "{line}");
        }
        assert!(!is_trailer("Note: this is prose") && !is_trailer("Closes"));
    }

    #[test]
    fn trailers_of_answers_are_found_and_quoted_ones_are_not() {
        let given = |subject: &str, version, all, trailer: &str, stranger: Option<&str>| Given {
            subject: subject.into(),
            version,
            all,
            trailer: trailer.into(),
            stranger: stranger.map(str::to_owned),
        };
        let rita = "Reviewed-by: Rita Reviewer <rita@example.org>";
        let want = [
            given("net: demo: count packets", 2, false, rita, None),
            given("net: demo", 1, true, "Tested-by: Tom <tom@example.org>", None),
            given(
                "net: demo",
                1,
                true,
                "Acked-by: Boss <boss@example.org>",
                Some("tom@example.org"),
            ),
        ];
        assert_eq!(read(MAILBOX.as_bytes()).unwrap(), want);
    }
}
