use ratatui::{
    Frame,
    layout::{Alignment, Constraint, Layout, Rect},
    style::{Color, Modifier, Style, Stylize},
    text::{Line, Span},
    widgets::{Block, BorderType, Cell, Paragraph, Row, Sparkline, Table},
};
use sessionwarden_machine::effect::Mode;

use crate::console::{Happening, HappeningKind, LiveSession, Status, Verdict, clock, grouped, span, time_of_day};

const GOOD: Color = Color::Green;
const BAD: Color = Color::Red;
const DOUBT: Color = Color::Yellow;
const ACCENT: Color = Color::Cyan;
const DIM: Color = Color::DarkGray;

/// The columns of the live sessions: name, width, and how wide the frame must be to show it.
const COLUMNS: [(&str, Constraint, u16); 9] = [
    ("verdict", Constraint::Length(13), 0),
    ("session", Constraint::Length(23), 0),
    ("account", Constraint::Length(12), 0),
    ("region", Constraint::Length(14), 150),
    ("principal", Constraint::Fill(2), 100),
    ("node", Constraint::Length(20), 110),
    ("document", Constraint::Fill(3), 150),
    ("age", Constraint::Length(7), 0),
    ("controls", Constraint::Fill(3), 0),
];

/// Draws `status` into the whole frame, whatever its size.
pub fn render(frame: &mut Frame<'_>, status: &Status) {
    let area = frame.area();
    if area.width < 60 || area.height < 16 {
        return render_small(frame, area, status);
    }
    let [head, tiles, records, middle, bottom, foot] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(3),
        Constraint::Length(1),
        Constraint::Fill(1),
        Constraint::Fill(1),
        Constraint::Length(1),
    ])
    .areas(area);
    header(frame, head, status);
    counters(frame, tiles, status);
    throughput(frame, records, status);
    sessions(frame, middle, status);
    let [left, right] = Layout::horizontal([Constraint::Fill(1), Constraint::Length(15)]).areas(bottom);
    recent(frame, left, status);
    quarantined(frame, right, status);
    footer(frame, foot, status);
}

fn render_small(frame: &mut Frame<'_>, area: Rect, status: &Status) {
    let [head, numbers, rest] =
        Layout::vertical([Constraint::Length(1), Constraint::Length(1), Constraint::Fill(1)]).areas(area);
    header(frame, head, status);
    let counts = &status.counts;
    let line = Line::from(vec![
        number(counts.sessions_live, ACCENT),
        " live ".into(),
        number(counts.terminations, BAD),
        " ended ".into(),
        number(counts.incidents_open, DOUBT),
        " incidents ".into(),
        number(status.quarantined.len() as u64, BAD),
        " locked".into(),
    ]);
    frame.render_widget(line, numbers);
    let lines: Vec<Line<'_>> =
        status.recent.iter().rev().take(usize::from(rest.height)).map(|happening| told(happening)).collect();
    frame.render_widget(Paragraph::new(lines), rest);
}

fn header(frame: &mut Frame<'_>, area: Rect, status: &Status) {
    let mode = match status.mode {
        Mode::Observe => Span::styled(" observe ", Style::new().fg(Color::Black).bg(ACCENT)),
        Mode::Enforce => Span::styled(" ENFORCE ", Style::new().fg(Color::White).bg(BAD).bold()),
    };
    let left = Line::from(vec![
        Span::styled("Sessionwarden ", Style::new().bold()),
        mode,
        Span::styled(format!("  {}", status.source), Style::new().fg(DIM)),
    ]);
    let late = |ms, some, much| match ms {
        ms if ms > much => BAD,
        ms if ms > some => DOUBT,
        _ => GOOD,
    };
    let right = Line::from(vec![
        Span::raw(format!("up {}", clock(status.uptime_ms))),
        "  lag ".fg(DIM),
        Span::styled(span(status.lag_ms), Style::new().fg(late(status.lag_ms, 10_000, 60_000))),
        "  overdue ".fg(DIM),
        Span::styled(span(status.oldest_overdue_ms), Style::new().fg(late(status.oldest_overdue_ms, 1_000, 15_000))),
    ]);
    let width = (right.width() as u16).min(area.width.saturating_sub(24));
    let [start, end] = Layout::horizontal([Constraint::Fill(1), Constraint::Length(width)]).areas(area);
    frame.render_widget(left, start);
    frame.render_widget(right, end);
}

fn number(number: u64, alarm: Color) -> Span<'static> {
    let colour = if number == 0 { DIM } else { alarm };
    Span::styled(grouped(number), Style::new().fg(colour).bold())
}

fn counters(frame: &mut Frame<'_>, area: Rect, status: &Status) {
    let counts = &status.counts;
    let tiles = [
        ("live", counts.sessions_live, ACCENT),
        ("verified", counts.sessions_verified, GOOD),
        ("awaiting log", counts.sessions_awaiting_log, DOUBT),
        ("violating", counts.sessions_violating, BAD),
        ("ended", counts.terminations, BAD),
        ("incidents", counts.incidents_open, DOUBT),
        ("locked", status.quarantined.len() as u64, BAD),
    ];
    let cells = Layout::horizontal([Constraint::Fill(1); 7]).split(area);
    for ((name, value, alarm), cell) in tiles.into_iter().zip(cells.iter()) {
        let colour = if value == 0 { DIM } else { alarm };
        let name = if cell.width >= name.len() as u16 + 2 { name } else { name.split(' ').next().unwrap_or(name) };
        let tile = Block::bordered().border_type(BorderType::Rounded).border_style(Style::new().fg(colour));
        let tile = tile.title(Span::styled(name, Style::new().fg(Color::Reset)));
        let shown = Line::from(number(value, alarm)).alignment(Alignment::Center);
        frame.render_widget(Paragraph::new(shown).block(tile), *cell);
    }
}

fn throughput(frame: &mut Frame<'_>, area: Rect, status: &Status) {
    let counts = &status.counts;
    let mut spans = vec![" records ".fg(DIM), Span::styled(grouped(counts.records_read), Style::new().bold())];
    for (name, value, colour) in [
        ("relevant", counts.records_relevant, ACCENT),
        ("duplicate", counts.records_duplicate, Color::Reset),
        ("parked", counts.records_poison, DOUBT),
    ] {
        spans.push(Span::styled(format!("  {name} "), Style::new().fg(DIM)));
        spans.push(number(value, colour));
    }
    if let Some(rate) = status.records_per_second.back() {
        spans.push(Span::styled(format!("  {}/s ", grouped(*rate)), Style::new().fg(DIM)));
    }
    let line = Line::from(spans);
    let [left, right] = Layout::horizontal([Constraint::Length(line.width() as u16), Constraint::Fill(1)]).areas(area);
    frame.render_widget(line, left);
    let skipped = status.records_per_second.len().saturating_sub(usize::from(right.width));
    let rates = status.records_per_second.iter().skip(skipped).copied();
    frame.render_widget(Sparkline::default().data(rates).style(Style::new().fg(ACCENT)), right);
}

fn panel(title: String) -> Block<'static> {
    Block::bordered()
        .border_type(BorderType::Rounded)
        .border_style(Style::new().fg(DIM))
        .title(Span::styled(title, Style::new().fg(Color::Reset).add_modifier(Modifier::BOLD)))
}

fn sessions(frame: &mut Frame<'_>, area: Rect, status: &Status) {
    let rows_max = usize::from(area.height.saturating_sub(3));
    let live = status.counts.sessions_live.max(status.sessions.len() as u64);
    let hidden = live.saturating_sub(rows_max.min(status.sessions.len()) as u64);
    let more = if hidden > 0 { format!(", {} not shown", grouped(hidden)) } else { String::new() };
    let block = panel(format!(" Live sessions: {}{more} ", grouped(live)));
    if status.sessions.is_empty() {
        let none = Paragraph::new("no session is live".fg(DIM)).alignment(Alignment::Center).block(block);
        return frame.render_widget(none, area);
    }
    let shown: Vec<bool> = COLUMNS.iter().map(|(_, _, width_min)| area.width >= *width_min).collect();
    let rows = status.sessions.iter().take(rows_max).map(|session| {
        Row::new(cells(session).into_iter().zip(&shown).filter(|(_, shown)| **shown).map(|(cell, _)| cell))
    });
    let columns = COLUMNS.iter().zip(&shown).filter(|(_, shown)| **shown).map(|(column, _)| column);
    let header = Row::new(columns.clone().map(|(name, _, _)| *name)).style(Style::new().fg(DIM));
    let widths = columns.map(|(_, width, _)| *width);
    frame.render_widget(Table::new(rows, widths).header(header).block(block), area);
}

fn cells(session: &LiveSession) -> [Cell<'static>; COLUMNS.len()] {
    let (mark, colour) = match session.verdict {
        Verdict::Pending => ("·", DIM),
        Verdict::Compliant => ("●", GOOD),
        Verdict::Unknown => ("?", DOUBT),
        Verdict::Violating => ("▲", BAD),
        Verdict::Terminating => ("■", BAD),
    };
    let cell = |text: &str| Cell::from(text.to_owned());
    [
        cell(&format!("{mark} {}", session.verdict.as_str())).style(Style::new().fg(colour)),
        cell(&session.key.id),
        cell(&session.key.account.to_string()),
        cell(&session.key.region),
        cell(&session.principal),
        cell(&session.target),
        cell(&session.document),
        cell(&clock(session.age_ms)),
        cell(&session.controls.join(" ")).style(Style::new().fg(BAD)),
    ]
}

fn recent(frame: &mut Frame<'_>, area: Rect, status: &Status) {
    let height = usize::from(area.height.saturating_sub(2));
    let lines: Vec<Line<'_>> = status.recent.iter().rev().take(height).map(|happening| told(happening)).collect();
    frame.render_widget(Paragraph::new(lines).block(panel(" What happened (UTC) ".to_owned())), area);
}

fn told(happening: &Happening) -> Line<'static> {
    let colour = match happening.kind {
        HappeningKind::Violated | HappeningKind::Terminated | HappeningKind::Incident | HappeningKind::Quarantined => {
            BAD
        }
        HappeningKind::Verified | HappeningKind::Resolved | HappeningKind::Released => GOOD,
        HappeningKind::Changed | HappeningKind::Parked => DOUBT,
        HappeningKind::Started | HappeningKind::Ended => ACCENT,
        HappeningKind::Notice => Color::Reset,
    };
    let mut spans = vec![
        Span::styled(time_of_day(happening.at), Style::new().fg(DIM)),
        Span::styled(format!(" {:<11} ", happening.kind.as_str()), Style::new().fg(colour).bold()),
    ];
    spans.push(Span::raw(happening.text.to_string()));
    let account = happening.account.map(|account| account.to_string());
    for id in [account.as_deref(), happening.session.as_deref()].into_iter().flatten() {
        spans.push(Span::styled(format!("  {id}"), Style::new().fg(DIM)));
    }
    Line::from(spans)
}

fn quarantined(frame: &mut Frame<'_>, area: Rect, status: &Status) {
    let height = usize::from(area.height.saturating_sub(2));
    let mut lines: Vec<Line<'_>> = status
        .quarantined
        .iter()
        .take(height)
        .map(|account| Line::from(Span::styled(format!(" {account}"), Style::new().fg(BAD).bold())))
        .collect();
    let hidden = status.quarantined.len().saturating_sub(height);
    if hidden > 0 {
        lines.pop();
        lines.push(Line::from(format!(" and {} more", hidden + 1)));
    }
    if lines.is_empty() {
        lines.push(Line::from(" none".fg(DIM)));
    }
    frame.render_widget(Paragraph::new(lines).block(panel(" Locked ".to_owned())), area);
}

fn footer(frame: &mut Frame<'_>, area: Rect, status: &Status) {
    let line = Line::from(vec![
        Span::styled(" q ", Style::new().fg(Color::Black).bg(DIM)),
        Span::raw(" stop"),
        Span::styled(
            format!(
                "   {} sessions seen, {} open",
                grouped(status.counts.sessions_seen),
                grouped(status.counts.sessions_open)
            ),
            Style::new().fg(DIM),
        ),
    ]);
    frame.render_widget(line, area);
}
