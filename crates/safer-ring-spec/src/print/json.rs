//! The shape of the kernel's own tool: `{"api_details": {..}}`, with the kernel's numbers for its words. What is not
//! there is left out, and so is what has no number.

use serde_json::{Map, Value, json};

use crate::model::{
    Capability, Constraint, ErrorCase, Lock, Parameter, Returns, SideEffect, Signal, Specification,
    Transition, ValueType,
};
use crate::number::{capability, errno, number};

pub(super) fn render(spec: &Specification) -> String {
    // A value of strings, numbers and lists can always be written.
    let mut text = serde_json::to_string_pretty(&value(spec)).unwrap_or_default();
    text.push('\n');
    text
}

/// A list of interfaces, as the kernel's tool gives it when no name is asked for.
#[must_use]
pub fn list(specs: &[Specification]) -> Value {
    let api =
        |spec: &Specification| json!({"name": spec.full_name(), "api_type": spec.kind.short()});
    json!({"apis": specs.iter().map(api).collect::<Vec<_>>()})
}

/// One specification.
#[must_use]
pub fn value(spec: &Specification) -> Value {
    let contexts: Vec<String> = spec.contexts.iter().map(|c| c.constant()).collect();
    let examples = (!spec.examples.is_empty()).then(|| spec.examples.join("\n"));
    let details = object([
        ("name", json!(spec.full_name())),
        ("description", json!(spec.summary)),
        ("long_description", json!(spec.long)),
        ("since_version", json!(spec.since)),
        ("context_flags", json!(contexts)),
        ("examples", json!(examples)),
        ("notes", json!(spec.notes)),
        ("capabilities", capabilities(spec)),
        ("state_transitions", transitions(spec)),
        ("side_effects", side_effects(spec)),
        ("parameters", spec.parameters.iter().enumerate().map(parameter).collect()),
        ("return_spec", spec.returns.as_ref().map_or(Value::Null, returns)),
        ("errors", errors(spec)),
        ("locks", locks(spec)),
        ("signals", spec.signals.iter().map(signal).collect()),
        ("constraints", constraints(spec)),
    ]);
    json!({"api_details": details})
}

/// An object without what is not there.
fn object<const N: usize>(entries: [(&str, Value); N]) -> Value {
    let there = |value: &Value| match value {
        Value::Null => false,
        Value::Array(list) => !list.is_empty(),
        _ => true,
    };
    let entries = entries.into_iter().filter(|(_, value)| there(value));
    Value::Object(entries.map(|(key, value)| (key.to_owned(), value)).collect::<Map<_, _>>())
}

/// The bits of words of which several may hold; of those that have one.
fn bits(numbers: impl Iterator<Item = Option<u32>>) -> u32 {
    numbers.flatten().fold(0, |all, bit| all | bit)
}

/// A number of 64 bits as JSON has it.
fn whole(text: &str) -> Value {
    let value = number(text);
    let signed = value.and_then(|value| i64::try_from(value).ok()).map(Value::from);
    let unsigned = value.and_then(|value| u64::try_from(value).ok()).map(Value::from);
    signed.or(unsigned).unwrap_or(Value::Null)
}

fn parameter((index, p): (usize, &Parameter)) -> Value {
    let description = p.text.as_ref().or(p.description.as_ref());
    let type_name = p.struct_type.clone().or_else(|| p.value_type.as_ref().map(|t| t.to_string()));
    let bound = |bound: fn(&(String, String)) -> &String| {
        p.range.as_ref().map_or(Value::Null, |range| whole(bound(range)))
    };
    object([
        ("index", json!(index)),
        ("name", json!(p.name)),
        ("type_name", json!(type_name)),
        ("description", json!(description)),
        ("flags", json!(bits(p.flags.iter().map(|f| f.number())))),
        ("param_type", json!(p.value_type.as_ref().and_then(ValueType::number))),
        ("constraint_type", json!(p.constraint.as_ref().and_then(|c| c.number()))),
        ("constraint", json!(p.rule)),
        ("min_value", bound(|(low, _)| low)),
        ("max_value", bound(|(_, high)| high)),
        ("valid_mask", p.mask.as_deref().map_or(Value::Null, whole)),
        ("enum_values", json!(p.values)),
        ("size", p.size.as_deref().map_or(Value::Null, whole)),
        ("alignment", p.alignment.as_deref().map_or(Value::Null, whole)),
        ("size_param_idx", p.size_param.as_deref().map_or(Value::Null, whole)),
    ])
}

fn returns(r: &Returns) -> Value {
    let success = r.success.as_deref().map(str::trim);
    let least = success.and_then(|text| text.strip_prefix(">="));
    let exact = success.map(|text| text.trim_start_matches('='));
    let range = r.success_range.as_ref();
    let error_values: Vec<Value> = r.error_values.iter().map(|value| whole(value)).collect();
    object([
        ("type_name", json!(r.value_type.as_ref().map(|t| t.to_string()))),
        ("description", json!(r.description)),
        ("return_type", json!(r.value_type.as_ref().and_then(ValueType::number))),
        ("check_type", json!(r.check.as_ref().and_then(|c| c.number()))),
        ("success_value", exact.map_or(Value::Null, whole)),
        ("success_min", least.or(range.map(|(low, _)| low.as_str())).map_or(Value::Null, whole)),
        ("success_max", range.map_or(Value::Null, |(_, high)| whole(high))),
        ("error_values", error_values.into_iter().filter(|v| !v.is_null()).collect()),
    ])
}

fn errors(spec: &Specification) -> Value {
    let error = |e: &ErrorCase| {
        object([
            ("error_code", json!(errno(&e.name).map(|number| -number))),
            ("name", json!(e.name)),
            ("condition", json!(e.condition.as_ref().or(e.summary.as_ref()))),
            ("description", json!(e.description.as_ref().or(e.summary.as_ref()))),
        ])
    };
    spec.errors.iter().map(error).collect()
}

fn locks(spec: &Specification) -> Value {
    let lock = |l: &Lock| {
        object([
            ("lock_name", json!(l.name)),
            ("lock_type", json!(l.kind.as_ref().and_then(|k| k.number()))),
            ("acquired", json!(l.acquired.unwrap_or(false))),
            ("released", json!(l.released.unwrap_or(false))),
            ("held_on_entry", json!(l.held_on_entry.unwrap_or(false))),
            ("held_on_exit", json!(l.held_on_exit.unwrap_or(false))),
            ("description", json!(l.description)),
        ])
    };
    spec.locks.iter().map(lock).collect()
}

fn signal(s: &Signal) -> Value {
    let error = s.error.as_deref().and_then(|text| text.split_whitespace().next());
    let error = error.map(|word| word.trim_start_matches('-')).and_then(errno);
    object([
        ("signal_name", json!(s.name)),
        ("direction", json!(bits(s.direction.iter().map(|d| d.number())))),
        ("action", json!(s.action.as_ref().and_then(|a| a.number()))),
        ("target", json!(s.target)),
        ("condition", json!(s.condition)),
        ("description", json!(s.description)),
        ("timing", json!(s.timing.as_ref().and_then(|t| t.number()))),
        ("priority", s.priority.as_deref().map_or(Value::Null, whole)),
        ("restartable", json!(s.restartable.unwrap_or(false))),
        ("interruptible", json!(s.interruptible.unwrap_or(false))),
        ("queue", json!(s.queue)),
        ("error_on_signal", json!(error.map(|number| -number))),
    ])
}

fn side_effects(spec: &Specification) -> Value {
    let effect = |s: &SideEffect| {
        object([
            ("effect_type", json!(bits(s.effects.iter().map(|e| e.number())))),
            ("target", json!(s.target)),
            ("condition", json!(s.condition)),
            ("description", json!(s.description)),
            ("reversible", json!(s.reversible.unwrap_or(false))),
        ])
    };
    spec.side_effects.iter().map(effect).collect()
}

fn transitions(spec: &Specification) -> Value {
    let transition = |t: &Transition| {
        object([
            ("object", json!(t.object)),
            ("from_state", json!(t.from)),
            ("to_state", json!(t.to)),
            ("condition", json!(t.condition)),
            ("description", json!(t.description)),
        ])
    };
    spec.transitions.iter().map(transition).collect()
}

fn capabilities(spec: &Specification) -> Value {
    let one = |c: &Capability| {
        object([
            ("capability", json!(capability(&c.name))),
            ("name", json!(c.label.as_ref().unwrap_or(&c.name))),
            ("action", json!(c.action.as_ref().map(|a| a.short()))),
            ("allows", json!(c.allows)),
            ("without_cap", json!(c.without)),
            ("check_condition", json!(c.condition)),
            ("priority", c.priority.as_deref().map_or(Value::Null, whole)),
        ])
    };
    spec.capabilities.iter().map(one).collect()
}

fn constraints(spec: &Specification) -> Value {
    let constraint = |c: &Constraint| {
        object([
            ("name", json!(c.name)),
            ("description", json!(c.description)),
            ("expression", json!(c.expression)),
        ])
    };
    spec.constraints.iter().map(constraint).collect()
}
