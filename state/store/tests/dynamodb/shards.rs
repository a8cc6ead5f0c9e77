//! How the shards of a stream are read, from a script of a stream: no server at hand lets its shards end.

use std::{
    collections::{BTreeMap, VecDeque},
    net::Ipv4Addr,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use sessionwarden_store::{DynamoDb, DynamoDbSettings, ExpiredItems, Store, StoreError};
use sessionwarden_testbed::InProcess;
use tokio::{
    io::AsyncWriteExt,
    net::{TcpListener, TcpStream},
};

use super::{
    proxy::{Request, response},
    servers::{config, in_process, settings, streams_config},
};

#[derive(Default)]
struct Shard {
    parent: Option<&'static str>,
    /// Sequence numbers with the keys of what Time to Live deleted.
    records: Vec<(u64, Value)>,
    ended: bool,
}

#[derive(Default)]
struct Inner {
    shards_by_id: BTreeMap<&'static str, Shard>,
    /// Records below this number are gone.
    trimmed: u64,
    /// The next requests of an operation, for a shard or any, fail with these codes.
    faults: VecDeque<(&'static str, &'static str)>,
    requests: Vec<String>,
}

/// The stream: two shards to a page of the list, three records to an answer.
#[derive(Clone, Default)]
struct Script(Arc<Mutex<Inner>>);

fn number(sequence: u64) -> String {
    format!("{sequence:021}")
}

fn record(sequence: u64, key: &str, event: &str, by: Option<(&str, &str)>) -> Value {
    let row = json!({
        "pk": {"S": key}, "rev": {"N": "3"}, "schema": {"N": "1"}, "body": {"B": "e30="}, "write": {"S": "w"},
        "expires": {"N": "7000"}, "depends": {"L": []},
    });
    json!({
        "eventName": event,
        "userIdentity": by.map(|(kind, who)| json!({"Type": kind, "PrincipalId": who})),
        "dynamodb": {"Keys": {"pk": {"S": key}}, "OldImage": row, "SequenceNumber": number(sequence)},
    })
}

const SERVICE: Option<(&str, &str)> = Some(("Service", "dynamodb.amazonaws.com"));

impl Script {
    async fn serve(&self) -> String {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let script = self.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let script = script.clone();
                tokio::spawn(async move {
                    // A client that goes away is no failure of the test.
                    let _ = script.answer(client).await;
                });
            }
        });
        url
    }

    async fn answer(&self, mut client: TcpStream) -> std::io::Result<()> {
        let Some(request) = Request::read(&mut client).await? else { return Ok(()) };
        let input: Value = serde_json::from_slice(request.body()).unwrap();
        let answer = match self.answer_to(&request.operation, &input) {
            Ok(answer) => response(200, &answer.to_string()),
            Err(code) => response(400, &json!({"__type": format!("a#{code}"), "message": "a test"}).to_string()),
        };
        client.write_all(&answer).await
    }

    fn answer_to(&self, operation: &str, input: &Value) -> Result<Value, &'static str> {
        let mut inner = self.0.lock().unwrap();
        let iterator = input["ShardIterator"].as_str().and_then(|text| text.split_once('|'));
        let shard = iterator.map_or(input["ShardId"].as_str(), |(shard, _)| Some(shard)).unwrap_or_default().to_owned();
        inner.requests.push(format!("{operation} {shard}"));
        if inner.faults.front().is_some_and(|(of, _)| *of == operation || *of == shard) {
            return Err(inner.faults.pop_front().unwrap().1);
        }
        let trimmed = inner.trimmed;
        match operation {
            "DescribeStream" => {
                let after = input["ExclusiveStartShardId"].as_str().unwrap_or_default();
                let ids: Vec<&str> = inner.shards_by_id.keys().copied().filter(|id| *id > after).collect();
                let shards = ids.iter().take(2).map(|id| {
                    json!({"ShardId": id, "ParentShardId": inner.shards_by_id[id].parent, "SequenceNumberRange": {}})
                });
                let shards: Vec<Value> = shards.collect();
                let last = (ids.len() > 2).then(|| ids[1]);
                Ok(json!({"StreamDescription": {"Shards": shards, "LastEvaluatedShardId": last}}))
            }
            "GetShardIterator" => {
                inner.shards_by_id.get(&*shard).ok_or("ResourceNotFoundException")?;
                let after = match input["ShardIteratorType"].as_str().unwrap() {
                    "TRIM_HORIZON" => trimmed,
                    "AFTER_SEQUENCE_NUMBER" => input["SequenceNumber"].as_str().unwrap().parse::<u64>().unwrap() + 1,
                    other => panic!("{other}"),
                };
                if after < trimmed {
                    Err("TrimmedDataAccessException")
                } else {
                    Ok(json!({"ShardIterator": format!("{shard}|{after}")}))
                }
            }
            "GetRecords" => {
                let from: u64 = iterator.unwrap().1.parse().unwrap();
                let shard_of = inner.shards_by_id.get(&*shard).ok_or("ResourceNotFoundException")?;
                let left: Vec<_> = shard_of.records.iter().filter(|(sequence, _)| *sequence >= from).collect();
                let page: Vec<&Value> = left.iter().take(3).map(|(_, record)| record).collect();
                let next = left.get(2).map_or(from.max(left.last().map_or(0, |last| last.0 + 1)), |last| last.0 + 1);
                let open = left.len() > 3 || !shard_of.ended;
                Ok(json!({"Records": page, "NextShardIterator": open.then(|| format!("{shard}|{next}"))}))
            }
            other => panic!("{other} is not served"),
        }
    }

    fn shard(&self, id: &'static str, parent: Option<&'static str>) {
        self.0.lock().unwrap().shards_by_id.insert(id, Shard { parent, ..Shard::default() });
    }

    fn add(&self, id: &str, sequence: u64) {
        let record = record(sequence, &format!("session#{sequence}"), "REMOVE", SERVICE);
        self.0.lock().unwrap().shards_by_id.get_mut(id).unwrap().records.push((sequence, record));
    }

    fn end(&self, id: &str) {
        self.0.lock().unwrap().shards_by_id.get_mut(id).unwrap().ended = true;
    }

    fn fail(&self, faults: impl IntoIterator<Item = (&'static str, &'static str)>) {
        self.0.lock().unwrap().faults.extend(faults);
    }

    fn requests(&self, what: &str) -> usize {
        self.0.lock().unwrap().requests.iter().filter(|request| *request == what).count()
    }
}

struct Stage {
    script: Script,
    url: String,
    store: DynamoDb,
    table: String,
    _server: InProcess,
}

impl Stage {
    async fn new() -> Self {
        let script = Script::default();
        let url = script.serve().await;
        // One attempt each: what the SDK would try again by itself is to be seen.
        let settings = DynamoDbSettings { attempts_max: 1, collects: false, ..settings() };
        let table = settings.state_table.clone();
        let server = in_process();
        let store = DynamoDb::new(&config(&server.url), settings);
        store.ensure_tables().await.unwrap();
        Self { script, url, store, table, _server: server }
    }

    fn reader(&self) -> ExpiredItems {
        ExpiredItems::new(&streams_config(&self.url), &self.store)
    }
}

async fn told(items: &mut ExpiredItems) -> Vec<u64> {
    let told = items.next().await.unwrap().iter();
    let told = told.map(|item| item.key.strip_prefix("session#").unwrap().parse().unwrap()).collect();
    items.done().await.unwrap();
    told
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn parents_are_read_before_their_children() {
    let stage = Stage::new().await;
    let script = &stage.script;
    // The children's ids come first in every list.
    script.shard("s-9", None);
    script.shard("s-1", Some("s-9"));
    script.shard("s-2", Some("s-9"));
    // Its parent is gone already: nobody waits for it.
    script.shard("s-3", Some("s-0"));
    for sequence in 10..15 {
        script.add("s-9", sequence);
    }
    script.add("s-1", 20);
    script.add("s-2", 21);
    script.add("s-3", 5);
    let mut items = stage.reader();
    assert_eq!(told(&mut items).await, [5, 10, 11, 12, 13, 14]);
    assert_eq!(told(&mut items).await, [0; 0]);
    assert_eq!((script.requests("GetRecords s-1"), script.requests("DescribeStream ")), (0, 2));
    script.end("s-9");
    assert_eq!(told(&mut items).await, [0; 0]);
    // The list is read again at once, and the children are read.
    let mut children = told(&mut items).await;
    children.sort_unstable();
    assert_eq!(children, [20, 21]);
    // What has ended is not read again, by the next one either.
    let asked = script.requests("GetRecords s-9");
    let mut again = stage.reader();
    assert_eq!(told(&mut again).await, [0; 0]);
    assert_eq!(script.requests("GetRecords s-9"), asked);
    assert_eq!(items.gaps() + again.gaps(), 0);
}

/// Only what the service deletes after its time counts, not what a person or a program deletes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_the_service_s_own_deletions_count() {
    let stage = Stage::new().await;
    stage.script.shard("s-1", None);
    let of = [
        ("REMOVE", None),
        ("REMOVE", Some(("Service", "replication.dynamodb.amazonaws.com"))),
        ("REMOVE", Some(("User", "dynamodb.amazonaws.com"))),
        ("MODIFY", SERVICE),
        ("INSERT", SERVICE),
        ("REMOVE", SERVICE),
    ];
    for (sequence, (event, by)) in of.into_iter().enumerate() {
        let record = record(sequence as u64, &format!("session#{sequence}"), event, by);
        stage.script.0.lock().unwrap().shards_by_id.get_mut("s-1").unwrap().records.push((sequence as u64, record));
    }
    let mut items = stage.reader();
    assert_eq!(told(&mut items).await, [5]);
    // An image that cannot be read is told by its key.
    let mut damaged = record(6, "session#6", "REMOVE", SERVICE);
    damaged["dynamodb"]["OldImage"] = json!({"pk": {"S": "session#6"}, "rev": {"BOOL": true}});
    stage.script.0.lock().unwrap().shards_by_id.get_mut("s-1").unwrap().records.push((6, damaged));
    let found = items.next().await.unwrap();
    assert_eq!((found.len(), &*found[0].key, found[0].body.len()), (1, "session#6", 0));
}

/// An iterator that is too old is asked for again behind the last record.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_expired_iterator_is_opened_where_it_was() {
    let stage = Stage::new().await;
    stage.script.shard("s-1", None);
    stage.script.add("s-1", 1);
    let mut items = stage.reader();
    assert_eq!(told(&mut items).await, [1]);
    stage.script.add("s-1", 2);
    stage.script.fail([("GetRecords", "ExpiredIteratorException")]);
    assert_eq!(told(&mut items).await, [2]);
    assert_eq!((items.gaps(), stage.script.requests("GetShardIterator s-1")), (0, 2));
}

/// Who was away for longer than a day begins at the oldest record there is, and says that there is a gap.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn trimmed_positions_begin_at_the_oldest_record() {
    let stage = Stage::new().await;
    stage.script.shard("s-1", None);
    stage.script.shard("s-2", None);
    stage.script.add("s-1", 1);
    stage.script.add("s-2", 1);
    let mut items = stage.reader();
    assert_eq!(told(&mut items).await, [1, 1]);
    {
        let mut inner = stage.script.0.lock().unwrap();
        inner.trimmed = 5;
        inner.shards_by_id.remove("s-2");
        inner.shards_by_id.get_mut("s-1").unwrap().records.clear();
    }
    stage.script.add("s-1", 7);
    let mut again = stage.reader();
    assert_eq!(told(&mut again).await, [7]);
    assert_eq!(again.gaps(), 2, "one shard was trimmed, and one is gone that had not ended");
    // In the middle of reading, too.
    stage.script.fail([("GetRecords", "TrimmedDataAccessException")]);
    assert_eq!(told(&mut again).await, [7]);
    stage.script.0.lock().unwrap().shards_by_id.remove("s-1");
    assert_eq!(told(&mut again).await, [0; 0]);
    assert_eq!(again.gaps(), 4);
}

/// A shard that is throttled is left alone for a while, and keeps no other waiting.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_throttled_shard_keeps_no_other_waiting() {
    let stage = Stage::new().await;
    for id in ["s-1", "s-2"] {
        stage.script.shard(id, None);
    }
    stage.script.add("s-1", 1);
    stage.script.add("s-2", 2);
    stage.script.fail([("s-1", "LimitExceededException")]);
    let mut items = stage.reader();
    assert_eq!(told(&mut items).await, [2]);
    assert_eq!(told(&mut items).await, [0; 0]);
    assert_eq!(stage.script.requests("GetShardIterator s-1"), 1, "it is left alone");
    let begun = Instant::now();
    let late = loop {
        let late = told(&mut items).await;
        if !late.is_empty() || begun.elapsed() > Duration::from_secs(10) {
            break late;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    assert_eq!(late, [1]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_no_shard_can_be_read_the_reason_is_told() {
    let stage = Stage::new().await;
    stage.script.shard("s-1", None);
    stage.script.add("s-1", 1);
    stage.script.fail([("s-1", "InternalServerError")]);
    let mut items = stage.reader();
    let error = items.next().await.unwrap_err();
    assert!(matches!(&error, StoreError::Unavailable { why } if why.contains("InternalServerError")), "{error}");
    tokio::time::sleep(Duration::from_millis(600)).await;
    stage.script.fail([("s-1", "AccessDeniedException")]);
    let error = items.next().await.unwrap_err();
    assert!(matches!(&error, StoreError::Refused { why, .. } if why.starts_with("AccessDeniedException")), "{error}");
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    assert_eq!(told(&mut items).await, [1]);
}

/// However much there is, a pass ends, and the next one goes on with another shard.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pass_is_bounded_and_no_shard_starves() {
    let stage = Stage::new().await;
    for id in ["s-1", "s-2"] {
        stage.script.shard(id, None);
        for sequence in 0..100 {
            stage.script.add(id, sequence);
        }
    }
    let mut items = stage.reader();
    let mut all = Vec::new();
    let first = told(&mut items).await;
    assert_eq!(first.len(), 2 * 8 * 3);
    all.extend(first);
    while all.len() < 200 {
        let more = told(&mut items).await;
        assert!(!more.is_empty());
        all.extend(more);
    }
    all.sort_unstable();
    assert_eq!(all, (0..200).map(|n| n / 2).collect::<Vec<u64>>());
}

/// A position that is no position is none: everything that is still there is told again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_position_begins_anew() {
    let stage = Stage::new().await;
    stage.script.shard("s-1", None);
    stage.script.add("s-1", 1);
    assert_eq!(told(&mut stage.reader()).await, [1]);
    assert_eq!(told(&mut stage.reader()).await, [0; 0]);
    let name = format!("expiry/{}", stage.table);
    assert!(stage.store.checkpoint(&name).await.unwrap().is_some());
    stage.store.set_checkpoint(&name, b"nonsense").await.unwrap();
    assert_eq!(told(&mut stage.reader()).await, [1]);
}
