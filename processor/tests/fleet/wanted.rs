//! What the guardrail's things are to be like: written down and compared by a person, put back by the service.

use std::time::Duration;

use serde_json::{Value, json};
use sessionwarden_testbed::{
    CloudShape,
    cloud::{MANAGEMENT, REGION, TOPIC},
};

use super::{SOON, cloud, quarantine::ask, start, until};

// TH29, R-G11: somebody renames the topic that people are told by. `wanted check` sees it, and the service puts it back on
// the event and ends the incident.
#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_was_changed_is_put_back() {
    let Some((cloud, _turn)) = cloud(CloudShape::default()).await else { return };
    let folder = tempfile::tempdir().unwrap();
    let (file, wanted) = (folder.path().join("sessionwarden.toml"), folder.path().join("wanted.json"));
    let more = format!("[incidents]\nrestore = [\"topic\"]\nwanted = {wanted:?}\n");
    let text = cloud.configuration("") + &more;
    std::fs::write(&file, &text).unwrap();
    let topic = format!("arn:aws:sns:{REGION}:{MANAGEMENT}:{TOPIC}");
    let sns = aws_sdk_sns::Client::new(&cloud.config(MANAGEMENT.parse().unwrap()).await);
    let name = async || {
        let found = sns.get_topic_attributes().topic_arn(&topic).send().await.unwrap();
        found.attributes().and_then(|attributes| attributes.get("DisplayName").cloned()).unwrap_or_default()
    };
    let rename = async |name: &str| {
        let call = sns.set_topic_attributes().topic_arn(&topic).attribute_name("DisplayName").attribute_value(name);
        call.send().await.unwrap();
    };
    rename("Sessionwarden").await;

    let (_, _, said) = ask(&cloud, &file, &["wanted", "check"]);
    assert!(said.contains("wanted.json"), "there is no file yet: {said}");
    let take = ["wanted", "take", "topic", &topic, "--account", MANAGEMENT, "--region", REGION];
    let (done, taken, said) = ask(&cloud, &file, &take);
    assert!(done, "{said}");
    assert_eq!(taken["state"]["attributes"]["DisplayName"], "Sessionwarden");
    let result = || {
        let (done, checked, said) = ask(&cloud, &file, &["wanted", "check"]);
        let thing = checked["things"][0].clone();
        (done, thing["result"].as_str().unwrap_or(&said).to_owned(), thing["parts"].clone())
    };
    assert_eq!(result(), (true, "as-wanted".to_owned(), json!([])));
    rename("mine").await;
    assert_eq!(result(), (false, "differs".to_owned(), json!(["attributes"])));

    let mut worker = start(&cloud, &text);
    worker.reads(2, SOON).await.unwrap();
    let event = json!({
        "eventVersion": "1.09", "eventSource": "sns.amazonaws.com", "eventName": "SetTopicAttributes",
        "eventTime": jiff::Timestamp::now().to_string(), "awsRegion": REGION,
        "eventID": "00000000-0000-0000-0000-000000000042", "recipientAccountId": MANAGEMENT,
        "userIdentity": {"type": "IAMUser", "arn": format!("arn:aws:iam::{MANAGEMENT}:user/mallory")},
        "requestParameters": {"topicArn": topic, "attributeName": "DisplayName", "attributeValue": "mine"},
    });
    cloud.put(MANAGEMENT, event.to_string()).await.unwrap();
    until("the topic has its name again", SOON, async || name().await == "Sessionwarden").await;
    assert_eq!(result(), (true, "as-wanted".to_owned(), json!([])));
    until("the incident is over", Duration::from_secs(20), async || {
        let (_, listed, _) = ask(&cloud, &file, &["incidents", "list", "--all"]);
        let incidents = listed["incidents"].as_array().cloned().unwrap_or_default();
        incidents.iter().any(|it: &Value| it["note"]["cause"] == "SW-GRD-01" && it["state"] == "resolved")
    })
    .await;
    // It is written after the incident is saved.
    let mut put_back = None;
    until("it stands in the audit trail", SOON, async || {
        let mut entries = worker.audit().into_iter();
        put_back = entries.find(|entry| entry["id"].as_str().is_some_and(|id| id.starts_with("restored/")));
        put_back.is_some()
    })
    .await;
    let put_back = put_back.expect("it was found").to_string();
    assert!(put_back.contains("the topic is as it is to be again: attributes"), "{put_back}");
}
