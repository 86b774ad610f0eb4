// SPDX-License-Identifier: GPL-2.0

//! Decodes `symbol+0x12/0x34 [module]` to file and line.
//!
//! The files are opened when the guest begins: later, others may be built in their place. They are
//! read only when there is something to decode. A module is an object file that is
//! not linked yet: this applies the relocations of its debug information, with each section at an
//! address of our choice.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use addr2line::Context as Lines;
use anyhow::{Context, Result, anyhow, ensure};
use gimli::{EndianArcSlice, RunTimeEndian};
use object::read::elf::ElfFile64;
use object::{Object, ObjectSection, ObjectSymbol, RelocationKind, RelocationTarget, SymbolKind};
use rustc_demangle::demangle;

use crate::judge::kernel_log::{Finding, StackFrame};

type Bytes = EndianArcSlice<RunTimeEndian>;

/// The distance between the addresses that are assigned to the sections of a module.
const SECTION: u64 = 1 << 28;

/// Decodes stacks.
#[derive(Debug)]
pub struct Decoder {
    vmlinux: Opened,
    modules: HashMap<String, Opened>,
    /// Prefixes that are cut off paths.
    roots: Vec<PathBuf>,
    loaded: HashMap<PathBuf, Option<Image>>,
    /// Files that could not be read, each once.
    pub errors: Vec<String>,
}

/// A file, as it was when the guest began.
#[derive(Debug)]
struct Opened {
    path: PathBuf,
    file: std::io::Result<(File, SystemTime)>,
}

impl Opened {
    fn new(path: &Path) -> Opened {
        let open = || {
            let file = File::open(path)?;
            let modified = file.metadata()?.modified()?;
            Ok((file, modified))
        };
        Opened { path: path.to_owned(), file: open() }
    }

    fn read(&self) -> Result<Vec<u8>> {
        let (mut file, then) = match &self.file {
            Ok((file, modified)) => (file, *modified),
            Err(error) => return Err(anyhow!("{error}")),
        };
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        let now = file.metadata()?.modified()?;
        ensure!(now == then, "it has changed since the guest began");
        Ok(bytes)
    }
}

/// A file with symbols and lines.
struct Image {
    lines: Lines<Bytes>,
    /// Address and size of each function, by name.
    symbols: HashMap<String, Vec<(u64, u64)>>,
}

impl std::fmt::Debug for Image {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Image({} symbols)", self.symbols.len())
    }
}

impl Decoder {
    /// A decoder for this kernel and these modules. Paths are shown relative to `roots`.
    pub fn new(vmlinux: &Path, modules: &[PathBuf], roots: &[&Path]) -> Decoder {
        let name = |path: &PathBuf| {
            let name = path.file_stem().unwrap_or_default().to_string_lossy().replace('-', "_");
            (name, Opened::new(path))
        };
        Decoder {
            vmlinux: Opened::new(vmlinux),
            modules: modules.iter().map(name).collect(),
            roots: roots.iter().map(|root| (*root).to_owned()).collect(),
            loaded: HashMap::new(),
            errors: Vec::new(),
        }
    }

    /// Decodes a finding's stack in place. A frame that cannot be decoded stays as
    /// the kernel printed it.
    pub fn decode(&mut self, finding: &mut Finding) {
        let stack = std::mem::take(&mut finding.stack);
        // Leaves out the functions that print the stack itself.
        let told = stack.into_iter().skip_while(|line| is_printing(line));
        finding.stack = told.flat_map(|line| self.line(line)).collect();
    }

    /// A frame and, before it, the functions that were inlined into it.
    fn line(&mut self, line: String) -> Vec<String> {
        let Some(frame) = StackFrame::parse(&line) else { return vec![line] };
        let places = self.places(&frame);
        if places.is_empty() {
            return vec![plain(&frame)];
        }
        let last = places.len() - 1;
        let module = frame.module.as_ref().map(|name| format!(" [{name}]")).unwrap_or_default();
        let tell = |(at, (function, place)): (usize, (String, String))| {
            let how = if at < last { " (inlined)".to_owned() } else { module.clone() };
            format!("{function} at {place}{how}")
        };
        places.into_iter().enumerate().map(tell).collect()
    }

    /// Function and file:line of a frame, innermost first.
    fn places(&mut self, frame: &StackFrame) -> Vec<(String, String)> {
        let roots = self.roots.clone();
        let Some(image) = self.image(frame.module.as_deref()) else { return Vec::new() };
        let Some(address) = image.address(frame) else { return Vec::new() };
        // A return address is after the call; one byte before it is in the call.
        let address = if frame.exact { address } else { address.saturating_sub(1) };
        let Ok(mut frames) = image.lines.find_frames(address).skip_all_loads() else {
            return Vec::new();
        };
        let mut places = Vec::new();
        while let Ok(Some(found)) = frames.next() {
            let name =
                found.function.as_ref().and_then(|name| name.raw_name().ok().map(Cow::into_owned));
            let name = name.unwrap_or_else(|| frame.symbol.clone());
            if let Some((file, line)) =
                found.location.and_then(|place| Some((place.file?, place.line?)))
            {
                places.push((
                    format!("{:#}", demangle(&name)),
                    format!("{}:{line}", shorten(file, &roots)),
                ));
            }
        }
        places
    }

    fn image(&mut self, module: Option<&str>) -> Option<&Image> {
        let opened = match module {
            None => &self.vmlinux,
            Some(name) => self.modules.get(name)?,
        };
        let path = &opened.path;
        if !self.loaded.contains_key(path) {
            let image = opened.read().and_then(|bytes| Image::load(&bytes));
            let image = image.with_context(|| format!("read lines of {}", path.display()));
            let image = image.map_err(|error| self.errors.push(format!("{error:#}"))).ok();
            self.loaded.insert(path.clone(), image);
        }
        self.loaded.get(path)?.as_ref()
    }
}

fn is_printing(line: &str) -> bool {
    ["dump_stack+", "dump_stack_lvl+", "__dump_stack+", "show_stack+"]
        .iter()
        .any(|name| line.starts_with(name))
}

fn plain(frame: &StackFrame) -> String {
    let module = frame.module.as_ref().map(|name| format!(" [{name}]")).unwrap_or_default();
    format!("{:#}+{:#x}{module}", demangle(&frame.symbol), frame.offset)
}

/// A path relative to the project or the kernel tree.
fn shorten(file: &str, roots: &[PathBuf]) -> String {
    let mut clean: Vec<&str> = Vec::new();
    for part in file.split('/').filter(|part| *part != ".") {
        match part {
            ".." if clean.last().is_some_and(|last| !last.is_empty() && *last != "..") => {
                clean.pop();
            }
            part => clean.push(part),
        }
    }
    let path = PathBuf::from(clean.join("/"));
    let inner = roots.iter().find_map(|root| path.strip_prefix(root).ok());
    inner.unwrap_or(&path).display().to_string()
}

impl Image {
    fn load(bytes: &[u8]) -> Result<Image> {
        let file: ElfFile64 = ElfFile64::parse(bytes)?;
        let bases = Bases::of(&file);
        let load = |id: gimli::SectionId| section(&file, id.name(), &bases);
        let dwarf = gimli::Dwarf::load(load)?;
        Ok(Image { lines: Lines::from_dwarf(dwarf)?, symbols: symbols(&file, &bases) })
    }

    /// The address of a frame's function. Several static functions can have the same name; mostly,
    /// the size identifies the right one. The kernel's size of a function includes padding.
    fn address(&self, frame: &StackFrame) -> Option<u64> {
        let all = self.symbols.get(&frame.symbol)?;
        let best = all.iter().min_by_key(|(_, size)| frame.size.abs_diff(*size))?;
        Some(best.0 + frame.offset)
    }
}

/// Addresses for the sections of a file that is not linked.
struct Bases(Option<()>);

impl Bases {
    fn of(file: &ElfFile64) -> Bases {
        Bases((file.kind() == object::ObjectKind::Relocatable).then_some(()))
    }

    /// What to add to an address in this section: nothing for debug sections, which refer to each
    /// other by offset.
    fn get(&self, file: &ElfFile64, index: object::SectionIndex) -> u64 {
        let code = self.0.is_some()
            && file.section_by_index(index).is_ok_and(|s| s.kind() == object::SectionKind::Text);
        if code { (index.0 as u64 + 1) * SECTION } else { 0 }
    }
}

fn symbols(file: &ElfFile64, bases: &Bases) -> HashMap<String, Vec<(u64, u64)>> {
    let mut found: HashMap<String, Vec<(u64, u64)>> = HashMap::new();
    for symbol in file.symbols() {
        let (Ok(name), Some(section)) = (symbol.name(), symbol.section_index()) else { continue };
        // Assembly labels have no type, but appear in stacks.
        if matches!(symbol.kind(), SymbolKind::Text | SymbolKind::Label | SymbolKind::Unknown)
            && !name.is_empty()
        {
            let address = bases.get(file, section) + symbol.address();
            found.entry(name.to_owned()).or_default().push((address, symbol.size()));
        }
    }
    found
}

fn section(file: &ElfFile64, name: &str, bases: &Bases) -> Result<Bytes, gimli::Error> {
    let endian = RunTimeEndian::Little;
    let Some(section) = file.section_by_name(name) else {
        return Ok(EndianArcSlice::new([].into(), endian));
    };
    // If a section cannot be decompressed, frames stay as they are.
    let mut data = section.uncompressed_data().map(Cow::into_owned).unwrap_or_default();
    for (at, relocation) in section.relocations() {
        if let RelocationTarget::Symbol(index) = relocation.target()
            && relocation.kind() == RelocationKind::Absolute
            && let Ok(symbol) = file.symbol_by_index(index)
        {
            let base = symbol.section_index().map_or(0, |section| bases.get(file, section));
            let value = (base + symbol.address()).wrapping_add_signed(relocation.addend());
            let width = usize::from(relocation.size() / 8);
            let start = usize::try_from(at).unwrap_or(usize::MAX);
            if let Some(place) = data.get_mut(start..start.saturating_add(width)) {
                place.copy_from_slice(&value.to_le_bytes()[..width]);
            }
        }
    }
    Ok(EndianArcSlice::new(data.into(), endian))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::env::consts::ARCH;
    use std::fs;

    /// A module as the kernel's build leaves it: an object file, not linked, with
    /// a function in a section of its own and one inlined into it.
    fn module(dir: &Path) -> PathBuf {
        let source = "static inline __attribute__((always_inline)) int read_it(volatile int *p)\n\
                      {\n\treturn *p;\n}\n\
                      int first(void) { return 1; }\n\
                      __attribute__((section(\".init.text\"), noinline)) int second(volatile int *p)\n\
                      {\n\treturn read_it(p) + 1;\n}\n";
        fs::create_dir_all(dir.join("src")).unwrap();
        fs::write(dir.join("src/it.c"), source).unwrap();
        let target = format!("{ARCH}-unknown-linux-gnu");
        let mut build = cc::Build::new();
        build
            .target(&target)
            .host(&target)
            .opt_level(2)
            .no_default_flags(true)
            .cargo_metadata(false);
        let mut cc = build.get_compiler().to_command();
        cc.args(["-c", "-g", "-O2", "-fno-pic", "-o", "it-is.ko"])
            .arg(dir.join("src/it.c"))
            .current_dir(dir);
        assert!(cc.status().unwrap().success());
        dir.join("it-is.ko")
    }

    fn decoded(dir: &Path, stack: &[&str]) -> (Vec<String>, Vec<String>) {
        let module = module(dir);
        let mut decoder = Decoder::new(Path::new("/no/vmlinux"), &[module], &[dir]);
        let stack = stack.iter().map(|line| (*line).to_owned()).collect();
        let mut finding =
            Finding { kind: "oops".into(), text: String::new(), stack, ..Finding::default() };
        decoder.decode(&mut finding);
        (finding.stack, decoder.errors)
    }

    #[test]
    fn a_modules_frame_becomes_its_line_and_those_inlined_there() {
        let dir = tempfile::tempdir().unwrap();
        let (stack, errors) = decoded(dir.path(), &["RIP: 0010:second+0x0/0x10 [it_is]"]);
        assert_eq!(errors, [""; 0]);
        assert_eq!(stack, ["read_it at src/it.c:3 (inlined)", "second at src/it.c:8 [it_is]"]);
        let (stack, _) = decoded(dir.path(), &["first+0x1/0x10 [it_is]"]);
        assert_eq!(stack, ["first at src/it.c:5 [it_is]"]);
    }

    #[test]
    fn what_cannot_be_decoded_stays_and_says_why_once() {
        let dir = tempfile::tempdir().unwrap();
        let lines =
            ["f+0x1/0x2", "g+0x1/0x2", "h+0x3/0x4 [other]", "_RNvC6sample4xmit+0x5/0x6 [other]"];
        let (stack, errors) = decoded(dir.path(), &lines);
        assert_eq!(stack, ["f+0x1", "g+0x1", "h+0x3 [other]", "sample::xmit+0x5 [other]"]);
        assert_eq!(errors.len(), 1, "{errors:?}");
        assert!(errors[0].starts_with("read lines of /no/vmlinux"));
    }

    #[test]
    fn a_module_that_is_built_anew_meanwhile_is_decoded_as_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let module = module(dir.path());
        let finding =
            || Finding { stack: vec!["first+0x1/0x10 [it_is]".to_owned()], ..Finding::default() };
        let decoder =
            || Decoder::new(Path::new("/no/vmlinux"), std::slice::from_ref(&module), &[dir.path()]);
        let (mut first, mut second) = (finding(), finding());

        let mut replaced = decoder();
        let other = dir.path().join("new.ko");
        fs::copy(&module, dir.path().join("kept.ko")).unwrap();
        fs::write(&other, "of another build").unwrap();
        fs::rename(&other, &module).unwrap();
        replaced.decode(&mut first);
        assert_eq!(first.stack, ["first at src/it.c:5 [it_is]"], "{:?}", replaced.errors);

        fs::rename(dir.path().join("kept.ko"), &module).unwrap();
        let mut overwritten = decoder();
        let file = File::options().append(true).open(&module).unwrap();
        file.set_modified(SystemTime::UNIX_EPOCH).unwrap();
        overwritten.decode(&mut second);
        assert_eq!(second.stack, ["first+0x1 [it_is]"]);
        assert!(overwritten.errors[0].ends_with("it has changed since the guest began"));
    }

    #[test]
    fn the_printing_of_a_stack_is_left_out() {
        let dir = tempfile::tempdir().unwrap();
        let (stack, _) =
            decoded(dir.path(), &["dump_stack_lvl+0x5c/0x80", "dump_stack+0x1/0x2", "f+0x1/0x2"]);
        assert_eq!(stack, ["f+0x1"]);
    }

    #[test]
    fn paths_are_those_of_the_project_or_the_kernel() {
        let roots = [PathBuf::from("/src/sample"), PathBuf::from("/k")];
        let cases = [
            ("/src/sample/rust/sample/lib.rs", "rust/sample/lib.rs"),
            ("/src/sample/target/../rust/a.rs", "rust/a.rs"),
            ("/k/net/core/dev.c", "net/core/dev.c"),
            ("./arch/x86/a.c", "arch/x86/a.c"),
            ("../../a.c", "../../a.c"),
            ("/other/b.c", "/other/b.c"),
        ];
        for (path, want) in cases {
            assert_eq!(shorten(path, &roots), want);
        }
    }
}
