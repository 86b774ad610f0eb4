// SPDX-License-Identifier: GPL-2.0

//! A series as a mailbox that b4 and git take. Nothing is sent.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use sha2::{Digest, Sha256};

use crate::folder::{Series, Stack};
use crate::git::{Commit, Person, Repository};
use crate::mail;
use crate::trailers::is_trailer;
use crate::weave::{BASE, Number};

/// What is known when a series is exported.
pub struct Export<'a> {
    pub stack: &'a Stack,
    /// The folder of all series.
    pub folder: &'a Path,
    /// Who exports.
    pub person: &'a Person,
    /// When, as git stores it.
    pub date: &'a str,
    /// Whether the person signs the patches off.
    pub sign: bool,
    /// The commit that the series is based on, if one is known.
    pub base: Option<&'a str>,
    /// The repository that has this commit.
    pub history: Option<&'a Path>,
    /// Who gets the mails, by the tree that the series leads to.
    pub recipients: &'a Named<'a>,
}

/// Names who gets patches, which are mails in these files. The tree after them has this list of
/// maintainers.
pub type Named<'a> = dyn Fn(&[Vec<u8>], Option<&[u8]>) -> Result<Recipients> + 'a;

/// Who gets mails: people, and mailing lists.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Recipients {
    pub to: Vec<String>,
    pub cc: Vec<String>,
}

impl Recipients {
    fn headers(&self) -> String {
        let line = |name: &str, all: &[String]| match all {
            [] => String::new(),
            all => {
                let all: Vec<String> = all.iter().map(|one| encoded(one)).collect();
                format!("{name}: {}\n", all.join(",\n "))
            }
        };
        line("To", &self.to) + &line("Cc", &self.cc)
    }
}

/// An address as a header has it: a name beyond ASCII is encoded.
fn encoded(address: &str) -> String {
    let Some((name, mail)) = address.rsplit_once(" <").filter(|_| !address.is_ascii()) else {
        return address.to_owned();
    };
    let name = name.trim_matches('"').bytes();
    let word: String = name
        .map(|byte| match byte {
            b' ' => "_".to_owned(),
            _ if byte.is_ascii_alphanumeric() => char::from(byte).to_string(),
            _ => format!("={byte:02X}"),
        })
        .collect();
    format!("=?UTF-8?q?{word}?= <{mail}")
}

/// Whether an address is in a domain that nobody can have (RFC 2606).
fn reaches_nobody(mail: &str) -> bool {
    let top = mail.rsplit(['.', '@']).next().unwrap_or_default();
    ["example", "invalid", "localhost", "test"].iter().any(|name| top.eq_ignore_ascii_case(name))
}

/// A series as others take it.
pub struct Exported<'a> {
    pub series: &'a Series,
    pub mailbox: Vec<u8>,
    /// A git bundle of the patches, as a branch that is called like the file.
    pub bundle: Vec<u8>,
    pub recipients: Recipients,
}

/// The marker of lines that nobody has written yet.
const TODO: &str = "EDITME";

impl Export<'_> {
    /// The mailbox of a series, with a cover letter and the patches; and its bundle.
    ///
    /// # Errors
    ///
    /// The cover letter is missing, or says that something is still to be written.
    pub fn make(&self, name: &str) -> Result<Exported<'_>> {
        let index = self.stack.series_named(name)?;
        let (series, first, last) =
            self.stack.bounds().nth(index).context("a series without bounds")?;
        ensure!(series.length > 0, "{} has no patches", series.name);
        let cover = self.cover(series)?;
        let repository = Repository::scratch()?;
        let mut commits = self.stack.commits();
        for commit in &mut commits[first - 1..last] {
            commit.message = self.signed(series, &commit.message);
            commit.author = self.author(&commit.author).clone();
            self.date.clone_into(&mut commit.date);
        }
        repository.write(&self.stack.weave.state(BASE), &commits)?;
        let total = commits.len();
        let (from, to) =
            (format!("stack~{}", total + 1 - first), format!("stack~{}", total - last));
        let Person { name, mail } = self.person;
        let mut mails = repository.mails(
            &format!("{from}..{to}"),
            &[&format!("--subject-prefix={}", series.prefix()), &format!("--from={name} <{mail}>")],
        )?;
        for (number, mail) in (first..=last).zip(&mut mails) {
            *mail = mail::with_own_hunks(&repository, mail, &self.stack.weave, number)?;
        }
        let statistics = repository.read(&["diff", "--stat=72", "--summary", &from, &to])?;
        let last_tree = self.stack.weave.state(last);
        let maintainers = last_tree.get("MAINTAINERS").map(|blob| blob.content.as_slice());
        let recipients = (self.recipients)(&mails, maintainers)?;
        let head = header(&mails[0], "From: ")? + &header(&mails[0], "Date: ")?;
        let letter = head + &self.letter(series, first, &cover, &statistics)?;
        let to_whom = recipients.headers();
        let identifier = Identifier::of(series, self.person, &letter, &mails);
        let mut mailbox = Vec::new();
        let change_id = series.settings.change_id.as_ref();
        let change_id = change_id.map(|id| format!("X-Change-ID: {id}\n")).unwrap_or_default();
        let head = identifier.headers(0) + &to_whom + &change_id;
        add(&mut mailbox, &head, letter.as_bytes());
        for (index, mail) in mails.iter().enumerate() {
            let start = mail.iter().position(|byte| *byte == b'\n').map_or(0, |end| end + 1);
            add(&mut mailbox, &(identifier.headers(index + 1) + &to_whom), &mail[start..]);
        }
        let bundle = self.bundle(series, &commits[..last], &repository, &to)?;
        Ok(Exported { series, mailbox, bundle, recipients })
    }

    /// The commits on top of the base that is known; else on top of one that has only the files that
    /// the series change.
    fn bundle(
        &self,
        series: &Series,
        commits: &[Commit],
        repository: &Repository,
        last: &str,
    ) -> Result<Vec<u8>> {
        let branch = format!("{}-v{}", series.name, series.settings.version);
        let (Some(base), Some(history)) = (self.base, self.history) else {
            return repository.bundle(&branch, last, None);
        };
        let repository = Repository::scratch()?;
        repository.write_on(history, base, &self.stack.weave.state(BASE), commits)?;
        repository.bundle(&branch, "stack", Some(base))
    }

    /// Whom a patch is from: its author, or, if mail to that address can reach nobody, the person who
    /// exports it. Reviewers answer the author, and the author has to sign off.
    fn author<'a>(&'a self, author: &'a Person) -> &'a Person {
        match reaches_nobody(&author.mail) {
            true => self.person,
            false => author,
        }
    }

    /// The message with what only the person who exports can say.
    fn signed(&self, series: &Series, message: &str) -> String {
        let mut message = message.trim_end().to_owned();
        if !message.lines().last().is_some_and(is_trailer) {
            message.push('\n');
        }
        if let Some(assisted) = &series.settings.assisted_by {
            let _ = write!(message, "\nAssisted-by: {assisted}");
        }
        if self.sign {
            let Person { name, mail } = self.person;
            let _ = write!(message, "\nSigned-off-by: {name} <{mail}>");
        }
        format!("{}\n", message.trim_end())
    }

    /// Title and text of `cover.md`.
    fn cover(&self, series: &Series) -> Result<(String, String)> {
        let path = self.folder.join(&series.name).join("cover.md");
        let text = fs::read_to_string(&path).with_context(|| {
            format!(
                "read {}: a series needs a cover letter, its title in the first line",
                path.display()
            )
        })?;
        for (index, line) in text.lines().enumerate() {
            ensure!(!line.contains(TODO), "{}:{}: {line}", path.display(), index + 1);
        }
        let (title, rest) = text.split_once('\n').unwrap_or((&text, ""));
        let title = title.trim_start_matches('#').trim().to_owned();
        ensure!(!title.is_empty(), "{}: the first line is the title", path.display());
        Ok((title, rest.trim().to_owned()))
    }

    /// The cover letter without its headers.
    fn letter(
        &self,
        series: &Series,
        first: Number,
        (title, text): &(String, String),
        statistics: &str,
    ) -> Result<String> {
        let zeros = "0".repeat(series.length.to_string().len());
        let mut letter = format!(
            "Subject: [{} {zeros}/{}] {title}\n{MIME}\n{text}\n\n---\n",
            series.prefix(),
            series.length
        );
        let patches = &self.stack.patches[first - 1..first - 1 + series.length];
        let mut authors: Vec<&Person> = Vec::new();
        for patch in patches {
            let author = self.author(&patch.author);
            if !authors.contains(&author) {
                authors.push(author);
            }
        }
        for author in authors {
            let own: Vec<&str> = patches
                .iter()
                .filter(|p| self.author(&p.author) == author)
                .map(|p| p.subject())
                .collect();
            writeln!(letter, "{} ({}):", author.name, own.len())?;
            for subject in own {
                writeln!(letter, "      {subject}")?;
            }
            letter.push('\n');
        }
        letter.push_str(&indented(statistics));
        letter.push_str("\n---\n");
        if let Some(base) = self.base {
            writeln!(letter, "base-commit: {base}")?;
        }
        if let Some(id) = &series.settings.change_id {
            writeln!(letter, "change-id: {id}")?;
        }
        for before in self.before(series) {
            if let Some(id) = &before.settings.change_id {
                let version = before.settings.version;
                writeln!(letter, "prerequisite-change-id: {id}:v{version}")?;
            }
        }
        let Person { name, mail } = self.person;
        write!(letter, "\nBest regards,\n-- \n{name} <{mail}>\n")?;
        Ok(letter)
    }

    /// The series that this one needs, nearest last.
    fn before(&self, series: &Series) -> Vec<&Series> {
        let mut before = Vec::new();
        let mut after = series.settings.after.as_deref();
        while let Some(name) = after {
            let Some(found) = self.stack.series.iter().find(|each| each.name == name) else {
                break;
            };
            before.push(found);
            after = found.settings.after.as_deref();
        }
        before.reverse();
        before
    }
}

/// What every mail needs for letters beyond ASCII.
const MIME: &str =
    "MIME-Version: 1.0\nContent-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: 8bit\n";

/// Names of mails: the same content has the same name.
struct Identifier {
    date: String,
    name: String,
    version: u32,
    hash: String,
    domain: String,
}

impl Identifier {
    fn of(series: &Series, person: &Person, letter: &str, mails: &[Vec<u8>]) -> Identifier {
        let mut hash = Sha256::new();
        hash.update(letter);
        mails.iter().for_each(|mail| hash.update(mail));
        let hash = hash.finalize()[..6].iter().map(|byte| format!("{byte:02x}")).collect();
        let domain = person.mail.rsplit_once('@').map_or("localhost", |(_, domain)| domain);
        let id = series.settings.change_id.as_deref().unwrap_or("00000000");
        Identifier {
            date: id.chars().take(8).collect(),
            name: series.name.clone(),
            version: series.settings.version,
            hash,
            domain: domain.to_owned(),
        }
    }

    /// The headers that name a mail, and the cover letter that it answers.
    fn headers(&self, index: usize) -> String {
        let own = format!("Message-Id: <{}>\n", self.mail(index));
        match index {
            0 => own,
            _ => {
                let cover = self.mail(0);
                format!("{own}In-Reply-To: <{cover}>\nReferences: <{cover}>\n")
            }
        }
    }

    fn mail(&self, index: usize) -> String {
        let Identifier { date, name, version, hash, domain } = self;
        format!("{date}-{name}-v{version}-{index}-{hash}@{domain}")
    }
}

/// What a mail of git says in a header, with the lines that it is folded into.
fn header(mail: &[u8], name: &str) -> Result<String> {
    let end = mail.windows(2).position(|pair| pair == b"\n\n").context("a mail without a body")?;
    let head = String::from_utf8_lossy(&mail[..end]).into_owned();
    let mut lines = head.lines().skip_while(|line| !line.starts_with(name));
    let first = lines.next().with_context(|| format!("a mail without {name}"))?;
    let folded = lines.take_while(|line| line.starts_with([' ', '\t']));
    Ok(std::iter::once(first).chain(folded).map(|line| format!("{line}\n")).collect())
}

/// Adds a mail to an mboxrd: lines that look like its separator are quoted.
fn add(mailbox: &mut Vec<u8>, head: &str, rest: &[u8]) {
    mailbox.extend_from_slice(b"From git@z Thu Jan  1 00:00:00 1970\n");
    mailbox.extend_from_slice(head.as_bytes());
    for line in rest.split_inclusive(|byte| *byte == b'\n') {
        let quotes = line.iter().take_while(|byte| **byte == b'>').count();
        if line[quotes..].starts_with(b"From ") {
            mailbox.push(b'>');
        }
        mailbox.extend_from_slice(line);
    }
    mailbox.push(b'\n');
}

fn indented(text: &str) -> String {
    text.lines().map(|line| format!(" {}\n", line.trim_start())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_beyond_ascii_are_encoded_in_headers() {
        let of = |to: &[&str]| Recipients {
            to: to.iter().map(|it| (*it).to_owned()).collect(),
            cc: vec!["netdev@vger.kernel.org".to_owned()],
        };
        let headers = of(&["Jane Doe <j@x>", "J\u{f6}rg O. <o@x>"]).headers();
        let want = "To: Jane Doe <j@x>,\n =?UTF-8?q?J=C3=B6rg_O=2E?= <o@x>\n\
                    Cc: netdev@vger.kernel.org\n";
        assert_eq!(headers, want);
        assert_eq!(Recipients::default().headers(), "");
    }
}
