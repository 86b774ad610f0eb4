// SPDX-License-Identifier: GPL-2.0

//! Who looks at each entry of a cache, for those of a device, lets packets through in between. He
//! comes to the end although they bring new entries faster than he looks at old ones.
//!
//! He runs where the packets do, and has next to no time there: from one of his moments to the
//! next, more entries come to the end of the list than he has looked at. (A machine on which one
//! moment is enough for all entries shows nothing.)

use std::ffi::CString;
use std::fs;
use std::path::Path;
use std::process::ExitCode;
use std::thread;

use anyhow::{Context, Result, anyhow, ensure};
use nix::libc;
use nix::net::if_::if_nametoindex;
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::{Pid, gettid};

use rnetns_selftests::command::{ip, run};
use rnetns_selftests::fuzz::rtnetlink;
use rnetns_selftests::genl::{Message, Socket, uapi};
use rnetns_selftests::ktap::{self, Outcome, comment};
use rnetns_selftests::module::{Loaded, Module};
use rnetns_selftests::router::Router;
use rnetns_selftests::{is_slow, wait_until};

/// The processor of packets and walks.
const PROCESSOR: usize = 0;
/// How many packets a walk may last for, for each entry that the cache may have: some times what it
/// needs.
const MOST: u64 = 128;
/// A device that no entry is about.
const NOBODYS: &str = "nobodys";

/// The generator of packets of the calling thread's namespace.
const PKTGEN: &str = "/proc/thread-self/net/pktgen";

fn main() -> ExitCode {
    if !Path::new(PKTGEN).exists() {
        return ktap::skip_all("no generator of packets (CONFIG_NET_PKTGEN)");
    }
    ktap::run(&[
        ("a_flush_of_a_device_ends_beside_new_flows", flush),
        ("a_device_goes_beside_new_flows", removal),
    ])
}

/// A router, and a generator of packets that go through it: of flows that begin all the time, with
/// enough packets each to be worth an entry.
struct Scene {
    router: Router,
    quota: u64,
    _module: Loaded,
}

impl Scene {
    fn new() -> Result<Scene> {
        // More entries than a walk looks at in some of its moments.
        let quota = if is_slow() { 4096 } else { 32768 };
        let parameters = format!("timeout=3600 buckets=65536 max_quota={quota} quota={quota}");
        let module =
            Module::open()?.load_with(&CString::new(parameters)?).context("load rnetns")?;
        let router = Router::new(1)?;
        router.net().run(|| {
            let nobodys = format!("link add name {NOBODYS} type dummy");
            ip(&["route add 10.128.0.0/9 dev sink", &nobodys])
        })?;
        router.sender().run(|| {
            tell(&format!("kpktgend_{PROCESSOR}"), "add_device e")?;
            [
                "count 0",
                "delay 0",
                "pkt_size 60",
                "dst_mac 02:00:00:00:01:01",
                "dst_min 10.128.0.1",
                "dst_max 10.255.255.254",
                "flag IPDST_RND",
                "flows 1",
                "flowlen 4",
            ]
            .iter()
            .try_for_each(|command| tell("e", command))
        })?;
        Ok(Scene { router, quota, _module: module })
    }

    /// Does something in the router's namespace beside the packets.
    fn beside_new_flows<S: Send, T: Send>(
        &self,
        prepare: impl FnOnce() -> Result<S> + Send,
        walk: impl FnOnce(S) -> Result<T> + Send,
    ) -> Result<T> {
        thread::scope(|scope| {
            let packets = scope.spawn(|| self.router.sender().run(|| tell("pgctrl", "start")));
            let result = scope.spawn(|| self.walk(prepare, walk)).join();
            self.router.sender().run(|| tell("pgctrl", "stop"))?;
            packets.join().map_err(|_| anyhow!("a thread panicked"))??;
            result.map_err(|_| anyhow!("a thread panicked"))?
        })
    }

    fn walk<S: Send, T: Send>(
        &self,
        prepare: impl FnOnce() -> Result<S> + Send,
        walk: impl FnOnce(S) -> Result<T> + Send,
    ) -> Result<T> {
        let evictions = || self.router.figures()?.get("evictions");
        let is_full = || evictions().is_ok_and(|count| count >= self.quota);
        ensure!(wait_until(is_full), "the cache is not full: {:?}", self.router.figures()?);
        let (before, first) = (evictions()?, self.sent()?);
        thread::scope(|scope| {
            let job = scope.spawn(|| {
                self.router.net().run(|| {
                    let prepared = prepare()?;
                    stay_behind()?;
                    walk(prepared)
                })
            });
            let is_over = || self.sent().is_ok_and(|sent| sent >= first + MOST * self.quota);
            let ended = wait_until(|| job.is_finished() || is_over()) && job.is_finished();
            let (sent, gone) = (self.sent()? - first, evictions()? - before);
            comment(&format!("{sent} packets, {gone} entries evicted meanwhile"));
            // It ends when the packets do.
            self.router.sender().run(|| tell("pgctrl", "stop"))?;
            let result = job.join().map_err(|_| anyhow!("a thread panicked"))?;
            ensure!(ended, "{sent} packets have passed, and it has not ended");
            result
        })
    }

    /// How many packets were sent.
    fn sent(&self) -> Result<u64> {
        self.router.sender().run(|| {
            let said = fs::read_to_string(format!("{PKTGEN}/e")).context(PKTGEN)?;
            let mut words = said.split_ascii_whitespace();
            words.find(|word| *word == "pkts-sofar:").context("no figures of the packets")?;
            Ok(words.next().context("no number of packets")?.parse()?)
        })
    }
}

/// Writes to a file of the generator.
fn tell(file: &str, command: &str) -> Result<()> {
    fs::write(format!("{PKTGEN}/{file}"), command).with_context(|| format!("{file}: {command}"))
}

/// From now on, the calling thread runs where packets are sent, and these come first.
fn stay_behind() -> Result<()> {
    let mut one = CpuSet::new();
    one.set(PROCESSOR)?;
    sched_setaffinity(Pid::from_raw(0), &one).context("stay on a processor")?;
    run(&format!("renice -n 19 -p {}", gettid()))?;
    let generator = run(&format!("pgrep -x kpktgend_{PROCESSOR}"))?;
    run(&format!("renice -n -5 -p {}", generator.trim())).map(drop)
}

fn flush() -> Result<Outcome> {
    let scene = Scene::new()?;
    let flushed = scene.beside_new_flows(
        || Ok((Socket::open()?, if_nametoindex(NOBODYS)?)),
        |(mut socket, nobodys)| {
            let answer =
                socket.ask(&Message::new(uapi::CMD_FLUSH).u32(uapi::FLUSH_A_IFINDEX, nobodys))?;
            answer.messages.first().context("no answer to a flush")?.number(uapi::FLUSH_A_FLUSHED)
        },
    )?;
    comment(&format!("{flushed} entries flushed"));
    Ok(Outcome::Pass)
}

fn removal() -> Result<Outcome> {
    let scene = Scene::new()?;
    scene.beside_new_flows(rtnetlink::Socket::open, |socket| {
        let remove = rtnetlink::Request::new(libc::RTM_DELLINK, 0).raw(&[0; 16]);
        socket.demand("remove the device", remove.text(libc::IFLA_IFNAME, NOBODYS))
    })?;
    let devices = scene.router.net().run(|| run("ip -o link show"))?;
    ensure!(!devices.contains(NOBODYS), "it is still there: {devices}");
    Ok(Outcome::Pass)
}
