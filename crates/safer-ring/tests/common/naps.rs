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

/// Runs a step, in which thousands of operations wait for somebody to hear of their end, until the reactor slept meanwhile, but for
/// the looks that it takes now and then. On a busy machine a runtime may get no processor for so long that the reactor has to
/// take its place, which it then keeps for a minute: five times is none of that.
#[allow(dead_code, reason = "a part of it")]
pub(crate) fn assert_it_sleeps(what: &str, mut step: impl FnMut(&mut dyn FnMut())) {
    let mut found = Vec::new();
    for _ in 0..5 {
        let mut before = None;
        step(&mut || before = Some(naps_of_the_reactor()));
        let naps = naps_of_the_reactor() - before.expect("the step says when it begins");
        if naps < 100 {
            return;
        }
        found.push(naps);
    }
    panic!("{what}: the reactor was woken so many times: {found:?}");
}
