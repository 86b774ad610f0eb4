// SPDX-License-Identifier: GPL-2.0

//! Requests to the kernel's routing family, without a program for each: a scene has hundreds.

use std::io::IoSlice;
use std::os::fd::{AsRawFd, OwnedFd};

use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, sendmsg,
    socket,
};

/// Flags of a request for something new.
pub const CREATE: u16 = (libc::NLM_F_CREATE | libc::NLM_F_EXCL) as u16;
/// Flags of a request for something that may be there.
pub const REPLACE: u16 = (libc::NLM_F_CREATE | libc::NLM_F_REPLACE) as u16;
/// Flags of a request for one more.
pub const APPEND: u16 = (libc::NLM_F_CREATE | libc::NLM_F_APPEND) as u16;

/// A request, or a part of one.
#[derive(Debug, Clone)]
pub struct Request(Vec<u8>);

impl Request {
    /// Begins one. It is acknowledged.
    pub fn new(kind: u16, flags: u16) -> Request {
        let flags = flags | (libc::NLM_F_REQUEST | libc::NLM_F_ACK) as u16;
        let mut bytes = vec![0; 4];
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(flags.to_ne_bytes());
        bytes.extend([0; 8]);
        Request(bytes)
    }

    /// Bytes as they are.
    pub fn raw(mut self, bytes: &[u8]) -> Request {
        self.0.extend(bytes);
        self
    }

    /// A number of 32 bits.
    pub fn word(self, word: u32) -> Request {
        self.raw(&word.to_ne_bytes())
    }

    /// An attribute.
    pub fn attr(mut self, kind: u16, value: &[u8]) -> Request {
        self.0.extend((4 + value.len() as u16).to_ne_bytes());
        self.0.extend(kind.to_ne_bytes());
        self.0.extend(value);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
        self
    }

    /// An attribute that is a number.
    pub fn number(self, kind: u16, value: u32) -> Request {
        self.attr(kind, &value.to_ne_bytes())
    }

    /// An attribute that is a text.
    pub fn text(self, kind: u16, value: &str) -> Request {
        self.attr(kind, format!("{value}\0").as_bytes())
    }

    /// An attribute with others in it.
    pub fn nest(self, kind: u16, inner: impl FnOnce(Request) -> Request) -> Request {
        let inner = inner(Request(Vec::new())).0;
        self.attr(kind | libc::NLA_F_NESTED as u16, &inner)
    }

    /// Changes the request if there is a value.
    pub fn with<T>(self, value: Option<T>, change: impl FnOnce(Request, T) -> Request) -> Request {
        match value {
            Some(value) => change(self, value),
            None => self,
        }
    }

    /// The request as it is sent.
    pub fn bytes(mut self) -> Vec<u8> {
        let length = self.0.len() as u32;
        self.0[..4].copy_from_slice(&length.to_ne_bytes());
        self.0
    }
}

/// A socket in the namespace in which it was opened.
pub struct Socket(OwnedFd);

impl Socket {
    /// Opens one in the calling thread's namespace.
    pub fn open() -> Result<Socket> {
        let protocol = SockProtocol::NetlinkRoute;
        let fd = socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, protocol)
            .context("open a netlink socket")?;
        bind(fd.as_raw_fd(), &NetlinkAddr::new(0, 0)).context("bind a netlink socket")?;
        Ok(Socket(fd))
    }

    /// Sends a request, and returns the kernel's answer: zero or an error.
    pub fn ask(&self, request: Request) -> Result<i32> {
        let bytes = request.bytes();
        let to = NetlinkAddr::new(0, 0);
        sendmsg(self.0.as_raw_fd(), &[IoSlice::new(&bytes)], &[], MsgFlags::empty(), Some(&to))
            .context("send a request")?;
        let mut answer = [0; 4096];
        let length = recv(self.0.as_raw_fd(), &mut answer, MsgFlags::empty()).context("receive")?;
        error(&answer[..length])
    }

    /// Sends a request that must succeed.
    pub fn demand(&self, what: &str, request: Request) -> Result<()> {
        match self.ask(request)? {
            0 => Ok(()),
            error => Err(Errno::from_raw(error)).with_context(|| what.to_owned()),
        }
    }
}

/// The error number in an answer: `struct nlmsghdr`, and `struct nlmsgerr`, which begins with it.
fn error(answer: &[u8]) -> Result<i32> {
    let kind = answer.get(4..6).and_then(|bytes| bytes.try_into().ok()).map(u16::from_ne_bytes);
    let error = answer.get(16..20).and_then(|bytes| bytes.try_into().ok()).map(i32::from_ne_bytes);
    match (kind.map(i32::from), error) {
        (Some(libc::NLMSG_ERROR), Some(error)) => Ok(-error),
        _ => bail!("an answer of {} bytes says nothing: {answer:?}", answer.len()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_understood_or_refused() {
        let mut answer = vec![0; 36];
        answer[4] = 2;
        assert_eq!(error(&answer).unwrap(), 0);
        answer[16..20].copy_from_slice(&(-22i32).to_ne_bytes());
        assert_eq!(error(&answer).unwrap(), 22);
        for length in [0, 5, 16, 19] {
            assert!(error(&answer[..length]).is_err(), "{length}");
        }
        answer[4] = 16;
        assert!(error(&answer).is_err());
    }

    #[test]
    fn attributes_are_padded_and_lengths_are_right() {
        let bytes = Request::new(16, 0).nest(5, |it| it.text(1, "ab")).bytes();
        assert_eq!(bytes[..4], 28u32.to_ne_bytes());
        assert_eq!(bytes[16..], [12, 0, 5, 0x80, 7, 0, 1, 0, b'a', b'b', 0, 0]);
    }
}
