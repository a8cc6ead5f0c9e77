//! How many lines of each kind a stream has, worked out before the first is written.

use std::ops::RangeInclusive;

/// How many sessions a stream has at the most when nobody says how many.
pub const SESSIONS_DEFAULT: u64 = 1_000;

/// What is asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct Wish {
    /// Lines in all, repeated ones included.
    pub events: u64,
    /// The share of lines that matter to Sessionwarden, from 0 to 1.
    pub relevant: f64,
    /// Sessions started; where absent, [`SESSIONS_DEFAULT`] or a third of the relevant lines, whichever is less.
    pub sessions: Option<u64>,
    /// The share of lines that repeat an earlier one, from 0 to 1.
    pub duplicates: f64,
    /// The share of sessions with a forbidden document or target, from 0 to 1.
    pub violating: f64,
    /// The share of sessions that are terminated, from 0 to 1.
    pub ended: f64,
    /// Calls of the threat catalogue.
    pub tampering: u64,
}

/// Lines by kind; they add up to the events asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// `StartSession`.
    pub starts: u64,
    /// `TerminateSession`, one for each session that ends.
    pub ends: u64,
    /// `ResumeSession`.
    pub resumes: u64,
    /// Calls of the threat catalogue.
    pub tampering: u64,
    /// Sessions that violate a control, of all that start.
    pub violating: u64,
    /// Calls that do not matter.
    pub background: u64,
    /// Repetitions of lines that matter.
    pub relevant_duplicates: u64,
    /// Repetitions of lines that do not.
    pub background_duplicates: u64,
}

/// Why a stream cannot be made.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum PlanError {
    /// More sessions than lines that could start them.
    #[error("{sessions} sessions need as many relevant events, but --events and --relevant give {relevant}")]
    TooManySessions {
        /// Sessions asked for.
        sessions: u64,
        /// Lines that matter.
        relevant: u64,
    },
    /// A share outside its bounds.
    #[error("{name} must be from {} to {}, not {value}", bounds.start(), bounds.end())]
    Share {
        /// Which share.
        name: &'static str,
        /// What it was.
        value: f64,
        /// What it may be.
        bounds: RangeInclusive<f64>,
    },
}

impl Plan {
    /// Divides the lines. Sessions come first: where relevant lines are short, fewer are repeated, then less is
    /// tampered with, then fewer sessions end. Relevant lines left over become resumes, or tampering where there is no
    /// session.
    ///
    /// # Errors
    /// More sessions than relevant lines; a share that is not from 0 to 1.
    pub fn new(wish: &Wish) -> Result<Self, PlanError> {
        let shares = [
            ("--relevant", wish.relevant),
            ("--duplicates", wish.duplicates),
            ("--violating", wish.violating),
            ("--ended", wish.ended),
        ];
        if let Some((name, value)) = shares.into_iter().find(|(_, value)| !(0.0..=1.0).contains(value)) {
            return Err(PlanError::Share { name, value, bounds: 0.0..=1.0 });
        }
        let relevant = part(wish.events, wish.relevant);
        let starts = wish.sessions.unwrap_or(SESSIONS_DEFAULT.min(relevant / 3));
        if starts > relevant {
            return Err(PlanError::TooManySessions { sessions: starts, relevant });
        }
        // Something has to come first before it can be repeated.
        let relevant_duplicates = part(relevant, wish.duplicates).min(relevant - starts.max(relevant.min(1)));
        let left = relevant - relevant_duplicates - starts;
        let tampering = if starts == 0 { left } else { wish.tampering.min(left) };
        let ends = part(starts, wish.ended).min(left - tampering);
        let quiet = wish.events - relevant;
        let background_duplicates = part(quiet, wish.duplicates).min(quiet.saturating_sub(1));
        Ok(Self {
            starts,
            ends,
            resumes: left - tampering - ends,
            tampering,
            violating: part(starts, wish.violating),
            background: quiet - background_duplicates,
            relevant_duplicates,
            background_duplicates,
        })
    }

    /// Lines in all.
    pub fn events(&self) -> u64 {
        self.relevant() + self.background + self.background_duplicates
    }

    /// Lines that matter, repeated ones included.
    pub fn relevant(&self) -> u64 {
        self.starts + self.ends + self.resumes + self.tampering + self.relevant_duplicates
    }
}

fn part(of: u64, share: f64) -> u64 {
    (of as f64 * share).round() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wish(events: u64, relevant: f64, sessions: u64) -> Wish {
        Wish { events, relevant, sessions: Some(sessions), duplicates: 0.02, violating: 0.1, ended: 0.6, tampering: 7 }
    }

    #[test]
    fn lines_add_up() {
        let plan = Plan::new(&wish(300_000, 0.01, 1_000)).unwrap();
        assert_eq!((plan.events(), plan.relevant()), (300_000, 3_000));
        let wanted = Plan {
            starts: 1_000,
            ends: 600,
            resumes: 1_333,
            tampering: 7,
            violating: 100,
            background: 291_060,
            relevant_duplicates: 60,
            background_duplicates: 5_940,
        };
        assert_eq!(plan, wanted);
    }

    #[test]
    fn a_million_live_sessions_are_a_million_starts() {
        let plan = Plan::new(&wish(1_000_000, 1.0, 1_000_000)).unwrap();
        let all = Plan { starts: 1_000_000, violating: 100_000, ..Plan::default() };
        assert_eq!(plan, all);
    }

    #[test]
    fn when_lines_are_short_fewer_sessions_end() {
        let plan = Plan::new(&wish(1_000, 1.0, 800)).unwrap();
        assert_eq!((plan.ends, plan.resumes), (173, 0));
        let error = Plan::new(&wish(1_000, 0.5, 501)).unwrap_err();
        assert!(error.to_string().starts_with("501 sessions need as many relevant events"), "{error}");
    }

    #[test]
    fn without_a_number_there_are_as_many_sessions_as_fit() {
        let starts = |events| Plan::new(&Wish { sessions: None, ..wish(events, 0.01, 0) }).unwrap().starts;
        assert_eq!([starts(300_000), starts(30_000), starts(100), starts(0)], [1_000, 100, 0, 0]);
    }

    #[test]
    fn extremes_are_no_trouble() {
        for (events, relevant, sessions) in [(0, 1.0, 0), (1, 1.0, 0), (1, 0.0, 0), (2, 0.5, 1), (10, 1.0, 0)] {
            for duplicates in [0.0, 0.5, 1.0] {
                let plan = Plan::new(&Wish { duplicates, ..wish(events, relevant, sessions) }).unwrap();
                assert_eq!(plan.events(), events);
            }
        }
        let error = Plan::new(&Wish { duplicates: 1.5, ..wish(1, 0.0, 0) }).unwrap_err();
        assert_eq!(error.to_string(), "--duplicates must be from 0 to 1, not 1.5");
        assert!(Plan::new(&Wish { ended: f64::NAN, ..wish(1, 0.0, 0) }).is_err());
    }
}
