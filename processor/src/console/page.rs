use std::fmt::{self, Write};

use sessionwarden_machine::effect::Mode;

use super::{Status, clock, grouped, span, time_of_day};

const STYLE: &str = "body{font:14px/1.45 system-ui,sans-serif;margin:1.5rem auto;max-width:72rem;padding:0 1rem;\
color:#1b1f24;background:#fff}h1{font-size:1.3rem;margin:0}h2{font-size:1rem;margin:1.6rem 0 .4rem}\
.mode{padding:.1rem .5rem;border-radius:.3rem;background:#dbeafe;color:#1e3a8a;font-size:.85rem}\
.mode.enforce{background:#fee2e2;color:#991b1b}.tiles{display:flex;flex-wrap:wrap;gap:.6rem;margin:1rem 0}\
.tile{border:1px solid #d0d7de;border-radius:.4rem;padding:.4rem .8rem;min-width:7rem}\
.tile b{display:block;font-size:1.3rem}table{border-collapse:collapse;width:100%}\
td,th{text-align:left;padding:.25rem .6rem;border-bottom:1px solid #e5e7eb;vertical-align:top;\
overflow-wrap:anywhere}th{font-weight:600}.violating,.terminating,.violated,.terminated,.incident,\
.quarantined{color:#b91c1c;font-weight:600}.compliant,.verified,.released,.resolved{color:#15803d}\
.unknown,.changed,.parked{color:#a16207}@media(prefers-color-scheme:dark){body{color:#e6edf3;\
background:#0d1117}.tile,td,th{border-color:#30363d}.violating,.terminating,.violated,.terminated,\
.incident,.quarantined{color:#f87171}.compliant,.verified,.released,.resolved{color:#4ade80}\
.unknown,.changed,.parked{color:#facc15}}";

/// Text for HTML, in elements and in quoted attributes.
struct Escaped<'t>(&'t str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for letter in self.0.chars() {
            match letter {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '"' => f.write_str("&quot;")?,
                '\'' => f.write_str("&#39;")?,
                other => f.write_char(other)?,
            }
        }
        Ok(())
    }
}

/// The status as a page that needs nothing else and asks for itself again every 5 s.
pub(super) fn page(status: &Status) -> String {
    let mut out = String::with_capacity(16 * 1024);
    // Writing to a String cannot fail.
    let _ = write_page(&mut out, status);
    out
}

fn write_page(out: &mut String, status: &Status) -> fmt::Result {
    let mode = match status.mode {
        Mode::Observe => "observe",
        Mode::Enforce => "enforce",
    };
    write!(
        out,
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>Sessionwarden</title>\
         <meta name=\"viewport\" content=\"width=device-width\"><meta http-equiv=\"refresh\" content=\"5\">\
         <style>{STYLE}</style></head><body><h1>Sessionwarden <span class=\"mode {mode}\">{mode}</span></h1>\
         <p>up {} · lag {} · longest overdue recheck {} · source {}</p>",
        clock(status.uptime_ms),
        span(status.lag_ms),
        span(status.oldest_overdue_ms),
        Escaped(&status.source),
    )?;
    write_tiles(out, status)?;
    write_sessions(out, status)?;
    write_quarantined(out, status)?;
    write_recent(out, status)?;
    out.write_str(
        "<p><a href=\"/status\">status as JSON</a> · <a href=\"/metrics\">metrics</a> · \
         <a href=\"/readyz\">readiness</a></p></body></html>\n",
    )
}

fn write_tiles(out: &mut String, status: &Status) -> fmt::Result {
    let counts = &status.counts;
    let tiles = [
        ("sessions live", counts.sessions_live),
        ("sessions seen", counts.sessions_seen),
        ("violating", counts.sessions_violating),
        ("terminated", counts.terminations),
        ("awaiting log", counts.sessions_awaiting_log),
        ("log verified", counts.sessions_verified),
        ("incidents open", counts.incidents_open),
        ("accounts locked", status.quarantined.len() as u64),
        ("records read", counts.records_read),
        ("relevant", counts.records_relevant),
        ("ignored", counts.records_ignored),
        ("duplicate", counts.records_duplicate),
        ("parked", counts.records_poison),
    ];
    out.write_str("<div class=\"tiles\">")?;
    for (name, number) in tiles {
        write!(out, "<div class=\"tile\"><b>{}</b>{name}</div>", grouped(number))?;
    }
    out.write_str("</div>")
}

fn write_sessions(out: &mut String, status: &Status) -> fmt::Result {
    out.write_str(
        "<h2>Live sessions</h2><table><tr><th>verdict</th><th>session</th><th>account</th><th>region</th>\
         <th>principal</th><th>node</th><th>document</th><th>age</th><th>controls</th></tr>",
    )?;
    for session in &status.sessions {
        let verdict = session.verdict.as_str();
        write!(
            out,
            "<tr><td class=\"{verdict}\">{verdict}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td>\
             <td>{}</td><td>{}</td><td>{}</td></tr>",
            Escaped(&session.key.id),
            session.key.account,
            Escaped(&session.key.region),
            Escaped(&session.principal),
            Escaped(&session.target),
            Escaped(&session.document),
            clock(session.age_ms),
            Escaped(&session.controls.join(", ")),
        )?;
    }
    out.write_str("</table>")?;
    let unlisted = status.counts.sessions_live.saturating_sub(status.sessions.len() as u64);
    if unlisted > 0 {
        write!(out, "<p>and {} more</p>", grouped(unlisted))?;
    }
    Ok(())
}

fn write_quarantined(out: &mut String, status: &Status) -> fmt::Result {
    out.write_str("<h2>Locked accounts</h2>")?;
    if status.quarantined.is_empty() {
        return out.write_str("<p>none</p>");
    }
    out.write_str("<ul>")?;
    for account in &status.quarantined {
        write!(out, "<li class=\"quarantined\">{account}</li>")?;
    }
    out.write_str("</ul>")
}

fn write_recent(out: &mut String, status: &Status) -> fmt::Result {
    out.write_str(
        "<h2>What happened</h2><table><tr><th>time (UTC)</th><th>what</th><th>account</th><th>session</th>\
         <th></th></tr>",
    )?;
    for happening in status.recent.iter().rev() {
        let kind = happening.kind.as_str();
        write!(
            out,
            "<tr><td>{}</td><td class=\"{kind}\">{kind}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
            time_of_day(happening.at),
            happening.account.map(|account| account.to_string()).unwrap_or_default(),
            Escaped(happening.session.as_deref().unwrap_or_default()),
            Escaped(&happening.text),
        )?;
    }
    out.write_str("</table>")
}
