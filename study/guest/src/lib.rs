// SPDX-License-Identifier: GPL-2.0

//! How often packets are copied on their way into a namespace, and what each way costs.
//!
//! | module | holds |
//! |---|---|
//! | [`world`] | the ways, built of three namespaces |
//! | [`bpf`] | two programs for XDP |
//! | [`traffic`] | kinds of packets, and who listens to them |
//! | [`layout`] | where the fields of `struct sk_buff` are |
//! | [`tracing`] | probes that count copies |
//! | [`memory`] | the record that they are checked against |
//! | [`histogram`] | the kernel's histograms, as text |
//! | [`measure`] | all of it for one way |
//! | [`known`] | packets whose number of copies is known |
//! | [`claims`] | what the RFD claims about parameters and tables |
//! | [`results`] | what goes to the results file |

pub mod bpf;
pub mod claims;
pub mod histogram;
pub mod known;
pub mod layout;
pub mod measure;
pub mod memory;
pub mod results;
pub mod tracing;
pub mod traffic;
pub mod world;
