// SPDX-License-Identifier: GPL-2.0

//! What is shown, for people and as JSON.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::{Context, Result};
use nix::net::if_::{Interfaces, if_nameindex};
use rnetns_uapi as uapi;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::message::Values;

/// What a namespace's cache counts, and how it is set.
#[derive(Debug, Serialize)]
pub struct Cache {
    entries4: u64,
    entries6: u64,
    quota: u64,
    max_quota: u64,
    timeout: u64,
    enabled: bool,
    aside: bool,
    #[serde(flatten)]
    counters: Map<String, Value>,
}

impl Cache {
    pub fn new(values: &Values) -> Result<Cache> {
        let mut counters = Map::new();
        for (name, attribute) in counters_by_name() {
            counters.insert(name, values.number(attribute)?.into());
        }
        Ok(Cache {
            entries4: values.number(uapi::A_ENTRIES4)?,
            entries6: values.number(uapi::A_ENTRIES6)?,
            quota: values.number(uapi::A_QUOTA)?,
            max_quota: values.number(uapi::A_MAX_QUOTA)?,
            timeout: values.number(uapi::A_TIMEOUT)?,
            enabled: values.number(uapi::A_ENABLED)? != 0,
            aside: values.number(uapi::A_ASIDE)? != 0,
            counters,
        })
    }
}

impl fmt::Display for Cache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match (self.enabled, self.aside) {
            (false, _) => "off",
            (true, false) => "on",
            (true, true) => "on, stepping aside",
        };
        writeln!(
            f,
            "{state}: {} IPv4 and {} IPv6 entries, quota {} (at most {}), timeout {} s",
            self.entries4, self.entries6, self.quota, self.max_quota, self.timeout
        )?;
        for (name, value) in &self.counters {
            writeln!(f, "  {name:<13} {value:>12}")?;
        }
        Ok(())
    }
}

/// Counters have the names of the header, so that a new one is shown without a change here.
fn counters_by_name() -> impl Iterator<Item = (String, u16)> {
    uapi::NUMBERS.iter().filter_map(|(name, number)| {
        let name = name.strip_prefix("RNETNS_A_")?;
        let attribute = u16::try_from(*number).ok()?;
        let counts = (uapi::A_HITS..=uapi::A_LEFT).contains(&attribute);
        counts.then(|| (name.to_lowercase(), attribute))
    })
}

/// A cached route.
#[derive(Debug, Serialize)]
pub struct Entry {
    src: IpAddr,
    dst: IpAddr,
    iif: String,
    oif: String,
    mark: u64,
    tos: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    flowlabel: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rp_filter: Option<u64>,
    local: bool,
    used: bool,
    stale: bool,
    age_ms: u64,
}

impl Entry {
    pub fn new(values: &Values) -> Result<Entry> {
        Ok(Entry {
            src: address(values, uapi::ENTRY_A_SRC4, uapi::ENTRY_A_SRC6)?,
            dst: address(values, uapi::ENTRY_A_DST4, uapi::ENTRY_A_DST6)?,
            iif: device(values.number(uapi::ENTRY_A_IIF)?),
            oif: device(values.number(uapi::ENTRY_A_OIF)?),
            mark: values.number(uapi::ENTRY_A_MARK)?,
            tos: values.number(uapi::ENTRY_A_TOS)?,
            flowlabel: values.number(uapi::ENTRY_A_FLOWLABEL).ok(),
            rp_filter: values.number(uapi::ENTRY_A_RP_FILTER).ok(),
            local: values.has(uapi::ENTRY_A_LOCAL),
            used: values.has(uapi::ENTRY_A_USED),
            stale: values.has(uapi::ENTRY_A_STALE),
            age_ms: values.number(uapi::ENTRY_A_AGE)?,
        })
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} from {} iif {} oif {}", self.dst, self.src, self.iif, self.oif)?;
        if self.mark != 0 {
            write!(f, " mark {:#x}", self.mark)?;
        }
        let hex = [("tos", Some(self.tos)), ("flowlabel", self.flowlabel)];
        for (name, value) in hex.into_iter().filter_map(|(name, value)| Some((name, value?))) {
            if value != 0 {
                write!(f, " {name} {value:#x}")?;
            }
        }
        if let Some(value @ 1..) = self.rp_filter {
            write!(f, " rp_filter {value}")?;
        }
        if self.local {
            f.write_str(" local")?;
        }
        write!(f, " age {}.{:03}s", self.age_ms / 1000, self.age_ms % 1000)?;
        if self.used {
            f.write_str(" used")?;
        }
        if self.stale {
            f.write_str(" stale")?;
        }
        Ok(())
    }
}

/// The address that one of these attributes holds, of IPv4 or of IPv6.
fn address(values: &Values, v4: u16, v6: u16) -> Result<IpAddr> {
    let length = "the kernel sent an address of another length";
    if let Some(bytes) = values.bytes(v4) {
        return Ok(Ipv4Addr::from(<[u8; 4]>::try_from(bytes).context(length)?).into());
    }
    let bytes = values.bytes(v6).context("the kernel sent an entry without addresses")?;
    Ok(Ipv6Addr::from(<[u8; 16]>::try_from(bytes).context(length)?).into())
}

/// Something that has happened to the cache.
#[derive(Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// Settings were changed, or it has stepped aside.
    Cache(Cache),
    /// So many entries were flushed.
    Flushed(u64),
}

impl Event {
    /// None for a message of another kind.
    pub fn new(command: u8, values: &Values) -> Result<Option<Event>> {
        Ok(match command {
            uapi::CMD_CACHE_NTF => Some(Event::Cache(Cache::new(values)?)),
            uapi::CMD_FLUSH_NTF => Some(Event::Flushed(values.number(uapi::FLUSH_A_FLUSHED)?)),
            _ => None,
        })
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Event::Cache(cache) => {
                f.write_str(cache.to_string().lines().next().unwrap_or_default())
            }
            Event::Flushed(flushed) => write!(f, "flushed {flushed}"),
        }
    }
}

/// The name of a device of this namespace, or its index if the device is gone.
fn device(index: u64) -> String {
    let devices = if_nameindex();
    let named =
        devices.iter().flat_map(Interfaces::iter).find(|device| u64::from(device.index()) == index);
    named.map_or_else(|| index.to_string(), |device| device.name().to_string_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Rnetns;

    fn answer() -> Rnetns {
        (1..=uapi::A_MAX).fold(Rnetns::new(uapi::CMD_CACHE_GET), |message, attribute| {
            match attribute {
                uapi::A_ASIDE | uapi::A_ENABLED => message.with(attribute, &1u32.to_ne_bytes()),
                _ => message.with(attribute, &u32::from(attribute).to_ne_bytes()),
            }
        })
    }

    #[test]
    fn a_cache_is_shown_with_all_its_counters() {
        let cache = Cache::new(&answer().values()).unwrap();
        let text = cache.to_string();
        assert!(text.starts_with("on, stepping aside: 12 IPv4 and 13 IPv6 entries, quota 16"));
        assert_eq!(text.lines().count(), 1 + 11);
        let json = serde_json::to_value(&cache).unwrap();
        assert_eq!((&json["hits"], &json["left"]), (&1.into(), &11.into()));
        assert_eq!((&json["timeout"], &json["enabled"]), (&17.into(), &true.into()));
    }

    #[test]
    fn an_entry_is_shown_like_a_route() {
        let values = Rnetns::new(uapi::CMD_ENTRY_GET)
            .with(uapi::ENTRY_A_SRC4, &[10, 0, 1, 2])
            .with(uapi::ENTRY_A_DST4, &[10, 0, 2, 2])
            .with(uapi::ENTRY_A_IIF, &4_000_000u32.to_ne_bytes())
            .with(uapi::ENTRY_A_OIF, &4_000_001u32.to_ne_bytes())
            .with(uapi::ENTRY_A_MARK, &16u32.to_ne_bytes())
            .with(uapi::ENTRY_A_TOS, &0u32.to_ne_bytes())
            .with(uapi::ENTRY_A_RP_FILTER, &1u32.to_ne_bytes())
            .with(uapi::ENTRY_A_STALE, &[])
            .with(uapi::ENTRY_A_USED, &[])
            .with(uapi::ENTRY_A_AGE, &1234u32.to_ne_bytes())
            .values();
        let text = Entry::new(&values).unwrap().to_string();
        assert_eq!(
            text,
            "10.0.2.2 from 10.0.1.2 iif 4000000 oif 4000001 mark 0x10 rp_filter 1 age 1.234s used stale"
        );
    }
}
