//! What Time to Live deletes is told, on servers whose Time to Live and streams are their own.

use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use aws_sdk_dynamodb::{Client, types::AttributeValue};
use dynoxide::{Database, storage_backend::ManualClock};
use sessionwarden_store::{
    DynamoDb, DynamoDbSettings, ExpiredItems, Item, Store,
    contract::{item, put},
};

use super::{
    proxy::Proxy,
    servers::{config, in_process, local, serve, settings, streams_config},
};

/// Seconds since 1970: what the server in this process takes for now.
const NOW: u64 = 1_800_000_000;
const ROLE: &str = "role/1/r";

/// An item that expires so many seconds after [`NOW`].
fn expiring(key: &str, seconds: i64) -> Item {
    item(key, key, Some(7), &[ROLE, key], Some((NOW as i64 + seconds) * 1_000))
}

/// The server in this process writes the names as events for functions have them, and not as `GetRecords` has them.
const IN_PROCESS: [(&str, &str); 2] =
    [("\"principalId\"", "\"PrincipalId\""), ("\"type\":\"Service\"", "\"Type\":\"Service\"")];

/// DynamoDB Local has no name for what its Time to Live does, and does not say that it was the service.
const LOCAL: [(&str, &str); 1] = [(
    "\"eventName\":\"UNKNOWN_TO_SDK_VERSION\"",
    "\"eventName\":\"REMOVE\",\"userIdentity\":{\"Type\":\"Service\",\"PrincipalId\":\"dynamodb.amazonaws.com\"}",
)];

/// A way to the server on which its records become what AWS's are.
async fn streams(url: &str, wordings: &[(&'static str, &'static str)]) -> String {
    let proxy = Proxy::to(url).await;
    proxy.reword(wordings);
    proxy.url
}

fn reader(url: &str, store: &DynamoDb) -> ExpiredItems {
    ExpiredItems::new(&streams_config(url), store)
}

async fn told(items: &mut ExpiredItems) -> Vec<String> {
    items.next().await.unwrap().iter().map(|item| item.key.to_string()).collect()
}

async fn delete_by_hand(url: &str, settings: &DynamoDbSettings, key: &str) {
    let delete = Client::from_conf(config(url)).delete_item().table_name(&settings.state_table);
    delete.key("pk", AttributeValue::S(key.to_owned())).send().await.unwrap();
}

struct Stage {
    clock: ManualClock,
    database: Database,
    url: String,
    streams: String,
    settings: DynamoDbSettings,
    store: DynamoDb,
}

impl Stage {
    async fn new() -> Self {
        let clock = ManualClock::new(NOW);
        let database = Database::memory_with_clock(clock.arc()).unwrap();
        let url = serve(database.clone()).await;
        let settings = DynamoDbSettings { collects: false, ..settings() };
        let store = DynamoDb::new(&config(&url), settings.clone());
        store.ensure_tables().await.unwrap();
        let streams = streams(&url, &IN_PROCESS).await;
        Self { clock, database, url, streams, settings, store }
    }

    fn reader(&self) -> ExpiredItems {
        reader(&self.streams, &self.store)
    }

    fn sweep(&self, seconds: u64) -> usize {
        self.clock.set(NOW + seconds);
        self.database.sweep_ttl().unwrap()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_time_to_live_deleted_is_told_until_it_is_done() {
    let stage = Stage::new().await;
    let store = &stage.store;
    put(store, expiring("session#gone", 10), 0).await;
    put(store, expiring("session#gone", 20), 1).await;
    put(store, expiring("session#kept", 1_000), 0).await;
    put(store, expiring("session#deleted", 1_000), 0).await;
    let as_it_was = store.load("session#gone").await.unwrap().unwrap();
    let mut items = stage.reader();
    assert_eq!(stage.sweep(15), 0);
    assert_eq!(told(&mut items).await, [""; 0]);
    items.done().await.unwrap();

    delete_by_hand(&stage.url, &stage.settings, "session#deleted").await;
    assert_eq!(stage.sweep(30), 1);
    for _ in 0..3 {
        assert_eq!(items.next().await.unwrap(), std::slice::from_ref(&as_it_was));
    }
    // Time to Live has left its entries behind.
    assert!(store.dependents(ROLE, None, 9).await.unwrap().contains(&Arc::from("session#gone")));
    items.done().await.unwrap();
    assert!(!store.dependents(ROLE, None, 9).await.unwrap().contains(&Arc::from("session#gone")));
    assert_eq!(store.dependents("session#gone", None, 9).await.unwrap(), []);
    assert!(store.dependents(ROLE, None, 9).await.unwrap().contains(&Arc::from("session#kept")));
    assert_eq!(told(&mut items).await, [""; 0]);
    assert_eq!(items.gaps(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_misses_none_and_tells_none_twice() {
    let stage = Stage::new().await;
    for n in 0..30 {
        put(&stage.store, expiring(&format!("session#{n:02}"), n), 0).await;
    }
    let mut all = Vec::new();
    for until in [10, 20, 30] {
        assert_eq!(stage.sweep(until), 10);
        // One is told and stops before it is done: the next one is told the same.
        let first = told(&mut stage.reader()).await;
        let mut items = stage.reader();
        assert_eq!(told(&mut items).await, first);
        items.done().await.unwrap();
        // Nothing was found since: this position may be kept later.
        items.next().await.unwrap();
        items.done().await.unwrap();
        all.extend(first);
    }
    all.sort();
    assert_eq!(all, (0..30).map(|n| format!("session#{n:02}")).collect::<Vec<_>>());
    assert_eq!(told(&mut stage.reader()).await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_item_that_is_back_keeps_its_entries() {
    let stage = Stage::new().await;
    put(&stage.store, expiring("session#a", 10), 0).await;
    assert_eq!(stage.sweep(20), 1);
    put(&stage.store, expiring("session#a", 1_000), 0).await;
    let mut items = stage.reader();
    assert_eq!(told(&mut items).await, ["session#a"]);
    items.done().await.unwrap();
    assert_eq!(stage.store.dependents(ROLE, None, 9).await.unwrap(), [Arc::from("session#a")]);
}

/// Positions of a table that was made anew are none of the new table's.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_that_was_made_anew_is_read_from_its_beginning() {
    let stage = Stage::new().await;
    put(&stage.store, expiring("session#a", 10), 0).await;
    assert_eq!(stage.sweep(20), 1);
    let mut items = stage.reader();
    assert_eq!(told(&mut items).await, ["session#a"]);
    items.done().await.unwrap();
    let client = Client::from_conf(config(&stage.url));
    client.delete_table().table_name(&stage.settings.state_table).send().await.unwrap();
    stage.clock.set(NOW + 30);
    stage.store.ensure_tables().await.unwrap();
    put(&stage.store, expiring("session#b", 40), 0).await;
    assert_eq!(stage.sweep(50), 1);
    // This server keeps the records of a table that is gone: that they come again shows where the reading began.
    assert_eq!(told(&mut stage.reader()).await, ["session#a", "session#b"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_without_a_stream_is_refused() {
    let server = in_process();
    let store = DynamoDb::new(&config(&server.url), settings());
    let error = reader(&server.url, &store).next().await.unwrap_err().to_string();
    assert!(error.ends_with("there is no such table in this account and region"), "{error}");
}

/// AWS's own server, with its shards, positions and deletions within seconds.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dynamodb_local_tells_its_deletions() {
    let Some(local) = local() else { return };
    let settings = DynamoDbSettings { collects: false, ..settings() };
    let store = DynamoDb::new(&config(&local.url), settings.clone());
    store.ensure_tables().await.unwrap();
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis() as i64;
    // All are due: this server's Time to Live stops at a row that a sparse index does not have.
    let expiring = |key: &str, seconds: i64| item(key, key, Some(7), &[], Some(now + seconds * 1_000));
    put(&store, expiring("session#gone", -10), 0).await;
    put(&store, expiring("session#kept", 3_600), 0).await;
    put(&store, expiring("session#deleted", 3_600), 0).await;
    delete_by_hand(&local.url, &settings, "session#deleted").await;
    let streams = streams(&local.url, &LOCAL).await;
    let mut items = reader(&streams, &store);
    let (mut all, begun) = (Vec::new(), Instant::now());
    while all.is_empty() && begun.elapsed() < Duration::from_mins(1) {
        all = told(&mut items).await;
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    assert_eq!(all, ["session#gone"], "after {:?}", begun.elapsed());
    items.done().await.unwrap();
    let mut again = reader(&streams, &store);
    assert_eq!(told(&mut again).await, [""; 0]);
    assert_eq!(told(&mut items).await, [""; 0]);
}
