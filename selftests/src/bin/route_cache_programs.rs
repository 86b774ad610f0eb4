// SPDX-License-Identifier: GPL-2.0

//! Programs that choose the socket of a packet (`sk_lookup`) are asked for the same packets with the
//! cache as without: those for this machine, and none that is forwarded.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::process::ExitCode;

use anyhow::{Context, Result, ensure};

use rnetns_selftests::bpf::Chooser;
use rnetns_selftests::ktap::{self, Outcome, comment};
use rnetns_selftests::module::Module;
use rnetns_selftests::router::{Router, address4, address6, packets};
use rnetns_selftests::wait_until;

/// Where packets are forwarded to.
const FLOWS: u16 = 4;

fn main() -> ExitCode {
    if let Ok(None) = Chooser::attach() {
        return ktap::skip_all("no programs (CONFIG_BPF_SYSCALL)");
    }
    ktap::run(&[("programs_that_choose_sockets_see_no_packet_more", check)])
}

/// How often the program is asked: for packets that are forwarded, and for as many to the router.
#[derive(Debug, PartialEq, Eq)]
struct Runs {
    forwarded4: u64,
    forwarded6: u64,
    own4: u64,
    own6: u64,
}

struct Scene {
    router: Router,
    chooser: Chooser,
}

impl Scene {
    fn runs(&self, what: &str) -> Result<Runs> {
        let runs = Runs {
            forwarded4: self.runs_for(address4, Router::passed_on)?,
            forwarded6: self.runs_for(address6, Router::passed_on)?,
            own4: self.runs_for(|_| Ipv4Addr::new(10, 0, 1, 1).into(), unclaimed4)?,
            own6: self
                .runs_for(|_| Ipv6Addr::new(0xfd00, 1, 0, 0, 0, 0, 0, 1).into(), unclaimed6)?,
        };
        comment(&format!("{what}: {runs:?}"));
        Ok(runs)
    }

    /// Sends packets to these addresses, all of which `arrived` counts.
    fn runs_for(
        &self,
        address: impl Fn(u16) -> IpAddr,
        arrived: impl Fn(&Router) -> Result<u64>,
    ) -> Result<u64> {
        let (runs, before) = (self.chooser.runs()?, arrived(&self.router)?);
        (0..FLOWS).try_for_each(|number| self.router.send(address(number)))?;
        let want = before + packets(FLOWS.into());
        let all = wait_until(|| arrived(&self.router).is_ok_and(|count| count >= want));
        ensure!(all, "packets are missing: {} of {want}", arrived(&self.router)?);
        Ok(self.chooser.runs()? - runs)
    }
}

/// How many packets have come to ports of the router that no socket has.
fn unclaimed4(router: &Router) -> Result<u64> {
    router.net().run(|| {
        let path = "/proc/thread-self/net/snmp";
        let text = std::fs::read_to_string(path).context(path)?;
        let values = text.lines().filter_map(|line| line.strip_prefix("Udp: ")).nth(1);
        let ports = values.and_then(|values| values.split(' ').nth(1)).context(path)?;
        ports.parse().context(path)
    })
}

fn unclaimed6(router: &Router) -> Result<u64> {
    router.net().run(|| {
        let path = "/proc/thread-self/net/snmp6";
        let text = std::fs::read_to_string(path).context(path)?;
        let ports = text.lines().find_map(|line| line.strip_prefix("Udp6NoPorts")).context(path)?;
        ports.trim().parse().context(path)
    })
}

fn check() -> Result<Outcome> {
    let module = Module::open()?;
    let router = Router::new(1)?;
    let chooser = router.net().run(Chooser::attach)?.context("there was a program before")?;
    let scene = Scene { router, chooser };
    let without = scene.runs("without the cache")?;
    let sent = packets(FLOWS.into());
    let want = Runs { forwarded4: 0, forwarded6: 0, own4: sent, own6: sent };
    ensure!(without == want, "the kernel itself asks otherwise: {without:?}, want {want:?}");
    let _module = module.load_with(c"timeout=3600").context("load rnetns")?;
    for what in ["the cache is empty", "routes are cached"] {
        let with = scene.runs(what)?;
        ensure!(with == without, "{what}: {with:?}, and without the cache {without:?}");
    }
    // Else the cache was not asked, and it says nothing.
    let figures = scene.router.figures()?;
    let (hits, left) = (figures.get("hits")?, figures.get("left")?);
    ensure!(hits > 0 && left >= 2 * sent, "the cache has not had these packets: {figures:?}");
    Ok(Outcome::Pass)
}
