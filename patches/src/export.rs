// SPDX-License-Identifier: GPL-2.0

//! A series as a mailbox that b4 and git take. Nothing is sent.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use sha2::{Digest, Sha256};

use crate::folder::{Series, Stack};
use crate::git::{Person, Repository};
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
}

/// The marker of lines that nobody has written yet.
const TODO: &str = "EDITME";

impl Export<'_> {
    /// The mailbox of a series: a cover letter and the patches.
    ///
    /// # Errors
    ///
    /// The cover letter is missing, or says that something is still to be written.
    pub fn mailbox(&self, name: &str) -> Result<(&Series, Vec<u8>)> {
        let index = self.stack.series_named(name)?;
        let (series, first, last) =
            self.stack.bounds().nth(index).context("a series without bounds")?;
        ensure!(series.length > 0, "{} has no patches", series.name);
        let cover = self.cover(series)?;
        let repository = Repository::scratch()?;
        let mut commits = self.stack.commits();
        for commit in &mut commits[first - 1..last] {
            commit.message = self.signed(series, &commit.message);
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
        let identifier = Identifier::of(series, self.person, &mails);
        let mut mailbox = Vec::new();
        let statistics = repository.read(&["diff", "--stat=72", "--summary", &from, &to])?;
        let head = header(&mails[0], "From: ")? + &header(&mails[0], "Date: ")?;
        let letter = head + &self.letter(series, first, &cover, &statistics)?;
        add(&mut mailbox, &identifier.headers(0), letter.as_bytes());
        for (index, mail) in mails.iter().enumerate() {
            let start = mail.iter().position(|byte| *byte == b'\n').map_or(0, |end| end + 1);
            add(&mut mailbox, &identifier.headers(index + 1), &mail[start..]);
        }
        Ok((series, mailbox))
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
            if !authors.contains(&&patch.author) {
                authors.push(&patch.author);
            }
        }
        for author in authors {
            let own: Vec<&str> =
                patches.iter().filter(|p| p.author == *author).map(|p| p.subject()).collect();
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
    fn of(series: &Series, person: &Person, mails: &[Vec<u8>]) -> Identifier {
        let mut hash = Sha256::new();
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
