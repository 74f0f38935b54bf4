//! Whether the reactor's thread is at work.

/// How often the reactor's thread has gone to sleep.
pub(crate) fn naps_of_the_reactor() -> u64 {
    naps_if_begun().expect("there is a reactor")
}

/// The same; `None` as long as the thread has not begun.
pub(crate) fn naps_if_begun() -> Option<u64> {
    let field = |text: &str, name: &str| {
        let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_default().to_owned();
        line.split_whitespace().nth(1).unwrap_or_default().to_owned()
    };
    let statuses = std::fs::read_dir("/proc/self/task").unwrap().filter_map(|task| {
        // A thread may end while they are looked at.
        std::fs::read_to_string(task.unwrap().path().join("status")).ok()
    });
    let mut reactors = statuses.filter(|text| field(text, "Name:") == "safer-ring");
    reactors.next().map(|text| field(&text, "voluntary_ctxt_switches:").parse().unwrap())
}
