// SPDX-License-Identifier: GPL-2.0

//! Rights: everybody may read figures. Seeing entries, and changing something, needs `CAP_NET_ADMIN` in
//! the user namespace that owns the socket's network namespace.
//!
//! Requests come from a separate process: this program again, in the router's namespace, with its
//! steps as arguments.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, ExitCode, Stdio};

use anyhow::{Context, Result, bail, ensure};
use nix::errno::Errno;
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::prctl;
use nix::unistd::{Gid, Uid, seteuid, setgroups, setresgid, setresuid};

use rnetns_selftests::genl::{DONE, Message, Socket, uapi};
use rnetns_selftests::ktap::{self, Outcome, comment};
use rnetns_selftests::module::{Loaded, Module};
use rnetns_selftests::netns::in_thread;
use rnetns_selftests::router::Router;

const NOBODY: u32 = 65534;
const ROOT: u32 = 0;
/// The quota that a process with the right sets.
const QUOTA: u32 = 777;
/// Entries of the router.
const ENTRIES: (u16, u16) = (4, 3);

/// The output of a process that may do everything, and of one that may only read figures.
const ALL: &str = "get ok, dump ok, set ok, flush ok";
const READ: &str = "get ok, dump EPERM, set EPERM, flush EPERM";

fn main() -> ExitCode {
    let steps: Vec<String> = std::env::args().skip(1).collect();
    if !steps.is_empty() {
        return match take(&steps) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                println!("{error:#}");
                ExitCode::FAILURE
            }
        };
    }
    ktap::run(&[
        ("root_may_do_all", || asked(&["open", "ask"], &[ALL], true)),
        ("a_user_may_read_figures_alone", || asked(&["user", "open", "ask"], &[READ], false)),
        ("root_without_the_capability_may_read_figures_alone", root_without),
        ("a_user_with_the_capability_may_do_all", user_with),
        ("a_user_may_do_all_in_a_namespace_of_its_own", || {
            asked(&["user", "newuser+net", "open", "ask"], &[ALL], false)
        }),
        ("rights_of_ones_own_user_namespace_are_none_elsewhere", || {
            asked(&["user", "newuser", "open", "ask"], &[READ], false)
        }),
        ("rights_of_an_inner_user_namespace_are_none_in_the_outer_one", || {
            asked(
                &["user", "newuser+net", "map", "open", "newuser", "ask", "open", "ask"],
                &[READ; 2],
                false,
            )
        }),
        ("who_has_roots_socket_has_not_its_rights", || {
            asked(&["open", "user", "ask", "write", "ask"], &[READ; 2], false)
        }),
        ("root_does_not_lend_its_rights_to_who_has_opened_the_socket", || {
            asked(&["seem-user", "open", "seem-root", "write", "ask"], &[READ], false)
        }),
        ("a_socket_is_about_the_namespace_where_it_was_opened", || {
            let own = "quota 65536, 0 entries";
            let router = "quota 777, 0 entries";
            asked(&["open", "newnet", "ask", "look", "open", "look"], &[ALL, router, own], true)
        }),
        ("a_socket_from_elsewhere_gives_no_rights_there", || {
            let steps = ["open", "user", "newuser+net", "ask", "look", "open", "ask", "look"];
            let (router, own) = ("quota 65536, 7 entries", "quota 777, 0 entries");
            asked(&steps, &[READ, router, ALL, own], false)
        }),
        ("root_may_do_all_in_a_users_namespace", root_in_a_users_namespace),
    ])
}

// --- The process that asks --------------------------------------------------------------------

fn take(steps: &[String]) -> Result<()> {
    let mut socket = None;
    for step in steps {
        match (step.as_str(), &mut socket) {
            ("user", _) => become_user()?,
            ("seem-user", _) => seteuid(Uid::from_raw(NOBODY))?,
            ("seem-root", _) => seteuid(Uid::from_raw(ROOT))?,
            ("newuser", _) => unshare(CloneFlags::CLONE_NEWUSER)?,
            ("newnet", _) => unshare(CloneFlags::CLONE_NEWNET)?,
            ("newuser+net", _) => unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNET)?,
            ("map", _) => map_user()?,
            ("open", _) => socket = Some(Socket::open()?),
            ("write", _) => socket = socket.map(Socket::write_only),
            ("ask", Some(socket)) => println!("{}", ask(socket)?),
            ("look", Some(socket)) => println!("{}", look(socket)?),
            ("wait", _) => {
                println!("here");
                std::io::stdin().read_to_end(&mut Vec::new())?;
            }
            (other, _) => bail!("{other} is no step, or needs a socket"),
        }
    }
    Ok(())
}

fn become_user() -> Result<()> {
    let (user, group) = (Uid::from_raw(NOBODY), Gid::from_raw(NOBODY));
    setgroups(&[]).context("leave all groups")?;
    setresgid(group, group, group).context("change group")?;
    setresuid(user, user, user).context("change user")
}

/// Gives the process a number in its user namespace; without one, it cannot make another there.
fn map_user() -> Result<()> {
    // A process that has changed its user does not own its files in /proc.
    prctl::set_dumpable(true).context("own what is in /proc")?;
    std::fs::write("/proc/self/uid_map", format!("{NOBODY} {NOBODY} 1")).context("map the user")?;
    std::fs::write("/proc/self/setgroups", "deny").context("deny other groups")?;
    std::fs::write("/proc/self/gid_map", format!("{NOBODY} {NOBODY} 1")).context("map the group")
}

/// Tries everything.
fn ask(socket: &mut Socket) -> Result<String> {
    let set = Message::new(uapi::CMD_CACHE_SET).u32(uapi::A_QUOTA, QUOTA);
    let tries = [
        ("get", Message::new(uapi::CMD_CACHE_GET)),
        ("dump", Message::dump(uapi::CMD_ENTRY_GET)),
        ("set", set),
        ("flush", Message::new(uapi::CMD_FLUSH)),
    ];
    let mut said = Vec::new();
    for (name, message) in tries {
        let answer = socket.ask(&message)?;
        let errors = answer.verdicts.iter().map(|verdict| verdict.error).chain(answer.ends);
        let errors: Vec<Errno> = errors.collect();
        said.push(match errors[..] {
            [DONE] => format!("{name} ok"),
            [error] => format!("{name} {error:?}"),
            _ => bail!("{name} is answered by {errors:?}"),
        });
    }
    Ok(said.join(", "))
}

fn look(socket: &mut Socket) -> Result<String> {
    let answer = socket.ask(&Message::new(uapi::CMD_CACHE_GET))?;
    let cache = answer.messages.first().context("no answer")?;
    let entries = cache.number(uapi::A_ENTRIES4)? + cache.number(uapi::A_ENTRIES6)?;
    let dump = socket.ask(&Message::dump(uapi::CMD_ENTRY_GET))?;
    let is_refused = dump.verdicts.iter().any(|verdict| verdict.error == Errno::EPERM);
    let shown = dump.messages.len() as u64;
    ensure!(shown == if is_refused { 0 } else { entries }, "a dump of {shown}");
    Ok(format!("quota {}, {entries} entries", cache.number(uapi::A_QUOTA)?))
}

// --- The process that checks ------------------------------------------------------------------

struct Scene {
    router: Router,
    _module: Loaded,
}

impl Scene {
    fn new() -> Result<Scene> {
        let module = Module::open()?.load_with(c"timeout=3600").context("load rnetns")?;
        let router = Router::new(1)?;
        router.fill(ENTRIES.0, ENTRIES.1)?;
        Ok(Scene { router, _module: module })
    }

    /// Runs a process that takes these steps in the router's namespace.
    fn start(&self, before: &[&str], steps: &[&str]) -> Result<Child> {
        let this = std::env::current_exe().context("where the test is")?;
        let this = this.to_str().context("where the test is")?;
        let words = [before, &[this], steps].concat();
        self.router.net().run(|| {
            let mut command = Command::new(words[0]);
            command.args(&words[1..]).stdin(Stdio::piped()).stdout(Stdio::piped());
            command.spawn().with_context(|| format!("start {}", words[0]))
        })
    }

    /// Its output, and whether it has changed the router's cache.
    fn check(&self, before: &[&str], steps: &[&str], want: &[&str], changes: bool) -> Result<()> {
        let output = self.start(before, steps)?.wait_with_output().context("wait for it")?;
        let said = String::from_utf8_lossy(&output.stdout);
        let said: Vec<&str> = said.lines().collect();
        ensure!(said == want, "{}: {said:?}, want {want:?}", steps.join(" "));
        self.is_changed(changes)
    }

    fn is_changed(&self, changes: bool) -> Result<()> {
        let quota = self.router.figures()?.get("quota")?;
        let entries = self.router.entries()?;
        let want = match changes {
            true => (u64::from(QUOTA), (0, 0)),
            false => (65536, (ENTRIES.0.into(), ENTRIES.1.into())),
        };
        ensure!((quota, entries) == want, "it has {:?}, want {want:?}", (quota, entries));
        Ok(())
    }
}

fn asked(steps: &[&str], want: &[&str], changes: bool) -> Result<Outcome> {
    Scene::new()?.check(&[], steps, want, changes)?;
    Ok(Outcome::Pass)
}

fn has_setpriv() -> bool {
    Command::new("setpriv").arg("--version").output().is_ok()
}

fn root_without() -> Result<Outcome> {
    if !has_setpriv() {
        return Ok(Outcome::Skip("no setpriv".into()));
    }
    let without = ["setpriv", "--bounding-set=-net_admin", "--inh-caps=-all"];
    Scene::new()?.check(&without, &["open", "ask"], &[READ], false)?;
    Ok(Outcome::Pass)
}

fn user_with() -> Result<Outcome> {
    if !has_setpriv() {
        return Ok(Outcome::Skip("no setpriv".into()));
    }
    let with = [
        "setpriv",
        "--reuid=65534",
        "--regid=65534",
        "--clear-groups",
        "--inh-caps=-all,+net_admin",
        "--ambient-caps=-all,+net_admin",
    ];
    Scene::new()?.check(&with, &["open", "ask"], &[ALL], true)?;
    Ok(Outcome::Pass)
}

fn root_in_a_users_namespace() -> Result<Outcome> {
    let scene = Scene::new()?;
    let mut child = scene.start(&[], &["user", "newuser+net", "open", "wait", "look"])?;
    let mut out = BufReader::new(child.stdout.take().context("no pipe")?);
    let mut line = String::new();
    out.read_line(&mut line).context("read what it says")?;
    ensure!(line.trim() == "here", "it says {line}");
    let path = format!("/proc/{}/ns/net", child.id());
    let said = in_thread(|| {
        let file = File::open(&path).context("find its namespace")?;
        setns(file, CloneFlags::CLONE_NEWNET).context("enter its namespace")?;
        ask(&mut Socket::open()?)
    })?;
    drop(child.stdin.take());
    line.clear();
    out.read_line(&mut line).context("read what it says")?;
    child.wait().context("wait for it")?;
    comment(&format!("root: {said}; then its user: {}", line.trim()));
    ensure!(said == ALL, "{said}, want {ALL}");
    ensure!(line.trim() == format!("quota {QUOTA}, 0 entries"), "it sees {line}");
    scene.is_changed(false)?;
    Ok(Outcome::Pass)
}
