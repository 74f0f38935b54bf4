//! The state graph as the tests see it, kept in `tests/transitions.dot`.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::fmt::Write;
use std::string::String;

use crate::slot::State;

type Edges = BTreeMap<(State, State), BTreeSet<&'static str>>;

std::thread_local! {
    static EVENT: RefCell<&'static str> = const { RefCell::new("") };
    static SEEN: RefCell<Edges> = const { RefCell::new(BTreeMap::new()) };
}

/// Called by the slot for each change of state.
pub(crate) fn observe(from: State, to: State) {
    let event = EVENT.with(|event| *event.borrow());
    if !event.is_empty() {
        SEEN.with(|seen| seen.borrow_mut().entry((from, to)).or_default().insert(event));
    }
}

/// Names the call that causes what is observed from now on; empty to observe nothing.
pub(crate) fn cause(event: &'static str) {
    EVENT.with(|current| *current.borrow_mut() = event);
}

/// What this thread has observed, in the language of graphviz.
pub(crate) fn dot() -> String {
    let mut out =
        String::from("// Observed by the tests; UPDATE_SNAPSHOTS=1 rewrites this file.\n");
    out.push_str("digraph slot {\n");
    SEEN.with(|seen| {
        for ((from, to), events) in &*seen.borrow() {
            let label = events.iter().copied().collect::<std::vec::Vec<_>>().join(", ");
            writeln!(out, "    {from:?} -> {to:?} [label=\"{label}\"];").unwrap();
        }
    });
    out.push_str("}\n");
    out
}
