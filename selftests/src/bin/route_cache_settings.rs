// SPDX-License-Identifier: GPL-2.0

//! Settings of the stack that change while packets are routed by them: what was valid for a moment is
//! not cached for longer.
//!
//! A sender uses many source addresses, which the router expects elsewhere. While a setting that makes
//! them valid goes on and off, packets are accepted and refused. When it is off for good, all of them
//! are refused.

use std::fs::{self, File};
use std::io::IoSlice;
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;

use anyhow::{Context, Result, anyhow, ensure};
use nix::libc;
use nix::sys::socket::{ControlMessage, MsgFlags, SockaddrIn, sendmsg};

use rnetns_selftests::command::{ip, run};
use rnetns_selftests::genl::{DONE, Message, Socket, uapi};
use rnetns_selftests::ktap::{self, Outcome, comment};
use rnetns_selftests::module::{Loaded, Module};
use rnetns_selftests::router::Router;
use rnetns_selftests::wait_until;

/// Source addresses. Each is used once in a round.
const SOURCES: u16 = 1000;
/// Rounds, while the setting changes. Few enough that the cache does not step aside: most packets
/// miss.
const ROUNDS: usize = 6;
/// How often all of that is done.
const CYCLES: usize = 5;
/// Rules that concern none of them.
const RULES: u32 = 100;
/// So many packets are sent before the router must have seen all of them.
const TOGETHER: usize = 100;
/// Where they go.
const TARGET: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 9);

fn main() -> ExitCode {
    ktap::run(&[
        ("what_passed_while_rp_filter_was_off_for_a_moment_does_not_pass_later", rp_filter),
        ("what_passed_while_the_mark_was_valid_for_a_moment_does_not_pass_later", src_valid_mark),
    ])
}

/// A router, and a sender that uses the addresses of others.
struct Scene {
    router: Router,
    from: UdpSocket,
    _module: Loaded,
}

/// A source address by its number.
fn source(number: u16) -> Ipv4Addr {
    let [high, low] = number.to_be_bytes();
    Ipv4Addr::new(10, 66, high, low)
}

fn setting(name: &str) -> String {
    format!("/proc/sys/net/ipv4/conf/v/{name}")
}

impl Scene {
    fn new() -> Result<Scene> {
        let module = Module::open()?.load_with(c"timeout=3600").context("load rnetns")?;
        let router = Router::new(1)?;
        // The router expects them behind another device. The stack asks all rules for the way, and
        // then reads the setting: the more there are, the likelier it has changed meanwhile.
        let rules =
            (0..RULES).map(|number| format!("rule add pref {number} to 192.0.2.1 lookup 77"));
        let mut lines = vec!["route add 10.66.0.0/16 dev sink".to_owned()];
        lines.extend(rules);
        router.net().run(|| ip(&lines.iter().map(String::as_str).collect::<Vec<_>>()))?;
        let from = router.sender().run(|| {
            ip(&["link set dev lo up", "route add local 10.66.0.0/16 dev lo"])?;
            UdpSocket::bind("0.0.0.0:0").context("bind the sender")
        })?;
        Ok(Scene { router, from, _module: module })
    }

    fn set(&self, name: &str, value: &str) -> Result<()> {
        let path = setting(name);
        self.router.net().run(|| fs::write(&path, value).context(path.clone()))
    }

    /// Sends a packet from an address.
    fn send_from(&self, from: Ipv4Addr) -> Result<()> {
        let address = |ip: Ipv4Addr| libc::in_addr { s_addr: u32::from(ip).to_be() };
        let info = libc::in_pktinfo {
            ipi_ifindex: 0,
            ipi_spec_dst: address(from),
            ipi_addr: address(Ipv4Addr::UNSPECIFIED),
        };
        sendmsg(
            self.from.as_raw_fd(),
            &[IoSlice::new(b"x")],
            &[ControlMessage::Ipv4PacketInfo(&info)],
            MsgFlags::empty(),
            Some(&SockaddrIn::from(SocketAddrV4::new(TARGET, 9))),
        )
        .with_context(|| format!("send from {from}"))?;
        Ok(())
    }

    /// How many packets went through the router, and how many it refused.
    fn fate(&self) -> Result<(u64, u64)> {
        Ok((self.router.passed_on()?, self.refused()?))
    }

    /// Sends a packet from each address. Says how many went through the router.
    fn pass(&self) -> Result<u64> {
        let all: Vec<u16> = (0..SOURCES).collect();
        let before = self.router.passed_on()?;
        for some in all.chunks(TOGETHER) {
            let (passed, refused) = self.fate()?;
            let want = passed + refused + some.len() as u64;
            some.iter().try_for_each(|number| self.send_from(source(*number)))?;
            let known = || self.fate().is_ok_and(|(passed, refused)| passed + refused >= want);
            ensure!(wait_until(known), "packets are lost: {:?}", self.router.figures()?);
        }
        Ok(self.router.passed_on()? - before)
    }

    /// Sends while a setting of the router changes between these two values all the time.
    fn send_while(&self, name: &str, values: [&str; 2]) -> Result<()> {
        let stop = AtomicBool::new(false);
        thread::scope(|scope| {
            let flips =
                scope.spawn(|| self.router.net().run(|| flip(&setting(name), values, &stop)));
            let all = (0..ROUNDS).flat_map(|_| 0..SOURCES);
            let sent = all.map(source).try_for_each(|from| self.send_from(from));
            stop.store(true, Relaxed);
            let flips = flips.join().map_err(|_| anyhow!("a thread panicked"))??;
            comment(&format!("{flips} changes of {name}"));
            sent
        })
    }

    /// How many packets were refused because of their source.
    fn refused(&self) -> Result<u64> {
        self.router.net().run(|| {
            let path = "/proc/thread-self/net/netstat";
            let text = fs::read_to_string(path).context(path)?;
            let mut lines = text.lines().filter_map(|line| line.strip_prefix("TcpExt: "));
            let (names, values) = (lines.next().context(path)?, lines.next().context(path)?);
            let mut both = names.split(' ').zip(values.split(' '));
            let value = both.find(|(name, _)| *name == "IPReversePathFilter").context(path)?.1;
            value.parse().context(path)
        })
    }

    /// While the setting goes on and off, some pass and some do not. Afterwards none does.
    fn check(&self, name: &str, valid: &str, refusing: &str) -> Result<Outcome> {
        let before = self.fate()?;
        let mut wrong = 0;
        for _ in 0..CYCLES {
            self.send_while(name, [valid, refusing])?;
            self.set(name, refusing)?;
            wrong += self.pass()?;
            ensure!(self.router.figures()?.get("misses")? > 0, "the cache is not asked");
            // It forgets how many packets have missed.
            for value in [0, 1] {
                let switch = Message::new(uapi::CMD_CACHE_SET).u32(uapi::A_ENABLED, value);
                let answer = self.router.net().run(|| Socket::open()?.ask(&switch))?;
                ensure!(answer.verdict()?.error == DONE, "{answer:?}");
            }
        }
        let after = self.fate()?;
        let (passed, refused) = (after.0 - before.0, after.1 - before.1);
        comment(&format!("{passed} packets passed, {refused} were refused"));
        ensure!(wrong == 0, "{wrong} packets pass after {name} was set to {refusing} for good");
        // Else it says nothing.
        let sent = (usize::from(SOURCES) * CYCLES * ROUNDS) as u64;
        ensure!(passed >= sent / 20 && refused >= sent / 20, "the setting changed too rarely");
        // Those of the setting that makes them valid pass.
        self.set(name, valid)?;
        let passed = self.pass()?;
        ensure!(passed == SOURCES.into(), "{name} is {valid}, and only {passed} packets pass");
        Ok(Outcome::Pass)
    }
}

/// Writes both values in turns until it is told to stop. Says how often.
fn flip(path: &str, values: [&str; 2], stop: &AtomicBool) -> Result<u64> {
    let file = File::options().write(true).open(path).context(path.to_owned())?;
    let mut flips = 0;
    while !stop.load(Relaxed) {
        for value in values {
            file.write_all_at(value.as_bytes(), 0).context(path.to_owned())?;
            flips += 1;
        }
    }
    Ok(flips)
}

fn rp_filter() -> Result<Outcome> {
    Scene::new()?.check("rp_filter", "0", "1")
}

/// By their mark, the packets have come by the right device.
fn src_valid_mark() -> Result<Outcome> {
    let scene = Scene::new()?;
    scene.router.net().run(|| {
        ip(&["rule add fwmark 1 lookup 66", "route add 10.66.0.0/16 dev v table 66"])?;
        run("tc qdisc add dev v clsact")?;
        run("tc filter add dev v ingress matchall action skbedit mark 1").map(drop)
    })?;
    scene.set("rp_filter", "1")?;
    scene.check("src_valid_mark", "1", "0")
}
