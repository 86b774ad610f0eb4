// SPDX-License-Identifier: GPL-2.0

//! Turns the UAPI header into Rust constants: bindgen reads it, and each number gets the type that
//! it has in a netlink message.

use std::cell::RefCell;
use std::env;
use std::fs;
use std::path::PathBuf;
use std::rc::Rc;

use anyhow::{Context, Result, anyhow};
use bindgen::Formatter;
use bindgen::callbacks::{EnumVariantCustomBehavior, EnumVariantValue, IntKind, ParseCallbacks};

const HEADER: &str = "../../rust/rnetns/netlink/include/uapi/linux/rnetns.h";
const PREFIX: &str = "RNETNS_";

fn main() {
    println!("cargo::rerun-if-changed={HEADER}");
    println!("cargo::rerun-if-changed=build.rs");
    if let Err(error) = generate() {
        println!("cargo::error={error:#}");
    }
}

fn generate() -> Result<()> {
    // bindgen would do this too, but panics where it fails.
    clang_sys::load().map_err(|why| {
        anyhow!("no libclang: install libclang-19-dev, or set LIBCLANG_PATH to its folder ({why})")
    })?;
    let names = Names::default();
    let header = bindgen::builder()
        .header(HEADER)
        .parse_callbacks(Box::new(names.clone()))
        .generate_cstr(true)
        .formatter(Formatter::None)
        .generate()
        .with_context(|| format!("read {HEADER}"))?;
    let out = PathBuf::from(env::var_os("OUT_DIR").context("cargo sets no OUT_DIR")?);
    let (raw, typed) = (out.join("header.rs"), out.join("names.rs"));
    header.write_to_file(&raw).with_context(|| format!("write {}", raw.display()))?;
    fs::write(&typed, names.constants()).with_context(|| format!("write {}", typed.display()))
}

/// The names in the header, in their order there.
#[derive(Debug, Clone, Default)]
struct Names {
    numbers: Rc<RefCell<Vec<String>>>,
    texts: Rc<RefCell<Vec<String>>>,
}

/// Remembers a name, unless it is the compiler's or the header's include guard.
fn remember(names: &RefCell<Vec<String>>, name: &str) {
    let mut names = names.borrow_mut();
    if name.starts_with(PREFIX) && !names.iter().any(|have| have == name) {
        names.push(name.to_owned());
    }
}

impl ParseCallbacks for Names {
    fn int_macro(&self, name: &str, _value: i64) -> Option<IntKind> {
        remember(&self.numbers, name);
        None
    }

    fn str_macro(&self, name: &str, _value: &[u8]) {
        remember(&self.texts, name);
    }

    fn enum_variant_behavior(
        &self,
        _enum_name: Option<&str>,
        name: &str,
        _value: EnumVariantValue,
    ) -> Option<EnumVariantCustomBehavior> {
        remember(&self.numbers, name);
        None
    }
}

impl Names {
    fn constants(&self) -> String {
        let (numbers, texts) = (self.numbers.borrow(), self.texts.borrow());
        let mut source = String::new();
        for name in texts.iter() {
            let short = short(name);
            source += &format!("pub const {short}: &str = text(header::{name});\n");
        }
        for name in numbers.iter() {
            let (short, kind) = (short(name), kind(name));
            source += &format!("pub const {short}: {kind} = to_{kind}(header::{name});\n");
        }
        source += &list("TEXTS", "&str", "text", &texts, |short| short.to_owned());
        source + &list("NUMBERS", "u32", "number", &numbers, |short| format!("{short} as u32"))
    }
}

/// A constant with all constants of a kind, by their names in the header.
fn list(
    list: &str,
    kind: &str,
    what: &str,
    names: &[String],
    value: impl Fn(&str) -> String,
) -> String {
    let mut source = format!("/// Every {what} of the header, by its name there.\n");
    source += &format!("pub const {list}: [(&str, {kind}); {}] = [\n", names.len());
    for name in names {
        source += &format!("    (\"{name}\", {}),\n", value(short(name)));
    }
    source + "];\n"
}

fn short(name: &str) -> &str {
    name.strip_prefix(PREFIX).unwrap_or(name)
}

/// In a message, commands and versions take one byte, and types of attributes two.
fn kind(name: &str) -> &'static str {
    match short(name) {
        short if short.starts_with("CMD_") || short == "FAMILY_VERSION" => "u8",
        short if short.starts_with("A_") || short.contains("_A_") => "u16",
        _ => "u32",
    }
}
