// SPDX-License-Identifier: GPL-2.0

//! How much the kernel has allocated.
//!
//! Objects are counted, not bytes: a leak of one object for each of N namespaces shows as N objects
//! of some cache, whatever its size. Per-CPU allocations have no cache; debugfs counts them.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::netns::{in_thread, unshare_net};
use crate::wait_until;

const SLABINFO: &str = "/proc/slabinfo";
const SLAB: &str = "/sys/kernel/slab";
const PERCPU: &str = "/sys/kernel/debug/percpu_stats";

/// The caches of routes.
pub const ROUTES: [&str; 2] = ["ip_dst_cache", "ip6_dst_cache"];

/// Everything that is allocated at a moment.
#[derive(Debug, Clone)]
pub struct Usage {
    /// Objects of each slab cache.
    pub objects: BTreeMap<String, i64>,
    /// Per-CPU allocations, if the kernel counts them.
    pub percpu: Option<i64>,
}

/// The reason why objects cannot be counted here, if there is one.
pub fn missing() -> Option<String> {
    let readable =
        fs::read(SLABINFO).is_ok() && Path::new(SLAB).join("net_namespace/shrink").exists();
    (!readable).then(|| "no slab figures (CONFIG_SLUB_DEBUG)".into())
}

impl Usage {
    /// Counts what is allocated now, without free objects that the caches keep in stock.
    pub fn now() -> Result<Usage> {
        let names = cache_names()?;
        for name in &names {
            shrink(name);
        }
        let text = fs::read_to_string(SLABINFO).context(SLABINFO)?;
        let objects =
            text.lines().filter_map(parse_cache).filter(|(name, _)| names.contains(name)).collect();
        let percpu = match fs::read_to_string(PERCPU) {
            Ok(text) => Some(parse_percpu(&text).context(PERCPU)?),
            Err(_) => None,
        };
        Ok(Usage { objects, percpu })
    }

    /// The kinds that have grown since `before` by more than `limit`, and by how much.
    pub fn grown_since(&self, before: &Usage, limit: i64) -> Vec<(String, i64)> {
        let caches = self.objects.iter().map(|(name, count)| {
            let first = before.objects.get(name).copied().unwrap_or(0);
            (name.clone(), count - first)
        });
        let percpu = self.percpu.zip(before.percpu);
        let percpu = percpu.map(|(after, before)| ("per-CPU".to_owned(), after - before));
        caches.chain(percpu).filter(|(_, growth)| *growth > limit).collect()
    }
}

/// How many namespaces have memory, without `init_net`.
pub fn live_namespaces() -> Result<i64> {
    shrink("net_namespace");
    let text = fs::read_to_string(SLABINFO).context(SLABINFO)?;
    text.lines()
        .filter_map(parse_cache)
        .find(|(name, _)| name == "net_namespace")
        .map(|(_, count)| count)
        .context("no cache net_namespace")
}

/// Like [`live_namespaces`], after those that are ending have ended.
///
/// The kernel frees the memory of a namespace when the *next* one ends (`net_complete_free()`). So
/// each look creates and ends one, and the last of these is in the count.
pub fn settled_namespaces() -> Result<i64> {
    let mut live = look()?;
    let mut same = 0;
    let settled = wait_until(|| {
        let now = look().unwrap_or(i64::MAX);
        same = if now == live { same + 1 } else { 0 };
        live = now;
        same == 2
    });
    ensure!(settled, "the number of namespaces does not settle: {live}");
    Ok(live)
}

/// Waits for the namespaces that are ending, until no more than `count` have memory: what
/// [`settled_namespaces`] said, and those that the test holds.
pub fn wait_for_namespaces(count: i64) -> Result<()> {
    let mut live = 0;
    let gone = wait_until(|| {
        live = look().unwrap_or(i64::MAX);
        live <= count
    });
    ensure!(gone, "{live} namespaces have memory, expected {count}");
    Ok(())
}

fn look() -> Result<i64> {
    in_thread(|| unshare_net().context("create a namespace"))?;
    thread::sleep(Duration::from_millis(50));
    live_namespaces()
}

/// Caches whose objects come with namespaces, and those of routes. Caches of files and processes
/// change by themselves: the test itself uses some.
fn cache_names() -> Result<Vec<String>> {
    let text = fs::read_to_string(SLABINFO).context(SLABINFO)?;
    Ok(text
        .lines()
        .filter_map(parse_cache)
        .map(|(name, _)| name)
        .filter(|name| {
            name.starts_with("kmalloc-")
                || name == "net_namespace"
                || ROUTES.contains(&name.as_str())
        })
        .collect())
}

/// Frees the stock of the cache, so that its count is exact. Without the right to do that, the count
/// is too high, and no test passes by that.
fn shrink(cache: &str) {
    let _ = fs::write(Path::new(SLAB).join(cache).join("shrink"), "1");
}

/// `name active_objs ...`
fn parse_cache(line: &str) -> Option<(String, i64)> {
    let mut words = line.split_ascii_whitespace();
    let name = words.next()?;
    let count = words.next()?.parse().ok()?;
    Some((name.to_owned(), count))
}

/// The global `nr_cur_alloc`: the first of the file.
fn parse_percpu(text: &str) -> Option<i64> {
    text.lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.trim() == "nr_cur_alloc")?
        .1
        .trim()
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_found_in_what_the_kernel_prints() {
        let slabinfo = "slabinfo - version: 2.1\n# name <active_objs> <num_objs>\n\
                        net_namespace          3      8   4096    8    8 : tunables\n";
        let caches: Vec<_> = slabinfo.lines().filter_map(parse_cache).collect();
        assert_eq!(caches, [("net_namespace".to_owned(), 3)]);
        let percpu = "Percpu Memory Statistics\nGlobal Stats:\n  nr_alloc            :          900\n  \
                      nr_cur_alloc        :          700\nPer Chunk Stats:\n  nr_cur_alloc : 1\n";
        assert_eq!(parse_percpu(percpu), Some(700));
    }

    #[test]
    fn growth_is_reported_above_the_limit_only() {
        let usage = |kmalloc, percpu| Usage {
            objects: [("kmalloc-64".to_owned(), kmalloc)].into(),
            percpu: Some(percpu),
        };
        let growth = usage(110, 5).grown_since(&usage(100, 0), 5);
        assert_eq!(growth, [("kmalloc-64".to_owned(), 10)]);
    }
}
