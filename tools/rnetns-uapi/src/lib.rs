// SPDX-License-Identifier: GPL-2.0

//! The generic netlink family `rnetns` as in its UAPI header `linux/rnetns.h`: name and version,
//! commands, attributes.
//!
//! bindgen reads the header when this crate is built, so no number has to be kept in step by hand.
//! A constant has its name of C without `RNETNS_`, and the type that it has in a message:
//! `u8` for a command, `u16` for an attribute.

use std::ffi::CStr;

mod header {
    #![allow(dead_code, non_camel_case_types)]
    include!(concat!(env!("OUT_DIR"), "/header.rs"));
}

include!(concat!(env!("OUT_DIR"), "/names.rs"));

// These run when the crate is compiled: a number that does not fit is an error there.

const fn to_u8(number: u32) -> u8 {
    assert!(number <= u8::MAX as u32, "a number of the header does not fit into a byte");
    number as u8
}

const fn to_u16(number: u32) -> u16 {
    assert!(number <= u16::MAX as u32, "a number of the header does not fit into two bytes");
    number as u16
}

const fn text(text: &CStr) -> &str {
    match text.to_str() {
        Ok(text) => text,
        Err(_) => panic!("a text of the header is not UTF-8"),
    }
}
