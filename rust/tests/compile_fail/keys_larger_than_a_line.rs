// SPDX-License-Identifier: GPL-2.0
// expect: E0080
// expect: a key does not fit into a line

//! A key is in one cache line, with its value: a longer one finds no place in it.

include!("../preamble.rs");

/// Makes a table without places.
pub fn table() -> Result<Arc<Table<&'static u32, 12>>> {
    Table::new(1024, 1024)
}
