//! What must not compile, for the reason it must not, with a message that helps.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::as_conversions, reason = "tests")]

use std::fs;
use std::path::Path;
use std::process::Command;

const OWNED: &str = "pass an owned buffer such as `OwnedBuffer`, `Vec<u8>` or `Box<[u8]>`";
const BOX_IT: &str = "put it into a `Box`";

/// Name, body of a function, and what the compiler must say.
const PROGRAMS: &[(&str, &str, &[&str])] = &[
    (
        "accepted",
        "fn lend(_: impl IoBuf) {} pub fn f() { lend(vec![0]); lend(Box::new([0; 4])); lend(\"static\"); }",
        &[],
    ),
    (
        "mutable_borrow",
        "fn lend(_: impl IoBuf) {} pub fn f(b: &'static mut [u8]) { lend(b) }",
        &["error[E0277]", "safer-ring does not accept `&mut [u8]` as a buffer", OWNED],
    ),
    (
        "borrowed_vector",
        "fn lend(_: impl IoBuf) {} pub fn f(b: &'static Vec<u8>) { lend(b) }",
        &["error[E0277]", "safer-ring does not accept `&Vec<u8>` as a buffer", OWNED],
    ),
    (
        "array",
        "fn lend(_: impl IoBuf) {} pub fn f() { lend([0_u8; 4]) }",
        &[
            "error[E0277]",
            "safer-ring does not accept `[u8; 4]` as a buffer",
            "lend an owned one on the heap",
        ],
    ),
    (
        "short_borrow",
        "fn lend(_: impl IoBuf) {} pub fn f() { let v = vec![0_u8]; lend(&v[..]) }",
        &["error[E0597]", "`v` does not live long enough", "'static"],
    ),
    (
        "read_into_static",
        "fn fill(_: impl IoBufMut) {} pub fn f() { fill(\"static\") }",
        &["error[E0277]", "safer-ring cannot read into `&str`", "owned and writable"],
    ),
    (
        "read_into_array",
        "fn fill(_: impl IoBufMut) {} pub fn f() { fill([0_u8; 4]) }",
        &["error[E0277]", "safer-ring cannot read into `[u8; 4]`", BOX_IT],
    ),
    (
        "read_into_shared",
        "fn fill(_: impl IoBufMut) {} pub fn f(b: std::sync::Arc<[u8]>) { fill(b) }",
        &["error[E0277]", "safer-ring cannot read into `Arc<[u8]>`", "owned and writable"],
    ),
    (
        "used_while_lent",
        "pub fn f() { let b = vec![0_u8]; let _lease = b.lend(); drop(b); }",
        &["error[E0382]", "use of moved value: `b`"],
    ),
    (
        "lease_is_not_shared",
        "fn share<T: Sync>() {} pub fn f() { share::<Lease>() }",
        &["error[E0277]", "cannot be shared between threads safely"],
    ),
    (
        "owner_stays_on_its_thread",
        "pub fn f() { let _ = Lease::from_box(Box::new(std::rc::Rc::new(0))); }",
        &["error[E0277]", "cannot be sent between threads safely"],
    ),
];

#[test]
fn the_compiler_refuses_what_cannot_be_lent() {
    let root = Path::new(env!("CARGO_TARGET_TMPDIR")).join("rejected");
    let _ = fs::remove_dir_all(&root);
    fs::create_dir_all(root.join("src")).unwrap();
    let manifest = format!(
        "[package]\nname = \"rejected\"\nedition = \"2024\"\n[workspace]\n[features]\n{}\
         [dependencies]\nsafer-ring-buf = {{ path = {:?} }}\n",
        PROGRAMS.iter().map(|(name, ..)| format!("{name} = []\n")).collect::<String>(),
        env!("CARGO_MANIFEST_DIR"),
    );
    fs::write(root.join("Cargo.toml"), manifest).unwrap();
    let modules: String = PROGRAMS
        .iter()
        .map(|(name, body, _)| {
            format!(
                "#[cfg(feature = \"{name}\")]\npub mod {name} {{\n#[allow(unused_imports)]\n\
                 use safer_ring_buf::*;\n{body}\n}}\n"
            )
        })
        .collect();
    fs::write(root.join("src/lib.rs"), modules).unwrap();

    for (name, _, expected) in PROGRAMS {
        let output = Command::new(env!("CARGO"))
            .args(["check", "--offline", "--quiet", "--color=never", "--features", name])
            .current_dir(&root)
            .env("CARGO_TARGET_DIR", root.join("target"))
            .env_remove("RUSTFLAGS")
            .env_remove("CARGO_ENCODED_RUSTFLAGS")
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.success(), expected.is_empty(), "{name}: {said}");
        assert_eq!(said.matches("error[E").count(), expected.len().min(1), "{name}: {said}");
        for part in *expected {
            assert!(said.contains(part), "{name}: `{part}` is missing in: {said}");
        }
    }
}
