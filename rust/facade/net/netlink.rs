// SPDX-License-Identifier: GPL-2.0

//! Generic netlink: the base kernel's own text, and what is added to it.
//!
//! What is added sees private fields, as in a tree. So the text is compiled here, and its types are
//! others than those of the base kernel's crate.

use theirs::bindings;

include!(concat!(env!("RNETNS_BINDINGS"), "/netlink.rs"));

#[path = "../../kernel/net/netlink/message.rs"]
pub mod message;
#[path = "../../kernel/net/netlink/request.rs"]
pub mod request;
