//! The typed model of a specification. It knows nothing of the text it came from: places are kept beside it
//! ([`crate::parse::Located`]), so that two models are equal when they say the same.

mod token;

use serde::{Deserialize, Serialize};

pub use token::{
    ApiKind, CapabilityAction, ConstraintKind, Context, Effect, LockKind, ParameterFlag,
    ReturnCheck, SignalAction, SignalDirection, SignalTiming, Surface, ValueType,
};

/// What a call takes, gives, changes, and how it fails.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Specification {
    /// The name of the call; of a system call without the prefix `sys_`.
    pub name: String,
    /// What is specified.
    pub kind: ApiKind,
    /// What it does, in a line.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub summary: String,
    /// First kernel that has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    /// From where it may be called.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub contexts: Vec<Context>,
    /// What it does, at length. Paragraphs are apart by an empty line; a line that begins with `- ` stands
    /// for itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub long: Option<String>,
    /// The parameters, in the order of the call.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parameters: Vec<Parameter>,
    /// What is returned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub returns: Option<Returns>,
    /// How it fails. In the specifications of this crate a block for each cause, in the order in which the
    /// kernel checks.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<ErrorCase>,
    /// Locks that it takes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub locks: Vec<Lock>,
    /// What signals do to it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub signals: Vec<Signal>,
    /// What it changes besides.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub side_effects: Vec<SideEffect>,
    /// What goes from one state to another.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub transitions: Vec<Transition>,
    /// Which capabilities matter.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub capabilities: Vec<Capability>,
    /// What else holds.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub constraints: Vec<Constraint>,
    /// Examples, a line each; indentation is kept.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub examples: Vec<String>,
    /// Notes; paragraphs as in [`long`](Self::long).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notes: Option<String>,
    /// Prose that stands outside of any section; paragraphs as in [`long`](Self::long).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remarks: Option<String>,
    /// Sections that are not known, given twice, or without the name they need; as they were written.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unknown: Vec<Section>,
}

/// A section as it is written: a key, what follows it on its line, and its sub-keys.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Section {
    /// The key.
    pub key: String,
    /// What follows it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub header: String,
    /// The sub-keys.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fields: Vec<Field>,
}

/// A sub-key and its value, with continued lines joined.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Field {
    /// The sub-key.
    pub key: String,
    /// Its value.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub value: String,
}

/// What each statement of a specification can have besides. The sub-keys are extensions of this crate.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Common {
    /// `id`: its name for ever. [`Specification::statements`] derives one where none is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// `since`: first kernel for which it holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    /// `until`: first kernel for which it no longer holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
    /// `disagrees`: what another text says, and in which way kernels contradict it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disagrees: Option<String>,
    /// `untestable`: why no program can show it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub untestable: Option<String>,
    /// `covered-by`: ids of the statements that, together, say the same.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub covered_by: Vec<String>,
    /// Sub-keys that are not known, given twice, or whose value is none; as they were written.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unknown: Vec<Field>,
}

/// A parameter.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parameter {
    /// Its name.
    pub name: String,
    /// What it is, in a line (`@name: text`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// `type`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value_type: Option<ValueType>,
    /// `flags`, or what follows the type in the newer grammar.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub flags: Vec<ParameterFlag>,
    /// `size`, perhaps symbolic: `sizeof(struct iocb)`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<String>,
    /// `constraint-type`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub constraint: Option<ConstraintKind>,
    /// `constraint` or `cdesc`: the constraint in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// `range`: lowest and highest value, perhaps symbolic: `LONG_MAX`. See [`number`](crate::number).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub range: Option<(String, String)>,
    /// `mask` or `valid-mask`: the bits that may be set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mask: Option<String>,
    /// `arch-mask`: architecture, and bits that may be set on it besides.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub arch_masks: Vec<(String, String)>,
    /// `valid-values`: the values that may be given.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub values: Vec<String>,
    /// `alignment`, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alignment: Option<String>,
    /// `size-param`: index of the parameter that holds a buffer's size, from 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size_param: Option<String>,
    /// `struct-type`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub struct_type: Option<String>,
    /// `desc`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// What each statement can have.
    #[serde(flatten)]
    pub common: Common,
}

/// What is returned.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Returns {
    /// `type`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value_type: Option<ValueType>,
    /// `check-type`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub check: Option<ReturnCheck>,
    /// `success`: a value, or a lower bound (`>= 0`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub success: Option<String>,
    /// `success-range`: lowest and highest value of success.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub success_range: Option<(String, String)>,
    /// `error-values`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub error_values: Vec<String>,
    /// `desc`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// What each statement can have.
    #[serde(flatten)]
    pub common: Common,
}

/// One way to fail.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorCase {
    /// The error: `EINVAL`. Also what is none, as it was written: `(driver-specific)`.
    pub name: String,
    /// The cause, in a line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub summary: Option<String>,
    /// `desc`: the cause at length.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// `condition`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub condition: Option<String>,
    /// `where`: where the error is seen; nothing means in what the call returns. An extension of this crate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub surface: Option<Surface>,
    /// What each statement can have.
    #[serde(flatten)]
    pub common: Common,
}

/// A lock of the kernel.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lock {
    /// Its name.
    pub name: String,
    /// `type`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<LockKind>,
    /// `scope`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<String>,
    /// `acquired`: the call takes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acquired: Option<bool>,
    /// `released`: the call gives it back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub released: Option<bool>,
    /// `held-on-entry`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held_on_entry: Option<bool>,
    /// `held-on-exit`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held_on_exit: Option<bool>,
    /// `desc`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// What each statement can have.
    #[serde(flatten)]
    pub common: Common,
}

/// What a signal does to the call, or the call to it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signal {
    /// The signal, or `any`.
    pub name: String,
    /// `number`: the constant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub number: Option<String>,
    /// `direction`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub direction: Vec<SignalDirection>,
    /// `action`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action: Option<SignalAction>,
    /// `transform-to`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transform_to: Option<String>,
    /// `condition`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub condition: Option<String>,
    /// `desc`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// `errno`, in the older grammar `error`: what the call returns, perhaps with words around it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// `timing`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timing: Option<SignalTiming>,
    /// `priority`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<String>,
    /// `restartable`: the call is started anew after the handler.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restartable: Option<bool>,
    /// `interruptible`: it ends a wait.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interruptible: Option<bool>,
    /// `target`: who gets it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// `queue`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue: Option<String>,
    /// `sa-flags`, `sa-flags-required`, `sa-flags-forbidden`, `state-required`, `state-forbidden`: those
    /// that are given, in this order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub masks: Vec<Field>,
    /// What each statement can have.
    #[serde(flatten)]
    pub common: Common,
}

/// What a call changes besides what it returns.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SideEffect {
    /// What kind of change it is; several may hold.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub effects: Vec<Effect>,
    /// `target`: what is changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// `desc`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// `condition`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub condition: Option<String>,
    /// `reversible`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reversible: Option<bool>,
    /// What each statement can have.
    #[serde(flatten)]
    pub common: Common,
}

/// From one state to another.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transition {
    /// What changes its state.
    pub object: String,
    /// `from`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// `to`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// `condition`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub condition: Option<String>,
    /// `desc`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// What each statement can have.
    #[serde(flatten)]
    pub common: Common,
}

/// A capability that matters to the call.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capability {
    /// The capability: `CAP_SYS_NICE`.
    pub name: String,
    /// `type`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action: Option<CapabilityAction>,
    /// The third part of the flat form: the capability's name as text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// `allows`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allows: Option<String>,
    /// `without`: what happens if one does not have it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub without: Option<String>,
    /// `condition`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub condition: Option<String>,
    /// `priority`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<String>,
    /// `desc`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// What each statement can have.
    #[serde(flatten)]
    pub common: Common,
}

/// Something else that holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Constraint {
    /// Its name.
    pub name: String,
    /// `desc`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// `expr`: the same as an expression.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expression: Option<String>,
    /// What each statement can have.
    #[serde(flatten)]
    pub common: Common,
}

impl Specification {
    /// An empty specification of a system call.
    #[must_use]
    pub fn syscall(name: &str) -> Self {
        Self::new(name, ApiKind::Syscall)
    }

    /// An empty specification.
    #[must_use]
    pub fn new(name: &str, kind: ApiKind) -> Self {
        Self {
            name: name.to_owned(),
            kind,
            summary: String::new(),
            since: None,
            contexts: Vec::new(),
            long: None,
            parameters: Vec::new(),
            returns: None,
            errors: Vec::new(),
            locks: Vec::new(),
            signals: Vec::new(),
            side_effects: Vec::new(),
            transitions: Vec::new(),
            capabilities: Vec::new(),
            constraints: Vec::new(),
            examples: Vec::new(),
            notes: None,
            remarks: None,
            unknown: Vec::new(),
        }
    }

    /// The name as it stands in a text: of a system call with the prefix `sys_`.
    #[must_use]
    pub fn full_name(&self) -> String {
        match self.kind {
            ApiKind::Syscall => format!("sys_{}", self.name),
            _ => self.name.clone(),
        }
    }
}
