use std::{
    io::{BufRead, BufReader},
    process::{Command, Stdio},
};

use proptest::prelude::*;
use sessionwarden_store::{
    Backend, DynamoDb, DynamoDbSettings, Item, Saved, Store, Write,
    contract::{self, item, put},
};

use super::{
    histories::any_step,
    proxy::Proxy,
    servers::{config, fresh, in_process, local, settings},
};

/// Set for the child processes that count: the server, and the two tables.
const CHILD: &str = "SESSIONWARDEN_STORE_TEST_SERVER";
const STEPS: u64 = 40;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_contract_is_kept_in_process() {
    let server = in_process();
    contract::all(async || Backend::DynamoDb(fresh(&server.url).await)).await;
}

/// An index that is behind by one read: what is read from it settles, and nothing else depends on it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_contract_is_kept_with_late_indexes() {
    let server = in_process();
    let proxy = Proxy::to(&server.url).await;
    proxy.lag();
    let store = fresh(&proxy.url).await;
    put(&store, item("session#a", "", Some(1), &[], None), 0).await;
    assert!(store.keys("session#", None, 9).await.unwrap().is_empty(), "the index is late");
    assert_eq!(store.keys("session#", None, 9).await.unwrap().len(), 1);
    contract::all(async || fresh(&proxy.url).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_contract_is_kept_by_dynamodb_local() {
    if count_if_child().await {
        return;
    }
    let Some(local) = local() else { return };
    contract::all(async || fresh(&local.url).await).await;
    lists_of_things_race(&fresh(&local.url).await).await;
    processes_race(&local.url, "the_contract_is_kept_by_dynamodb_local").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_processes_that_race_lose_no_update() {
    if count_if_child().await {
        return;
    }
    let server = in_process();
    processes_race(&server.url, "two_processes_that_race_lose_no_update").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn entries_follow_their_items_through_races() {
    let server = in_process();
    lists_of_things_race(&fresh(&server.url).await).await;
}

#[test]
fn histories_agree_with_the_model() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let server = in_process();
    let config = ProptestConfig { cases: 12, ..ProptestConfig::default() };
    proptest!(config, |(steps in proptest::collection::vec(any_step(), 1..16))| {
        runtime.block_on(async { contract::agrees_with_model(&fresh(&server.url).await, &steps).await });
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn due_items_of_one_partition_come_in_order_and_with_all_of_a_time() {
    let server = in_process();
    let store = fresh(&server.url).await;
    let mut writes = Vec::new();
    for n in 0..40 {
        let mut one = item(&format!("session#{n:02}"), "", Some([7, 3, 5, 3][n % 4]), &[], None);
        if let Some(due) = one.due.as_mut().filter(|_| n >= 20) {
            due.partition = "000000000002#us-east-1".into();
        }
        writes.push(Write { item: one, expected: 0 });
    }
    assert!(store.save(writes).await.unwrap().iter().all(|saved| *saved == Saved::Saved { rev: 1 }));
    let due = async |partition, until, limit| {
        let due = store.due_in(partition, sessionwarden_machine::ids::Now(until), limit).await.unwrap();
        due.into_iter().map(|one| (one.due.at.0, one.key.to_string())).collect::<Vec<_>>()
    };
    let one = due("000000000001#eu-central-1", i64::MAX, 99).await;
    assert_eq!(one.len(), 20);
    assert!(one.is_sorted());
    for limit in [0, 1, 3, 10, 12, 20] {
        assert_eq!(due("000000000001#eu-central-1", i64::MAX, limit).await, one[..limit]);
    }
    assert_eq!(due("000000000001#eu-central-1", 4, 99).await, one[..10]);
    assert_eq!(due("000000000002#us-east-1", 2, 99).await, []);
    assert_eq!(due("000000000003#us-east-1", i64::MAX, 99).await, []);
}

/// The service ends a page at 1 MB; every listing goes on behind it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn listings_go_on_behind_a_page_of_the_service() {
    const ITEMS: usize = 1_300;
    let server = in_process();
    let proxy = Proxy::to(&server.url).await;
    let store = fresh(&proxy.url).await;
    let key = |n: usize| format!("session#{n:0>1000}");
    let writes = (0..ITEMS).map(|n| {
        let mut one = item(&key(n), "", Some(7), &["role/1/r"], Some(1));
        one.body = vec![b' '; 10];
        Write { item: one, expected: 0 }
    });
    store.save(writes.collect()).await.unwrap();
    proxy.requests();
    let pages = |operation: &str| proxy.requests().get(operation).copied().unwrap_or(0);
    let all: Vec<String> = (0..ITEMS).map(key).collect();
    let texts = |keys: Vec<std::sync::Arc<str>>| keys.iter().map(ToString::to_string).collect::<Vec<_>>();

    assert_eq!(texts(store.keys("session#", None, 9_999).await.unwrap()), all);
    assert!(pages("Query") > 1);
    assert_eq!(texts(store.keys("", None, 1_250).await.unwrap()), all[..1_250]);
    assert!(pages("Scan") > 1);
    assert_eq!(texts(store.dependents("role/1/r", Some(&all[9]), 1_250).await.unwrap()), all[10..1_260]);
    assert!(pages("Query") > 1);
    let now = sessionwarden_machine::ids::Now(7);
    let due = |due: Vec<sessionwarden_store::DueItem>| texts(due.into_iter().map(|one| one.key).collect());
    assert_eq!(due(store.due(now, 5).await.unwrap()), all[..5]);
    assert!(pages("Scan") > 1);
    assert_eq!(due(store.due_in("000000000001#eu-central-1", now, 5).await.unwrap()), all[..5]);
    assert!(pages("Query") > 1);
    assert_eq!(store.collect(now, 3).await.unwrap().len(), 3);
    assert!(pages("Scan") > 1);
}

/// The service's Time to Live deletes: the store neither scans nor deletes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn collect_is_left_to_the_service_where_so_set() {
    let server = in_process();
    let settings = DynamoDbSettings { collects: false, ..settings() };
    assert!(!DynamoDbSettings::default().collects);
    let store = DynamoDb::new(&config(&server.url), settings);
    store.ensure_tables().await.unwrap();
    put(&store, item("s", "", None, &[], Some(1)), 0).await;
    let before = store.units();
    assert_eq!(store.collect(sessionwarden_machine::ids::Now(9_999), 9).await.unwrap(), []);
    assert_eq!(store.units(), before);
    assert!(store.load("s").await.unwrap().is_some());
}

/// Many tasks change what one item depends on; in the end the entries are those of the last list.
async fn lists_of_things_race(store: &DynamoDb) {
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..4 {
        let store = store.clone();
        tasks.spawn(async move {
            for step in 0..8 {
                loop {
                    let rev = store.load("session#raced").await.unwrap().map_or(0, |old| old.rev);
                    let things = [format!("role/1/{}", (task + step) % 3), format!("node/1/{}", step % 2)];
                    let things: Vec<&str> = things.iter().take(1 + step % 2).map(String::as_str).collect();
                    if put(&store, item("session#raced", "", None, &things, None), rev).await != Saved::Conflict {
                        break;
                    }
                }
            }
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
    let last = store.load("session#raced").await.unwrap().unwrap();
    assert_eq!(last.rev, 32);
    for thing in ["role/1/0", "role/1/1", "role/1/2", "node/1/0", "node/1/1"] {
        let depends = last.depends.iter().any(|one| &**one == thing);
        assert_eq!(store.dependents(thing, None, 9).await.unwrap().len(), usize::from(depends), "{thing}");
    }
}

async fn processes_race(url: &str, test: &str) {
    let settings = settings();
    let store = DynamoDb::new(&config(url), settings.clone());
    store.ensure_tables().await.unwrap();
    let server = format!("{url} {} {}", settings.state_table, settings.index_table);
    let children: Vec<_> = (0..2)
        .map(|_| {
            let test = format!("suite::{test}");
            Command::new(std::env::current_exe().unwrap())
                .args(["--exact", &test, "--nocapture"])
                .env(CHILD, &server)
                .stdout(Stdio::piped())
                .spawn()
                .unwrap()
        })
        .collect();
    let lost: Vec<u64> = children
        .into_iter()
        .map(|mut child| {
            let lines: Vec<String> =
                BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok).collect();
            let lost = lines.iter().find_map(|line| Some(line.split_once("races lost: ")?.1.parse().unwrap()));
            assert!(child.wait().unwrap().success());
            lost.unwrap()
        })
        .collect();
    let last = store.load("counter").await.unwrap().unwrap();
    assert_eq!((last.rev, last.decode::<u64>().unwrap()), (2 * STEPS, 2 * STEPS), "races lost: {lost:?}");
}

/// In a child process: counts one item up, together with the other child.
async fn count_if_child() -> bool {
    let Ok(server) = std::env::var(CHILD) else { return false };
    let parts: Vec<&str> = server.split(' ').collect();
    let [url, state_table, index_table] = parts[..] else { panic!("{server}") };
    let settings = DynamoDbSettings {
        state_table: state_table.to_owned(),
        index_table: index_table.to_owned(),
        ..DynamoDbSettings::default()
    };
    let store = DynamoDb::new(&config(url), settings);
    let (mut steps, mut lost) = (0, 0);
    while steps < STEPS {
        let old = store.load("counter").await.unwrap();
        let count: u64 = old.as_ref().map_or(0, |old| old.decode().unwrap());
        match put(&store, Item::encode("counter", &(count + 1)).unwrap(), old.map_or(0, |old| old.rev)).await {
            Saved::Saved { .. } => steps += 1,
            Saved::Conflict => lost += 1,
        }
    }
    println!("\nraces lost: {lost}");
    true
}
