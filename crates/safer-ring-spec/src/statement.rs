//! The statements of a specification, one by one, each with a name that does not depend on where it stands.

use std::collections::HashSet;

use crate::model::{Common, Specification, Surface};

/// Of what kind a statement is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum StatementKind {
    /// A parameter.
    Parameter,
    /// What is returned.
    Return,
    /// A way to fail.
    Error,
    /// A lock.
    Lock,
    /// A signal.
    Signal,
    /// A change besides.
    SideEffect,
    /// A change of state.
    Transition,
    /// A capability.
    Capability,
    /// Something else that holds.
    Constraint,
}

impl StatementKind {
    /// The key of the grammar: `error`, `side-effect`.
    #[must_use]
    pub fn key(self) -> &'static str {
        match self {
            Self::Parameter => "param",
            Self::Return => "return",
            Self::Error => "error",
            Self::Lock => "lock",
            Self::Signal => "signal",
            Self::SideEffect => "side-effect",
            Self::Transition => "state-trans",
            Self::Capability => "capability",
            Self::Constraint => "constraint",
        }
    }
}

/// One statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement<'a> {
    /// Its name: the `id` of the text, or one derived from call, key, name and the first words, which stays the
    /// same while those do.
    pub id: String,
    /// Its kind.
    pub kind: StatementKind,
    /// What it is about: the parameter, the error, the capability.
    pub name: &'a str,
    /// The statement in words, in one line.
    pub text: String,
    /// Where an error is seen; of other statements [`Surface::Return`].
    pub surface: Surface,
    /// What each statement can have.
    pub common: &'a Common,
}

impl Statement<'_> {
    /// Whether a program is expected to show that it holds: nothing says why not, and no other statement says the
    /// same.
    #[must_use]
    pub fn wants_probe(&self) -> bool {
        self.common.untestable.is_none() && self.common.covered_by.is_empty()
    }
}

/// How many words of a text go into a derived name.
const WORDS: usize = 6;

impl Specification {
    /// All statements, in the order of the sections.
    #[must_use]
    pub fn statements(&self) -> Vec<Statement<'_>> {
        let mut list =
            Collector { call: &self.name, taken: HashSet::new(), statements: Vec::new() };
        // Names that are given come first, so that a derived one never takes theirs.
        for common in self.commons() {
            list.taken.extend(common.id.clone());
        }
        for p in &self.parameters {
            let text = joined(&[&p.text, &p.rule, &p.description]);
            list.push(StatementKind::Parameter, &p.name, text, &p.common);
        }
        if let Some(r) = &self.returns {
            let text = joined(&[&r.success, &r.description]);
            list.push(StatementKind::Return, "return", text, &r.common);
        }
        for e in &self.errors {
            let text = joined(&[&e.summary, &e.condition, &e.description]);
            list.push(StatementKind::Error, &e.name, text, &e.common);
            if let (Some(statement), Some(surface)) = (list.statements.last_mut(), &e.surface) {
                statement.surface = surface.clone();
            }
        }
        for l in &self.locks {
            list.push(StatementKind::Lock, &l.name, joined(&[&l.description]), &l.common);
        }
        for s in &self.signals {
            let text = joined(&[&s.condition, &s.description]);
            list.push(StatementKind::Signal, &s.name, text, &s.common);
        }
        for s in &self.side_effects {
            let text = joined(&[&s.condition, &s.description]);
            let target = s.target.as_deref().unwrap_or("effect");
            list.push(StatementKind::SideEffect, target, text, &s.common);
        }
        for t in &self.transitions {
            let text = joined(&[&t.from, &t.to, &t.condition, &t.description]);
            list.push(StatementKind::Transition, &t.object, text, &t.common);
        }
        for c in &self.capabilities {
            let text = joined(&[&c.allows, &c.without, &c.condition, &c.description]);
            list.push(StatementKind::Capability, &c.name, text, &c.common);
        }
        for c in &self.constraints {
            let text = joined(&[&c.expression, &c.description]);
            list.push(StatementKind::Constraint, &c.name, text, &c.common);
        }
        list.statements
    }

    /// The statement with this id.
    #[must_use]
    pub fn statement(&self, id: &str) -> Option<Statement<'_>> {
        self.statements().into_iter().find(|statement| statement.id == id)
    }

    /// What each statement can have, of all statements.
    fn commons(&self) -> impl Iterator<Item = &Common> {
        let first = self.parameters.iter().map(|s| &s.common);
        first
            .chain(self.returns.iter().map(|s| &s.common))
            .chain(self.errors.iter().map(|s| &s.common))
            .chain(self.locks.iter().map(|s| &s.common))
            .chain(self.signals.iter().map(|s| &s.common))
            .chain(self.side_effects.iter().map(|s| &s.common))
            .chain(self.transitions.iter().map(|s| &s.common))
            .chain(self.capabilities.iter().map(|s| &s.common))
            .chain(self.constraints.iter().map(|s| &s.common))
    }
}

/// Statements on their way into the list, with the names that are taken.
struct Collector<'a> {
    call: &'a str,
    taken: HashSet<String>,
    statements: Vec<Statement<'a>>,
}

impl<'a> Collector<'a> {
    fn push(&mut self, kind: StatementKind, name: &'a str, text: String, common: &'a Common) {
        let id = common.id.clone().unwrap_or_else(|| self.derive(kind, name, &text));
        self.statements.push(Statement { id, kind, name, text, surface: Surface::Return, common });
    }

    /// A name from what the statement says; a number is put behind it if another says the same.
    fn derive(&mut self, kind: StatementKind, name: &str, text: &str) -> String {
        let call = self.call;
        let name = slug(name, WORDS);
        // The first part of the text is its shortest: a summary or a condition.
        let text = text.split(';').next().unwrap_or_default();
        let base = match kind {
            StatementKind::Return => format!("{call}/return"),
            StatementKind::Error => format!("{call}/{name}/{}", slug(text, WORDS)),
            StatementKind::SideEffect => {
                format!("{call}/{}/{name}/{}", kind.key(), slug(text, WORDS))
            }
            _ => format!("{call}/{}/{name}", kind.key()),
        };
        let mut id = base.clone();
        let mut number = 2;
        while !self.taken.insert(id.clone()) {
            id = format!("{base}-{number}");
            number += 1;
        }
        id
    }
}

/// The parts that are there, as one text.
fn joined(parts: &[&Option<String>]) -> String {
    let parts: Vec<&str> = parts.iter().filter_map(|part| part.as_deref()).collect();
    parts.join("; ")
}

/// The first words of a text: letters, digits and underscores, joined by hyphens. Case is kept, for names.
fn slug(text: &str, words: usize) -> String {
    let keep = |c: char| c.is_alphanumeric() || c == '_';
    let parts = text.split(|c| !keep(c)).filter(|part| !part.is_empty());
    parts.take(words).collect::<Vec<_>>().join("-")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ErrorCase;

    fn case(name: &str, summary: &str) -> ErrorCase {
        ErrorCase { name: name.to_owned(), summary: Some(summary.to_owned()), ..Default::default() }
    }

    #[test]
    fn a_derived_name_does_not_depend_on_the_place() {
        let mut spec = Specification::syscall("frob");
        spec.errors = vec![case("EINVAL", "The size is 0."), case("EINVAL", "Bad flags")];
        let before: Vec<String> = spec.statements().into_iter().map(|s| s.id).collect();
        assert_eq!(before, ["frob/EINVAL/The-size-is-0", "frob/EINVAL/Bad-flags"]);
        spec.errors.reverse();
        spec.errors.insert(0, case("EFAULT", "new"));
        let after: Vec<String> = spec.statements().into_iter().map(|s| s.id).collect();
        assert!(before.iter().all(|id| after.contains(id)), "{after:?}");
    }

    #[test]
    fn names_are_unique_and_given_ones_win() {
        let mut spec = Specification::syscall("frob");
        spec.errors = vec![case("EIO", "x"), case("EIO", "x"), case("EIO", "y")];
        spec.errors[2].common.id = Some("frob/EIO/x".to_owned());
        let ids: Vec<String> = spec.statements().into_iter().map(|s| s.id).collect();
        assert_eq!(ids, ["frob/EIO/x-2", "frob/EIO/x-3", "frob/EIO/x"]);
        assert_eq!(spec.statement("frob/EIO/x").unwrap().text, "y");
    }
}
