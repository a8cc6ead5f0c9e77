use sessionwarden_store::{
    DynamoDb, Fence, Saved, Store, StoreError, Write,
    contract::{item, put},
};

use super::servers::{fresh, in_process, local};

/// I3: the worker whose lease was taken writes nothing, whether it would win the race for the revision or not.
async fn a_stale_fence_writes_nothing(store: &DynamoDb) {
    let of = |shard: &str, number| store.with_fence(Some(Fence { shard: shard.into(), number }));
    let (old, new) = (of("shard-1", 7), of("shard-1", 8));
    let write =
        |body: &str, things: &[&str], expected| vec![Write { item: item("s", body, None, things, None), expected }];
    assert_eq!(put(&old, item("s", "old", None, &[], None), 0).await, Saved::Saved { rev: 1 });
    assert_eq!(put(&old, item("s", "old", None, &[], None), 1).await, Saved::Saved { rev: 2 });
    assert_eq!(put(&new, item("s", "new", None, &[], None), 2).await, Saved::Saved { rev: 3 });
    let stored = store.load("s").await.unwrap();
    for (things, expected) in [(&[][..], 3), (&[], 2), (&[], 0), (&["role/1/r"], 3), (&["role/1/r"], 0)] {
        let error = old.save(write("stale", things, expected)).await.unwrap_err();
        assert!(matches!(error, StoreError::Fenced { fence: 7, found: 8, .. }), "{error}");
        assert_eq!(error.to_string(), "item s: the fence 7 of this worker is behind 8: another worker has its shard");
    }
    assert_eq!(store.load("s").await.unwrap(), stored);
    assert_eq!(store.dependents("role/1/r", None, 9).await.unwrap(), []);

    // A lost race with the right fence is a lost race.
    assert_eq!(new.save(write("lost", &[], 2)).await.unwrap(), [Saved::Conflict]);
    // A writer without a lease, such as a recheck, leaves the fence as it is.
    assert_eq!(put(store, item("s", "recheck", None, &["role/1/r"], None), 3).await, Saved::Saved { rev: 4 });
    assert_eq!(put(store, item("s", "recheck", None, &[], None), 4).await, Saved::Saved { rev: 5 });
    assert!(matches!(old.save(write("stale", &[], 5)).await, Err(StoreError::Fenced { .. })));
    assert_eq!(put(&new, item("s", "new", None, &[], Some(1)), 5).await, Saved::Saved { rev: 6 });
    // Fences of two shards are not compared: both owners write, whichever is higher.
    assert_eq!(put(&of("shard-2", 3), item("s", "other", None, &[], None), 6).await, Saved::Saved { rev: 7 });
    assert_eq!(put(&new, item("s", "new", None, &[], Some(1)), 7).await, Saved::Saved { rev: 8 });
    // Nor does it delete.
    let later = sessionwarden_machine::ids::Now(9_999);
    assert_eq!(old.collect(later, 9).await.unwrap(), []);
    assert_eq!(new.collect(later, 9).await.unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i3_a_stale_fence_writes_nothing_in_process() {
    let server = in_process();
    a_stale_fence_writes_nothing(&fresh(&server.url).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i3_a_stale_fence_writes_nothing_in_dynamodb_local() {
    let Some(local) = local() else { return };
    a_stale_fence_writes_nothing(&fresh(&local.url).await).await;
}
