// SPDX-License-Identifier: GPL-2.0

//! Packets that wait for the verdict of a program (`NFQUEUE`).

use anyhow::{Context, Result, ensure};
use nix::libc;
use nix::sys::socket::SockProtocol;

use crate::genl::{Answer, DONE, Message, ROOM, Socket};
use crate::wait_until;

/// The types of messages.
const VERDICT: u16 = kind(libc::NFQNL_MSG_VERDICT);
const CONFIG: u16 = kind(libc::NFQNL_MSG_CONFIG);

const fn kind(message: libc::c_int) -> u16 {
    (libc::NFNL_SUBSYS_QUEUE << 8 | message) as u16
}

/// A packet that waits.
#[derive(Debug, Clone, Copy)]
pub struct Waiting {
    number: [u8; 4],
    /// Its protocol, as in an Ethernet header.
    pub protocol: u16,
}

fn waiting_of(told: &Answer) -> Result<Vec<Waiting>> {
    let waiting = told.messages.iter().map(|packet| {
        let header = packet.bytes(libc::NFQA_PACKET_HDR as u16)?;
        let (number, rest) = header.split_first_chunk()?;
        Some(Waiting { number: *number, protocol: u16::from_be_bytes(*rest.first_chunk()?) })
    });
    waiting.collect::<Option<_>>().context("a packet without a number")
}

/// The queue with the number zero of a namespace.
pub struct Queue(Socket);

impl Queue {
    /// Packets of the calling thread's namespace that are sent to the queue wait from now on.
    pub fn open() -> Result<Queue> {
        let mut queue = Queue(Socket::of(SockProtocol::NetlinkNetFilter)?);
        let bind = [libc::NFQNL_CFG_CMD_BIND as u8, 0, 0, 0];
        queue.demand(CONFIG, libc::NFQA_CFG_CMD, &bind).context("open a queue")?;
        // Not the packets themselves: no bytes of them, and that is all.
        let params = [0, 0, 0, 0, libc::NFQNL_COPY_META as u8];
        queue.demand(CONFIG, libc::NFQA_CFG_PARAMS, &params).context("choose what is told")?;
        Ok(queue)
    }

    /// Waits until so many packets have come to wait.
    pub fn packets(&self, count: usize) -> Result<Vec<Waiting>> {
        let mut told = Answer::default();
        let mut result = Ok(());
        wait_until(|| {
            result = self.receive(&mut told);
            result.is_err() || told.messages.len() >= count
        });
        result?;
        let waiting = told.messages.len();
        ensure!(waiting == count, "{waiting} packets wait, want {count}");
        waiting_of(&told)
    }

    /// The packets that have come since, whether they wait still or not.
    pub fn told(&self) -> Result<Vec<Waiting>> {
        let mut told = Answer::default();
        self.receive(&mut told)?;
        waiting_of(&told)
    }

    fn receive(&self, told: &mut Answer) -> Result<()> {
        while let Some(bytes) = self.0.receive(ROOM)? {
            told.add(&bytes)?;
        }
        Ok(())
    }

    /// Lets a packet go on. `ENOENT` if it does not wait any more.
    pub fn accept(&mut self, packet: Waiting) -> Result<()> {
        let accept = (libc::NF_ACCEPT as u32).to_be_bytes();
        self.demand(VERDICT, libc::NFQA_VERDICT_HDR, &[accept, packet.number].concat())
    }

    fn demand(&mut self, kind: u16, attribute: libc::c_int, value: &[u8]) -> Result<()> {
        let any = libc::AF_UNSPEC as u8;
        // The field that is reserved elsewhere has the number of the queue.
        let message = Message { version: 0, ..Message::new(any) }.attr(attribute as u16, value);
        let bytes = self.0.bytes_of(kind, &message);
        match self.0.ask_bytes(&bytes)?.verdict()?.error {
            DONE => Ok(()),
            error => Err(error.into()),
        }
    }
}
