//! What is printed and read again is the same, for texts and for models.

#[path = "common/exercise.rs"]
mod exercise;

use exercise::{Random, again, corpus, exercise as check, mutated};
use proptest::prelude::*;
use safer_ring_spec::model::{
    ApiKind, Capability, CapabilityAction, Common, Constraint, ConstraintKind, Context, Effect,
    ErrorCase, Field, Lock, LockKind, Parameter, ParameterFlag, ReturnCheck, Returns, Section,
    SideEffect, Signal, SignalAction, SignalDirection, SignalTiming, Surface, Transition,
    ValueType,
};
use safer_ring_spec::{Generation, Specification, shipped};

#[test]
fn the_texts_of_the_crate_and_of_the_tests_come_back_the_same() {
    for text in corpus(&[]) {
        assert!(check(&text) > 0);
    }
}

#[test]
fn texts_that_once_did_not_come_back_the_same_do_so() {
    let found = [
        // An empty sub-key before a full one, and flags on two lines.
        "constraint: c\n  id:\n  id: x\n",
        "param: p\n  type: fd, input\n  flags: input\n  flags: user\n",
        // Something twice: the second must stay the second.
        "since-version: 1\nsince-version: 2\n",
        "param: p\nparam: p\n",
        "param-count: 7\nparam-count: 0\n",
        "return: header\n  desc:\n",
        // Flat forms without a name.
        "state-trans: , b, c, d\n",
        "capability: , grant_permission\n",
        "error: , x\nerror: ,\n",
        "lock: a, mutex, mutex\n  type: spinlock\n",
        "state-trans:\n  object: a, b, c\n",
    ];
    for text in found {
        check(format!("sys_f - F\ncontexts: process\n{text}").as_bytes());
    }
    check("Kernel API Specification\nName: sys_f\nLong description: a\u{2028}b\nReturn value:\n  success: [ 4]\n".as_bytes());
}

#[test]
fn models_survive_serde() {
    for spec in shipped() {
        let json = serde_json::to_string(&spec).unwrap();
        assert_eq!(serde_json::from_str::<Specification>(&json).unwrap(), spec);
    }
}

/// Models from a stream of random numbers.
struct Maker(Random);

impl Maker {
    fn one_of<T: Clone>(&mut self, list: &[T]) -> T {
        list.get(self.0.below(list.len())).expect("a list of some").clone()
    }

    fn maybe<T>(&mut self, make: impl FnOnce(&mut Self) -> T) -> Option<T> {
        (self.0.below(2) == 0).then(|| make(self))
    }

    fn several<T>(&mut self, mut make: impl FnMut(&mut Self) -> T) -> Vec<T> {
        (0..self.0.below(4)).map(|_| make(self)).collect()
    }

    fn some_of<T: Clone + PartialEq>(&mut self, list: &[T]) -> Vec<T> {
        let mut all = Vec::new();
        for _ in 0..self.0.below(3) {
            let item = self.one_of(list);
            if !all.contains(&item) {
                all.push(item);
            }
        }
        all
    }

    /// A word without a comma; what the grammar could mistake for its own is among them.
    fn word(&mut self) -> String {
        const WORDS: &[&str] = &[
            "size",
            "x86",
            "error:",
            "desc:",
            "-",
            "--",
            "a:b",
            "@p:",
            "sys_x",
            "#",
            "0x10",
            "(one)",
            "E2BIG",
            "=",
            "\u{e4}ther",
            "*",
            "/**x",
            "Return:",
            "+",
            "since-version:",
            "`b`",
            "<tag>",
            "100%",
            "a_very_long_word_of_text",
        ];
        self.one_of(WORDS).to_owned()
    }

    fn text(&mut self) -> String {
        let words: Vec<String> = (0..1 + self.0.below(40)).map(|_| self.word()).collect();
        words.join(if self.0.below(5) == 0 { ", " } else { " " }).replace("*/", "* /")
    }

    /// A name without commas, which would make a flat form of it.
    fn name(&mut self) -> String {
        (0..1 + self.0.below(3)).map(|_| self.word()).collect::<Vec<_>>().join(" ")
    }

    fn prose(&mut self) -> String {
        let paragraphs: Vec<String> = (0..1 + self.0.below(3))
            .map(|_| {
                let first = self.text();
                let items = self.several(|m| format!("\n- {}", m.text()));
                // A first line that is a lone hyphen and more is an item itself.
                format!("{first}{}", items.concat())
            })
            .collect();
        paragraphs.join("\n\n")
    }

    fn pair(&mut self) -> (String, String) {
        let ends = ["0", "-1", "LONG_MAX", "sizeof(struct s)", "f(a, b)"];
        (self.one_of(&ends).to_owned(), self.one_of(&ends).to_owned())
    }

    fn common(&mut self) -> Common {
        Common {
            id: self.maybe(|m| format!("call/{}", m.0.below(1000))),
            since: self.maybe(|m| m.one_of(&["5.1", "6.18"]).to_owned()),
            until: self.maybe(|_| "7.0".to_owned()),
            disagrees: self.maybe(Self::text),
            untestable: self.maybe(Self::text),
            covered_by: self.several(|m| format!("call/{}", m.0.below(9))),
            unknown: self
                .several(|m| Field { key: format!("odd-{}", m.0.below(3)), value: m.text() }),
        }
    }

    fn parameter(&mut self, index: usize) -> Parameter {
        Parameter {
            name: format!("p{index}"),
            text: self.maybe(Self::text),
            value_type: self.maybe(|m| m.one_of(ValueType::KNOWN)),
            flags: self.some_of(ParameterFlag::KNOWN),
            size: self.maybe(Self::text),
            constraint: self.maybe(|m| m.one_of(ConstraintKind::KNOWN)),
            rule: self.maybe(Self::text),
            range: self.maybe(Self::pair),
            mask: self.maybe(Self::text),
            arch_masks: self.several(|m| (m.one_of(&["x86", "arm64"]).to_owned(), m.text())),
            values: self.several(|m| m.pair().0),
            alignment: self.maybe(|m| m.pair().0),
            size_param: self.maybe(|m| m.0.below(6).to_string()),
            struct_type: self.maybe(Self::name),
            description: self.maybe(Self::text),
            common: self.common(),
        }
    }

    fn returns(&mut self) -> Returns {
        Returns {
            value_type: self.maybe(|m| m.one_of(ValueType::KNOWN)),
            check: self.maybe(|m| m.one_of(ReturnCheck::KNOWN)),
            success: self.maybe(|m| m.one_of(&["0", ">= 0", "-EINPROGRESS"]).to_owned()),
            success_range: self.maybe(Self::pair),
            error_values: self.several(|m| m.pair().0),
            description: self.maybe(Self::text),
            common: self.common(),
        }
    }

    fn error(&mut self) -> ErrorCase {
        ErrorCase {
            name: self.one_of(&["EINVAL", "-EIO", "(driver-specific)"]).to_owned(),
            summary: self.maybe(Self::text),
            description: self.maybe(Self::text),
            condition: self.maybe(Self::text),
            surface: self.maybe(|m| m.one_of(Surface::KNOWN)),
            common: self.common(),
        }
    }

    fn signal(&mut self) -> Signal {
        Signal {
            name: self.name(),
            number: self.maybe(Self::name),
            direction: self.some_of(SignalDirection::KNOWN),
            action: self.maybe(|m| m.one_of(SignalAction::KNOWN)),
            transform_to: self.maybe(Self::name),
            condition: self.maybe(Self::text),
            description: self.maybe(Self::text),
            error: self.maybe(Self::text),
            timing: self.maybe(|m| m.one_of(SignalTiming::KNOWN)),
            priority: self.maybe(Self::name),
            restartable: self.maybe(|m| m.0.below(2) == 0),
            interruptible: self.maybe(|m| m.0.below(2) == 0),
            target: self.maybe(Self::text),
            queue: self.maybe(Self::text),
            masks: self
                .maybe(|m| Field { key: "sa-flags".to_owned(), value: m.text() })
                .into_iter()
                .collect(),
            common: self.common(),
        }
    }

    fn lock(&mut self) -> Lock {
        Lock {
            name: self.name(),
            kind: self.maybe(|m| m.one_of(LockKind::KNOWN)),
            scope: self.maybe(Self::text),
            acquired: self.maybe(|m| m.0.below(2) == 0),
            released: self.maybe(|m| m.0.below(2) == 0),
            held_on_entry: self.maybe(|m| m.0.below(2) == 0),
            held_on_exit: self.maybe(|m| m.0.below(2) == 0),
            description: self.maybe(Self::text),
            common: self.common(),
        }
    }

    fn side_effect(&mut self) -> SideEffect {
        let mut effects = self.some_of(Effect::KNOWN);
        if effects.is_empty() {
            effects.push(Effect::Schedule);
        }
        SideEffect {
            effects,
            target: self.maybe(Self::text),
            description: self.maybe(Self::text),
            condition: self.maybe(Self::text),
            reversible: self.maybe(|m| m.0.below(2) == 0),
            common: self.common(),
        }
    }

    fn transition(&mut self) -> Transition {
        Transition {
            // Commas are allowed here: a flat form is printed otherwise.
            object: self.text(),
            from: self.maybe(Self::text),
            to: self.maybe(Self::text),
            condition: self.maybe(Self::text),
            description: self.maybe(Self::text),
            common: self.common(),
        }
    }

    fn capability(&mut self) -> Capability {
        Capability {
            name: self.one_of(&["CAP_SYS_NICE", "CAP_ODD"]).to_owned(),
            action: self.maybe(|m| m.one_of(CapabilityAction::KNOWN)),
            label: self.maybe(Self::text),
            allows: self.maybe(Self::text),
            without: self.maybe(Self::text),
            condition: self.maybe(Self::text),
            priority: self.maybe(Self::name),
            description: self.maybe(Self::text),
            common: self.common(),
        }
    }

    fn constraint(&mut self) -> Constraint {
        Constraint {
            name: self.name(),
            description: self.maybe(Self::text),
            expression: self.maybe(Self::text),
            common: self.common(),
        }
    }

    fn specification(&mut self) -> Specification {
        let kinds =
            [ApiKind::Syscall, ApiKind::Function, ApiKind::Ioctl, ApiKind::Other("odd".to_owned())];
        let mut spec =
            Specification::new(self.one_of(&["frob", "sys_x", "a.b"]), self.one_of(&kinds));
        spec.summary = self.maybe(Self::text).unwrap_or_default();
        spec.since = self.maybe(Self::text);
        spec.contexts = self.some_of(Context::KNOWN);
        spec.long = self.maybe(Self::prose);
        spec.parameters = (0..self.0.below(4)).map(|index| self.parameter(index)).collect();
        spec.returns = self.maybe(Self::returns);
        spec.errors = self.several(Self::error);
        spec.locks = self.several(Self::lock);
        spec.signals = self.several(Self::signal);
        spec.side_effects = self.several(Self::side_effect);
        spec.transitions = self.several(Self::transition);
        spec.capabilities = self.several(Self::capability);
        spec.constraints = self.several(Self::constraint);
        spec.examples = self.several(|m| format!("{}{}", " ".repeat(m.0.below(5)), m.text()));
        spec.notes = self.maybe(Self::prose);
        spec.remarks = self.maybe(Self::prose);
        spec.unknown = self.several(|m| Section {
            key: format!("strange-{}", m.0.below(3)),
            header: m.text(),
            fields: m.several(|m| Field { key: "odd".to_owned(), value: m.text() }),
        });
        spec
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_model_that_is_printed_and_read_is_the_same(seed in any::<u64>()) {
        let spec = Maker(Random::new(seed)).specification();
        again(&spec, &[Generation::Short, Generation::Constants]);
    }

    #[test]
    fn changed_texts_are_read_without_a_panic_and_come_back_the_same(seed in any::<u64>()) {
        let corpus = corpus(&[]);
        let mut random = Random::new(seed);
        for _ in 0..4 {
            check(&mutated(&corpus, &mut random));
        }
    }

    #[test]
    fn any_bytes_are_read_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        check(&bytes);
    }
}
