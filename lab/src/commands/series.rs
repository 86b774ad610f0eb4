// SPDX-License-Identifier: GPL-2.0

//! `lab series`: keeps the patch series equal to the source.

use std::collections::BTreeMap;
use std::fs;
use std::io::IsTerminal;
use std::ops::RangeInclusive;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use series::assign::{Hidden, Piece, Plan};
use series::change;
use series::checks::{At, Subject};
use series::export::{Export, Exported, Recipients};
use series::folder::{Series, Stack};
use series::git::Person;
use series::project::{self, Done, Project};
use series::source::Source as Own;
use series::weave::Number;
use vmlab::judge::outcome::Outcome;
use vmlab::run::files;
use vmlab::run::phases::Phases;
use vmlab::run::print;
use vmlab::run::process;
use vmlab::run::progress::{Step, Unit, say};

use crate::build::kernel::Variant;
use crate::build::pipeline::{self, Built};
use crate::build::source::{self, Source};
use crate::checkout_lock;
use crate::checks::patch_states::{self, State, States};
use crate::checks::series_source;
use crate::cli::{SeriesAction, SeriesArgs};
use crate::commands::export_base;
use crate::context::Lab;

/// The comments below a message in the editor.
const HELP: &str = "\
# The message of the patch: a subject, a blank line, why the patch is needed.
# Lines that begin with # are left out. An empty message changes nothing.
";

/// Runs `lab series`.
pub(super) fn run(lab: &Lab, args: &SeriesArgs) -> Result<u8> {
    let _lock = checkout_lock::take(&lab.target)?;
    let Source { dir: tree, version, .. } = source::find(lab)?;
    let base = |path: &str| change::read(&tree.join(path));
    let pinned = lab.settings.ksrc.is_none() && version == lab.base.kernel_number();
    let project = series_source::project(lab, &base, pinned.then_some(version))?;
    if !matches!(args.action, Some(SeriesAction::Edit { .. }))
        && let Some(editing) = project.edited()?
    {
        say(&format!(
            "note: an edit of \"{}\" is not finished yet: lab series edit",
            editing.subject()
        ));
    }
    match &args.action {
        None => follow(&project, args),
        Some(action) => act(lab, &project, action),
    }
}

/// Assigns every change of the source to its patch.
fn follow(project: &Project<'_>, args: &SeriesArgs) -> Result<u8> {
    let stack = project.stack()?;
    let plan = project.plan(&stack, &args.put)?;
    if plan.is_empty() {
        print::out("the series have all of the source\n");
        if !args.dry_run {
            let done = project.refresh(stack)?;
            if !done.files.is_empty() {
                tell(&done);
            }
        }
        return Ok(0);
    }
    table(&stack, &project.source, &plan);
    let open: Vec<&Piece> = plan.open().collect();
    if !open.is_empty() {
        bail!(
            "{} of {} changes have no patch yet; nothing was changed",
            open.len(),
            plan.pieces.len()
        );
    }
    if args.dry_run {
        return Ok(0);
    }
    let done = project.absorb(stack, &plan)?;
    tell(&done);
    Ok(0)
}

fn act(lab: &Lab, project: &Project<'_>, action: &SeriesAction) -> Result<u8> {
    match action {
        SeriesAction::Export { series, out, sign_off, no_sign_off } => {
            let sign = (*sign_off || *no_sign_off).then_some(*sign_off);
            export(lab, project, series, &lab.root.join(out), sign)?;
        }
        SeriesAction::Show => show(&project.stack()?),
        SeriesAction::Undo => {
            let files = project.undo()?;
            ensure!(!files.is_empty(), "there is nothing to undo");
            print::out(&format!("{} files are as they were before\n", files.len()));
        }
        SeriesAction::Edit { patch: Some(patch), with } => {
            let folder = project.begin_edit(patch, with)?;
            print::out(&format!(
                "the tree after {patch} is in {}\nedit it, then: lab series edit\n",
                folder.display()
            ));
        }
        SeriesAction::Edit { patch: None, .. } => {
            let (patch, done) = project.finish_edit()?;
            print::out(&format!("the edit is part of {patch} now\n"));
            tell(&done);
        }
        SeriesAction::Add { after, message } => {
            let message = self::message(lab, message.as_deref(), || Ok(String::new()))?;
            let (author, date) = identity(lab)?;
            tell(&project.add(after, &message, author, date)?);
        }
        SeriesAction::Split { patch, lines, message } => {
            let message = self::message(lab, message.as_deref(), || old_message(project, patch))?;
            let (author, date) = identity(lab)?;
            tell(&project.split(patch, lines, &message, author, date)?);
        }
        SeriesAction::Prove { series } => return prove(lab, project, series.as_deref()),
        SeriesAction::Bisect { test, series } => {
            return bisect(lab, project, test, series.as_deref());
        }
        SeriesAction::New { series, version } => {
            tell(&project.next_version(series, *version)?);
            print::out(&(project.compare(series)? + "\n"));
        }
        SeriesAction::Diff { series } => print::out(&(project.compare(series)? + "\n")),
        SeriesAction::Trailers { series, mailbox } => {
            let text = fs::read(mailbox).with_context(|| format!("read {}", mailbox.display()))?;
            let given = series::trailers::read(&text)?;
            let (done, notes) = project.collect(series, &given)?;
            notes.iter().for_each(|note| print::out(&format!("note: {note}\n")));
            tell(&done);
        }
        SeriesAction::Join { patch } => tell(&project.join(patch)?),
        SeriesAction::Move { patch, after } => tell(&project.reorder(patch, after)?),
        SeriesAction::Give { patch, lines } => tell(&project.give(lines, patch)?),
        SeriesAction::Reword { patch, message } => {
            let message = self::message(lab, message.as_deref(), || old_message(project, patch))?;
            tell(&project.reword(patch, &message)?);
        }
    }
    Ok(0)
}

/// Finds the first patch after which a test fails.
fn bisect(lab: &Lab, project: &Project<'_>, test: &str, name: Option<&str>) -> Result<u8> {
    let stack = project.stack()?;
    let numbers = stack.numbers(name)?;
    let base = pipeline::base(lab, Variant::Plain, &mut Phases::default())?;
    let tools = base.tools.clone().with_rust_src(lab)?;
    // Those of the kernel's own files stand beside the project's code, not on top of it.
    let beside = |series: &Series| {
        let mut paths = series.settings.tests.iter();
        paths.any(|path| path.rsplit('/').next() == Some(test))
    };
    for (series, first, last) in stack.bounds().filter(|(series, ..)| beside(series)) {
        let read = Box::new(|path: &str| (project.base)(path));
        let subject = Subject::of_stack(&stack, &project.folder, &series.name, read)?;
        let guest = Built::nothing(lab)?;
        let tests = &series.settings.tests;
        let states = States::of_anybody(lab, &base, &tools, guest, &subject, tests)?.only(test);
        let state = |number: Number| State::at(&At::new(&subject, number - first));
        let has_test = |number: &Number| states.has_test(&state(*number), test);
        let those: Vec<Number> =
            (first..=last).filter(|n| numbers.contains(n)).filter(has_test).collect();
        if !those.is_empty() {
            return bisect_in(&stack, &those, test, &states, state);
        }
    }
    let states = States::of_project(lab, &base, &tools, Built::nothing(lab)?)?.only(test);
    let state = |number| State::of(&stack.weave, number);
    let is_own = |number: &Number| {
        stack.place(*number).is_some_and(|(series, _)| series.settings.tests.is_empty())
    };
    let has_test = |number: &Number| is_own(number) && states.has_test(&state(*number), test);
    let those: Vec<Number> = numbers.filter(has_test).collect();
    ensure!(!those.is_empty(), "no patch brings a test {test}: name a file of the selftests");
    bisect_in(&stack, &those, test, &states, state)
}

/// The same, among these patches.
fn bisect_in(
    stack: &Stack,
    those: &[Number],
    test: &str,
    states: &States<'_>,
    state: impl Fn(Number) -> State,
) -> Result<u8> {
    states.possible()?;
    let mut seen = BTreeMap::new();
    let found = first_bad(those, |number| {
        let name = stack.name(number);
        let step = Step::start(&format!("{test} after {name}"), Unit::None, 0);
        let ended = states.test(&state(number), &name.replace('/', "-"))?;
        step.finish();
        let word = if ended.passed { "ok    " } else { "FAIL  " };
        print::out(&format!("{word}  {name}  {}\n", stack.patches[number - 1].subject()));
        let passed = ended.passed;
        seen.insert(number, ended);
        Ok(!passed)
    })?;
    let Some(bad) = found else {
        let last = stack.name(those[those.len() - 1]);
        print::out(&format!("{test} passes after the last patch, {last}\n"));
        return Ok(0);
    };
    let subject = stack.patches[bad - 1].subject();
    print::out(&format!("{test} fails first after {}: {subject}\n", stack.name(bad)));
    if let Some(ended) = seen.get(&bad) {
        print::out(&format!("{}\n", ended.text));
        ended.log.iter().for_each(|log| print::out(&format!("see {}\n", log.display())));
    }
    Ok(Outcome::Test.exit_code())
}

/// Bisects: the first bad number, if all numbers after a bad one are also bad. `None` if the last
/// one is good.
fn first_bad(
    numbers: &[Number],
    mut is_bad: impl FnMut(Number) -> Result<bool>,
) -> Result<Option<Number>> {
    let Some(last) = numbers.len().checked_sub(1) else { return Ok(None) };
    if !is_bad(numbers[last])? {
        return Ok(None);
    }
    // All before `low` are good, and all from `high` on are bad.
    let (mut low, mut high) = (0, last);
    while low < high {
        let middle = low.midpoint(high);
        if is_bad(numbers[middle])? {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    Ok(Some(numbers[high]))
}

/// Builds, boots and tests the tree after each patch.
fn prove(lab: &Lab, project: &Project<'_>, name: Option<&str>) -> Result<u8> {
    let stack = project.stack()?;
    let numbers = stack.numbers(name)?;
    let base = pipeline::base(lab, Variant::Plain, &mut Phases::default())?;
    let tools = base.tools.clone().with_rust_src(lab)?;
    let mut failed = 0;
    for (series, first, last) in stack.bounds() {
        let own = first.max(*numbers.start())..=last.min(*numbers.end());
        if own.is_empty() {
            continue;
        }
        let guest = Built::nothing(lab)?;
        if series.settings.tests.is_empty() {
            let states = States::of_project(lab, &base, &tools, guest)?;
            let state = |number| State::of(&stack.weave, number);
            failed = failed.max(prove_each(&stack, own, &states, state)?);
        } else {
            let read = Box::new(|path: &str| (project.base)(path));
            let subject = Subject::of_stack(&stack, &project.folder, &series.name, read)?;
            let tests = &series.settings.tests;
            let states = States::of_anybody(lab, &base, &tools, guest, &subject, tests)?;
            let state = |number: Number| State::at(&At::new(&subject, number - first));
            failed = failed.max(prove_each(&stack, own, &states, state)?);
        }
    }
    Ok(failed.min(1))
}

/// Builds, boots and tests the trees after these patches. Returns how many of that did not pass.
fn prove_each(
    stack: &Stack,
    numbers: RangeInclusive<Number>,
    states: &States<'_>,
    state: impl Fn(Number) -> State,
) -> Result<u8> {
    states.possible()?;
    let mut failed: u8 = 0;
    for number in numbers {
        let (name, subject) = (stack.name(number), stack.patches[number - 1].subject());
        print::out(&format!("{name}  {subject}\n"));
        let state = state(number);
        let log = name.replace('/', "-");
        for (what, ended) in [
            ("build", &|| states.build(&state, &log) as Result<_>),
            ("test", &|| states.test(&state, &log)),
        ] as [(&str, &dyn Fn() -> Result<patch_states::Checked>); 2]
        {
            let step = Step::start(&format!("{what} of {name}"), Unit::None, 0);
            let ended = ended()?;
            step.finish();
            let word = if ended.passed { "ok    " } else { "FAIL  " };
            print::out(&format!("  {word}  {what}: {}\n", ended.text));
            if let Some(note) = patch_states::not_there(&ended) {
                print::out(&format!("          {note}\n"));
            }
            failed = failed.saturating_add(u8::from(!ended.passed));
        }
    }
    Ok(failed)
}

/// Writes a series as a mailbox.
fn export(
    lab: &Lab,
    project: &Project<'_>,
    name: &str,
    out: &Path,
    sign: Option<bool>,
) -> Result<()> {
    let stack = project.stack()?;
    let open = project.plan(&stack, &[])?.pieces.len();
    ensure!(open == 0, "{open} changes of the source are in no patch yet: run `lab series` first");
    let (person, date) = identity(lab)?;
    let sign = match sign {
        Some(sign) => sign,
        None => asked(&person)?,
    };
    let base = export_base::find(lab, &stack, &project.folder)?;
    base.notes.iter().for_each(|note| say(&format!("note: {note}")));
    let named = |mails: &[Vec<u8>], maintainers: Option<&[u8]>| {
        export_base::recipients(&base.tree, mails, maintainers, &person)
    };
    let export = Export {
        stack: &stack,
        folder: &project.folder,
        person: &person,
        date: &date,
        sign,
        base: base.commit.as_deref(),
        history: base.commit.as_ref().filter(|_| base.has_commit).map(|_| base.tree.as_path()),
        recipients: &named,
    };
    let Exported { series, mailbox, bundle, recipients } = export.make(name)?;
    files::make_dir(out)?;
    let stem = format!("{}-v{}", series.name, series.settings.version);
    let file = out.join(format!("{stem}.mbx"));
    fs::write(&file, mailbox).with_context(|| format!("write {}", file.display()))?;
    let bundle_file = out.join(format!("{stem}.bundle"));
    fs::write(&bundle_file, bundle).with_context(|| format!("write {}", bundle_file.display()))?;
    if project.keep_sent(&stack, name)? {
        say(&format!(
            "note: {stem} was exported before with other patches: if you have sent that, begin the \
             next version with `lab series new`"
        ));
    }
    print::out(&format!(
        "{} patches and a cover letter in {}\nthe same as commits in {}\n",
        series.length,
        file.display(),
        bundle_file.display()
    ));
    if recipients == Recipients::default() {
        print::out("to nobody yet: the tree has no scripts/get_maintainer.pl\n");
    } else {
        let all = [recipients.to.len(), recipients.cc.len()];
        print::out(&format!("to {} people and {} lists\n", all[0], all[1]));
    }
    Ok(())
}

/// Asks whether the user signs the patches off.
fn asked(person: &Person) -> Result<bool> {
    ensure!(
        std::io::stdin().is_terminal(),
        "say whether the patches get your Signed-off-by: --sign-off or --no-sign-off"
    );
    print::out(&format!(
        "Signed-off-by: {} <{}>\nDo you certify this, as the Developer's Certificate of Origin \
         says? [y/N] ",
        person.name, person.mail
    ));
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer).context("read an answer")?;
    Ok(answer.trim().eq_ignore_ascii_case("y"))
}

/// Prints where each change goes.
fn table(stack: &Stack, source: &Own, plan: &Plan) {
    for piece in &plan.pieces {
        let place = project::shown(source, &piece.path, Some(piece.line));
        let lines = format!("+{} -{}", piece.added, piece.removed);
        let line = match &piece.place {
            Ok((number, why)) => {
                let subject = stack.patches[number - 1].subject();
                format!("{place}  {lines}  {} \"{subject}\": {why}\n", stack.name(*number))
            }
            Err(_) => {
                let advice = project::advice(stack, source, piece).unwrap_or_default();
                format!("{place}  {lines}  OPEN: {advice}\n")
            }
        };
        print::out(&line);
    }
    for Hidden { path, line, lines, by } in &plan.hidden {
        let place = project::shown(source, path, Some(*line));
        print::out(&format!(
            "note: {place}: {} takes away {lines} lines in the middle of these, which keep their \
             text: see `lab series edit`\n",
            stack.name(*by)
        ));
    }
}

fn show(stack: &Stack) {
    for (series, first, last) in stack.bounds() {
        print::out(&format!("{} [{}]\n", series.name, series.prefix()));
        for number in first..=last {
            let subject = stack.patches[number - 1].subject();
            print::out(&format!("  {:>2}  {subject}\n", number - first + 1));
        }
    }
}

/// Prints what changed.
fn tell(done: &Done) {
    let name = |number: &Number| done.stack.name(*number);
    for (number, trailer) in &done.dropped {
        print::out(&format!(
            "note: {} has changed, so its \"{trailer}\" was removed\n",
            name(number)
        ));
    }
    if done.files.is_empty() {
        print::out("nothing changed\n");
    } else {
        let files = done.files.len();
        print::out(&format!("{files} files changed; to undo that: lab series undo\n"));
    }
}

/// The current message of a patch.
fn old_message(project: &Project<'_>, patch: &str) -> Result<String> {
    let stack = project.stack()?;
    Ok(stack.patches[stack.find(patch)? - 1].message.clone())
}

/// The message: the given one, or else from an editor.
fn message(lab: &Lab, given: Option<&str>, old: impl FnOnce() -> Result<String>) -> Result<String> {
    let text = match given {
        Some(text) => text.to_owned(),
        None => typed(lab, &old()?)?,
    };
    let kept: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
    let message = kept.join("\n").trim().to_owned();
    ensure!(!message.is_empty(), "the message is empty: nothing was changed");
    Ok(format!("{message}\n"))
}

/// Opens the editor that git would use, and returns the message.
fn typed(lab: &Lab, old: &str) -> Result<String> {
    let editor = process::read(Command::new("git").args(["var", "GIT_EDITOR"]))
        .context("find an editor: set EDITOR, or give the message with --message")?;
    let file = lab.target.join("series/MESSAGE");
    files::write_whole(&file, &format!("{old}\n{HELP}"))?;
    // As git does it: the setting may have arguments.
    let mut command = Command::new("sh");
    command.arg("-c").arg(format!("{editor} \"$@\"")).arg(&editor).arg(&file);
    // The editor uses the terminal, and handles Ctrl-C itself.
    let status = command.status().with_context(|| format!("start the editor {editor}"))?;
    ensure!(status.success(), "the editor {editor} failed: nothing was changed");
    fs::read_to_string(&file).with_context(|| format!("read {}", file.display()))
}

/// The person who makes a patch, and the time, from their git settings.
fn identity(lab: &Lab) -> Result<(Person, String)> {
    let ident = process::read(git(&lab.root).args(["var", "GIT_AUTHOR_IDENT"]))
        .context("find who makes the patch: set user.name and user.email in git")?;
    person(&ident).with_context(|| format!("git calls the author {ident}"))
}

/// `Name <mail> date`, as git writes it.
pub(super) fn person(ident: &str) -> Option<(Person, String)> {
    let (name, rest) = ident.split_once(" <")?;
    let (mail, date) = rest.split_once("> ")?;
    Some((Person { name: name.to_owned(), mail: mail.to_owned() }, date.to_owned()))
}

fn git(folder: &Path) -> Command {
    let mut command = Command::new("git");
    command.arg("-C").arg(folder);
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_bad_one_is_found_with_few_looks() {
        let numbers: Vec<Number> = (10..42).collect();
        for bad in numbers.iter().copied() {
            let mut looks = 0;
            let found = first_bad(&numbers, |number| {
                looks += 1;
                Ok(number >= bad)
            });
            assert_eq!(found.unwrap(), Some(bad));
            assert!(looks <= 6, "{looks} looks for {bad}");
        }
        assert_eq!(first_bad(&numbers, |_| Ok(false)).unwrap(), None);
        assert_eq!(first_bad(&[], |_| Ok(true)).unwrap(), None);
    }
}
