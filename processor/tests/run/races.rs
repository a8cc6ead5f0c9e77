//! Two workers on one store, and writes that lose their race.

use std::{collections::BTreeSet, sync::Arc};

use sessionwarden::handle::{Inbox, News};
use sessionwarden_machine::{
    account::AccountInput,
    effect::{Counted, Severity},
    ids::{AccountId, EventTime, Now, SessionKey, Subject},
    settings::Settings,
};
use sessionwarden_store::{DueItem, Fault, Faulty, Item, Memory, Op, Saved, Store, StoreError, Write};

use crate::{
    hands::{Hands, Port},
    stage::{START, Show, Stage, settings, willing},
};

/// A store that lets somebody else run before every answer.
#[derive(Clone)]
struct Slow(Memory);

impl Store for Slow {
    async fn load(&self, key: &str) -> Result<Option<Item>, StoreError> {
        tokio::task::yield_now().await;
        self.0.load(key).await
    }

    async fn save(&self, writes: Vec<Write>) -> Result<Vec<Saved>, StoreError> {
        tokio::task::yield_now().await;
        self.0.save(writes).await
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

fn conflicts<S: Store + Clone, H: sessionwarden::ports::Hands>(stage: &Stage<S, H>) -> u64 {
    let text = stage.metrics.prometheus_text().unwrap();
    let line = text.lines().find(|line| line.starts_with("sessionwarden_store_conflicts_total ")).unwrap();
    line.rsplit(' ').next().unwrap().parse().unwrap()
}

/// The events of a minute in which sessions are ended.
async fn events() -> (Vec<Vec<u8>>, Settings) {
    let folder = tempfile::tempdir().unwrap();
    let mut show = Show::in_memory(folder.path(), 6, willing);
    let mut events = Vec::new();
    show.run_with(60_000, |new, _| {
        events.extend_from_slice(&new);
        new
    })
    .await
    .unwrap();
    (events, settings(&show.hands.inner))
}

#[tokio::test]
async fn two_workers_on_one_store_lose_no_update() {
    let (events, settings) = events().await;
    let at = START.plus_ms(100_000);
    let alone = tempfile::tempdir().unwrap();
    let mut reference: Stage<Memory, Hands> = Stage::new(alone.path(), Memory::new(), None, settings.clone());
    for batch in events.chunks(40) {
        reference.deliver(batch, at).await.unwrap();
    }

    let (left, right) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let store = Slow(Memory::new());
    let mut one: Stage<Slow, Hands> = Stage::new(left.path(), store.clone(), None, settings.clone());
    let mut two: Stage<Slow, Hands> = Stage::new(right.path(), store.clone(), None, settings);
    for batch in events.chunks(40) {
        // Some events come to both workers, the others to one of them.
        let (first, second) = (&batch[..batch.len() * 2 / 3], &batch[batch.len() / 3..]);
        let (first, second) = tokio::join!(one.deliver(first, at), two.deliver(second, at));
        first.unwrap();
        second.unwrap();
    }
    assert!(conflicts(&one) + conflicts(&two) > 10, "they raced");
    assert!(one.states().await == reference.states().await);
    let both: BTreeSet<_> = one.feed().into_keys().chain(two.feed().into_keys()).collect();
    assert_eq!(both, reference.feed().into_keys().collect());
    one.assert_sound();
    two.assert_sound();
}

#[tokio::test]
async fn a_lost_race_is_stepped_again() {
    let alone = tempfile::tempdir().unwrap();
    let mut reference = Show::in_memory(alone.path(), 3, willing);
    reference.run(60_000).await.unwrap();

    let folder = tempfile::tempdir().unwrap();
    let store = Faulty::new(Memory::new());
    let faults = [Fault::Pass, Fault::ConflictBefore, Fault::ConflictAfter, Fault::Pass, Fault::ConflictBefore];
    store.script(Op::Save, faults.into_iter().cycle().take(4_000));
    let mut show = Show::new(folder.path(), store, 3, willing, |_| {});
    show.run(60_000).await.unwrap();

    assert!(conflicts(&show.stage) > 100);
    assert!(show.stage.states().await == reference.stage.states().await);
    assert!(show.stage.feed() == reference.stage.feed());
    assert_eq!(show.hands.calls(), reference.hands.calls());
    show.stage.assert_sound();
}

#[tokio::test]
async fn a_race_that_is_always_lost_stops_with_an_error() {
    let (events, settings) = events().await;
    let folder = tempfile::tempdir().unwrap();
    let store = Faulty::new(Memory::new());
    store.script(Op::Save, [Fault::ConflictBefore; 1_000]);
    let mut stage: Stage<_, Hands> = Stage::new(folder.path(), store, None, settings);
    let error = stage.deliver(&events, START).await.unwrap_err().to_string();
    assert!(error.contains("lost the race") && error.contains("another process"), "{error}");
}

fn count(account: AccountId, at: i64) -> News {
    let session = SessionKey { account, region: "eu-central-1".into(), id: format!("ann-{at}").into() };
    let principal = format!("arn:aws:iam::{account}:user/{}", ["ann", "bob"][at as usize % 2]).into();
    let (at, controls, severity) = (EventTime(at), BTreeSet::new(), Severity::High);
    News::Account(AccountInput::Counted(Counted { at, session, principal, controls, severity }))
}

// I6: an exempt account is never locked, and accounts that cross the threshold in the same moment are counted against the caps one after the other.
#[tokio::test]
async fn caps_hold_for_accounts_that_are_stepped_together() {
    for conflicted in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let store = Faulty::new(Memory::new());
        let most = |settings: &mut Settings| {
            settings.quarantine.concurrent_max = 2;
            settings.quarantine.share_percent_max = 100;
        };
        let mut show = Show::new(folder.path(), store.clone(), 1, willing, most);
        show.stage.handler.reconcile(START).await.unwrap();
        if conflicted {
            store.script(Op::Save, [Fault::ConflictBefore, Fault::ConflictAfter]);
        }
        let mut inbox = Inbox::new();
        let exempt = *settings(&show.hands.inner).quarantine.exempt.first().expect("an exempt account");
        for account in (1..=6).filter_map(AccountId::new).chain([exempt]) {
            inbox.insert(Subject::Account(account), (0..12).map(|at| count(account, START.0 + at)).collect());
        }
        show.stage.handler.handle(inbox, START).await.unwrap();
        let locked: BTreeSet<_> = show.hands.calls_of(Port::Lock).into_iter().map(|call| call.2).collect();
        assert!(locked.len() == 2 && !locked.contains(&format!("{exempt} access")), "{locked:?}");
        let feed = show.stage.feed();
        assert_eq!(feed.keys().filter(|uid| uid.ends_with("#refused")).count(), 1, "the exempt account");
        assert_eq!(feed.keys().filter(|uid| uid.starts_with("incident/lock-waits/")).count(), 4);
        show.stage.assert_sound();
    }
}

/// A session is kept for a fixed time from its last save, and an input that changes nothing writes nothing.
#[tokio::test]
async fn what_changes_nothing_writes_nothing() {
    let (events, settings) = events().await;
    let folder = tempfile::tempdir().unwrap();
    let store = Memory::new();
    let mut stage: Stage<_, Hands> = Stage::new(folder.path(), store.clone(), None, settings);
    stage.deliver(&events, START.plus_ms(60_000)).await.unwrap();
    let items = async || {
        let mut items = Vec::new();
        for key in store.keys("", None, 10_000).await.unwrap() {
            items.push(store.load(&key).await.unwrap().unwrap());
        }
        items
    };
    let before = items().await;
    assert!(before.iter().any(|item| item.expires.is_some()) && before.iter().any(|item| item.expires.is_none()));
    stage.deliver(&events, START.plus_ms(90_000)).await.unwrap();
    stage.handler.recheck(START.plus_ms(90_000)).await.unwrap();
    assert!(items().await == before);
}
