// SPDX-License-Identifier: GPL-2.0

//! Shows and changes the route cache of the network namespace it runs in.

mod message;
mod show;
mod socket;

use std::io::{self, Write};
use std::net::IpAddr;
use std::process::ExitCode;
use std::str::FromStr;

use anyhow::{Context, Result};
use clap::{Args, Parser, Subcommand};
use nix::net::if_::if_nametoindex;
use rnetns_uapi as uapi;
use serde::Serialize;

use crate::message::Rnetns;
use crate::show::{Cache, Entry};
use crate::socket::Connection;

/// Shows and changes the route cache of the network namespace it runs in.
///
/// For another namespace: `ip netns exec NAME rnetnsctl ...`, or `nsenter -n ...`.
#[derive(Debug, Parser)]
#[command(name = "rnetnsctl", version)]
struct Cli {
    #[command(subcommand)]
    action: Action,
    /// JSON instead of text.
    #[arg(long, short, global = true)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Counters and settings.
    Stats,
    /// The entries, oldest first: all, those of a family, or those to a network.
    Dump(Dump),
    /// What happens to the cache, as it happens: changed settings, flushes, stepping aside.
    Monitor,
    /// Remove entries: all, those of a device, or those to a network.
    Flush(Flush),
    /// Change settings.
    Set(Set),
}

#[derive(Debug, Args)]
struct Dump {
    /// Entries of IPv4 alone.
    #[arg(short = '4', conflicts_with = "ipv6")]
    ipv4: bool,
    /// Entries of IPv6 alone.
    #[arg(short = '6')]
    ipv6: bool,
    /// Entries of packets to this network (ADDRESS or ADDRESS/LENGTH).
    #[arg(long)]
    dst: Option<Network>,
}

#[derive(Debug, Args)]
struct Flush {
    /// Entries of packets that come in or leave by this device (name or index).
    #[arg(long)]
    dev: Option<String>,
    /// Entries of packets to this network (ADDRESS or ADDRESS/LENGTH).
    #[arg(long)]
    dst: Option<Network>,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = true)]
struct Set {
    /// The most entries that the namespace may have.
    #[arg(long)]
    quota: Option<u32>,
    /// Seconds without use after which an entry is dropped.
    #[arg(long)]
    timeout: Option<u32>,
    /// On or off.
    #[arg(long, value_name = "on|off", value_parser = on_or_off)]
    enable: Option<bool>,
}

fn on_or_off(word: &str) -> Result<bool, String> {
    match word {
        "on" => Ok(true),
        "off" => Ok(false),
        _ => Err("on or off".to_owned()),
    }
}

/// An address and the number of its leading bits that count.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Network {
    address: IpAddr,
    len: Option<u32>,
}

impl Network {
    /// Names the network in a request, by these attributes for IPv4, IPv6 and the length.
    fn put(&self, request: Rnetns, [dst4, dst6, len]: [u16; 3]) -> Rnetns {
        let request = match self.address {
            IpAddr::V4(address) => request.with(dst4, &address.octets()),
            IpAddr::V6(address) => request.with(dst6, &address.octets()),
        };
        match self.len {
            Some(bits) => request.with(len, &bits.to_ne_bytes()),
            None => request,
        }
    }
}

impl FromStr for Network {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Network> {
        let (address, len) = match text.split_once('/') {
            Some((address, len)) => {
                (address, Some(len.parse().with_context(|| format!("length \"{len}\""))?))
            }
            None => (text, None),
        };
        let address = address.parse().with_context(|| format!("address \"{address}\""))?;
        Ok(Network { address, len })
    }
}

fn main() -> ExitCode {
    match run(&Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("rnetnsctl: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: &Cli) -> Result<()> {
    let mut connection = Connection::open()?;
    let mut out = io::stdout().lock();
    match &cli.action {
        Action::Stats => {
            let answer = connection.request(Rnetns::new(uapi::CMD_CACHE_GET))?;
            let cache = Cache::new(&answer.context("the kernel did not answer")?)?;
            if cli.json { json(&mut out, &cache)? } else { write!(out, "{cache}")? }
        }
        Action::Dump(which) => {
            let dump = connection.dump(dump_request(which))?;
            let entries: Result<Vec<Entry>> =
                dump.messages.iter().map(|message| Entry::new(&message.values())).collect();
            let entries = entries?;
            if cli.json {
                json(&mut out, &entries)?;
            } else {
                for entry in &entries {
                    writeln!(out, "{entry}")?;
                }
            }
            if dump.interrupted {
                eprintln!("rnetnsctl: entries changed while they were read");
            }
        }
        Action::Flush(which) => {
            let answer = connection.request(flush_request(which)?)?;
            let flushed =
                answer.context("the kernel did not answer")?.number(uapi::FLUSH_A_FLUSHED)?;
            if cli.json {
                json(&mut out, &serde_json::json!({ "flushed": flushed }))?;
            } else {
                writeln!(out, "flushed {flushed}")?;
            }
        }
        Action::Monitor => connection.monitor(|event| {
            if cli.json {
                json(&mut out, event)?
            } else {
                writeln!(out, "{event}")?
            }
            out.flush().context("write")
        })?,
        Action::Set(settings) => {
            connection.request(set_request(settings))?;
        }
    }
    Ok(())
}

fn json(out: &mut impl Write, value: &impl Serialize) -> Result<()> {
    serde_json::to_writer_pretty(&mut *out, value).context("write")?;
    writeln!(out).context("write")
}

/// As in `linux/socket.h`.
const AF_INET: u32 = 2;
const AF_INET6: u32 = 10;

fn dump_request(which: &Dump) -> Rnetns {
    let mut request = Rnetns::new(uapi::CMD_ENTRY_GET);
    if which.ipv4 {
        request = request.with(uapi::ENTRY_A_FAMILY, &AF_INET.to_ne_bytes());
    }
    if which.ipv6 {
        request = request.with(uapi::ENTRY_A_FAMILY, &AF_INET6.to_ne_bytes());
    }
    let attributes = [uapi::ENTRY_A_DST4, uapi::ENTRY_A_DST6, uapi::ENTRY_A_DST_LEN];
    which.dst.iter().fold(request, |request, network| network.put(request, attributes))
}

fn flush_request(which: &Flush) -> Result<Rnetns> {
    let mut request = Rnetns::new(uapi::CMD_FLUSH);
    if let Some(dev) = &which.dev {
        request = request.with(uapi::FLUSH_A_IFINDEX, &index(dev)?.to_ne_bytes());
    }
    if let Some(network) = &which.dst {
        let attributes = [uapi::FLUSH_A_DST4, uapi::FLUSH_A_DST6, uapi::FLUSH_A_DST_LEN];
        request = network.put(request, attributes);
    }
    Ok(request)
}

/// The index of a device of this namespace.
fn index(dev: &str) -> Result<u32> {
    if let Ok(index) = dev.parse() {
        return Ok(index);
    }
    if_nametoindex(dev).with_context(|| format!("find device {dev} in this namespace"))
}

fn set_request(settings: &Set) -> Rnetns {
    let mut request = Rnetns::new(uapi::CMD_CACHE_SET);
    if let Some(quota) = settings.quota {
        request = request.with(uapi::A_QUOTA, &quota.to_ne_bytes());
    }
    if let Some(timeout) = settings.timeout {
        request = request.with(uapi::A_TIMEOUT, &timeout.to_ne_bytes());
    }
    if let Some(enable) = settings.enable {
        request = request.with(uapi::A_ENABLED, &u32::from(enable).to_ne_bytes());
    }
    request
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Cli, String> {
        Cli::try_parse_from(line.split(' ')).map_err(|error| error.to_string())
    }

    #[test]
    fn the_command_line_is_well_formed() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }

    #[test]
    fn a_network_has_an_address_and_perhaps_a_length() {
        let network: Network = "10.0.0.0/8".parse().unwrap();
        assert_eq!((network.address, network.len), ("10.0.0.0".parse().unwrap(), Some(8)));
        assert_eq!("fd01::1".parse::<Network>().unwrap().len, None);
        for wrong in ["10.0.0", "10.0.0.0/x", "/8", ""] {
            assert!(wrong.parse::<Network>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn nothing_to_set_is_no_command() {
        assert!(parse("rnetnsctl set").unwrap_err().contains("required"));
        assert!(parse("rnetnsctl set --enable maybe").unwrap_err().contains("on or off"));
        let Action::Set(set) = parse("rnetnsctl set --quota 7 --enable off").unwrap().action else {
            panic!("not a set");
        };
        let values = set_request(&set).values();
        assert_eq!(values.number(uapi::A_QUOTA).unwrap(), 7);
        assert_eq!(values.number(uapi::A_ENABLED).unwrap(), 0);
        assert!(!values.has(uapi::A_TIMEOUT));
    }

    #[test]
    fn a_dump_says_which_entries_it_is_about() {
        let Action::Dump(which) = parse("rnetnsctl dump -6 --dst fd01::/16").unwrap().action else {
            panic!("not a dump");
        };
        let values = dump_request(&which).values();
        assert_eq!(values.number(uapi::ENTRY_A_FAMILY).unwrap(), u64::from(AF_INET6));
        assert_eq!(values.bytes(uapi::ENTRY_A_DST6).map(<[u8]>::len), Some(16));
        assert_eq!(values.number(uapi::ENTRY_A_DST_LEN).unwrap(), 16);
        assert!(parse("rnetnsctl dump -4 -6").is_err());
        let Action::Dump(all) = parse("rnetnsctl dump").unwrap().action else {
            panic!("not a dump");
        };
        assert!(dump_request(&all).attributes.is_empty());
    }

    #[test]
    fn a_flush_says_what_it_is_about() {
        let Action::Flush(which) =
            parse("rnetnsctl flush --dev 3 --dst 10.1.0.0/16").unwrap().action
        else {
            panic!("not a flush");
        };
        let values = flush_request(&which).unwrap().values();
        assert_eq!(values.number(uapi::FLUSH_A_IFINDEX).unwrap(), 3);
        assert_eq!(values.bytes(uapi::FLUSH_A_DST4), Some(&[10, 1, 0, 0][..]));
        assert_eq!(values.number(uapi::FLUSH_A_DST_LEN).unwrap(), 16);
    }
}
