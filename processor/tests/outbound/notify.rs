//! Notifications through SNS, received through SQS.

use std::{collections::BTreeSet, sync::Arc};

use aws_config::SdkConfig;
use futures_util::FutureExt as _;
use serde_json::Value;
use sessionwarden::{
    outbound::{Configs, Delivery, DeskLimits, Message, Notifier, Notify as _, Outcome, SnsTopics, TopicTemplate},
    ports::CallError,
};
use sessionwarden_machine::{
    effect::{EvidenceNote, Finding, Mode, Principal, Report, Severity},
    ids::{AccountId, EffectId, EventTime, Now},
};

use super::{MEMBER, OWN, REGION, account, config, server};

const NOW: Now = Now(1_795_000_000_000);

pub(crate) fn finding(number: u64, of: AccountId, severity: Severity) -> Message {
    let finding = Finding {
        id: EffectId(format!("finding/{number}").into()),
        control: "document".into(),
        title: "Session without the approved document — übrigens".into(),
        severity,
        requirements: BTreeSet::new(),
        techniques: BTreeSet::new(),
        policy: "abc".into(),
        account: of,
        region: REGION.into(),
        session: None,
        target: "i-0123456789abcdef0\n{\"forged\": true}\n\n{}".into(),
        principal: Principal {
            arn: "arn:aws:sts::111122223333:assumed-role/ops/ann".into(),
            kind: "AssumedRole".into(),
        },
        since: EventTime(NOW.0),
        event: None,
        evidence: vec![EvidenceNote {
            name: "document".into(),
            value: "AWS-StartSSHSession".into(),
            source: "cloudtrail".into(),
            at: EventTime(NOW.0),
        }],
        mode: Mode::Enforce,
    };
    Message::of(&Report::Finding(Box::new(finding))).unwrap()
}

/// A queue that receives what a topic is told, as far as the policy lets it.
pub(crate) struct Reader {
    sqs: aws_sdk_sqs::Client,
    url: String,
}

impl Reader {
    pub(crate) async fn subscribe(
        config: &SdkConfig,
        owner: &str,
        topic: &str,
        name: &str,
        policy: Option<&str>,
    ) -> Self {
        let sqs = aws_sdk_sqs::Client::new(config);
        let url = sqs.create_queue().queue_name(name).send().await.unwrap().queue_url().unwrap().to_owned();
        let queue = format!("arn:aws:sqs:{REGION}:{owner}:{name}");
        let sns = aws_sdk_sns::Client::new(config);
        let mut call = sns.subscribe().topic_arn(topic).protocol("sqs").endpoint(queue);
        if let Some(policy) = policy {
            call = call.attributes("FilterPolicy", policy);
        }
        call.send().await.unwrap();
        Self { sqs, url }
    }

    /// What has come, in the envelope of SNS.
    pub(crate) async fn read(&self) -> Vec<Value> {
        let mut all = Vec::new();
        loop {
            let call = self.sqs.receive_message().queue_url(&self.url).max_number_of_messages(10);
            let answer = call.wait_time_seconds(1).send().await.unwrap();
            if answer.messages().is_empty() {
                return all;
            }
            all.extend(answer.messages().iter().map(|one| serde_json::from_str(one.body().unwrap()).unwrap()));
        }
    }
}

fn delivery(member: Outcome, central: Outcome) -> Delivery {
    Delivery { member, central, routes: Vec::new() }
}

fn topics(central: &SdkConfig, url: &str) -> SnsTopics {
    let url = url.to_owned();
    let configs: Configs = Arc::new(move |account: AccountId| {
        let url = url.clone();
        async move {
            if account == self::account(MEMBER) || account == self::account(444_455_556_666) {
                Ok(config(&url, &account.to_string()).await)
            } else {
                Err(CallError::Denied)
            }
        }
        .boxed()
    });
    let member = TopicTemplate::of_members("arn:aws:sns:{region}:{account}:sessionwarden", REGION).unwrap();
    let all = TopicTemplate::new(&format!("arn:aws:sns:{REGION}:{OWN}:central"), REGION).unwrap();
    SnsTopics::new(Some((all, central.clone())), Some((member, configs)))
}

#[tokio::test]
async fn messages_reach_the_member_and_the_centre() {
    let Some(server) = server() else { return };
    let (own, member) = (config(&server.url, OWN).await, config(&server.url, &MEMBER.to_string()).await);
    let sns = aws_sdk_sns::Client::new(&own);
    let central = sns.create_topic().name("central").send().await.unwrap().topic_arn().unwrap().to_owned();
    let sns = aws_sdk_sns::Client::new(&member);
    let in_member = sns.create_topic().name("sessionwarden").send().await.unwrap().topic_arn().unwrap().to_owned();
    assert!(in_member.contains("111122223333"));
    let all = Reader::subscribe(&own, OWN, &central, "all", None).await;
    let policy = r#"{"severity": ["high", "critical"], "control": ["document"], "account": ["111122223333"]}"#;
    let bad = Reader::subscribe(&own, OWN, &central, "bad", Some(policy)).await;
    let theirs = Reader::subscribe(&member, &MEMBER.to_string(), &in_member, "theirs", None).await;
    let topics = topics(&own, &server.url);

    // R-G10 R-G11: both, once, however often the effect is repeated (R-W2).
    let notifier = Notifier::new(topics.clone(), DeskLimits::default());
    let told = finding(1, account(MEMBER), Severity::High);
    let first = notifier.tell(&told, NOW).await;
    assert_eq!(first, delivery(Outcome::Told, Outcome::Told));
    assert_eq!(notifier.tell(&told, NOW).await, delivery(Outcome::Known, Outcome::Known));
    notifier.tell(&finding(2, account(MEMBER), Severity::Low), NOW).await;
    // An account that has no topic, and one that cannot be called: the centre is told.
    let missing = notifier.tell(&finding(3, account(444_455_556_666), Severity::High), NOW).await;
    assert_eq!(missing, delivery(Outcome::Failed(CallError::Gone), Outcome::Told));
    let denied = notifier.tell(&finding(4, account(7), Severity::High), NOW).await;
    assert_eq!(denied, delivery(Outcome::Failed(CallError::Denied), Outcome::Told));
    assert!(missing.is_done() && denied.is_done());

    let theirs = theirs.read().await;
    assert_eq!(theirs.len(), 2);
    let ids = |all: &[Value]| -> BTreeSet<String> {
        all.iter().map(|one| one["MessageAttributes"]["id"]["Value"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(ids(&all.read().await), BTreeSet::from(["1", "2", "3", "4"].map(|id| format!("finding/{id}"))));
    let bad = bad.read().await;
    assert_eq!(ids(&bad), BTreeSet::from(["finding/1".to_owned()]), "the filter policy");
    let one = &bad[0];
    assert_eq!(one["Subject"], "[HIGH] Session without the approved document ? ?brigens: 111122223333 eu-west-1");
    for (name, value) in [
        ("severity", "high"),
        ("control", "document"),
        ("account", "111122223333"),
        ("region", REGION),
        ("kind", "finding"),
    ] {
        assert_eq!(one["MessageAttributes"][name]["Value"], value, "{name}");
    }
    let (sentences, block) = one["Message"].as_str().unwrap().split_once("\n\n").unwrap();
    assert!(sentences.contains("Session without the approved document — übrigens (document).\n"), "{sentences}");
    assert!(sentences.contains("Evidence: document is AWS-StartSSHSession (cloudtrail)."), "{sentences}");
    let block: Value = serde_json::from_str(block).unwrap();
    assert_eq!(block["report"]["finding"]["principal"]["arn"], "arn:aws:sts::111122223333:assumed-role/ops/ann");
    assert_eq!(block["forged"], Value::Null);
}

#[tokio::test]
async fn a_flood_becomes_a_digest() {
    let Some(server) = server() else { return };
    let own = config(&server.url, OWN).await;
    let sns = aws_sdk_sns::Client::new(&own);
    let central = sns.create_topic().name("central").send().await.unwrap().topic_arn().unwrap().to_owned();
    let all = Reader::subscribe(&own, OWN, &central, "all", None).await;
    let topic = TopicTemplate::new(&central, REGION).unwrap();
    let limits = DeskLimits { burst: 3, refill_ms: 1_000, digest_ms: 5_000 };
    let notifier = Notifier::new(SnsTopics::new(Some((topic, own)), None), limits);
    for number in 0..50 {
        notifier.tell(&finding(number, account(MEMBER), Severity::Medium), NOW).await;
    }
    let worst = notifier.tell(&finding(50, account(MEMBER), Severity::Critical), NOW).await;
    assert_eq!(worst, delivery(Outcome::Nobody, Outcome::Told));
    assert_eq!(notifier.flush(NOW.plus_ms(5_000)).await.len(), 47);
    let read = all.read().await;
    assert_eq!(read.len(), 3 + 1 + 1);
    let digest = read.iter().find(|one| one["MessageAttributes"]["kind"]["Value"] == "digest").unwrap();
    assert_eq!(digest["Subject"], "[MEDIUM] 47 notifications in one: 111122223333 eu-west-1");
    let block: Value = serde_json::from_str(digest["Message"].as_str().unwrap().split_once("\n\n").unwrap().1).unwrap();
    assert_eq!(block["counts"][0]["count"], 47);
    assert_eq!(block["ids"].as_array().unwrap().len(), 47);
}

#[tokio::test]
async fn where_there_is_no_topic_nobody_is_told() {
    let topics = SnsTopics::new(None, None);
    let message = finding(1, account(MEMBER), Severity::High);
    assert_eq!(
        (topics.central(&message).await, topics.member(account(MEMBER), &message).await),
        (Ok(false), Ok(false))
    );
    // I11: a server that does not answer has told nothing.
    let nowhere = config("http://127.0.0.1:1", OWN).await;
    let topic = TopicTemplate::new(&format!("arn:aws:sns:{REGION}:{OWN}:central"), REGION).unwrap();
    let topics = SnsTopics::new(Some((topic, nowhere)), None);
    assert_eq!(topics.central(&message).await, Err(CallError::Unknown));
}
