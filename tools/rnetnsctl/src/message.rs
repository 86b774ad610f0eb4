// SPDX-License-Identifier: GPL-2.0

//! Messages of the family: a command and attributes, as numbers and bytes.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};
use netlink_packet_core::{
    DecodeError, DefaultNla, Emitable, NlaBuffer, NlasIterator, Parseable, ParseableParametrized,
};
use netlink_packet_generic::{GenlFamily, GenlHeader};
use rnetns_uapi as uapi;

/// A request or a reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rnetns {
    pub command: u8,
    pub attributes: Vec<DefaultNla>,
}

impl Rnetns {
    pub fn new(command: u8) -> Rnetns {
        Rnetns { command, attributes: Vec::new() }
    }

    pub fn with(mut self, attribute: u16, value: &[u8]) -> Rnetns {
        self.attributes.push(DefaultNla::new(attribute, value.to_vec()));
        self
    }

    pub fn values(&self) -> Values {
        let value = |nla: &DefaultNla| {
            let mut bytes = vec![0; netlink_packet_core::Nla::value_len(nla)];
            netlink_packet_core::Nla::emit_value(nla, &mut bytes);
            (netlink_packet_core::Nla::kind(nla), bytes)
        };
        Values(self.attributes.iter().map(value).collect())
    }
}

impl GenlFamily for Rnetns {
    fn family_name() -> &'static str {
        uapi::FAMILY_NAME
    }

    fn command(&self) -> u8 {
        self.command
    }

    fn version(&self) -> u8 {
        uapi::FAMILY_VERSION
    }
}

impl Emitable for Rnetns {
    fn buffer_len(&self) -> usize {
        self.attributes.as_slice().buffer_len()
    }

    fn emit(&self, buffer: &mut [u8]) {
        self.attributes.as_slice().emit(buffer);
    }
}

impl ParseableParametrized<[u8], GenlHeader> for Rnetns {
    fn parse_with_param(bytes: &[u8], header: GenlHeader) -> Result<Rnetns, DecodeError> {
        let attributes = NlasIterator::new(bytes)
            .map(|nla| DefaultNla::parse(&nla?))
            .collect::<Result<Vec<DefaultNla>, DecodeError>>()?;
        Ok(Rnetns { command: header.cmd, attributes })
    }
}

/// Attributes by their numbers.
#[derive(Debug, Clone, Default)]
pub struct Values(BTreeMap<u16, Vec<u8>>);

impl Values {
    /// Reads bytes that hold attributes and nothing else.
    pub fn parse(bytes: &[u8]) -> Values {
        let attribute = |nla: Result<NlaBuffer<&[u8]>, DecodeError>| {
            let nla = nla.ok()?;
            Some((nla.kind(), nla.value().to_vec()))
        };
        Values(NlasIterator::new(bytes).map_while(attribute).collect())
    }

    pub fn has(&self, attribute: u16) -> bool {
        self.0.contains_key(&attribute)
    }

    pub fn bytes(&self, attribute: u16) -> Option<&[u8]> {
        self.0.get(&attribute).map(Vec::as_slice)
    }

    /// The kernel sends a number in as few bytes as it needs.
    pub fn number(&self, attribute: u16) -> Result<u64> {
        let bytes = self.bytes(attribute);
        let bytes = bytes.with_context(|| format!("the kernel sent no attribute {attribute}"))?;
        Ok(match *bytes {
            [a] => a.into(),
            [a, b] => u16::from_ne_bytes([a, b]).into(),
            [a, b, c, d] => u32::from_ne_bytes([a, b, c, d]).into(),
            [a, b, c, d, e, f, g, h] => u64::from_ne_bytes([a, b, c, d, e, f, g, h]),
            _ => bail!("attribute {attribute} has {} bytes: no number", bytes.len()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_can_be_read_again() {
        let message = Rnetns::new(uapi::CMD_FLUSH)
            .with(uapi::FLUSH_A_IFINDEX, &7u32.to_ne_bytes())
            .with(uapi::FLUSH_A_DST4, &[10, 0, 0, 1]);
        let mut bytes = vec![0; message.buffer_len()];
        message.emit(&mut bytes);
        let header = GenlHeader { cmd: uapi::CMD_FLUSH, version: 1 };
        let read = Rnetns::parse_with_param(&bytes, header).unwrap();
        assert_eq!(read, message);
        assert_eq!(read.values().number(uapi::FLUSH_A_IFINDEX).unwrap(), 7);
        assert_eq!(read.values().bytes(uapi::FLUSH_A_DST4), Some(&[10, 0, 0, 1][..]));
        assert!(!read.values().has(uapi::FLUSH_A_DST_LEN));
    }

    #[test]
    fn numbers_have_any_length_that_the_kernel_gives_them() {
        let message =
            Rnetns::new(1).with(1, &[9]).with(2, &(1u64 << 40).to_ne_bytes()).with(3, &[1, 2, 3]);
        let values = message.values();
        assert_eq!(values.number(1).unwrap(), 9);
        assert_eq!(values.number(2).unwrap(), 1 << 40);
        assert!(values.number(3).unwrap_err().to_string().contains("3 bytes"));
        assert!(values.number(4).unwrap_err().to_string().contains("no attribute 4"));
    }
}
