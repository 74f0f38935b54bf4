//! Each form of a text, and what comes of it: the older and the newer grammar, a patch inside of a mail, debugfs, and the
//! proposed specification of io_submit(2), where that is at hand.

use std::path::{Path, PathBuf};

use safer_ring_spec::model::{
    CapabilityAction, ConstraintKind, Effect, LockKind, ParameterFlag, ReturnCheck, SignalAction,
    SignalDirection, ValueType,
};
use safer_ring_spec::{Document, Severity, Specification, StatementKind, parse, parse_list};

fn read(file: &str) -> Document {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/texts").join(file);
    parse(file, &std::fs::read_to_string(path).expect("a file of the repository"))
}

fn only(document: &Document) -> &Specification {
    let [located] = document.specifications.as_slice() else {
        panic!("{} specifications", document.specifications.len())
    };
    &located.specification
}

fn findings(document: &Document) -> Vec<String> {
    document.diagnostics.iter().map(ToString::to_string).collect()
}

#[test]
fn the_older_grammar() {
    let document = read("older.c");
    let spec = only(&document);
    assert_eq!((spec.name.as_str(), spec.since.as_deref()), ("frobnicate", Some("9.1")));
    assert_eq!(
        spec.long.as_deref().unwrap(),
        "Turns a knob. Knobs are counted from 0.\n\nWhat happens depends on the device:\n\
         - a lamp becomes brighter\n- a pump runs faster"
    );
    let [fd, knob, path] = spec.parameters.as_slice() else { panic!("three parameters") };
    assert_eq!(fd.value_type, Some(ValueType::Fd));
    assert_eq!(fd.range, Some(("0".to_owned(), "INT_MAX".to_owned())));
    assert_eq!(fd.rule.as_deref(), Some("Has to be a device; error: is prose in this line."));
    assert_eq!(knob.mask.as_deref(), Some("KNOB_LEFT | KNOB_RIGHT"));
    assert_eq!(knob.size.as_deref(), Some("sizeof(struct knob)"));
    assert_eq!(path.constraint, Some(ConstraintKind::UserPath));
    let flags = [ParameterFlag::In, ParameterFlag::User, ParameterFlag::Optional];
    assert_eq!(path.flags, flags);
    let returns = spec.returns.as_ref().unwrap();
    assert_eq!(returns.check, Some(ReturnCheck::ErrorCheck));
    assert_eq!(returns.error_values, ["-EINVAL", "-EIO"]);
    let names: Vec<&str> = spec.errors.iter().map(|e| e.name.as_str()).collect();
    assert_eq!(names, ["EINVAL", "EINVAL", "(driver-specific)"]);
    assert_eq!(
        spec.errors[0].description.as_deref(),
        Some("Only some devices have more than two.")
    );
    assert_eq!((&spec.locks[0].kind, spec.locks[0].acquired), (&Some(LockKind::Mutex), Some(true)));
    assert_eq!(spec.signals[0].error.as_deref(), Some("-EINTR (if nothing has been turned)"));
    assert_eq!(spec.signals[0].restartable, Some(true));
    assert_eq!(spec.side_effects[0].effects, [Effect::Hardware, Effect::ModifyState]);
    let transition = &spec.transitions[0];
    assert_eq!((transition.object.as_str(), transition.to.as_deref()), ("lamp", Some("bright")));
    let capability = &spec.capabilities[0];
    assert_eq!(capability.action, Some(CapabilityAction::PerformOperation));
    assert_eq!(capability.label.as_deref(), Some("Raw access"));
    assert_eq!(spec.unknown[0].key, "mood");
    assert_eq!(spec.unknown[0].fields[0].value, "nobody knows");
    assert_eq!(spec.examples.len(), 4);
    assert_eq!(spec.examples[2], "    retry();");
    assert_eq!(
        findings(&document),
        [
            "older.c:60:4: note: `(driver-specific)` does not name an error; it is kept; expected a name such as EINVAL",
            "older.c:86:4: note: `mood:` is not a key that is known; it is kept",
        ]
    );
}

#[test]
fn the_newer_grammar_and_flat_forms() {
    let document = read("newer.c");
    assert_eq!(findings(&document), Vec::<String>::new());
    let [reckon, idle] = document.specifications.as_slice() else { panic!("two specifications") };
    let spec = &reckon.specification;
    let [buf, count, mode] = spec.parameters.as_slice() else { panic!("three parameters") };
    assert_eq!(buf.value_type, Some(ValueType::UserPtr));
    assert_eq!(buf.flags, [ParameterFlag::In]);
    let buffer = (buf.constraint.clone(), buf.size_param.as_deref());
    assert_eq!(buffer, (Some(ConstraintKind::Buffer), Some("1")));
    assert_eq!(count.range, Some(("0".to_owned(), "SIZE_MAX".to_owned())));
    assert_eq!(mode.values, ["MODE_SUM", "MODE_XOR"]);
    assert_eq!(mode.arch_masks[1], ("arm64".to_owned(), "MODE_WIDE".to_owned()));
    assert_eq!(spec.errors.len(), 2);
    assert_eq!(
        (spec.locks[0].name.as_str(), &spec.locks[0].kind),
        ("sums", &Some(LockKind::Spinlock))
    );
    let signal = &spec.signals[0];
    assert_eq!(
        (&signal.direction[..], &signal.action),
        (&[SignalDirection::Send][..], &Some(SignalAction::Coredump))
    );
    assert_eq!((signal.error.as_deref(), signal.interruptible), (Some("EINTR"), Some(false)));
    let effect = &spec.side_effects[0];
    assert_eq!(effect.effects, [Effect::AllocMemory]);
    assert_eq!(effect.target.as_deref(), Some("the accumulator"));
    assert_eq!(effect.description.as_deref(), Some("One page for the time of the call"));
    let place = reckon.places["reckon/EOVERFLOW/The-sum-is-too-large"];
    assert_eq!((place.line, place.column), (34, 4));
    let constraint = &idle.specification.constraints[0];
    assert_eq!(constraint.name, "Patience");
    assert_eq!(constraint.description.as_deref(), Some("Nothing ever happens"));
}

#[test]
fn a_patch_inside_of_a_mail() {
    let document = read("patch.mail");
    assert_eq!(findings(&document), Vec::<String>::new());
    let spec = only(&document);
    assert_eq!(spec.summary, "Frobs & reports");
    assert_eq!(spec.errors[0].summary.as_deref(), Some("n is < 1"));
    assert_eq!(spec.errors[0].description.as_deref(), Some("Zero is no number here."));
    assert_eq!(document.specifications[0].place.line, 22);
}

#[test]
fn what_the_kernel_shows_in_debugfs() {
    let document = read("debugfs.txt");
    assert_eq!(findings(&document), Vec::<String>::new());
    let spec = only(&document);
    assert_eq!((spec.name.as_str(), spec.since.as_deref()), ("frob", Some("9.2")));
    assert_eq!(spec.long.as_deref(), Some("Frobs as often as asked.\n\nIt takes its time."));
    assert_eq!(spec.contexts.len(), 2);
    let [n, name] = spec.parameters.as_slice() else { panic!("two parameters") };
    assert_eq!(n.range, Some(("1".to_owned(), "4096".to_owned())));
    assert_eq!(n.description.as_deref(), Some("How often"));
    assert_eq!(name.rule.as_deref(), Some("May be null"));
    assert_eq!(name.flags, [ParameterFlag::In, ParameterFlag::User]);
    let returns = spec.returns.as_ref().unwrap();
    assert_eq!(returns.success_range, Some(("0".to_owned(), "4096".to_owned())));
    assert_eq!(spec.errors[0].condition.as_deref(), Some("n == 0"));
    assert_eq!(spec.errors[1].summary.as_deref(), Some("The name cannot be read"));
    assert_eq!(spec.locks[0].scope.as_deref(), Some("acquired and released"));
    assert_eq!(spec.constraints[0].expression.as_deref(), Some("ticket == next"));
    assert_eq!(spec.signals[0].name, "SIGINT");
    assert_eq!(spec.side_effects[0].reversible, Some(true));
    assert_eq!(spec.transitions[0].description.as_deref(), Some("Every time"));
    assert_eq!(spec.capabilities[0].without.as_deref(), Some("EPERM"));
    assert_eq!(
        (spec.examples.as_slice(), spec.notes.as_deref()),
        (&["frob(1, NULL);".to_owned()][..], Some("None."))
    );
}

#[test]
fn the_list_in_debugfs() {
    let list = parse_list(
        "Available Kernel API Specifications\n=====\n\nsys_frob - Frobs\nsys_b - B\n\nTotal: 2 specifications\n",
    );
    let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
    assert_eq!(list, [pair("sys_frob", "Frobs"), pair("sys_b", "B")]);
}

#[test]
fn what_is_wrong_is_told_with_its_place_and_what_was_expected() {
    let cases: &[(&str, &str)] = &[
        ("", "t:1:1: error: there is no specification in here; expected a title (`sys_name"),
        ("int x;\n", "t:1:1: error: a text without a title; expected `sys_name - What it does`"),
        (
            "sys_f - F\nlock: l\n",
            "t:1:1: error: nothing says from where the call may be made; expected `contexts: ..`",
        ),
        (
            "sys_f - F\ncontexts: moon\nlock: l\n",
            "t:2:1: warning: `moon` is not a word that is known here; expected one of process",
        ),
        (
            "sys_f - F\ncontexts: nmi\nerror:\n",
            "t:3:1: error: `error:` of nothing; expected the error and its cause",
        ),
        (
            "sys_f - F\ncontexts: nmi\nparam: a b\n",
            "t:3:1: error: `a b` cannot be the name of a parameter; expected letters",
        ),
        (
            "sys_f - F\ncontexts: nmi\nparam: a\n  range: 5\n",
            "t:4:3: warning: `range: 5` cannot be understood; it is kept; expected the lowest",
        ),
        (
            "sys_f - F\ncontexts: nmi\nparam: a\n  constraint-type: range(5)\n",
            "t:4:3: warning: `constraint-type: range(5)` cannot be understood; it is kept; expected `range(lowest, highest)`",
        ),
        (
            "sys_f - F\ncontexts: nmi\nlock: a\n  acquired: maybe\n",
            "t:4:3: warning: `acquired: maybe` cannot be understood; it is kept; expected yes or no",
        ),
        (
            "sys_f - F\ncontexts: nmi\nlock: a\n  desc: x\n  desc: y\n",
            "t:5:3: warning: `desc:` says what another line has said; it is kept; expected each sub-key once",
        ),
        (
            "sys_f - F\ncontexts: nmi\nparam-count: 3\nlock: l\n",
            "t:3:1: warning: `param-count:` says 3, and there are 0 parameters; expected 0",
        ),
        (
            "sys_f - F\ncontexts: nmi\nlock: a\n  id: x\nlock: b\n  id: x\n",
            "t:5:1: warning: the id `x` is given twice; expected an id of its own",
        ),
        (
            "sys_f - F\ncontexts: nmi\nside-effect:\n",
            "t:3:1: error: `side-effect:` without an effect; expected one of alloc_memory",
        ),
        (
            "/**\n * sys_f - F\n * contexts: nmi\n * lock: l\n */\nSYSCALL_DEFINE0(g)\n",
            "t:2:4: warning: the comment is of `f`, the code of `g`; expected `sys_g`",
        ),
        (
            "/**\n * sys_f - F\n * contexts: nmi\n * lock: l\n",
            "t:1:1: error: the comment does not end; expected `*/`",
        ),
        (
            "Kernel API Specification\nName: f\nErrors (2):\n  EIO (-5): x\n",
            "t:3:1: warning: `Errors` announces 2, and has 1; expected 1",
        ),
    ];
    for (text, expected) in cases {
        let document = parse("t", text);
        let found = findings(&document);
        assert!(found.iter().any(|line| line.starts_with(expected)), "{text:?}: {found:#?}");
    }
}

#[test]
fn a_text_that_is_not_utf_8_is_read_with_a_warning() {
    let document = safer_ring_spec::parse_bytes("t", b"sys_f - F\ncontexts: nmi\nlock: \xff\n");
    assert_eq!(
        findings(&document),
        ["t:3:7: warning: this is not UTF-8; it is replaced; expected UTF-8"]
    );
    assert_eq!(only(&document).locks[0].name, "\u{fffd}");
}

/// Where the proposed specification of io_submit(2) may be: in `$SAFER_RING_SEEDS`, or beside the repository.
fn proposed() -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/seeds");
    let directory = std::env::var_os("SAFER_RING_SEEDS").map_or(beside, PathBuf::from);
    let path = directory.join("004_io_submit_api_spec.txt");
    path.exists().then_some(path)
}

/// What a specification has, field by field, without its sentences: names, words of the grammar, and what is there.
fn shape(spec: &Specification) -> String {
    let mut out =
        format!("{} since {:?} contexts {:?}\n", spec.name, spec.since.as_deref(), spec.contexts);
    for p in &spec.parameters {
        let there = [p.text.is_some(), p.rule.is_some(), p.size.is_some(), p.description.is_some()];
        out.push_str(&format!(
            "param {} {:?} {:?} {:?} {:?} {there:?}\n",
            p.name, p.value_type, p.flags, p.constraint, p.range
        ));
    }
    if let Some(r) = &spec.returns {
        out.push_str(&format!(
            "return {:?} {:?} {:?} {:?}\n",
            r.value_type,
            r.check,
            r.success,
            r.description.is_some()
        ));
    }
    for e in &spec.errors {
        let there = [e.summary.is_some(), e.description.is_some(), e.condition.is_some()];
        out.push_str(&format!("error {} {there:?}\n", e.name));
    }
    for l in &spec.locks {
        out.push_str(&format!("lock {:?} {:?}\n", l.kind, l.description.is_some()));
    }
    for s in &spec.signals {
        let words = (&s.direction, &s.action, &s.timing, s.restartable);
        out.push_str(&format!("signal {} {words:?} {:?}\n", s.name, s.error.is_some()));
    }
    for s in &spec.side_effects {
        let there = [s.target.is_some(), s.description.is_some(), s.condition.is_some()];
        out.push_str(&format!("side-effect {:?} {:?} {there:?}\n", s.effects, s.reversible));
    }
    for t in &spec.transitions {
        let there =
            [t.from.is_some(), t.to.is_some(), t.condition.is_some(), t.description.is_some()];
        out.push_str(&format!("state-trans {there:?}\n"));
    }
    for c in &spec.capabilities {
        let there = [c.allows.is_some(), c.without.is_some(), c.condition.is_some()];
        out.push_str(&format!("capability {} {:?} {there:?}\n", c.name, c.action));
    }
    for c in &spec.constraints {
        out.push_str(&format!(
            "constraint {:?} {:?}\n",
            c.description.is_some(),
            c.expression.is_some()
        ));
    }
    let paragraphs =
        |text: &Option<String>| text.as_ref().map_or(0, |text| text.split("\n\n").count());
    let items = spec.long.as_ref().map_or(0, |text| text.matches("\n- ").count());
    out.push_str(&format!(
        "long-desc {} paragraphs {items} items, notes {} paragraphs, examples {}, unknown {}\n",
        paragraphs(&spec.long),
        paragraphs(&spec.notes),
        spec.examples.len(),
        spec.unknown.len(),
    ));
    out
}

#[test]
fn the_proposed_specification_of_io_submit() {
    let Some(path) = proposed() else {
        println!(
            "skipped: the proposed specification of io_submit(2) is not at hand (SAFER_RING_SEEDS)"
        );
        return;
    };
    let document = safer_ring_spec::parse_bytes("seed", &std::fs::read(path).unwrap());
    let errors = document.diagnostics.iter().filter(|d| d.severity == Severity::Error);
    assert_eq!(errors.count(), 0, "{:#?}", document.diagnostics);
    let spec = only(&document);
    let statements = spec.statements();
    let count = |kind| statements.iter().filter(|s| s.kind == kind).count();
    let counts = [
        count(StatementKind::Parameter),
        count(StatementKind::Return),
        count(StatementKind::Error),
        count(StatementKind::Lock),
        count(StatementKind::Signal),
        count(StatementKind::SideEffect),
        count(StatementKind::Transition),
        count(StatementKind::Capability),
        count(StatementKind::Constraint),
    ];
    assert_eq!(counts, [3, 1, 8, 4, 1, 7, 2, 2, 4]);
    let expected = include_str!("texts/io_submit.shape");
    let found = shape(spec);
    assert_eq!(found, expected, "\n{found}");
}
