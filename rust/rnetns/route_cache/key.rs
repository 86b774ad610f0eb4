// SPDX-License-Identifier: GPL-2.0

//! The key of an entry without its namespace: everything in a packet that its route depends on.

/// Words of an IPv4 key: half a cache line, with tag and value.
pub(crate) const WORDS4: usize = 4;
/// Words of an IPv6 key: a cache line, with tag and value.
pub(crate) const WORDS6: usize = 11;

/// An IPv4 key has 24 bits for the index of the device, and 8 for the service.
const MAX_IIF: u32 = 0x00ff_ffff;

/// The key of an IPv4 route.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Key4 {
    /// The source, in the order of this machine.
    pub(crate) saddr: u32,
    /// The destination.
    pub(crate) daddr: u32,
    /// The index of the device that the packet came in by.
    pub(crate) iif: u32,
    /// Its mark.
    pub(crate) mark: u32,
    /// The type of service without the bits of congestion control.
    pub(crate) dscp: u8,
    /// How strictly sources are checked on the device (`rp_filter`), 0 to 2. It is not part of the
    /// packet, but no generation of routes counts a change of it.
    pub(crate) rp_filter: u8,
}

impl Key4 {
    /// The key in the form that the table has, if the device's index fits into it.
    #[inline(always)]
    pub(crate) fn words(&self) -> Option<[u32; WORDS4]> {
        if self.iif > MAX_IIF {
            return None;
        }
        let service = u32::from((self.dscp & !3) | (self.rp_filter & 3));
        Some([self.saddr, self.daddr, self.iif | service << 24, self.mark])
    }

    /// The key that the table has in this form.
    pub(crate) fn from_words(words: &[u32; WORDS4]) -> Self {
        let service = (words[2] >> 24) as u8;
        Self {
            saddr: words[0],
            daddr: words[1],
            iif: words[2] & MAX_IIF,
            mark: words[3],
            dscp: service & !3,
            rp_filter: service & 3,
        }
    }
}

/// The key of an IPv6 route.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Key6 {
    /// The source, as in the packet.
    pub(crate) saddr: [u32; 4],
    /// The destination.
    pub(crate) daddr: [u32; 4],
    /// The index of the device that the packet came in by.
    pub(crate) iif: u32,
    /// Its mark.
    pub(crate) mark: u32,
    /// Traffic class, and the flow label where rules may ask for it.
    pub(crate) flowinfo: u32,
}

impl Key6 {
    /// The key in the form that the table has.
    #[inline(always)]
    pub(crate) fn words(&self) -> [u32; WORDS6] {
        let [s0, s1, s2, s3] = self.saddr;
        let [d0, d1, d2, d3] = self.daddr;
        [
            s0,
            s1,
            s2,
            s3,
            d0,
            d1,
            d2,
            d3,
            self.iif,
            self.mark,
            self.flowinfo,
        ]
    }

    /// The key that the table has in this form.
    pub(crate) fn from_words(words: &[u32; WORDS6]) -> Self {
        let [s0, s1, s2, s3, d0, d1, d2, d3, iif, mark, flowinfo] = *words;
        Self {
            saddr: [s0, s1, s2, s3],
            daddr: [d0, d1, d2, d3],
            iif,
            mark,
            flowinfo,
        }
    }
}
