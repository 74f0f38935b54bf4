//! What the checks need to know about one Rust file: its functions and their lengths, every unsafe
//! site with the comment that justifies it, and the names of its tests.
//!
//! The body of a macro call or definition is only tokens, so unsafe code and tests in it are found
//! by the shape of their tokens; an unsafe site in a macro definition counts once.

use std::collections::BTreeSet;
use std::fmt;

use proc_macro2::{Delimiter, Span, TokenStream, TokenTree};
use syn::spanned::Spanned;
use syn::visit::{self, Visit};

/// The macro whose arguments are functions that it makes tests of, one for each kind of ring.
const TEST_LIST: &str = "everywhere";

use crate::source::Source;

/// What kind of unsafe site.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// `unsafe { .. }`
    Block,
    /// `unsafe impl Trait for Type`
    Impl,
    /// `unsafe fn`
    Function,
    /// `unsafe trait`
    Trait,
    /// `unsafe extern "C" { .. }`
    Extern,
    /// `#[unsafe(..)]`
    Attribute,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Block => "block",
            Self::Impl => "impl",
            Self::Function => "function",
            Self::Trait => "trait",
            Self::Extern => "extern block",
            Self::Attribute => "attribute",
        })
    }
}

/// One unsafe site.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Site {
    /// What it is.
    pub(crate) kind: Kind,
    /// The item it is in, or the item it declares.
    pub(crate) item: String,
    /// Its line, counted from 1.
    pub(crate) line: usize,
    /// Whether it is only compiled for tests, as far as this file shows.
    pub(crate) in_test: bool,
    /// The text after `SAFETY:`, or the `# Safety` section of a declaration; a line each.
    pub(crate) why: Option<Vec<String>>,
}

/// One function with a body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Function {
    /// Path within the file, such as `Ring::push` or `<Lease as Drop>::drop`.
    pub(crate) name: String,
    /// Lines of code from its signature to its closing brace.
    pub(crate) code_lines: usize,
    /// The line of its signature, counted from 1.
    pub(crate) line: usize,
}

/// The facts about one file.
#[derive(Debug, Default)]
pub(crate) struct Facts {
    /// Functions with a body, in the order of the file.
    pub(crate) functions: Vec<Function>,
    /// Unsafe sites, in the order of the file.
    pub(crate) sites: Vec<Site>,
    /// Names of the functions that are tests.
    pub(crate) tests: BTreeSet<String>,
}

/// Collects the facts about a file.
pub(crate) fn collect(source: &Source) -> Facts {
    let mut walk = Walk {
        source,
        lines: source.text.lines().collect(),
        scope: Vec::new(),
        anchors: Vec::new(),
        of_trait: None,
        test_depth: 0,
        facts: Facts::default(),
    };
    walk.visit_file(&source.tree);
    walk.facts
}

/// Whether an item with these attributes is compiled for tests only.
pub(crate) fn is_test_only(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        if is_test_attribute(attribute) {
            return true;
        }
        let syn::Meta::List(list) = &attribute.meta else { return false };
        let condition: String =
            list.tokens.to_string().chars().filter(|c| !c.is_whitespace()).collect();
        list.path.is_ident("cfg") && (condition == "test" || condition.starts_with("all(test,"))
    })
}

/// `#[test]`, `#[tokio::test]` and the like.
fn is_test_attribute(attribute: &syn::Attribute) -> bool {
    attribute.path().segments.last().is_some_and(|segment| segment.ident == "test")
}

/// The documentation comments among some attributes, a line each.
pub(crate) fn documentation(attributes: &[syn::Attribute]) -> Vec<String> {
    let mut lines = Vec::new();
    for attribute in attributes {
        if let syn::Meta::NameValue(pair) = &attribute.meta
            && pair.path.is_ident("doc")
            && let syn::Expr::Lit(syn::ExprLit { lit: syn::Lit::Str(text), .. }) = &pair.value
        {
            // An empty comment is a blank line, which `str::lines` would leave out.
            lines.extend(text.value().split('\n').map(|line| line.trim().to_owned()));
        }
    }
    lines
}

/// The lines under a `# Safety` heading, up to the next heading, without blank lines at the ends.
/// `None` when there is no such heading or nothing under it.
pub(crate) fn safety_section(documentation: &[String]) -> Option<Vec<String>> {
    let heading = |line: &str| {
        let name = line.trim_start_matches('#');
        (name.len() < line.len() && name.starts_with(' ')).then(|| name.trim().to_owned())
    };
    let mut lines = documentation.iter();
    lines.find(|line| heading(line).is_some_and(|name| name == "Safety"))?;
    let mut fenced = false;
    let section = lines.take_while(|line| {
        fenced ^= line.starts_with("```");
        fenced || heading(line).is_none()
    });
    trim_blank(section.cloned().collect())
}

/// Takes blank lines off both ends; `None` when nothing is left.
fn trim_blank(mut lines: Vec<String>) -> Option<Vec<String>> {
    while lines.last().is_some_and(String::is_empty) {
        lines.pop();
    }
    let blank = lines.iter().take_while(|line| line.is_empty()).count();
    lines.drain(..blank);
    (!lines.is_empty()).then_some(lines)
}

struct Walk<'s> {
    source: &'s Source,
    lines: Vec<&'s str>,
    /// Names of the enclosing modules, types and functions.
    scope: Vec<String>,
    /// First lines of the enclosing statements, match arms and items.
    anchors: Vec<usize>,
    /// The trait whose impl is being walked.
    of_trait: Option<String>,
    test_depth: usize,
    facts: Facts,
}

impl Walk<'_> {
    /// Walks on inside a named scope.
    fn enter(
        &mut self,
        name: String,
        attributes: &[syn::Attribute],
        inside: impl FnOnce(&mut Self),
    ) {
        let test = usize::from(is_test_only(attributes));
        self.scope.push(name);
        self.test_depth += test;
        inside(self);
        self.test_depth -= test;
        self.scope.pop();
    }

    fn anchored(&mut self, line: usize, inside: impl FnOnce(&mut Self)) {
        self.anchors.push(line);
        inside(self);
        self.anchors.pop();
    }

    fn here(&self) -> String {
        if self.scope.is_empty() { "the module".to_owned() } else { self.scope.join("::") }
    }

    /// A name within the current scope.
    fn named(&self, name: &str) -> String {
        let mut path = self.scope.join("::");
        if !path.is_empty() {
            path.push_str("::");
        }
        path + name
    }

    /// The source text of a piece of syntax, on one line.
    fn words(&self, span: Span) -> String {
        let text = self.source.text.strip_prefix('\u{feff}').unwrap_or(&self.source.text);
        let text = text.get(span.byte_range()).unwrap_or_default();
        text.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    fn site(&mut self, kind: Kind, item: String, line: usize, why: Option<Vec<String>>) {
        let in_test = self.test_depth > 0;
        self.facts.sites.push(Site { kind, item, line, in_test, why });
    }

    /// The SAFETY comment right above `line`, else right above the innermost enclosing statement,
    /// arm or item: the places where clippy accepts it.
    fn comment_for(&self, line: usize) -> Option<Vec<String>> {
        let anchor = self.anchors.last().copied();
        comment_above(&self.lines, line)
            .or_else(|| anchor.and_then(|anchor| comment_above(&self.lines, anchor)))
    }

    fn function(&mut self, signature: &syn::Signature, attributes: &[syn::Attribute], end: Span) {
        if attributes.iter().any(is_test_attribute) {
            self.facts.tests.insert(signature.ident.to_string());
        }
        let line = signature.span().start().line;
        let code_lines = self.source.code_lines_within(line..=end.end().line);
        let name = self.named(&signature.ident.to_string());
        self.facts.functions.push(Function { name, code_lines, line });
    }

    /// Records an `unsafe fn`; in the impl of a trait the contract is the trait's.
    fn unsafe_function(&mut self, signature: &syn::Signature, attributes: &[syn::Attribute]) {
        let syn::Safety::Unsafe(token) = &signature.safety else { return };
        let line = token.span.start().line;
        let why =
            safety_section(&documentation(attributes)).or_else(|| self.comment_for(line)).or_else(
                || self.of_trait.as_ref().map(|name| vec![format!("The contract of `{name}`.")]),
            );
        let test = usize::from(is_test_only(attributes));
        self.test_depth += test;
        self.site(Kind::Function, self.named(&signature.ident.to_string()), line, why);
        self.test_depth -= test;
    }

    /// Unsafe sites and tests among the tokens of a macro.
    fn tokens(&mut self, tokens: TokenStream) {
        let tokens: Vec<TokenTree> = tokens.into_iter().collect();
        let mut test_follows = false;
        for (index, token) in tokens.iter().enumerate() {
            let rest = tokens.get(index + 1..).unwrap_or_default();
            match token {
                TokenTree::Ident(word) if word == "unsafe" => {
                    if let Some(kind) = kind_of(rest) {
                        let line = word.span().start().line;
                        let why = self.comment_for(line);
                        self.site(kind, format!("{} (in a macro)", self.here()), line, why);
                    }
                }
                TokenTree::Ident(word) if word == "fn" => {
                    if let (true, Some(TokenTree::Ident(name))) = (test_follows, rest.first()) {
                        self.facts.tests.insert(name.to_string());
                    }
                    test_follows = false;
                }
                TokenTree::Group(group) => {
                    if group.delimiter() == Delimiter::Bracket {
                        let last = group.stream().into_iter().last();
                        test_follows |=
                            matches!(last, Some(TokenTree::Ident(word)) if word == "test");
                    }
                    self.tokens(group.stream());
                }
                _ => {}
            }
        }
    }
}

/// What follows the word `unsafe` in a stream of tokens; `None` for a pointer type.
fn kind_of(rest: &[TokenTree]) -> Option<Kind> {
    let word = |index: usize| match rest.get(index) {
        Some(TokenTree::Ident(word)) => word.to_string(),
        _ => String::new(),
    };
    match rest.first()? {
        TokenTree::Group(group) if group.delimiter() == Delimiter::Brace => Some(Kind::Block),
        TokenTree::Group(group) if group.delimiter() == Delimiter::Parenthesis => {
            Some(Kind::Attribute)
        }
        _ => match word(0).as_str() {
            "impl" => Some(Kind::Impl),
            "trait" => Some(Kind::Trait),
            "fn" => (!matches!(rest.get(1), Some(TokenTree::Group(_)))).then_some(Kind::Function),
            "extern" => {
                let after = usize::from(matches!(rest.get(1), Some(TokenTree::Literal(_)))) + 1;
                match rest.get(after) {
                    Some(TokenTree::Group(_)) => Some(Kind::Extern),
                    _ => kind_of(rest.get(after..)?),
                }
            }
            _ => None,
        },
    }
}

/// The block of line comments that ends right above `line` (counted from 1), from its `SAFETY:` on.
fn comment_above(lines: &[&str], line: usize) -> Option<Vec<String>> {
    let above = lines.get(..line.checked_sub(1)?)?;
    let comment = above.iter().rev().map(|line| line.trim()).take_while(|line| {
        line.starts_with("//") && !line.starts_with("///") && !line.starts_with("//!")
    });
    let mut comment: Vec<String> =
        comment.map(|line| line.trim_start_matches('/').trim().to_owned()).collect();
    comment.reverse();
    let start = comment.iter().position(|line| line.starts_with("SAFETY:"))?;
    comment.drain(..start);
    if let Some(first) = comment.first_mut() {
        *first = first.trim_start_matches("SAFETY:").trim().to_owned();
    }
    trim_blank(comment)
}

impl<'ast> Visit<'ast> for Walk<'_> {
    fn visit_item(&mut self, item: &'ast syn::Item) {
        let name = match item {
            syn::Item::Const(item) => Some((item.ident.to_string(), &item.attrs)),
            syn::Item::Static(item) => Some((item.ident.to_string(), &item.attrs)),
            _ => None,
        };
        self.anchored(item.span().start().line, |walk| match name {
            Some((name, attributes)) => {
                walk.enter(name, attributes, |walk| visit::visit_item(walk, item));
            }
            None => visit::visit_item(walk, item),
        });
    }

    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        self.enter(item.ident.to_string(), &item.attrs, |walk| visit::visit_item_mod(walk, item));
    }

    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        self.function(&item.sig, &item.attrs, item.block.brace_token.span.close());
        self.unsafe_function(&item.sig, &item.attrs);
        let name = item.sig.ident.to_string();
        self.enter(name, &item.attrs, |walk| visit::visit_item_fn(walk, item));
    }

    fn visit_item_trait(&mut self, item: &'ast syn::ItemTrait) {
        if let Some(token) = &item.unsafety {
            let line = token.span.start().line;
            let documented = safety_section(&documentation(&item.attrs));
            let why = documented.or_else(|| self.comment_for(line));
            self.site(Kind::Trait, self.named(&item.ident.to_string()), line, why);
        }
        let name = item.ident.to_string();
        self.enter(name, &item.attrs, |walk| visit::visit_item_trait(walk, item));
    }

    fn visit_trait_item_fn(&mut self, item: &'ast syn::TraitItemFn) {
        self.anchored(item.span().start().line, |walk| {
            if let Some(body) = &item.default {
                walk.function(&item.sig, &item.attrs, body.brace_token.span.close());
            }
            walk.unsafe_function(&item.sig, &item.attrs);
            let name = item.sig.ident.to_string();
            walk.enter(name, &item.attrs, |walk| visit::visit_trait_item_fn(walk, item));
        });
    }

    fn visit_item_impl(&mut self, item: &'ast syn::ItemImpl) {
        let on = self.words(item.self_ty.span());
        let of = item.trait_.as_ref().map(|(path, _)| self.words(path.span()));
        if let Some(token) = &item.unsafety {
            let line = token.span.start().line;
            let name = format!("impl {} for {on}", of.as_deref().unwrap_or_default());
            self.site(Kind::Impl, self.named(&name), line, self.comment_for(line));
        }
        let name = of.as_ref().map_or_else(|| on.clone(), |of| format!("<{on} as {of}>"));
        let outer = std::mem::replace(&mut self.of_trait, of);
        self.enter(name, &item.attrs, |walk| visit::visit_item_impl(walk, item));
        self.of_trait = outer;
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        self.anchored(item.span().start().line, |walk| {
            walk.function(&item.sig, &item.attrs, item.block.brace_token.span.close());
            walk.unsafe_function(&item.sig, &item.attrs);
            let name = item.sig.ident.to_string();
            walk.enter(name, &item.attrs, |walk| visit::visit_impl_item_fn(walk, item));
        });
    }

    fn visit_impl_item_const(&mut self, item: &'ast syn::ImplItemConst) {
        self.anchored(item.span().start().line, |walk| {
            let name = item.ident.to_string();
            walk.enter(name, &item.attrs, |walk| visit::visit_impl_item_const(walk, item));
        });
    }

    fn visit_item_foreign_mod(&mut self, item: &'ast syn::ItemForeignMod) {
        if let Some(token) = &item.unsafety {
            let line = token.span.start().line;
            self.site(Kind::Extern, self.here(), line, self.comment_for(line));
        }
        visit::visit_item_foreign_mod(self, item);
    }

    fn visit_attribute(&mut self, attribute: &'ast syn::Attribute) {
        if attribute.path().is_ident("unsafe") {
            let line = attribute.span().start().line;
            self.site(Kind::Attribute, self.here(), line, self.comment_for(line));
        }
    }

    fn visit_stmt(&mut self, statement: &'ast syn::Stmt) {
        self.anchored(statement.span().start().line, |walk| visit::visit_stmt(walk, statement));
    }

    fn visit_arm(&mut self, arm: &'ast syn::Arm) {
        self.anchored(arm.span().start().line, |walk| visit::visit_arm(walk, arm));
    }

    fn visit_expr_unsafe(&mut self, block: &'ast syn::ExprUnsafe) {
        let line = block.unsafe_token.span.start().line;
        self.site(Kind::Block, self.here(), line, self.comment_for(line));
        visit::visit_expr_unsafe(self, block);
    }

    fn visit_macro(&mut self, call: &'ast syn::Macro) {
        if call.path.segments.last().is_some_and(|last| last.ident == TEST_LIST) {
            let names = call.tokens.clone().into_iter().filter_map(|token| match token {
                TokenTree::Ident(name) => Some(name.to_string()),
                _ => None,
            });
            self.facts.tests.extend(names);
        }
        self.tokens(call.tokens.clone());
    }
}

#[cfg(test)]
mod tests;
