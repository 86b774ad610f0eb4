// SPDX-License-Identifier: GPL-2.0

//! Malformed requests: each is refused with its own error and words, and changes nothing.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail, ensure};
use nix::errno::Errno;

use rnetns_selftests::genl::{ATTRIBUTES, Answer, DONE, HEADER, Message, ROOM, Socket, Verdict};
use rnetns_selftests::genl::{flag, uapi};
use rnetns_selftests::ktap::{self, Outcome, comment};
use rnetns_selftests::memory::{self, Usage};
use rnetns_selftests::module::{Figures, Loaded, Module};
use rnetns_selftests::netns::Netns;
use rnetns_selftests::router::{Router, address4, address6, packets};
use rnetns_selftests::wait_until;

/// The error for a family that does not exist: noise behind a wrong length may name one.
const FAMILY: Errno = Errno::ENOENT;
/// Messages of random bytes.
const RANDOM: u32 = 100_000;
/// Messages in one datagram.
const TOGETHER: u32 = 20;

const UNKNOWN: &str = "Unknown attribute type";
const UNSUPPORTED: &str = "Unsupported attribute";
const LENGTH: &str = "invalid attribute length";
const NUMBER: &str = "integer out of range";
const LEFTOVER: &str = "bytes leftover after parsing attributes";
const NESTED: &str = "NLA_F_NESTED not expected";
const SIZE: &str = "binary attribute size out of range";
const MAX_QUOTA: &str = "more than max_quota, which is a parameter of the module";
const NO_SETTING: &str = "no setting to change";
const ONE_FAMILY: &str = "dst4 and dst6 exclude each other";
const TOO_LONG: &str = "longer than an address of this family";
const NO_ADDRESS: &str = "dst-len needs dst4 or dst6";
const FLAGS: &str = "ambiguous or reserved bits set in nlmsg_flags";
const RESERVED: &str = "genlmsghdr.reserved field is not 0";

/// Where the first attribute is, and the one after a number.
const FIRST: Option<usize> = Some(ATTRIBUTES);
const SECOND: Option<usize> = Some(ATTRIBUTES + 8);

fn main() -> ExitCode {
    if let Some(why) = memory::missing() {
        return ktap::skip_all(&why);
    }
    ktap::run(&[
        ("a_command_that_is_none_is_refused", commands),
        ("an_operation_asked_for_in_a_way_that_it_has_not_is_refused", ways),
        ("a_header_that_is_too_short_is_refused", short_headers),
        ("a_length_that_is_not_the_messages_is_not_believed", wrong_lengths),
        ("reserved_bits_of_the_header_are_refused_and_its_version_is_not", header_fields),
        ("an_unknown_attribute_is_refused_by_every_operation", unknown_attributes),
        ("an_attribute_of_another_size_than_its_type_is_refused", sizes),
        ("an_attribute_that_ends_behind_the_message_is_refused", beyond_the_message),
        ("an_attribute_that_is_no_nest_is_refused_as_one", nests),
        ("an_attribute_that_comes_twice_is_checked_twice_and_counts_once", twice),
        ("settings_out_of_range_are_refused", settings),
        ("a_request_of_which_a_part_is_refused_is_refused_whole", parts),
        ("networks_that_are_none_are_refused", networks),
        ("a_dump_shows_the_entries_that_it_is_asked_for", filters),
        ("changes_and_flushes_are_told_to_who_listens", events),
        ("devices_that_cannot_be_are_refused_and_those_that_are_not_here_have_no_entry", devices),
        ("limits_are_within_the_range", limits),
        ("a_cache_without_entries_is_in_use_however_often_it_is_flushed", flushes_of_nothing),
        ("a_cache_with_entries_comes_back_however_often_it_is_flushed", flushes_in_a_row),
        ("random_bytes_do_no_harm", random),
    ])
}

/// Two namespaces with entries; requests are made in the first.
struct Scene {
    socket: Socket,
    router: Router,
    other: Router,
    _module: Loaded,
}

impl Scene {
    fn new() -> Result<Scene> {
        // No entry may expire meanwhile.
        let module = Module::open()?.load_with(c"timeout=3600").context("load rnetns")?;
        let (router, other) = (Router::new(1)?, Router::new(2)?);
        for router in [&router, &other] {
            router.fill(6, 4)?;
        }
        let socket = router.net().run(Socket::open)?;
        Ok(Scene { socket, router, other, _module: module })
    }

    fn state(&self) -> Result<[Figures; 2]> {
        Ok([self.router.figures()?, self.other.figures()?])
    }

    /// Asks, and checks that nothing changes in either namespace.
    fn in_vain(&mut self, message: &Message) -> Result<Answer> {
        let before = self.state()?;
        let answer = self.socket.ask(message)?;
        let after = self.state()?;
        ensure!(before == after, "it has changed {before:?} to {after:?}");
        Ok(answer)
    }

    /// Checks that each of these is refused in this way.
    fn refuse(&mut self, refusals: &[Refusal]) -> Result<Outcome> {
        for (what, message, error, words, offset) in refusals {
            let answer = self.in_vain(message).context(*what)?;
            let verdict = answer.verdict().context(*what)?;
            let words = (!words.is_empty()).then(|| (*words).to_owned());
            let want =
                Verdict { sequence: verdict.sequence, error: *error, words, offset: *offset };
            ensure!(*verdict == want, "{what}: {verdict:?}, want {want:?}");
            ensure!(answer.messages.is_empty(), "{what}: it is answered: {answer:?}");
        }
        self.still_works()
    }

    /// The module does what it should.
    fn still_works(&mut self) -> Result<Outcome> {
        let answer = self.in_vain(&Message::new(uapi::CMD_CACHE_GET))?;
        ensure!(answer.verdict()?.error == DONE, "it does not answer: {answer:?}");
        let message = answer.messages.first().context("no answer")?;
        let figures = self.router.figures()?;
        let want = [
            (uapi::A_ENTRIES4, figures.get("entries4")?),
            (uapi::A_ENTRIES6, figures.get("entries6")?),
            (uapi::A_HITS, figures.get("hits")?),
            (uapi::A_QUOTA, figures.get("quota")?),
            (uapi::A_TIMEOUT, figures.get("timeout")?),
            (uapi::A_ENABLED, figures.get("enabled")?),
        ];
        for (attribute, want) in want {
            let have = message.number(attribute)?;
            ensure!(have == want, "attribute {attribute} is {have}, want {want}");
        }
        let dump = self.in_vain(&Message::dump(uapi::CMD_ENTRY_GET))?;
        let shown = self.router.shown(&dump)?;
        let (v4, v6) = self.router.entries()?;
        ensure!(dump.ends == [DONE] && shown.len() as u64 == v4 + v6, "{dump:?}");
        Ok(Outcome::Pass)
    }
}

/// How a request is refused: the error, the words, and the place in the request.
type Refusal = (&'static str, Message, Errno, &'static str, Option<usize>);

fn get() -> Message {
    Message::new(uapi::CMD_CACHE_GET)
}

fn set() -> Message {
    Message::new(uapi::CMD_CACHE_SET)
}

fn flush() -> Message {
    Message::new(uapi::CMD_FLUSH)
}

fn dump() -> Message {
    Message::dump(uapi::CMD_ENTRY_GET)
}

fn commands() -> Result<Outcome> {
    let mut scene = Scene::new()?;
    let refusals: Vec<Refusal> = [0, uapi::CMD_MAX + 1, 0x7f, 0xff]
        .map(|command| ("no command", Message::new(command), Errno::EOPNOTSUPP, "", None))
        .into();
    scene.refuse(&refusals)
}

fn ways() -> Result<Outcome> {
    let mut scene = Scene::new()?;
    let with = |message: Message, flags| Message { flags: message.flags | flags, ..message };
    scene.refuse(&[
        ("dump of get", with(get(), flag::DUMP), Errno::EOPNOTSUPP, "", None),
        ("dump of set", with(set().u32(uapi::A_QUOTA, 5), flag::DUMP), Errno::EOPNOTSUPP, "", None),
        ("dump of flush", with(flush(), flag::DUMP), Errno::EOPNOTSUPP, "", None),
        ("do of dump", Message::new(uapi::CMD_ENTRY_GET), Errno::EOPNOTSUPP, "", None),
        ("one bit", with(flush(), flag::ROOT), Errno::EINVAL, FLAGS, None),
        ("the other", with(flush(), flag::MATCH), Errno::EINVAL, FLAGS, None),
        ("both and more", with(dump(), flag::DUMP | 0x400), Errno::EINVAL, FLAGS, None),
        ("reserved", with(flush(), 0x8000), Errno::EINVAL, FLAGS, None),
    ])?;
    // A message that is not a request is acknowledged, and not carried out.
    let answer = scene.in_vain(&Message { flags: flag::ACK, ..flush() })?;
    ensure!(answer.verdict()?.error == DONE && answer.messages.is_empty(), "{answer:?}");
    let answer = scene.in_vain(&Message { flags: 0, ..flush() })?;
    ensure!(answer.verdicts.is_empty() && answer.messages.is_empty(), "{answer:?}");
    Ok(Outcome::Pass)
}

/// The header of generic netlink is in the datagram, but not in the message.
fn short_headers() -> Result<Outcome> {
    let mut scene = Scene::new()?;
    let refusals: Vec<Refusal> = (HEADER..ATTRIBUTES)
        .map(|length| {
            let message = Message { length: Some(length as u32), ..flush() };
            ("short", message, Errno::EINVAL, "", None)
        })
        .collect();
    // The rest of the datagram is not a message.
    scene.refuse(&refusals)
}

fn wrong_lengths() -> Result<Outcome> {
    let mut scene = Scene::new()?;
    let whole = (ATTRIBUTES + 8) as u32;
    for length in [0, 1, 15, whole + 1, whole + 4, 1 << 16, 1 << 31, u32::MAX] {
        let message = Message { length: Some(length), ..set().u32(uapi::A_QUOTA, 5) };
        let answer = scene.in_vain(&message)?;
        let silent = answer.verdicts.is_empty() && answer.messages.is_empty();
        ensure!(silent, "length {length} is answered: {answer:?}");
    }
    // A datagram may end in mid-header.
    let bytes = flush().bytes(scene.socket.family(), 1);
    for length in 1..bytes.len() {
        let before = scene.state()?;
        let answer = scene.socket.ask_bytes(&bytes[..length])?;
        ensure!(answer.verdicts.is_empty(), "{length} bytes are answered: {answer:?}");
        ensure!(before == scene.state()?, "{length} bytes have changed something");
    }
    scene.still_works()
}

fn header_fields() -> Result<Outcome> {
    let mut scene = Scene::new()?;
    let reserved = |reserved| Message { reserved, ..flush() };
    scene.refuse(&[
        ("reserved", reserved(1), Errno::EINVAL, RESERVED, None),
        ("reserved", reserved(0xffff), Errno::EINVAL, RESERVED, None),
        ("reserved", Message { reserved: 0x100, ..dump() }, Errno::EINVAL, RESERVED, None),
    ])?;
    // The kernel does not read the version.
    for version in [0, 2, 255] {
        let answer = scene.in_vain(&Message { version, ..get() })?;
        ensure!(answer.messages.len() == 1, "version {version}: {answer:?}");
    }
    Ok(Outcome::Pass)
}

fn unknown_attributes() -> Result<Outcome> {
    let mut scene = Scene::new()?;
    let quota = || set().u32(uapi::A_QUOTA, 5);
    scene.refuse(&[
        ("get", get().u32(1, 0), Errno::EINVAL, UNKNOWN, FIRST),
        ("get, of set", get().u32(uapi::A_QUOTA, 5), Errno::EINVAL, UNKNOWN, FIRST),
        ("dump", dump().u32(uapi::ENTRY_A_IIF, 5), Errno::EINVAL, UNKNOWN, FIRST),
        ("dump, empty", dump().attr(99, &[]), Errno::EINVAL, UNKNOWN, FIRST),
        (
            "dump, of its answer",
            dump().u32(uapi::ENTRY_A_SRC4, 5),
            Errno::EINVAL,
            UNSUPPORTED,
            FIRST,
        ),
        ("set, 0", set().u32(0, 5), Errno::EINVAL, UNKNOWN, FIRST),
        ("set, one more", set().u32(uapi::A_MAX + 1, 5), Errno::EINVAL, UNKNOWN, FIRST),
        ("set, behind another", quota().u32(99, 5), Errno::EINVAL, UNKNOWN, SECOND),
        ("set, the highest", set().u32(0x3fff, 5), Errno::EINVAL, UNKNOWN, FIRST),
        ("set, a counter", set().u32(uapi::A_HITS, 0), Errno::EINVAL, UNSUPPORTED, FIRST),
        ("set, max_quota", quota().u32(uapi::A_MAX_QUOTA, 9), Errno::EINVAL, UNSUPPORTED, SECOND),
        (
            "flush, of its answer",
            flush().u32(uapi::FLUSH_A_FLUSHED, 1),
            Errno::EINVAL,
            UNKNOWN,
            FIRST,
        ),
        ("flush, 60000 bytes", flush().attr(200, &[7; 60_000]), Errno::EINVAL, UNKNOWN, FIRST),
    ])
}

fn sizes() -> Result<Outcome> {
    let mut scene = Scene::new()?;
    let mut refusals: Vec<Refusal> = Vec::new();
    for size in [0, 1, 2, 3, 5, 8, 1000] {
        let number = vec![1; size];
        for attribute in [uapi::A_QUOTA, uapi::A_TIMEOUT] {
            refusals.push(("set", set().attr(attribute, &number), Errno::EINVAL, LENGTH, FIRST));
        }
        for attribute in [uapi::FLUSH_A_IFINDEX, uapi::FLUSH_A_DST_LEN] {
            refusals.push((
                "flush",
                flush().attr(attribute, &number),
                Errno::EINVAL,
                LENGTH,
                FIRST,
            ));
        }
    }
    for size in [0, 1, 2, 8] {
        let message = set().attr(uapi::A_ENABLED, &vec![0; size]);
        refusals.push(("enabled", message, Errno::EINVAL, LENGTH, FIRST));
        let message = dump().attr(uapi::ENTRY_A_FAMILY, &vec![0; size]);
        refusals.push(("family", message, Errno::EINVAL, LENGTH, FIRST));
    }
    scene.refuse(&refusals)
}

fn beyond_the_message() -> Result<Outcome> {
    let mut scene = Scene::new()?;
    let mut refusals: Vec<Refusal> = Vec::new();
    for length in [9, 12, 0x100, 0xffff, 0, 1, 3] {
        let quota = set().attr_of_length(length, uapi::A_QUOTA, &5u32.to_ne_bytes());
        refusals.push(("set", quota, Errno::EINVAL, LEFTOVER, None));
        let dst = flush().attr_of_length(length, uapi::FLUSH_A_DST4, &[10, 9, 0, 0]);
        refusals.push(("flush", dst, Errno::EINVAL, LEFTOVER, None));
        let dump = dump().attr_of_length(length, 1, &[0; 4]);
        refusals.push(("dump", dump, Errno::EINVAL, LEFTOVER, None));
    }
    // A header alone, and less than a header.
    for bytes in [1, 2, 3] {
        let message = set().u32(uapi::A_QUOTA, 5).raw(&vec![0; bytes]);
        refusals.push(("rest", message, Errno::EINVAL, LEFTOVER, None));
    }
    let rest = set().u32(uapi::A_QUOTA, 5).raw(&[0; 4]);
    refusals.push(("empty header", rest, Errno::EINVAL, LEFTOVER, None));
    // The message ends in mid-attribute; there is more in the datagram.
    let inside = set().u32(uapi::A_QUOTA, 5).u32(uapi::A_TIMEOUT, 5);
    for length in (ATTRIBUTES + 1..ATTRIBUTES + 16).filter(|length| *length != ATTRIBUTES + 8) {
        let message = Message { length: Some(length as u32), ..inside.clone() };
        refusals.push(("cut", message, Errno::EINVAL, LEFTOVER, None));
    }
    scene.refuse(&refusals)
}

fn nests() -> Result<Outcome> {
    const NEST: u16 = 0x8000;
    let mut scene = Scene::new()?;
    let inner = [8, 0, 1, 0, 5, 0, 0, 0];
    scene.refuse(&[
        ("quota", set().u32(uapi::A_QUOTA | NEST, 5), Errno::EINVAL, NESTED, FIRST),
        ("enabled", set().u32(uapi::A_ENABLED | NEST, 0), Errno::EINVAL, NESTED, FIRST),
        ("nest in quota", set().attr(uapi::A_QUOTA | NEST, &inner), Errno::EINVAL, LENGTH, FIRST),
        ("ifindex", flush().u32(uapi::FLUSH_A_IFINDEX | NEST, 1), Errno::EINVAL, NESTED, FIRST),
        ("dst", flush().attr(uapi::FLUSH_A_DST4 | NEST, &inner[..4]), Errno::EINVAL, NESTED, FIRST),
        ("unknown", flush().attr(77 | NEST, &inner), Errno::EINVAL, UNKNOWN, FIRST),
        ("get", get().attr(1 | NEST, &inner), Errno::EINVAL, UNKNOWN, FIRST),
    ])
}

fn twice() -> Result<Outcome> {
    let mut scene = Scene::new()?;
    let quota = |first, second| set().u32(uapi::A_QUOTA, first).u32(uapi::A_QUOTA, second);
    scene.refuse(&[
        ("the first is bad", quota(0, 5), Errno::ERANGE, NUMBER, FIRST),
        ("the second is bad", quota(5, 0), Errno::ERANGE, NUMBER, SECOND),
        ("the one that counts is bad", quota(5, u32::MAX), Errno::ERANGE, MAX_QUOTA, SECOND),
    ])?;
    // As everywhere in netlink, the last one counts.
    let mut many = set();
    for number in 1..=5000 {
        many = many.u32(uapi::A_QUOTA, number);
    }
    for (message, want) in [(quota(50, 70), 70), (many, 5000)] {
        let answer = scene.socket.ask(&message)?;
        ensure!(answer.verdict()?.error == DONE, "{answer:?}");
        let have = scene.router.figures()?.get("quota")?;
        ensure!(have == want, "the quota is {have}, want {want}");
    }
    scene.still_works()
}

fn settings() -> Result<Outcome> {
    let mut scene = Scene::new()?;
    let max = scene.in_vain(&get())?.messages[0].number(uapi::A_MAX_QUOTA)? as u32;
    let mut refusals: Vec<Refusal> = Vec::new();
    for quota in [max + 1, 1 << 31, u32::MAX] {
        let message = set().u32(uapi::A_QUOTA, quota);
        refusals.push(("quota", message, Errno::ERANGE, MAX_QUOTA, FIRST));
    }
    refusals.push(("quota", set().u32(uapi::A_QUOTA, 0), Errno::ERANGE, NUMBER, FIRST));
    for timeout in [0, 86401, 1 << 31, u32::MAX] {
        let message = set().u32(uapi::A_TIMEOUT, timeout);
        refusals.push(("timeout", message, Errno::ERANGE, NUMBER, FIRST));
    }
    for enabled in [2, 0x80, u32::MAX] {
        let message = set().u32(uapi::A_ENABLED, enabled);
        refusals.push(("enabled", message, Errno::ERANGE, NUMBER, FIRST));
    }
    scene.refuse(&refusals)
}

/// Nothing is set, nothing is flushed.
fn parts() -> Result<Outcome> {
    let mut scene = Scene::new()?;
    let off = || set().u32(uapi::A_ENABLED, 0);
    let quota = || set().u32(uapi::A_QUOTA, 5);
    let here = || flush().attr(uapi::FLUSH_A_DST4, &[10, 9, 0, 0]);
    scene.refuse(&[
        ("a bad timeout", quota().u32(uapi::A_TIMEOUT, 0), Errno::ERANGE, NUMBER, SECOND),
        ("a bad quota", off().u32(uapi::A_QUOTA, u32::MAX), Errno::ERANGE, MAX_QUOTA, SECOND),
        ("a bad switch", quota().u32(uapi::A_ENABLED, 9), Errno::ERANGE, NUMBER, SECOND),
        ("a bad length", here().u32(uapi::FLUSH_A_DST_LEN, 33), Errno::EINVAL, TOO_LONG, SECOND),
        ("a bad device", here().u32(uapi::FLUSH_A_IFINDEX, 0), Errno::ERANGE, NUMBER, SECOND),
        ("an unknown one", flush().raw(&[8, 0, 9, 0, 0, 0, 0, 0]), Errno::EINVAL, UNKNOWN, FIRST),
    ])?;
    scene.refuse(&[("no setting", set(), Errno::EINVAL, NO_SETTING, None)])
}

fn networks() -> Result<Outcome> {
    let mut scene = Scene::new()?;
    let dst4 = |address: &[u8]| flush().attr(uapi::FLUSH_A_DST4, address);
    let dst6 = |address: &[u8]| flush().attr(uapi::FLUSH_A_DST6, address);
    let length = |length| flush().u32(uapi::FLUSH_A_DST_LEN, length);
    let mut refusals: Vec<Refusal> = Vec::new();
    for size in (0..=17).filter(|size| *size != 4) {
        refusals.push(("no address", dst4(&vec![0; size]), Errno::EINVAL, LENGTH, FIRST));
    }
    for size in [0, 4, 15, 17, 20, 32, 4096] {
        refusals.push(("no address", dst6(&vec![0; size]), Errno::ERANGE, SIZE, FIRST));
        let dump = dump().attr(uapi::ENTRY_A_DST6, &vec![0; size]);
        refusals.push(("no address", dump, Errno::ERANGE, SIZE, FIRST));
    }
    let both = dst4(&[10, 9, 0, 0]).attr(uapi::FLUSH_A_DST6, &[0; 16]);
    refusals.push(("both families", both, Errno::EINVAL, ONE_FAMILY, SECOND));
    refusals.push(("length alone", length(0), Errno::EINVAL, NO_ADDRESS, FIRST));
    refusals.push(("length alone", length(128), Errno::EINVAL, NO_ADDRESS, FIRST));
    for length in [33, 64, 128] {
        let message = dst4(&[0; 4]).u32(uapi::FLUSH_A_DST_LEN, length);
        refusals.push(("IPv4", message, Errno::EINVAL, TOO_LONG, SECOND));
    }
    for length in [129, 1 << 31, u32::MAX] {
        let message = dst4(&[0; 4]).u32(uapi::FLUSH_A_DST_LEN, length);
        refusals.push(("IPv4", message, Errno::ERANGE, NUMBER, SECOND));
        let message = dst6(&[0; 16]).u32(uapi::FLUSH_A_DST_LEN, length);
        refusals.push(("IPv6", message, Errno::ERANGE, NUMBER, Some(ATTRIBUTES + 20)));
    }
    scene.refuse(&refusals)
}

/// A dump that is about no entries that there can be says so at its end.
fn filters() -> Result<Outcome> {
    let mut scene = Scene::new()?;
    let family = |family| dump().u32(uapi::ENTRY_A_FAMILY, family);
    let dst4 = || dump().attr(uapi::ENTRY_A_DST4, &[10, 9, 0, 0]);
    let length = |length| dst4().u32(uapi::ENTRY_A_DST_LEN, length);
    scene.refuse(&[
        ("no family", family(11), Errno::ERANGE, NUMBER, FIRST),
        ("no length", length(129), Errno::ERANGE, NUMBER, SECOND),
    ])?;
    let alone = dump().u32(uapi::ENTRY_A_DST_LEN, 8);
    let both = dst4().attr(uapi::ENTRY_A_DST6, &[0; 16]);
    for (what, message, error) in [
        ("unspecified", family(0), Errno::EAFNOSUPPORT),
        ("of files", family(1), Errno::EAFNOSUPPORT),
        ("too long", length(33), Errno::EINVAL),
        ("length alone", alone, Errno::EINVAL),
        ("both families", both, Errno::EINVAL),
    ] {
        let answer = scene.in_vain(&message).context(what)?;
        ensure!(answer.ends == [error] && answer.messages.is_empty(), "{what}: {answer:?}");
    }
    // Others show what they are about: of 6 and 4 entries.
    for (what, message, want) in [
        ("IPv4", family(2), 6),
        ("IPv6", family(10), 4),
        ("a network", length(16), 6),
        ("a half of it", length(30), 4),
        ("an address", dst4(), 1),
        ("another", dump().attr(uapi::ENTRY_A_DST4, &[10, 8, 0, 0]), 0),
        ("a family without it", dst4().u32(uapi::ENTRY_A_FAMILY, 10), 0),
        ("all of IPv6", dump().attr(uapi::ENTRY_A_DST6, &[0; 16]).u32(uapi::ENTRY_A_DST_LEN, 0), 4),
    ] {
        let answer = scene.in_vain(&message).context(what)?;
        let have = scene.router.shown(&answer).context(what)?.len();
        ensure!(answer.ends == [DONE] && have == want, "{what}: {have} entries, want {want}");
    }
    scene.still_works()
}

/// Who listens is told what others do, in this namespace alone.
fn events() -> Result<Outcome> {
    let mut scene = Scene::new()?;
    let listener = |router: &Router| {
        router.net().run(|| {
            let socket = Socket::open()?;
            socket.join()?;
            Ok(socket)
        })
    };
    let (mine, others) = (listener(&scene.router)?, listener(&scene.other)?);
    let heard = |socket: &Socket| -> Result<Answer> {
        let mut answer = Answer::default();
        while let Some(bytes) = socket.receive(ROOM)? {
            answer.add(&bytes)?;
        }
        Ok(answer)
    };
    scene.socket.ask(&set().u32(uapi::A_QUOTA, 777))?;
    let answer = heard(&mine)?;
    let [event] = &answer.messages[..] else { bail!("after a change: {answer:?}") };
    ensure!(answer.commands == [uapi::CMD_CACHE_NTF], "{answer:?}");
    ensure!(event.number(uapi::A_QUOTA)? == 777, "{answer:?}");
    ensure!(event.number(uapi::A_ENTRIES4)? == 6, "{answer:?}");
    scene.socket.ask(&flush())?;
    let answer = heard(&mine)?;
    let [event] = &answer.messages[..] else { bail!("after a flush: {answer:?}") };
    ensure!(answer.commands == [uapi::CMD_FLUSH_NTF], "{answer:?}");
    ensure!(event.number(uapi::FLUSH_A_FLUSHED)? == 10, "{answer:?}");
    // What is refused is no event, nor is what is read.
    scene.socket.ask(&set().u32(uapi::A_QUOTA, u32::MAX))?;
    scene.socket.ask(&get())?;
    scene.socket.ask(&dump())?;
    ensure!(heard(&mine)?.messages.is_empty(), "there is more");
    ensure!(heard(&others)?.messages.is_empty(), "events of another namespace");
    scene.router.fill(6, 4)?;
    scene.still_works()
}

fn devices() -> Result<Outcome> {
    let mut scene = Scene::new()?;
    let dev = |index| flush().u32(uapi::FLUSH_A_IFINDEX, index);
    let refusals: Vec<Refusal> = [0, 1 << 31, (-1i32) as u32, i32::MIN as u32 + 1]
        .map(|index| ("device", dev(index), Errno::ERANGE, NUMBER, FIRST))
        .into();
    scene.refuse(&refusals)?;
    // A device may be gone when the request arrives, so that is not an error. The number of a device
    // in another namespace does not mean that device.
    let elsewhere = Netns::new()?;
    elsewhere.run(|| rnetns_selftests::command::ip(&["link add name far index 777 type dummy"]))?;
    for index in [555, 777, i32::MAX as u32] {
        let answer = scene.in_vain(&dev(index))?;
        let flushed = answer.messages[0].number(uapi::FLUSH_A_FLUSHED)?;
        ensure!(answer.verdict()?.error == DONE && flushed == 0, "{answer:?}");
    }
    scene.still_works()
}

/// Values at the edge of what is allowed are accepted.
fn limits() -> Result<Outcome> {
    let mut scene = Scene::new()?;
    let max = scene.in_vain(&get())?.messages[0].number(uapi::A_MAX_QUOTA)? as u32;
    for (quota, timeout) in [(max, 86400), (65536, 3600)] {
        let message = set().u32(uapi::A_QUOTA, quota).u32(uapi::A_TIMEOUT, timeout);
        let answer = scene.socket.ask(&message)?;
        ensure!(answer.verdict()?.error == DONE, "{answer:?}");
        let figures = scene.router.figures()?;
        let have = (figures.get("quota")?, figures.get("timeout")?);
        ensure!(have == (quota.into(), timeout.into()), "{have:?} is set, not {quota}, {timeout}");
    }
    // All of IPv6; one address of IPv4; all of it.
    for (address, length, want) in
        [(&[0; 16][..], 0, 4), (&[10, 9, 0, 3][..], 32, 1), (&[99, 0, 0, 0][..], 0, 5)]
    {
        let kind = if address.len() == 4 { uapi::FLUSH_A_DST4 } else { uapi::FLUSH_A_DST6 };
        let message = flush().attr(kind, address).u32(uapi::FLUSH_A_DST_LEN, length);
        let answer = scene.socket.ask(&message)?;
        let flushed = answer.messages.first().context("no answer")?;
        let flushed = flushed.number(uapi::FLUSH_A_FLUSHED)?;
        ensure!(flushed == want, "{flushed} of {address:?}/{length} are flushed, want {want}");
    }
    ensure!(scene.other.entries()? == (6, 4), "the other namespace has lost entries");
    scene.still_works()
}

/// More flushes in a row than there are tags within a grace period.
const IN_A_ROW: usize = 100;

/// A cache without entries is in use at once after a flush, or after it was switched off and on,
/// however often that happens.
fn flushes_of_nothing() -> Result<Outcome> {
    let mut scene = Scene::new()?;
    let off_and_on = [0, 1].map(|on| set().u32(uapi::A_ENABLED, on));
    for messages in [vec![flush()], off_and_on.into()] {
        for message in messages.iter().cycle().take(IN_A_ROW) {
            let answer = scene.socket.ask(message)?;
            ensure!(answer.verdict()?.error == DONE, "{answer:?}");
        }
        ensure!(scene.router.entries()? == (0, 0), "entries are left");
        let before = scene.router.figures()?;
        scene.router.fill(6, 4)?;
        let after = scene.router.figures()?;
        let grown = |name| anyhow::Ok(after.get(name)? - before.get(name)?);
        ensure!(grown("bypassed")? == 0, "{} packets were let pass", grown("bypassed")?);
        ensure!(grown("inserts")? == 10, "{} entries were put in", grown("inserts")?);
    }
    scene.still_works()
}

/// Flushed entries keep their tag until a grace period is over, and there are few tags. The promise
/// when no tag is left: packets go on as without the cache, and the cache comes back by itself.
fn flushes_in_a_row() -> Result<Outcome> {
    let mut scene = Scene::new()?;
    let before = scene.router.passed_on()?;
    let addresses = [address4(0), address6(0)];
    for _ in 0..IN_A_ROW {
        scene.router.deliver(&addresses)?;
        let answer = scene.socket.ask(&flush())?;
        ensure!(answer.verdict()?.error == DONE, "{answer:?}");
        ensure!(scene.router.entries()? == (0, 0), "entries are left");
    }
    let passed = scene.router.figures()?.get("bypassed")?;
    comment(&format!("{passed} packets were let pass after {IN_A_ROW} flushes"));
    let (sent, have) = (packets(addresses.len() * IN_A_ROW), scene.router.passed_on()? - before);
    ensure!(have == sent, "{have} packets were passed on, want {sent}");
    scene.router.fill(6, 4)?;
    scene.still_works()
}

/// xorshift64*, with a seed that the test prints.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u32 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32) as u32
    }

    fn below(&mut self, end: u32) -> u32 {
        self.next() % end
    }

    fn choose<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len() as u32) as usize]
    }

    fn bytes(&mut self, most: u32) -> Vec<u8> {
        (0..self.below(most + 1)).map(|_| self.next() as u8).collect()
    }

    /// Anything from a good request to noise behind a header.
    fn message(&mut self) -> Message {
        let command = match self.below(16) {
            0 => self.next() as u8,
            _ => 1 + self.below(u32::from(uapi::CMD_MAX)) as u8,
        };
        let mut message = Message::new(command);
        let likely = if command == uapi::CMD_ENTRY_GET { 15 } else { 1 };
        if self.below(16) < likely {
            message.flags |= flag::DUMP;
        }
        if self.below(16) == 0 {
            message.flags |= self.next() as u16;
        }
        if self.below(16) == 0 {
            message.reserved = self.next() as u16;
        }
        message.version = self.next() as u8;
        if self.below(4) == 0 {
            let noise = self.bytes(64);
            return message.raw(&noise);
        }
        for _ in 0..self.below(4) {
            message = self.attribute(message);
        }
        message
    }

    fn attribute(&mut self, message: Message) -> Message {
        let kind = match (self.below(8), message.command) {
            (0, _) => self.next() as u16,
            (1.., uapi::CMD_CACHE_SET) => {
                self.choose(&[uapi::A_QUOTA, uapi::A_TIMEOUT, uapi::A_ENABLED])
            }
            (1.., uapi::CMD_ENTRY_GET) => 1 + self.below(u32::from(uapi::ENTRY_A_DST_LEN)) as u16,
            (1.., uapi::CMD_FLUSH) => 1 + self.below(u32::from(uapi::FLUSH_A_DST_LEN)) as u16,
            _ => self.below(u32::from(uapi::A_MAX) + 2) as u16,
        };
        match self.below(8) {
            0 => {
                let (length, value) = (self.choose(&[0, 3, 4, 5, 8, 12, 0xffff]), self.bytes(16));
                message.attr_of_length(length, kind, &value)
            }
            1 => {
                let value = self.bytes(20);
                message.attr(kind, &value)
            }
            2 => message.attr(kind, &[self.below(3) as u8]),
            3 => message.attr(kind, &self.next().to_ne_bytes()),
            _ => {
                let number =
                    self.choose(&[0, 1, 2, 7, 24, 32, 33, 64, 128, 129, 4000, 86400, 1 << 31]);
                message.u32(kind, number)
            }
        }
    }
}

/// How random messages ended.
#[derive(Default)]
struct Tally {
    errors: BTreeMap<i32, u32>,
    dumps: u32,
    without_words: u32,
    cut: u32,
}

impl Tally {
    /// Sends `count` messages and checks the answers.
    fn send(&mut self, socket: &mut Socket, random: &mut Random, count: u32) -> Result<()> {
        for _ in 0..count / TOGETHER {
            let mut bytes = Vec::new();
            for _ in 0..TOGETHER {
                let message = random.message();
                bytes.extend(socket.bytes(&message));
                bytes.resize(bytes.len().next_multiple_of(4), 0);
            }
            self.look(&socket.ask_bytes(&bytes)?)?;
            if random.below(4) == 0 {
                // Bytes behind a wrong length are not a message any more.
                let length = Some(random.choose(&[0, 15, 16, 19, 20, 24, 1 << 20, u32::MAX]));
                let message = Message { length, ..random.message() };
                self.cut += 1;
                self.look(&socket.ask(&message)?)?;
            }
        }
        Ok(())
    }

    fn look(&mut self, answer: &Answer) -> Result<()> {
        let expected = [DONE, Errno::EINVAL, Errno::EAFNOSUPPORT];
        let all = answer.ends.iter().all(|end| expected.contains(end));
        ensure!(all, "dumps ended with {:?}", answer.ends);
        self.dumps += answer.ends.len() as u32;
        for verdict in &answer.verdicts {
            *self.errors.entry(verdict.error as i32).or_default() += 1;
            let expected =
                [DONE, Errno::EINVAL, Errno::ERANGE, Errno::EOPNOTSUPP, Errno::EBUSY, FAMILY];
            ensure!(expected.contains(&verdict.error), "{verdict:?}");
            ensure!(verdict.error != Errno::ERANGE || verdict.words.is_some(), "{verdict:?}");
            let silent = verdict.error == Errno::EINVAL && verdict.words.is_none();
            self.without_words += u32::from(silent);
        }
        Ok(())
    }

    fn answers(&self) -> u32 {
        self.dumps + self.errors.values().sum::<u32>()
    }
}

fn random() -> Result<Outcome> {
    let seed = match std::env::args().nth(1) {
        Some(seed) => u64::from_str_radix(&seed, 16).context("a seed in hexadecimal digits")?,
        None => {
            SystemTime::now().duration_since(UNIX_EPOCH).context("the clock")?.as_nanos() as u64
        }
    };
    comment(&format!("seed {seed:x}: as an argument, it makes the same bytes again"));
    let mut random = Random(seed | 1);
    let mut scene = Scene::new()?;
    // For the answers to a whole datagram.
    scene.socket.set_room(1 << 20)?;
    let other = scene.other.figures()?;
    let mut tally = Tally::default();
    tally.send(&mut scene.socket, &mut random, 2000)?;
    let before = Usage::now()?;
    tally.send(&mut scene.socket, &mut random, RANDOM)?;
    comment(&format!(
        "{} answers, {} dumps, others by their error: {:?}; {} without words, {} of a wrong length",
        tally.answers(),
        tally.dumps,
        tally.errors,
        tally.without_words,
        tally.cut
    ));
    ensure!(tally.answers() >= RANDOM, "only {} answers", tally.answers());
    // Only a message whose length leaves no room for a header gets no answer.
    ensure!(tally.without_words <= tally.cut, "{} refusals without words", tally.without_words);
    for error in [DONE, Errno::EINVAL, Errno::ERANGE, Errno::EOPNOTSUPP] {
        ensure!(
            tally.errors.contains_key(&(error as i32)),
            "{error} never came: the messages are not mixed"
        );
    }
    let mut grown = Vec::new();
    let settled = wait_until(|| {
        grown = Usage::now().map_or_else(|_| Vec::new(), |now| now.grown_since(&before, 200));
        grown.is_empty()
    });
    ensure!(settled, "{RANDOM} messages have left objects: {grown:?}");
    ensure!(scene.other.figures()? == other, "the other namespace has changed");
    let reset = set().u32(uapi::A_QUOTA, 1000).u32(uapi::A_TIMEOUT, 3600).u32(uapi::A_ENABLED, 1);
    let answer = scene.socket.ask(&reset)?;
    ensure!(answer.verdict()?.error == DONE, "{answer:?}");
    scene.socket.ask(&flush())?;
    // Undoes what the messages have changed in the settings. They have also flushed a cache without
    // entries over and over, which leaves it in use.
    let passed = scene.router.figures()?.get("bypassed")?;
    scene.router.fill(20, 10)?;
    let passed = scene.router.figures()?.get("bypassed")? - passed;
    ensure!(passed == 0, "{passed} packets were let pass");
    scene.still_works()
}
