//! Several workers: shards that move, workers that die.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use sessionwarden_machine::ids::SessionKey;
use sessionwarden_testbed::{Cloud, CloudShape, Worker};
use sessionwarden_world::SessionStatus;

use super::{
    SOON, cloud,
    end_to_end::{PORT, open, status},
    start, until,
};

/// Opens so many tunnels, in turn in each account.
fn tunnels(cloud: &Cloud, count: usize) -> Vec<SessionKey> {
    let members = cloud.members();
    let one = |number: usize| {
        let member = &members[number % members.len()];
        open(cloud, member.account, &member.logging, Some(PORT))
    };
    (0..count).map(one).collect()
}

async fn all_terminated(cloud: &Cloud, workers: &[&Worker], keys: &[SessionKey]) -> Duration {
    let begun = Instant::now();
    loop {
        let left = keys.iter().filter(|key| status(cloud, key) != SessionStatus::Terminated).count();
        if left == 0 {
            return begun.elapsed();
        }
        let logs = || workers.iter().map(|worker| worker.log()).collect::<Vec<_>>().join("\n---\n");
        assert!(begun.elapsed() < SOON, "{left} sessions are left:\n{}", logs());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Ids of the remedies that say a session was ended, each with how often.
fn remedies(workers: &[&Worker]) -> BTreeMap<String, usize> {
    let mut all = BTreeMap::new();
    for entry in workers.iter().flat_map(|worker| worker.audit()) {
        if entry["body"]["remedy"]["result"] == "done" {
            *all.entry(entry["id"].as_str().unwrap().to_owned()).or_default() += 1;
        }
    }
    all
}

/// I2, I3, I4: a worker is killed in the middle of its work; the other takes its shards, and nothing is lost or done
/// under a second id.
#[tokio::test(flavor = "multi_thread")]
async fn a_killed_worker_loses_nothing() {
    let Some((cloud, _turn)) = cloud(CloudShape { shards: 4, ..CloudShape::default() }).await else { return };
    let settings = cloud.configuration("fail_over_ms = 3000\n");
    let mut first = start(&cloud, &settings);
    first.reads(4, SOON).await.unwrap();
    let mut second = start(&cloud, &settings);
    second.reads(2, SOON).await.unwrap();
    first.reads(2, SOON).await.unwrap();
    let mut keys = tunnels(&cloud, 20);
    tokio::time::sleep(Duration::from_millis(150)).await;
    first.kill().unwrap();
    let killed = Instant::now();
    keys.extend(tunnels(&cloud, 20));
    second.reads(4, SOON).await.unwrap();
    let taken = killed.elapsed();
    println!("with a fail-over time of 3 s, the shards of the killed worker are read after {taken:?}");
    all_terminated(&cloud, &[&second], &keys).await;
    let wanted: BTreeSet<String> = keys.iter().map(|key| format!("terminate/{key}")).collect();
    until("every end is reported", SOON, async || {
        remedies(&[&first, &second]).into_keys().collect::<BTreeSet<_>>() == wanted
    })
    .await;
}

/// A rolling restart of three workers hands over: no shard is idle for long, and none waits for a lease to run out.
#[tokio::test(flavor = "multi_thread")]
async fn a_rolling_restart_hands_over() {
    let Some((cloud, _turn)) = cloud(CloudShape { shards: 3, ..CloudShape::default() }).await else { return };
    // So long that nobody can wait for it.
    let settings = cloud.configuration("fail_over_ms = 60000\n");
    let mut workers = Vec::new();
    for _ in 0..3 {
        let worker = start(&cloud, &settings);
        until("it reads", SOON, async || worker.metric("sessionwarden_shards", "") > 0.5).await;
        assert!(worker.get("/readyz").contains("ready"), "{}", worker.get("/readyz"));
        workers.push(worker);
    }
    let mut slowest = Duration::ZERO;
    for at in 0..3 {
        workers[at].ask_to_stop().unwrap();
        let stopped = Instant::now();
        assert_eq!(workers[at].ended(Duration::from_secs(20)).await.unwrap().code(), Some(0), "{}", workers[at].log());
        let others: Vec<usize> = (0..3).filter(|other| *other != at).collect();
        let reads = |workers: &[Worker]| -> f64 {
            others.iter().map(|at| workers[*at].metric("sessionwarden_shards", "")).sum()
        };
        until("the others read all shards", Duration::from_secs(20), async || reads(&workers) > 2.5).await;
        slowest = slowest.max(stopped.elapsed());
        let keys = tunnels(&cloud, 2);
        let left: Vec<&Worker> = others.iter().map(|at| &workers[*at]).collect();
        all_terminated(&cloud, &left, &keys).await;
        workers[at] = start(&cloud, &settings);
        until("the new one reads", SOON, async || workers[at].metric("sessionwarden_shards", "") > 0.5).await;
    }
    println!("from the request to stop until the others read everything: {slowest:?} at the most");
}

/// A shard is split and two are merged while sessions come: each is ended.
#[tokio::test(flavor = "multi_thread")]
async fn shards_split_and_merge_under_load() {
    let Some((cloud, _turn)) = cloud(CloudShape { shards: 2, members: 4, ..CloudShape::default() }).await else {
        return;
    };
    let settings = cloud.configuration("");
    let mut first = start(&cloud, &settings);
    first.reads(2, SOON).await.unwrap();
    let mut second = start(&cloud, &settings);
    second.reads(1, SOON).await.unwrap();
    let mut keys = tunnels(&cloud, 8);
    let shards = cloud.open_shards().await.unwrap();
    cloud.split(&shards[0]).await.unwrap();
    keys.extend(tunnels(&cloud, 8));
    let shards = cloud.open_shards().await.unwrap();
    cloud.merge(&shards[1], &shards[2]).await.unwrap();
    keys.extend(tunnels(&cloud, 8));
    all_terminated(&cloud, &[&first, &second], &keys).await;
    let reads = || first.metric("sessionwarden_shards", "") + second.metric("sessionwarden_shards", "");
    until("the two open shards are read, and no others", SOON, async || (reads() - 2.0).abs() < 0.1).await;
}
