//! Routes to services of AWS: EventBridge, read back through a rule and a queue, and SNS.

use std::{collections::BTreeMap, fs, sync::Arc};

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::Credentials;
use serde_json::Value;
use sessionwarden::{
    aws::{AwsOrganization, AwsSettings, PutEvent},
    metrics::Metrics,
    outbound::{
        Common, DeadLetters, Deliver, DeskLimits, Destination, EventBus, Line, Nobody, Notifier, Outcome, Route,
        SnsRoute, TopicTemplate, Undelivered,
    },
    ports::CallError,
};
use sessionwarden_machine::{effect::Severity, ids::Now};
use sessionwarden_testbed::python;

use super::{MEMBER, OWN, REGION, account, config, notify::finding, server};

const NOW: Now = Now(1_795_000_000_000);

async fn hands(url: &str) -> Arc<AwsOrganization> {
    let loader = aws_config::defaults(BehaviorVersion::latest())
        .region(Region::new(REGION))
        .credentials_provider(Credentials::new(OWN, "test", None, None, "test"))
        .endpoint_url(url);
    let settings = AwsSettings::new("sessionwarden", "right");
    Arc::new(AwsOrganization::connect_with(loader, settings).await.expect("the server answers"))
}

fn destination() -> Destination {
    Destination::EventBridge { bus: "security".into() }
}

fn common(folder: &tempfile::TempDir) -> Common {
    let units = BTreeMap::from([(account(MEMBER), Arc::from("prod"))]);
    let letters = DeadLetters::open(folder.path()).unwrap();
    Common { units: Arc::new(units), letters, metrics: Metrics::new().unwrap() }
}

/// The bodies of all messages in a queue.
async fn read(config: &SdkConfig, url: &str) -> Vec<Value> {
    let sqs = aws_sdk_sqs::Client::new(config);
    let mut all = Vec::new();
    loop {
        let call = sqs.receive_message().queue_url(url).max_number_of_messages(10).wait_time_seconds(1);
        let answer = call.send().await.unwrap();
        if answer.messages().is_empty() {
            return all;
        }
        for one in answer.messages() {
            all.push(serde_json::from_str(one.body().unwrap()).unwrap());
            let deleted = sqs.delete_message().queue_url(url).receipt_handle(one.receipt_handle().unwrap());
            deleted.send().await.unwrap();
        }
    }
}

// R-G11 R-W2: a rule finds events by source, type and what stands in them, each once.
#[tokio::test]
async fn an_event_bus_gets_what_its_route_lets_through() {
    let Some(server) = server() else { return };
    let pattern = r#"{"source": ["sessionwarden"], "detail-type": ["Sessionwarden Finding", "Sessionwarden Digest"],
        "detail": {"severity": ["medium", "high", "critical"]}}"#;
    let queue = python::script("event_rule.py", &[&server.url, OWN, "security", pattern], &[]).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let limits = DeskLimits { burst: 3, refill_ms: 60_000, digest_ms: 1_000 };
    let route = Route { limits, units: vec!["pr*".into()], ..Route::new("security", destination()) };
    let bus = EventBus::new(hands(&server.url).await, "security");
    let line = Line::new(route, Box::new(bus), common(&folder));
    let notifier = Notifier::new(Nobody, DeskLimits::default()).with_lines(vec![line]);

    for number in 0..5 {
        let message = finding(number, account(MEMBER), Severity::High);
        let first = notifier.tell(&message, NOW).await;
        assert_eq!(first.routes, [if number < 3 { Outcome::Told } else { Outcome::Held }]);
        assert_eq!((first.is_done(), notifier.tell(&message, NOW).await.is_done()), (number < 3, number < 3));
    }
    let elsewhere = notifier.tell(&finding(9, account(7), Severity::High), NOW).await;
    assert_eq!((elsewhere.is_done(), elsewhere.routes), (true, vec![Outcome::Nobody]));
    assert_eq!(notifier.tell(&finding(8, account(MEMBER), Severity::Low), NOW).await.routes, [Outcome::Told]);
    assert_eq!(notifier.flush(NOW.plus_ms(1_000)).await.len(), 2);

    let events = read(&config(&server.url, OWN).await, queue.as_str().unwrap()).await;
    let kinds: Vec<&str> = events.iter().map(|event| event["detail"]["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["finding", "finding", "finding", "digest"], "the rule keeps the low one out");
    let one = &events[0];
    assert_eq!((&one["source"], &one["detail-type"]), (&"sessionwarden".into(), &"Sessionwarden Finding".into()));
    assert_eq!(one["detail"]["id"], "finding/0");
    assert_eq!(one["detail"]["account"], "111122223333");
    assert_eq!(one["detail"]["report"]["finding"]["control"], "document");
    assert_eq!(events[3]["detail"]["ids"].as_array().unwrap().len(), 2);
    assert_eq!(fs::read_to_string(folder.path().join(DeadLetters::FILE)).unwrap(), "");
}

// R-W3, I11: what a bus refuses for good is told apart from what may be taken later.
#[tokio::test]
async fn refused_entries_and_silent_servers_are_told_apart() {
    let Some(server) = server() else { return };
    let hands = hands(&server.url).await;
    let forbidden = PutEvent { source: "aws.sessionwarden", detail_type: "t", detail: "{}" };
    let refused = hands.put_event("default", forbidden).await.unwrap_err();
    assert_eq!((refused.is_final(), refused.error()), (true, CallError::Unknown), "{refused}");
    let bus = EventBus::new(Arc::clone(&hands), "default");
    drop(server);
    let silent = bus.deliver(&finding(1, account(MEMBER), Severity::High), NOW).await;
    assert!(matches!(silent, Err(Undelivered::Later(_))), "{silent:?}");
}

// R-G11
#[tokio::test]
async fn a_topic_can_be_a_route_of_its_own() {
    let Some(server) = server() else { return };
    let own = config(&server.url, OWN).await;
    let sns = aws_sdk_sns::Client::new(&own);
    let arn = sns.create_topic().name("high").send().await.unwrap().topic_arn().unwrap().to_owned();
    let reader = super::notify::Reader::subscribe(&own, OWN, &arn, "high", None).await;
    let folder = tempfile::tempdir().unwrap();
    let route = Route { severity_min: Severity::High, ..Route::new("high", Destination::Sns { topic: arn.clone() }) };
    let to = SnsRoute::new(TopicTemplate::new(&arn, REGION).unwrap(), own.clone());
    let missing = TopicTemplate::new(&format!("arn:aws:sns:{REGION}:{OWN}:missing"), REGION).unwrap();
    let nowhere = Route { tries_max: 1, ..Route::new("nowhere", Destination::Sns { topic: "missing".into() }) };
    let common = common(&folder);
    let lines = vec![
        Line::new(route, Box::new(to), common.clone()),
        Line::new(nowhere, Box::new(SnsRoute::new(missing, own)), common),
    ];
    let notifier = Notifier::new(Nobody, DeskLimits::default()).with_lines(lines);
    let told = notifier.tell(&finding(1, account(MEMBER), Severity::High), NOW).await;
    assert_eq!((told.is_done(), told.routes), (true, vec![Outcome::Told, Outcome::GivenUp]));
    let kept = notifier.tell(&finding(2, account(MEMBER), Severity::Low), NOW.plus_ms(5_000)).await;
    assert_eq!((kept.is_done(), kept.routes), (true, vec![Outcome::Nobody, Outcome::GivenUp]));
    let read = reader.read().await;
    assert_eq!(read.len(), 1);
    assert_eq!(read[0]["MessageAttributes"]["id"]["Value"], "finding/1");
    let letters = fs::read_to_string(folder.path().join(DeadLetters::FILE)).unwrap();
    assert_eq!(letters.lines().count(), 2, "{letters}");
    assert!(letters.lines().all(|letter| letter.contains("Publish: ")), "{letters}");
}
