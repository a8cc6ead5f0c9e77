//! Sessions that nobody closed, when their time is over.

use sessionwarden::{
    forgotten::forgotten,
    handle::{Inbox, News},
};
use sessionwarden_machine::{
    ids::{Now, Subject},
    session::Input,
};
use sessionwarden_store::{Due, Fault, Faulty, Item, ItemError, Memory, Op, Store, Write};

use crate::{
    evidence::{ONE, Scene, two_accounts},
    hands::{Fate, Hands},
    stage::{START, Show, Stage, settings, willing},
};

const DAY_MS: i64 = 86_400_000;

fn days(days: i64) -> Now {
    START.plus_ms(days * DAY_MS)
}

async fn items<S: Store>(store: &S) -> Vec<Item> {
    let mut items = Vec::new();
    for key in store.keys("session#", None, 1_000).await.unwrap() {
        items.push(store.load(&key).await.unwrap().unwrap());
    }
    items
}

/// As when the item was not written for 35 days although its session lived: nothing is due, nothing is closed.
async fn abandon<S: Store>(store: &S, item: &Item) {
    let rev = store.load(&item.key).await.unwrap().map_or(0, |old| old.rev);
    let abandoned = Item { due: None, expires: Some(days(35)), ..item.clone() };
    store.save(vec![Write { item: abandoned, expected: rev }]).await.unwrap();
}

#[tokio::test]
async fn every_session_has_an_end_that_saving_moves_and_looking_does_not() {
    let folder = tempfile::tempdir().unwrap();
    let mut show = Show::in_memory(folder.path(), 3, willing);
    show.run(20_000).await.unwrap();
    let before = items(&show.stage.store).await;
    assert!(!before.is_empty());
    let hour = 3_600_000;
    for item in &before {
        let until = item.expires.unwrap();
        assert!(until > days(35) && until.0 <= days(35).0 + 20_000 + hour && until.0 % hour == 0, "{until:?}");
    }
    // Two days later all that lives is saved again, and what is closed is left as it is.
    let late = START.plus_ms(2 * DAY_MS);
    show.stage.handler.recheck(late).await.unwrap();
    for (item, old) in items(&show.stage.store).await.iter().zip(&before) {
        assert_eq!(item.rev > old.rev, item.expires > old.expires, "{}", item.key);
    }
}

// I9: what AWS shows alive, or may, is tracked, or an incident is open.
#[tokio::test]
async fn a_session_that_was_never_closed_leaves_one_incident() {
    let mut scene = Scene::new(two_accounts(), |_, _, _| Fate::Answered, |_| {});
    let key = scene.open(ONE, 0);
    scene.pass(30_000).await;
    let item = items(&scene.stage.store).await.remove(0);
    let (cause, incident) = forgotten(&item).unwrap().unwrap();
    assert_eq!((cause.to_string(), &incident.session), (format!("session-forgotten/{key}"), &Some(key.clone())));

    abandon(&scene.stage.store, &item).await;
    scene.stage.handler.sweep(days(35)).await.unwrap();
    assert!(scene.stage.store.load(&item.key).await.unwrap().is_some(), "its time is not over");
    scene.stage.handler.sweep(days(36)).await.unwrap();
    assert_eq!(scene.stage.store.load(&item.key).await.unwrap(), None);
    let id = format!("incident/session-forgotten/{key}");
    let record = &scene.stage.feed()[&id];
    assert_eq!((&record["class_uid"], &record["severity"]), (&2005.into(), &"High".into()));
    let audit =
        |scene: &Scene| scene.stage.audit().into_iter().filter(|record| record["id"] == *id).collect::<Vec<_>>();
    assert_eq!(audit(&scene).len(), 1);
    assert_eq!(audit(&scene)[0]["body"]["incident"]["session"]["id"], *key.id);

    // The same session forgotten again, and a timer of the session that is gone: nothing more.
    abandon(&scene.stage.store, &item).await;
    scene.stage.handler.sweep(days(37)).await.unwrap();
    scene.stage.handler.recheck(days(37)).await.unwrap();
    assert_eq!(audit(&scene).len(), 1);
    assert_eq!(items(&scene.stage.store).await, []);
    scene.stage.assert_sound();
}

#[tokio::test]
async fn a_closed_session_is_forgotten_in_silence() {
    let folder = tempfile::tempdir().unwrap();
    let mut show = Show::in_memory(folder.path(), 3, willing);
    show.run(120_000).await.unwrap();
    let outcomes = show.stage.outcomes();
    let closed: Vec<Item> = items(&show.stage.store).await;
    let closed: Vec<&Item> =
        closed.iter().filter(|item| outcomes.contains_key(&item.key["session#".len()..])).collect();
    assert!(closed.len() > 3);
    // News that change nothing write nothing, although a save would move the end.
    let settled: Vec<&Item> = closed.iter().copied().filter(|item| item.due.is_none()).collect();
    let wake = |item: &&Item| (item.key.parse().unwrap(), vec![News::Wake]);
    show.stage.handler.handle(settled.iter().map(wake).collect(), days(10)).await.unwrap();
    assert!(settled.len() > 3);
    for item in settled {
        assert_eq!(show.stage.store.load(&item.key).await.unwrap().as_ref(), Some(item));
    }
    for item in &closed {
        assert_eq!(forgotten(item).unwrap(), None, "{}", item.key);
        abandon(&show.stage.store, item).await;
    }
    show.stage.handler.sweep(days(36)).await.unwrap();
    for item in &closed {
        assert_eq!(show.stage.store.load(&item.key).await.unwrap(), None);
    }
    assert!(show.stage.feed().keys().all(|id| !id.starts_with("incident/session-forgotten/")));
}

#[tokio::test]
async fn without_an_organisation_a_session_is_just_forgotten() {
    let folder = tempfile::tempdir().unwrap();
    let (events, mut settings) = {
        let folder = tempfile::tempdir().unwrap();
        let mut show = Show::in_memory(folder.path(), 3, willing);
        let mut events = Vec::new();
        let gather = |new: Vec<Vec<u8>>, _| {
            events.extend_from_slice(&new);
            new
        };
        show.run_with(5_000, gather).await.unwrap();
        (events, settings(&show.hands.inner))
    };
    settings.organization = false;
    let mut stage: Stage<Memory, Hands> = Stage::new(folder.path(), Memory::new(), None, settings);
    stage.deliver(&events, START).await.unwrap();
    let open = items(&stage.store).await;
    assert!(open.iter().any(|item| forgotten(item).unwrap().is_some()), "only with an organisation it matters");
    let feed = stage.feed();
    stage.handler.sweep(days(36)).await.unwrap();
    assert_eq!(items(&stage.store).await, []);
    assert_eq!(stage.feed(), feed);
}

/// A crash between the incident and the deletion: the next sweep does both again, under the same id.
#[tokio::test]
async fn the_incident_is_durable_before_the_session_goes() {
    let folder = tempfile::tempdir().unwrap();
    let store = Faulty::new(Memory::new());
    let mut show = Show::new(folder.path(), store.clone(), 3, willing, |_| {});
    show.run(10_000).await.unwrap();
    let open = items(&store).await.into_iter().find(|item| forgotten(item).unwrap().is_some()).unwrap();
    abandon(&store, &open).await;
    store.script(Op::Collect, [Fault::ErrorBefore]);
    show.stage.handler.sweep(days(36)).await.unwrap_err();
    let id = format!("incident/session-forgotten/{}", &open.key["session#".len()..]);
    assert!(show.stage.feed().contains_key(&id));
    assert!(store.load(&open.key).await.unwrap().is_some());
    show.stage.handler.sweep(days(36)).await.unwrap();
    assert_eq!(store.load(&open.key).await.unwrap(), None);
    assert_eq!(show.stage.audit().iter().filter(|record| record["id"] == *id).count(), 1);
}

#[tokio::test]
async fn what_cannot_be_read_is_told_and_a_newer_item_is_left_to_a_newer_version() {
    let key = "session#111122223333/eu-central-1/ann-1";
    let item = Item { body: b"nonsense".to_vec(), ..Item::encode(key, &1).unwrap() };
    let (cause, incident) = forgotten(&item).unwrap().unwrap();
    assert_eq!(&*cause, "session-forgotten/111122223333/eu-central-1/ann-1");
    assert!(incident.title.contains("cannot be read"));
    let newer = Item { schema: item.schema + 1, ..item.clone() };
    assert!(matches!(forgotten(&newer), Err(ItemError::Newer { .. })));
    let due = Some(Due { partition: "a".into(), at: START });
    for other in ["account#111122223333", "incident#session-forgotten/x", "nonsense"] {
        assert_eq!(forgotten(&Item { key: other.into(), due: due.clone(), ..newer.clone() }).unwrap(), None);
    }
}

/// Time passes, and things change, for a session that is kept no more: nothing is made of that.
#[tokio::test]
async fn a_session_that_is_gone_does_not_come_back_by_itself() {
    let mut scene = Scene::new(two_accounts(), |_, _, _| Fate::Answered, |_| {});
    let key = scene.open(ONE, 0);
    let subject = Subject::Session(key);
    let done = vec!["activity/a".into()].into_iter().map(sessionwarden_machine::ids::EffectId).collect();
    for news in [News::Wake, News::Done(done), News::Session(Input::Wake)] {
        scene.stage.handler.handle(Inbox::from([(subject.clone(), vec![news])]), START).await.unwrap();
        assert_eq!(items(&scene.stage.store).await, []);
    }
    scene.stage.handler.recheck(days(1)).await.unwrap();
    assert_eq!(items(&scene.stage.store).await, []);
}
