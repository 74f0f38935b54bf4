//! Whether the reactor's thread is at work.

/// How often the reactor's thread has gone to sleep.
pub(crate) fn naps_of_the_reactor() -> u64 {
    let field = |text: &str, name: &str| {
        let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_default().to_owned();
        line.split_whitespace().nth(1).unwrap_or_default().to_owned()
    };
    for task in std::fs::read_dir("/proc/self/task").unwrap() {
        let text = std::fs::read_to_string(task.unwrap().path().join("status")).unwrap();
        if field(&text, "Name:") == "safer-ring" {
            return field(&text, "voluntary_ctxt_switches:").parse().unwrap();
        }
    }
    panic!("there is no reactor");
}
