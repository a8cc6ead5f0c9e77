//! What every backend must do, as functions that any backend's tests can run. They panic at what is broken.

use std::{sync::Arc, time::Duration};

use sessionwarden_machine::ids::Now;

use crate::{
    Due, DueItem, Item, ItemError, Saved, Store, StoreError, Write,
    item::{ITEM_BYTES_MAX, KEY_BYTES_MAX, THINGS_MAX},
};

/// An index follows its items within five seconds, or it is wrong.
const SETTLE_READS_MAX: u32 = 250;
const SETTLE_PAUSE: Duration = Duration::from_millis(20);

mod model;

pub use model::{Step, agrees_with_model, indexes_agree};

/// Runs the whole suite; `fresh` gives an empty store each time.
pub async fn all<S: Store + Clone + 'static>(mut fresh: impl AsyncFnMut() -> S) {
    create_and_update_are_conditional(&fresh().await).await;
    a_batch_answers_for_each_write(&fresh().await).await;
    what_cannot_be_stored_is_refused_whole(&fresh().await).await;
    due_index_follows_its_item(&fresh().await).await;
    due_is_ordered_and_bounded(&fresh().await).await;
    depends_index_follows_its_item(&fresh().await).await;
    listings_go_page_by_page(&fresh().await).await;
    names_may_hold_any_character(&fresh().await).await;
    collect_deletes_what_expired(&fresh().await).await;
    checkpoints_are_kept(&fresh().await).await;
    concurrent_writers_lose_no_update(fresh().await).await;
}

/// An item that is due, depends and expires as told.
pub fn item(key: &str, body: &str, due: Option<i64>, depends: &[&str], expires: Option<i64>) -> Item {
    let mut item = Item::encode(key, &body).expect("text has a JSON form");
    item.due = due.map(|at| Due { partition: Arc::from("000000000001#eu-central-1"), at: Now(at) });
    item.depends = depends.iter().map(|thing| Arc::from(*thing)).collect();
    item.expires = expires.map(Now);
    item
}

/// Writes one item.
pub async fn put<S: Store>(store: &S, item: Item, expected: u64) -> Saved {
    let saved = store.save(vec![Write { item, expected }]).await.expect("save");
    assert_eq!(saved.len(), 1);
    saved[0]
}

async fn load<S: Store>(store: &S, key: &str) -> Option<Item> {
    store.load(key).await.expect("load")
}

/// Reads until the answer is as expected: [`Store::due`] and [`Store::keys`] may follow their items a little later.
async fn settles<T: PartialEq + std::fmt::Debug>(expected: T, read: impl AsyncFn() -> T) {
    for _ in 0..SETTLE_READS_MAX {
        if read().await == expected {
            return;
        }
        tokio::time::sleep(SETTLE_PAUSE).await;
    }
    assert_eq!(read().await, expected);
}

async fn due_settles<S: Store>(store: &S, until: i64, limit: usize, expected: &[(i64, String)]) {
    settles(expected.to_vec(), async || {
        let due = store.due(Now(until), limit).await.expect("due");
        due.into_iter().map(|entry| (entry.due.at.0, entry.key.to_string())).collect()
    })
    .await;
}

async fn keys_settle<S: Store>(store: &S, (prefix, after, limit): (&str, Option<&str>, usize), expected: &[&str]) {
    let expected = expected.iter().map(ToString::to_string).collect();
    settles(expected, async || texts(&store.keys(prefix, after, limit).await.expect("keys"))).await;
}

async fn dependents<S: Store>(store: &S, thing: &str) -> Vec<String> {
    texts(&store.dependents(thing, None, 100).await.expect("dependents"))
}

fn texts(keys: &[Arc<str>]) -> Vec<String> {
    keys.iter().map(ToString::to_string).collect()
}

/// A first write needs 0, each later one the revision before; a lost race changes nothing.
pub async fn create_and_update_are_conditional<S: Store>(store: &S) {
    assert_eq!(load(store, "session#a").await, None);
    assert_eq!(put(store, item("session#a", "x", None, &[], None), 1).await, Saved::Conflict);
    assert_eq!(load(store, "session#a").await, None);

    let first = item("session#a", "first", Some(5), &["role/1/r"], Some(9));
    assert_eq!(put(store, first.clone(), 0).await, Saved::Saved { rev: 1 });
    assert_eq!(load(store, "session#a").await, Some(Item { rev: 1, ..first.clone() }));

    for stale in [0, 2, u64::MAX] {
        let loser = item("session#a", "loser", Some(1), &["role/1/other"], None);
        assert_eq!(put(store, loser, stale).await, Saved::Conflict);
    }
    assert_eq!(load(store, "session#a").await, Some(Item { rev: 1, ..first }));
    due_settles(store, 100, 9, &[(5, "session#a".to_owned())]).await;
    assert!(dependents(store, "role/1/other").await.is_empty());

    let mut second = item("session#a", "second", None, &[], None);
    second.rev = 77;
    second.schema = 9;
    assert_eq!(put(store, second.clone(), 1).await, Saved::Saved { rev: 2 });
    assert_eq!(load(store, "session#a").await, Some(Item { rev: 2, ..second }));
}

/// Writes of one call are independent, answered in order, and see those before them.
pub async fn a_batch_answers_for_each_write<S: Store>(store: &S) {
    assert_eq!(store.save(Vec::new()).await.expect("save"), []);
    let write = |key, body, expected| Write { item: item(key, body, None, &[], None), expected };
    let saved = store
        .save(vec![
            write("b", "1", 0),
            write("a", "1", 7),
            write("b", "2", 1),
            write("b", "lost", 1),
            write("c", "1", 0),
            write("c", "lost", 0),
        ])
        .await
        .expect("save");
    let rev = |rev| Saved::Saved { rev };
    assert_eq!(saved, [rev(1), Saved::Conflict, rev(2), Saved::Conflict, rev(1), Saved::Conflict]);
    assert_eq!(load(store, "a").await, None);
    assert_eq!(load(store, "b").await.expect("b").decode::<String>().expect("text"), "2");
    assert_eq!(load(store, "c").await.expect("c").decode::<String>().expect("text"), "1");
}

/// An item that no backend takes is an error that names it, and nothing of the call is written.
pub async fn what_cannot_be_stored_is_refused_whole<S: Store>(store: &S) {
    let good = || Write { item: item("good", "", None, &[], None), expected: 0 };
    let mut large = item("session#large", "", None, &[], None);
    large.body = vec![b' '; ITEM_BYTES_MAX];
    let error = store.save(vec![good(), Write { item: large.clone(), expected: 0 }]).await.expect_err("too large");
    assert!(error.to_string().starts_with("item session#large has "), "{error}");
    assert!(matches!(error, StoreError::Item(ItemError::TooLarge { bytes, .. }) if bytes > ITEM_BYTES_MAX));
    assert_eq!(load(store, "good").await, None);

    large.body.truncate(ITEM_BYTES_MAX - 100);
    assert_eq!(put(store, large.clone(), 0).await, Saved::Saved { rev: 1 });
    assert_eq!(load(store, "session#large").await.expect("large").body, large.body);

    // The largest of all: every name as long as it may be, and the body fills the rest to the last byte.
    let key = "s".repeat(KEY_BYTES_MAX - 1) + "#";
    let things: Vec<String> = (0..THINGS_MAX).map(|n| format!("{n:0>KEY_BYTES_MAX$}")).collect();
    let things: Vec<&str> = things.iter().map(String::as_str).collect();
    let mut largest = item(&key, "", Some(i64::MAX), &things, Some(i64::MAX));
    largest.body = vec![b' '; ITEM_BYTES_MAX];
    let write = |largest: &Item| vec![Write { item: largest.clone(), expected: 0 }];
    let over = match store.save(write(&largest)).await {
        Err(StoreError::Item(ItemError::TooLarge { bytes, .. })) => bytes - ITEM_BYTES_MAX,
        other => panic!("it is too large: {other:?}"),
    };
    largest.body.truncate(ITEM_BYTES_MAX - over + 1);
    store.save(write(&largest)).await.expect_err("one byte too many");
    largest.body.pop();
    assert_eq!(put(store, largest.clone(), 0).await, Saved::Saved { rev: 1 });
    assert_eq!(load(store, &key).await, Some(Item { rev: 1, ..largest }));

    let long = "k".repeat(KEY_BYTES_MAX + 1);
    for bad in [item("", "", None, &[], None), item(&long, "", None, &[], None), item("k", "", None, &[""], None)] {
        let error = store.save(vec![good(), Write { item: bad, expected: 0 }]).await.expect_err("bad name");
        assert!(matches!(error, StoreError::Item(ItemError::BadName { .. })), "{error}");
        assert_eq!(load(store, "good").await, None);
    }
    assert_eq!(put(store, item(&long[1..], "", None, &[&long[1..]], None), 0).await, Saved::Saved { rev: 1 });
    assert_eq!(dependents(store, &long[1..]).await, [&long[1..]]);

    let names: Vec<String> = (0..=THINGS_MAX).map(|n| format!("role/1/{n}")).collect();
    let mut things: Vec<&str> = names.iter().map(String::as_str).collect();
    let many = Write { item: item("many", "", None, &things, None), expected: 0 };
    let error = store.save(vec![good(), many]).await.expect_err("too many things");
    assert!(matches!(error, StoreError::Item(ItemError::TooManyThings { things: 49, .. })), "{error}");
    assert_eq!(load(store, "good").await, None);
    things.pop();
    assert_eq!(put(store, item("many", "", None, &things, None), 0).await, Saved::Saved { rev: 1 });
    let others: Vec<String> = (0..THINGS_MAX).map(|n| format!("key/1/{n}")).collect();
    let others: Vec<&str> = others.iter().map(String::as_str).collect();
    assert_eq!(put(store, item("many", "", None, &others, None), 1).await, Saved::Saved { rev: 2 });
    assert_eq!(dependents(store, "role/1/7").await, [""; 0]);
    assert_eq!(dependents(store, "key/1/47").await, ["many"]);
}

/// The entry moves with the item's due time and partition, and goes when nothing is due.
pub async fn due_index_follows_its_item<S: Store>(store: &S) {
    put(store, item("s", "", Some(10), &[], None), 0).await;
    due_settles(store, 9, 9, &[]).await;
    due_settles(store, 10, 9, &[(10, "s".to_owned())]).await;
    put(store, item("s", "", Some(30), &[], None), 1).await;
    due_settles(store, 29, 9, &[]).await;
    due_settles(store, i64::MAX, 9, &[(30, "s".to_owned())]).await;

    let mut moved = item("s", "", Some(30), &[], None);
    let due = Due { partition: Arc::from("000000000002#us-east-1"), at: Now(30) };
    moved.due = Some(due.clone());
    put(store, moved, 2).await;
    let moved = vec![DueItem { key: Arc::from("s"), due }];
    settles(moved, async || store.due(Now(30), 9).await.expect("due")).await;

    put(store, item("s", "", None, &[], None), 3).await;
    due_settles(store, i64::MAX, 9, &[]).await;
    put(store, item("s", "", Some(-5), &[], None), 4).await;
    due_settles(store, 0, 9, &[(-5, "s".to_owned())]).await;
}

/// Earliest first, then by key; never more than asked for; the ends of time included.
pub async fn due_is_ordered_and_bounded<S: Store>(store: &S) {
    let entries = [("m", 2), ("z", 1), ("a", 2), ("n", i64::MIN), ("o", i64::MAX), ("b", 300), ("c", -1)];
    for (key, at) in entries {
        put(store, item(key, "", Some(at), &[], None), 0).await;
    }
    let sorted = [("n", i64::MIN), ("c", -1), ("z", 1), ("a", 2), ("m", 2), ("b", 300), ("o", i64::MAX)]
        .map(|(key, at)| (at, key.to_owned()));
    due_settles(store, i64::MAX, 99, &sorted).await;
    due_settles(store, i64::MAX, 4, &sorted[..4]).await;
    due_settles(store, i64::MAX - 1, 99, &sorted[..6]).await;
    due_settles(store, i64::MIN, 99, &sorted[..1]).await;
    due_settles(store, i64::MAX, 0, &[]).await;
}

/// Entries come and go with the item's list; a thing named twice is one entry.
pub async fn depends_index_follows_its_item<S: Store>(store: &S) {
    let (role, node, key) = ("role/000000000001/r", "node/000000000001/i-1", "key/000000000001/k");
    put(store, item("s1", "", None, &[role, node, role], None), 0).await;
    put(store, item("s2", "", None, &[role], None), 0).await;
    put(store, item("s3", "", None, &["role/000000000001/rr"], None), 0).await;
    assert_eq!(dependents(store, role).await, ["s1", "s2"]);
    assert_eq!(dependents(store, node).await, ["s1"]);
    assert_eq!(load(store, "s1").await.expect("s1").depends.len(), 3);

    put(store, item("s1", "", None, &[key, node], None), 1).await;
    assert_eq!(dependents(store, role).await, ["s2"]);
    assert_eq!(dependents(store, node).await, ["s1"]);
    assert_eq!(dependents(store, key).await, ["s1"]);
    put(store, item("s1", "", None, &[], None), 2).await;
    assert!(dependents(store, node).await.is_empty());
    assert!(dependents(store, key).await.is_empty());
    assert!(dependents(store, "role").await.is_empty());
}

/// Pages of dependents and keys join without gap or repetition, whatever is asked to come after.
pub async fn listings_go_page_by_page<S: Store>(store: &S) {
    let keys: Vec<String> = (0..25).map(|n| format!("session#{n:02}")).collect();
    let write = |key: &str| Write { item: item(key, "", None, &["role/1/r"], None), expected: 0 };
    let mut writes: Vec<Write> = keys.iter().map(|key| write(key)).collect();
    writes.extend(["account#1", "session", "session$", "sessions#1"].map(write));
    store.save(writes).await.expect("save");

    settles(keys.clone(), async || texts(&all_keys(store, "session#").await)).await;
    keys_settle(store, ("session#", Some("account#1"), 1), &["session#00"]).await;
    keys_settle(store, ("session#", Some("session#03x"), 1), &["session#04"]).await;
    keys_settle(store, ("session#", Some("t"), 9), &[]).await;
    keys_settle(store, ("session#", None, 0), &[]).await;
    settles(29, async || store.keys("", None, 99).await.expect("keys").len()).await;

    let (mut found, mut after): (Vec<Arc<str>>, Option<Arc<str>>) = (Vec::new(), None);
    loop {
        let page = store.dependents("role/1/r", after.as_deref(), 4).await.expect("dependents");
        assert!(page.len() <= 4);
        let Some(last) = page.last() else { break };
        after = Some(Arc::clone(last));
        found.extend(page);
    }
    settles(found, async || store.keys("", None, 99).await.expect("keys")).await;
}

async fn all_keys<S: Store>(store: &S, prefix: &str) -> Vec<Arc<str>> {
    let (mut found, mut after): (Vec<Arc<str>>, Option<Arc<str>>) = (Vec::new(), None);
    loop {
        let page = store.keys(prefix, after.as_deref(), 7).await.expect("keys");
        assert!(page.len() <= 7);
        let Some(last) = page.last() else { return found };
        after = Some(Arc::clone(last));
        found.extend(page);
    }
}

/// No character means anything to a store: not in keys, not in things, partitions or names of positions.
pub async fn names_may_hold_any_character<S: Store>(store: &S) {
    let names = [
        "session#a/b:c=d,e@f_g+h.i-j",
        "depends#x",
        "checkpoint#x",
        ":v",
        "#n",
        "a b\"'`\\%*?",
        "ä€😀",
        "\u{0}\n",
        "ttl",
    ];
    for (n, name) in names.into_iter().enumerate() {
        let mut item = item(name, name, None, &[name], None);
        item.due = Some(Due { partition: Arc::from(name), at: Now(n as i64) });
        assert_eq!(put(store, item.clone(), 0).await, Saved::Saved { rev: 1 });
        assert_eq!(load(store, name).await, Some(Item { rev: 1, ..item }));
        assert_eq!(dependents(store, name).await, [name]);
        store.set_checkpoint(name, name.as_bytes()).await.expect("set");
        assert_eq!(store.checkpoint(name).await.expect("checkpoint"), Some(name.as_bytes().to_vec()));
        keys_settle(store, (name, None, 1), &[name]).await;
    }
    let due: Vec<(i64, String)> = names.iter().enumerate().map(|(n, name)| (n as i64, (*name).to_owned())).collect();
    due_settles(store, 99, 99, &due).await;
    assert!(dependents(store, "x").await.is_empty());
}

/// Only what expired is deleted, the earliest first, with its index entries; it is returned as it was stored.
pub async fn collect_deletes_what_expired<S: Store>(store: &S) {
    for (key, at) in [("late", 30), ("early", 10), ("edge", 20), ("moved", 5)] {
        put(store, item(key, key, Some(at), &["role/1/r"], Some(at)), 0).await;
    }
    put(store, item("kept", "", Some(1), &["role/1/r"], None), 0).await;
    put(store, item("moved", "", None, &["role/1/r"], Some(40)), 1).await;

    assert_eq!(collect(store, Now(10), 9).await, []);
    assert!(load(store, "early").await.is_some());
    assert_eq!(collect(store, Now(99), 0).await, []);
    let gone = collect(store, Now(20), 9).await;
    assert_eq!(gone, [Item { rev: 1, ..item("early", "early", Some(10), &["role/1/r"], Some(10)) }]);
    assert_eq!(load(store, "early").await, None);
    let gone = collect(store, Now(i64::MAX), 2).await;
    assert_eq!(gone.iter().map(|item| &*item.key).collect::<Vec<_>>(), ["edge", "late"]);
    assert_eq!(dependents(store, "role/1/r").await, ["kept", "moved"]);
    due_settles(store, i64::MAX, 9, &[(1, "kept".to_owned())]).await;

    assert_eq!(put(store, item("early", "", None, &[], None), 1).await, Saved::Conflict);
    assert_eq!(put(store, item("early", "", None, &[], None), 0).await, Saved::Saved { rev: 1 });
    put(store, item("moved", "", None, &[], None), 2).await;
    assert_eq!(collect(store, Now(i64::MAX), 9).await, []);
}

/// Collects what was told to have expired.
async fn collect<S: Store>(store: &S, now: Now, limit: usize) -> Vec<Item> {
    let expired = store.expired(now, limit).await.expect("expired");
    for item in &expired {
        assert_eq!(load(store, &item.key).await.as_ref(), Some(item));
    }
    assert_eq!(store.collect(now, limit).await.expect("collect"), expired);
    expired
}

/// A checkpoint holds its last value, is not an item, and another name is another checkpoint.
pub async fn checkpoints_are_kept<S: Store>(store: &S) {
    assert_eq!(store.checkpoint("file:a").await.expect("checkpoint"), None);
    store.set_checkpoint("file:a", b"12").await.expect("set");
    store.set_checkpoint("file:b", b"").await.expect("set");
    store.set_checkpoint("file:a", &[0, 255]).await.expect("set");
    assert_eq!(store.checkpoint("file:a").await.expect("checkpoint"), Some(vec![0, 255]));
    assert_eq!(store.checkpoint("file:b").await.expect("checkpoint"), Some(Vec::new()));
    keys_settle(store, ("", None, 9), &[]).await;
    assert_eq!(load(store, "file:a").await, None);
}

/// Many tasks count one item up; each conflict is tried again, and in the end every step is there.
pub async fn concurrent_writers_lose_no_update<S: Store + Clone + 'static>(store: S) {
    const TASKS: u64 = 8;
    const STEPS: u64 = 12;
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..TASKS {
        let store = store.clone();
        tasks.spawn(async move {
            for _ in 0..STEPS {
                loop {
                    let old = load(&store, "counter").await;
                    let count = old.as_ref().map_or(0, |old| old.decode::<u64>().expect("a number"));
                    let mut next = Item::encode("counter", &(count + 1)).expect("a number");
                    next.due = Some(Due { partition: Arc::from("p"), at: Now(count as i64) });
                    if put(&store, next, old.map_or(0, |old| old.rev)).await != Saved::Conflict {
                        break;
                    }
                }
            }
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.expect("a writer");
    }
    let last = load(&store, "counter").await.expect("the counter");
    assert_eq!((last.decode::<u64>().expect("a number"), last.rev), (TASKS * STEPS, TASKS * STEPS));
    due_settles(&store, i64::MAX, 9, &[((TASKS * STEPS - 1) as i64, "counter".to_owned())]).await;
}
