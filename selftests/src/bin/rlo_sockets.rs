// SPDX-License-Identifier: GPL-2.0

//! `rlo` as sockets see it: UDP and TCP of both families arrive as they were sent, time stamps are
//! right, and packets that the stack refuses are counted as dropped.

use std::fs;
use std::io::{IoSliceMut, Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsRawFd;
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, anyhow, ensure};
use nix::sys::socket::sockopt::{ReceiveTimestampns, Timestamping, TxTime, UdpGsoSegment};
use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, SockaddrStorage, TimestampingFlag, recvmsg,
    sendmsg, setsockopt,
};

use rnetns_selftests::command::{run, through_rlo};
use rnetns_selftests::ktap::{self, Outcome, comment};
use rnetns_selftests::module::{Figures, Loaded, Module, Traffic};
use rnetns_selftests::netns::Netns;
use rnetns_selftests::{patience, wait_until};

const V4: (&str, &str) = ("192.0.2.1:0", "192.0.2.2:0");
const V6: (&str, &str) = ("[2001:db8::1]:0", "[2001:db8::2]:0");
/// Close to the most that fits in a datagram, and in the device's MTU.
const LARGE: usize = 60_000;
/// Bytes that a stream carries.
const STREAM: usize = 4 << 20;
fn main() -> ExitCode {
    ktap::run(&[
        ("udp_over_ipv4", || udp(V4, 20)),
        ("udp_over_ipv6", || udp(V6, 40)),
        ("tcp_over_ipv4", || tcp(V4)),
        ("tcp_over_ipv6", || tcp(V6)),
        ("a_socket_in_time_wait_is_no_sender", time_wait),
        ("a_sender_who_asks_gets_the_time_of_sending", sent_timestamp),
        ("a_receiver_does_not_get_the_senders_time", received_timestamp),
        ("what_the_stack_does_not_take_is_counted_as_dropped", dropped),
    ])
}

/// A namespace whose packets to its own addresses travel through `rlo`.
struct Scene {
    net: Netns,
    _module: Loaded,
}

impl Scene {
    fn new() -> Result<Scene> {
        let module = Module::open()?.load()?;
        let net = Netns::new()?;
        net.run(through_rlo)?;
        Ok(Scene { net, _module: module })
    }

    /// Does something there, and returns what that has counted.
    fn counted(&self, what: impl FnOnce() -> Result<()> + Send) -> Result<Traffic> {
        let before = Figures::of(self.net.inum())?;
        self.net.run(what)?;
        Figures::of(self.net.inum())?.traffic_since(&before)
    }
}

/// A pattern that shows when bytes are missing or in the wrong place.
fn data(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i % 251) as u8).collect()
}

fn sockets((from, to): (&str, &str)) -> Result<(UdpSocket, UdpSocket)> {
    let bind = |address| UdpSocket::bind(address).with_context(|| format!("bind to {address}"));
    let (sender, receiver) = (bind(from)?, bind(to)?);
    receiver.set_read_timeout(Some(patience()))?;
    sender.connect(receiver.local_addr()?)?;
    Ok((sender, receiver))
}

fn udp(addresses: (&str, &str), ip_header: u64) -> Result<Outcome> {
    let scene = Scene::new()?;
    let traffic = scene.counted(|| {
        let (sender, receiver) = sockets(addresses)?;
        let sent = data(LARGE);
        sender.send(&sent).context("send")?;
        let mut received = vec![0; LARGE + 1];
        let (len, from) = receiver.recv_from(&mut received).context("receive")?;
        ensure!(received[..len] == sent, "{len} other bytes arrived than were sent");
        ensure!(from == sender.local_addr()?, "it came from {from}");
        Ok(())
    })?;
    let packet = (1, 14 + ip_header + 8 + LARGE as u64);
    let want = Traffic { device: packet, socket: packet };
    ensure!(traffic == want, "counted {traffic:?}, want {want:?}");
    Ok(Outcome::Pass)
}

fn tcp((from, to): (&str, &str)) -> Result<Outcome> {
    let scene = Scene::new()?;
    let traffic = scene.counted(|| {
        let listener = TcpListener::bind(to).with_context(|| format!("bind to {to}"))?;
        let address = listener.local_addr()?;
        let receiver = thread::spawn(move || receive(&listener));
        let mut stream = TcpStream::connect(address).context("connect")?;
        stream.set_write_timeout(Some(patience()))?;
        stream.write_all(&data(STREAM)).context("send")?;
        drop(stream);
        let received = receiver.join().map_err(|_| anyhow!("the receiver panicked"))??;
        ensure!(received == data(STREAM), "{} other bytes arrived", received.len());
        Ok(())
    })?;
    comment(&format!("{STREAM} bytes from {from}: {traffic:?}"));
    ensure!(traffic.socket.1 > STREAM as u64, "not all bytes are a socket's: {traffic:?}");
    // The last acknowledgement may be that of a socket in TIME-WAIT.
    let others = traffic.device.1 - traffic.socket.1;
    ensure!(others < 1500, "{others} bytes are of no socket: {traffic:?}");
    // An acknowledgement for every packet would be twice as many.
    let segments = 2 * STREAM as u64 / 1500;
    ensure!(traffic.device.0 < segments, "no segments larger than Ethernet's: {traffic:?}");
    Ok(Outcome::Pass)
}

/// A socket in TIME-WAIT answers, and does not keep its namespace: its packets must not lead there.
fn time_wait() -> Result<Outcome> {
    let scene = Scene::new()?;
    let traffic = scene.counted(|| {
        let listener = TcpListener::bind(V4.1).context("bind")?;
        let stream = TcpStream::connect(listener.local_addr()?).context("connect")?;
        let (accepted, _) = listener.accept().context("accept")?;
        drop(stream);
        let is =
            |what: fn(&[String]) -> bool| wait_until(|| connections().is_ok_and(|it| what(&it)));
        ensure!(
            is(|it| it.iter().any(|line| waits(line))),
            "not in TIME-WAIT: {:?}",
            connections()?
        );
        // The other side's end is acknowledged by what is left of the first.
        drop(accepted);
        ensure!(is(|it| it.iter().all(|line| waits(line))), "not closed: {:?}", connections()?);
        Ok(())
    })?;
    ensure!(traffic.device.0 > traffic.socket.0, "its answer counts for a sender: {traffic:?}");
    Ok(Outcome::Pass)
}

/// Whether a line is that of a socket in TIME-WAIT: its timer is the third kind.
fn waits(line: &str) -> bool {
    line.contains(" 03:")
}

/// The lines of this namespace's TCP connections.
fn connections() -> Result<Vec<String>> {
    let path = "/proc/thread-self/net/tcp";
    let text = fs::read_to_string(path).with_context(|| format!("read {path}"))?;
    let listens = |line: &&str| line.split_whitespace().nth(3) == Some("0A");
    Ok(text.lines().skip(1).filter(|line| !listens(line)).map(str::to_owned).collect())
}

fn receive(listener: &TcpListener) -> Result<Vec<u8>> {
    let (mut stream, _) = listener.accept().context("accept")?;
    stream.set_read_timeout(Some(patience()))?;
    let mut received = Vec::new();
    stream.read_to_end(&mut received).context("receive")?;
    Ok(received)
}

/// Checks `skb_tx_timestamp()` of the device: without it, the error queue stays empty.
fn sent_timestamp() -> Result<Outcome> {
    let scene = Scene::new()?;
    scene.net.run(|| {
        let (sender, _receiver) = sockets(V4)?;
        let wanted = TimestampingFlag::SOF_TIMESTAMPING_TX_SOFTWARE
            | TimestampingFlag::SOF_TIMESTAMPING_SOFTWARE;
        setsockopt(&sender, Timestamping, &wanted).context("ask for time stamps")?;
        let before = now()?;
        sender.send(b"x").context("send")?;
        let stamp = timestamp(&sender, MsgFlags::MSG_ERRQUEUE | MsgFlags::MSG_DONTWAIT)?;
        ensure!((before..=now()?).contains(&stamp), "sent at {before:?}, stamped {stamp:?}");
        Ok(())
    })?;
    Ok(Outcome::Pass)
}

/// The sender sets a time long past. Checks `skb_clear_tstamp()` of the device.
fn received_timestamp() -> Result<Outcome> {
    let scene = Scene::new()?;
    scene.net.run(|| {
        let (sender, receiver) = sockets(V4)?;
        setsockopt(&receiver, ReceiveTimestampns, &true).context("ask for time stamps")?;
        let realtime = nix::libc::sock_txtime { clockid: nix::libc::CLOCK_REALTIME, flags: 0 };
        setsockopt(&sender, TxTime, &realtime).context("choose the time of sending")?;
        let before = now()?;
        let long_ago = 1;
        sendmsg::<SockaddrStorage>(
            sender.as_raw_fd(),
            &[std::io::IoSlice::new(b"x")],
            &[ControlMessage::TxTime(&long_ago)],
            MsgFlags::empty(),
            None,
        )
        .context("send")?;
        let stamp = timestamp(&receiver, MsgFlags::empty())?;
        ensure!((before..=now()?).contains(&stamp), "sent at {before:?}, stamped {stamp:?}");
        Ok(())
    })?;
    Ok(Outcome::Pass)
}

fn now() -> Result<Duration> {
    SystemTime::now().duration_since(UNIX_EPOCH).context("the clock")
}

/// Receives a message and the time stamp with it.
fn timestamp(socket: &UdpSocket, flags: MsgFlags) -> Result<Duration> {
    let mut bytes = [0; 256];
    let mut slices = [IoSliceMut::new(&mut bytes)];
    let mut control = vec![0; 1024];
    let message =
        recvmsg::<SockaddrStorage>(socket.as_raw_fd(), &mut slices, Some(&mut control), flags)
            .context("receive with a time stamp")?;
    let stamp = message.cmsgs()?.find_map(|message| match message {
        ControlMessageOwned::ScmTimestampns(time) => Some(time),
        ControlMessageOwned::ScmTimestampsns(times) => Some(times.system),
        _ => None,
    });
    Ok(stamp.context("a message without a time stamp")?.into())
}

/// How many packets the stack holds for a CPU.
const MAX_BACKLOG: &str = "/proc/sys/net/core/netdev_max_backlog";

/// A setting; dropping this restores it.
struct Setting(&'static str, String);

impl Setting {
    fn set(path: &'static str, value: &str) -> Result<Setting> {
        let before = fs::read_to_string(path).context(path)?;
        fs::write(path, value).context(path)?;
        Ok(Setting(path, before))
    }
}

impl Drop for Setting {
    fn drop(&mut self) {
        if let Err(error) = fs::write(self.0, self.1.trim()) {
            comment(&format!("restore {}: {error}", self.0));
        }
    }
}

/// The segments of one datagram reach the device in one go. If there is room for one packet, the
/// others are dropped.
fn dropped() -> Result<Outcome> {
    const SEGMENTS: u64 = 8;
    const SEGMENT: usize = 100;
    let scene = Scene::new()?;
    scene.net.run(|| run("ethtool -K rlo tx-udp-segmentation off"))?;
    let before = Figures::of(scene.net.inum())?;
    let stats_before = scene.net.run(received_by_rlo)?;
    let setting = Setting::set(MAX_BACKLOG, "0")?;
    let traffic = scene.counted(|| {
        let (sender, _receiver) = sockets(V4)?;
        setsockopt(&sender, UdpGsoSegment, &(SEGMENT as i32)).context("ask for segments")?;
        sender.send(&data(SEGMENT * SEGMENTS as usize)).context("send")?;
        Ok(())
    })?;
    drop(setting);
    let after = Figures::of(scene.net.inum())?;
    let dropped = after.get("dropped")? - before.get("dropped")?;
    let received = scene.net.run(received_by_rlo)? - stats_before;
    comment(&format!("{traffic:?}, dropped {dropped}, received {received}"));
    ensure!(traffic.device.0 == SEGMENTS, "{} packets were sent", traffic.device.0);
    ensure!(dropped > 0, "nothing was dropped");
    ensure!(dropped + received == SEGMENTS, "dropped {dropped}, received {received} of {SEGMENTS}");
    Ok(Outcome::Pass)
}

/// The device's own count of packets, without those that were dropped.
fn received_by_rlo() -> Result<u64> {
    let devices = fs::read_to_string("/proc/thread-self/net/dev").context("list the devices")?;
    let line = devices.lines().find_map(|line| line.trim().strip_prefix("rlo:"));
    let packets = line.and_then(|line| line.split_ascii_whitespace().nth(1));
    packets.context("no rlo")?.parse().context("the packets of rlo")
}
