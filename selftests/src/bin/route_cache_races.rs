// SPDX-License-Identifier: GPL-2.0

//! Everything that the route cache does, at once: packets, flushes, settings, dumps, changes of
//! routes and addresses, devices that go or move, namespaces that end with warm entries. Meanwhile
//! the module is loaded and unloaded.
//!
//! The threads do not wait for each other. Whether the module is there at a moment is chance, so
//! "there is no such family" is an accepted answer, and the only such error. The test counts that
//! the module was there often enough.
//!
//!   sender 10.0.N.2 ==== v router b ==== receiver      the receiver is all of 10.9.0.0/16 and
//!                          router c ==== receiver      fd09::/64
//!
//! Two of these, N is 1 and 2. Into the second router, guests plug a device `d`, and take it away.

use std::fs;
use std::net::{IpAddr, Ipv6Addr, UdpSocket};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use nix::errno::Errno;
use nix::kmod::{DeleteModuleFlags, delete_module};
use nix::net::if_::if_nametoindex;

use rnetns_selftests::command::{ip, ip_of};
use rnetns_selftests::genl::{Answer, DONE, Message, PAGE, Socket, uapi};
use rnetns_selftests::idle_hooks::IdleHooks;
use rnetns_selftests::ktap::{self, Outcome, comment};
use rnetns_selftests::memory::{self, Usage, settled_namespaces, wait_for_namespaces};
use rnetns_selftests::module::{self, Figures, Loaded, Module};
use rnetns_selftests::netns::Netns;
use rnetns_selftests::router::{Router, address4, address6};
use rnetns_selftests::{is_slow, patience, wait_until};

/// The least time that everything runs. It goes on until all has happened often enough.
const DURATION: Duration = Duration::from_secs(20);
/// Destinations of each family that a sender writes to.
const FLOWS: u16 = 400;
/// Destinations of each family that a guest sends to before its device goes, and a namespace before
/// its end.
const WARM: u16 = 8;
/// More parts than any dump has.
const ENDLESS: usize = 2000;
/// Growth beyond this of the number of objects of a kind is a leak: there are many times as many
/// entries.
const LIMIT: i64 = 300;
/// Destinations with a high number are flushed now and then.
const NETWORK6: Ipv6Addr = Ipv6Addr::new(0xfd09, 0, 0, 0, 0, 0, 1, 0x100);
/// The module's parameters, in turns.
const PARAMETERS: [&std::ffi::CStr; 5] =
    [c"", c"buckets=1024 quota=200", c"timeout=1", c"enable=N", c"buckets=2048 quota=16"];

fn main() -> ExitCode {
    if let Some(why) = memory::missing() {
        return ktap::skip_all(&why);
    }
    ktap::run(&[("everything_at_once", everything)])
}

// --- Counts -----------------------------------------------------------------------------------

/// Events that are counted, and the least number of each. A slow machine has far more of them.
#[derive(Clone, Copy)]
enum Count {
    Sent,
    Received4,
    Received6,
    Hits,
    FlushesOfAll,
    FlushesByDevice,
    FlushesByNetwork,
    Flushed,
    Quotas,
    Timeouts,
    SwitchesOff,
    SwitchesOn,
    Gone,
    Dumps,
    DumpsAbandoned,
    DumpsInterrupted,
    EntriesDumped,
    RouteChanges,
    DevicesRemoved,
    DevicesMoved,
    DevicesWarm,
    Namespaces,
    NamespacesWarm,
    Loads,
    UnloadsWarm,
    UnloadsRefused,
}

/// The name of each, and the least number, in that order.
const COUNTED: [(&str, u64); Count::UnloadsRefused as usize + 1] = [
    ("packets sent", 2000),
    ("IPv4 packets received", 500),
    ("IPv6 packets received", 500),
    ("hits seen", 500),
    ("flushes of all", 5),
    ("flushes by device", 5),
    ("flushes by network", 5),
    ("entries flushed by these", 20),
    ("changes of the quota", 5),
    ("changes of the timeout", 3),
    ("switched off", 3),
    ("switched on", 3),
    ("requests without a module", 3),
    ("dumps read", 5),
    ("dumps abandoned", 1),
    ("dumps interrupted by changes", 1),
    ("entries dumped", 100),
    ("changes of routes, rules, addresses", 20),
    ("devices removed", 1),
    ("devices moved", 1),
    ("of these, with entries", 1),
    ("namespaces ended", 3),
    ("of these, with entries", 1),
    ("loaded", 5),
    ("unloaded with entries", 3),
    ("times the module was in use", 0),
];

/// What the threads have in common.
#[derive(Default)]
struct Counts {
    stop: AtomicBool,
    counts: [AtomicU64; COUNTED.len()],
    failures: Mutex<Vec<String>>,
}

impl Counts {
    fn add(&self, what: Count, number: u64) {
        self.counts[what as usize].fetch_add(number, Relaxed);
    }

    /// Repeats `step` in a namespace until time is up. An error ends all.
    fn repeat(&self, name: &str, net: &Netns, mut step: impl FnMut(u64) -> Result<()>) {
        let mut done = net.enter();
        for number in 0.. {
            if done.is_err() || self.stop.load(Relaxed) {
                break;
            }
            done = step(number);
        }
        if let Err(error) = done {
            self.stop.store(true, Relaxed);
            if let Ok(mut failures) = self.failures.lock() {
                failures.push(format!("{name}: {error:#}"));
            }
        }
    }

    fn report(&self) -> Result<()> {
        for ((what, _), count) in COUNTED.iter().zip(&self.counts) {
            comment(&format!("{what}: {}", count.load(Relaxed)));
        }
        let failures = self.failures.lock().map(|f| f.join("; ")).unwrap_or_default();
        ensure!(failures.is_empty(), "{failures}");
        match self.missing() {
            Some(missing) => bail!(missing),
            None => Ok(()),
        }
    }

    /// The events that have not happened often enough.
    fn missing(&self) -> Option<String> {
        COUNTED.iter().zip(&self.counts).find_map(|((what, least), count)| {
            let count = count.load(Relaxed);
            (count < *least).then(|| format!("{what}: {count}, want at least {least}"))
        })
    }
}

// --- Scene ------------------------------------------------------------------------------------

/// A sender, a router, and a receiver with two routes to it.
struct Chain {
    number: u8,
    router: Netns,
    _sender: Netns,
    receiver: Netns,
    from: UdpSocket,
    from6: UdpSocket,
    to: UdpSocket,
}

fn set(setting: &str, value: &str) -> Result<()> {
    let path = format!("/proc/sys/net/{setting}");
    fs::write(&path, value).context(path)
}

/// Stops everything that the stack would send on its own.
fn quiet() -> Result<()> {
    set("ipv6/conf/default/accept_dad", "0")?;
    set("ipv6/conf/default/router_solicitations", "0")?;
    set("ipv4/conf/default/rp_filter", "0")?;
    set("ipv4/conf/all/rp_filter", "0")
}

/// Commands to make a device `name` of the thread's namespace one end of a network.
fn end(name: &str, network: &str, network6: &str, host: u8) -> [String; 3] {
    [
        format!("link set dev {name} up"),
        format!("addr add {network}.{host}/24 dev {name}"),
        format!("addr add {network6}::{host}/64 dev {name} nodad"),
    ]
}

fn ip_all(lines: &[String]) -> Result<()> {
    ip(&lines.iter().map(String::as_str).collect::<Vec<_>>())
}

impl Chain {
    fn new(number: u8) -> Result<Chain> {
        let (sender, router, receiver) = (Netns::new()?, Netns::new()?, Netns::new()?);
        for net in [&sender, &router, &receiver] {
            net.run(quiet)?;
        }
        let link = |near: &str, far: &str, net: &Netns| {
            format!("link add name {near} type veth peer name {far} netns {}", net.path())
        };
        router.run(|| {
            set("ipv4/ip_forward", "1")?;
            set("ipv6/conf/all/forwarding", "1")?;
            let mut lines =
                vec![link("v", "e", &sender), link("b", "e", &receiver), link("c", "f", &receiver)];
            lines.extend(end("v", &format!("10.0.{number}"), &format!("fd00:{number}"), 1));
            lines.extend(end("b", "10.1.0", "fd01", 1));
            lines.extend(end("c", "10.2.0", "fd02", 1));
            for table in ["", "table 102"] {
                let way = if table.is_empty() { 1 } else { 2 };
                lines.push(format!("route add 10.9.0.0/16 via 10.{way}.0.2 {table}"));
            }
            ip_all(&lines)
        })?;
        let from = |address| move || UdpSocket::bind(address).context("bind a sender");
        sender.run(|| {
            let mut lines =
                Vec::from(end("e", &format!("10.0.{number}"), &format!("fd00:{number}"), 2));
            lines.push(format!("route add default via 10.0.{number}.1"));
            lines.push(format!("route add default via fd00:{number}::1"));
            ip_all(&lines)
        })?;
        receiver.run(|| {
            let mut lines = vec!["link set dev lo up".to_owned()];
            lines.extend(end("e", "10.1.0", "fd01", 2));
            lines.extend(end("f", "10.2.0", "fd02", 2));
            lines.push("route add local 10.9.0.0/16 dev lo".into());
            lines.push("route add local fd09::/64 dev lo".into());
            ip_all(&lines)
        })?;
        router.run(|| {
            ip(&["route add fd09::/64 via fd01::2", "route add fd09::/64 via fd02::2 table 102"])
        })?;
        let (from, from6) = (sender.run(from("0.0.0.0:0"))?, sender.run(from("[::]:0"))?);
        let to = receiver.run(|| UdpSocket::bind("[::]:9").context("bind the receiver"))?;
        to.set_read_timeout(Some(Duration::from_millis(200)))?;
        Ok(Chain { number, router, _sender: sender, receiver, from, from6, to })
    }

    fn figures(&self) -> Result<Figures> {
        Figures::of_route_cache(self.router.inum())
    }
}

fn send_to(from: &UdpSocket, to: IpAddr, count: u64) -> u64 {
    (0..count).map(|_| u64::from(from.send_to(b"x", (to, 9)).is_ok())).sum()
}

// --- What happens -----------------------------------------------------------------------------

fn everything() -> Result<Outcome> {
    let module = Module::open()?;
    let _hooks = IdleHooks::register()?;
    // Things that are allocated only once are allocated now.
    warm_up(&module)?;
    let at_first = settled_namespaces()?;
    let before = Usage::now()?;
    let counts = Counts::default();
    let chains = [Chain::new(1)?, Chain::new(2)?];
    let (guest, parking, own) = (Netns::new()?, Netns::new()?, Netns::own()?);
    guest.run(quiet)?;
    thread::scope(|scope| {
        let counts = &counts;
        for chain in &chains {
            let router = &chain.router;
            scope.spawn(move || counts.repeat("send", &chain._sender, |n| send(chain, counts, n)));
            scope.spawn(move || {
                counts.repeat("receive", &chain.receiver, |_| receive(chain, counts))
            });
            let mut control = Control { socket: None, counts };
            scope.spawn(move || counts.repeat("control", router, |n| control.step(n)));
            scope.spawn(move || counts.repeat("dump", router, |n| dump(counts, n)));
        }
        let [first, second] = &chains;
        scope.spawn(move || counts.repeat("routes", &first.router, |n| routes(counts, n)));
        scope.spawn(|| {
            counts.repeat("devices", &guest, |n| devices(second, &guest, &parking, counts, n))
        });
        scope.spawn(|| counts.repeat("namespaces", &own, |_| namespace(counts)));
        scope.spawn(|| counts.repeat("load", &own, |n| load(&module, counts, n)));
        let begin = Instant::now();
        let goes_on = || match begin.elapsed() {
            elapsed if elapsed < DURATION => true,
            elapsed => elapsed < DURATION + patience() && counts.missing().is_some(),
        };
        while goes_on() && !counts.stop.load(Relaxed) {
            thread::sleep(Duration::from_millis(100));
        }
        comment(&format!("all of that in {} s", begin.elapsed().as_secs()));
        counts.stop.store(true, Relaxed);
    });
    counts.report()?;
    for chain in &chains {
        afterwards(chain, &module).with_context(|| format!("chain {} afterwards", chain.number))?;
    }
    drop((chains, guest, parking));
    wait_for_namespaces(at_first)?;
    let mut grown = Vec::new();
    let settled = wait_until(|| {
        grown = Usage::now().map_or_else(|_| Vec::new(), |now| now.grown_since(&before, LIMIT));
        grown.is_empty()
    });
    ensure!(settled, "objects are left: {grown:?}");
    Ok(Outcome::Pass)
}

fn warm_up(module: &Module) -> Result<()> {
    let loaded = module.load()?;
    let at_first = settled_namespaces()?;
    let router = Router::new(9)?;
    router.fill(WARM, WARM)?;
    drop(router);
    wait_for_namespaces(at_first)?;
    loaded.unload()
}

/// Packets to a destination at a time. If most packets missed, the cache would step aside.
const BURST: u64 = 5;

/// A few flows, which come again.
fn send(chain: &Chain, counts: &Counts, number: u64) -> Result<()> {
    let first = (number * 8 % u64::from(FLOWS)) as u16;
    for flow in first..first + 8 {
        counts.add(Count::Sent, send_to(&chain.from, address4(flow), BURST));
        counts.add(Count::Sent, send_to(&chain.from6, address6(flow), BURST));
    }
    thread::sleep(Duration::from_millis(10));
    Ok(())
}

fn receive(chain: &Chain, counts: &Counts) -> Result<()> {
    let mut packet = [0; 8];
    // Nothing arrived. The least numbers will tell.
    if let Ok((_, from)) = chain.to.recv_from(&mut packet) {
        let is_v4 = matches!(from.ip(), IpAddr::V6(ip) if ip.to_ipv4_mapped().is_some());
        counts.add(if is_v4 { Count::Received4 } else { Count::Received6 }, 1);
    }
    Ok(())
}

fn is_loaded() -> bool {
    Path::new("/sys/module/rnetns").exists()
}

/// A client of the module. Its socket stays open while the module comes and goes.
struct Control<'a> {
    socket: Option<Socket>,
    counts: &'a Counts,
}

/// Opens a socket, if the family exists. Otherwise the kernel would try to load a module each time.
fn connect(counts: &Counts) -> Option<Socket> {
    let socket = is_loaded().then(|| Socket::open().ok()).flatten();
    if socket.is_none() {
        counts.add(Count::Gone, 1);
        thread::sleep(Duration::from_millis(10));
    }
    socket
}

impl Control<'_> {
    fn step(&mut self, number: u64) -> Result<()> {
        let Some(socket) = self.socket.as_mut() else {
            self.socket = connect(self.counts);
            return Ok(());
        };
        let flush = || Message::new(uapi::CMD_FLUSH);
        let set = || Message::new(uapi::CMD_CACHE_SET);
        let (count, message) = match number % 10 {
            // Lets entries gather now and then.
            0 if number.is_multiple_of(40) => (Count::FlushesOfAll, flush()),
            0 => (Count::FlushesByNetwork, flush().attr(uapi::FLUSH_A_DST4, &[10, 9, 0, 7])),
            1 | 6 => {
                let name = if number % 40 == 6 { "v" } else { "c" };
                let index = if_nametoindex(name).context("find a device")?;
                (Count::FlushesByDevice, flush().u32(uapi::FLUSH_A_IFINDEX, index))
            }
            2 => {
                let network = flush().attr(uapi::FLUSH_A_DST4, &[10, 9, 1, 0]);
                (Count::FlushesByNetwork, network.u32(uapi::FLUSH_A_DST_LEN, 24))
            }
            7 => {
                let network = flush().attr(uapi::FLUSH_A_DST6, &NETWORK6.octets());
                (Count::FlushesByNetwork, network.u32(uapi::FLUSH_A_DST_LEN, 120))
            }
            3 | 8 => {
                let quota = [4096, 300, 1, 700][(number / 5 % 4) as usize];
                (Count::Quotas, set().u32(uapi::A_QUOTA, quota))
            }
            4 => (Count::Timeouts, set().u32(uapi::A_TIMEOUT, 1 + (number / 10 % 4) as u32)),
            5 => (Count::SwitchesOff, set().u32(uapi::A_ENABLED, 0)),
            _ => (Count::SwitchesOn, set().u32(uapi::A_ENABLED, 1)),
        };
        let answer = socket.ask(&message)?;
        match answer.verdict()?.error {
            DONE => self.counts.add(count, 1),
            Errno::ENOENT => {
                self.counts.add(Count::Gone, 1);
                self.socket = None;
            }
            error => bail!("{message:?}: {error}"),
        }
        if let Some(flushed) = answer.messages.first() {
            self.counts.add(Count::Flushed, flushed.number(uapi::FLUSH_A_FLUSHED)?);
        }
        // Off for a moment, on for longer.
        let pause = if number % 10 == 5 { 2 } else { 15 };
        thread::sleep(Duration::from_millis(pause));
        // What comes after it goes to on, wherever it stood.
        if number % 10 == 5 && self.socket.is_some() {
            return self.step(9);
        }
        Ok(())
    }
}

/// Reads all entries of the thread's namespace; none if there is no family. So many parts at most.
fn read(counts: &Counts, most: usize) -> Result<Option<Answer>> {
    let Some(mut socket) = connect(counts) else {
        return Ok(None);
    };
    // The kernel's minimum, which is less than a part.
    socket.set_room(1)?;
    let bytes = socket.bytes(&Message::dump(uapi::CMD_ENTRY_GET));
    socket.send(&bytes).context("ask for a dump")?;
    let mut answer = Answer::default();
    while answer.parts < most {
        let Some(bytes) = socket.receive(PAGE)? else {
            break;
        };
        answer.parts += 1;
        answer.add(&bytes)?;
        // Time for changes.
        thread::sleep(Duration::from_millis(1));
    }
    // The family does not exist, or its module is about to go and no dump may begin.
    let gone = [Errno::ENOENT, Errno::EPROTONOSUPPORT];
    if answer.verdicts.iter().any(|verdict| gone.contains(&verdict.error)) {
        return Ok(None);
    }
    ensure!(answer.verdicts.is_empty(), "a dump was refused: {:?}", answer.verdicts);
    ensure!(answer.ends.iter().all(|end| *end == DONE), "a dump ended with {:?}", answer.ends);
    ensure!(answer.parts < ENDLESS, "a dump does not end");
    Ok(Some(answer))
}

fn dump(counts: &Counts, number: u64) -> Result<()> {
    let abandon = number % 4 == 3;
    let Some(answer) = read(counts, if abandon { 1 } else { ENDLESS })? else {
        return Ok(());
    };
    match answer.ends.is_empty() {
        true => counts.add(Count::DumpsAbandoned, 1),
        false => counts.add(Count::Dumps, 1),
    }
    ensure!(abandon || !answer.ends.is_empty(), "a dump stops without an end");
    counts.add(Count::DumpsInterrupted, answer.interrupted.into());
    counts.add(Count::EntriesDumped, answer.messages.len() as u64);
    thread::sleep(Duration::from_millis(10));
    Ok(())
}

/// Changes routes, rules, addresses and MTUs of the first router. There is a route at any time.
fn routes(counts: &Counts, number: u64) -> Result<()> {
    let (option, changes): (&str, [&str; 11]) = match number % 2 {
        0 => (
            "-4",
            [
                "route replace 10.9.0.0/16 via 10.2.0.2",
                "addr add 10.7.0.1/24 dev b",
                "rule add pref 500 to 10.9.0.0/24 lookup 102",
                "route replace 10.9.0.0/16 via 10.1.0.2",
                "rule del pref 500",
                "route add 10.9.0.128/25 via 10.2.0.2",
                "link set dev c mtu 1400",
                "addr del 10.7.0.1/24 dev b",
                "route del 10.9.0.128/25",
                "link set dev c mtu 1500",
                "route replace 10.9.1.0/24 via 10.1.0.2",
            ],
        ),
        _ => (
            "-6",
            [
                "route add fd09::1:0/120 via fd02::2",
                "addr add fd07::1/64 dev b nodad",
                "rule add pref 500 to fd09::1:0/112 lookup 102",
                "route add fd09::1:100/120 via fd02::2",
                "rule del pref 500",
                "route del fd09::1:0/120",
                "link set dev c mtu 1400",
                "addr del fd07::1/64 dev b",
                "route del fd09::1:100/120",
                "link set dev c mtu 1500",
                "route replace fd09::/64 via fd01::2",
            ],
        ),
    };
    ip_of(option, &changes)?;
    counts.add(Count::RouteChanges, changes.len() as u64);
    Ok(())
}

/// A guest's device is plugged in, used, and goes, for good or into another namespace. No entry
/// concerns it afterwards.
fn devices(
    chain: &Chain,
    guest: &Netns,
    parking: &Netns,
    counts: &Counts,
    number: u64,
) -> Result<()> {
    let link = format!("link add name d type veth peer name g netns {}", guest.path());
    let index = chain.router.run(|| {
        let mut lines = vec![link];
        lines.extend(end("d", "10.5.0", "fd05", 1));
        ip_all(&lines)?;
        if_nametoindex("d").context("find d")
    })?;
    let mut lines = Vec::from(end("g", "10.5.0", "fd05", 2));
    lines.push("route add default via 10.5.0.1".into());
    lines.push("route add default via fd05::1".into());
    ip_all(&lines)?;
    let (from, from6) = (UdpSocket::bind("0.0.0.0:0")?, UdpSocket::bind("[::]:0")?);
    let concerned = || -> Result<usize> {
        let of = |kind| move |entry: &rnetns_selftests::genl::Attributes| entry.number(kind);
        let is = |number: Result<u64>| number.is_ok_and(|number| number == index.into());
        let answer = chain.router.run(|| read(counts, ENDLESS))?.unwrap_or_default();
        let entries = answer.messages.iter();
        Ok(entries
            .filter(|entry| is(of(uapi::ENTRY_A_IIF)(entry)) || is(of(uapi::ENTRY_A_OIF)(entry)))
            .count())
    };
    let is_warm = warm(
        counts,
        |flow| {
            send_to(&from, address4(flow), BURST);
            send_to(&from6, address6(flow), BURST);
            Ok(())
        },
        || Ok(concerned()? > 0),
    )?;
    counts.add(Count::DevicesWarm, is_warm.into());
    if number.is_multiple_of(2) {
        chain.router.run(|| ip(&["link del dev d"]))?;
        counts.add(Count::DevicesRemoved, 1);
    } else {
        let to = format!("link set dev d netns {}", parking.path());
        chain.router.run(|| ip(&[&to]))?;
        parking.run(|| ip(&["link set dev d up", "link del dev d"]))?;
        counts.add(Count::DevicesMoved, 1);
    }
    let left = concerned()?;
    ensure!(left == 0, "{left} entries of a device that is gone");
    Ok(())
}

/// What takes so long, where a machine keeps time.
fn slower(time: Duration) -> Duration {
    if is_slow() { time * 10 } else { time }
}

/// Sends until there are entries, since the module may be absent. Returns whether there are any.
fn warm(
    counts: &Counts,
    send: impl Fn(u16) -> Result<()>,
    has_entries: impl Fn() -> Result<bool>,
) -> Result<bool> {
    let end = Instant::now() + slower(Duration::from_secs(4));
    while Instant::now() < end && !counts.stop.load(Relaxed) {
        if is_loaded() {
            (0..WARM).try_for_each(&send)?;
            if has_entries()? {
                return Ok(true);
            }
        }
        thread::sleep(Duration::from_millis(20));
    }
    Ok(false)
}

/// A namespace fills its cache, and ends.
fn namespace(counts: &Counts) -> Result<()> {
    let router = Router::new(3)?;
    let is_warm = warm(
        counts,
        |flow| {
            router.send(address4(flow))?;
            router.send(address6(flow))
        },
        || Ok(router.entries().is_ok_and(|(v4, v6)| v4 + v6 > 0)),
    )?;
    drop(router);
    counts.add(Count::Namespaces, 1);
    counts.add(Count::NamespacesWarm, is_warm.into());
    Ok(())
}

fn load(module: &Module, counts: &Counts, number: u64) -> Result<()> {
    let parameters = PARAMETERS[(number % PARAMETERS.len() as u64) as usize];
    let loaded = module.load_with(parameters).context("load rnetns")?;
    // Long enough for namespaces to begin and end with it, now and then.
    let pause = slower(Duration::from_millis([3000, 30, 1500, 200][(number % 4) as usize]));
    let end = Instant::now() + pause;
    while Instant::now() < end && !counts.stop.load(Relaxed) {
        thread::sleep(pause.min(Duration::from_millis(30)));
    }
    let (mut hits, mut entries) = (0, 0);
    for figures in module::route_caches()?.values() {
        hits += figures.get("hits")?;
        entries += figures.get("entries4")? + figures.get("entries6")?;
    }
    counts.add(Count::Hits, hits);
    unload(loaded, counts)?;
    counts.add(Count::Loads, 1);
    counts.add(Count::UnloadsWarm, u64::from(entries > 0));
    thread::sleep(Duration::from_millis([10, 100][(number % 2) as usize]));
    Ok(())
}

/// Unloads the module while nobody reads a dump.
fn unload(loaded: Loaded, counts: &Counts) -> Result<()> {
    std::mem::forget(loaded);
    let mut last = Ok(());
    let gone = wait_until(|| {
        last = delete_module(c"rnetns", DeleteModuleFlags::O_NONBLOCK);
        counts.add(Count::UnloadsRefused, u64::from(last.is_err()));
        last != Err(Errno::EWOULDBLOCK)
    });
    ensure!(gone && last.is_ok(), "unload rnetns: {last:?}");
    Ok(())
}

// --- Afterwards -------------------------------------------------------------------------------

/// Packets of each flow that must arrive, one after another.
const ROUNDS: u64 = 4;
const CHECKED: u16 = 25;

/// All packets arrive: without the module, with it, with its cache off, and on again.
fn afterwards(chain: &Chain, module: &Module) -> Result<()> {
    arrive(chain).context("without the module")?;
    let loaded = module.load()?;
    let enable = |on: u32| {
        let answer = chain
            .router
            .run(Socket::open)?
            .ask(&Message::new(uapi::CMD_CACHE_SET).u32(uapi::A_ENABLED, on))?;
        ensure!(answer.verdict()?.error == DONE, "{answer:?}");
        Ok(())
    };
    // The first packet of each flow is not a hit.
    let all = u64::from(CHECKED) * 2 * (ROUNDS - 1);
    for (what, change, hits) in
        [("cached", None, all), ("off", Some(0), 0), ("on again", Some(1), all)]
    {
        if let Some(on) = change {
            enable(on)?;
        }
        let before = chain.figures()?.get("hits")?;
        arrive(chain).context(what)?;
        let now = chain.figures()?.get("hits")?;
        ensure!(now - before >= hits, "{what}: {} hits, want {hits}", now - before);
        ensure!(hits > 0 || now == before, "{what}: {} hits", now - before);
    }
    loaded.unload()?;
    arrive(chain).context("without the module again")
}

fn arrive(chain: &Chain) -> Result<()> {
    // The first ones wait for the neighbours.
    exchange(chain, 0..1)?;
    for _ in 0..ROUNDS {
        exchange(chain, 0..CHECKED)?;
    }
    Ok(())
}

/// A packet to each of these destinations, in both families, and they arrive. What was sent before,
/// and arrives now, is told from them by what is in it.
fn exchange(chain: &Chain, flows: std::ops::Range<u16>) -> Result<()> {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let number = NUMBER.fetch_add(1, Relaxed).to_ne_bytes();
    for flow in flows.clone() {
        chain.from.send_to(&number, (address4(flow), 9)).context("send")?;
        chain.from6.send_to(&number, (address6(flow), 9)).context("send")?;
    }
    let (mut have, want) = (0, flows.len() * 2);
    let mut packet = [0; 8];
    wait_until(|| {
        while have < want && chain.to.recv(&mut packet).is_ok() {
            have += usize::from(packet == number);
            packet = [0; 8];
        }
        have == want
    });
    ensure!(have == want, "{have} packets arrived, want {want}");
    Ok(())
}
