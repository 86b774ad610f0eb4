// SPDX-License-Identifier: GPL-2.0

//! The conversation with the kernel.

use std::fmt::Debug;
use std::io;

use anyhow::{Context, Result, anyhow, bail};
use netlink_packet_core::{
    NLM_F_ACK, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NetlinkDeserializable, NetlinkHeader,
    NetlinkMessage, NetlinkPayload, NetlinkSerializable,
};
use netlink_packet_generic::GenlMessage;
use netlink_packet_generic::ctrl::nlas::{GenlCtrlAttrs, McastGrpAttrs};
use netlink_packet_generic::ctrl::{GenlCtrl, GenlCtrlCmd};
use netlink_sys::protocols::NETLINK_GENERIC;
use netlink_sys::{Socket, SocketAddr};
use rnetns_uapi as uapi;

use crate::message::{Rnetns, Values};
use crate::show::Event;

/// An error message has the header of the request behind the code.
const HEADER_LEN: usize = 16;
/// The attribute of an error message that gives the reason in words.
const NLMSGERR_ATTR_MSG: u16 = 1;

/// A connection to the cache of the namespace that we are in.
pub struct Connection {
    socket: Socket,
    family: u16,
    /// The number of the group for events.
    events: Option<u32>,
    sequence: u32,
}

pub struct Dump {
    pub messages: Vec<Rnetns>,
    /// Entries changed meanwhile: the dump may show a state that never existed as a whole.
    pub interrupted: bool,
}

impl Connection {
    /// Opens a socket, and asks for the number of the family.
    pub fn open() -> Result<Connection> {
        let mut socket = Socket::new(NETLINK_GENERIC).context("open a netlink socket")?;
        socket.bind_auto().context("bind the netlink socket")?;
        socket.connect(&SocketAddr::new(0, 0)).context("connect to the kernel")?;
        // Errors with words; without the request in them.
        socket.set_ext_ack(true).context("ask for messages with errors")?;
        socket.set_cap_ack(true).context("ask for short acknowledgements")?;
        let mut connection = Connection { socket, family: 0, events: None, sequence: 0 };
        connection.resolve()?;
        Ok(connection)
    }

    fn resolve(&mut self) -> Result<()> {
        let question = GenlCtrl {
            cmd: GenlCtrlCmd::GetFamily,
            nlas: vec![GenlCtrlAttrs::FamilyName(uapi::FAMILY_NAME.to_owned())],
        };
        let answers = self.talk(GenlMessage::from_payload(question), NLM_F_ACK).map_err(
            |error| match error.downcast_ref::<io::Error>().map(io::Error::kind) {
                Some(io::ErrorKind::NotFound) => anyhow!(
                    "the kernel has no netlink family {}: load the module (modprobe rnetns)",
                    uapi::FAMILY_NAME
                ),
                _ => error,
            },
        )?;
        let attributes = || answers.0.iter().flat_map(|message| &message.payload.nlas);
        let id = attributes().find_map(|nla| match nla {
            GenlCtrlAttrs::FamilyId(id) => Some(*id),
            _ => None,
        });
        self.family = id.context("the kernel did not say the number of the family")?;
        self.events = attributes().find_map(|nla| match nla {
            GenlCtrlAttrs::McastGroups(groups) => groups.iter().find_map(|group| events(group)),
            _ => None,
        });
        Ok(())
    }

    /// Shows each event, without end.
    pub fn monitor(&mut self, mut show: impl FnMut(&Event) -> Result<()>) -> Result<()> {
        let group = self.events.context("the kernel has no group for events")?;
        self.socket.add_membership(group).context("join the group for events")?;
        loop {
            let (received, _) = self.socket.recv_from_full().context("receive from the kernel")?;
            let packet = NetlinkMessage::<GenlMessage<Rnetns>>::deserialize(&received)
                .context("read what the kernel sent")?;
            if let NetlinkPayload::InnerMessage(message) = packet.payload {
                let message = message.payload;
                if let Some(event) = Event::new(message.command, &message.values())? {
                    show(&event)?;
                }
            }
        }
    }

    pub fn request(&mut self, request: Rnetns) -> Result<Option<Values>> {
        let mut message = GenlMessage::from_payload(request);
        message.set_resolved_family_id(self.family);
        let (answers, _) = self.talk(message, NLM_F_ACK)?;
        Ok(answers.first().map(|answer| answer.payload.values()))
    }

    pub fn dump(&mut self, request: Rnetns) -> Result<Dump> {
        let mut message = GenlMessage::from_payload(request);
        message.set_resolved_family_id(self.family);
        let (answers, interrupted) = self.talk(message, NLM_F_DUMP)?;
        let messages = answers.into_iter().map(|answer| answer.into_parts().1).collect();
        Ok(Dump { messages, interrupted })
    }

    /// Sends one message, and receives until the kernel says that the answer is complete.
    fn talk<F>(
        &mut self,
        message: GenlMessage<F>,
        flags: u16,
    ) -> Result<(Vec<GenlMessage<F>>, bool)>
    where
        F: Debug,
        GenlMessage<F>: NetlinkSerializable + NetlinkDeserializable,
    {
        self.sequence += 1;
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST | flags;
        header.sequence_number = self.sequence;
        let mut packet = NetlinkMessage::new(header, NetlinkPayload::from(message));
        packet.finalize();
        let mut bytes = vec![0; packet.buffer_len()];
        packet.serialize(&mut bytes);
        self.socket.send(&bytes, 0).context("send to the kernel")?;
        let mut answers = Vec::new();
        let mut interrupted = false;
        loop {
            let (received, _) = self.socket.recv_from_full().context("receive from the kernel")?;
            let mut rest = &received[..];
            while !rest.is_empty() {
                let packet = NetlinkMessage::<GenlMessage<F>>::deserialize(rest)
                    .context("read what the kernel sent")?;
                let len = (packet.header.length as usize).next_multiple_of(4);
                rest = rest.get(len..).unwrap_or_default();
                if packet.header.sequence_number != self.sequence {
                    continue;
                }
                interrupted |= packet.header.flags & NLM_F_DUMP_INTR != 0;
                match packet.payload {
                    NetlinkPayload::InnerMessage(message) => answers.push(message),
                    NetlinkPayload::Done(done) if done.code == 0 => {
                        return Ok((answers, interrupted));
                    }
                    NetlinkPayload::Done(done) => {
                        return Err(refused(done.code, &done.extended_ack));
                    }
                    NetlinkPayload::Error(error) => match error.code {
                        None => return Ok((answers, interrupted)),
                        Some(code) => {
                            let words = error.header.get(HEADER_LEN..).unwrap_or_default();
                            return Err(refused(code.get(), words));
                        }
                    },
                    NetlinkPayload::Overrun(_) => bail!("the kernel sent more than there was room"),
                    _ => {}
                }
            }
        }
    }
}

/// The number of the group, if it is that for events.
fn events(group: &[McastGrpAttrs]) -> Option<u32> {
    let is_ours = |attr: &McastGrpAttrs| matches!(attr, McastGrpAttrs::Name(name) if name == uapi::MCGRP_EVENTS);
    let id = |attr: &McastGrpAttrs| match attr {
        McastGrpAttrs::Id(id) => Some(*id),
        McastGrpAttrs::Name(_) => None,
    };
    group.iter().any(is_ours).then(|| group.iter().find_map(id)).flatten()
}

/// The kernel's error, with its words for it where it has some.
fn refused(code: i32, attributes: &[u8]) -> anyhow::Error {
    let error = anyhow::Error::from(io::Error::from_raw_os_error(-code));
    let values = Values::parse(attributes);
    match values.bytes(NLMSGERR_ATTR_MSG) {
        Some(words) => {
            let words = String::from_utf8_lossy(words);
            error.context(words.trim_end_matches('\0').to_owned())
        }
        None => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_words_come_before_its_number() {
        let attributes = b"\x09\0\x01\0why.\0\0\0\0";
        let error = refused(-34, attributes);
        assert_eq!(format!("{error:#}"), "why.: Numerical result out of range (os error 34)");
        let error = refused(-1, &[]);
        assert_eq!(format!("{error:#}"), "Operation not permitted (os error 1)");
    }
}
