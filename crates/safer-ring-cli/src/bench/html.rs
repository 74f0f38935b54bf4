//! The report as one self-contained HTML file: tables, and bar charts as inline SVG. No script, no external resource.

use std::fmt::Write as _;

use super::Report;
use super::plan::{SCENARIOS, Scenario};
use super::run::Row;
use super::table::{facts, figure, fraction, per_cpu_second, summary_lines, verdict};
use crate::imp::{self, Family, Imp};
use crate::num::{float, whole};

const STYLE: &str = "
:root{color-scheme:light dark;--bg:#fff;--fg:#1b1f24;--soft:#5b6470;--line:#d8dde3;--raw:#8a94a0;--old:#c98a3a;--ours:#2f7dd1}
@media (prefers-color-scheme:dark){:root{--bg:#14171b;--fg:#e6e9ed;--soft:#9aa4b0;--line:#333a43;--raw:#7d8792;--old:#d59a4d;--ours:#5aa2ee}}
body{background:var(--bg);color:var(--fg);font:16px/1.5 system-ui,sans-serif;margin:0 auto;max-width:70rem;padding:1rem}
h1{font-size:1.5rem}h2{font-size:1.15rem;margin-top:2.2rem}.soft{color:var(--soft)}
.scroll{overflow-x:auto}table{border-collapse:collapse;font-variant-numeric:tabular-nums;white-space:nowrap;font-size:.9rem}
th,td{padding:.25rem .6rem;border-bottom:1px solid var(--line);text-align:right}th:first-child,td:first-child{text-align:left}
th{color:var(--soft);font-weight:600;vertical-align:bottom}dl{display:grid;grid-template-columns:max-content 1fr;gap:.1rem .8rem;font-size:.9rem}
dt{color:var(--soft)}dd{margin:0;overflow-wrap:anywhere}svg{width:100%;height:auto;max-width:46rem;display:block;margin:.6rem 0}
svg text{fill:var(--fg);font:13px system-ui,sans-serif}svg .t{fill:var(--soft)}.raw{fill:var(--raw)}.old{fill:var(--old)}.ours{fill:var(--ours)}
";

/// Text with the characters that HTML gives a meaning replaced.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

/// The whole file.
pub(crate) fn page(report: &Report) -> String {
    let mut out = String::from("<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">");
    out.push_str("<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">");
    let _ = write!(out, "<title>Safer-Ring bench, {}</title>", escape(&report.machine.date));
    let _ = write!(out, "<style>{STYLE}</style></head>\n<body><h1>Safer-Ring bench</h1>\n<dl>");
    for (name, value) in facts(&report.machine) {
        let _ = write!(out, "<dt>{}</dt><dd>{}</dd>", escape(name), escape(&value));
    }
    out.push_str("</dl>\n");
    summary(&mut out, report);
    for scenario in &SCENARIOS {
        let rows: Vec<_> = report.rows_of(scenario).collect();
        if !rows.is_empty() {
            section(&mut out, scenario, &rows);
        }
    }
    out.push_str("<h2>Implementations</h2><dl>");
    for imp in imp::ALL.iter().filter(|imp| report.rows.iter().any(|row| row.imp == **imp)) {
        let _ = write!(out, "<dt>{}</dt><dd>{}</dd>", escape(imp.name), escape(imp.what));
    }
    out.push_str("</dl>\n<h2>Notes</h2><ul>");
    for note in &report.notes {
        let _ = write!(out, "<li>{}</li>", escape(note));
    }
    out.push_str("</ul></body></html>\n");
    out
}

fn summary(out: &mut String, report: &Report) {
    out.push_str("<h2>Summary</h2><p class=\"soft\">Operations per CPU-second, relative to the best way without io_uring; ");
    out.push_str(
        "higher is better.</p><div class=\"scroll\"><table><tr><th>work</th><th>scenario</th>",
    );
    out.push_str("<th>traditional</th><th>raw io_uring</th><th>Safer-Ring</th></tr>");
    for line in summary_lines(report) {
        let _ = write!(out, "<tr><td>{}</td><td>{}</td>", escape(line.name), escape(line.scenario));
        for cell in &line.cells {
            let _ = write!(out, "<td>{}</td>", escape(cell));
        }
        out.push_str("</tr>");
    }
    out.push_str("</table></div>\n");
}

fn section(out: &mut String, scenario: &Scenario, rows: &[&Row]) {
    let _ = writeln!(
        out,
        "<h2>{}</h2><p class=\"soft\">{}</p>",
        escape(scenario.name),
        escape(scenario.what)
    );
    chart(out, "CPU time per operation, ns (lower is better)", rows, |row| Some(row.cpu_ns.median));
    chart(out, "median latency, \u{b5}s (lower is better)", rows, |row| row.p50_us);
    chart(out, "99th percentile of latency, \u{b5}s (lower is better)", rows, |row| row.p99_us);
    table(out, rows);
}

fn class(imp: &Imp) -> &'static str {
    match imp.family {
        Family::Ours => "ours",
        Family::Traditional => "old",
        Family::Raw => "raw",
    }
}

/// A bar for each row that has the figure. Bars start at zero and share one linear scale.
fn chart(out: &mut String, title: &str, rows: &[&Row], figure_of: fn(&Row) -> Option<f64>) {
    let bars: Vec<(&Imp, f64)> = rows
        .iter()
        .filter_map(|row| Some((row.imp, figure_of(row)?)))
        .filter(|(_, v)| v.is_finite())
        .collect();
    let Some(longest) = bars.iter().map(|(_, value)| *value).max_by(f64::total_cmp) else { return };
    let height = 26 + 24 * bars.len();
    let title = escape(title);
    let _ = write!(out, "<svg viewBox=\"0 0 640 {height}\" role=\"img\" aria-label=\"{title}\">");
    let _ = write!(out, "<text class=\"t\" x=\"0\" y=\"14\">{title}</text>");
    for (number, (imp, value)) in (0..).zip(&bars) {
        let y = 24.0 + 24.0 * float(number);
        let width = (value / longest.max(f64::MIN_POSITIVE) * 390.0).clamp(1.0, 390.0);
        let (name, class, end) = (escape(imp.name), class(imp), 176.0 + width);
        let _ = write!(out, "<text x=\"0\" y=\"{:.0}\">{name}</text>", y + 14.0);
        let _ = write!(
            out,
            "<rect class=\"{class}\" x=\"170\" y=\"{y:.0}\" width=\"{width:.1}\" height=\"18\" rx=\"2\"/>"
        );
        let _ = write!(
            out,
            "<text x=\"{end:.1}\" y=\"{:.0}\">{}</text>",
            y + 14.0,
            escape(&figure(*value))
        );
    }
    out.push_str("</svg>\n");
}

fn table(out: &mut String, rows: &[&Row]) {
    out.push_str("<div class=\"scroll\"><table><tr><th>implementation</th><th>ops/s</th><th>ops per CPU-second</th>");
    out.push_str("<th>CPU, ns/op</th><th>min..max, ns/op</th><th>x raw CPU</th><th>p50, \u{b5}s</th><th>p99, \u{b5}s</th>");
    out.push_str("<th>allocations/op</th><th>enters/op</th><th>peak memory, KiB</th><th>CPU against raw</th></tr>");
    for row in rows {
        let dash = |text: Option<String>| text.unwrap_or_else(|| "\u{2013}".to_owned());
        let cells = [
            row.imp.name.to_owned(),
            whole(row.ops_per_s).to_string(),
            whole(per_cpu_second(row)).to_string(),
            figure(row.cpu_ns.median),
            format!("{}..{}", figure(row.cpu_ns.min), figure(row.cpu_ns.max)),
            dash(row.x_raw.map(|x| figure(x.median))),
            dash(row.p50_us.map(figure)),
            dash(row.p99_us.map(figure)),
            dash(row.allocs_per_op.map(fraction)),
            dash(row.enters_per_op.map(fraction)),
            dash(row.peak_rss_kb.map(|kb| kb.to_string())),
            verdict(row),
        ];
        out.push_str("<tr>");
        for cell in cells {
            let _ = write!(out, "<td>{}</td>", escape(&cell));
        }
        out.push_str("</tr>");
    }
    out.push_str("</table></div>\n");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::table::tests::sample;

    #[test]
    fn markup_in_data_is_escaped() {
        assert_eq!(escape("<a href=\"x\">'&"), "&lt;a href=&quot;x&quot;&gt;&#39;&amp;");
        let page = page(&sample());
        assert!(page.contains("a &lt;note&gt; &amp; more"));
        assert!(page.contains("&lt;SINGLE_ISSUER&gt;"));
        assert!(!page.contains("<note>") && !page.contains("<SINGLE_ISSUER>"));
    }

    #[test]
    fn the_page_stands_alone() {
        let page = page(&sample());
        for external in ["http:", "https:", "src=", "url(", "@import", "<script", "<link"] {
            assert!(!page.contains(external), "{external}");
        }
        assert!(page.contains("prefers-color-scheme:dark") && page.contains("width=device-width"));
    }

    #[test]
    fn every_element_is_closed_and_every_row_has_its_bars() {
        let page = page(&sample());
        for element in ["html", "body", "table", "tr", "svg", "dl", "ul", "div", "text"] {
            let opened = page.matches(&format!("<{element}>")).count()
                + page.matches(&format!("<{element} ")).count();
            assert_eq!(opened, page.matches(&format!("</{element}>")).count(), "{element}");
        }
        assert_eq!(page.matches("<rect").count(), sample().rows.len() * 3);
    }

    #[test]
    fn the_longest_bar_fills_the_chart_and_none_leaves_it() {
        let report = sample();
        let rows: Vec<_> = report.rows.iter().take(5).collect();
        let mut out = String::new();
        chart(&mut out, "t", &rows, |row| Some(row.cpu_ns.median));
        assert_eq!(out.matches("width=\"390.0\"").count(), 1);
        let mut none = String::new();
        chart(&mut none, "t", &rows, |_| None);
        assert_eq!(none, "");
    }
}
