//! Settings and services that are not as they must be.

use std::{collections::BTreeSet, path::Path, time::Duration};

use sessionwarden_testbed::{
    CloudShape, Worker,
    cloud::{MANAGEMENT, ROLE, STREAM},
};

use super::{PROGRAM, SOON, cloud, start, until};

/// A configuration in which almost everything is missing.
const MISSING: &str = "[backend]\nkind = \"aws\"\n[aws]\nstream = \"events\"\n";

/// All that is missing is told at once.
#[tokio::test]
async fn missing_settings_are_all_told() {
    let mut worker = Worker::start(Path::new(PROGRAM), &[], MISSING).unwrap();
    assert_eq!(worker.ended(Duration::from_secs(10)).await.unwrap().code(), Some(2));
    let told = worker.log();
    for key in ["wake_queue", "parked_queue", "role", "external_id"] {
        assert!(told.contains(&format!("`aws.{key}` is missing")), "{key}: {told}");
    }
    assert!(!told.contains("`aws.stream` is missing"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn services_that_are_not_as_they_must_be_are_all_told() {
    let Some((cloud, _turn)) = cloud(CloudShape::default()).await else { return };
    let good = cloud.configuration("");
    let wrong = good.replace(STREAM, "no-such-stream").replace("create_tables = true", "create_tables = false");
    let wrong = wrong.replace(&cloud.queues().parked, &format!("{}-gone", cloud.queues().parked));
    let mut worker = start(&cloud, &wrong);
    assert_eq!(worker.ended(Duration::from_mins(1)).await.unwrap().code(), Some(1), "{}", worker.log());
    let told = worker.log();
    for what in ["no-such-stream", "sessionwarden-state", "sessionwarden-leases", "-gone"] {
        assert!(told.contains(what), "{what}: {told}");
    }

    // A table with other keys.
    let config = cloud.config(MANAGEMENT.parse().unwrap()).await;
    other_keys(&aws_sdk_dynamodb::Client::new(&config)).await;
    let mut worker = start(&cloud, &good);
    assert_eq!(worker.ended(Duration::from_mins(1)).await.unwrap().code(), Some(1), "{}", worker.log());
    assert!(worker.log().contains("sessionwarden-state"), "{}", worker.log());
}

async fn other_keys(rows: &aws_sdk_dynamodb::Client) {
    use aws_sdk_dynamodb::types::{
        AttributeDefinition, BillingMode, KeySchemaElement, KeyType, ScalarAttributeType as Type,
    };
    let definition = AttributeDefinition::builder().attribute_name("id").attribute_type(Type::N).build().unwrap();
    let key = KeySchemaElement::builder().attribute_name("id").key_type(KeyType::Hash).build().unwrap();
    let call = rows.create_table().table_name("sessionwarden-state").attribute_definitions(definition);
    call.key_schema(key).billing_mode(BillingMode::PayPerRequest).send().await.unwrap();
}

/// TH29: a role that cannot be assumed is told, counted, and tried again.
#[tokio::test(flavor = "multi_thread")]
async fn a_role_that_cannot_be_assumed_is_told_and_counted() {
    let Some((cloud, _turn)) = cloud(CloudShape::default()).await else { return };
    let wrong = cloud.configuration("reconcile_seconds = 2");
    let wrong = wrong.replace(&format!("role = \"{ROLE}\""), "role = \"no-such-role\"");
    let mut worker = start(&cloud, &wrong);
    worker.reads(2, SOON).await.unwrap();
    until("refused accounts", SOON, async || worker.metric("sessionwarden_accounts_refused", "") >= 2.0).await;
    let told: BTreeSet<String> = cloud.members().iter().map(|member| member.account.to_string()).collect();
    let log = worker.log();
    assert!(told.iter().all(|account| log.contains(&format!("{account}:role/no-such-role"))), "{log}");
}

/// Serves one answer to whatever is asked, or none at all.
async fn stub(answer: Option<(u16, &'static str, &'static str)>) -> String {
    use axum::{http::StatusCode, response::IntoResponse};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let app = axum::Router::new().fallback(async move || match answer {
        Some((status, date, body)) => {
            (StatusCode::from_u16(status).unwrap(), [("date", date)], body.to_owned()).into_response()
        }
        None => std::future::pending().await,
    });
    tokio::spawn(async move { axum::serve(listener, app).await });
    url
}

/// A configuration that is complete; nothing that it names has to be there.
const COMPLETE: &str = r#"
[backend]
kind = "aws"
[aws]
stream = "events"
wake_queue = "http://127.0.0.1:1/000000000000/wake-ups"
parked_queue = "http://127.0.0.1:1/000000000000/parked"
role = "sessionwarden"
external_id = "the-id"
"#;

fn variables(sts: &str) -> Vec<(String, String)> {
    let fixed = [
        ("AWS_REGION", "eu-central-1"),
        ("AWS_ACCESS_KEY_ID", "AKIATEST"),
        ("AWS_SECRET_ACCESS_KEY", "a-secret-of-the-test"),
        ("AWS_EC2_METADATA_DISABLED", "true"),
        ("AWS_ENDPOINT_URL", sts),
    ];
    fixed.map(|(name, value)| (name.to_owned(), value.to_owned())).into()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_hangs_is_told_in_bounded_time() {
    let hanging = stub(None).await;
    let mut worker = Worker::start(Path::new(PROGRAM), &variables(&hanging), COMPLETE).unwrap();
    assert_eq!(worker.ended(Duration::from_mins(1)).await.unwrap().code(), Some(1), "{}", worker.log());
    assert!(worker.log().contains("STS did not say whose credentials these are: no answer"), "{}", worker.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_off_is_told() {
    let body = "<ErrorResponse><Error><Code>SignatureDoesNotMatch</Code><Message>m</Message></Error></ErrorResponse>";
    let past = stub(Some((403, "Thu, 01 Jan 2015 00:00:00 GMT", body))).await;
    let mut worker = Worker::start(Path::new(PROGRAM), &variables(&past), COMPLETE).unwrap();
    assert_eq!(worker.ended(Duration::from_mins(1)).await.unwrap().code(), Some(1), "{}", worker.log());
    let told = worker.log();
    assert!(
        told.contains("SignatureDoesNotMatch; this machine's clock is") && told.contains("ahead of AWS's"),
        "{told}"
    );
    assert!(!told.contains("a-secret-of-the-test"), "{told}");
}
