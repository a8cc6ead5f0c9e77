//! Locks, from the full window to the release: many accounts at once, and a crash at every step.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use sessionwarden::{
    control::{ControlReply, ControlRequest, answer},
    handle::{Inbox, News, State},
    local::LocalOrganization,
    ports::Organization as _,
};
use sessionwarden_machine::{
    account::{AccountInput, EpisodePhase},
    effect::{Counted, Order, Severity},
    ids::{AccountId, EventTime, Now, SessionKey, Subject},
    settings::{Settings, Tier},
};
use sessionwarden_store::{DueItem, Item, Memory, Saved, Store, StoreError, Write};
use sessionwarden_world::{OrganisationShape, World};
use tokio::sync::Notify;

use crate::{
    hands::{Fate, Hands, Port},
    stage::{START, Stage, settings, willing},
};

const TICK_MS: i64 = 64;

fn organization(accounts: usize) -> LocalOrganization {
    let shape =
        OrganisationShape { accounts, nodes_per_account: 1, users_per_account: 1, ..OrganisationShape::quick() };
    LocalOrganization::new(World::new(shape, 4, START))
}

fn ordinary(organization: &LocalOrganization) -> Vec<AccountId> {
    organization.with(|world| world.accounts().iter().filter(|it| it.ordinary()).map(|it| it.id).collect())
}

/// Twelve violating sessions of two people.
fn full_window(account: AccountId, severity: Severity) -> Vec<News> {
    let one = |number: i64| {
        let id = format!("ann-{number}").into();
        News::Account(AccountInput::Counted(Counted {
            at: EventTime(START.0 + number * 10),
            session: SessionKey { account, region: "eu-central-1".into(), id },
            principal: format!("arn:aws:iam::{account}:user/{}", ["ann", "bob"][number as usize % 2]).into(),
            controls: BTreeSet::from(["SW-DOC-02".into()]),
            severity,
        }))
    };
    (0..12).map(one).collect()
}

/// Lets time pass, as the service's loop does.
async fn pass<S: Store + Clone>(stage: &mut Stage<S, Hands>, hands: &Hands, from_ms: i64, until_ms: i64) {
    let mut at_ms = from_ms;
    while at_ms <= until_ms {
        let now = START.plus_ms(at_ms);
        hands.clock.store(at_ms, Ordering::Relaxed);
        hands.inner.with(|world| world.advance_to(now));
        stage.handler.recheck(now).await.unwrap();
        at_ms += TICK_MS;
    }
}

async fn accounts<S: Store + Clone>(
    stage: &Stage<S, Hands>,
) -> BTreeMap<AccountId, sessionwarden_machine::account::Account> {
    let states = stage.states().await.into_iter();
    states.filter_map(|state| if let State::Account(it) = state { Some((it.account, *it)) } else { None }).collect()
}

// I6: a thousand accounts in one second never exceed a cap and are never locked twice; the worst go first.
#[tokio::test]
async fn a_thousand_accounts_at_once_keep_the_caps() {
    let organization = organization(1_000);
    let all = ordinary(&organization);
    assert_eq!(all.len(), 1_000);
    let mut settings = settings(&organization);
    settings.quarantine.breaker_accounts = 2_000;
    settings.quarantine.concurrent_max = 20;
    settings.quarantine.hourly_max = 60;
    settings.quarantine.duration_ms = 20_000;
    let hands = willing(organization);
    let folder = tempfile::tempdir().unwrap();
    let mut stage = Stage::new(folder.path(), Memory::new(), Some(hands.clone()), settings);
    stage.handler.recover(START).await.unwrap();
    stage.handler.reconcile(START).await.unwrap();
    let severity = |number: usize| [Severity::Medium, Severity::High, Severity::Critical][number % 3];
    for (number, chunk) in all.chunks(50).enumerate() {
        let windows = chunk.iter().enumerate();
        let windows = windows.map(|(at, account)| (Subject::Account(*account), full_window(*account, severity(at))));
        stage.handler.handle(windows.collect::<Inbox>(), START.plus_ms(number as i64 * 50)).await.unwrap();
    }
    let most = AtomicUsize::new(0);
    for second in 1..=90 {
        pass(&mut stage, &hands, second * 1_000, second * 1_000 + 999).await;
        let held = hands.inner.with(|world| world.quarantined().len());
        most.fetch_max(held, Ordering::Relaxed);
        assert!(held <= 20, "{held} at once");
    }
    assert_eq!(most.into_inner(), 20);
    let locks = hands.calls_of(Port::Lock);
    let distinct: BTreeSet<&String> = locks.iter().map(|call| &call.2).collect();
    assert_eq!((locks.len(), distinct.len()), (60, 60), "each once, and no more than the cap by the hour");
    let episodes = accounts(&stage).await;
    let locked = |account: &AccountId| episodes[account].episode.as_ref().unwrap().locked_at.is_some();
    let worst: Vec<Severity> =
        all.iter().enumerate().filter(|(_, it)| locked(it)).map(|(at, _)| severity(at % 50)).collect();
    // The first ones were granted before the others had crossed.
    assert!(worst.iter().filter(|it| **it != Severity::Critical).count() <= 20, "{worst:?}");
    assert!(worst.iter().filter(|it| **it == Severity::Critical).count() >= 40);
    for account in episodes.values() {
        let episode = account.episode.as_ref().unwrap();
        let waits = episode.granted_at.is_none() && episode.waits_for.as_deref() == Some("quarantine.hourly_max");
        assert!(waits || episode.released_at.is_some(), "{episode:?}");
    }
    stage.assert_sound();
}

/// A store and hands share a fuse: when it is burnt, whatever is asked of them never returns, as after a kill.
#[derive(Clone)]
struct Fuse(Arc<(AtomicUsize, Notify)>);

impl Fuse {
    fn new(left: usize) -> Self {
        Self(Arc::new((AtomicUsize::new(left), Notify::new())))
    }

    async fn burn(&self) {
        let left = self.0.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
        if left.is_err() {
            self.0.1.notify_one();
            std::future::pending::<()>().await;
        }
    }

    async fn burnt(&self) {
        self.0.1.notified().await;
    }
}

/// Dies before and after each call, so that what was written or not told is both tried.
#[derive(Clone)]
struct Mortal(Memory, Fuse);

impl Store for Mortal {
    async fn load(&self, key: &str) -> Result<Option<Item>, StoreError> {
        self.0.load(key).await
    }

    async fn save(&self, writes: Vec<Write>) -> Result<Vec<Saved>, StoreError> {
        self.1.burn().await;
        let saved = self.0.save(writes).await;
        self.1.burn().await;
        saved
    }

    async fn due(&self, until: Now, limit: usize) -> Result<Vec<DueItem>, StoreError> {
        self.0.due(until, limit).await
    }

    async fn dependents(&self, thing: &str, after: Option<&str>, limit: usize) -> Result<Vec<Arc<str>>, StoreError> {
        self.0.dependents(thing, after, limit).await
    }

    async fn expired(&self, now: Now, limit: usize) -> Result<Vec<Item>, StoreError> {
        self.0.expired(now, limit).await
    }

    async fn collect(&self, now: Now, limit: usize) -> Result<Vec<Item>, StoreError> {
        self.0.collect(now, limit).await
    }

    async fn keys(&self, prefix: &str, after: Option<&str>, limit: usize) -> Result<Vec<Arc<str>>, StoreError> {
        self.0.keys(prefix, after, limit).await
    }

    async fn checkpoint(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        self.0.checkpoint(name).await
    }

    async fn set_checkpoint(&self, name: &str, value: &[u8]) -> Result<(), StoreError> {
        self.0.set_checkpoint(name, value).await
    }
}

/// One account, from its full window to the end of its lock; the process dies at the call `dies_at` of the store, or at
/// none. Returns whether it died.
async fn a_life(dies_at: usize) -> bool {
    let organization = organization(4);
    let account = ordinary(&organization)[1];
    let mut settings = settings(&organization);
    settings.quarantine.share_percent_max = 100;
    let hands = willing(organization);
    let folder = tempfile::tempdir().unwrap();
    let memory = Memory::new();
    let fuse = Fuse::new(dies_at);
    let (mut died, mut at_ms) = (false, 0_i64);
    loop {
        let fuse = if died { Fuse::new(usize::MAX) } else { fuse.clone() };
        let store = Mortal(memory.clone(), fuse.clone());
        let mut stage = Stage::new(folder.path(), store, Some(hands.clone()), settings.clone());
        let clock = std::cell::Cell::new(at_ms);
        let living = async {
            stage.handler.recover(START.plus_ms(clock.get())).await.unwrap();
            stage.handler.reconcile(START.plus_ms(clock.get())).await.unwrap();
            if clock.get() < 1_000 {
                // Given again after a death: nobody was told that it is done.
                let window = full_window(account, Severity::High);
                let inbox = Inbox::from([(Subject::Account(account), window)]);
                stage.handler.handle(inbox, START.plus_ms(clock.get())).await.unwrap();
            }
            while clock.get() < 60_000 {
                pass(&mut stage, &hands, clock.get(), clock.get()).await;
                clock.set(clock.get() + TICK_MS);
            }
        };
        let over = tokio::select! {
            biased;
            () = fuse.burnt() => false,
            () = living => true,
        };
        at_ms = clock.get() + TICK_MS;
        if over {
            let found = accounts(&stage).await.remove(&account).expect("the account");
            let episode = found.episode.expect("its episode");
            assert_eq!(
                episode.phase(START.plus_ms(60_000), &settings.quarantine),
                EpisodePhase::Released,
                "{episode:?}"
            );
            assert_eq!(hands.inner.with(|world| world.quarantined().len()), 0);
            let feed = stage.feed();
            for id in [format!("quarantine/{account}/1"), format!("release/{account}/1")] {
                assert!(feed.contains_key(&id), "{dies_at}: {id}");
            }
            assert_eq!(feed.keys().filter(|id| id.starts_with("quarantine/")).count(), 1);
            stage.audit();
            stage.assert_sound();
            return died;
        }
        assert!(!died, "{dies_at}: it dies twice");
        died = true;
    }
}

// I2, I7: wherever it is killed, the lock is attached, swept, held and released, under one id.
#[tokio::test]
async fn a_lock_survives_a_kill_at_any_step() {
    let mut steps = 0;
    while a_life(steps).await {
        steps += 1;
    }
    assert!(steps > 20, "only {steps} steps");
}

/// What people order, in a process where nothing else happens.
struct Desk {
    stage: Stage<Memory, Hands>,
    hands: Hands,
    account: AccountId,
    at_ms: i64,
    _folder: tempfile::TempDir,
}

impl Desk {
    async fn new(change: impl FnOnce(&mut Settings)) -> Self {
        let organization = organization(4);
        let account = ordinary(&organization)[0];
        let mut settings = settings(&organization);
        change(&mut settings);
        let hands = willing(organization);
        let folder = tempfile::tempdir().unwrap();
        let mut stage = Stage::new(folder.path(), Memory::new(), Some(hands.clone()), settings);
        stage.handler.recover(START).await.unwrap();
        stage.handler.reconcile(START).await.unwrap();
        let inbox = Inbox::from([(Subject::Account(account), full_window(account, Severity::High))]);
        stage.handler.handle(inbox, START).await.unwrap();
        Self { stage, hands, account, at_ms: 0, _folder: folder }
    }

    async fn pass(&mut self, ms: i64) {
        pass(&mut self.stage, &self.hands, self.at_ms, self.at_ms + ms).await;
        self.at_ms += ms;
    }

    async fn order(&mut self, order: Order, subject: String, who: &str, reason: &str) -> ControlReply {
        let request = ControlRequest::Order { order, subject, reason: reason.to_owned() };
        answer(&mut self.stage.handler, request, who.into(), START.plus_ms(self.at_ms)).await.unwrap()
    }

    async fn about_account(&mut self, order: Order, who: &str, reason: &str) -> Result<EpisodePhase, String> {
        let subject = format!("account#{}", self.account);
        match self.order(order, subject, who, reason).await {
            ControlReply::Account(view) => Ok(view.phase),
            ControlReply::Refused(why) => Err(why),
            other => panic!("{other:?}"),
        }
    }

    fn orders(&self) -> Vec<(String, String)> {
        let acts = self.stage.audit().into_iter().filter(|entry| entry["body"]["who"].is_string());
        acts.map(|it| {
            (it["body"]["order"].as_str().unwrap().to_owned(), it["body"]["who"].as_str().unwrap().to_owned())
        })
        .collect()
    }
}

// Two different people; who did what stands in the audit trail.
#[tokio::test]
async fn two_people_approve_and_one_releases() {
    let mut desk = Desk::new(|settings| settings.quarantine.approvals = 2).await;
    desk.pass(1_000).await;
    assert_eq!(desk.hands.calls_of(Port::Lock).len(), 0);
    assert_eq!(
        desk.about_account(Order::Release, "ann", "too early").await,
        Err("it is proposed: there is nothing to release".into())
    );
    for _ in 0..2 {
        assert_eq!(desk.about_account(Order::Approve, "ann", "").await, Ok(EpisodePhase::Proposed));
    }
    let approved = desk.about_account(Order::Approve, "bob", "seen").await.unwrap();
    assert_eq!(approved, EpisodePhase::Sweeping, "granted and attached at once");
    assert_eq!(desk.hands.calls_of(Port::Lock).len(), 1);
    assert_eq!(
        desk.about_account(Order::Deny, "eve", "no").await,
        Err("it is sweeping: only what waits can be denied; a lock is released".into())
    );
    assert_eq!(desk.about_account(Order::Release, "eve", "").await, Err("give a reason".into()));
    assert_eq!(desk.about_account(Order::Release, "eve", "a false alarm").await, Ok(EpisodePhase::Releasing));
    assert_eq!(desk.hands.inner.locks().await.unwrap(), BTreeMap::new());
    desk.pass(2_500).await;
    assert_eq!(
        desk.about_account(Order::Release, "eve", "again").await,
        Err("it is released: there is nothing to release".into())
    );
    let orders = desk.orders();
    let expected = [("approve", "ann"), ("approve", "bob"), ("release", "eve")];
    assert_eq!(orders, expected.map(|(order, who)| (order.to_owned(), who.to_owned())));
    desk.stage.assert_sound();
}

// Somebody else's hand: seen within a comparison, told, and put back.
#[tokio::test]
async fn a_lock_that_somebody_takes_off_is_put_back() {
    let mut desk = Desk::new(|_| {}).await;
    desk.pass(1_000).await;
    let account = desk.account;
    desk.hands.inner.with(|world| world.detach_quarantine(account)).unwrap();
    desk.pass(5_000).await;
    assert_eq!(desk.hands.inner.locks().await.unwrap(), BTreeMap::from([(account, Tier::Access)]));
    let feed = desk.stage.feed();
    assert!(feed.contains_key(&format!("incident/lock-changed-1/{account}/1")), "{:?}", feed.keys());
    // Once it is put back that is over.
    assert!(feed.contains_key(&format!("incident/lock-changed-1/{account}/1#resolved")), "{:?}", feed.keys());
    // A lock of which nothing is known is told, and left alone.
    let other = ordinary(&desk.hands.inner)[2];
    let lock = sessionwarden_machine::effect::Lock { tier: Tier::Channel, principals: BTreeSet::new() };
    desk.hands.inner.with(|world| world.attach_quarantine(other, &lock)).unwrap();
    desk.pass(5_000).await;
    assert!(desk.stage.feed().keys().any(|id| id.starts_with(&format!("incident/lock-foreign/{other}-"))));
    assert!(desk.hands.inner.with(|world| world.quarantined().contains_key(&other)));
    desk.stage.assert_sound();
}

// I7: a member that answers nothing and refuses everything keeps its lock from neither coming nor going.
#[tokio::test]
async fn a_broken_member_is_locked_and_released_all_the_same() {
    let organization = organization(4);
    let account = ordinary(&organization)[0];
    let settings = settings(&organization);
    let hands = Hands::new(organization, move |port, of, _| match port {
        Port::Lock | Port::Unlock | Port::Locks | Port::Places => Fate::Answered,
        _ if of == Some(account) => Fate::Fails(sessionwarden::ports::CallError::Denied),
        _ => Fate::Answered,
    });
    let folder = tempfile::tempdir().unwrap();
    let mut stage = Stage::new(folder.path(), Memory::new(), Some(hands.clone()), settings);
    stage.handler.recover(START).await.unwrap();
    stage.handler.reconcile(START).await.unwrap();
    let inbox = Inbox::from([(Subject::Account(account), full_window(account, Severity::High))]);
    stage.handler.handle(inbox, START).await.unwrap();
    pass(&mut stage, &hands, 0, 14_000).await;
    assert!(hands.inner.with(|world| world.quarantined().contains_key(&account)));
    let feed = stage.feed();
    assert!(feed.contains_key(&format!("incident/lock-unproven/{account}/1")), "nobody can see whether it bites");
    pass(&mut stage, &hands, 14_000, 20_000).await;
    assert!(hands.inner.with(|world| world.quarantined().is_empty()));
    assert!(stage.feed().contains_key(&format!("release/{account}/1")));
    stage.assert_sound();
}

// An incident is acknowledged and resolved by people, who stand in the audit trail.
#[tokio::test]
async fn people_see_to_incidents() {
    let mut desk = Desk::new(|_| {}).await;
    let request = ControlRequest::Incidents;
    let found = answer(&mut desk.stage.handler, request, "ann".into(), START).await.unwrap();
    let ControlReply::Incidents(incidents) = found else { panic!("{found:?}") };
    let cause = incidents.iter().find(|it| &*it.control == "threshold").expect("the full window").cause.clone();
    let subject = format!("incident#{cause}");
    let ControlReply::Incident(seen) = desk.order(Order::Acknowledge, subject.clone(), "ann", "").await else {
        panic!()
    };
    assert_eq!(&*seen.acknowledged.unwrap().who, "ann");
    let again = desk.order(Order::Acknowledge, subject.clone(), "bob", "").await;
    assert_eq!(again, ControlReply::Refused("it is acknowledged already".into()));
    let bare = desk.order(Order::Resolve, subject.clone(), "bob", "").await;
    assert_eq!(bare, ControlReply::Refused("give a reason".into()));
    let ControlReply::Incident(over) = desk.order(Order::Resolve, subject.clone(), "bob", "a drill").await else {
        panic!()
    };
    assert_eq!(&*over.resolved.unwrap().by.unwrap().who, "bob");
    assert!(desk.stage.feed().contains_key(&format!("incident/{cause}#resolved")));
    let unknown = desk.order(Order::Resolve, "incident#x".into(), "bob", "y").await;
    assert_eq!(unknown, ControlReply::Refused("nothing is known of it".into()));
    let wrong = desk.order(Order::Approve, subject, "bob", "y").await;
    assert_eq!(wrong, ControlReply::Refused("that is for accounts".into()));
    assert_eq!(desk.orders(), [("acknowledge".to_owned(), "ann".to_owned()), ("resolve".to_owned(), "bob".to_owned())]);
}
