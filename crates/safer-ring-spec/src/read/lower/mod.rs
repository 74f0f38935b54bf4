//! From sections to the model. Whatever has no place there is kept as it was written, with a finding.

mod fields;

use crate::diagnostic::{Findings, Place};
use crate::grammar::{LIMITS, SIGNAL_MASKS, is_name, is_parameter, split_list};
use crate::model::{
    ApiKind, Capability, CapabilityAction, Constraint, Context, Effect, ErrorCase, Field, Lock,
    LockKind, Parameter, Returns, Section, SideEffect, Signal, SignalDirection, Specification,
    Surface, Transition, ValueType,
};
use crate::read::section::{RawSection, RawSpec};
use fields::{Fields, WordList, pair, words};

/// A specification, and the place of each of its statements in the order of `Specification::statements`.
pub(crate) struct Lowered {
    pub(crate) specification: Specification,
    pub(crate) places: Vec<Place>,
}

/// Reads the sections of a candidate that has a title.
pub(crate) fn lower(raw: RawSpec, defines: Option<&str>, findings: &mut Findings) -> Lowered {
    let mut lowering = Lowering::new(&raw, findings);
    lowering.spec.summary = raw.summary;
    lowering.spec.remarks = prose(&raw.remarks.join("\n\n"));
    for mention in raw.mentions {
        let text = Some(mention.value).filter(|text| !text.is_empty());
        let parameter = lowering.parameter(&mention.key, mention.place);
        // A name that is mentioned twice keeps what was said of it, in order.
        parameter.text = match (parameter.text.take(), text) {
            (Some(old), Some(new)) => Some(format!("{old} {new}")),
            (old, new) => old.or(new),
        };
    }
    for section in raw.sections {
        lowering.section(section);
    }
    lowering.finish(raw.place, defines)
}

/// Prose without what an empty line left at its end.
fn prose(text: &str) -> Option<String> {
    let text = text.trim_end();
    (!text.is_empty()).then(|| text.to_owned())
}

struct Lowering<'f> {
    spec: Specification,
    findings: &'f mut Findings,
    /// Places of the statements of each kind.
    parameters: Vec<Place>,
    described: Vec<bool>,
    returns: Option<Place>,
    errors: Vec<Place>,
    locks: Vec<Place>,
    signals: Vec<Place>,
    side_effects: Vec<Place>,
    transitions: Vec<Place>,
    capabilities: Vec<Place>,
    constraints: Vec<Place>,
    /// What `param-count` says, each time that it is given.
    counts: Vec<(RawSection, usize)>,
}

impl<'f> Lowering<'f> {
    fn new(raw: &RawSpec, findings: &'f mut Findings) -> Self {
        let given = raw.sections.iter().find(|section| section.key == "api-type");
        let kind = given.map(|section| ApiKind::read(&section.header));
        let bare = raw.name.strip_prefix("sys_").filter(|name| is_name(name));
        let spec = match (kind, bare) {
            (None | Some(ApiKind::Syscall), Some(bare)) => Specification::syscall(bare),
            (None, None) => Specification::new(&raw.name, ApiKind::Function),
            (Some(kind), _) => Specification::new(&raw.name, kind),
        };
        Self {
            spec,
            findings,
            parameters: Vec::new(),
            described: Vec::new(),
            returns: None,
            errors: Vec::new(),
            locks: Vec::new(),
            signals: Vec::new(),
            side_effects: Vec::new(),
            transitions: Vec::new(),
            capabilities: Vec::new(),
            constraints: Vec::new(),
            counts: Vec::new(),
        }
    }

    /// The parameter of this name; a new one if there is none.
    fn parameter(&mut self, name: &str, place: Place) -> &mut Parameter {
        let index = self.spec.parameters.iter().position(|p| p.name == name).unwrap_or_else(|| {
            let parameter = Parameter { name: name.to_owned(), ..Parameter::default() };
            self.spec.parameters.push(parameter);
            self.parameters.push(place);
            self.described.push(false);
            self.spec.parameters.len() - 1
        });
        // The index is that of an element: it was found, or the element was put there.
        #[expect(clippy::indexing_slicing, reason = "the line above")]
        &mut self.spec.parameters[index]
    }

    fn section(&mut self, section: RawSection) {
        match section.key.as_str() {
            "contexts" | "context-flags" => self.contexts(&section),
            "since-version" => self.since(section),
            "api-type" => self.api_type(&section),
            "param-count" => self.param_count(section),
            "long-desc" => append(&mut self.spec.long, &section.header),
            "notes" => append(&mut self.spec.notes, &section.header),
            "remarks" => append(&mut self.spec.remarks, &section.header),
            "examples" => self.examples(section.lines),
            "return" => self.returns(section),
            "side-effect" => self.side_effect(section),
            "param" | "error" | "lock" | "signal" | "state-trans" | "capability" | "constraint" => {
                self.named(section);
            }
            _ => self.keep(section),
        }
    }

    /// Sections that need a name.
    fn named(&mut self, section: RawSection) {
        let from_field = section.key == "state-trans"
            && section.fields.iter().any(|f| f.key == "object" && !f.value.is_empty());
        if section.header.is_empty() && !from_field {
            let expected = match section.key.as_str() {
                "error" => "the error and its cause: `error: EINVAL, The length is 0`",
                "param" => "the name of a parameter: `param: fd`",
                _ => "a name behind the colon",
            };
            self.findings.error(section.place, format!("`{}:` of nothing", section.key), expected);
            return self.keep(section);
        }
        match section.key.as_str() {
            "param" => self.param(section),
            "error" => self.error(section),
            "lock" => self.lock(section),
            "signal" => self.signal(section),
            "state-trans" => self.transition(section),
            "capability" => self.capability(section),
            _ => self.constraint(section),
        }
    }

    fn keep(&mut self, section: RawSection) {
        let field = |f: crate::read::section::RawField| Field { key: f.key, value: f.value };
        self.spec.unknown.push(Section {
            key: section.key,
            header: section.header,
            fields: section.fields.into_iter().map(field).collect(),
        });
    }

    fn contexts(&mut self, section: &RawSection) {
        let contexts: Vec<Context> = words(&section.header, section.place, self.findings);
        for context in contexts {
            if !self.spec.contexts.contains(&context) {
                self.spec.contexts.push(context);
            }
        }
    }

    fn since(&mut self, section: RawSection) {
        if self.spec.since.is_none() && !section.header.is_empty() {
            self.spec.since = Some(section.header);
        } else {
            let message = "`since-version:` is given twice, or says nothing";
            self.findings.warning(section.place, message, "one version: `since-version: 5.1`");
            self.keep(section);
        }
    }

    fn api_type(&mut self, section: &RawSection) {
        if !ApiKind::read(&section.header).is_known() {
            let message = format!("`{}` is no kind of interface that is known", section.header);
            self.findings.warning(section.place, message, &ApiKind::list());
        }
    }

    fn param_count(&mut self, section: RawSection) {
        match section.header.parse() {
            Ok(count) => self.counts.push((section, count)),
            Err(_) => {
                let message = "`param-count:` is no number";
                self.findings.warning(section.place, message, "a number");
                self.keep(section);
            }
        }
    }

    fn examples(&mut self, mut lines: Vec<String>) {
        while lines.last().is_some_and(|line| line.trim().is_empty()) {
            lines.pop();
        }
        self.spec.examples.append(&mut lines);
    }

    fn param(&mut self, section: RawSection) {
        let name = section.header.clone();
        if !is_parameter(&name) {
            let message = format!("`{name}` cannot be the name of a parameter");
            self.findings.error(section.place, message, "letters, digits and underscores");
            return self.keep(section);
        }
        let known = self.spec.parameters.iter().position(|p| p.name == name);
        let described = known.and_then(|index| self.described.get(index)).copied();
        if described == Some(true) {
            let message = format!("the parameter `{name}` is described twice");
            self.findings.warning(section.place, message, "one `param:` for each parameter");
            return self.keep(section);
        }
        let mut f = Fields::new(&section, self.findings);
        let (value_type, mut flags) = f.type_and_flags();
        f.flags(&mut flags);
        let mut read = Parameter { value_type, flags, ..Parameter::default() };
        read.size = f.text(&["size"]);
        f.constraint_type(&mut read);
        read.rule = f.text(&["constraint", "cdesc"]);
        if read.range.is_none() {
            read.range = f.pair("range");
        }
        if read.mask.is_none() {
            read.mask = f.filled(&["mask", "valid-mask"]);
        }
        if read.values.is_empty() {
            read.values = f.list("valid-values");
        }
        if read.alignment.is_none() {
            read.alignment = f.filled(&["alignment"]);
        }
        if read.size_param.is_none() {
            read.size_param = f.filled(&["size-param"]);
        }
        read.arch_masks = f.arch_masks();
        read.struct_type = f.text(&["struct-type"]);
        read.description = f.text(&["desc", "description"]);
        read.common = f.common();
        let place = section.place;
        let parameter = self.parameter(&name, place);
        read.name = std::mem::take(&mut parameter.name);
        read.text = parameter.text.take();
        *parameter = read;
        let index = self.spec.parameters.iter().position(|p| p.name == name);
        if let Some(described) = index.and_then(|index| self.described.get_mut(index)) {
            *described = true;
        }
        if let Some(known) = index.and_then(|index| self.parameters.get_mut(index)) {
            *known = place;
        }
    }

    fn returns(&mut self, section: RawSection) {
        if self.spec.returns.is_some() {
            let message = "`return:` is given twice";
            self.findings.warning(section.place, message, "one `return:`");
            return self.keep(section);
        }
        let mut f = Fields::new(&section, self.findings);
        let described = f.text(&["desc", "description"]);
        let header = Some(section.header.clone()).filter(|text| !text.is_empty());
        let returns = Returns {
            value_type: f.word("type"),
            check: f.word("check-type"),
            success: f.text(&["success"]),
            success_range: f.pair("success-range"),
            error_values: f.list("error-values"),
            description: match (header, described) {
                (Some(header), Some(described)) => {
                    Some(format!("{header} {described}").trim_end().to_owned())
                }
                (header, described) => header.or(described),
            },
            common: f.common(),
        };
        self.spec.returns = Some(returns);
        self.returns = Some(section.place);
    }

    fn error(&mut self, section: RawSection) {
        let (name, summary) = match section.header.split_once(',') {
            Some((name, summary)) if !name.trim().is_empty() => {
                (name.trim(), Some(summary.trim().to_owned()))
            }
            _ => (section.header.as_str(), None),
        };
        let code = name.strip_prefix('-').unwrap_or(name);
        let letters = code.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit());
        if !(code.starts_with('E') && letters) {
            let message = format!("`{name}` does not name an error; it is kept");
            self.findings.note(section.place, message, "a name such as EINVAL");
        }
        let name = name.to_owned();
        let mut f = Fields::new(&section, self.findings);
        let case = ErrorCase {
            name,
            summary: summary.filter(|text| !text.is_empty()),
            description: f.text(&["desc", "description"]),
            condition: f.text(&["condition"]),
            surface: f.word::<Surface>("where"),
            common: f.common(),
        };
        self.spec.errors.push(case);
        self.errors.push(section.place);
    }

    fn lock(&mut self, section: RawSection) {
        let mut f = Fields::new(&section, self.findings);
        let given: Option<LockKind> = f.word("type");
        // The flat form has the kind behind the last comma.
        let flat = section.header.rsplit_once(',').filter(|_| given.is_none());
        let flat = flat.map(|(name, kind)| (name.trim(), LockKind::read(kind)));
        let (name, kind) = match flat {
            Some((name, kind)) if kind.is_known() && !name.is_empty() => (name, Some(kind)),
            _ => (section.header.as_str(), given),
        };
        let lock = Lock {
            name: name.to_owned(),
            kind,
            scope: f.text(&["scope"]),
            acquired: f.flag("acquired"),
            released: f.flag("released"),
            held_on_entry: f.flag("held-on-entry"),
            held_on_exit: f.flag("held-on-exit"),
            description: f.text(&["desc", "description"]),
            common: f.common(),
        };
        self.spec.locks.push(lock);
        self.locks.push(section.place);
    }

    fn signal(&mut self, section: RawSection) {
        let mut f = Fields::new(&section, self.findings);
        let signal = Signal {
            name: section.header.clone(),
            number: f.text(&["number"]),
            direction: f.words::<SignalDirection>("direction"),
            action: f.word("action"),
            transform_to: f.text(&["transform-to"]),
            condition: f.text(&["condition"]),
            description: f.text(&["desc", "description"]),
            error: f.text(&["errno", "error"]),
            timing: f.word("timing"),
            priority: f.text(&["priority"]),
            restartable: f.flag("restartable"),
            interruptible: f.flag("interruptible"),
            target: f.text(&["target"]),
            queue: f.text(&["queue"]),
            masks: SIGNAL_MASKS
                .iter()
                .filter_map(|&key| Some(Field { key: key.to_owned(), value: f.text(&[key])? }))
                .collect(),
            common: f.common(),
        };
        self.spec.signals.push(signal);
        self.signals.push(section.place);
    }

    fn side_effect(&mut self, section: RawSection) {
        let mut parts = section.header.splitn(3, ',').map(|part| part.trim().to_owned());
        let kinds = parts.next().unwrap_or_default();
        let rest: Vec<String> = parts.collect();
        // Commas also stand between effects; what follows a comma is a target only if it is no effect.
        let flat = rest.first().is_some_and(|word| !Effect::read(word).is_known());
        let kinds = if flat { kinds } else { section.header.clone() };
        let effects: Vec<Effect> = words(&kinds, section.place, self.findings);
        if effects.is_empty() {
            let message = "`side-effect:` without an effect";
            self.findings.error(section.place, message, &Effect::list());
            return self.keep(section);
        }
        let mut f = Fields::new(&section, self.findings);
        let (mut target, mut description) = (f.text(&["target"]), f.text(&["desc", "description"]));
        if flat {
            let mut rest = rest.into_iter().filter(|part| !part.is_empty());
            let first = rest.next();
            target = target.or(first);
            description = description.or_else(|| rest.next());
        }
        let effect = SideEffect {
            effects,
            target,
            description,
            condition: f.text(&["condition"]),
            reversible: f.flag("reversible"),
            common: f.common(),
        };
        self.spec.side_effects.push(effect);
        self.side_effects.push(section.place);
    }

    fn transition(&mut self, section: RawSection) {
        let mut f = Fields::new(&section, self.findings);
        let object = if section.header.is_empty() { f.text(&["object"]) } else { None };
        let mut transition = Transition {
            from: f.text(&["from"]),
            to: f.text(&["to"]),
            condition: f.text(&["condition"]),
            description: f.text(&["desc", "description"]),
            common: f.common(),
            ..Transition::default()
        };
        let bare = transition.from.is_none() && transition.to.is_none() && object.is_none();
        let flat: Vec<&str> = section.header.splitn(4, ',').map(str::trim).collect();
        match flat.as_slice() {
            [object, from, to, rest @ ..] if bare && !object.is_empty() => {
                transition.object = (*object).to_owned();
                transition.from = Some((*from).to_owned());
                transition.to = Some((*to).to_owned());
                let described = rest.first().map(|text| (*text).to_owned());
                transition.description = transition.description.or(described);
            }
            _ => transition.object = object.unwrap_or_else(|| section.header.clone()),
        }
        self.spec.transitions.push(transition);
        self.transitions.push(section.place);
    }

    fn capability(&mut self, section: RawSection) {
        let mut f = Fields::new(&section, self.findings);
        let given: Option<CapabilityAction> = f.word("type");
        // The flat form has the action behind the first comma, and a name behind the second.
        let parts: Vec<&str> = section.header.splitn(3, ',').map(str::trim).collect();
        let flat = given.is_none() && parts.first().is_some_and(|name| !name.is_empty());
        let (name, action, label) = match parts.as_slice() {
            [name, action] if flat => (*name, filled(action), None),
            [name, action, label] if flat => (*name, filled(action), filled(label)),
            _ => (section.header.as_str(), None, None),
        };
        let capability = Capability {
            name: name.to_owned(),
            action: given.or_else(|| action.map(CapabilityAction::read)),
            label: label.map(str::to_owned),
            allows: f.text(&["allows"]),
            without: f.text(&["without"]),
            condition: f.text(&["condition"]),
            priority: f.text(&["priority"]),
            description: f.text(&["desc", "description"]),
            common: f.common(),
        };
        self.spec.capabilities.push(capability);
        self.capabilities.push(section.place);
    }

    fn constraint(&mut self, section: RawSection) {
        let mut f = Fields::new(&section, self.findings);
        let described = f.text(&["desc", "description"]);
        // The flat form has the description behind the first comma.
        let (name, description) = match section.header.split_once(',') {
            Some((name, text)) if described.is_none() && !name.trim().is_empty() => {
                (name.trim().to_owned(), filled(text.trim()).map(str::to_owned))
            }
            _ => (section.header.clone(), described),
        };
        let constraint =
            Constraint { name, description, expression: f.text(&["expr"]), common: f.common() };
        self.spec.constraints.push(constraint);
        self.constraints.push(section.place);
    }

    fn finish(mut self, title: Place, defines: Option<&str>) -> Lowered {
        let found = self.spec.parameters.len();
        let counts = std::mem::take(&mut self.counts);
        // One that is right says nothing new; all others are kept.
        if counts.len() > 1 || counts.iter().any(|(_, count)| *count != found) {
            for (section, count) in counts {
                let message =
                    format!("`param-count:` says {count}, and there are {found} parameters");
                self.findings.warning(section.place, message, &found.to_string());
                self.keep(section);
            }
        }
        if let Some(defined) = defines.filter(|defined| *defined != self.spec.name) {
            let message =
                format!("the comment is of `{}`, the code of `{defined}`", self.spec.name);
            self.findings.warning(title, message, &format!("`sys_{defined}`"));
        }
        let lists: [(&str, &[Place]); 4] = [
            ("param", &self.parameters),
            ("error", &self.errors),
            ("signal", &self.signals),
            ("capability", &self.capabilities),
        ];
        for (key, limit) in LIMITS {
            let list =
                lists.iter().find(|(name, _)| name == key).map_or(&[][..], |(_, list)| *list);
            if let Some(&place) = list.get(*limit) {
                let message = format!("the kernel's own structures hold {limit} of `{key}:`");
                self.findings.note(place, message, "");
            }
        }
        let mut places = self.parameters;
        places.extend(self.returns);
        for list in [
            self.errors,
            self.locks,
            self.signals,
            self.side_effects,
            self.transitions,
            self.capabilities,
            self.constraints,
        ] {
            places.extend(list);
        }
        Lowered { specification: self.spec, places }
    }
}

/// Adds prose to prose, as another paragraph.
fn append(to: &mut Option<String>, text: &str) {
    if let Some(text) = prose(text) {
        *to = Some(match to.take() {
            Some(old) => format!("{old}\n\n{text}"),
            None => text,
        });
    }
}

/// Reads `type`, which in the newer grammar has the flags behind it.
fn type_and_flags(value: &str) -> (Option<ValueType>, Vec<&str>) {
    let mut parts = value.split([',', '|']).map(str::trim).filter(|part| !part.is_empty());
    (parts.next().map(ValueType::read), parts.collect())
}

/// Reads `range(a, b)` and its like: the word, and what is in the parentheses.
fn call(value: &str) -> (&str, Option<&str>) {
    let parts = value.strip_suffix(')').and_then(|rest| rest.split_once('('));
    parts.map_or((value, None), |(word, inside)| (word.trim(), Some(inside.trim())))
}

/// A text that is not empty.
fn filled(text: &str) -> Option<&str> {
    Some(text).filter(|text| !text.is_empty())
}

/// Two values with a comma between them.
fn two(value: &str) -> Option<(String, String)> {
    let parts = split_list(value);
    let [low, high] = parts.as_slice() else { return None };
    pair(low, high)
}
