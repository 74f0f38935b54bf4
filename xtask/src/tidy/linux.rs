//! The face crate is one message on other systems: each of its items is for Linux only.
//!
//! `cargo xtask elsewhere` has the compiler look, where the library of another system is installed. This needs none.

use syn::parse::Parser as _;
use syn::punctuated::Punctuated;
use syn::{Attribute, Expr, Item, Lit, Meta, Token};

use super::Sources;

/// The root of the face crate.
const ROOT: &str = "crates/safer-ring/src/lib.rs";

/// A finding for each item of the root that is compiled elsewhere, but for the message itself.
pub(super) fn check(sources: &Sources) -> Vec<String> {
    let Some((source, _)) = sources.get(ROOT) else { return vec![format!("{ROOT}: is missing")] };
    let items = source.tree.items.iter().filter(|item| !is_message(item));
    let others = items.filter(|item| !attributes(item).iter().any(is_for_linux));
    others.map(finding).collect()
}

fn finding(item: &Item) -> String {
    let line = syn::spanned::Spanned::span(item).start().line;
    format!("{ROOT}:{line}: needs #[cfg(target_os = \"linux\")]: elsewhere the crate is a message")
}

fn is_message(item: &Item) -> bool {
    matches!(item, Item::Macro(item) if item.mac.path.is_ident("compile_error"))
}

/// Of the kinds of items that a root of a crate has here; others have none, and are found.
fn attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Mod(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        Item::Type(item) => &item.attrs,
        Item::Const(item) => &item.attrs,
        Item::Macro(item) => &item.attrs,
        _ => &[],
    }
}

/// Whether it compiles its item on Linux only, or for doctests only.
fn is_for_linux(attribute: &Attribute) -> bool {
    attribute.path().is_ident("cfg")
        && attribute.parse_args().is_ok_and(|meta| demands_linux(&meta))
}

fn demands_linux(meta: &Meta) -> bool {
    match meta {
        Meta::Path(path) => path.is_ident("doctest"),
        Meta::NameValue(pair) => {
            let text = match &pair.value {
                Expr::Lit(literal) => match &literal.lit {
                    Lit::Str(text) => text.value(),
                    _ => String::new(),
                },
                _ => String::new(),
            };
            pair.path.is_ident("target_os") && text == "linux"
        }
        Meta::List(list) => {
            let parts = Punctuated::<Meta, Token![,]>::parse_terminated;
            list.path.is_ident("all")
                && parts
                    .parse2(list.tokens.clone())
                    .is_ok_and(|parts| parts.iter().any(demands_linux))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Vec<String> {
        let source = crate::source::Source::parse(ROOT, text).unwrap();
        let facts = crate::facts::collect(&source);
        check(&Sources::from([(ROOT.to_owned(), (source, facts))]))
    }

    #[test]
    fn an_item_that_is_compiled_elsewhere_is_found() {
        let right = "#[cfg(not(target_os = \"linux\"))] compile_error!(\"Linux only\");\n\
            #[cfg(target_os = \"linux\")] pub mod cpu;\n\
            #[cfg(all(target_os = \"linux\", feature = \"io\"))] pub use io::Stream;\n\
            #[cfg(doctest)] mod readme {}\n";
        assert_eq!(found(right), [""; 0]);
        for wrong in [
            "pub mod cpu;",
            "#[cfg(feature = \"io\")] mod io;",
            "#[cfg(any(target_os = \"linux\", unix))] mod io;",
            "#[cfg(not(target_os = \"linux\"))] mod io;",
            "#[cfg(target_os = \"macos\")] pub use io::Stream;",
            "pub fn everywhere() {}",
        ] {
            let found = found(&format!("{right}{wrong}\n"));
            assert!(
                found.len() == 1 && found[0].starts_with(&format!("{ROOT}:5: needs")),
                "{found:?}"
            );
        }
        assert_eq!(check(&Sources::new()).len(), 1);
    }
}
