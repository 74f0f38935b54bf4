//! Whether the reactor's thread is at work.

/// How often the reactor's thread has gone to sleep. It was started; it has its name when it has begun.
pub(crate) fn naps_of_the_reactor() -> u64 {
    let started = std::time::Instant::now();
    while started.elapsed() < std::time::Duration::from_secs(15) {
        if let Some(naps) = naps_if_begun() {
            return naps;
        }
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    panic!("there is no reactor")
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
