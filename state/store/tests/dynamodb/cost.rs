use sessionwarden_store::{
    DynamoDb, Saved, Store, Units, Write,
    contract::{item, put},
};

use super::{
    proxy::Proxy,
    servers::{config, fresh, in_process, local, settings},
};

/// What each step of a session's life leaves: its name, the body in bytes, whether something is due, how many things it
/// rests on, whether it expires.
const LIFE: [(&str, usize, bool, usize, bool); 8] = [
    ("start", 1_200, true, 0, false),
    ("evidence", 2_600, true, 8, false),
    ("recheck", 2_700, true, 8, false),
    ("recheck", 2_700, true, 8, false),
    ("recheck", 2_700, true, 8, false),
    ("end", 2_900, true, 8, false),
    ("log", 3_300, true, 8, false),
    ("close", 3_400, false, 0, true),
];

/// The capacity units that each step of one session's life consumes: a load and a save.
async fn life(store: &DynamoDb) -> Vec<(&'static str, Units)> {
    let things: Vec<String> = (0..8).map(|n| format!("role/123456789012/a-role-of-some-length-{n}")).collect();
    let key = "session#123456789012/eu-central-1/somebody-0123456789abcdef0";
    let mut steps = Vec::new();
    for (rev, (name, bytes, due, count, expires)) in LIFE.into_iter().enumerate() {
        let before = store.units();
        store.load(key).await.unwrap();
        let things: Vec<&str> = things.iter().take(count).map(String::as_str).collect();
        let at = 1_790_000_000_000 + 15_000 * rev as i64;
        let body = "x".repeat(bytes);
        let next = item(key, &body, due.then_some(at), &things, expires.then_some(at));
        assert_eq!(put(store, next, rev as u64).await, Saved::Saved { rev: rev as u64 + 1 });
        let after = store.units();
        steps.push((name, Units { read: after.read - before.read, write: after.write - before.write }));
    }
    steps
}

fn show(server: &str, steps: &[(&'static str, Units)]) -> Units {
    let mut sum = Units::default();
    println!("{server}: capacity units of one session's life");
    for (name, units) in steps {
        println!("  {name:<10} {:>6.1} read {:>6.1} write", units.read, units.write);
        sum = Units { read: sum.read + units.read, write: sum.write + units.write };
    }
    println!("  {:<10} {:>6.1} read {:>6.1} write", "sum", sum.read, sum.write);
    sum
}

/// Each kilobyte of the item is a write unit, each entry of an index that comes or goes is one, and a transaction
/// takes twice the units of its rows ("DynamoDB read and write operations", "Global secondary indexes").
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_costs_what_the_documentation_says() {
    let server = in_process();
    let steps = life(&fresh(&server.url).await).await;
    let sum = show("in process", &steps);
    let writes: Vec<f64> = steps.iter().map(|(_, units)| units.write).collect();
    let (moved, entries) = (2.0, 8.0 * 2.0);
    let start = 2.0 + 1.0 + 1.0;
    let evidence = 4.0 * 2.0 + entries + moved;
    let close = 4.0 * 2.0 + entries + 1.0;
    let recheck = 4.0 + moved;
    assert_eq!(writes, [start, evidence, recheck, recheck, recheck, recheck, recheck, close]);
    assert_eq!(sum, Units { read: 8.0, write: 85.0 });

    let Some(local) = local() else { return };
    let steps = life(&fresh(&local.url).await).await;
    // It counts a transaction's rows once.
    assert_eq!(show("DynamoDB Local", &steps), Units { read: 8.0, write: 60.0 });
}

/// A save is one request for each item, whatever changes in it, and a second one only where another process changed the
/// list of things; no save is no request.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_save_is_one_request() {
    let server = in_process();
    let proxy = Proxy::to(&server.url).await;
    let settings = settings();
    let [store, other] = [0, 1].map(|_| DynamoDb::new(&config(&proxy.url), settings.clone()));
    store.ensure_tables().await.unwrap();
    proxy.requests();
    let save = async |store: &DynamoDb, things: &[&str], expected| {
        let saved = put(store, item("s", "", Some(1), things, None), expected).await;
        assert_eq!(saved, Saved::Saved { rev: expected + 1 });
        proxy.requests().into_iter().map(|(name, count)| format!("{name} {count}")).collect::<Vec<_>>()
    };
    let (role, node) = ("role/1/r", "node/1/i-1");
    assert_eq!(save(&store, &[], 0).await, ["UpdateItem 1"]);
    assert_eq!(save(&store, &[], 1).await, ["UpdateItem 1"]);
    assert_eq!(save(&store, &[role, node], 2).await, ["TransactWriteItems 1"]);
    assert_eq!(save(&store, &[role, node], 3).await, ["UpdateItem 1"]);
    assert_eq!(save(&store, &[node, role], 4).await, ["UpdateItem 1"]);
    // The other has not read the item: it takes an unchanged list for granted, rightly and then wrongly.
    assert_eq!(save(&other, &[node, role], 5).await, ["UpdateItem 1"]);
    let other = DynamoDb::new(&config(&proxy.url), settings);
    assert_eq!(save(&other, &[node], 6).await, ["TransactWriteItems 1", "UpdateItem 1"]);
    assert_eq!(store.load("s").await.unwrap().unwrap().rev, 7);
    proxy.requests();
    assert_eq!(save(&store, &[], 7).await, ["TransactWriteItems 1"]);
    // What is remembered from before the other's write is not used.
    assert_eq!(save(&other, &[role], 8).await, ["TransactWriteItems 1", "UpdateItem 1"]);
    assert_eq!(store.dependents(role, None, 9).await.unwrap().len(), 1);
    assert_eq!(store.dependents(node, None, 9).await.unwrap().len(), 0);
    proxy.requests();
    store.save(Vec::<Write>::new()).await.unwrap();
    assert!(proxy.requests().is_empty());
}
