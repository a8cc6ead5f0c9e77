//! Tells each audience once, with a digest where there is too much to tell.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, MutexGuard, PoisonError},
};

use futures_util::future::join_all;
use sessionwarden_machine::ids::{AccountId, EffectId, Now};

use super::{Desk, DeskLimits, Line, Message, Notify, desk::Turn};
use crate::ports::CallError;

/// How many accounts' desks are kept; beyond that those of accounts without a waiting digest are forgotten.
const DESKS_MAX: usize = 4_096;

/// What became of a message for one audience.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was told now.
    Told,
    /// It was told before.
    Known,
    /// It waits for a digest: nothing durable holds it yet but its effect.
    Held,
    /// There is no such audience.
    Nobody,
    /// It was not told.
    Failed(CallError),
    /// It was not told, and is not tried again before this time.
    Waits(Now),
    /// It is not tried any more, and is kept as a dead letter.
    GivenUp,
}

/// What became of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// For those who look after the account (R-G10).
    pub member: Outcome,
    /// For those who look after all accounts (R-G11).
    pub central: Outcome,
    /// For each route, in their order.
    pub routes: Vec<Outcome>,
}

impl Delivery {
    /// Whether the effect behind the message is done. It is not while an audience waits for a digest or can be tried again
    /// with hope. A member that refuses messages or has no topic any more is given up once somebody else has been told: it
    /// must not be able to keep an effect undone for ever. So is a route, once the message is kept as a dead letter.
    pub fn is_done(&self) -> bool {
        let told = |outcome| matches!(outcome, Outcome::Told | Outcome::Known | Outcome::Nobody);
        let over = |outcome| told(outcome) || outcome == Outcome::GivenUp;
        let others = || self.routes.iter().copied().chain([self.central]);
        let somebody = others().any(|outcome| over(outcome) && outcome != Outcome::Nobody);
        others().all(over) && (told(self.member) || gives_up(self.member) && somebody)
    }

    /// Every outcome.
    pub fn outcomes(&self) -> impl Iterator<Item = Outcome> {
        [self.member, self.central].into_iter().chain(self.routes.iter().copied())
    }
}

/// Whether trying again has no hope.
fn gives_up(outcome: Outcome) -> bool {
    matches!(outcome, Outcome::Failed(CallError::Denied | CallError::Gone))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Audience {
    Central,
    Member(AccountId),
}

/// Tells messages over a port, each audience by itself: what one has been told is not told to it again because another
/// could not be reached. After a restart a message may be told again; its id tells readers.
#[derive(Debug)]
pub struct Notifier<N> {
    port: N,
    limits: DeskLimits,
    desks: Mutex<BTreeMap<Audience, Desk>>,
    lines: Vec<Line>,
}

/// Nobody: for where routes alone are told.
#[derive(Clone, Copy, Debug, Default)]
pub struct Nobody;

impl Notify for Nobody {
    async fn member(&self, _: AccountId, _: &Message) -> Result<bool, CallError> {
        Ok(false)
    }

    async fn central(&self, _: &Message) -> Result<bool, CallError> {
        Ok(false)
    }

    fn tells_members(&self) -> bool {
        false
    }

    fn tells_central(&self) -> bool {
        false
    }
}

impl<N: Notify> Notifier<N> {
    /// Tells over `port`.
    pub fn new(port: N, limits: DeskLimits) -> Self {
        Self { port, limits, desks: Mutex::default(), lines: Vec::new() }
    }

    /// The same, telling these routes as well.
    #[must_use]
    pub fn with_lines(mut self, lines: Vec<Line>) -> Self {
        self.lines = lines;
        self
    }

    /// Tells a message, or keeps it for a digest. To be called again with the same message until
    /// [`Delivery::is_done`].
    pub async fn tell(&self, message: &Message, now: Now) -> Delivery {
        let topics = async {
            let member = match message.account {
                Some(account) => self.tell_one(Audience::Member(account), message, now).await,
                None => Outcome::Nobody,
            };
            (member, self.tell_one(Audience::Central, message, now).await)
        };
        // Side by side: one that is not answered keeps no other waiting (I13).
        let routes = join_all(self.lines.iter().map(|line| line.tell(message, now)));
        let ((member, central), routes) = tokio::join!(topics, routes);
        Delivery { member, central, routes }
    }

    /// Sends the digests whose time has come. Returns the ids of what they told to some audience: telling such a message
    /// again then shows whether it is done. A digest that a member refuses is given up.
    pub async fn flush(&self, now: Now) -> Vec<EffectId> {
        self.send_digests(now, false).await
    }

    /// [`Self::flush`], of all that is waiting, because there will be no later.
    pub async fn close(&self, now: Now) -> Vec<EffectId> {
        self.send_digests(now, true).await
    }

    async fn send_digests(&self, now: Now, early: bool) -> Vec<EffectId> {
        let routes = join_all(self.lines.iter().map(|line| line.flush(now, early)));
        let (mut told, routes) = tokio::join!(self.send_topics_digests(now, early), routes);
        told.extend(routes.into_iter().flatten());
        told.into_iter().collect()
    }

    async fn send_topics_digests(&self, now: Now, early: bool) -> BTreeSet<EffectId> {
        let mut told = BTreeSet::new();
        let due: Vec<_> =
            self.desks().iter().filter_map(|(audience, desk)| Some((*audience, desk.digest(now, early)?))).collect();
        for (audience, (digest, ids)) in due {
            let outcome = self.publish(audience, &digest).await;
            if let Outcome::Failed(error) = outcome {
                tracing::warn!(?audience, %error, "a digest cannot be sent");
                let member = matches!(audience, Audience::Member(_));
                if !(member && gives_up(outcome)) {
                    continue;
                }
            }
            if let Some(desk) = self.desks().get_mut(&audience) {
                for id in &ids {
                    desk.told(id);
                }
                told.extend(ids);
            }
        }
        told
    }

    /// The desks; the lock is never held across an await.
    fn desks(&self) -> MutexGuard<'_, BTreeMap<Audience, Desk>> {
        self.desks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn turn(&self, audience: Audience, message: &Message, now: Now) -> Turn {
        let mut desks = self.desks();
        if desks.len() >= DESKS_MAX && !desks.contains_key(&audience) {
            desks.retain(|_, desk| desk.is_waiting());
        }
        desks.entry(audience).or_insert_with(|| Desk::new(self.limits)).turn(message, now)
    }

    async fn tell_one(&self, audience: Audience, message: &Message, now: Now) -> Outcome {
        let there = match audience {
            Audience::Central => self.port.tells_central(),
            Audience::Member(_) => self.port.tells_members(),
        };
        if !there {
            return Outcome::Nobody;
        }
        match self.turn(audience, message, now) {
            Turn::Known => return Outcome::Known,
            Turn::Held => return Outcome::Held,
            Turn::Now => {}
        }
        let outcome = self.publish(audience, message).await;
        match (outcome, self.desks().get_mut(&audience)) {
            (Outcome::Told, Some(desk)) => desk.told(&message.id),
            (Outcome::Failed(error), _) => {
                tracing::warn!(?audience, effect = %message.id, %error, "a notification cannot be sent");
            }
            (
                Outcome::Told | Outcome::Known | Outcome::Held | Outcome::Nobody | Outcome::Waits(_) | Outcome::GivenUp,
                _,
            ) => {}
        }
        outcome
    }

    async fn publish(&self, audience: Audience, message: &Message) -> Outcome {
        let told = match audience {
            Audience::Central => self.port.central(message).await,
            Audience::Member(account) => self.port.member(account, message).await,
        };
        match told {
            Ok(true) => Outcome::Told,
            Ok(false) => Outcome::Nobody,
            Err(error) => Outcome::Failed(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use sessionwarden_machine::effect::Severity;

    use super::*;

    /// What was told to whom, and what the next calls answer.
    #[derive(Default)]
    struct Topics {
        told: Mutex<Vec<(Option<AccountId>, EffectId)>>,
        member: Mutex<Option<CallError>>,
    }

    impl Notify for &Topics {
        async fn member(&self, account: AccountId, message: &Message) -> Result<bool, CallError> {
            if let Some(error) = *self.member.lock().unwrap() {
                return Err(error);
            }
            self.told.lock().unwrap().push((Some(account), message.id.clone()));
            Ok(true)
        }

        async fn central(&self, message: &Message) -> Result<bool, CallError> {
            self.told.lock().unwrap().push((None, message.id.clone()));
            Ok(true)
        }
    }

    const NOW: Now = Now(1_795_000_000_000);

    fn message(id: usize) -> Message {
        Message {
            id: EffectId(format!("finding/{id}").into()),
            subject: "s".into(),
            body: "b".into(),
            object: serde_json::json!({}),
            kind: "finding",
            severity: Severity::High,
            control: "document".into(),
            causes: Vec::new(),
            account: AccountId::new(1),
            region: "eu-west-1".into(),
        }
    }

    fn delivery(member: Outcome, central: Outcome) -> Delivery {
        Delivery { member, central, routes: Vec::new() }
    }

    #[test]
    fn an_effect_is_done_when_nobody_waits_for_it() {
        use Outcome::{Failed, GivenUp, Held, Known, Nobody, Told, Waits};
        let denied = Failed(CallError::Denied);
        for (member, central, routes, done) in [
            (Nobody, Nobody, vec![], true),
            (Nobody, Nobody, vec![Told, Nobody], true),
            (Nobody, Nobody, vec![Known, GivenUp], true),
            (Nobody, Nobody, vec![Told, Held], false),
            (Nobody, Nobody, vec![Told, Waits(NOW)], false),
            (Told, Told, vec![Waits(NOW)], false),
            (Told, denied, vec![Told], false),
            // A member is given up once somebody else was told, or a dead letter is there for somebody to find.
            (denied, Nobody, vec![Nobody], false),
            (denied, Nobody, vec![Told], true),
            (denied, Nobody, vec![GivenUp], true),
            (Failed(CallError::Unknown), Told, vec![Told], false),
        ] {
            let delivery = Delivery { member, central, routes };
            assert_eq!(delivery.is_done(), done, "{delivery:?}");
        }
    }

    // Where there is nobody, nothing is held back for a digest that nobody would get.
    #[tokio::test]
    async fn nothing_waits_for_nobody() {
        let notifier = Notifier::new(Nobody, DeskLimits { burst: 1, ..DeskLimits::default() });
        for id in 0..10 {
            assert!(notifier.tell(&message(id), NOW).await.is_done());
        }
        assert_eq!(notifier.close(NOW).await, []);
    }

    // R-G10 R-G11 R-W2: each audience once, however often it is asked.
    #[tokio::test]
    async fn each_audience_is_told_once() {
        let topics = Topics::default();
        let notifier = Notifier::new(&topics, DeskLimits::default());
        let told = notifier.tell(&message(1), NOW).await;
        assert_eq!((told.is_done(), told), (true, delivery(Outcome::Told, Outcome::Told)));
        let again = notifier.tell(&message(1), NOW).await;
        assert_eq!((again.is_done(), again), (true, delivery(Outcome::Known, Outcome::Known)));
        assert_eq!(topics.told.lock().unwrap().len(), 2);
    }

    // R-W3: a throttled call is tried again, and does not repeat the call that succeeded.
    #[tokio::test]
    async fn a_failed_audience_is_tried_again_alone() {
        let topics = Topics::default();
        let notifier = Notifier::new(&topics, DeskLimits::default());
        *topics.member.lock().unwrap() = Some(CallError::Throttled);
        let first = notifier.tell(&message(1), NOW).await;
        assert_eq!(first, delivery(Outcome::Failed(CallError::Throttled), Outcome::Told));
        assert!(!first.is_done());
        *topics.member.lock().unwrap() = None;
        let second = notifier.tell(&message(1), NOW).await;
        assert_eq!(second, delivery(Outcome::Told, Outcome::Known));
        assert!(second.is_done());
        for (error, done) in [(CallError::Denied, true), (CallError::Gone, true), (CallError::Unknown, false)] {
            *topics.member.lock().unwrap() = Some(error);
            assert_eq!(notifier.tell(&message(2), NOW).await.is_done(), done, "{error}");
        }
        let nobody = delivery(Outcome::Failed(CallError::Gone), Outcome::Nobody);
        assert!(!nobody.is_done(), "somebody must have been told");
    }

    #[tokio::test]
    async fn what_comes_too_quickly_is_told_in_a_digest() {
        let topics = Topics::default();
        let limits = DeskLimits { burst: 3, refill_ms: 1_000, digest_ms: 5_000 };
        let notifier = Notifier::new(&topics, limits);
        for id in 0..10 {
            let delivery = notifier.tell(&message(id), NOW).await;
            assert_eq!(delivery.is_done(), id < 3, "{delivery:?}");
        }
        assert_eq!(notifier.flush(NOW.plus_ms(4_000)).await, []);
        *topics.member.lock().unwrap() = Some(CallError::Throttled);
        assert_eq!(notifier.flush(NOW.plus_ms(5_000)).await.len(), 7, "the central audience");
        assert!(!notifier.tell(&message(9), NOW.plus_ms(5_000)).await.is_done());
        *topics.member.lock().unwrap() = None;
        assert_eq!(notifier.flush(NOW.plus_ms(6_000)).await.len(), 7, "the member");
        for id in 0..10 {
            let told = notifier.tell(&message(id), NOW.plus_ms(6_000)).await;
            assert_eq!(told, delivery(Outcome::Known, Outcome::Known));
        }
        let told = topics.told.lock().unwrap().clone();
        assert_eq!(told.len(), 8, "3 messages and a digest, twice");
        assert_eq!(told.iter().filter(|(_, id)| id.0.starts_with("digest/")).count(), 2);

        // A member that refuses its digest keeps nothing undone.
        *topics.member.lock().unwrap() = Some(CallError::Denied);
        let later = NOW.plus_ms(60_000);
        for id in 10..20 {
            notifier.tell(&message(id), later).await;
        }
        notifier.flush(later.plus_ms(5_000)).await;
        assert!(notifier.tell(&message(19), later.plus_ms(5_000)).await.is_done());
    }
}
