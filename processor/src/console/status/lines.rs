use std::fmt::Write;

use crate::console::{Status, time_of_day};

/// The lines for what happened after number `printed`, which is moved on. What is no longer kept is counted.
pub(super) fn since(status: &Status, printed: &mut u64) -> String {
    let mut text = String::new();
    for happening in &status.recent {
        if happening.number <= *printed {
            continue;
        }
        let missed = happening.number - *printed - 1;
        if missed > 0 {
            let _ = writeln!(text, "… {missed} more");
        }
        *printed = happening.number;
        let _ = write!(text, "{} {:<11}", time_of_day(happening.at), happening.kind.as_str());
        if let Some(account) = happening.account {
            let _ = write!(text, " {account}");
        }
        if let Some(session) = &happening.session {
            let _ = write!(text, " {}", printable(session));
        }
        let _ = writeln!(text, " {}", printable(&happening.text));
    }
    text
}

/// Text from events must not steer the terminal of whoever reads it.
fn printable(text: &str) -> String {
    text.chars().map(|letter| if letter.is_control() { '\u{fffd}' } else { letter }).collect()
}
