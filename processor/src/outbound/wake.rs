//! Wake-ups: which are to be sent, and how long one may wait in a queue.

use std::{collections::BTreeSet, sync::Arc};

use serde::{Deserialize, Serialize};
use sessionwarden_machine::ids::{AccountId, Now};

/// An account and a region: what one wake-up is for.
pub type Lane = (AccountId, Arc<str>);

/// How many planned wake-ups are remembered. Beyond that all are forgotten, which costs duplicates and nothing else.
const PLANNED_MAX: usize = 65_536;
/// How long a wake-up's text may be, in bytes.
const TEXT_BYTES_MAX: usize = 1_024;
/// How long a region's name may be, in bytes.
const REGION_BYTES_MAX: usize = 64;
const DAY_MS: i64 = 86_400_000;
/// How far ahead a wake-up may be due. Nothing waits for a year: such a time is a mistake.
const AHEAD_MS_MAX: i64 = 366 * DAY_MS;

/// "Look at the sessions of this account and region that are due": one message.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Wake {
    /// The account.
    pub account: AccountId,
    /// The region.
    pub region: Arc<str>,
    /// When, in milliseconds since 1970.
    pub due_at: Now,
}

/// Why a text is no wake-up.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WakeError {
    /// It is too long.
    #[error("it has {0} bytes, and a wake-up has at most {TEXT_BYTES_MAX}")]
    Long(usize),
    /// It is no JSON object with an account, a region and a time.
    #[error("it is no wake-up: {0}")]
    Shape(String),
    /// The region is none.
    #[error("{0:?} is no region")]
    Region(String),
    /// It is due more than a year ahead, or before 1970.
    #[error("it is due at {0}, which is out of bounds")]
    Time(Now),
}

impl Wake {
    /// The account and region.
    pub fn lane(&self) -> Lane {
        (self.account, Arc::clone(&self.region))
    }

    /// The message's text: `{"account":"111122223333","region":"eu-west-1","due_at":1795000000000}`.
    pub fn text(&self) -> String {
        serde_json::json!({ "account": self.account, "region": self.region, "due_at": self.due_at }).to_string()
    }

    /// Reads a message's text. Fields that are not known are left alone, so that a newer version may add some.
    ///
    /// # Errors
    /// [`WakeError`] says what is wrong with it; the reason quotes at most 200 characters.
    pub fn parse(text: &str, now: Now) -> Result<Self, WakeError> {
        if text.len() > TEXT_BYTES_MAX {
            return Err(WakeError::Long(text.len()));
        }
        let wake: Self = serde_json::from_str(text)
            .map_err(|error| WakeError::Shape(error.to_string().chars().take(200).collect()))?;
        let region = &*wake.region;
        let letters = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if region.is_empty() || region.len() > REGION_BYTES_MAX || !region.bytes().all(letters) {
            return Err(WakeError::Region(region.chars().take(80).collect()));
        }
        if wake.due_at.0 < 0 || wake.due_at > now.plus_ms(AHEAD_MS_MAX) {
            return Err(WakeError::Time(wake.due_at));
        }
        Ok(wake)
    }
}

/// How many seconds a message waits in the queue: until it is due, and never longer than `seconds_max`. Rounded up, so
/// that it does not come too early.
pub fn delay_seconds(due_at: Now, now: Now, seconds_max: u16) -> u16 {
    let ahead_ms = due_at.0.saturating_sub(now.0).max(0);
    let seconds = ahead_ms / 1_000 + i64::from(ahead_ms % 1_000 > 0);
    u16::try_from(seconds).map_or(seconds_max, |seconds| seconds.min(seconds_max))
}

/// Wake-ups that this worker has sent and that have not fired: one for each account and region and grain of time,
/// however many sessions are due in it (R-W7).
///
/// Who moves a session's due time plans a wake-up for it; who is woken and finds nothing due plans nothing. So a chain that
/// was doubled, by the queue or by two workers, is single again after one round, and no worker needs to know of another.
#[derive(Debug)]
pub struct Planned {
    grain_ms: i64,
    sent: BTreeSet<(Now, Lane)>,
}

impl Planned {
    /// Times are rounded up to multiples of `grain_ms`, at least 1 ms: the larger, the fewer messages, and the later the
    /// rechecks.
    pub fn new(grain_ms: i64) -> Self {
        Self { grain_ms: grain_ms.max(1), sent: BTreeSet::new() }
    }

    /// The wake-ups that are missing for these due times. They count as sent; see [`Self::lost`].
    pub fn plan(&mut self, dues: impl IntoIterator<Item = (Lane, Now)>, now: Now) -> Vec<Wake> {
        while self.sent.first().is_some_and(|(due_at, _)| *due_at <= now) {
            self.sent.pop_first();
        }
        let mut fresh = BTreeSet::new();
        for (lane, due) in dues {
            let due = due.max(now).0;
            let rest = due.rem_euclid(self.grain_ms);
            let due_at = Now(if rest == 0 { due } else { due.saturating_add(self.grain_ms - rest) });
            if self.sent.len() >= PLANNED_MAX {
                self.sent.clear();
            }
            if self.sent.insert((due_at, lane.clone())) {
                fresh.insert((due_at, lane));
            }
        }
        fresh.into_iter().map(|(due_at, (account, region))| Wake { account, region, due_at }).collect()
    }

    /// Takes back a wake-up that could not be sent, so that it is planned again.
    pub fn lost(&mut self, wake: &Wake) {
        self.sent.remove(&(wake.due_at, wake.lane()));
    }

    /// Wake-ups that were sent and have not fired.
    pub fn len(&self) -> usize {
        self.sent.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.sent.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: Now = Now(1_795_000_000_000);

    fn lane(number: u64) -> Lane {
        (AccountId::new(number).unwrap(), "eu-west-1".into())
    }

    #[test]
    fn its_text_is_read_back_and_bad_ones_say_why() {
        let wake = Wake { account: lane(42).0, region: "eu-west-1".into(), due_at: NOW };
        let told: serde_json::Value = serde_json::from_str(&wake.text()).unwrap();
        let wanted =
            serde_json::json!({"account": "000000000042", "region": "eu-west-1", "due_at": 1_795_000_000_000_i64});
        assert_eq!(told, wanted);
        assert_eq!(Wake::parse(&wake.text(), NOW), Ok(wake));
        let more = r#"{"account":"42","region":"eu-west-1","due_at":1,"version":2}"#;
        assert_eq!(Wake::parse(more, NOW).unwrap().due_at, Now(1));
        for (text, reason) in [
            ("", "it is no wake-up: EOF while parsing a value at line 1 column 0"),
            (r#"{"account":"1","region":"eu-west-1"}"#, "it is no wake-up: missing field `due_at` at line 1 column 36"),
            (
                r#"{"account":"x","region":"r","due_at":1}"#,
                "it is no wake-up: account id is not twelve digits at line 1 column 14",
            ),
            (r#"{"account":"1","region":"","due_at":1}"#, "\"\" is no region"),
            (r#"{"account":"1","region":"a b","due_at":1}"#, "\"a b\" is no region"),
            (
                r#"{"account":"1","region":"r","due_at":-1}"#,
                "it is due at 1969-12-31T23:59:59.999Z, which is out of bounds",
            ),
        ] {
            assert_eq!(Wake::parse(text, NOW).unwrap_err().to_string(), reason, "{text}");
        }
        assert_eq!(Wake::parse(&" ".repeat(1_025), NOW), Err(WakeError::Long(1_025)));
        let far = format!(r#"{{"account":"1","region":"r","due_at":{}}}"#, i64::MAX);
        assert_eq!(Wake::parse(&far, NOW), Err(WakeError::Time(Now(i64::MAX))));
    }

    // R-W7
    #[test]
    fn one_wake_up_for_all_sessions_of_an_account_and_region() {
        let mut planned = Planned::new(1_000);
        let dues =
            |first: i64| (0..1_000).map(move |number| (lane(number % 2), NOW.plus_ms(first + number as i64 % 900)));
        let wakes = planned.plan(dues(50), NOW);
        assert_eq!(wakes.len(), 2);
        assert!(wakes.iter().all(|wake| wake.due_at == NOW.plus_ms(1_000)));
        assert_eq!(planned.plan(dues(60), NOW), [], "they are on their way");
        planned.lost(&wakes[0]);
        assert_eq!(planned.plan(dues(60), NOW), [wakes[0].clone()]);
        // Once they have fired, new ones are sent; what is overdue is due now.
        let later = NOW.plus_ms(1_000);
        assert_eq!(planned.plan([(lane(0), NOW)], later)[0].due_at, later);
        assert_eq!(planned.len(), 1);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut planned = Planned::new(1);
        for ahead in 1..=PLANNED_MAX as i64 + 10 {
            assert_eq!(planned.plan([(lane(1), NOW.plus_ms(ahead))], NOW).len(), 1);
        }
        assert_eq!(planned.len(), 10);
        assert!(!planned.is_empty());
    }

    proptest! {
        #[test]
        fn a_chain_of_waits_ends_when_it_is_due_and_not_before(ahead_ms in 0..1_000_000_000_i64) {
            let due_at = NOW.plus_ms(ahead_ms);
            let (mut now, mut hops) = (NOW, 0);
            while now < due_at {
                let seconds = delay_seconds(due_at, now, 900);
                prop_assert!((1..=900).contains(&seconds));
                now = now.plus_ms(i64::from(seconds) * 1_000);
                hops += 1;
            }
            prop_assert!(now.0 - due_at.0 < 1_000, "late by {} ms", now.0 - due_at.0);
            prop_assert_eq!(hops, (ahead_ms + 899_999) / 900_000);
        }

        #[test]
        fn every_due_time_has_a_wake_up_soon_after(
            dues in prop::collection::vec((0..3_u64, -5_000..60_000_i64), 0..100), grain in 1..5_000_i64,
        ) {
            let mut planned = Planned::new(grain);
            let dues: Vec<(Lane, Now)> = dues.into_iter().map(|(number, ahead)| (lane(number), NOW.plus_ms(ahead))).collect();
            let wakes = planned.plan(dues.clone(), NOW);
            for (lane, due) in dues {
                let due = due.max(NOW);
                let fits = |wake: &&Wake| wake.lane() == lane && wake.due_at >= due && wake.due_at.0 < due.0 + grain;
                prop_assert_eq!(wakes.iter().filter(fits).count(), 1);
            }
        }
    }
}
