//! The promise that memory outlives the kernel's use of it is made in one place: the single call of
//! `Backend::submit`.

use proc_macro2::{TokenStream, TokenTree};
use syn::spanned::Spanned;
use syn::visit::{self, Visit};

use crate::facts::is_test_only;

use super::Sources;

const WITHIN: &str = "crates/safer-ring-backend/src/";

/// Finds every call of `Backend::submit` outside the trait's own impls and outside tests. Without
/// the unsafe method there is nothing to check.
pub(super) fn check(sources: &Sources) -> Vec<String> {
    let mut calls = Vec::new();
    let mut declared = false;
    for (path, (source, _)) in sources.iter().filter(|(path, _)| path.starts_with(WITHIN)) {
        let mut search = Search { lines: Vec::new(), declared: false };
        search.visit_file(&source.tree);
        declared |= search.declared;
        calls.extend(search.lines.into_iter().map(|line| format!("{path}:{line}")));
    }
    match calls.len() {
        1 => Vec::new(),
        _ if !declared => Vec::new(),
        0 => vec![format!("{WITHIN}: `backend.submit(..)` is called nowhere")],
        count => vec![format!(
            "`Backend::submit` is called at {count} places and must be called at one: {}",
            calls.join(", ")
        )],
    }
}

struct Search {
    lines: Vec<usize>,
    declared: bool,
}

impl Search {
    /// `backend.submit(` among the tokens of a macro.
    fn tokens(&mut self, tokens: TokenStream) {
        let tokens: Vec<TokenTree> = tokens.into_iter().collect();
        for window in tokens.windows(4) {
            if let [receiver, dot, method, TokenTree::Group(_)] = window
                && receiver.to_string() == "backend"
                && dot.to_string() == "."
                && method.to_string() == "submit"
            {
                self.lines.push(method.span().start().line);
            }
        }
        for token in tokens {
            if let TokenTree::Group(group) = token {
                self.tokens(group.stream());
            }
        }
    }
}

/// The last name in a receiver: `backend` in `self.backend`, `backend()` and `(*backend)`.
fn last_name(expression: &syn::Expr) -> Option<String> {
    match expression {
        syn::Expr::Path(path) => path.path.segments.last().map(|last| last.ident.to_string()),
        syn::Expr::Field(field) => match &field.member {
            syn::Member::Named(name) => Some(name.to_string()),
            syn::Member::Unnamed(_) => None,
        },
        syn::Expr::MethodCall(call) => match call.method.to_string().as_str() {
            "borrow_mut" | "as_mut" | "unwrap" | "get_mut" => last_name(&call.receiver),
            name => Some(name.trim_end_matches("_mut").to_owned()),
        },
        syn::Expr::Paren(inner) => last_name(&inner.expr),
        syn::Expr::Reference(inner) => last_name(&inner.expr),
        syn::Expr::Unary(inner) => last_name(&inner.expr),
        _ => None,
    }
}

impl<'ast> Visit<'ast> for Search {
    fn visit_item_trait(&mut self, item: &'ast syn::ItemTrait) {
        self.declared |= item.ident == "Backend"
            && item.items.iter().any(|item| match item {
                syn::TraitItem::Fn(method) => {
                    method.sig.ident == "submit"
                        && matches!(method.sig.safety, syn::Safety::Unsafe(_))
                }
                _ => false,
            });
        visit::visit_item_trait(self, item);
    }

    fn visit_item_impl(&mut self, item: &'ast syn::ItemImpl) {
        let of = item.trait_.as_ref().and_then(|(path, _)| path.segments.last());
        if of.is_none_or(|last| last.ident != "Backend") {
            visit::visit_item_impl(self, item);
        }
    }

    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        if !is_test_only(&item.attrs) {
            visit::visit_item_mod(self, item);
        }
    }

    fn visit_expr_method_call(&mut self, call: &'ast syn::ExprMethodCall) {
        if call.method == "submit" && last_name(&call.receiver).as_deref() == Some("backend") {
            self.lines.push(call.method.span().start().line);
        }
        visit::visit_expr_method_call(self, call);
    }

    fn visit_expr_path(&mut self, path: &'ast syn::ExprPath) {
        let names: Vec<String> =
            path.path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        if let [.., of, method] = names.as_slice()
            && of == "Backend"
            && method == "submit"
        {
            self.lines.push(path.span().start().line);
        }
        visit::visit_expr_path(self, path);
    }

    fn visit_macro(&mut self, call: &'ast syn::Macro) {
        self.tokens(call.tokens.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::super::planted;
    use super::*;

    const TRAIT: &str = "pub unsafe trait Backend { unsafe fn submit(&mut self, a: u8); }\n";

    fn findings(code: &str) -> Vec<String> {
        let text = format!("{TRAIT}{code}");
        check(&planted(&[("crates/safer-ring-backend/src/driver.rs", &text)]))
    }

    #[test]
    fn one_call_is_right() {
        assert!(findings("fn f() { unsafe { self.backend.submit(1) } }").is_empty());
        let forwarded = "unsafe impl Backend for Any { unsafe fn submit(&mut self, a: u8) { \
                         match self { Self::A(backend) => unsafe { backend.submit(a) } } } }
                         #[cfg(test)] mod tests { fn t() { backend.submit(1) } }
                         fn f() { unsafe { backend.submit(1) } pool.submit(2); }";
        assert!(findings(forwarded).is_empty());
    }

    #[test]
    fn a_second_call_is_found_in_each_of_its_forms() {
        for second in [
            "self.backend.submit(2)",
            "(*self.backend).submit(2)",
            "self.backend_mut().submit(2)",
            "self.backend.borrow_mut().submit(2)",
            "Backend::submit(&mut b, 2)",
            "<B as crate::Backend>::submit(&mut b, 2)",
            "assert!(unsafe { self.backend.submit(2) })",
        ] {
            let code =
                format!("fn f() {{ unsafe {{ backend.submit(1) }}; \n unsafe {{ {second} }}; }}");
            let found = findings(&code);
            assert_eq!(found.len(), 1, "{second}: {found:?}");
            assert!(found[0].contains("driver.rs:2, ") && found[0].ends_with("driver.rs:3"));
        }
    }

    #[test]
    fn no_call_is_found_only_where_the_method_exists() {
        assert_eq!(findings("fn f() {}").len(), 1);
        let other = planted(&[("crates/safer-ring-backend/src/lib.rs", "trait Backend {}")]);
        assert!(check(&other).is_empty());
    }
}
