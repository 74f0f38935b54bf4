//! The closed lists of words of the grammar. A word that is on no list is kept as it was written.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A list of words: the short form of the newer grammar, and the constant of the older one without its prefix.
macro_rules! tokens {
    ($(#[$doc:meta])* $name:ident, $prefix:literal, $number:ident {
        $($(#[$vdoc:meta])* $variant:ident = $short:literal, $constant:literal;)*
    }) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name {
            $($(#[$vdoc])* $variant,)*
            /// A word that is not on the list, as it was written.
            Other(String),
        }

        impl $name {
            /// What the constants of the older grammar begin with.
            pub const PREFIX: &'static str = $prefix;
            /// The words of the list, in the order of the kernel's numbers.
            pub const KNOWN: &'static [Self] = &[$(Self::$variant),*];

            /// Reads a word of either grammar, in upper or lower case.
            #[must_use]
            pub fn read(word: &str) -> Self {
                let word = word.trim();
                let bare = strip_prefix(word, Self::PREFIX);
                $(if bare.eq_ignore_ascii_case($short) || bare.eq_ignore_ascii_case($constant) {
                    return Self::$variant;
                })*
                Self::Other(word.to_owned())
            }

            /// The word of the newer grammar.
            #[must_use]
            pub fn short(&self) -> &str {
                match self {
                    $(Self::$variant => $short,)*
                    Self::Other(word) => word,
                }
            }

            /// The constant of the older grammar; of a word that is not on the list, the word.
            #[must_use]
            pub fn constant(&self) -> String {
                match self {
                    $(Self::$variant => concat!($prefix, $constant).to_owned(),)*
                    Self::Other(word) => word.clone(),
                }
            }

            /// The kernel's number: a place in the list, or a bit where several may be given. `None` for
            /// a word that is not on the list.
            #[must_use]
            pub fn number(&self) -> Option<u32> {
                let place = Self::KNOWN.iter().position(|known| known == self)?;
                u32::try_from(place).ok().map($number)
            }

            /// Whether the word is on the list.
            #[must_use]
            pub fn is_known(&self) -> bool {
                !matches!(self, Self::Other(_))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.short())
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.short())
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer).map(|word| Self::read(&word))
            }
        }
    };
}

/// A number that is a place in a list.
fn place(index: u32) -> u32 {
    index
}

/// A number that is a bit.
fn bit(index: u32) -> u32 {
    1 << index
}

/// The bits of the flags of a parameter: `inout` is both directions.
fn parameter_bit(index: u32) -> u32 {
    if index == 2 { 3 } else { 1 << index }
}

fn strip_prefix<'a>(word: &'a str, prefix: &str) -> &'a str {
    match (word.get(..prefix.len()), word.get(prefix.len()..)) {
        (Some(head), Some(rest)) if head.eq_ignore_ascii_case(prefix) => rest,
        _ => word,
    }
}

tokens! {
    /// From where a call may be made.
    Context, "KAPI_CTX_", bit {
        /// A process.
        Process = "process", "PROCESS";
        /// A soft interrupt.
        Softirq = "softirq", "SOFTIRQ";
        /// A hardware interrupt.
        Hardirq = "hardirq", "HARDIRQ";
        /// A non-maskable interrupt.
        Nmi = "nmi", "NMI";
        /// Where one must not sleep.
        Atomic = "atomic", "ATOMIC";
        /// Where one may sleep.
        Sleepable = "sleepable", "SLEEPABLE";
        /// With preemption off.
        PreemptDisabled = "preempt_disabled", "PREEMPT_DISABLED";
        /// With interrupts off.
        IrqDisabled = "irq_disabled", "IRQ_DISABLED";
    }
}

tokens! {
    /// The type of a parameter or of what is returned.
    ValueType, "KAPI_TYPE_", place {
        /// Nothing.
        Void = "void", "VOID";
        /// A signed number.
        Int = "int", "INT";
        /// A number without a sign.
        Uint = "uint", "UINT";
        /// A pointer of the kernel.
        Ptr = "ptr", "PTR";
        /// A structure.
        Struct = "struct", "STRUCT";
        /// A union.
        Union = "union", "UNION";
        /// One of a list of numbers.
        Enum = "enum", "ENUM";
        /// A pointer to a function.
        FuncPtr = "func_ptr", "FUNC_PTR";
        /// An array.
        Array = "array", "ARRAY";
        /// A descriptor.
        Fd = "fd", "FD";
        /// A pointer into the program's memory.
        UserPtr = "user_ptr", "USER_PTR";
        /// A path.
        Path = "path", "PATH";
        /// Something else.
        Custom = "custom", "CUSTOM";
    }
}

tokens! {
    /// A property of a parameter.
    ParameterFlag, "KAPI_PARAM_", parameter_bit {
        /// The kernel reads it.
        In = "input", "IN";
        /// The kernel writes it.
        Out = "output", "OUT";
        /// Both.
        InOut = "inout", "INOUT";
        /// It may be left out (null).
        Optional = "optional", "OPTIONAL";
        /// It is not changed.
        Const = "const", "CONST";
        /// It may change at any time.
        Volatile = "volatile", "VOLATILE";
        /// It is in the program's memory.
        User = "user", "USER";
        /// Devices access it.
        Dma = "dma", "DMA";
        /// It must be aligned.
        Aligned = "aligned", "ALIGNED";
    }
}

tokens! {
    /// How the values of a parameter are limited.
    ConstraintKind, "KAPI_CONSTRAINT_", place {
        /// Not at all.
        None = "none", "NONE";
        /// From one number to another.
        Range = "range", "RANGE";
        /// Only certain bits.
        Mask = "mask", "MASK";
        /// Only certain values.
        Enum = "enum", "ENUM";
        /// A multiple of a number.
        Alignment = "alignment", "ALIGNMENT";
        /// A power of two.
        PowerOfTwo = "power_of_two", "POWER_OF_TWO";
        /// A multiple of a page.
        PageAligned = "page_aligned", "PAGE_ALIGNED";
        /// Anything but 0.
        Nonzero = "nonzero", "NONZERO";
        /// A string in the program's memory.
        UserString = "user_string", "USER_STRING";
        /// A path in the program's memory.
        UserPath = "user_path", "USER_PATH";
        /// A pointer into the program's memory.
        UserPtr = "user_ptr", "USER_PTR";
        /// A buffer whose size is another parameter.
        Buffer = "buffer", "BUFFER";
        /// As the text says.
        Custom = "custom", "CUSTOM";
    }
}

tokens! {
    /// How success is told from failure.
    ReturnCheck, "KAPI_RETURN_", place {
        /// One value is success.
        Exact = "exact", "EXACT";
        /// A range of values is.
        Range = "range", "RANGE";
        /// Anything but the listed errors is. Only in the older grammar.
        ErrorCheck = "error_check", "ERROR_CHECK";
        /// A descriptor is.
        Fd = "fd", "FD";
        /// As the text says. Only in the older grammar.
        Custom = "custom", "CUSTOM";
        /// The call does not return.
        NoReturn = "no_return", "NO_RETURN";
    }
}

tokens! {
    /// The kind of a lock.
    LockKind, "KAPI_LOCK_", place {
        /// None.
        None = "none", "NONE";
        /// A mutex.
        Mutex = "mutex", "MUTEX";
        /// A spinlock.
        Spinlock = "spinlock", "SPINLOCK";
        /// A lock for one writer or many readers.
        Rwlock = "rwlock", "RWLOCK";
        /// A sequence lock.
        Seqlock = "seqlock", "SEQLOCK";
        /// Read-copy-update.
        Rcu = "rcu", "RCU";
        /// A semaphore.
        Semaphore = "semaphore", "SEMAPHORE";
        /// Something else.
        Custom = "custom", "CUSTOM";
    }
}

tokens! {
    /// What a call has to do with a signal.
    SignalDirection, "KAPI_SIGNAL_", bit {
        /// It may arrive during the call.
        Receive = "receive", "RECEIVE";
        /// The call may send it.
        Send = "send", "SEND";
        /// The call handles it.
        Handle = "handle", "HANDLE";
        /// The call blocks it.
        Block = "block", "BLOCK";
        /// The call ignores it.
        Ignore = "ignore", "IGNORE";
    }
}

tokens! {
    /// What a signal leads to.
    SignalAction, "KAPI_SIGNAL_ACTION_", place {
        /// The default action.
        Default = "default", "DEFAULT";
        /// The process ends.
        Terminate = "terminate", "TERMINATE";
        /// The process ends and leaves a core file.
        Coredump = "coredump", "COREDUMP";
        /// The process stops.
        Stop = "stop", "STOP";
        /// The process goes on.
        Continue = "continue", "CONTINUE";
        /// As the text says.
        Custom = "custom", "CUSTOM";
        /// The call returns.
        Return = "return", "RETURN";
        /// The call is started anew.
        Restart = "restart", "RESTART";
        /// The signal waits.
        Queue = "queue", "QUEUE";
        /// The signal is thrown away.
        Discard = "discard", "DISCARD";
        /// The signal becomes something else.
        Transform = "transform", "TRANSFORM";
    }
}

tokens! {
    /// When a signal matters.
    SignalTiming, "KAPI_SIGNAL_TIME_", place {
        /// Before the call.
        Before = "before", "BEFORE";
        /// During the call.
        During = "during", "DURING";
        /// After the call.
        After = "after", "AFTER";
    }
}

tokens! {
    /// What a call changes besides what it returns.
    Effect, "KAPI_EFFECT_", bit {
        /// Memory is allocated.
        AllocMemory = "alloc_memory", "ALLOC_MEMORY";
        /// Memory is freed.
        FreeMemory = "free_memory", "FREE_MEMORY";
        /// State changes.
        ModifyState = "modify_state", "MODIFY_STATE";
        /// A signal is sent.
        SignalSend = "signal_send", "SIGNAL_SEND";
        /// A file's position moves.
        FilePosition = "file_position", "FILE_POSITION";
        /// A lock is taken.
        LockAcquire = "lock_acquire", "LOCK_ACQUIRE";
        /// A lock is given back.
        LockRelease = "lock_release", "LOCK_RELEASE";
        /// Something is created.
        ResourceCreate = "resource_create", "RESOURCE_CREATE";
        /// Something is destroyed.
        ResourceDestroy = "resource_destroy", "RESOURCE_DESTROY";
        /// Other work is scheduled, or the caller sleeps.
        Schedule = "schedule", "SCHEDULE";
        /// A device is touched.
        Hardware = "hardware", "HARDWARE";
        /// The network is touched.
        Network = "network", "NETWORK";
        /// A file system is touched.
        Filesystem = "filesystem", "FILESYSTEM";
        /// The process changes.
        ProcessState = "process_state", "PROCESS_STATE";
        /// It cannot be undone.
        Irreversible = "irreversible", "IRREVERSIBLE";
    }
}

tokens! {
    /// What a capability is good for.
    CapabilityAction, "KAPI_CAP_", place {
        /// A check is left out.
        BypassCheck = "bypass_check", "BYPASS_CHECK";
        /// A limit is raised.
        IncreaseLimit = "increase_limit", "INCREASE_LIMIT";
        /// A restriction does not apply.
        OverrideRestriction = "override_restriction", "OVERRIDE_RESTRICTION";
        /// Something is permitted.
        GrantPermission = "grant_permission", "GRANT_PERMISSION";
        /// The call behaves differently.
        ModifyBehavior = "modify_behavior", "MODIFY_BEHAVIOR";
        /// Something can be accessed.
        AccessResource = "access_resource", "ACCESS_RESOURCE";
        /// Something can be done.
        PerformOperation = "perform_operation", "PERFORM_OPERATION";
    }
}

tokens! {
    /// What is specified.
    ApiKind, "KAPI_API_", place {
        /// A function of the kernel or of a library.
        Function = "function", "FUNCTION";
        /// A system call.
        Syscall = "syscall", "SYSCALL";
        /// A command of ioctl(2).
        Ioctl = "ioctl", "IOCTL";
        /// A file of sysfs.
        Sysfs = "sysfs", "SYSFS";
    }
}

tokens! {
    /// Where an error is seen. An extension of this crate.
    Surface, "SURFACE_", place {
        /// In what the call returns. So it is where nothing is said.
        Return = "return", "RETURN";
        /// In the `res` of an event of Linux AIO.
        Event = "event", "EVENT";
        /// In the `res` of a completion of io_uring.
        Completion = "completion", "COMPLETION";
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_generations_of_words_are_read() {
        for word in ["KAPI_TYPE_USER_PTR", "user_ptr", "USER_PTR", " User_Ptr "] {
            assert_eq!(ValueType::read(word), ValueType::UserPtr, "{word}");
        }
        assert_eq!(ParameterFlag::read("KAPI_PARAM_IN"), ParameterFlag::In);
        assert_eq!(ParameterFlag::read("input"), ParameterFlag::In);
        let unknown = ValueType::read("KAPI_TYPE_QUANTUM");
        assert_eq!(unknown, ValueType::Other("KAPI_TYPE_QUANTUM".to_owned()));
        assert!(!unknown.is_known());
        assert_eq!((unknown.short(), unknown.number()), ("KAPI_TYPE_QUANTUM", None));
    }

    #[test]
    fn numbers_are_places_or_bits() {
        assert_eq!(ValueType::Path.number(), Some(11));
        assert_eq!(ConstraintKind::Range.number(), Some(1));
        assert_eq!(ParameterFlag::In.number(), Some(1));
        assert_eq!(ParameterFlag::InOut.number(), Some(3));
        assert_eq!(ParameterFlag::User.number(), Some(64));
        assert_eq!(Effect::Irreversible.number(), Some(1 << 14));
        assert_eq!(SignalAction::Transform.number(), Some(10));
    }

    #[test]
    fn each_word_is_read_back_from_both_forms() {
        for effect in Effect::KNOWN {
            assert_eq!(&Effect::read(effect.short()), effect);
            assert_eq!(&Effect::read(&effect.constant()), effect);
        }
        for flag in ParameterFlag::KNOWN {
            assert_eq!(&ParameterFlag::read(flag.short()), flag);
            assert_eq!(&ParameterFlag::read(&flag.constant()), flag);
        }
    }

    #[test]
    fn a_prefix_that_ends_inside_of_a_character_is_none() {
        assert_eq!(strip_prefix("KAPI_TYP\u{e9}x", "KAPI_TYPE_"), "KAPI_TYP\u{e9}x");
    }
}
