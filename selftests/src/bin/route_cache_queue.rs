// SPDX-License-Identifier: GPL-2.0

//! Packets that wait for the verdict of a program are not lost with the cache: to unregister a hook
//! drops all that wait in its namespace, so the cache keeps its hooks while there may be any.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::process::ExitCode;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::thread;

use anyhow::{Context, Result, anyhow, ensure};

use rnetns_selftests::command::{ip, nft, run};
use rnetns_selftests::genl::{DONE, Message, Socket, uapi};
use rnetns_selftests::ktap::{self, Outcome};
use rnetns_selftests::module::{Loaded, Module};
use rnetns_selftests::netns::Netns;
use rnetns_selftests::nfqueue::Queue;
use rnetns_selftests::router::{Router, address4, address6, packets};
use rnetns_selftests::wait_until;

/// Where packets that wait are going.
const FLOWS: u16 = 4;

fn main() -> ExitCode {
    let has_nft = run("nft --version").is_ok();
    if !has_nft {
        return ktap::skip_all("nft is not installed");
    }
    ktap::run(&[
        ("packets_wait_while_the_cache_is_switched_off_and_on", switched),
        ("packets_wait_while_the_cache_steps_aside", aside),
        ("a_packet_whose_device_has_moved_leaves_no_entry", moved),
    ])
}

/// The addresses of the namespace that a device moves to. The router has no route to them.
const THERE: [&str; 2] = ["10.66.0.1", "fd0b::1"];
/// How often the device moves at most.
const MOVES: usize = 50;

/// A packet may come to wait when its device has gone down already, which netfilter then does not
/// notice: one that is among the rules at that moment. So there are many rules.
fn moved() -> Result<Outcome> {
    let processors = thread::available_parallelism().context("how many processors there are")?;
    if processors.get() < 2 {
        return Ok(Outcome::Skip("one processor alone".to_owned()));
    }
    // The end of the other namespace would wait for an entry that should not be there.
    let _module = Module::open()?.load_with(c"timeout=20").context("load rnetns")?;
    let (router, there) = (Router::new(1)?, Netns::new()?);
    there.run(|| {
        let [v4, v6] = THERE;
        let addresses = [format!("addr add {v4}/32 dev lo"), format!("addr add {v6}/128 dev lo")];
        ip(&["link set dev lo up", &addresses[0], &addresses[1]])
    })?;
    let mut queue = router.net().run(|| {
        let (rules, jumps) = ("meta mark 1 accept\n".repeat(100), "jump some\n".repeat(100));
        for family in ["ip", "ip6"] {
            nft(&format!(
                "table {family} waits {{\nchain some {{\n{rules}}}\nchain many {{\n{jumps}}}\n\
                 chain each {{\ntype filter hook prerouting priority 0\njump many\nqueue num 0\n\
                 }}\n}}\n"
            ))?;
        }
        Queue::open()
    })?;
    let mut gone_on = BTreeSet::new();
    for _ in 0..MOVES {
        gone_on.extend(move_once(&router, &there, &mut queue)?);
        if gone_on.len() == THERE.len() {
            return Ok(Outcome::Pass);
        }
    }
    Ok(Outcome::Skip(format!("of packets whose device has moved, only {gone_on:?} waited")))
}

/// Moves the router's device there, and back, while packets come. Returns the protocols of those
/// that went on from where they waited when it had moved.
fn move_once(router: &Router, there: &Netns, queue: &mut Queue) -> Result<Vec<u16>> {
    let is_over = AtomicBool::new(false);
    let mut told = Vec::new();
    thread::scope(|scope| {
        let packets = scope.spawn(|| {
            while !is_over.load(Relaxed) {
                for address in THERE {
                    router.send(address.parse()?)?;
                }
            }
            anyhow::Ok(())
        });
        let moved = (|| {
            let mut result = Ok(());
            let come = wait_until(|| {
                result = queue.told().map(|some| told.extend(some));
                result.is_err() || !told.is_empty()
            });
            result?;
            ensure!(come, "no packet waits");
            router.net().run(|| ip(&[&format!("link set dev v netns {}", there.path())]))
        })();
        is_over.store(true, Relaxed);
        packets.join().map_err(|_| anyhow!("a thread panicked"))??;
        moved
    })?;
    told.extend(queue.told()?);
    let mut gone_on = Vec::new();
    for packet in told {
        if queue.accept(packet).is_ok() {
            gone_on.push(packet.protocol);
        }
    }
    // When it comes back, entries about it go.
    let entries = router.entries()?;
    ensure!(entries == (0, 0), "{entries:?} entries, and there is no route");
    there.run(|| ip(&[&format!("link set dev v netns {}", router.net().path())]))?;
    router.net().run(|| ip(&["link set dev v up"]))?;
    Ok(gone_on)
}

/// A router. What it forwards waits before the cache sees it.
struct Scene {
    router: Router,
    queue: Queue,
    _module: Loaded,
}

impl Scene {
    fn new() -> Result<Scene> {
        let module = Module::open()?.load_with(c"timeout=3600").context("load rnetns")?;
        let router = Router::new(1)?;
        let queue = router.net().run(|| {
            let queue = Queue::open()?;
            for (family, to) in [("ip", "10.9.0.0/16"), ("ip6", "fd09::/64")] {
                let hook = "{ type filter hook prerouting priority 0 ; }";
                run(&format!("nft add table {family} waits"))?;
                run(&format!("nft add chain {family} waits each {hook}"))?;
                run(&format!("nft add rule {family} waits each {family} daddr {to} queue num 0"))?;
            }
            Ok(queue)
        })?;
        Ok(Scene { router, queue, _module: module })
    }

    /// Packets wait while something happens. Then they go on, and the cache sees each.
    fn wait_while(&mut self, what: impl FnOnce(&Router) -> Result<()>) -> Result<Outcome> {
        let addresses = (0..FLOWS).flat_map(|number| [address4(number), address6(number)]);
        let before = self.router.passed_on()?;
        addresses.clone().try_for_each(|address| self.router.send(address))?;
        let count = packets(addresses.count());
        let waiting = self.queue.packets(count as usize)?;
        let passed = self.router.passed_on()? - before;
        ensure!(passed == 0, "{passed} packets did not wait");
        what(&self.router)?;
        let seen = self.seen()?;
        for packet in waiting {
            self.queue.accept(packet).context("a packet waits no more")?;
        }
        let passed = || Ok::<_, anyhow::Error>(self.router.passed_on()? - before);
        wait_until(|| passed().is_ok_and(|passed| passed >= count));
        ensure!(passed()? == count, "{} of {count} packets have gone on", passed()?);
        let seen = self.seen()? - seen;
        ensure!(
            seen == count,
            "the cache has seen {seen} of {count}: {:?}",
            self.router.figures()?
        );
        Ok(Outcome::Pass)
    }

    /// How many packets the cache has seen that are forwarded.
    fn seen(&self) -> Result<u64> {
        let figures = self.router.figures()?;
        ["hits", "misses", "bypassed"].iter().map(|name| figures.get(name)).sum()
    }
}

fn switched() -> Result<Outcome> {
    Scene::new()?.wait_while(|router| {
        for value in [0, 1, 0, 1] {
            let switch = Message::new(uapi::CMD_CACHE_SET).u32(uapi::A_ENABLED, value);
            let answer = router.net().run(|| Socket::open()?.ask(&switch))?;
            ensure!(answer.verdict()?.error == DONE, "{answer:?}");
        }
        Ok(())
    })
}

/// A cache that steps aside takes its hooks away if they are the only ones.
fn aside() -> Result<Outcome> {
    Scene::new()?.wait_while(|router| {
        let is_aside =
            |aside| router.figures().is_ok_and(|it| it.get("aside").is_ok_and(|is| is == aside));
        let own: IpAddr = Ipv4Addr::new(10, 0, 1, 1).into();
        let sender = router.sender().run(|| UdpSocket::bind("0.0.0.0:0").context("a socket"))?;
        // The cache has no use for packets to the router itself.
        let mut result = Ok(());
        let steps_aside = wait_until(|| {
            result = (0..100).try_for_each(|_| sender.send_to(b"x", (own, 9)).map(drop));
            result.is_err() || is_aside(1)
        });
        result.context("send to the router")?;
        ensure!(steps_aside, "the cache does not step aside: {:?}", router.figures()?);
        // Now and then it looks whether it helps by now. Who sees to that takes the hooks away first.
        ensure!(wait_until(|| is_aside(0)), "the cache does not come back");
        Ok(())
    })
}
