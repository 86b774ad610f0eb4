// SPDX-License-Identifier: GPL-2.0

//! A line of a stack.

/// One place in a stack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StackFrame {
    /// The symbol as the kernel prints it, mangled.
    pub symbol: String,
    /// Bytes into it.
    pub offset: u64,
    /// Its size, which tells symbols of the same name apart.
    pub size: u64,
    /// The module that contains it.
    pub module: Option<String>,
    /// Whether this is the place of the fault itself, and not the return address of a call.
    pub exact: bool,
}

impl StackFrame {
    /// Parses a line of a stack trace. `None` for guesses of the unwinder (`? symbol`).
    pub fn parse(line: &str) -> Option<StackFrame> {
        let line = line.trim();
        let (exact, place) = match line.strip_prefix("RIP: ") {
            // A user's address has no symbol and fails below.
            Some(rest) => (true, rest.split_once(':')?.1),
            None => (false, line),
        };
        let (place, module) = match place.split_once(' ') {
            // Newer kernels can add a build id to the module's name.
            Some((place, rest)) => {
                let inside = rest.strip_prefix('[')?.strip_suffix(']')?;
                (place, inside.split(' ').next().map(str::to_owned))
            }
            None => (place, None),
        };
        let (symbol, numbers) = place.rsplit_once("+0x")?;
        let (offset, size) = numbers.split_once("/0x")?;
        let hex = |digits| u64::from_str_radix(digits, 16).ok();
        Some(StackFrame {
            symbol: symbol.to_owned(),
            offset: hex(offset)?,
            size: hex(size)?,
            module,
            exact,
        })
    }
}

impl std::fmt::Display for StackFrame {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.exact {
            f.write_str("RIP: 0010:")?;
        }
        write!(f, "{}+{:#x}/{:#x}", self.symbol, self.offset, self.size)?;
        match &self.module {
            Some(module) => write!(f, " [{module}]"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_read_and_guesses_are_not() {
        let frame = StackFrame::parse(" _RNvNtCs1_6sample3rlo4xmit+0x2a/0x90 [sample]").unwrap();
        assert_eq!(
            (frame.offset, frame.size, frame.module.as_deref()),
            (0x2a, 0x90, Some("sample"))
        );
        assert!(!frame.exact);
        assert!(StackFrame::parse("RIP: 0010:f+0x4/0x20").unwrap().exact);
        for other in
            [" ? f+0x1/0x2", "RIP: 0033:0x7f947954a829", "Code: Unable", "Comm: a+0xb", " <TASK>"]
        {
            assert_eq!(StackFrame::parse(other), None, "{other}");
        }
    }
}
