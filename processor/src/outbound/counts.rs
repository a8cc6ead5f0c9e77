//! What is counted for CloudWatch, and what of it has left.

use std::{collections::BTreeMap, sync::Arc};

use sessionwarden_machine::ids::{AccountId, Now};

use super::{Datum, MetricSink};
use crate::ports::CallError;

/// How long a dimension's value is at most, in ASCII characters ("Dimension", CloudWatch API reference).
const VALUE_CHARS_MAX: usize = 255;
/// What stands for a value that is empty, as CloudWatch takes no empty one.
const NONE: &str = "none";

/// What is counted apart: sessions that were terminated for a control, in an account and region.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct CountKey {
    /// The account.
    pub account: AccountId,
    /// The region.
    pub region: Arc<str>,
    /// The control that was violated.
    pub control: Arc<str>,
}

/// Under which names counts leave.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MetricNames {
    /// Namespace `Sessionwarden`, metric `TerminatedSessions`: by account, region and control, and by account alone, which
    /// is what an alarm for an account can use, since an alarm cannot search.
    #[default]
    Own,
    /// Those of the guardrail that Sessionwarden replaces, namespace `SSMMonitoringLoggingGuardrails` and metric
    /// `TerminatedSSMSessions` (R-G9): the same two, and one without dimensions, for alarms that are there already.
    Original,
}

impl MetricNames {
    /// The namespace.
    pub fn namespace(self) -> &'static str {
        match self {
            Self::Own => "Sessionwarden",
            Self::Original => "SSMMonitoringLoggingGuardrails",
        }
    }

    /// The metric.
    pub fn metric(self) -> &'static str {
        match self {
            Self::Own => "TerminatedSessions",
            Self::Original => "TerminatedSSMSessions",
        }
    }
}

/// Counts since the start of the process, and how much of each has left. One task owns it.
///
/// Counts come in as absolute numbers, so that giving one twice counts nothing twice (R-W2); what leaves is how much it has
/// grown since the last time that a call succeeded, so that the sum over all workers is the number of sessions. A call whose
/// answer is lost is repeated: an alarm rather sounds early than not at all. Nothing is decided by these sums; the threshold
/// that locks an account looks at the account's own window.
#[derive(Debug, Default)]
pub struct Counts {
    names: MetricNames,
    by_key: BTreeMap<CountKey, Count>,
    /// The total of all, for the metric without dimensions.
    all: Count,
    by_account: BTreeMap<AccountId, Count>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Count {
    total: u64,
    left: u64,
}

/// Which of the counts a datum is of.
#[derive(Clone, Debug)]
enum Source {
    Key(CountKey),
    Account(AccountId),
    All,
}

impl Counts {
    /// No counts, to leave under these names.
    pub fn new(names: MetricNames) -> Self {
        Self { names, ..Self::default() }
    }

    /// Notes that `total` sessions have been counted under `key` since the start. A number that is smaller than the last one
    /// is an old one, and changes nothing. There are at most as many keys as accounts times regions times controls.
    pub fn note(&mut self, key: &CountKey, total: u64) {
        let count = self.by_key.entry(key.clone()).or_default();
        let grown = total.saturating_sub(count.total);
        count.total += grown;
        self.by_account.entry(key.account).or_default().total += grown;
        self.all.total += grown;
    }

    fn pending(&self, now: Now) -> Vec<(Datum, Source)> {
        let mut data = Vec::new();
        let mut add = |count: &Count, source: Source, dimensions: Vec<(&'static str, Arc<str>)>| {
            let value = count.total - count.left;
            if value > 0 {
                data.push((Datum { name: self.names.metric().into(), dimensions, value, at: now }, source));
            }
        };
        for (key, count) in &self.by_key {
            let dimensions = vec![
                ("Account", key.account.to_string().into()),
                ("Region", dimension(&key.region)),
                ("Control", dimension(&key.control)),
            ];
            add(count, Source::Key(key.clone()), dimensions);
        }
        for (account, count) in &self.by_account {
            add(count, Source::Account(*account), vec![("Account", account.to_string().into())]);
        }
        if self.names == MetricNames::Original {
            add(&self.all, Source::All, Vec::new());
        }
        data
    }

    fn leave(&mut self, source: &Source, value: u64) {
        let count = match source {
            Source::Key(key) => self.by_key.get_mut(key),
            Source::Account(account) => self.by_account.get_mut(account),
            Source::All => Some(&mut self.all),
        };
        if let Some(count) = count {
            count.left += value;
        }
    }
}

/// Sends what has been counted and has not left, in batches. Returns how many data left. With an error, what is in the
/// failed batch and after it leaves the next time.
pub async fn publish<S: MetricSink>(counts: &mut Counts, sink: &S, now: Now) -> Result<usize, CallError> {
    let mut left = 0;
    for batch in counts.pending(now).chunks(sink.batch_max().max(1)) {
        let data: Vec<Datum> = batch.iter().map(|(datum, _)| datum.clone()).collect();
        sink.put(counts.names.namespace(), &data).await?;
        for (datum, source) in batch {
            counts.leave(source, datum.value);
        }
        left += batch.len();
    }
    Ok(left)
}

/// A value that CloudWatch takes: printable ASCII, not empty.
fn dimension(text: &str) -> Arc<str> {
    let ascii = |one: char| if one.is_ascii_graphic() || one == ' ' { one } else { '?' };
    let text: String = text.chars().take(VALUE_CHARS_MAX).map(ascii).collect();
    if text.trim().is_empty() { NONE.into() } else { text.into() }
}

#[cfg(test)]
mod tests {
    use std::{cell::Cell, sync::Mutex};

    use super::*;

    #[derive(Default)]
    struct Sink {
        put: Mutex<Vec<Vec<Datum>>>,
        fails: Mutex<Cell<usize>>,
    }

    impl MetricSink for Sink {
        fn batch_max(&self) -> usize {
            4
        }

        async fn put(&self, _: &str, data: &[Datum]) -> Result<(), CallError> {
            let fails = self.fails.lock().unwrap();
            if fails.get() > 0 && self.put.lock().unwrap().len() == 1 {
                fails.set(fails.get() - 1);
                return Err(CallError::Throttled);
            }
            self.put.lock().unwrap().push(data.to_vec());
            Ok(())
        }
    }

    impl Sink {
        fn sum(&self, names: &[&str]) -> u64 {
            let put = self.put.lock().unwrap();
            let same = |datum: &&Datum| datum.dimensions.iter().map(|(name, _)| *name).eq(names.iter().copied());
            put.iter().flatten().filter(same).map(|datum| datum.value).sum()
        }
    }

    const NOW: Now = Now(1_795_000_000_000);

    fn key(account: u64, control: &str) -> CountKey {
        CountKey { account: AccountId::new(account).unwrap(), region: "eu-west-1".into(), control: control.into() }
    }

    // R-W2 R-W3: neither a repeated count nor a failed call changes the sum.
    #[tokio::test]
    async fn what_leaves_adds_up_to_what_was_counted() {
        let (mut counts, sink) = (Counts::new(MetricNames::Original), Sink::default());
        sink.fails.lock().unwrap().set(1);
        for _ in 0..2 {
            for account in 1..=3 {
                counts.note(&key(account, "document"), 2);
                counts.note(&key(account, "role"), account);
            }
        }
        assert_eq!(publish(&mut counts, &sink, NOW).await, Err(CallError::Throttled));
        counts.note(&key(1, "role"), 5);
        assert_eq!(
            publish(&mut counts, &sink, NOW).await,
            Ok(7),
            "two controls more, three accounts, one total, one grown"
        );
        assert_eq!(publish(&mut counts, &sink, NOW).await, Ok(0));
        for names in [&["Account", "Region", "Control"][..], &["Account"], &[]] {
            assert_eq!(sink.sum(names), 2 * 3 + 5 + 2 + 3, "{names:?}");
        }
        assert!(sink.put.lock().unwrap().iter().all(|batch| batch.len() <= 4));
        counts.note(&key(1, "role"), 4);
        assert_eq!(publish(&mut counts, &sink, NOW).await, Ok(0), "an old number");
    }

    #[tokio::test]
    async fn dimensions_are_what_the_service_takes() {
        let (mut counts, sink) = (Counts::new(MetricNames::Own), Sink::default());
        let odd = CountKey { region: "".into(), control: format!("ü\n{}", "x".repeat(300)).into(), ..key(1, "") };
        counts.note(&odd, 1);
        publish(&mut counts, &sink, NOW).await.unwrap();
        let put = sink.put.lock().unwrap();
        let wanted: Vec<(&str, Arc<str>)> = vec![
            ("Account", "000000000001".into()),
            ("Region", "none".into()),
            ("Control", format!("??{}", "x".repeat(253)).into()),
        ];
        assert_eq!(put[0][0].dimensions, wanted);
        assert_eq!(put[0].len(), 2, "no metric without dimensions under our own name");
    }
}
