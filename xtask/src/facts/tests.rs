use super::*;

fn facts(text: &str) -> Facts {
    collect(&Source::parse("a.rs", text).unwrap())
}

fn kinds(text: &str) -> Vec<(Kind, String)> {
    facts(text).sites.into_iter().map(|site| (site.kind, site.item)).collect()
}

fn reason(text: &str) -> Option<String> {
    let facts = facts(text);
    assert_eq!(facts.sites.len(), 1, "{:?}", facts.sites);
    facts.sites[0].why.as_ref().map(|lines| lines.join("\n"))
}

#[test]
fn every_kind_of_unsafe_is_found_with_its_item() {
    let found = kinds(
        r#"
        unsafe trait T { unsafe fn t(&self); }
        unsafe impl Send for Holder<u8> {}
        unsafe impl<A> T for Vec<A> { unsafe fn t(&self) {} }
        unsafe extern "C" { fn c(); }
        #[unsafe(no_mangle)] fn exported() {}
        impl Holder<u8> { const C: u8 = unsafe { f() }; fn m(&self) { let x = unsafe { f() }; } }
        mod inner { unsafe fn f() {} static S: u8 = unsafe { g() }; }
        fn closure() { let _ = || unsafe { f() }; }
        "#,
    );
    let expected = [
        (Kind::Trait, "T"),
        (Kind::Function, "T::t"),
        (Kind::Impl, "impl Send for Holder<u8>"),
        (Kind::Impl, "impl T for Vec<A>"),
        (Kind::Function, "<Vec<A> as T>::t"),
        (Kind::Extern, "the module"),
        (Kind::Attribute, "exported"),
        (Kind::Block, "Holder<u8>::C"),
        (Kind::Block, "Holder<u8>::m"),
        (Kind::Function, "inner::f"),
        (Kind::Block, "inner::S"),
        (Kind::Block, "closure"),
    ];
    let expected: Vec<_> = expected.map(|(kind, item)| (kind, item.to_owned())).into();
    assert_eq!(found, expected);
}

#[test]
fn unsafe_in_macro_calls_and_definitions_is_found() {
    let found = kinds(
        r#"
        fn f() { assert_eq!(unsafe { g() }, [unsafe { h() }]); }
        macro_rules! m {
            ($t:ty) => { unsafe impl Send for $t {} unsafe extern "C" fn z() {} };
        }
        wrap! { type P = unsafe fn(u8); type Q = unsafe extern "C" fn(u8); }
        "#,
    );
    let kinds: Vec<Kind> = found.iter().map(|(kind, _)| *kind).collect();
    assert_eq!(kinds, [Kind::Block, Kind::Block, Kind::Impl, Kind::Function]);
    assert_eq!(found[0].1, "f (in a macro)");
}

#[test]
fn what_only_mentions_unsafe_is_not_a_site() {
    assert!(
        kinds("// unsafe { }\nconst A: &str = \"unsafe { }\";\ntype P = unsafe fn(u8);").is_empty()
    );
}

#[test]
fn the_comment_is_found_where_clippy_accepts_it() {
    for text in [
        "fn f() {\n    // Why not safe.\n    // SAFETY: one\n    // - two\n    unsafe { g() }\n}",
        "fn f() {\n    // SAFETY: one\n    // - two\n    let a =\n        h(unsafe { g() });\n}",
        "fn f() {\n    let a =\n        // SAFETY: one\n        // - two\n        unsafe { g() };\n}",
        "fn f() { match 1 {\n    // SAFETY: one\n    // - two\n    _ =>\n        unsafe { g() }\n}}",
        "fn f() {\n    // SAFETY: one\n    // - two\n    #[expect(x)]\n    let a = unsafe { g() };\n}",
        "// SAFETY: one\n// - two\nunsafe impl Send for A {}",
        "impl A {\n    // SAFETY: one\n    // - two\n    const C: u8 =\n        unsafe { g() };\n}",
    ] {
        assert_eq!(reason(text).as_deref(), Some("one\n- two"), "{text}");
    }
}

#[test]
fn a_comment_elsewhere_justifies_nothing() {
    for text in [
        "fn f() {\n    // SAFETY: one\n\n    unsafe { g() }\n}",
        "// SAFETY: one\nfn f() {\n    unsafe { g() }\n}",
        "fn f() {\n    // SAFETY: one\n    h();\n    unsafe { g() }\n}",
        "fn f() {\n    // SAFETY:\n    unsafe { g() }\n}",
        "fn f() {\n    // unsafe is needed\n    unsafe { g() }\n}",
    ] {
        assert_eq!(reason(text), None, "{text}");
    }
}

#[test]
fn the_contract_of_a_declaration_is_its_safety_section() {
    let documented = "/// Does.\n///\n/// # Safety\n///\n/// `a` is live.\n/// And so on.\n\
                      ///\n/// # Errors\n/// None.\nunsafe fn f() {}";
    assert_eq!(reason(documented).as_deref(), Some("`a` is live.\nAnd so on."));
    assert_eq!(reason("/// # Safety\n/// # Errors\nunsafe fn f() {}"), None);
    assert_eq!(reason("unsafe fn f() {}"), None);
    let of_trait = reason("impl T for A { unsafe fn f() {} }");
    assert_eq!(of_trait.as_deref(), Some("The contract of `T`."));
}

#[test]
fn test_code_is_told_apart() {
    let text = "#[cfg(test)]\nmod tests { fn f() { unsafe { g() } } }\n\
                #[cfg(not(test))]\nfn real() { unsafe { g() } }\n\
                #[test]\nfn one() { unsafe { g() } }";
    let in_test: Vec<bool> = facts(text).sites.iter().map(|site| site.in_test).collect();
    assert_eq!(in_test, [true, false, true]);
}

#[test]
fn tests_are_found_by_their_attributes_also_in_macros() {
    let found = facts(
        "#[test] fn a() {} #[tokio::test(flavor = \"multi_thread\")] async fn b() {} fn c() {}
         proptest! { #![config(x)] #[test] fn d(x in 0..4) {} fn e() {} }
         everywhere!(f, g); elsewhere!(h);",
    );
    let expected = ["a", "b", "d", "f", "g"].map(str::to_owned);
    assert_eq!(found.tests, BTreeSet::from(expected));
}

#[test]
fn function_lengths_count_code_only() {
    let found = facts(
        "/// Docs.\n#[inline]\nfn f(\n    a: u8,\n) {\n    // why\n\n    g(a)\n}\n\
         impl A {\n    fn m(&self) {}\n}\ntrait T {\n    fn none();\n    fn d() {\n        g()\n    }\n}",
    );
    let lengths: Vec<(&str, usize)> =
        found.functions.iter().map(|f| (f.name.as_str(), f.code_lines)).collect();
    assert_eq!(lengths, [("f", 5), ("A::m", 1), ("T::d", 3)]);
}
