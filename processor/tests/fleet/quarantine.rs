//! A lock on the services of AWS: from violating sessions to the policy at the account, and back.

use std::{path::Path, process::Command, time::Duration};

use aws_sdk_cloudwatch::types::{Dimension, MetricDatum};
use aws_sdk_organizations::types::PolicyType;
use serde_json::Value;
use sessionwarden_machine::ids::AccountId;
use sessionwarden_testbed::{Cloud, CloudShape, Worker, cloud::MANAGEMENT};

use super::{
    PROGRAM, SOON, cloud,
    end_to_end::{PORT, request, status},
    start, until,
};
use sessionwarden_world::SessionStatus;

/// Names of the policies at an account itself.
async fn attached(cloud: &Cloud, account: AccountId) -> Vec<String> {
    let config = cloud.config(MANAGEMENT.parse().unwrap()).await;
    let call = aws_sdk_organizations::Client::new(&config).list_policies_for_target().target_id(account.to_string());
    let found = call.filter(PolicyType::ServiceControlPolicy).send().await.unwrap();
    found.policies().iter().filter_map(|policy| policy.name().map(str::to_owned)).collect()
}

fn configuration(cloud: &Cloud) -> String {
    let [access, channel] = cloud.quarantine_policies();
    let more = format!(
        "[threshold]\nsessions = 4\n[quarantine]\nmode = \"enforce\"\nshare_max_percent = 100\n\
         access_policy = {access:?}\nchannel_policy = {channel:?}\n"
    );
    cloud.configuration("reconcile_seconds = 2") + &more
}

/// Opens a tunnel by the user of this number.
fn tunnel(cloud: &Cloud, account: AccountId, node: &std::sync::Arc<str>, user: usize) {
    let user = std::sync::Arc::clone(&cloud.world().account(account).unwrap().users[user]);
    cloud.open(&user, &request(node, Some(PORT))).unwrap();
}

/// Asks as a person does, with the configuration of the service.
pub(crate) fn ask(cloud: &Cloud, file: &Path, args: &[&str]) -> (bool, Value, String) {
    let mut command = Command::new(PROGRAM);
    command.args(args).arg("--config").arg(file).env_clear().envs(cloud.variables());
    // What is taken is JSON always.
    if !args.contains(&"take") {
        command.args(["--format", "json"]);
    }
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.status.success(), serde_json::from_slice(&output.stdout).unwrap_or_default(), said)
}

fn entry(worker: &Worker, id: &str) -> Option<Value> {
    worker.audit().into_iter().find(|entry| entry["id"] == id)
}

/// Says in the metric of the original guardrail that an account has ended as many sessions.
async fn forge(cloud: &Cloud, account: AccountId, ended: f64) {
    let config = cloud.config(account).await;
    let dimension = Dimension::builder().name("Account").value(account.to_string()).build();
    let datum = MetricDatum::builder().metric_name("TerminatedSSMSessions").dimensions(dimension).value(ended).build();
    let call = aws_sdk_cloudwatch::Client::new(&config).put_metric_data().namespace("SSMMonitoringLoggingGuardrails");
    call.metric_data(datum).send().await.unwrap();
}

// R-G12, R-G13, I5, I7: two people break the rules, and the account is locked for all; a person releases it.
// R-W28: what members write into metrics neither locks an account nor keeps it from being locked.
// R-W29: sessions that run are ended with the lock.
#[tokio::test(flavor = "multi_thread")]
async fn an_account_is_locked_and_released() {
    let Some((cloud, _turn)) = cloud(CloudShape::default()).await else { return };
    let text = configuration(&cloud);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("sessionwarden.toml");
    std::fs::write(&file, &text).unwrap();
    let mut worker = start(&cloud, &text);
    worker.reads(2, SOON).await.unwrap();
    let member = cloud.members()[0].clone();
    let before = attached(&cloud, member.account).await;
    forge(&cloud, cloud.members()[1].account, 1_000.0).await;
    forge(&cloud, member.account, -1_000.0).await;
    // A session that breaks no rule is ended with the lock all the same.
    let quiet = cloud.open(&cloud.user(member.account).unwrap(), &request(&member.logging, None)).unwrap();
    for number in 0..4 {
        tunnel(&cloud, member.account, &member.logging, number % 2);
    }
    until("the policy is attached", SOON, async || {
        attached(&cloud, member.account).await.contains(&"sessionwarden-quarantine-access".to_owned())
    })
    .await;
    let account = member.account.to_string();
    let at =
        |id: &str| entry(&worker, id).map(|entry| entry["at"].as_str().unwrap().parse::<jiff::Timestamp>().unwrap());
    let (full, call) = (at(&format!("incident/threshold/{account}/1")), at(&format!("lock/{account}/1")));
    let took = call.unwrap().duration_since(full.unwrap());
    println!("from the full window to the call that attaches: {took:?}");
    until("the quiet session is ended", SOON, async || status(&cloud, &quiet) == SessionStatus::Terminated).await;
    until("it bites and nothing runs", Duration::from_mins(1), async || {
        let (_, listed, _) = ask(&cloud, &file, &["quarantine", "list"]);
        listed["accounts"][0]["phase"] == "enforced"
    })
    .await;
    let (_, listed, _) = ask(&cloud, &file, &["quarantine", "list"]);
    assert_eq!(listed["accounts"].as_array().map(Vec::len), Some(1), "{listed}");
    let (_, shown, _) = ask(&cloud, &file, &["quarantine", "show", &account]);
    assert_eq!(shown["episode"]["tier"], "access", "{shown}");
    assert!(shown["episode"]["swept"].as_array().unwrap().iter().any(|it| it["id"] == *quiet.id), "{shown}");

    let (done, _, said) = ask(&cloud, &file, &["quarantine", "release", &account]);
    assert!(!done && said.contains("give a reason"), "{said}");
    let (done, _, said) = ask(&cloud, &file, &["quarantine", "release", &account, "--reason", "a drill"]);
    assert!(done, "{said}");
    until("the policy is detached", SOON, async || attached(&cloud, member.account).await == before).await;
    // It is looked at once more after 40 s.
    let told = Duration::from_mins(1);
    until("the release is told", told, async || entry(&worker, &format!("release/{account}/1")).is_some()).await;
    let order = worker.audit().into_iter().find(|entry| entry["body"]["order"] == "release").expect("who did it");
    assert!(order["body"]["who"].as_str().unwrap().contains(&format!("{MANAGEMENT}:root")), "{order}");
    let (_, incidents, _) = ask(&cloud, &file, &["incidents", "list", "--all"]);
    let threshold = incidents["incidents"].as_array().unwrap().iter().find(|it| it["note"]["cause"] == "threshold");
    assert!(threshold.is_some_and(|it| it["state"] == "resolved"), "{incidents}");
}

// R-G13: one person alone is denied alone, by a policy of their own, which is deleted afterwards.
#[tokio::test(flavor = "multi_thread")]
async fn one_principal_is_denied_alone() {
    let Some((cloud, _turn)) = cloud(CloudShape::default()).await else { return };
    let text = configuration(&cloud);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("sessionwarden.toml");
    std::fs::write(&file, &text).unwrap();
    let mut worker = start(&cloud, &text);
    worker.reads(2, SOON).await.unwrap();
    let member = cloud.members()[0].clone();
    let before = attached(&cloud, member.account).await;
    for _ in 0..4 {
        tunnel(&cloud, member.account, &member.logging, 0);
    }
    let own = format!("sessionwarden-principals-{}", member.account);
    until("the policy is attached", SOON, async || attached(&cloud, member.account).await.contains(&own)).await;
    let account = member.account.to_string();
    let (done, _, said) = ask(&cloud, &file, &["quarantine", "release", &account, "--reason", "a drill"]);
    assert!(done, "{said}");
    until("the policy is detached", SOON, async || attached(&cloud, member.account).await == before).await;
    let config = cloud.config(MANAGEMENT.parse().unwrap()).await;
    until("the policy is deleted", SOON, async || {
        let call = aws_sdk_organizations::Client::new(&config).list_policies();
        let found = call.filter(PolicyType::ServiceControlPolicy).send().await.unwrap();
        found.policies().iter().all(|policy| policy.name() != Some(&own))
    })
    .await;
}

// I7, R-G13: the program is killed again and again while an account is locked and unlocked. It comes to the same end: one
// episode, one policy at the account, and none after it.
#[tokio::test(flavor = "multi_thread")]
async fn an_episode_survives_kills() {
    let Some((cloud, _turn)) = cloud(CloudShape::default()).await else { return };
    let text = configuration(&cloud).replace("reconcile_seconds = 2", "reconcile_seconds = 2\nfail_over_ms = 1000");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("sessionwarden.toml");
    std::fs::write(&file, &text).unwrap();
    let member = cloud.members()[0].clone();
    let account = member.account.to_string();
    let before = attached(&cloud, member.account).await;
    let (mut audit, mut phases) = (Vec::new(), std::collections::BTreeSet::new());
    let phase = || {
        let (_, listed, _) = ask(&cloud, &file, &["quarantine", "list"]);
        listed["accounts"][0]["phase"].as_str().unwrap_or("clear").to_owned()
    };
    let mut first = start(&cloud, &text);
    first.reads(2, SOON).await.unwrap();
    for number in 0..4 {
        tunnel(&cloud, member.account, &member.logging, number % 2);
    }
    let mut worker = first;
    // Sooner and later after the beginning, so that each step is met by some kill.
    for wait_ms in [300, 900, 1_500, 2_100, 2_700, 3_300] {
        tokio::time::sleep(Duration::from_millis(wait_ms)).await;
        phases.insert(phase());
        audit.extend(worker.audit());
        worker.kill().unwrap();
        worker = start(&cloud, &text);
    }
    until("it is enforced", Duration::from_mins(1), async || phase() == "enforced").await;
    assert!(attached(&cloud, member.account).await.contains(&"sessionwarden-quarantine-access".to_owned()));
    let (done, _, said) = ask(&cloud, &file, &["quarantine", "release", &account, "--reason", "a drill"]);
    assert!(done, "{said}");
    for wait_ms in [100, 700, 1_500] {
        tokio::time::sleep(Duration::from_millis(wait_ms)).await;
        phases.insert(phase());
        audit.extend(worker.audit());
        worker.kill().unwrap();
        worker = start(&cloud, &text);
    }
    until("the policy is detached", Duration::from_mins(1), async || attached(&cloud, member.account).await == before)
        .await;
    until("it is released", Duration::from_mins(1), async || phase() == "released").await;
    println!("phases at the kills: {phases:?}");
    audit.extend(worker.audit());
    let ids: std::collections::BTreeSet<String> = audit
        .iter()
        .filter_map(|entry| entry["id"].as_str())
        .filter(|id| ["lock/", "release/"].into_iter().any(|verb| id.starts_with(&format!("{verb}{account}"))))
        .map(str::to_owned)
        .collect();
    // The last one says who has released it.
    let [lock, release] = ["lock", "release"].map(|verb| format!("{verb}/{account}/1"));
    let order = format!("{release}/arn:aws:iam::{MANAGEMENT}:root");
    assert_eq!(ids, [lock, release, order].into_iter().collect());
}
