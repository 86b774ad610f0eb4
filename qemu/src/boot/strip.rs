// SPDX-License-Identifier: GPL-2.0

//! Removes debug information from modules for the guest. It is nine tenths of a module in Rust, and
//! the guest would unpack it, and read it at each load. The lab decodes stacks on the host, with
//! the complete module.

use object::Endianness;
use object::build::elf::Builder;
use object::elf::{FileHeader64, SectionHeader64};
use object::read::elf::{FileHeader, SectionHeader};

/// The module without debug information. A file that cannot be parsed stays as it is: the kernel
/// will say what is wrong with it.
pub fn without_debug_information(module: Vec<u8>) -> Vec<u8> {
    stripped(&module).unwrap_or(module)
}

fn stripped(module: &[u8]) -> object::build::Result<Vec<u8>> {
    let module = without_hints(module)?;
    let mut elf = Builder::read(&*module)?;
    for section in &mut elf.sections {
        let name = section.name.strip_prefix(b".rela").unwrap_or(&section.name);
        section.delete = name.starts_with(b".debug_") || name == ADDRESS_HINTS;
    }
    // Symbols of the removed sections, and relocations that use those symbols.
    elf.delete_orphans();
    let mut bytes = Vec::new();
    elf.write(&mut bytes)?;
    Ok(bytes)
}

/// A section for linkers: which symbols' addresses matter. Its type is unknown to the builder,
/// which would refuse it.
const ADDRESS_HINTS: &[u8] = b".llvm_addrsig";
const TYPE_OF_HINTS: u32 = 0x6fff_4c03;
/// The offset of the type in a section's header.
const TYPE_AT: usize = 4;

/// The module with the type of that section, if it has one, changed to a plain one.
fn without_hints(module: &[u8]) -> object::build::Result<Vec<u8>> {
    let mut bytes = module.to_vec();
    let header = FileHeader64::<Endianness>::parse(module)?;
    let endian = header.endian()?;
    let size = size_of::<SectionHeader64<Endianness>>();
    let first = usize::try_from(header.e_shoff(endian)).unwrap_or(usize::MAX);
    for (number, section) in header.section_headers(endian, module)?.iter().enumerate() {
        if section.sh_type(endian).0 == TYPE_OF_HINTS {
            let at = first + number * size + TYPE_AT;
            let plain = object::elf::SHT_PROGBITS.0.to_le_bytes();
            bytes[at..at + plain.len()].copy_from_slice(&plain);
        }
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use object::{Object, ObjectSection, ObjectSymbol};
    use std::process::Command;

    fn compiled(source: &str) -> Vec<u8> {
        let dir = tempfile::tempdir().unwrap();
        let (c, o) = (dir.path().join("a.c"), dir.path().join("a.o"));
        std::fs::write(&c, source).unwrap();
        let mut cc = Command::new("cc");
        assert!(cc.args(["-g", "-c", "-o"]).arg(&o).arg(&c).status().unwrap().success());
        std::fs::read(&o).unwrap()
    }

    /// All that matters when it is loaded: sections with their bytes and how many relocations.
    fn sections(module: &[u8]) -> Vec<(String, Vec<u8>, usize)> {
        let file = object::File::parse(module).unwrap();
        let kept = |name: &str| {
            !name.contains("debug_") && !name.contains("tab") && name != ".llvm_addrsig"
        };
        file.sections()
            .map(|section| {
                let data = section.data().unwrap_or_default().to_vec();
                (section.name().unwrap().to_owned(), data, section.relocations().count())
            })
            .filter(|(name, ..)| kept(name) && !name.starts_with(".rela"))
            .collect()
    }

    #[test]
    fn debug_information_goes_and_all_else_stays() {
        // clang adds hints, which any assembler can.
        let source = r#"
            asm(".section .llvm_addrsig,\"\",@0x6fff4c03\n.byte 1\n.previous");
            extern int outer(int);
            int here = 7;
            int inner(int x) { return outer(x) + here; }"#;
        let whole = compiled(source);
        let small = without_debug_information(whole.clone());
        assert!(whole.windows(ADDRESS_HINTS.len()).any(|name| name == ADDRESS_HINTS));
        assert!(small.len() < whole.len() / 2, "{} of {}", small.len(), whole.len());
        assert_eq!(sections(&small), sections(&whole));
        let file = object::File::parse(&*small).unwrap();
        let names: Vec<&str> = file.symbols().filter_map(|symbol| symbol.name().ok()).collect();
        assert!(["inner", "outer", "here"].iter().all(|name| names.contains(name)), "{names:?}");
    }

    #[test]
    fn what_is_no_module_stays_as_it_is() {
        for bytes in [b"".to_vec(), b"\x7fELF".to_vec(), b"a text".to_vec()] {
            assert_eq!(without_debug_information(bytes.clone()), bytes);
        }
    }
}
