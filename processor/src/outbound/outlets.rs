//! Where effects go beside the feed, the audit trail and the calls: people who are told, sessions that are counted.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use futures_util::{FutureExt, future::BoxFuture};
use sessionwarden_machine::{
    effect::{Effect, Remedy, RemedyKind, RemedyResult, Report},
    ids::{EffectId, Now, Subject},
};

use super::{CountKey, Delivery, Message, Notifier, Notify, Outcome};

/// The wait before a notification that failed is tried again, in milliseconds.
const FAILED_MS: i64 = 5_000;
/// The wait before it is asked whether a notification has left with a digest, in milliseconds.
const HELD_MS: i64 = 15_000;
/// How many counted remedies are remembered.
const COUNTED_MAX: usize = 65_536;

/// Tells people, whoever they are.
pub trait Tell: Send + Sync {
    /// Tells a message, or keeps it for a digest.
    fn tell<'a>(&'a self, message: &'a Message, now: Now) -> BoxFuture<'a, Delivery>;

    /// Sends the digests whose time has come, and returns the ids of what they told.
    fn flush(&self, now: Now) -> BoxFuture<'_, Vec<EffectId>>;

    /// Sends all digests, whether or not their time has come, and returns the ids of what they told.
    fn close(&self, now: Now) -> BoxFuture<'_, Vec<EffectId>>;
}

impl<N: Notify> Tell for Notifier<N> {
    fn tell<'a>(&'a self, message: &'a Message, now: Now) -> BoxFuture<'a, Delivery> {
        Self::tell(self, message, now).boxed()
    }

    fn flush(&self, now: Now) -> BoxFuture<'_, Vec<EffectId>> {
        Self::flush(self, now).boxed()
    }

    fn close(&self, now: Now) -> BoxFuture<'_, Vec<EffectId>> {
        Self::close(self, now).boxed()
    }
}

/// The outlets that the handlers of one process share.
#[derive(Clone, Default)]
pub struct Outlets {
    /// Who is told. Where there is nobody, a notification is done at once.
    people: Option<Arc<dyn Tell>>,
    /// Where terminated sessions are counted.
    pub tally: Arc<Tally>,
    resting: Arc<Mutex<BTreeMap<EffectId, Rest>>>,
}

/// An effect that is not done, and not to be tried for a while.
#[derive(Clone, Debug)]
struct Rest {
    until: Now,
    /// Whose it is, once that was said.
    subject: Option<Subject>,
}

impl Outlets {
    /// Outlets to these people.
    pub fn new(people: Option<Arc<dyn Tell>>) -> Self {
        Self { people, ..Self::default() }
    }

    /// Tells people about a report. True when that is done for good.
    pub(crate) async fn tell(&self, id: &EffectId, report: &Report, now: Now) -> bool {
        let (Some(people), Some(message)) = (&self.people, Message::of(report)) else {
            return true;
        };
        let delivery = people.tell(&message, now).await;
        let mut resting = self.resting();
        if delivery.is_done() {
            resting.remove(id);
            return true;
        }
        let waits = delivery.outcomes().filter_map(|outcome| match outcome {
            Outcome::Held => Some(now.plus_ms(HELD_MS)),
            Outcome::Failed(_) => Some(now.plus_ms(FAILED_MS)),
            Outcome::Waits(until) => Some(until),
            Outcome::Told | Outcome::Known | Outcome::Nobody | Outcome::GivenUp => None,
        });
        let until = waits.min().unwrap_or_else(|| now.plus_ms(FAILED_MS));
        resting.retain(|_, rest| rest.until > now);
        resting.insert(id.clone(), Rest { until, subject: None });
        false
    }

    /// Says whose effect it is that rests.
    pub(crate) fn belongs(&self, id: &EffectId, subject: &Subject) {
        if let Some(rest) = self.resting().get_mut(id) {
            rest.subject = Some(subject.clone());
        }
    }

    /// Sends the digests whose time has come.
    pub(crate) async fn flush(&self, now: Now) {
        if let Some(people) = &self.people {
            people.flush(now).await;
        }
    }

    /// Sends all digests. Returns whose effects rested until then, if some were told: to look at them again shows which
    /// are done.
    pub(crate) async fn close(&self, now: Now) -> BTreeSet<Subject> {
        let Some(people) = &self.people else { return BTreeSet::new() };
        if people.close(now).await.is_empty() {
            return BTreeSet::new();
        }
        std::mem::take(&mut *self.resting()).into_values().filter_map(|rest| rest.subject).collect()
    }

    /// When this effect is to be tried again, where that is not at once.
    pub(crate) fn rests_until(&self, id: &EffectId, now: Now) -> Option<Now> {
        self.resting().get(id).map(|rest| rest.until).filter(|until| *until > now)
    }

    fn resting(&self) -> MutexGuard<'_, BTreeMap<EffectId, Rest>> {
        self.resting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Terminated sessions since the start of the process, each counted once (R-W2) under the first control that it
/// violated, in the order of their ids (R-G9).
#[derive(Debug, Default)]
pub struct Tally(Mutex<Counted>);

#[derive(Debug, Default)]
struct Counted {
    totals: BTreeMap<CountKey, u64>,
    ids: BTreeSet<EffectId>,
    ids_in_order: VecDeque<EffectId>,
}

impl Tally {
    /// Counts what an effect says was done.
    pub(crate) fn note(&self, effect: &Effect) {
        let Effect::Report(Report::Remedy(remedy)) = effect else { return };
        if remedy.kind == RemedyKind::Terminate && remedy.result == RemedyResult::Done {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).count(remedy);
        }
    }

    /// The totals.
    pub fn totals(&self) -> BTreeMap<CountKey, u64> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).totals.clone()
    }
}

impl Counted {
    fn count(&mut self, remedy: &Remedy) {
        if !self.ids.insert(remedy.id.clone()) {
            return;
        }
        self.ids_in_order.push_back(remedy.id.clone());
        if self.ids_in_order.len() > COUNTED_MAX
            && let Some(oldest) = self.ids_in_order.pop_front()
        {
            self.ids.remove(&oldest);
        }
        let controls = remedy.findings.iter().filter_map(|finding| finding.0.rsplit('/').next());
        let control = controls.min().unwrap_or_default().into();
        let key = CountKey { account: remedy.account, region: Arc::clone(&remedy.region), control };
        *self.totals.entry(key).or_default() += 1;
    }
}

#[cfg(test)]
mod tests {
    use sessionwarden_machine::ids::{AccountId, EventTime};

    use super::*;
    use crate::{outbound::DeskLimits, ports::CallError};

    const NOW: Now = Now(1_795_000_000_000);

    fn remedy(session: u32, result: RemedyResult) -> Report {
        let finding = |control: &str| EffectId(format!("finding/session#{session}/{control}").into());
        Report::Remedy(Box::new(Remedy {
            id: EffectId(format!("terminate/{session}").into()),
            kind: RemedyKind::Terminate,
            result,
            reason: "why".into(),
            account: AccountId::new(7).unwrap(),
            region: "eu-west-1".into(),
            session: None,
            target: "t".into(),
            at: EventTime(0),
            findings: vec![finding("SW-ROLE-01"), finding("SW-DOC-02")],
        }))
    }

    // R-G9, R-W2: a session counts once, and only when it was ended.
    #[test]
    fn a_session_counts_once_under_its_first_control() {
        let tally = Tally::default();
        for _ in 0..3 {
            for session in 0..4 {
                tally.note(&Effect::Report(remedy(session, RemedyResult::Done)));
            }
            tally.note(&Effect::Report(remedy(9, RemedyResult::Planned)));
            tally.note(&Effect::Report(remedy(8, RemedyResult::Unneeded)));
        }
        let key =
            CountKey { account: AccountId::new(7).unwrap(), region: "eu-west-1".into(), control: "SW-DOC-02".into() };
        assert_eq!(tally.totals(), BTreeMap::from([(key, 4)]));
    }

    struct Throttled;

    impl Notify for Throttled {
        async fn member(&self, _: AccountId, _: &Message) -> Result<bool, CallError> {
            Ok(false)
        }

        async fn central(&self, _: &Message) -> Result<bool, CallError> {
            Err(CallError::Throttled)
        }
    }

    // R-W3
    #[tokio::test]
    async fn a_notification_that_failed_rests_before_it_is_tried_again() {
        let people = Arc::new(Notifier::new(Throttled, DeskLimits::default()));
        let outlets = Outlets::new(Some(people));
        let id = EffectId("notify/terminate/1".into());
        assert!(!outlets.tell(&id, &remedy(1, RemedyResult::Done), NOW).await);
        assert_eq!(outlets.rests_until(&id, NOW), Some(NOW.plus_ms(FAILED_MS)));
        assert_eq!(outlets.rests_until(&id, NOW.plus_ms(FAILED_MS)), None);
        let nobody = Outlets::default();
        assert!(nobody.tell(&id, &remedy(1, RemedyResult::Done), NOW).await);
    }
}
