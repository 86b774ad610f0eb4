// SPDX-License-Identifier: GPL-2.0

//! How long each step of a run took, in the order of the steps.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Phase {
    pub name: String,
    pub ms: u64,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Phases(pub Vec<Phase>);

impl Phases {
    /// Does `work` and notes how long it took, even if it failed.
    pub fn time<T>(&mut self, name: &str, work: impl FnOnce() -> T) -> T {
        let start = Instant::now();
        let result = work();
        self.add(name, start.elapsed());
        result
    }

    /// Notes a step that was timed elsewhere.
    pub fn add(&mut self, name: &str, took: Duration) {
        self.0.push(Phase { name: name.to_owned(), ms: millis(took) });
    }

    /// Milliseconds of the step with this name.
    pub fn get(&self, name: &str) -> Option<u64> {
        self.0.iter().find(|phase| phase.name == name).map(|phase| phase.ms)
    }
}

pub fn millis(duration: Duration) -> u64 {
    duration.as_millis().try_into().unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_keep_their_order_and_their_result() {
        let mut phases = Phases::default();
        let failed: Result<(), &str> = phases.time("kernel", || Err("no disk"));
        phases.add("boot", Duration::from_micros(1_499_900));
        assert_eq!(failed, Err("no disk"));
        let names: Vec<&str> = phases.0.iter().map(|phase| phase.name.as_str()).collect();
        assert_eq!(names, ["kernel", "boot"]);
        assert_eq!(phases.get("boot"), Some(1499));
        assert_eq!(phases.get("test"), None);
    }
}
