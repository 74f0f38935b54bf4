//! The change itself: what the rules say about the three calls, and what has to be different.
//!
//! Of two rules for one call, which holds depends on the runtime. So a rule that blocks one of the three loses that name,
//! wherever it stands and whatever its conditions. A rule that allows under conditions is left alone, and one without
//! conditions is added.

use serde_json::{Map, Value, json};

use super::{CALLS, ProfileError};

/// What becomes of a call under an action.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Effect {
    /// It runs.
    Allows,
    /// It fails, or the process ends.
    Blocks,
    /// A tracer or a supervisor is asked.
    Asks,
}

/// One rule as far as it matters here.
#[derive(Debug)]
struct Rule {
    /// Which of [`CALLS`] it names.
    named: [bool; CALLS.len()],
    effect: Effect,
    /// It holds for some arguments, privileges, architectures or kernels only.
    conditional: bool,
}

/// Allows the three calls. Whether anything had to be changed for that.
///
/// # Errors
/// The profile has not the shape of one, or leaves a call to a supervisor. It is then unchanged.
pub(super) fn allow(profile: &mut Map<String, Value>) -> Result<bool, ProfileError> {
    let default = effect(text(profile.get("defaultAction"), "defaultAction")?, "defaultAction")?;
    let rules: &[Value] = match profile.get("syscalls") {
        None | Some(Value::Null) => &[],
        Some(Value::Array(rules)) => rules,
        Some(_) => return Err(shape("\"syscalls\" is not a list")),
    };
    let read: Vec<Rule> =
        rules.iter().enumerate().map(|(at, rule)| read(at, rule)).collect::<Result<_, _>>()?;
    refuse_delegated(rules, &read)?;

    let allowed = |call: usize| {
        let by_rule =
            |rule: &Rule| names(rule, call) && rule.effect == Effect::Allows && !rule.conditional;
        default == Effect::Allows || read.iter().any(by_rule)
    };
    let missing: Vec<&str> = (0..CALLS.len())
        .filter(|&call| !allowed(call))
        .filter_map(|call| CALLS.get(call).copied())
        .collect();
    let blocks = |rule: &Rule| rule.effect == Effect::Blocks && rule.named.contains(&true);
    if missing.is_empty() && !read.iter().any(blocks) {
        return Ok(false);
    }

    let mut rules = match profile.get_mut("syscalls").map(Value::take) {
        Some(Value::Array(rules)) => rules,
        _ => Vec::new(),
    };
    let mut at = read.iter();
    rules.retain_mut(|rule| !at.next().is_some_and(blocks) || lose(rule));
    if !missing.is_empty() {
        rules.push(json!({ "names": missing, "action": "SCMP_ACT_ALLOW" }));
    }
    // In place if the key is there: the order of the keys stays.
    profile.insert("syscalls".to_owned(), Value::Array(rules));
    Ok(true)
}

fn names(rule: &Rule, call: usize) -> bool {
    rule.named.get(call).copied().unwrap_or(false)
}

/// Takes the three names out of a rule. Whether one is left: a rule must name at least one call.
fn lose(rule: &mut Value) -> bool {
    let Some(names) = rule.get_mut("names").and_then(Value::as_array_mut) else {
        // The old form: its one name is one of the three.
        return false;
    };
    names.retain(|name| !name.as_str().is_some_and(|name| CALLS.contains(&name)));
    !names.is_empty()
}

fn refuse_delegated(rules: &[Value], read: &[Rule]) -> Result<(), ProfileError> {
    for (at, (rule, value)) in read.iter().zip(rules).enumerate() {
        let call = CALLS.iter().zip(rule.named).find(|(_, named)| *named);
        if let (Effect::Asks, Some((call, _))) = (rule.effect, call) {
            let action = text(value.get("action"), "action")?.to_owned();
            return Err(ProfileError::Delegated { call, action, rule: at });
        }
    }
    Ok(())
}

/// Reads the rule at a place.
fn read(at: usize, rule: &Value) -> Result<Rule, ProfileError> {
    let place = |key: &str| format!("syscalls[{at}].{key}");
    let Value::Object(members) = rule else {
        return Err(shape(&format!("syscalls[{at}] is not an object")));
    };
    let mut named = [false; CALLS.len()];
    let mut see = |name: &str| {
        for (slot, call) in named.iter_mut().zip(CALLS) {
            *slot |= call == name;
        }
    };
    match (members.get("names"), members.get("name")) {
        (Some(Value::Array(names)), _) => {
            for name in names {
                see(text(Some(name), &place("names[..]"))?);
            }
        }
        (None | Some(Value::Null), Some(name)) => see(text(Some(name), &place("name"))?),
        (None | Some(Value::Null), None) => {
            return Err(shape(&format!("{} is missing", place("names"))));
        }
        (Some(_), _) => return Err(shape(&format!("{} is not a list", place("names")))),
    }
    let action = place("action");
    let effect = effect(text(members.get("action"), &action)?, &action)?;
    let filled = |key: &str| members.get(key).is_some_and(is_filled);
    let conditional = ["args", "includes", "excludes"].into_iter().any(filled);
    Ok(Rule { named, effect, conditional })
}

/// Whether a condition says anything: `null`, `[]`, `{}` and `{"caps": []}` do not.
fn is_filled(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Array(items) => !items.is_empty(),
        Value::Object(members) => members.values().any(is_filled),
        Value::String(text) => !text.is_empty(),
        _ => true,
    }
}

/// The actions of the runtime specification.
fn effect(action: &str, place: &str) -> Result<Effect, ProfileError> {
    match action {
        "SCMP_ACT_ALLOW" | "SCMP_ACT_LOG" => Ok(Effect::Allows),
        "SCMP_ACT_ERRNO"
        | "SCMP_ACT_KILL"
        | "SCMP_ACT_KILL_THREAD"
        | "SCMP_ACT_KILL_PROCESS"
        | "SCMP_ACT_TRAP" => Ok(Effect::Blocks),
        "SCMP_ACT_TRACE" | "SCMP_ACT_NOTIFY" => Ok(Effect::Asks),
        other => Err(shape(&format!("{place} is \"{other}\", which is no action of seccomp"))),
    }
}

fn text<'v>(value: Option<&'v Value>, place: &str) -> Result<&'v str, ProfileError> {
    value.and_then(Value::as_str).ok_or_else(|| shape(&format!("{place} is not a string")))
}

fn shape(reason: &str) -> ProfileError {
    ProfileError::Shape(reason.to_owned())
}
