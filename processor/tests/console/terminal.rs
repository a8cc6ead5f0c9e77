use std::{
    io::{self, Write},
    sync::{Arc, Mutex},
    time::Duration,
};

use ratatui::{Terminal, backend::TestBackend};
use sessionwarden::console::{
    Happening, HappeningKind, Status, Verdict,
    status::{print_lines, render},
};
use sessionwarden_machine::ids::Now;
use tokio::{sync::watch, time::timeout};
use tokio_util::sync::CancellationToken;

fn drawn(status: &Status, width: u16, height: u16) -> String {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| render(frame, status)).unwrap();
    terminal.backend().to_string()
}

#[test]
fn at_80_by_24() {
    insta::assert_snapshot!(drawn(&super::busy(), 80, 24), @r#"
    "Sessionwarden  ENFORCE   demonstration       up 1:02:03  lag 1.2 s  overdue 0 ms"
    "╭live─────╮╭verified──╮╭awaiting─╮╭violating─╮╭ended────╮╭incidents─╮╭locked───╮"
    "│   12    ││    431   ││    4    ││    31    ││   30    ││     2    ││    1    │"
    "╰─────────╯╰──────────╯╰─────────╯╰──────────╯╰─────────╯╰──────────╯╰─────────╯"
    " records 1,234,567  relevant 12,345  duplicate 21  parked 1  1,200/s   ▃█▆▂▁▄   "
    "╭ Live sessions: 12, 7 not shown ──────────────────────────────────────────────╮"
    "│verdict       session                 account      age     controls           │"
    "│■ terminating alice-0a1b2c3d4e5f60001 210987654301 0:01:01 port-forwarding    │"
    "│▲ violating   alice-0a1b2c3d4e5f60002 210987654302 0:02:02 log-writable region│"
    "│? unknown     alice-0a1b2c3d4e5f60003 210987654303 0:03:03                    │"
    "│· pending     alice-0a1b2c3d4e5f60004 210987654304 0:04:04                    │"
    "│● compliant   alice-0a1b2c3d4e5f60005 210987654305 0:05:05                    │"
    "│                                                                              │"
    "╰──────────────────────────────────────────────────────────────────────────────╯"
    "╭ What happened (UTC) ──────────────────────────────────────────╮╭ Locked ─────╮"
    "│12:19:16 verified    the log is in the archive  210987654321  a││ 210987654321│"
    "│12:19:15 quarantined 10 sessions ended within 300 s  2109876543││             │"
    "│12:19:14 incident    a log never came  210987654321  alice-0a1b││             │"
    "│12:19:13 terminated  ended 1.2 s after the evidence  2109876543││             │"
    "│12:19:12 violated    port-forwarding is not allowed  2109876543││             │"
    "│12:19:11 changed     role warden-node lost the session log buck││             │"
    "│12:19:10 started     developer/alice on i-0123456789abc0005  21││             │"
    "╰───────────────────────────────────────────────────────────────╯╰─────────────╯"
    " q  stop   480 sessions seen, 13 open                                           "
    "#);
}

#[test]
fn at_120_by_40() {
    insta::assert_snapshot!(drawn(&super::busy(), 120, 40), @r#"
    "Sessionwarden  ENFORCE   demonstration                                               up 1:02:03  lag 1.2 s  overdue 0 ms"
    "╭live───────────╮╭verified───────╮╭awaiting log───╮╭violating───────╮╭ended──────────╮╭incidents──────╮╭locked─────────╮"
    "│      12       ││      431      ││       4       ││       31       ││      30       ││       2       ││       1       │"
    "╰───────────────╯╰───────────────╯╰───────────────╯╰────────────────╯╰───────────────╯╰───────────────╯╰───────────────╯"
    " records 1,234,567  relevant 12,345  duplicate 21  parked 1  1,200/s   ▃█▆▂▁▄                                           "
    "╭ Live sessions: 12, 7 not shown ──────────────────────────────────────────────────────────────────────────────────────╮"
    "│verdict       session                 account      principal       node                 age     controls              │"
    "│■ terminating alice-0a1b2c3d4e5f60001 210987654301 developer/alice i-0123456789abc0001  0:01:01 port-forwarding       │"
    "│▲ violating   alice-0a1b2c3d4e5f60002 210987654302 developer/alice i-0123456789abc0002  0:02:02 log-writable region   │"
    "│? unknown     alice-0a1b2c3d4e5f60003 210987654303 developer/alice i-0123456789abc0003  0:03:03                       │"
    "│· pending     alice-0a1b2c3d4e5f60004 210987654304 developer/alice i-0123456789abc0004  0:04:04                       │"
    "│● compliant   alice-0a1b2c3d4e5f60005 210987654305 developer/alice i-0123456789abc0005  0:05:05                       │"
    "│                                                                                                                      │"
    "│                                                                                                                      │"
    "│                                                                                                                      │"
    "│                                                                                                                      │"
    "│                                                                                                                      │"
    "│                                                                                                                      │"
    "│                                                                                                                      │"
    "│                                                                                                                      │"
    "│                                                                                                                      │"
    "╰──────────────────────────────────────────────────────────────────────────────────────────────────────────────────────╯"
    "╭ What happened (UTC) ──────────────────────────────────────────────────────────────────────────────────╮╭ Locked ─────╮"
    "│12:19:16 verified    the log is in the archive  210987654321  alice-0a1b2c3d4e5f60001                  ││ 210987654321│"
    "│12:19:15 quarantined 10 sessions ended within 300 s  210987654321  alice-0a1b2c3d4e5f60001             ││             │"
    "│12:19:14 incident    a log never came  210987654321  alice-0a1b2c3d4e5f60001                           ││             │"
    "│12:19:13 terminated  ended 1.2 s after the evidence  210987654321  alice-0a1b2c3d4e5f60001             ││             │"
    "│12:19:12 violated    port-forwarding is not allowed  210987654321  alice-0a1b2c3d4e5f60001             ││             │"
    "│12:19:11 changed     role warden-node lost the session log bucket  210987654321  alice-0a1b2c3d4e5f6000││             │"
    "│12:19:10 started     developer/alice on i-0123456789abc0005  210987654321  alice-0a1b2c3d4e5f60001     ││             │"
    "│                                                                                                       ││             │"
    "│                                                                                                       ││             │"
    "│                                                                                                       ││             │"
    "│                                                                                                       ││             │"
    "│                                                                                                       ││             │"
    "│                                                                                                       ││             │"
    "│                                                                                                       ││             │"
    "│                                                                                                       ││             │"
    "╰───────────────────────────────────────────────────────────────────────────────────────────────────────╯╰─────────────╯"
    " q  stop   480 sessions seen, 13 open                                                                                   "
    "#);
}

#[test]
fn at_20_by_5() {
    insta::assert_snapshot!(drawn(&super::busy(), 20, 5), @r#"
    "Sessionwarden  ENFOR"
    "12 live 30 ended 2 i"
    "12:19:16 verified   "
    "12:19:15 quarantined"
    "12:19:14 incident   "
    "#);
}

#[test]
fn before_anything_happened() {
    insta::assert_snapshot!(drawn(&Status::default(), 80, 24), @r#"
    "Sessionwarden  observe                        up 0:00:00  lag 0 ms  overdue 0 ms"
    "╭live─────╮╭verified──╮╭awaiting─╮╭violating─╮╭ended────╮╭incidents─╮╭locked───╮"
    "│    0    ││     0    ││    0    ││     0    ││    0    ││     0    ││    0    │"
    "╰─────────╯╰──────────╯╰─────────╯╰──────────╯╰─────────╯╰──────────╯╰─────────╯"
    " records 0  relevant 0  duplicate 0  parked 0                                   "
    "╭ Live sessions: 0 ────────────────────────────────────────────────────────────╮"
    "│                              no session is live                              │"
    "│                                                                              │"
    "│                                                                              │"
    "│                                                                              │"
    "│                                                                              │"
    "│                                                                              │"
    "│                                                                              │"
    "╰──────────────────────────────────────────────────────────────────────────────╯"
    "╭ What happened (UTC) ──────────────────────────────────────────╮╭ Locked ─────╮"
    "│                                                               ││ none        │"
    "│                                                               ││             │"
    "│                                                               ││             │"
    "│                                                               ││             │"
    "│                                                               ││             │"
    "│                                                               ││             │"
    "│                                                               ││             │"
    "╰───────────────────────────────────────────────────────────────╯╰─────────────╯"
    " q  stop   0 sessions seen, 0 open                                              "
    "#);
}

#[test]
fn any_size_is_drawn() {
    let mut full = super::busy();
    full.sessions = (0..200).map(|number| super::session(number, Verdict::Violating, &["a-control"])).collect();
    full.quarantined = (0..100).map(super::account).collect();
    full.lag_ms = u64::MAX;
    full.oldest_overdue_ms = u64::MAX;
    full.counts.records_read = u64::MAX;
    for (width, height) in (1..=130).step_by(3).flat_map(|width| (1..=45).step_by(2).map(move |height| (width, height)))
    {
        let text = drawn(&full, width, height);
        assert_eq!(text.lines().count(), usize::from(height), "{width}x{height}");
    }
}

#[test]
fn text_from_events_does_not_steer_the_terminal() {
    let mut status = Status::default();
    status.note(Happening::new(Now(0), HappeningKind::Violated, "\u{1b}[2Jgone\r\nforged\u{7}\u{9b}2J"));
    assert!(!drawn(&status, 80, 24).contains(['\u{1b}', '\u{7}', '\u{9b}', '\r']));
}

#[test]
fn no_list_grows_without_bound() {
    let mut status = Status::default();
    for number in 0..500 {
        status.note(Happening::new(Now(number), HappeningKind::Notice, "tick"));
        status.note_rate(1);
    }
    assert_eq!((status.recent.len(), status.recent.back().unwrap().number), (Status::RECENT_MAX, 500));
    assert_eq!(status.records_per_second.len(), Status::RATE_MAX);
}

#[derive(Clone, Default)]
struct Shared(Arc<Mutex<Vec<u8>>>);

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Shared {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }

    async fn until(&self, lines: usize) {
        let enough = async {
            while self.text().lines().count() < lines {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        timeout(Duration::from_secs(5), enough).await.expect("lines in time");
    }
}

#[tokio::test]
async fn without_a_terminal_each_happening_is_one_line() {
    let (sender, status) = watch::channel(super::busy());
    let (out, stop) = (Shared::default(), CancellationToken::new());
    let printing = tokio::spawn(print_lines(out.clone(), status, stop.clone()));
    out.until(7).await;

    sender.send_modify(|status| {
        status.note(Happening::new(Now(1_722_514_760_000), HappeningKind::Parked, "bad\u{1b}[2J\nrecord"));
    });
    out.until(8).await;
    sender.send_modify(|status| {
        for _ in 0..60 {
            status.note(Happening::new(Now(1_722_514_761_000), HappeningKind::Notice, "tick"));
        }
    });
    out.until(8 + 1 + 50).await;
    sender.send_modify(|status| status.note(Happening::new(Now(0), HappeningKind::Released, "last")));
    stop.cancel();
    timeout(Duration::from_secs(5), printing).await.unwrap().unwrap().unwrap();

    let text = out.text();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 60);
    let kept = [&lines[..10], &lines[59..]].concat();
    insta::assert_snapshot!(kept.join("\n"), @r#"
    12:19:10 started     210987654321 alice-0a1b2c3d4e5f60001 developer/alice on i-0123456789abc0005
    12:19:11 changed     210987654321 alice-0a1b2c3d4e5f60001 role warden-node lost the session log bucket
    12:19:12 violated    210987654321 alice-0a1b2c3d4e5f60001 port-forwarding is not allowed
    12:19:13 terminated  210987654321 alice-0a1b2c3d4e5f60001 ended 1.2 s after the evidence
    12:19:14 incident    210987654321 alice-0a1b2c3d4e5f60001 a log never came
    12:19:15 quarantined 210987654321 alice-0a1b2c3d4e5f60001 10 sessions ended within 300 s
    12:19:16 verified    210987654321 alice-0a1b2c3d4e5f60001 the log is in the archive
    12:19:20 parked      bad�[2J�record
    … 10 more
    12:19:21 notice      tick
    00:00:00 released    last
    "#);
}

struct Closed;

impl Write for Closed {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(io::ErrorKind::BrokenPipe.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn a_reader_that_went_away_stops_the_lines_and_not_the_service() {
    let (_sender, status) = watch::channel(super::busy());
    let stop = CancellationToken::new();
    timeout(Duration::from_secs(5), print_lines(Closed, status, stop.clone())).await.unwrap().unwrap();
    assert!(!stop.is_cancelled());
}
