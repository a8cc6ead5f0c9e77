//! Makes the calls that effects ask for.

use std::{sync::Arc, time::Duration};

use futures_util::future::join_all;
use sessionwarden_machine::{
    account::{AccountInput, Swept, Tried, identity_of},
    effect::{Effect, Lock, RemedyResult},
    ids::{AccountId, Now, SessionKey},
    incident::{IncidentInput, Restored},
    mutation::{Mutation, made},
    register::RegisterInput,
    session::Input,
    settings::{Settings, Tier, matches},
};
use tokio::time::{Instant, sleep_until};
use tracing::Instrument;

use super::{Lane, Lanes, limit_of, result_of};
use crate::{
    handle::News,
    ports::{CallError, Hands, LockError, RestoreError},
};

/// What a call came to.
pub(crate) struct Answer {
    /// What was done, for the metrics.
    pub(crate) kind: &'static str,
    /// How it ended, for the metrics.
    pub(crate) result: &'static str,
    /// For the subject that asked for it.
    pub(crate) news: News,
}

/// Makes one round of calls.
pub(crate) struct Caller<'a, H> {
    hands: &'a H,
    settings: &'a Settings,
    regions: &'a [Arc<str>],
    now: Now,
    lanes: Lanes,
    slow: Lanes,
    /// Nothing of the organisation is changed from then on, and nobody is ended by a sweep.
    changes_until: Instant,
}

impl<'a, H: Hands> Caller<'a, H> {
    /// Calls for what was read at `read_at`.
    pub(crate) fn new(
        hands: &'a H,
        settings: &'a Settings,
        regions: &'a [Arc<str>],
        (now, read_at): (Now, Instant),
    ) -> Self {
        let change_max = Duration::from_millis(settings.change_ms_max().unsigned_abs());
        let (lanes, slow) = (Lanes::new(limit_of(settings)), Lanes::new(change_max));
        Self { hands, settings, regions, now, lanes, slow, changes_until: read_at + change_max }
    }

    /// The call that an effect asks for, if it asks for one.
    pub(crate) async fn call(&self, effect: &Effect) -> Option<Answer> {
        let answer = match effect {
            Effect::Terminate { id, session, .. } => {
                let span = tracing::info_span!("terminate", effect = %id, %session);
                let lane = Lane::Account(session.account);
                let call = self.lanes.call(lane, "a termination", self.hands.terminate(session));
                let result = result_of(call.instrument(span).await);
                Answer { kind: "terminate", result: name_of(&result), news: News::Session(Input::Tried { result }) }
            }
            Effect::Quarantine { id, account, lock } => {
                let span = tracing::info_span!("quarantine", effect = %id, %account, tier = lock.tier.as_str());
                let tried = self.change("a lock", self.hands.lock(*account, lock)).instrument(span).await;
                let result = name_of_try(&tried);
                Answer { kind: "quarantine", result, news: News::Account(AccountInput::LockTried(lock.tier, tried)) }
            }
            Effect::Release { id, account } => {
                let span = tracing::info_span!("release", effect = %id, %account);
                let mut tried = self.change("a release", self.hands.unlock(*account)).instrument(span).await;
                if made(Mutation::ReleaseWithoutVerify) {
                    tried = Tried::Done;
                }
                let result = name_of_try(&tried);
                Answer { kind: "release", result, news: News::Account(AccountInput::ReleaseTried(tried)) }
            }
            Effect::Sweep { id, account, lock } => {
                let span = tracing::info_span!("sweep", effect = %id, %account);
                let swept = self.sweep(*account, lock).instrument(span).await;
                let clean = swept.ended.is_empty() && swept.left == 0 && swept.silent == 0;
                let result = if clean { "clean" } else { "done" };
                Answer { kind: "sweep", result, news: News::Account(AccountInput::Swept(swept)) }
            }
            Effect::Compare { .. } => {
                let locks = self.slow.call(Lane::Organization, "a comparison of locks", self.hands.locks()).await.ok();
                let result = if locks.is_some() { "done" } else { "failed" };
                let news = News::Register(RegisterInput::Compared { locks, since: self.now });
                Answer { kind: "compare", result, news }
            }
            Effect::Restore { id, account, region, restore, thing, parts, act } => {
                let span = tracing::info_span!("restore", effect = %id, %account, what = restore.as_str(), act);
                let call = self.hands.restore(*account, region, *restore, thing, parts, *act);
                let restored = self.put_back(*account, *act, call).instrument(span).await;
                Answer {
                    kind: "restore",
                    result: name_of(&restored.result),
                    news: News::Incident(IncidentInput::RestoreTried(restored)),
                }
            }
            Effect::Report(_)
            | Effect::Notify { .. }
            | Effect::Close { .. }
            | Effect::Count { .. }
            | Effect::ToRegister { .. }
            | Effect::ToAccount { .. }
            | Effect::Conclude { .. }
            | Effect::Act { .. } => return None,
        };
        Some(answer)
    }

    /// A change of the organisation. It is given up when what asks for it was read too long ago, whatever has kept this
    /// worker: by then somebody else may count on it that it is over (I7).
    async fn change(&self, what: &'static str, call: impl Future<Output = Result<(), LockError>>) -> Tried {
        let mut hopeless = None;
        let call = async {
            let done = tokio::select! {
                biased;
                () = sleep_until(self.changes_until) => Err(CallError::Unknown.into()),
                done = call => done,
            };
            done.map_err(|error| match error {
                LockError::Call(error) => error,
                LockError::Conflict => CallError::Throttled,
                LockError::Hopeless(why) => {
                    tracing::error!(%why, "{what} is not possible");
                    hopeless = Some(why);
                    CallError::Denied
                }
            })
        };
        let done = self.slow.call(Lane::Organization, what, call).await;
        match (done, hopeless) {
            (Ok(()), _) => Tried::Done,
            (Err(_), Some(why)) => Tried::Hopeless(why),
            (Err(error), None) => Tried::Again(error.to_string().into()),
        }
    }

    /// A change that is put back, or looked at.
    async fn put_back(
        &self,
        account: AccountId,
        act: bool,
        call: impl Future<Output = Result<Vec<Arc<str>>, RestoreError>>,
    ) -> Restored {
        let mut hopeless = None;
        let call = async {
            call.await.map_err(|error| match error {
                RestoreError::Call(error) => error,
                RestoreError::Hopeless(why) => {
                    hopeless = Some(why);
                    CallError::Denied
                }
            })
        };
        let done = self.slow.call(Lane::Account(account), "a restoration", call).await;
        match (done, hopeless) {
            (Ok(changes), _) if !act => Restored { changes, result: RemedyResult::Planned },
            (Ok(changes), _) if changes.is_empty() => Restored { changes, result: RemedyResult::Unneeded },
            (Ok(changes), _) => Restored { changes, result: RemedyResult::Done },
            (Err(_), Some(why)) => Restored { changes: Vec::new(), result: RemedyResult::Refused(why) },
            (Err(error), None) => {
                Restored { changes: Vec::new(), result: RemedyResult::Failed(error.to_string().into()) }
            }
        }
    }

    /// Looks whether a lock bites, and ends the sessions that it denies, in all regions.
    async fn sweep(&self, account: AccountId, lock: &Lock) -> Swept {
        let lane = Lane::Account(account);
        let bites = self.lanes.call(lane, "a probe", self.hands.bites(account)).await.ok();
        let active = self
            .regions
            .iter()
            .map(|region| self.lanes.call(lane, "active sessions", self.hands.active(account, region)));
        let (mut alive, mut swept) = (Vec::new(), Swept { bites, ..Swept::default() });
        for found in join_all(active).await {
            match found {
                Ok(sessions) => alive.extend(sessions.into_iter().map(|(key, described)| (key, described.owner))),
                Err(_) => swept.silent += 1,
            }
        }
        // Without regions nothing was looked at.
        swept.silent += usize::from(self.regions.is_empty());
        let denied: Vec<SessionKey> =
            alive.into_iter().filter(|(_, owner)| self.denies(lock, owner)).map(|(key, _)| key).collect();
        // The lock may be over by now: who began since then is not to be ended.
        if Instant::now() >= self.changes_until {
            swept.left += denied.len();
            return swept;
        }
        let ended = denied.iter().map(|key| self.lanes.call(lane, "a sweep", self.hands.terminate(key)));
        for (key, ended) in denied.iter().zip(join_all(ended).await) {
            match ended {
                Ok(()) => swept.ended.push(key.clone()),
                // It has ended by itself.
                Err(CallError::Gone) => {}
                Err(_) => swept.left += 1,
            }
        }
        swept
    }

    /// Whether a lock denies the sessions of this principal.
    fn denies(&self, lock: &Lock, owner: &str) -> bool {
        let role = owner.split_once(":assumed-role/").and_then(|(_, rest)| rest.split('/').next());
        let exempt = &self.settings.quarantine.exempt_roles;
        if role.is_some_and(|role| exempt.iter().any(|pattern| matches(pattern, role))) {
            return false;
        }
        let same = |one: &Arc<str>| identity_of(one) == identity_of(owner);
        lock.tier != Tier::Principal || lock.principals.iter().any(same)
    }
}

fn name_of(result: &RemedyResult) -> &'static str {
    match result {
        RemedyResult::Planned => "planned",
        RemedyResult::Done => "done",
        RemedyResult::Unneeded => "unneeded",
        RemedyResult::Failed(_) => "failed",
        RemedyResult::Refused(_) => "refused",
    }
}

fn name_of_try(tried: &Tried) -> &'static str {
    match tried {
        Tried::Done => "done",
        Tried::Again(_) => "failed",
        Tried::Hopeless(_) => "refused",
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use sessionwarden_machine::ids::EffectId;
    use sessionwarden_world::{OrganisationShape, StartSession, World};

    use super::*;
    use crate::{local::LocalOrganization, ports::Organization};

    // I7: a worker that was held up changes nothing for the sake of what it read before.
    #[tokio::test(start_paused = true)]
    async fn what_was_read_too_long_ago_changes_nothing() {
        let (settings, begin) = (Settings::default(), Now(1_750_000_000_000));
        let held_up = Duration::from_millis(settings.change_ms_max().unsigned_abs());
        for (held_up, result) in [(held_up, "failed"), (held_up.saturating_sub(Duration::from_secs(1)), "done")] {
            let organization = LocalOrganization::new(World::new(OrganisationShape::quick(), 5, begin));
            let account = organization.with(|world| world.accounts()[2].id);
            let lock = Lock { tier: Tier::Access, principals: BTreeSet::new() };
            let effect = Effect::Quarantine { id: EffectId("lock/x/1".into()), account, lock };
            let read_at = Instant::now();
            let caller = Caller::new(&organization, &settings, &[], (begin, read_at));
            tokio::time::advance(held_up).await;
            assert_eq!(caller.call(&effect).await.expect("an answer").result, result, "{held_up:?}");
            assert_eq!(organization.locks().await.expect("locks").len(), usize::from(result == "done"));
        }
    }

    // I7: nor does it end sessions that may have begun since an account was unlocked.
    #[tokio::test(start_paused = true)]
    async fn what_was_read_too_long_ago_ends_nobody() {
        let (settings, begin) = (Settings::default(), Now(1_750_000_000_000));
        let organization = LocalOrganization::new(World::new(OrganisationShape::quick(), 5, begin));
        let (account, region) = organization.with(|world| {
            let account = world.accounts()[2].clone();
            let node = &account.nodes[0];
            let (region, target) = (Arc::clone(&node.region), Arc::clone(&node.id));
            let request = StartSession { region: Arc::clone(&region), target, ..StartSession::default() };
            world.start_session(&account.users[0], &request).expect("a session");
            (account.id, region)
        });
        let lock = Lock { tier: Tier::Access, principals: BTreeSet::new() };
        let effect = Effect::Sweep { id: EffectId("sweep/x/1".into()), account, lock };
        let regions = [region];
        let caller = Caller::new(&organization, &settings, &regions, (begin, Instant::now()));
        tokio::time::advance(Duration::from_secs(30)).await;
        let swept = |answer: Option<Answer>| match answer.map(|answer| answer.news) {
            Some(News::Account(AccountInput::Swept(swept))) => (swept.ended.len(), swept.left),
            other => panic!("not a sweep: {other:?}"),
        };
        assert_eq!(swept(caller.call(&effect).await), (0, 1));
        let caller = Caller::new(&organization, &settings, &regions, (begin, Instant::now()));
        assert_eq!(swept(caller.call(&effect).await), (1, 0));
    }
}
