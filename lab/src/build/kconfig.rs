// SPDX-License-Identifier: GPL-2.0

//! Kernel configuration: merges fragments, and checks that every requested option took effect.
//!
//! Kconfig silently drops an option with an unmet dependency. A test that fails in the guest for
//! that reason would mislead people. So the `.config` is compared with the request, and for each
//! difference the reason is looked up in the Kconfig files.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

/// The options that a set of fragments asks for, by name without `CONFIG_`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wanted {
    options: BTreeMap<String, String>,
}

/// A piece of configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fragment {
    /// The name and text of a file that is part of the lab.
    Own(&'static str, &'static str),
    /// A file of the project or the user.
    File(PathBuf),
}

impl Wanted {
    /// Reads fragments; later ones override earlier ones.
    pub fn read(fragments: &[Fragment]) -> Result<Wanted> {
        let mut wanted = Wanted::default();
        for fragment in fragments {
            match fragment {
                Fragment::Own(name, text) => wanted.add(text).with_context(|| format!("in {name}")),
                Fragment::File(path) => fs::read_to_string(path)
                    .with_context(|| format!("read {}", path.display()))
                    .and_then(|text| {
                        wanted.add(&text).with_context(|| format!("in {}", path.display()))
                    }),
            }?;
        }
        Ok(wanted)
    }

    fn add(&mut self, text: &str) -> Result<()> {
        for (number, line) in text.lines().enumerate() {
            let Some((name, value)) =
                parse_line(line).with_context(|| format!("line {}", number + 1))?
            else {
                continue;
            };
            // The guest has only the modules under test. So an option that a selftest wants as a
            // module is built in.
            let value = if value == "m" { "y" } else { value };
            self.options.insert(name.to_owned(), value.to_owned());
        }
        Ok(())
    }

    /// All options as one fragment for KCONFIG_ALLCONFIG. The same options give the same text.
    pub fn fragment(&self) -> String {
        self.options.iter().fold(String::new(), |mut text, (name, value)| {
            let _ = writeln!(text, "CONFIG_{name}={value}");
            text
        })
    }

    /// The options that a kernel configured by somebody else lacks. It may have more options than
    /// these.
    pub fn lacking(&self, config: &Config) -> Vec<String> {
        let wanted = self.options.iter().filter(|(_, value)| *value == "y");
        let missed = wanted.filter(|(name, _)| config.value(name) != "y");
        missed.map(|(name, _)| format!("CONFIG_{name}={}", config.value(name))).collect()
    }

    /// Compares the options with a finished `.config`. The error lists each option that did not
    /// take effect, with the reason.
    pub fn check(&self, config: &Config, source: &Path) -> Result<()> {
        let missed: Vec<&String> = self
            .options
            .iter()
            .filter(|(name, value)| config.value(name) != value.as_str())
            .map(|(name, _)| name)
            .collect();
        if missed.is_empty() {
            return Ok(());
        }
        let menus = Menus::read(source);
        let lines: Vec<String> = missed
            .iter()
            .map(|name| {
                let (want, have) = (&self.options[*name], config.value(name));
                format!("  CONFIG_{name}={want} is {have}: {}", menus.reason(name, want, config))
            })
            .collect();
        bail!("these kernel options did not take effect:\n{}", lines.join("\n"))
    }
}

fn parse_line(line: &str) -> Result<Option<(&str, &str)>> {
    let line = line.trim();
    if let Some(name) = line.strip_prefix("# CONFIG_").and_then(|l| l.strip_suffix(" is not set")) {
        return Ok(Some((name, "n")));
    }
    if line.is_empty() || line.starts_with('#') {
        return Ok(None);
    }
    match line.strip_prefix("CONFIG_").and_then(|line| line.split_once('=')) {
        Some((name, value)) => Ok(Some((name, value))),
        None => bail!("not a CONFIG_NAME=value: {line}"),
    }
}

/// A finished configuration.
#[derive(Debug, Clone, Default)]
pub struct Config {
    values: BTreeMap<String, String>,
}

impl Config {
    /// Reads a `.config` or `auto.conf`.
    pub fn read(path: &Path) -> Result<Config> {
        let text = fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
        Ok(Config::parse(&text))
    }

    fn parse(text: &str) -> Config {
        let values = text
            .lines()
            .filter_map(|line| line.strip_prefix("CONFIG_")?.split_once('='))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        Config { values }
    }

    /// The value; `n` if it is not set.
    pub fn value(&self, name: &str) -> &str {
        self.values.get(name).map_or("n", String::as_str)
    }

    /// A string option without its quotes.
    pub fn text(&self, name: &str) -> Option<&str> {
        let value = self.values.get(name)?;
        Some(value.trim_matches('"'))
    }

    /// Whether the option is built in or a module.
    pub fn is_set(&self, name: &str) -> bool {
        matches!(self.value(name), "y" | "m")
    }
}

/// The options in the Kconfig files.
#[derive(Debug, Default)]
struct Menus {
    options: BTreeMap<String, Vec<Definition>>,
    selects: BTreeMap<String, BTreeSet<String>>,
}

/// A `config` block. An option may have several.
#[derive(Debug, Default, Clone)]
struct Definition {
    depends: Vec<String>,
    prompt: bool,
}

impl Menus {
    fn read(source: &Path) -> Menus {
        let mut menus = Menus::default();
        let mut folders = vec![source.to_owned()];
        while let Some(folder) = folders.pop() {
            let Ok(entries) = fs::read_dir(&folder) else {
                continue;
            };
            for entry in entries.flatten() {
                let name = entry.file_name();
                let name = name.to_string_lossy();
                let is_dir = entry.file_type().is_ok_and(|kind| kind.is_dir());
                if is_dir && !foreign(&folder, source, &name) {
                    folders.push(entry.path());
                } else if name.starts_with("Kconfig") && !is_dir {
                    let text = fs::read(entry.path()).unwrap_or_default();
                    menus.add(&String::from_utf8_lossy(&text));
                }
            }
        }
        menus
    }

    fn add(&mut self, text: &str) {
        let text = text.replace("\\\n", " ");
        let mut outer: Vec<Vec<String>> = Vec::new();
        let mut current: Option<String> = None;
        let mut in_menu = false;
        for line in text.lines() {
            let line = line.split(" #").next().unwrap_or_default();
            let (word, rest) = split_word(line.trim());
            let top = !line.starts_with([' ', '\t']);
            match word {
                "config" | "menuconfig" if top => {
                    let depends = outer.concat();
                    let definition = Definition { depends, prompt: false };
                    self.options.entry(rest.to_owned()).or_default().push(definition);
                    current = Some(rest.to_owned());
                    in_menu = false;
                }
                "if" => {
                    outer.push(vec![rest.to_owned()]);
                    current = None;
                }
                "menu" | "choice" if top => {
                    outer.push(Vec::new());
                    current = None;
                    in_menu = true;
                }
                "endif" | "endmenu" | "endchoice" => {
                    outer.pop();
                    current = None;
                }
                "comment" | "source" | "mainmenu" if top => {
                    current = None;
                    in_menu = false;
                }
                "depends" => {
                    let expression = rest.strip_prefix("on").unwrap_or(rest).trim().to_owned();
                    match (&current, outer.last_mut()) {
                        (Some(name), _) => {
                            if let Some(last) =
                                self.options.get_mut(name).and_then(|d| d.last_mut())
                            {
                                last.depends.push(expression);
                            }
                        }
                        (None, Some(block)) if in_menu => block.push(expression),
                        _ => {}
                    }
                }
                "select" => {
                    if let Some(name) = &current {
                        let selected = split_word(rest).0.to_owned();
                        self.selects.entry(selected).or_default().insert(name.clone());
                    }
                }
                "prompt" | "bool" | "tristate" | "int" | "hex" | "string"
                    if word == "prompt" || !rest.is_empty() =>
                {
                    if let Some(last) =
                        current.as_ref().and_then(|n| self.options.get_mut(n)?.last_mut())
                    {
                        last.prompt = true;
                    }
                }
                _ => {}
            }
        }
    }

    fn reason(&self, name: &str, want: &str, config: &Config) -> String {
        let Some(definitions) = self.options.get(name) else {
            return "this kernel has no such option".to_owned();
        };
        if want == "n" {
            let by: Vec<&str> = self
                .selects
                .get(name)
                .into_iter()
                .flatten()
                .map(String::as_str)
                .filter(|by| config.is_set(by))
                .collect();
            if !by.is_empty() {
                return format!("selected by {}", by.join(", "));
            }
            return "another option or a default sets it".to_owned();
        }
        let unmet: BTreeSet<String> = definitions
            .iter()
            .flat_map(|definition| definition.depends.iter())
            .flat_map(|expression| unmet(expression, config))
            .collect();
        if !unmet.is_empty() {
            let unmet: Vec<String> = unmet.into_iter().collect();
            return format!("unmet dependency: {}", unmet.join(", "));
        }
        if !definitions.iter().any(|definition| definition.prompt) {
            let by: Vec<&str> =
                self.selects.get(name).into_iter().flatten().map(String::as_str).collect();
            return match by.as_slice() {
                [] => "it has no prompt, so nobody can set it".to_owned(),
                by => format!(
                    "it cannot be set, only selected: by {}",
                    by[..by.len().min(6)].join(", ")
                ),
            };
        }
        "its choice or range does not allow this value".to_owned()
    }
}

/// Whether the folder belongs to another architecture, which may define the same options
/// differently.
fn foreign(folder: &Path, source: &Path, name: &str) -> bool {
    let arch = folder == source.join("arch") && name != "x86";
    let heavy = folder == source && matches!(name, "Documentation" | "tools" | "include");
    arch || heavy
}

fn split_word(line: &str) -> (&str, &str) {
    match line.split_once([' ', '\t']) {
        Some((word, rest)) => (word, rest.trim()),
        None => (line, ""),
    }
}

/// The parts of a dependency, split at its outermost `&&`, that do not hold.
fn unmet(expression: &str, config: &Config) -> Vec<String> {
    let tokens = tokens(expression);
    split_and(&tokens)
        .into_iter()
        .filter(|part| !Parser { tokens: part, at: 0, config }.or())
        .map(|part| part.join(" ").replace("( ", "(").replace(" )", ")").replace("! ", "!"))
        .collect()
}

fn tokens(expression: &str) -> Vec<String> {
    let mut tokens: Vec<String> = Vec::new();
    let mut chars = expression.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            ' ' | '\t' => {}
            '(' | ')' => tokens.push(c.to_string()),
            '!' | '=' | '<' | '>' | '&' | '|' => {
                let mut token = c.to_string();
                if let Some(next) = chars.next_if(|n| *n == '=' || (*n == c && "&|".contains(c))) {
                    token.push(next);
                }
                tokens.push(token);
            }
            '"' => tokens.push(chars.by_ref().take_while(|c| *c != '"').collect()),
            _ => {
                let mut word = c.to_string();
                while let Some(next) = chars.next_if(|n| n.is_alphanumeric() || "_-$.".contains(*n))
                {
                    word.push(next);
                }
                tokens.push(word);
            }
        }
    }
    tokens
}

fn split_and(tokens: &[String]) -> Vec<&[String]> {
    // `a || b && c` is one part: && binds tighter.
    let mut depth = 0;
    let mut cuts = Vec::new();
    for (i, token) in tokens.iter().enumerate() {
        match token.as_str() {
            "(" => depth += 1,
            ")" => depth -= 1,
            "||" if depth == 0 => return vec![tokens],
            "&&" if depth == 0 => cuts.push(i),
            _ => {}
        }
    }
    let mut parts = Vec::new();
    let mut start = 0;
    for cut in cuts {
        parts.push(&tokens[start..cut]);
        start = cut + 1;
    }
    parts.push(&tokens[start..]);
    parts
}

struct Parser<'a> {
    tokens: &'a [String],
    at: usize,
    config: &'a Config,
}

impl Parser<'_> {
    fn take(&mut self, token: &str) -> bool {
        let hit = self.tokens.get(self.at).is_some_and(|have| have == token);
        self.at += usize::from(hit);
        hit
    }

    fn or(&mut self) -> bool {
        let mut value = self.and();
        while self.take("||") {
            value |= self.and();
        }
        value
    }

    fn and(&mut self) -> bool {
        let mut value = self.not();
        while self.take("&&") {
            value &= self.not();
        }
        value
    }

    fn not(&mut self) -> bool {
        if self.take("!") {
            return !self.not();
        }
        if self.take("(") {
            let value = self.or();
            self.take(")");
            return value;
        }
        let Some(name) = self.tokens.get(self.at) else {
            return true;
        };
        self.at += 1;
        let equal = if self.take("=") {
            true
        } else if self.take("!=") {
            false
        } else {
            // $(macro) and numeric comparisons are not evaluated.
            return name.contains('$') || name == "y" || self.config.is_set(name);
        };
        let other = self.tokens.get(self.at).map_or("", String::as_str);
        self.at += 1;
        let resolve = |word: &str| match word {
            "y" | "n" | "m" => word.to_owned(),
            word => self.config.value(word).to_owned(),
        };
        (resolve(name) == resolve(other)) == equal
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(text: &str) -> Wanted {
        let mut wanted = Wanted::default();
        wanted.add(text).unwrap();
        wanted
    }

    #[test]
    fn a_kernel_of_somebody_else_lacks_what_is_not_built_in() {
        let config = Config::parse("CONFIG_A=y\nCONFIG_B=m\nCONFIG_C=y\nCONFIG_NR=3\n");
        let wanted = wanted("CONFIG_A=y\nCONFIG_B=m\nCONFIG_C=n\nCONFIG_D=y\nCONFIG_NR=8\n");
        assert_eq!(wanted.lacking(&config), ["CONFIG_B=m", "CONFIG_D=n"]);
    }

    #[test]
    fn later_fragments_override_and_modules_become_built_in() {
        let mut both = wanted("CONFIG_A=y\nCONFIG_B=n\n# a comment\n");
        both.add("CONFIG_B=m\n# CONFIG_A is not set\nCONFIG_N=8\n").unwrap();
        assert_eq!(both.fragment(), "CONFIG_A=n\nCONFIG_B=y\nCONFIG_N=8\n");
    }

    #[test]
    fn a_line_that_is_no_option_is_named() {
        let error = Wanted::default().add("CONFIG_A=y\nA=y\n").unwrap_err();
        assert_eq!(format!("{error:#}"), "line 2: not a CONFIG_NAME=value: A=y");
    }

    const MENUS: &str = "\
menu \"Networking\"
\tdepends on NET

config VETH
\ttristate \"Virtual ethernet pair\"
\tdepends on NET_CORE && (PCI || USB)

config HELPER
\tbool

config USER
\tbool \"user\"
\tselect HELPER if VETH

if TRACING
config PROBES
\tbool \"probes\"
\tdepends on ARCH=y && \\
\t\t!BROKEN
\thelp
\t  Text.
endif
endmenu
";

    #[test]
    fn the_reason_for_a_lost_option_is_named() {
        let mut menus = Menus::default();
        menus.add(MENUS);
        let cases = [
            ("VETH", "y", "CONFIG_NET=y\nCONFIG_PCI=y\n", "unmet dependency: NET_CORE"),
            ("VETH", "y", "CONFIG_NET_CORE=y\n", "unmet dependency: (PCI || USB), NET"),
            (
                "PROBES",
                "y",
                "CONFIG_NET=y\nCONFIG_BROKEN=y\n",
                "unmet dependency: !BROKEN, ARCH = y, TRACING",
            ),
            ("HELPER", "y", "CONFIG_NET=y\n", "it cannot be set, only selected: by USER"),
            ("HELPER", "n", "CONFIG_NET=y\nCONFIG_USER=y\n", "selected by USER"),
            ("NOTHING", "y", "", "this kernel has no such option"),
        ];
        for (name, want, config, reason) in cases {
            assert_eq!(menus.reason(name, want, &Config::parse(config)), reason, "{name}");
        }
    }

    #[test]
    fn the_check_reads_the_trees_kconfig_files() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("net")).unwrap();
        fs::write(dir.path().join("net/Kconfig"), MENUS).unwrap();
        let config = Config::parse("CONFIG_NET=y\n# CONFIG_VETH is not set\n");
        assert!(wanted("CONFIG_NET=y\nCONFIG_HELPER=n\n").check(&config, dir.path()).is_ok());
        let error = wanted("CONFIG_VETH=y\n").check(&config, dir.path()).unwrap_err().to_string();
        assert!(
            error.contains("CONFIG_VETH=y is n: unmet dependency: (PCI || USB), NET_CORE"),
            "{error}"
        );
    }

    #[test]
    fn expressions_follow_precedence() {
        let config = Config::parse("CONFIG_A=y\nCONFIG_B=m\nCONFIG_S=\"x\"\n");
        let cases = [
            ("A", true),
            ("C", false),
            ("!C", true),
            ("A && C", false),
            ("A || C", true),
            ("C || A && B", true),
            ("(C || A) && C", false),
            ("A=y", true),
            ("A!=y", false),
            ("B=m && A", true),
            ("C = n", true),
            ("$(cc-option)", true),
        ];
        for (expression, want) in cases {
            assert_eq!(unmet(expression, &config).is_empty(), want, "{expression}");
        }
    }
}
