// SPDX-License-Identifier: GPL-2.0

//! Networks, as requests name them.

use crate::route_cache::cache::Key;

/// As user space numbers address families.
pub(super) const AF_INET: u16 = 2;
pub(super) const AF_INET6: u16 = 10;

/// An address and the number of its leading bits that count.
#[derive(Clone, Copy)]
pub(super) struct Prefix {
    address: Address,
    mask: u128,
}

/// Addresses as numbers; the first bit is the highest.
#[derive(Clone, Copy)]
enum Address {
    V4(u128),
    V6(u128),
}

/// The bytes of an IPv6 address, whose words are as in packets.
pub(super) fn bytes(words: &[u32; 4]) -> [u8; 16] {
    let mut bytes = [0; 16];
    for (four, word) in bytes.chunks_exact_mut(4).zip(words) {
        four.copy_from_slice(&word.to_ne_bytes());
    }
    bytes
}

impl Prefix {
    /// All bits of an address of 4 or 16 bytes count.
    pub(super) fn new(address: &[u8]) -> Option<Self> {
        let v4 = |bytes: [u8; 4]| Address::V4(u32::from_be_bytes(bytes).into());
        let v6 = |bytes: [u8; 16]| Address::V6(u128::from_be_bytes(bytes));
        let address = match address.len() {
            4 => v4(address.try_into().ok()?),
            16 => v6(address.try_into().ok()?),
            _ => return None,
        };
        Some(Self {
            address,
            mask: u128::MAX,
        })
    }

    /// Only the first `len` bits count. `None` if the address is shorter.
    pub(super) fn shortened(self, len: u32) -> Option<Self> {
        let bits: u32 = match self.address {
            Address::V4(_) => 32,
            Address::V6(_) => 128,
        };
        let ignored = bits.checked_sub(len)?;
        Some(Self {
            mask: u128::MAX.checked_shl(ignored).unwrap_or(0),
            ..self
        })
    }

    /// Whether packets with this key go to the network.
    pub(super) fn holds(&self, key: &Key) -> bool {
        let differ = match (key, self.address) {
            (Key::V4(key), Address::V4(address)) => u128::from(key.daddr) ^ address,
            (Key::V6(key), Address::V6(address)) => {
                u128::from_be_bytes(bytes(&key.daddr)) ^ address
            }
            _ => return false,
        };
        differ & self.mask == 0
    }
}
