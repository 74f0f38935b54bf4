//! The findings as one screen of text.

use std::fmt::Write as _;

use super::findings::{Feature, Features, Findings, PathFound};

/// Columns of the text; longer lines are broken between words.
const WIDTH: usize = 100;
/// Where the text begins, behind the labels.
const INDENT: usize = 11;

/// The text, with escape sequences if `colours`.
pub(crate) fn text(findings: &Findings, colours: bool) -> String {
    let mut page = Page { text: String::new(), colours };
    verdict(&mut page, findings);
    if !findings.kernel.release.is_empty() {
        let gvisor = if findings.kernel.gvisor { " (gVisor, not Linux)" } else { "" };
        page.line("kernel", &format!("{}{gvisor}", findings.kernel.release));
        confinement(&mut page, findings);
        calls(&mut page, findings);
    }
    if let Some(found) = &findings.features {
        features(&mut page, found);
    }
    limits(&mut page, findings);
    numa(&mut page, findings);
    if let Some(found) = &findings.path {
        path(&mut page, found);
    }
    for fault in &findings.known_faults {
        page.line("known", &format!("{}: {}; {}", fault.kernels, fault.what, fault.here));
    }
    if let Some(why) = findings.iowait {
        page.line("iowait", why);
    }
    page.text
}

struct Page {
    text: String,
    colours: bool,
}

/// Colours, and the fainter hand of labels.
#[derive(Clone, Copy)]
enum Ink {
    Good,
    Warning,
    Bad,
    Label,
}

impl Ink {
    fn code(self) -> u8 {
        match self {
            Self::Good => 32,
            Self::Warning => 33,
            Self::Bad => 31,
            Self::Label => 2,
        }
    }
}

impl Page {
    fn paint(&mut self, ink: Ink, text: &str) {
        // Writing to a string cannot fail.
        let _ = if self.colours {
            write!(self.text, "\x1b[{}m{text}\x1b[0m", ink.code())
        } else {
            write!(self.text, "{text}")
        };
    }

    fn label(&mut self, label: &str) {
        self.paint(Ink::Label, &format!("{label:<INDENT$}"));
    }

    /// A label and its text, broken into lines.
    fn line(&mut self, label: &str, text: &str) {
        self.label(label);
        let mut column = INDENT;
        for (at, word) in text.split(' ').enumerate() {
            let length = word.chars().count();
            if at > 0 && column + 1 + length > WIDTH {
                let _ = write!(self.text, "\n{:INDENT$}", "");
                column = INDENT;
            } else if at > 0 {
                self.text.push(' ');
                column += 1;
            }
            self.text.push_str(word);
            column += length;
        }
        self.text.push('\n');
    }
}

fn verdict(page: &mut Page, findings: &Findings) {
    let (ink, text) = match findings.verdict {
        "io_uring" => (Ink::Good, "io_uring works here"),
        "fallback" => (Ink::Warning, "rings are the fallback here, not io_uring"),
        _ => (Ink::Bad, "error"),
    };
    page.label("verdict");
    page.paint(ink, text);
    page.text.push('\n');
    if let Some(error) = &findings.error {
        page.line("error", error);
    }
    if let Some(reason) = &findings.reason {
        let errno = findings.errno.as_ref().map(|errno| format!(" ({errno})")).unwrap_or_default();
        page.line("because", &format!("{reason}{errno}"));
    }
    for fix in &findings.fix {
        page.line("do", fix);
    }
}

fn confinement(page: &mut Page, findings: &Findings) {
    let found = &findings.confinement;
    let mut parts = Vec::new();
    match (found.seccomp, found.seccomp_filters) {
        (Some(0), _) => parts.push("no seccomp filter".to_owned()),
        (Some(_), Some(count)) => parts.push(format!("{count} seccomp filters")),
        (Some(_), None) => parts.push("seccomp filters".to_owned()),
        (None, _) => parts.push("seccomp: cannot be read".to_owned()),
    }
    if let Some(value) = found.io_uring_disabled {
        parts.push(format!("kernel.io_uring_disabled={value}"));
    }
    if let Some(modules) = &found.security_modules {
        parts.push(format!("security modules {}", modules.join(",")));
    }
    if let Some(label) = &found.security_label {
        parts.push(format!("label {label}"));
    }
    if let Some(container) = &found.container {
        parts.push(format!("marks of {container}"));
    }
    page.line("confined", &parts.join(", "));
}

fn calls(page: &mut Page, findings: &Findings) {
    let describe = |call: &super::findings::CallFound| {
        let answer = call.answer.as_deref().unwrap_or("not asked");
        let by = call.by.map(|by| format!(" by {by}")).unwrap_or_default();
        format!("{} {answer}{by}", call.call)
    };
    let blocked: Vec<String> =
        findings.calls.iter().filter(|call| call.blocked).map(describe).collect();
    let text = if blocked.is_empty() { "none".to_owned() } else { blocked.join(", ") };
    page.line("blocked", &text);
}

fn features(page: &mut Page, features: &Features) {
    for (kind, ring) in [("local", &features.local), ("shared", &features.shared)] {
        let text = match ring {
            Some(ring) => format!(
                "{kind} ring: {}, {} opcodes{}",
                ring.setup_flags.join(" "),
                ring.opcodes.len(),
                if ring.opcodes_by == "assumed" {
                    " (those of kernel 5.6, since the kernel may not be asked)"
                } else {
                    ""
                }
            ),
            None => format!("{kind} ring: not io_uring"),
        };
        page.line("rings", &text);
    }
    let missing: Vec<&Feature> = features.list.iter().filter(|feature| !feature.present).collect();
    let there = features.list.len() - missing.len();
    page.line("features", &format!("{there} of {} that the library uses", features.list.len()));
    for feature in missing {
        let Feature { name, since, brings, .. } = feature;
        page.line("  missing", &format!("{name} (kernel {since}): {brings}"));
    }
}

fn limits(page: &mut Page, findings: &Findings) {
    let limits = &findings.limits;
    let plain =
        |limit: Option<u64>| limit.map_or("unlimited".to_owned(), |limit| limit.to_string());
    let memlock =
        limits.memlock.map_or("unlimited".to_owned(), |bytes| format!("{} KiB", bytes / 1024));
    let holds =
        if limits.memlock_holds == Some(false) { " (CAP_IPC_LOCK: does not hold)" } else { "" };
    let mut text = String::new();
    if !findings.kernel.release.is_empty() {
        let _ = write!(text, "memlock {memlock}{holds}, nofile {}, ", plain(limits.nofile));
    }
    let known = |value: Option<u64>| value.map_or("?".to_owned(), |value| value.to_string());
    let _ = write!(text, "aio {} of {} events", known(limits.aio_nr), known(limits.aio_max_nr));
    page.line("limits", &text);
    for error in &findings.expected_errors {
        page.line("", error);
    }
}

fn numa(page: &mut Page, findings: &Findings) {
    let nodes = &findings.numa.nodes;
    let cpus: usize = nodes.iter().map(|node| node.cpus.len()).sum();
    let mut text = format!("nodes {}, CPUs {cpus}", nodes.len());
    if let Some(placement) = &findings.numa.placement {
        let _ = write!(text, "; a page for node 0 is {placement}");
    }
    page.line("numa", &text);
}

fn path(page: &mut Page, found: &PathFound) {
    let filesystem = found.filesystem.as_deref().unwrap_or("a device");
    page.line("path", &format!("{}: {filesystem}", found.path));
    let direct = match (found.direct_memory_align, found.direct_offset_align) {
        (Some(memory), Some(offset)) => {
            format!("memory at multiples of {memory} bytes, offset and length of {offset}")
        }
        _ => "the kernel does not tell (statx(2), kernel 6.1), or there is none".to_owned(),
    };
    page.line("  O_DIRECT", &direct);
    let Some(device) = &found.device else {
        return page.line("  device", "none, or one that sysfs does not show");
    };
    let kind = match found.rotational {
        Some(true) => ", rotating",
        Some(false) => ", not rotating",
        None => "",
    };
    let polled = match found.poll_queues {
        Some(true) => "has poll queues: Builder::iopoll works with O_DIRECT",
        Some(false) => {
            "no poll queues: Builder::iopoll does not work (for NVMe: nvme.poll_queues=N)"
        }
        None => "poll queues unknown",
    };
    let scheduler = found.scheduler.as_deref().unwrap_or("unknown");
    page.line("  device", &format!("{device}{kind}, scheduler {scheduler}; {polled}"));
}
