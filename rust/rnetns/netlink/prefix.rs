// SPDX-License-Identifier: GPL-2.0

//! Networks, as requests name them.

use crate::route_cache::cache::Key;

/// As user space numbers address families.
pub(super) const AF_INET: u32 = 2;
pub(super) const AF_INET6: u32 = 10;

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

/// The family of an entry.
pub(super) fn family(key: &Key) -> u32 {
    match key {
        Key::V4(_) => AF_INET,
        Key::V6(_) => AF_INET6,
    }
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
    /// All bits of this address of IPv4 count.
    pub(super) fn v4(address: [u8; 4]) -> Self {
        Self {
            address: Address::V4(u32::from_be_bytes(address).into()),
            mask: u128::MAX,
        }
    }

    /// All bits of this address of IPv6 count.
    pub(super) fn v6(address: [u8; 16]) -> Self {
        Self {
            address: Address::V6(u128::from_be_bytes(address)),
            mask: u128::MAX,
        }
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
