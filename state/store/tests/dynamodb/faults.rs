use std::time::{Duration, Instant};

use sessionwarden_store::{
    DynamoDb, DynamoDbSettings, Saved, Store, StoreError, Write,
    contract::{item, put},
};
use sessionwarden_testbed::InProcess;

use super::{
    proxy::{Fault, Proxy},
    servers::{config, fresh, in_process, settings},
};

const THROTTLED: Fault =
    Fault::Error(400, r#"{"__type":"com.amazonaws.dynamodb.v20120810#ThrottlingException","message":"slow down"}"#);
const CONFLICT: Fault = Fault::Error(
    400,
    r#"{"__type":"com.amazonaws.dynamodb.v20120810#TransactionConflictException","message":"under way"}"#,
);
const CANCELLED: Fault = Fault::Error(
    400,
    r#"{"__type":"com.amazonaws.dynamodb.v20120810#TransactionCanceledException","message":"cancelled",
       "CancellationReasons":[{"Code":"None"},{"Code":"TransactionConflict","Message":"under way"}]}"#,
);

async fn through_proxy() -> (InProcess, Proxy, DynamoDb) {
    let server = in_process();
    let proxy = Proxy::to(&server.url).await;
    let store = fresh(&proxy.url).await;
    proxy.requests();
    (server, proxy, store)
}

fn count(proxy: &Proxy, operation: &str) -> usize {
    proxy.requests().get(operation).copied().unwrap_or(0)
}

/// The write is applied, its answer lost; the second attempt meets the first and is no lost race.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_answer_is_not_a_lost_race() {
    let (_server, proxy, store) = through_proxy().await;
    proxy.script("UpdateItem", [Fault::LostAnswer]);
    assert_eq!(put(&store, item("s", "1", None, &[], None), 0).await, Saved::Saved { rev: 1 });
    assert_eq!(count(&proxy, "UpdateItem"), 2);
    proxy.script("UpdateItem", [Fault::LostAnswer, Fault::LostAnswer]);
    assert_eq!(put(&store, item("s", "2", Some(7), &[], None), 1).await, Saved::Saved { rev: 2 });
    assert_eq!(count(&proxy, "UpdateItem"), 3);

    proxy.script("TransactWriteItems", [Fault::LostAnswer]);
    assert_eq!(put(&store, item("s", "3", None, &["role/1/r"], None), 2).await, Saved::Saved { rev: 3 });
    assert_eq!(count(&proxy, "TransactWriteItems"), 2);
    let last = store.load("s").await.unwrap().unwrap();
    assert_eq!((last.rev, last.decode::<String>().unwrap().as_str()), (3, "3"));
    assert_eq!(store.dependents("role/1/r", None, 9).await.unwrap().len(), 1);
}

/// Another process that made the same write first: the ids of the writes tell them apart.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_write_of_another_is_a_lost_race() {
    let (server, settings) = (in_process(), settings());
    let stores = [0, 1].map(|_| DynamoDb::new(&config(&server.url), settings.clone()));
    stores[0].ensure_tables().await.unwrap();
    for things in [&[][..], &["role/1/r"]] {
        let rev = stores[0].load("s").await.unwrap().map_or(0, |old| old.rev);
        let same = item("s", "same", None, things, None);
        assert_eq!(put(&stores[0], same.clone(), rev).await, Saved::Saved { rev: rev + 1 });
        assert_eq!(put(&stores[1], same, rev).await, Saved::Conflict);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn throttling_is_waited_for_within_a_bound() {
    let (_server, proxy, store) = through_proxy().await;
    for operation in ["UpdateItem", "GetItem"] {
        proxy.script(operation, [THROTTLED; 3]);
    }
    assert_eq!(put(&store, item("s", "1", None, &[], None), 0).await, Saved::Saved { rev: 1 });
    assert_eq!(store.load("s").await.unwrap().unwrap().rev, 1);
    let requests = proxy.requests();
    assert_eq!((requests["UpdateItem"], requests["GetItem"]), (4, 4));

    proxy.script("GetItem", [THROTTLED; 100]);
    let error = store.load("s").await.unwrap_err();
    assert!(
        matches!(&error, StoreError::Unavailable { why } if why.contains("ThrottlingException: slow down")),
        "{error}"
    );
    assert_eq!(count(&proxy, "GetItem"), 6);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn collisions_with_other_transactions_are_tried_again_within_a_bound() {
    let (_server, proxy, store) = through_proxy().await;
    proxy.script("UpdateItem", [CONFLICT; 3]);
    assert_eq!(put(&store, item("s", "1", None, &[], None), 0).await, Saved::Saved { rev: 1 });
    assert_eq!(count(&proxy, "UpdateItem"), 4);
    proxy.script("TransactWriteItems", [CANCELLED; 3]);
    assert_eq!(put(&store, item("s", "2", None, &["role/1/r"], None), 1).await, Saved::Saved { rev: 2 });
    assert_eq!(count(&proxy, "TransactWriteItems"), 4);

    proxy.script("UpdateItem", [CONFLICT; 100]);
    let again = Write { item: item("s", "3", None, &["role/1/r"], None), expected: 2 };
    let error = store.save(vec![again]).await.unwrap_err();
    assert!(matches!(&error, StoreError::Unavailable { why } if why.contains("under way")), "{error}");
    assert_eq!(count(&proxy, "UpdateItem"), 8);
    assert_eq!(store.load("s").await.unwrap().unwrap().rev, 2);
}

/// One refused write of a save: the others are answered by the error, and none is still under way after it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_is_told_at_once_with_its_reason() {
    let (_server, proxy, store) = through_proxy().await;
    let denied = r#"{"__type":"com.amazon.coral.service#AccessDeniedException","Message":"not authorized"}"#;
    proxy.script("UpdateItem", [Fault::Error(400, denied)]);
    let writes = ["a", "b", "c"].map(|key| Write { item: item(key, "", None, &[], None), expected: 0 });
    let error = store.save(writes.to_vec()).await.unwrap_err();
    assert!(matches!(error, StoreError::Refused { .. }), "{error}");
    assert!(error.to_string().ends_with("-state: AccessDeniedException: not authorized"), "{error}");
    assert_eq!(count(&proxy, "UpdateItem"), 3);
    assert_eq!(store.keys("", None, 9).await.unwrap().len(), 2);

    // Credentials that ended are fetched anew: later it works.
    let expired = r#"{"__type":"com.amazon.coral.service#ExpiredTokenException","message":"expired"}"#;
    proxy.script("GetItem", [Fault::Error(400, expired); 10]);
    assert!(matches!(store.load("a").await, Err(StoreError::Unavailable { .. })));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_hangs_or_is_not_there_is_an_error_in_time() {
    let server = in_process();
    let proxy = Proxy::to(&server.url).await;
    let settings = DynamoDbSettings { attempt_ms_max: 200, request_ms_max: 1_000, attempts_max: 3, ..settings() };
    let store = DynamoDb::new(&config(&proxy.url), settings.clone());
    store.ensure_tables().await.unwrap();
    proxy.script("GetItem", [Fault::Hang]);
    assert_eq!(store.load("s").await.unwrap(), None);
    proxy.script("GetItem", [Fault::Hang; 9]);
    let begun = Instant::now();
    let error = store.load("s").await.unwrap_err();
    assert!(matches!(error, StoreError::Unavailable { .. }), "{error}");
    assert!((Duration::from_millis(500)..Duration::from_secs(5)).contains(&begun.elapsed()), "{:?}", begun.elapsed());

    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let nobody = DynamoDb::new(&config(&format!("http://{free}")), settings);
    let error = nobody.load("s").await.unwrap_err();
    assert!(matches!(error, StoreError::Unavailable { .. }), "{error}");
    assert!(error.to_string().contains("-state: "), "{error}");
}
