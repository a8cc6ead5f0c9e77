//! One worker: from an event to all that follows.

use std::{sync::Arc, time::Duration};

use serde_json::{Value, json};
use sessionwarden_machine::ids::{AccountId, SessionKey};
use sessionwarden_testbed::{
    Cloud, CloudShape, Fault, Worker,
    cloud::{MANAGEMENT, REGION},
};
use sessionwarden_world::{LogFate, SessionStatus, StartSession};

use super::{SOON, cloud, start, until};

pub(crate) const PORT: &str = "AWS-StartPortForwardingSession";

pub(crate) fn request(node: &Arc<str>, document: Option<&str>) -> StartSession {
    StartSession {
        region: Arc::from(REGION),
        target: Arc::clone(node),
        document: document.map(Arc::from),
        reason: Some(Arc::from("a ticket")),
        just_in_time: false,
        log: LogFate::Usual,
    }
}

pub(crate) fn open(cloud: &Cloud, account: AccountId, node: &Arc<str>, document: Option<&str>) -> SessionKey {
    cloud.open(&cloud.user(account).unwrap(), &request(node, document)).unwrap()
}

pub(crate) fn status(cloud: &Cloud, key: &SessionKey) -> SessionStatus {
    cloud.world().describe_session(key).unwrap().status
}

pub(crate) async fn terminated(cloud: &Cloud, worker: &Worker, key: &SessionKey) -> Duration {
    let begun = std::time::Instant::now();
    while status(cloud, key) != SessionStatus::Terminated {
        assert!(begun.elapsed() < SOON, "{key} is not terminated:\n{}", worker.log());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    begun.elapsed()
}

/// The whole way: R-G1, R-G2, R-G5, R-G9, R-G10, R-G11, R-W5, TH2, TH20.
#[tokio::test(flavor = "multi_thread")]
async fn a_violating_session_is_ended_in_its_account_and_everybody_learns_of_it() {
    let Some((cloud, _turn)) = cloud(CloudShape::default()).await else { return };
    let mut worker = start(&cloud, &cloud.configuration(""));
    worker.reads(2, SOON).await.unwrap();
    let (member, other) = (cloud.members()[0].clone(), cloud.members()[1].clone());
    let good = open(&cloud, other.account, &other.logging, None);
    let tunnel = open(&cloud, member.account, &member.logging, Some(PORT));
    let silent = open(&cloud, member.account, &member.silent, None);
    terminated(&cloud, &worker, &tunnel).await;
    terminated(&cloud, &worker, &silent).await;

    until("both ends are confirmed", SOON, async || ended(&worker, &tunnel) && ended(&worker, &silent)).await;
    told(&cloud, &tunnel).await;
    counted(&cloud, &member.account.to_string()).await;
    assert_eq!(status(&cloud, &good), SessionStatus::Connected, "{}", worker.log());
    assert!(worker.metric("sessionwarden_calls_total", "call=\"TerminateSession\"") >= 2.0);
    assert!(worker.metric("sessionwarden_roles_assumed_total", "result=\"ok\"") >= 2.0);
    assert!(worker.metric("sessionwarden_heartbeat_seconds", "") > 1.7e9);
    stored(&cloud, &tunnel).await;
    let log = worker.log();
    assert!(!log.contains("Statement") && !log.contains("SecretAccessKey"), "a policy or a secret in the log");
    worker.ask_to_stop().unwrap();
    assert_eq!(worker.ended(Duration::from_secs(20)).await.unwrap().code(), Some(0), "{}", worker.log());
}

/// Whether the end of a session is in the audit trail: once or, where a look and a record met, more often, always with one
/// id and one content.
fn ended(worker: &Worker, key: &SessionKey) -> bool {
    let id = json!(format!("terminate/{key}"));
    let all = worker.audit();
    let done: Vec<&Value> =
        all.iter().filter(|entry| entry["id"] == id && entry["body"]["remedy"]["result"] == "done").collect();
    assert!(done.windows(2).all(|two| two[0]["body"] == two[1]["body"]), "one id, several contents: {done:?}");
    !done.is_empty()
}

/// The message that came through the topic and its queue, for a person and for a program.
async fn told(cloud: &Cloud, session: &SessionKey) {
    let mut all: Vec<Value> = Vec::new();
    until("the notification of the finding", SOON, async || {
        all.extend(cloud.notifications().await.unwrap());
        let about = |note: &&Value| note["Message"].as_str().is_some_and(|text| text.contains(&*session.id));
        all.iter().filter(about).any(|note| note["MessageAttributes"]["kind"]["Value"] == "finding")
    })
    .await;
    let about = |note: &&Value| note["Message"].as_str().is_some_and(|text| text.contains(&*session.id));
    let note = all.iter().find(about).unwrap();
    let (sentences, block) = note["Message"].as_str().unwrap().split_once("\n\n").unwrap();
    assert!(sentences.lines().count() >= 2, "{sentences}");
    let block: Value = serde_json::from_str(block).unwrap();
    assert_eq!(block["sessionwarden"], 1);
    assert_eq!(note["MessageAttributes"]["account"]["Value"], session.account.to_string());
}

async fn counted(cloud: &Cloud, account: &str) {
    let names = ("SSMMonitoringLoggingGuardrails", "TerminatedSSMSessions");
    until("the counts in CloudWatch", Duration::from_secs(90), async || {
        let of_account = cloud.metric_sum(names.0, names.1, &[("Account", account)]).await.unwrap();
        (of_account - 2.0).abs() < 0.1
    })
    .await;
}

async fn stored(cloud: &Cloud, session: &SessionKey) {
    let config = cloud.config(MANAGEMENT.parse().unwrap()).await;
    let rows = aws_sdk_dynamodb::Client::new(&config);
    let key = aws_sdk_dynamodb::types::AttributeValue::S(format!("session#{session}"));
    let call = rows.get_item().table_name("sessionwarden-state").key("pk", key).consistent_read(true);
    let row = call.send().await.unwrap().item.expect("the session's item");
    assert!(row.contains_key("body") && row.contains_key("fence"), "{:?}", row.keys());
}

/// R-W4, I9: a session that no event announced, and a wake-up that gets lost, are found.
#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_no_event_announced_is_adopted_and_ended() {
    let Some((cloud, _turn)) = cloud(CloudShape { delivers: false, ..CloudShape::default() }).await else {
        return;
    };
    let member = cloud.members()[0].clone();
    let tunnel = open(&cloud, member.account, &member.logging, Some(PORT));
    let mut worker = start(&cloud, &cloud.configuration("reconcile_seconds = 2"));
    worker.reads(2, SOON).await.unwrap();
    terminated(&cloud, &worker, &tunnel).await;
    until("it is counted as missed", SOON, async || worker.metric("sessionwarden_sessions_adopted_total", "") > 0.5)
        .await;
}

/// R-W3, R-W5, I11: throttled, denied and lost answers end no session early and leave none alive.
#[tokio::test(flavor = "multi_thread")]
async fn calls_that_fail_are_made_again_until_the_end_is_seen() {
    let Some((cloud, _turn)) = cloud(CloudShape::default()).await else { return };
    let mut worker = start(&cloud, &cloud.configuration(""));
    worker.reads(2, SOON).await.unwrap();
    let member = cloud.members()[0].clone();
    let throttled = Fault::Code(400, "ThrottlingException");
    cloud.session_manager().fail("DescribeSessions", &[throttled; 3]);
    cloud
        .session_manager()
        .fail("TerminateSession", &[throttled, Fault::Code(500, "InternalServerError"), Fault::Nonsense]);
    let good = open(&cloud, member.account, &member.logging, None);
    let tunnel = open(&cloud, member.account, &member.logging, Some(PORT));
    terminated(&cloud, &worker, &tunnel).await;
    assert!(cloud.session_manager().calls("TerminateSession") >= 3);
    assert_eq!(status(&cloud, &good), SessionStatus::Connected);
}

/// I12: what cannot be read is parked with its place, and its shard goes on.
#[tokio::test(flavor = "multi_thread")]
async fn poison_is_parked_and_the_shard_goes_on() {
    let Some((cloud, _turn)) = cloud(CloudShape { shards: 1, ..CloudShape::default() }).await else { return };
    let mut worker = start(&cloud, &cloud.configuration(""));
    worker.reads(1, SOON).await.unwrap();
    let member = cloud.members()[0].clone();
    let broken = br#"{"eventSource":"ssm.amazonaws.com","eventName":"StartSession","eventTime":"#.to_vec();
    let aggregated = [&[0xF3, 0x89, 0x9A, 0xC2][..], b"several in one"].concat();
    for bytes in [broken.clone(), aggregated.clone(), vec![b'x'; 1_000_000]] {
        cloud.put("poison", bytes).await.unwrap();
    }
    let tunnel = open(&cloud, member.account, &member.logging, Some(PORT));
    terminated(&cloud, &worker, &tunnel).await;
    let config = cloud.config(MANAGEMENT.parse().unwrap()).await;
    let sqs = aws_sdk_sqs::Client::new(&config);
    let mut parked = Vec::new();
    until("the parked records", SOON, async || {
        let call = sqs.receive_message().queue_url(&cloud.queues().parked).max_number_of_messages(10);
        let came = call.message_attribute_names("All").wait_time_seconds(1).send().await.unwrap();
        parked.extend(came.messages.unwrap_or_default());
        parked.len() >= 2
    })
    .await;
    let attribute = |message: &aws_sdk_sqs::types::Message, name: &str| {
        let all = message.message_attributes().unwrap();
        all.get(name).and_then(|value| value.string_value()).unwrap_or_default().to_owned()
    };
    for message in &parked {
        assert_eq!(attribute(message, "shard"), "shardId-000000000000");
        assert!(attribute(message, "sequence").len() > 20 && !attribute(message, "reason").is_empty());
    }
    assert!(parked.iter().any(|message| message.body() == Some(std::str::from_utf8(&broken).unwrap())));
    assert!(parked.iter().any(|message| attribute(message, "encoding") == "base64"));
    assert!(worker.metric("sessionwarden_records_parked_total", "") >= 2.0);
}

/// The same by enhanced fan-out: records are pushed.
#[tokio::test(flavor = "multi_thread")]
async fn a_registered_consumer_is_told_of_sessions_as_well() {
    let Some((cloud, _turn)) = cloud(CloudShape::default()).await else { return };
    let mut worker = start(&cloud, &cloud.configuration("consumer = \"sessionwarden\"\n"));
    worker.reads(2, SOON).await.unwrap();
    for member in cloud.members() {
        let tunnel = open(&cloud, member.account, &member.logging, Some(PORT));
        println!("ended after {:?}", terminated(&cloud, &worker, &tunnel).await);
    }
}
