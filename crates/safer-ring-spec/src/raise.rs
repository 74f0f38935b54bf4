//! From the model back to sections, in the order of the grammar: what all printers and the comparison work on.

use crate::grammar::is_name;
use crate::model::{
    ApiKind, Capability, Common, Constraint, ConstraintKind, ErrorCase, Field, Lock, Parameter,
    Returns, Section, SideEffect, Signal, Specification, Transition,
};

/// Which generation of the grammar is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Generation {
    /// Short words: `type: user_ptr, input`.
    #[default]
    Short,
    /// Constants: `type: KAPI_TYPE_USER_PTR`, `flags: KAPI_PARAM_IN`.
    Constants,
}

/// A word of either generation.
macro_rules! word {
    ($generation:expr, $word:expr) => {
        match $generation {
            Generation::Short => $word.short().to_owned(),
            Generation::Constants => $word.constant(),
        }
    };
}

/// Words of either generation, joined as each has it.
macro_rules! words {
    ($generation:expr, $words:expr) => {{
        let words: Vec<String> = $words.iter().map(|w| word!($generation, w)).collect();
        match $generation {
            Generation::Short => words.join(", "),
            Generation::Constants => words.join(" | "),
        }
    }};
}

/// A section that is being put together.
struct Build(Section);

impl Build {
    fn new(key: &str, header: impl Into<String>) -> Self {
        Self(Section { key: key.to_owned(), header: header.into(), fields: Vec::new() })
    }

    fn add(&mut self, key: &str, value: Option<impl Into<String>>) {
        if let Some(value) = value {
            self.0.fields.push(Field { key: key.to_owned(), value: value.into() });
        }
    }

    fn flag(&mut self, key: &str, value: Option<bool>) {
        self.add(key, value.map(|value| if value { "yes" } else { "no" }));
    }

    fn list(&mut self, key: &str, values: &[String]) {
        self.add(key, (!values.is_empty()).then(|| values.join(", ")));
    }

    fn finish(mut self, common: &Common) -> Section {
        self.add("id", common.id.clone());
        self.add("since", common.since.clone());
        self.add("until", common.until.clone());
        self.add("disagrees", common.disagrees.clone());
        self.add("untestable", common.untestable.clone());
        self.list("covered-by", &common.covered_by);
        self.0.fields.extend(common.unknown.iter().cloned());
        self.0
    }
}

/// The statements of a specification as sections, in the order of `Specification::statements`.
pub(crate) fn statements(spec: &Specification, generation: Generation) -> Vec<Section> {
    let mut sections: Vec<Section> = Vec::new();
    sections.extend(spec.parameters.iter().map(|p| parameter(p, generation)));
    sections.extend(spec.returns.iter().map(|r| returns(r, generation)));
    sections.extend(spec.errors.iter().map(|e| error(e, generation)));
    sections.extend(spec.locks.iter().map(|l| lock(l, generation)));
    sections.extend(spec.signals.iter().map(|s| signal(s, generation)));
    sections.extend(spec.side_effects.iter().map(|s| side_effect(s, generation)));
    sections.extend(spec.transitions.iter().map(transition));
    sections.extend(spec.capabilities.iter().map(|c| capability(c, generation)));
    sections.extend(spec.constraints.iter().map(constraint));
    sections
}

/// The contexts, as the generation writes them: key and value.
pub(crate) fn contexts(
    spec: &Specification,
    generation: Generation,
) -> Option<(&'static str, String)> {
    let key = match generation {
        Generation::Short => "contexts",
        Generation::Constants => "context-flags",
    };
    (!spec.contexts.is_empty()).then(|| (key, words!(generation, spec.contexts)))
}

/// The value of `api-type`, if the name does not tell it.
pub(crate) fn api_type(spec: &Specification) -> Option<&str> {
    let looks_like_a_call = spec.name.strip_prefix("sys_").is_some_and(is_name);
    match &spec.kind {
        ApiKind::Syscall => None,
        ApiKind::Function if !looks_like_a_call => None,
        kind => Some(kind.short()),
    }
}

fn parameter(p: &Parameter, generation: Generation) -> Section {
    let mut b = Build::new("param", &*p.name);
    let flags = (!p.flags.is_empty()).then(|| words!(generation, p.flags));
    match (&p.value_type, flags) {
        (Some(t), Some(flags)) if generation == Generation::Short => {
            b.add("type", Some(format!("{}, {flags}", t.short())));
        }
        (t, flags) => {
            b.add("type", t.as_ref().map(|t| word!(generation, t)));
            b.add("flags", flags);
        }
    }
    b.add("size", p.size.clone());
    let inside = |wanted: ConstraintKind| {
        generation == Generation::Short && p.constraint.as_ref() == Some(&wanted)
    };
    let range = p.range.as_ref().map(|(low, high)| format!("{low}, {high}"));
    let values = (!p.values.is_empty()).then(|| p.values.join(", "));
    // In the newer grammar the values stand with the word, if they belong to it.
    let rows = [
        (ConstraintKind::Range, "range", range),
        (ConstraintKind::Mask, "mask", p.mask.clone()),
        (ConstraintKind::Enum, "valid-values", values),
        (ConstraintKind::Alignment, "alignment", p.alignment.clone()),
        (ConstraintKind::Buffer, "size-param", p.size_param.clone()),
    ];
    let (with, apart): (Vec<_>, Vec<_>) =
        rows.into_iter().partition(|(kind, _, value)| value.is_some() && inside(kind.clone()));
    b.add(
        "constraint-type",
        p.constraint.as_ref().map(|kind| match with.first() {
            Some((_, _, Some(value))) => format!("{}({value})", kind.short()),
            _ => word!(generation, kind),
        }),
    );
    let rule = match generation {
        Generation::Short => "cdesc",
        Generation::Constants => "constraint",
    };
    b.add(rule, p.rule.clone());
    for (_, key, value) in apart {
        b.add(key, value);
    }
    for (architecture, bits) in &p.arch_masks {
        b.add("arch-mask", Some(format!("{architecture} = {bits}")));
    }
    b.add("struct-type", p.struct_type.clone());
    b.add("desc", p.description.clone());
    b.finish(&p.common)
}

fn returns(r: &Returns, generation: Generation) -> Section {
    let mut b = Build::new("return", "");
    b.add("type", r.value_type.as_ref().map(|t| word!(generation, t)));
    b.add("check-type", r.check.as_ref().map(|c| word!(generation, c)));
    b.add("success", r.success.clone());
    b.add("success-range", r.success_range.as_ref().map(|(low, high)| format!("{low}, {high}")));
    b.list("error-values", &r.error_values);
    b.add("desc", r.description.clone());
    b.finish(&r.common)
}

fn error(e: &ErrorCase, generation: Generation) -> Section {
    let header = match &e.summary {
        Some(summary) => format!("{}, {summary}", e.name),
        None => e.name.clone(),
    };
    let mut b = Build::new("error", header);
    b.add("desc", e.description.clone());
    b.add("condition", e.condition.clone());
    b.add("where", e.surface.as_ref().map(|s| word!(generation, s)));
    b.finish(&e.common)
}

fn lock(l: &Lock, generation: Generation) -> Section {
    let mut b = Build::new("lock", &*l.name);
    b.add("type", l.kind.as_ref().map(|k| word!(generation, k)));
    b.add("scope", l.scope.clone());
    b.flag("acquired", l.acquired);
    b.flag("released", l.released);
    b.flag("held-on-entry", l.held_on_entry);
    b.flag("held-on-exit", l.held_on_exit);
    b.add("desc", l.description.clone());
    b.finish(&l.common)
}

fn signal(s: &Signal, generation: Generation) -> Section {
    let mut b = Build::new("signal", &*s.name);
    b.add("number", s.number.clone());
    let direction = (!s.direction.is_empty()).then(|| words!(generation, s.direction));
    b.add("direction", direction);
    b.add("action", s.action.as_ref().map(|a| word!(generation, a)));
    b.add("transform-to", s.transform_to.clone());
    b.add("condition", s.condition.clone());
    b.add("desc", s.description.clone());
    let error = match generation {
        Generation::Short => "errno",
        Generation::Constants => "error",
    };
    b.add(error, s.error.clone());
    b.add("timing", s.timing.as_ref().map(|t| word!(generation, t)));
    b.add("priority", s.priority.clone());
    b.flag("restartable", s.restartable);
    b.flag("interruptible", s.interruptible);
    b.add("target", s.target.clone());
    b.add("queue", s.queue.clone());
    b.0.fields.extend(s.masks.iter().cloned());
    b.finish(&s.common)
}

fn side_effect(s: &SideEffect, generation: Generation) -> Section {
    let effects: Vec<String> = s.effects.iter().map(|e| word!(generation, e)).collect();
    let mut b = Build::new("side-effect", effects.join(" | "));
    b.add("target", s.target.clone());
    b.add("desc", s.description.clone());
    b.add("condition", s.condition.clone());
    b.flag("reversible", s.reversible);
    b.finish(&s.common)
}

fn transition(t: &Transition) -> Section {
    // A name with commas would be taken for the flat form.
    let flat = t.from.is_none() && t.to.is_none() && t.object.matches(',').count() >= 2;
    let mut b = Build::new("state-trans", if flat { "" } else { &*t.object });
    b.add("object", flat.then(|| t.object.clone()));
    b.add("from", t.from.clone());
    b.add("to", t.to.clone());
    b.add("condition", t.condition.clone());
    b.add("desc", t.description.clone());
    b.finish(&t.common)
}

fn capability(c: &Capability, generation: Generation) -> Section {
    let action = c.action.as_ref().map(|a| word!(generation, a));
    let mut b = match &c.label {
        // Only the flat form has room for the label.
        Some(label) => {
            let action = action.unwrap_or_default();
            Build::new("capability", format!("{}, {action}, {label}", c.name))
        }
        None => {
            let mut b = Build::new("capability", &*c.name);
            b.add("type", action);
            b
        }
    };
    b.add("allows", c.allows.clone());
    b.add("without", c.without.clone());
    b.add("condition", c.condition.clone());
    b.add("priority", c.priority.clone());
    b.add("desc", c.description.clone());
    b.finish(&c.common)
}

fn constraint(c: &Constraint) -> Section {
    let mut b = Build::new("constraint", &*c.name);
    b.add("desc", c.description.clone());
    b.add("expr", c.expression.clone());
    b.finish(&c.common)
}
