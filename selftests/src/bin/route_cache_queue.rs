// SPDX-License-Identifier: GPL-2.0

//! Packets that wait for the verdict of a program are not lost with the cache: to unregister a hook
//! drops all that wait in its namespace, so the cache keeps its hooks while there may be any.

use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::process::ExitCode;

use anyhow::{Context, Result, ensure};

use rnetns_selftests::command::run;
use rnetns_selftests::genl::{DONE, Message, Socket, uapi};
use rnetns_selftests::ktap::{self, Outcome};
use rnetns_selftests::module::{Loaded, Module};
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
    ])
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
