// SPDX-License-Identifier: GPL-2.0

//! Finds places in Rust code where a single change should make a test fail. Uses the syntax tree.
//!
//! cargo-mutants knows more kinds of changes, but it builds and tests with cargo, and a kernel
//! module is not built with cargo.

use std::ops::Range;

use anyhow::{Context, Result};
use proc_macro2::Span;
use syn::spanned::Spanned;
use syn::visit::{self, Visit};
use syn::{BinOp, Expr, Stmt, UnOp};

/// A change: a place in a file, and the new text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edit {
    /// The line, counted from 1.
    pub line: usize,
    pub function: String,
    pub bytes: Range<usize>,
    /// The old text, in one line.
    pub was: String,
    pub now: String,
}

impl Edit {
    /// The text of the file after the change.
    pub fn apply(&self, text: &str) -> String {
        format!("{}{}{}", &text[..self.bytes.start], self.now, &text[self.bytes.end..])
    }
}

/// All changes of a file, in the order of their places. Code in macros and in tests is left out.
pub fn find(text: &str) -> Result<Vec<Edit>> {
    let file = syn::parse_file(text).context("parse it")?;
    let mut finder = Finder { text, functions: Vec::new(), edits: Vec::new() };
    finder.visit_file(&file);
    finder.edits.sort_by_key(|edit| (edit.bytes.start, edit.bytes.end));
    Ok(finder.edits)
}

struct Finder<'a> {
    text: &'a str,
    /// The functions around a place.
    functions: Vec<String>,
    edits: Vec<Edit>,
}

impl Finder<'_> {
    fn add(&mut self, span: Span, now: impl Into<String>) {
        let bytes = span.byte_range();
        // Outside of functions there are constants, which the compiler checks.
        let Some(function) = self.functions.last() else { return };
        let was = self.text[bytes.clone()].split_whitespace().collect::<Vec<_>>().join(" ");
        let (line, function) = (span.start().line, function.clone());
        self.edits.push(Edit { line, function, bytes, was, now: now.into() });
    }

    fn negate(&mut self, condition: &Expr) {
        // These have their own changes, or none that compiles.
        let is_done = |expr: &Expr| match expr {
            Expr::Binary(binary) => other(&binary.op).is_some(),
            Expr::Unary(unary) => matches!(unary.op, UnOp::Not(_)),
            Expr::Let(_) => true,
            _ => false,
        };
        if !is_done(condition) {
            let text = &self.text[condition.span().byte_range()];
            self.add(condition.span(), format!("!({text})"));
        }
    }

    fn within(&mut self, name: &syn::Ident, visit: impl FnOnce(&mut Self)) {
        self.functions.push(name.to_string());
        visit(self);
        self.functions.pop();
    }
}

impl<'ast> Visit<'ast> for Finder<'_> {
    fn visit_item_mod(&mut self, module: &'ast syn::ItemMod) {
        if !is_for_tests(&module.attrs) {
            visit::visit_item_mod(self, module);
        }
    }

    fn visit_item_fn(&mut self, function: &'ast syn::ItemFn) {
        if !is_for_tests(&function.attrs) {
            self.within(&function.sig.ident, |it| visit::visit_item_fn(it, function));
        }
    }

    fn visit_impl_item_fn(&mut self, function: &'ast syn::ImplItemFn) {
        self.within(&function.sig.ident, |it| visit::visit_impl_item_fn(it, function));
    }

    fn visit_trait_item_fn(&mut self, function: &'ast syn::TraitItemFn) {
        self.within(&function.sig.ident, |it| visit::visit_trait_item_fn(it, function));
    }

    fn visit_stmt(&mut self, statement: &'ast Stmt) {
        if let Stmt::Expr(expr, Some(_)) = statement {
            let has_effect = match expr {
                Expr::Call(_) | Expr::MethodCall(_) | Expr::Assign(_) | Expr::Unsafe(_) => true,
                Expr::Binary(binary) => is_assignment(&binary.op),
                _ => false,
            };
            if has_effect {
                self.add(statement.span(), "");
            }
        }
        visit::visit_stmt(self, statement);
    }

    fn visit_expr_binary(&mut self, binary: &'ast syn::ExprBinary) {
        if let Some(other) = other(&binary.op) {
            self.add(binary.op.span(), other);
        }
        visit::visit_expr_binary(self, binary);
    }

    fn visit_expr_unary(&mut self, unary: &'ast syn::ExprUnary) {
        if let UnOp::Not(not) = &unary.op {
            self.add(not.span(), "");
        }
        visit::visit_expr_unary(self, unary);
    }

    fn visit_expr_if(&mut self, branch: &'ast syn::ExprIf) {
        self.negate(&branch.cond);
        visit::visit_expr_if(self, branch);
    }

    fn visit_pat_guard(&mut self, pattern: &'ast syn::PatGuard) {
        self.negate(&pattern.guard);
        visit::visit_pat_guard(self, pattern);
    }

    fn visit_expr_struct(&mut self, literal: &'ast syn::ExprStruct) {
        for field in &literal.fields {
            self.add(field.expr.span(), format!("{}Default::default()", prefix(field)));
        }
        visit::visit_expr_struct(self, literal);
    }
}

/// The text before a new value of a field: `x: ` in the short form `Point { x }`, else nothing.
fn prefix(field: &syn::FieldValue) -> String {
    match (&field.colon_token, &field.member) {
        (None, syn::Member::Named(name)) => format!("{name}: "),
        _ => String::new(),
    }
}

/// The operator that is put in the place of another.
fn other(operator: &BinOp) -> Option<&'static str> {
    Some(match operator {
        BinOp::Eq(_) => "!=",
        BinOp::Ne(_) => "==",
        BinOp::Lt(_) => "<=",
        BinOp::Le(_) => "<",
        BinOp::Gt(_) => ">=",
        BinOp::Ge(_) => ">",
        BinOp::And(_) => "||",
        BinOp::Or(_) => "&&",
        BinOp::Add(_) => "-",
        BinOp::Sub(_) => "+",
        BinOp::Mul(_) => "/",
        BinOp::Div(_) | BinOp::Rem(_) => "*",
        BinOp::BitAnd(_) => "|",
        BinOp::BitOr(_) | BinOp::BitXor(_) => "&",
        BinOp::Shl(_) => ">>",
        BinOp::Shr(_) => "<<",
        _ => return None,
    })
}

fn is_assignment(operator: &BinOp) -> bool {
    use BinOp::*;
    matches!(
        operator,
        AddAssign(_)
            | SubAssign(_)
            | MulAssign(_)
            | DivAssign(_)
            | RemAssign(_)
            | BitAndAssign(_)
            | BitOrAssign(_)
            | BitXorAssign(_)
            | ShlAssign(_)
            | ShrAssign(_)
    )
}

/// Whether an item is only compiled for tests: `#[cfg(test)]`, or the kernel's `#[kunit_tests]`.
fn is_for_tests(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        let is_test = |meta: &syn::MetaList| meta.tokens.to_string() == "test";
        attribute.path().is_ident("kunit_tests")
            || attribute.path().is_ident("cfg") && attribute.meta.require_list().is_ok_and(is_test)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changes(text: &str) -> Vec<String> {
        let edits = find(text).unwrap();
        edits
            .iter()
            .map(|edit| format!("{}: {} => {}", edit.function, edit.was, edit.now))
            .collect()
    }

    #[test]
    fn conditions_operators_fields_and_statements_are_changed() {
        let text = "fn f(a: u8) -> P {
            if a < 2 && ready(a) { begin(a); }
            if ready(a) { count += 1; }
            match a { 1 if ready(a) => go(), _ => return P { x: a, y }, }
            if let Some(a) = b { !a } else { a | 1 }
        }";
        assert_eq!(
            changes(text),
            [
                "f: < => <=",
                "f: && => ||",
                "f: begin(a); => ",
                "f: ready(a) => !(ready(a))",
                "f: count += 1; => ",
                "f: ready(a) => !(ready(a))",
                "f: a => Default::default()",
                "f: y => y: Default::default()",
                "f: ! => ",
                "f: | => &",
            ]
        );
    }

    #[test]
    fn tests_constants_and_macros_are_left_alone() {
        let text = "const A: u8 = 1 + 1;
            #[cfg(test)] mod tests { fn f() { a(1 + 1); } }
            #[kunit_tests(x)] mod more { fn f() { a(1 + 1); } }
            fn g() { pr_info!(\"{}\", 1 + 1); }";
        assert_eq!(changes(text), [] as [&str; 0]);
    }

    #[test]
    fn a_change_is_made_where_it_was_found() {
        // Bytes, not characters.
        let text = "// ä\nimpl A {\n    fn g(&self) -> bool {\n        1 == 2\n    }\n}\n";
        let [edit] = &find(text).unwrap()[..] else { panic!("one change") };
        assert_eq!((edit.line, edit.function.as_str()), (4, "g"));
        assert_eq!(edit.apply(text), text.replace("==", "!="));
    }
}
