// SPDX-License-Identifier: GPL-2.0

//! The netlink family `rnetns`, byte by byte: a test can send what no library would send, and sees
//! the whole answer of the kernel. Other protocols with a header of the same size get along with
//! [`Socket::of`].

use std::io::IoSlice;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use anyhow::{Context, Result, bail, ensure};
use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::sockopt::RcvBuf;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, sendmsg,
    setsockopt, socket,
};
use nix::{setsockopt_impl, sockopt_impl};

pub use rnetns_uapi as uapi;

/// Length of the header of a netlink message.
pub const HEADER: usize = 16;
/// Where the attributes of a message of generic netlink begin.
pub const ATTRIBUTES: usize = HEADER + 4;

/// Flags of a message, in the type that its header has for them.
pub mod flag {
    use nix::libc;

    pub const REQUEST: u16 = libc::NLM_F_REQUEST as u16;
    pub const ACK: u16 = libc::NLM_F_ACK as u16;
    pub const DUMP_INTR: u16 = libc::NLM_F_DUMP_INTR as u16;
    pub const ROOT: u16 = libc::NLM_F_ROOT as u16;
    pub const MATCH: u16 = libc::NLM_F_MATCH as u16;
    pub const DUMP: u16 = libc::NLM_F_DUMP as u16;
}

/// The kernel's own family, which is asked for the numbers of others.
mod ctrl {
    use nix::libc;

    pub(super) const FAMILY: u16 = libc::GENL_ID_CTRL as u16;
    pub(super) const GET_FAMILY: u8 = libc::CTRL_CMD_GETFAMILY as u8;
    pub(super) const FAMILY_ID: u16 = libc::CTRL_ATTR_FAMILY_ID as u16;
    pub(super) const FAMILY_NAME: u16 = libc::CTRL_ATTR_FAMILY_NAME as u16;
    pub(super) const GROUPS: u16 = libc::CTRL_ATTR_MCAST_GROUPS as u16;
    pub(super) const GROUP_ID: u16 = libc::CTRL_ATTR_MCAST_GRP_ID as u16;
}

sockopt_impl!(
    /// Whether errors come with words and with the place in the request.
    ExtendedAck,
    SetOnly,
    libc::SOL_NETLINK,
    libc::NETLINK_EXT_ACK,
    bool
);
sockopt_impl!(
    /// Joins a group.
    Membership,
    SetOnly,
    libc::SOL_NETLINK,
    libc::NETLINK_ADD_MEMBERSHIP,
    libc::c_int
);
sockopt_impl!(
    /// Whether errors come without the request that they answer.
    CappedAck,
    SetOnly,
    libc::SOL_NETLINK,
    libc::NETLINK_CAP_ACK,
    bool
);

/// A socket that belongs to the namespace in which it was opened. It never waits: the kernel
/// answers before a message is sent.
pub struct Socket {
    fd: OwnedFd,
    family: u16,
    events: Option<libc::c_int>,
    sequence: u32,
    named: bool,
}

impl Socket {
    /// Opens a socket in the calling thread's namespace.
    pub fn open() -> Result<Socket> {
        Socket::from_fd(opened(SockProtocol::NetlinkGeneric)?)
    }

    /// Opens a socket of another protocol than generic netlink. Its messages are those that
    /// [`Socket::bytes_of`] makes.
    pub fn of(protocol: SockProtocol) -> Result<Socket> {
        let fd = opened(protocol)?;
        Ok(Socket { fd, family: 0, events: None, sequence: 0, named: true })
    }

    /// Takes a socket that somebody else has opened in this way.
    pub fn from_fd(fd: OwnedFd) -> Result<Socket> {
        let mut socket =
            Socket { fd, family: ctrl::FAMILY, events: None, sequence: 0, named: true };
        let name = format!("{}\0", uapi::FAMILY_NAME);
        let question = Message::new(ctrl::GET_FAMILY).attr(ctrl::FAMILY_NAME, name.as_bytes());
        let question = socket.bytes(&question);
        // A dump sends at most what this socket has ever had room for.
        let answer = socket.ask_with_room(&question, PAGE)?;
        let family =
            answer.messages.first().with_context(|| format!("no family {}", uapi::FAMILY_NAME))?;
        socket.family = family.number(ctrl::FAMILY_ID)?.try_into()?;
        // The family has one group.
        if let Some(groups) = family.nest(ctrl::GROUPS)? {
            let group = groups.nest(1)?.context("no first group")?;
            socket.events = Some(group.number(ctrl::GROUP_ID)?.try_into()?);
        }
        Ok(socket)
    }

    /// From now on, the socket receives the family's events.
    pub fn join(&self) -> Result<()> {
        let group = self.events.context("the family has no group")?;
        setsockopt(&self.fd, Membership, &group).context("join the group")
    }

    /// The number of the family.
    pub fn family(&self) -> u16 {
        self.family
    }

    /// Makes room for `bytes` of answers, at least the kernel's minimum.
    pub fn set_room(&self, bytes: usize) -> Result<()> {
        setsockopt(&self.fd, RcvBuf, &bytes).context("choose a receive buffer")
    }

    /// A sequence number that no message has yet.
    pub fn next_sequence(&mut self) -> u32 {
        self.sequence += 1;
        self.sequence
    }

    /// From now on, messages have no address, like bytes that are written to a file. They go to the
    /// kernel all the same.
    pub fn write_only(self) -> Socket {
        Socket { named: false, ..self }
    }

    /// Sends bytes as they are. The kernel reads them during this call.
    pub fn send(&self, bytes: &[u8]) -> Result<(), Errno> {
        let (to, none) = (NetlinkAddr::new(0, 0), MsgFlags::empty());
        let to = self.named.then_some(&to);
        sendmsg(self.fd.as_raw_fd(), &[IoSlice::new(bytes)], &[], none, to).map(drop)
    }

    /// Receives what is there, at most as much as fits.
    pub fn receive(&self, room: usize) -> Result<Option<Vec<u8>>> {
        let mut bytes = vec![0; room];
        match recv(self.fd.as_raw_fd(), &mut bytes, MsgFlags::MSG_TRUNC) {
            Ok(length) => {
                ensure!(length <= room, "an answer of {length} bytes does not fit into {room}");
                bytes.truncate(length);
                Ok(Some(bytes))
            }
            Err(Errno::EAGAIN) => Ok(None),
            Err(error) => Err(error).context("receive"),
        }
    }

    /// Sends a message, and receives the whole answer of the kernel.
    pub fn ask(&mut self, message: &Message) -> Result<Answer> {
        let bytes = self.bytes(message);
        self.ask_bytes(&bytes)
    }

    /// Like [`Socket::ask`], for bytes.
    pub fn ask_bytes(&self, bytes: &[u8]) -> Result<Answer> {
        self.ask_with_room(bytes, ROOM)
    }

    fn ask_with_room(&self, bytes: &[u8], room: usize) -> Result<Answer> {
        self.send(bytes).context("send")?;
        let mut answer = Answer::default();
        while let Some(bytes) = self.receive(room)? {
            answer.parts += 1;
            answer.add(&bytes)?;
        }
        Ok(answer)
    }

    /// The bytes of a message, with a new sequence number.
    pub fn bytes(&mut self, message: &Message) -> Vec<u8> {
        self.bytes_of(self.family, message)
    }

    /// Like [`Socket::bytes`], for a message of another type.
    pub fn bytes_of(&mut self, kind: u16, message: &Message) -> Vec<u8> {
        message.bytes(kind, self.next_sequence())
    }
}

/// Opens a socket in the calling thread's namespace.
fn opened(protocol: SockProtocol) -> Result<OwnedFd> {
    let (kind, flags) = (SockType::Raw, SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK);
    let fd = socket(AddressFamily::Netlink, kind, flags, protocol).context("open a socket")?;
    setsockopt(&fd, ExtendedAck, &true).context("ask for words")?;
    setsockopt(&fd, CappedAck, &true).context("ask for short answers")?;
    bind(fd.as_raw_fd(), &NetlinkAddr::new(0, 0)).context("bind a socket")?;
    Ok(fd)
}

/// The most that the kernel sends at once, if the receiver has room for it.
pub const ROOM: usize = 32 << 10;
/// What it sends if the receiver has less room.
pub const PAGE: usize = 4 << 10;

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// A request, good or bad.
#[derive(Debug, Clone)]
pub struct Message {
    /// Type and flags in the netlink header.
    pub flags: u16,
    /// The length in the netlink header; by default, the right one.
    pub length: Option<u32>,
    /// The fields of the generic netlink header.
    pub command: u8,
    pub version: u8,
    pub reserved: u16,
    /// Everything behind the headers.
    pub payload: Vec<u8>,
}

impl Message {
    /// A request without attributes, to be acknowledged.
    pub fn new(command: u8) -> Message {
        let (flags, version) = (flag::REQUEST | flag::ACK, uapi::FAMILY_VERSION);
        Message { flags, length: None, command, version, reserved: 0, payload: Vec::new() }
    }

    /// Asks for a dump.
    pub fn dump(command: u8) -> Message {
        Message { flags: flag::REQUEST | flag::DUMP, ..Message::new(command) }
    }

    /// With one more attribute.
    pub fn attr(self, kind: u16, value: &[u8]) -> Message {
        let length = (4 + value.len()) as u16;
        self.attr_of_length(length, kind, value)
    }

    /// A number of 32 bits.
    pub fn u32(self, kind: u16, value: u32) -> Message {
        self.attr(kind, &value.to_ne_bytes())
    }

    /// Adds an attribute with a length of its own choice.
    pub fn attr_of_length(mut self, length: u16, kind: u16, value: &[u8]) -> Message {
        self.payload.extend(length.to_ne_bytes());
        self.payload.extend(kind.to_ne_bytes());
        self.payload.extend(value);
        self.payload.resize(self.payload.len().next_multiple_of(4), 0);
        self
    }

    /// Adds bytes that are not an attribute.
    pub fn raw(mut self, bytes: &[u8]) -> Message {
        self.payload.extend(bytes);
        self
    }

    /// The bytes to send.
    pub fn bytes(&self, family: u16, sequence: u32) -> Vec<u8> {
        let mut bytes = vec![0; 4];
        bytes.extend(family.to_ne_bytes());
        bytes.extend(self.flags.to_ne_bytes());
        bytes.extend(sequence.to_ne_bytes());
        bytes.extend(0u32.to_ne_bytes());
        bytes.extend([self.command, self.version]);
        bytes.extend(self.reserved.to_ne_bytes());
        bytes.extend(&self.payload);
        let length = self.length.unwrap_or(bytes.len() as u32);
        bytes[..4].copy_from_slice(&length.to_ne_bytes());
        bytes
    }
}

/// The answer of the kernel.
#[derive(Debug, Default)]
pub struct Answer {
    /// Acknowledgements and refusals, in their order.
    pub verdicts: Vec<Verdict>,
    /// Everything else.
    pub messages: Vec<Attributes>,
    /// The commands of these.
    pub commands: Vec<u8>,
    /// Ends of dumps, each with its error.
    pub ends: Vec<Errno>,
    /// Entries have changed during a dump.
    pub interrupted: bool,
    /// The number of pieces in which it came.
    pub parts: usize,
}

/// How a request ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// The number of the request.
    pub sequence: u32,
    /// Zero for success.
    pub error: Errno,
    /// The reason, in words.
    pub words: Option<String>,
    /// The place in the request that the words are about: bytes from its beginning.
    pub offset: Option<usize>,
}

/// No error.
pub const DONE: Errno = Errno::UnknownErrno;

/// The attributes of a message.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Attributes(Vec<(u16, Vec<u8>)>);

impl Answer {
    /// Reads messages, one after another.
    pub fn add(&mut self, bytes: &[u8]) -> Result<()> {
        const ERROR: u16 = libc::NLMSG_ERROR as u16;
        const END: u16 = libc::NLMSG_DONE as u16;
        let mut rest = bytes;
        while !rest.is_empty() {
            let length = word(rest, 0)? as usize;
            ensure!((HEADER..=rest.len()).contains(&length), "a message of {length} bytes");
            let message = &rest[..length];
            let kind = u16::from_ne_bytes([message[4], message[5]]);
            let flags = u16::from_ne_bytes([message[6], message[7]]);
            self.interrupted |= flags & flag::DUMP_INTR != 0;
            match kind {
                ERROR => self.verdicts.push(verdict(message)?),
                END => self.ends.push(errno(word(message, HEADER)?)),
                _ => {
                    self.messages.push(Attributes::new(message, ATTRIBUTES)?);
                    self.commands.push(message[HEADER]);
                }
            }
            rest = &rest[length.next_multiple_of(4).min(rest.len())..];
        }
        Ok(())
    }

    /// The verdict, if there is exactly one.
    pub fn verdict(&self) -> Result<&Verdict> {
        match &self.verdicts[..] {
            [verdict] => Ok(verdict),
            several => bail!("{} verdicts: {several:?}", several.len()),
        }
    }
}

fn verdict(message: &[u8]) -> Result<Verdict> {
    const CAPPED: u16 = libc::NLM_F_CAPPED as u16;
    const WORDS: u16 = 1;
    const OFFSET: u16 = 2;
    let flags = u16::from_ne_bytes([message[6], message[7]]);
    ensure!(flags & CAPPED != 0, "an answer with the request in it");
    let more = Attributes::new(message, HEADER + 4 + HEADER)?;
    let words = more.bytes(WORDS).map(|words| String::from_utf8_lossy(words));
    Ok(Verdict {
        sequence: word(message, 8)?,
        error: errno(word(message, HEADER)?),
        words: words.map(|words| words.trim_end_matches('\0').to_owned()),
        offset: more.number(OFFSET).ok().map(|offset| offset as usize),
    })
}

fn errno(word: u32) -> Errno {
    match word {
        0 => DONE,
        word => Errno::from_raw((word as i32).wrapping_neg()),
    }
}

fn word(bytes: &[u8], at: usize) -> Result<u32> {
    let bytes = bytes.get(at..at + 4).context("a message is cut off")?;
    Ok(u32::from_ne_bytes(bytes.try_into()?))
}

impl Attributes {
    fn new(message: &[u8], from: usize) -> Result<Attributes> {
        let mut rest = message.get(from..).context("a message is cut off")?;
        let mut found = Vec::new();
        while rest.len() >= 4 {
            let length = usize::from(u16::from_ne_bytes([rest[0], rest[1]]));
            let kind = u16::from_ne_bytes([rest[2], rest[3]]);
            ensure!((4..=rest.len()).contains(&length), "attribute {kind} of {length} bytes");
            found.push((kind, rest[4..length].to_vec()));
            rest = &rest[length.next_multiple_of(4).min(rest.len())..];
        }
        ensure!(rest.is_empty(), "{} bytes behind the attributes", rest.len());
        Ok(Attributes(found))
    }

    /// The bytes of an attribute.
    pub fn bytes(&self, kind: u16) -> Option<&[u8]> {
        self.0.iter().find(|(have, _)| *have == kind).map(|(_, bytes)| &bytes[..])
    }

    /// The attributes within an attribute.
    pub fn nest(&self, kind: u16) -> Result<Option<Attributes>> {
        const NEST: u16 = libc::NLA_F_NESTED as u16;
        let bytes = self.bytes(kind).or_else(|| self.bytes(kind | NEST));
        bytes.map(|bytes| Attributes::new(bytes, 0)).transpose()
    }

    /// A number of any length.
    pub fn number(&self, kind: u16) -> Result<u64> {
        let bytes = self.bytes(kind).with_context(|| format!("no attribute {kind}"))?;
        ensure!([1, 2, 4, 8].contains(&bytes.len()), "attribute {kind} has {} bytes", bytes.len());
        let mut number = [0; 8];
        number[..bytes.len()].copy_from_slice(bytes);
        Ok(u64::from_le_bytes(number))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_what_it_is_told_to_be() {
        let message = Message::new(uapi::CMD_FLUSH).u32(7, 9).attr_of_length(40, 1, &[5]);
        let bytes = message.bytes(0x21, 3);
        assert_eq!(bytes.len(), ATTRIBUTES + 8 + 8);
        assert_eq!(word(&bytes, 0).unwrap() as usize, bytes.len());
        assert_eq!(bytes[4..8], [0x21, 0, 5, 0]);
        assert_eq!(bytes[HEADER..][..4], [uapi::CMD_FLUSH, 1, 0, 0]);
        assert_eq!(bytes[ATTRIBUTES..], [8, 0, 7, 0, 9, 0, 0, 0, 40, 0, 1, 0, 5, 0, 0, 0]);
        let short = Message { length: Some(17), ..message };
        assert_eq!(word(&short.bytes(0x21, 3), 0).unwrap(), 17);
    }

    #[test]
    fn a_refusal_is_read_with_words_and_place() {
        let mut bytes = Vec::new();
        for word in [56u32, 2 | 0x300 << 16, 9, 0, (-34i32) as u32, 0, 0, 0, 0] {
            bytes.extend(word.to_ne_bytes());
        }
        bytes.extend([9, 0, 1, 0]);
        bytes.extend(b"why.\0\0\0\0");
        bytes.extend([8, 0, 2, 0, 20, 0, 0, 0]);
        let mut answer = Answer::default();
        answer.add(&bytes).unwrap();
        let words = Some("why.".to_owned());
        let want = Verdict { sequence: 9, error: Errno::ERANGE, words, offset: Some(20) };
        assert_eq!(answer.verdict().unwrap(), &want);
        assert!(answer.add(&bytes[..40]).is_err());
    }
}
