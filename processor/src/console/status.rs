//! The status on the terminal: a view that redraws itself, or plain lines where there is no terminal.

mod lines;
mod view;

use std::{
    io::{self, IsTerminal, Write},
    time::Duration,
};

use ratatui::{
    DefaultTerminal,
    crossterm::{
        event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers},
        terminal::is_raw_mode_enabled,
    },
};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::Status;

pub use view::render;

const REDRAW_MS: u64 = 200;

/// Whether [`show`] takes the whole terminal; log lines then have to go elsewhere.
pub fn takes_terminal() -> bool {
    io::stdout().is_terminal() && io::stdin().is_terminal()
}

/// Shows the status until `stop` is cancelled or the service drops its end of `status`.
///
/// On a terminal this is the view, in which `q`, Escape and Ctrl-C cancel `stop`; elsewhere one line for each thing that happens.
/// The terminal is put back when it ends, also by a panic; after a panic elsewhere in the process, lines follow.
///
/// # Errors
/// When the terminal cannot be set up or written to. A reader of standard output that went away is no error: nothing
/// more is shown, and the service goes on.
pub async fn show(status: watch::Receiver<Status>, stop: CancellationToken) -> io::Result<()> {
    if takes_terminal() {
        let (view, view_stop) = (status.clone(), stop.clone());
        tokio::task::spawn_blocking(move || full_screen(&view, &view_stop)).await.map_err(io::Error::other)??;
        if stop.is_cancelled() || status.has_changed().is_err() {
            return Ok(());
        }
    }
    print_lines(io::stdout(), status, stop).await
}

/// Writes one line for each thing that happens, until `stop` is cancelled or the service drops its end of `status`.
///
/// # Errors
/// When `out` cannot be written to, except for a broken pipe, which ends the lines quietly.
pub async fn print_lines(
    mut out: impl Write,
    mut status: watch::Receiver<Status>,
    stop: CancellationToken,
) -> io::Result<()> {
    let mut printed = 0;
    loop {
        let text = lines::since(&status.borrow_and_update(), &mut printed);
        match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
            Err(error) => return Err(error),
        }
        tokio::select! {
            biased;
            changed = status.changed() => if changed.is_err() { return Ok(()) },
            () = stop.cancelled() => {
                return out.write_all(lines::since(&status.borrow(), &mut printed).as_bytes());
            }
        }
    }
}

fn full_screen(status: &watch::Receiver<Status>, stop: &CancellationToken) -> io::Result<()> {
    let terminal = ratatui::try_init();
    let shown = terminal.and_then(|mut terminal| redraw(&mut terminal, status, stop));
    let restored = ratatui::try_restore();
    shown.and(restored)
}

fn redraw(
    terminal: &mut DefaultTerminal,
    status: &watch::Receiver<Status>,
    stop: &CancellationToken,
) -> io::Result<()> {
    // A panic anywhere in the process takes the terminal out of raw mode: then the screen is no longer ours.
    while !stop.is_cancelled() && status.has_changed().is_ok() && is_raw_mode_enabled()? {
        let snapshot = status.borrow().clone();
        terminal.draw(|frame| render(frame, &snapshot))?;
        if event::poll(Duration::from_millis(REDRAW_MS))?
            && let Event::Key(key) = event::read()?
            && stops(key)
        {
            stop.cancel();
        }
    }
    Ok(())
}

fn stops(key: KeyEvent) -> bool {
    let control_c = key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL);
    key.kind == KeyEventKind::Press && (control_c || matches!(key.code, KeyCode::Char('q') | KeyCode::Esc))
}
