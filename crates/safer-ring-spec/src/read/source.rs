//! Where the specifications are in a text: whose comments they are, or that it is one itself.

use std::borrow::Cow;

use crate::diagnostic::{Findings, Place};
use crate::grammar::split_title;

/// How a text carries its specifications.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// It is one, or several, itself.
    Plain,
    /// In comments of C code.
    C,
    /// In comments of C code that a patch adds; with anything around it.
    Patch,
    /// As the kernel's debugfs shows it.
    Debugfs,
}

/// A line without what is around it: `text` begins in the first column of a specification.
#[derive(Clone, Debug)]
pub(crate) struct Line<'a> {
    /// Where `text` begins.
    pub(crate) place: Place,
    /// The line.
    pub(crate) text: Cow<'a, str>,
}

/// Lines that may be a specification.
#[derive(Debug)]
pub(crate) struct Candidate<'a> {
    /// The lines; the first that is not empty is the title.
    pub(crate) lines: Vec<Line<'a>>,
    /// The system call that the code behind it defines.
    pub(crate) defines: Option<String>,
}

/// The first line of what the kernel's debugfs shows.
pub(crate) const DEBUGFS_TITLE: &str = "Kernel API Specification";

/// Of which form a text is.
pub(crate) fn form(text: &str) -> Form {
    let first = text.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
    if first.trim_end() == DEBUGFS_TITLE {
        return Form::Debugfs;
    }
    if split_title(first.trim_end()).is_some() {
        return Form::Plain;
    }
    let mut files = false;
    for line in text.lines() {
        files |= line.starts_with("+++ ") || line.starts_with("diff --git ");
        if files && line.starts_with("@@ -") {
            return Form::Patch;
        }
    }
    let comment = |line: &str| opens_comment(line.trim_start());
    if text.lines().any(comment) { Form::C } else { Form::Plain }
}

/// The candidates of a text of this form; of debugfs there are none here.
pub(crate) fn candidates<'a>(
    form: Form,
    text: &'a str,
    findings: &mut Findings,
) -> Vec<Candidate<'a>> {
    match form {
        Form::Plain => plain(numbered(text)),
        Form::C => comments(numbered(text), findings),
        Form::Patch => comments(added(text), findings),
        Form::Debugfs => Vec::new(),
    }
}

/// The lines with their numbers.
fn numbered(text: &str) -> Vec<Line<'_>> {
    (1u32..)
        .zip(text.lines())
        .map(|(line, text)| Line { place: Place { line, column: 1 }, text: Cow::Borrowed(text) })
        .collect()
}

/// The lines of a patch as they are after it: what it adds, and what it leaves.
fn added(text: &str) -> Vec<Line<'_>> {
    let escaped = ["&lt;", "&gt;", "&amp;"].iter().any(|entity| text.contains(entity));
    let mut lines = Vec::new();
    let mut in_hunk = false;
    for Line { place, text } in numbered(text) {
        if text.starts_with("@@ -") {
            in_hunk = true;
            // What stands between two parts of a file is not known; a comment does not reach across.
            lines.push(Line { place, text: Cow::Borrowed("") });
            continue;
        }
        let Cow::Borrowed(text) = text else { continue };
        if !in_hunk {
            continue;
        }
        match text.chars().next() {
            Some('+' | ' ' | '\t') => {
                let body = text.get(1..).unwrap_or_default();
                let body = if escaped { Cow::Owned(unescape(body)) } else { Cow::Borrowed(body) };
                lines.push(Line { place: Place { column: 2, ..place }, text: body });
            }
            None => lines.push(Line { place, text: Cow::Borrowed("") }),
            Some('-' | '\\') => {}
            Some(_) => in_hunk = false,
        }
    }
    lines
}

/// The text with the entities of HTML that a mail archive puts into it.
fn unescape(text: &str) -> String {
    let mut text = text.to_owned();
    // The ampersand last, so that nothing is made that looks like another.
    for (entity, character) in
        [("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\""), ("&#39;", "'"), ("&amp;", "&")]
    {
        text = text.replace(entity, character);
    }
    text
}

/// A text that is specifications itself: each begins with a title in the first column.
fn plain(lines: Vec<Line<'_>>) -> Vec<Candidate<'_>> {
    let mut candidates: Vec<Candidate<'_>> = Vec::new();
    for line in lines {
        let starts = split_title(line.text.trim_end()).is_some();
        match candidates.last_mut() {
            Some(candidate) if !starts => candidate.lines.push(line),
            _ if line.text.trim().is_empty() => {}
            _ => candidates.push(Candidate { lines: vec![line], defines: None }),
        }
    }
    candidates
}

fn opens_comment(line: &str) -> bool {
    line.strip_prefix("/**").is_some_and(|rest| !rest.starts_with(['*', '/']))
}

/// The comments of C code that begin with two stars.
fn comments<'a>(lines: Vec<Line<'a>>, findings: &mut Findings) -> Vec<Candidate<'a>> {
    let mut candidates: Vec<Candidate<'a>> = Vec::new();
    let mut open: Option<(Place, Vec<Line<'a>>)> = None;
    // How many lines of code behind the last comment may still define what it describes.
    let mut looking = 0;
    for line in lines {
        let trimmed = line.text.trim_start();
        if let Some((_, inside)) = &mut open {
            let (line, ends) = comment_line(&line);
            inside.extend(line);
            if ends {
                let lines = open.take().map(|(_, lines)| lines).unwrap_or_default();
                candidates.push(Candidate { lines, defines: None });
                looking = 3;
            }
        } else if opens_comment(trimmed) {
            let skipped = line.text.len() - trimmed.len() + 3;
            let rest = cut(&line, skipped);
            let (first, ends) = comment_line(&rest);
            let lines = first.into_iter().filter(|line| !line.text.trim().is_empty()).collect();
            if ends {
                candidates.push(Candidate { lines, defines: None });
                looking = 3;
            } else {
                open = Some((line.place, lines));
            }
        } else if looking > 0 && !trimmed.is_empty() {
            looking -= 1;
            if let (Some(name), Some(last)) = (defined(trimmed), candidates.last_mut()) {
                last.defines = Some(name.to_owned());
                looking = 0;
            }
        }
    }
    if let Some((place, lines)) = open {
        findings.error(place, "the comment does not end", "`*/`");
        candidates.push(Candidate { lines, defines: None });
    }
    candidates
}

/// A line of a comment without its star, and whether the comment ends there.
fn comment_line<'a>(line: &Line<'a>) -> (Option<Line<'a>>, bool) {
    let (body, ends) = match line.text.find("*/") {
        Some(end) => (until(line, end), true),
        None => (line.clone(), false),
    };
    let trimmed = body.text.trim_start();
    let mut skipped = body.text.len() - trimmed.len();
    if let Some(rest) = trimmed.strip_prefix('*') {
        skipped += 1 + usize::from(rest.starts_with([' ', '\t']));
    } else if !trimmed.is_empty() {
        // Without a star, the first column is not known: one space belongs to the comment.
        skipped = usize::from(body.text.starts_with(' '));
    }
    let rest = cut(&body, skipped);
    let keep = !(ends && rest.text.trim().is_empty());
    (keep.then_some(rest), ends)
}

/// The line from this byte on.
fn cut<'a>(line: &Line<'a>, bytes: usize) -> Line<'a> {
    let (skipped, text): (&str, Cow<'a, str>) = match &line.text {
        Cow::Borrowed(text) => (
            text.get(..bytes).unwrap_or_default(),
            Cow::Borrowed(text.get(bytes..).unwrap_or_default()),
        ),
        Cow::Owned(text) => (
            text.get(..bytes).unwrap_or_default(),
            Cow::Owned(text.get(bytes..).unwrap_or_default().to_owned()),
        ),
    };
    let columns = u32::try_from(skipped.chars().count()).unwrap_or(u32::MAX);
    let column = line.place.column.saturating_add(columns);
    Line { place: Place { column, ..line.place }, text }
}

/// The line up to this byte.
fn until<'a>(line: &Line<'a>, bytes: usize) -> Line<'a> {
    let text = match &line.text {
        Cow::Borrowed(text) => Cow::Borrowed(text.get(..bytes).unwrap_or_default()),
        Cow::Owned(text) => Cow::Owned(text.get(..bytes).unwrap_or_default().to_owned()),
    };
    Line { place: line.place, text }
}

/// The name in `SYSCALL_DEFINE3(name, ..`.
fn defined(line: &str) -> Option<&str> {
    let rest = line.strip_prefix("COMPAT_").unwrap_or(line).strip_prefix("SYSCALL_DEFINE")?;
    let rest = rest.trim_start_matches(|c: char| c.is_ascii_digit()).strip_prefix('(')?;
    let name = rest.split([',', ')']).next()?.trim();
    (!name.is_empty()).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(text: &str) -> Vec<(Vec<String>, Option<String>)> {
        let mut findings = Findings::new("t");
        candidates(form(text), text, &mut findings)
            .into_iter()
            .map(|c| (c.lines.into_iter().map(|l| l.text.into_owned()).collect(), c.defines))
            .collect()
    }

    #[test]
    fn a_patch_in_a_mail_gives_what_it_adds() {
        let mail = "Archive &amp; lists\nSubject: x\n\ndiff --git a/f.c b/f.c\n--- a/f.c\n+++ b/f.c\n\
                    @@ -1,4 +1,6 @@ int f(void)\n }\n \n-/* old: a\n+/**\n+ * sys_f - F\n+ *   a &lt; b\n  */\n \
                    SYSCALL_DEFINE1(f, int, a)\n-- \n2.1\n\n/**\n * sys_g - not in the patch\n */\n";
        assert_eq!(form(mail), Form::Patch);
        let lines = vec!["sys_f - F".to_owned(), "  a < b".to_owned()];
        assert_eq!(texts(mail), [(lines, Some("f".to_owned()))]);
    }

    #[test]
    fn columns_count_what_was_taken_away() {
        let text = "\t/**\n\t * sys_f - F\n";
        let mut findings = Findings::new("t");
        let found = candidates(Form::C, text, &mut findings);
        assert_eq!(found[0].lines[0].place, Place { line: 2, column: 5 });
        let finding = &findings.finish()[0];
        assert_eq!((finding.place.line, finding.expected.as_str()), (1, "`*/`"));
    }

    #[test]
    fn comments_in_c_code() {
        let text = "/* no */\n/** a - b */\n/***/\n/**** x */\n/**\n *c - d\n * @p: q\n\tfree\n */\n\nstatic\n\
                    COMPAT_SYSCALL_DEFINE2(c, int, x)\n";
        let (a, c) = (vec!["a - b ".to_owned()], vec!["c - d", "@p: q", "\tfree"]);
        let c = c.into_iter().map(str::to_owned).collect();
        assert_eq!(texts(text), [(a, None), (c, Some("c".to_owned()))]);
    }

    #[test]
    fn a_plain_text_can_have_several() {
        let text = "\nsys_a - A\nerror: E, x\n  - y\n\nsys_b - B\n";
        assert_eq!(form(text), Form::Plain);
        assert_eq!(texts(text).len(), 2);
        assert_eq!(form("Kernel API Specification\n====\n"), Form::Debugfs);
        assert_eq!(form("sys_a - A\nexamples:\n  /** x */\n"), Form::Plain);
        assert_eq!(form(""), Form::Plain);
    }
}
