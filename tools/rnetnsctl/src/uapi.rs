// SPDX-License-Identifier: GPL-2.0

//! What `rnetns.yaml` says of the family, by which the kernel generates
//! `include/uapi/linux/rnetns.h`. A test compares them.

/// Its name.
pub const FAMILY: &str = "rnetns";
/// Its version.
pub const VERSION: u8 = 1;

/// Operations.
pub mod command {
    pub const CACHE_GET: u8 = 1;
    pub const CACHE_SET: u8 = 2;
    pub const ENTRY_GET: u8 = 3;
    pub const FLUSH: u8 = 4;
}

/// Attributes of a cache, from 1.
pub const COUNTERS: [&str; 11] = [
    "hits",
    "misses",
    "inserts",
    "evictions",
    "expiries",
    "invalidations",
    "flushed",
    "refusals",
    "uncacheable",
    "bypassed",
    "left",
];

/// Attributes of a cache behind the counters.
pub mod cache {
    pub const ENTRIES4: u16 = 12;
    pub const ENTRIES6: u16 = 13;
    pub const ASIDE: u16 = 14;
    pub const MAX_QUOTA: u16 = 15;
    pub const QUOTA: u16 = 16;
    pub const TIMEOUT: u16 = 17;
    pub const ENABLED: u16 = 18;
}

/// Attributes of an entry.
pub mod entry {
    pub const SRC: u16 = 2;
    pub const DST: u16 = 3;
    pub const IIF: u16 = 4;
    pub const MARK: u16 = 5;
    pub const FLOWINFO: u16 = 6;
    pub const OIF: u16 = 7;
    pub const LOCAL: u16 = 8;
    pub const USED: u16 = 9;
    pub const AGE: u16 = 10;
}

/// Attributes of a flush.
pub mod flush {
    pub const IFINDEX: u16 = 1;
    pub const DST: u16 = 2;
    pub const DST_LEN: u16 = 3;
    pub const FLUSHED: u16 = 4;
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The header that the kernel's tool has made.
    const HEADER: &str = include_str!("../../../rust/rnetns/netlink/include/uapi/linux/rnetns.h");

    /// The value of a name in the header: enumerations there begin with 1.
    fn value(name: &str) -> u16 {
        let mut value = 0;
        for line in HEADER.lines().map(str::trim) {
            let word = line.trim_end_matches(',').split(' ').next().unwrap_or_default();
            value = if line.starts_with("enum") { 0 } else { value + 1 };
            if word == name {
                return value;
            }
        }
        panic!("{name} is not in the header");
    }

    #[test]
    fn the_numbers_are_those_of_the_header() {
        for (counter, number) in COUNTERS.iter().zip(1..) {
            assert_eq!(value(&format!("RNETNS_A_{}", counter.to_uppercase())), number);
        }
        let numbers = [
            ("RNETNS_A_ENTRIES4", cache::ENTRIES4),
            ("RNETNS_A_ENTRIES6", cache::ENTRIES6),
            ("RNETNS_A_ASIDE", cache::ASIDE),
            ("RNETNS_A_MAX_QUOTA", cache::MAX_QUOTA),
            ("RNETNS_A_QUOTA", cache::QUOTA),
            ("RNETNS_A_TIMEOUT", cache::TIMEOUT),
            ("RNETNS_A_ENABLED", cache::ENABLED),
            ("RNETNS_ENTRY_A_SRC", entry::SRC),
            ("RNETNS_ENTRY_A_DST", entry::DST),
            ("RNETNS_ENTRY_A_IIF", entry::IIF),
            ("RNETNS_ENTRY_A_MARK", entry::MARK),
            ("RNETNS_ENTRY_A_FLOWINFO", entry::FLOWINFO),
            ("RNETNS_ENTRY_A_OIF", entry::OIF),
            ("RNETNS_ENTRY_A_LOCAL", entry::LOCAL),
            ("RNETNS_ENTRY_A_USED", entry::USED),
            ("RNETNS_ENTRY_A_AGE", entry::AGE),
            ("RNETNS_FLUSH_A_IFINDEX", flush::IFINDEX),
            ("RNETNS_FLUSH_A_DST", flush::DST),
            ("RNETNS_FLUSH_A_DST_LEN", flush::DST_LEN),
            ("RNETNS_FLUSH_A_FLUSHED", flush::FLUSHED),
            ("RNETNS_CMD_CACHE_GET", command::CACHE_GET.into()),
            ("RNETNS_CMD_CACHE_SET", command::CACHE_SET.into()),
            ("RNETNS_CMD_ENTRY_GET", command::ENTRY_GET.into()),
            ("RNETNS_CMD_FLUSH", command::FLUSH.into()),
        ];
        for (name, number) in numbers {
            assert_eq!(value(name), number, "{name}");
        }
        assert!(HEADER.contains(&format!("RNETNS_FAMILY_NAME\t\"{FAMILY}\"")));
        assert!(HEADER.contains(&format!("RNETNS_FAMILY_VERSION\t{VERSION}\n")));
    }
}
