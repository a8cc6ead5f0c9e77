//! The emulated AWS stands, and its parts fit together.

use std::{
    collections::BTreeSet,
    process::Command,
    sync::Arc,
    time::{Duration, Instant},
};

use aws_credential_types::Credentials;
use aws_sdk_kinesis::types::ShardIteratorType;
use aws_sdk_ssm::types::{SessionFilter, SessionFilterKey, SessionState};
use serde_json::Value;
use sessionwarden_machine::ids::AccountId;
use sessionwarden_testbed::{
    Cloud, CloudShape, Fault,
    cloud::{EXTERNAL_ID, MANAGEMENT, REGION, ROLE, STREAM, TOPIC},
    or_say,
};
use sessionwarden_world::{LogFate, SessionStatus, StartSession};

const SOON: Duration = Duration::from_secs(20);

async fn assume(cloud: &Cloud, account: AccountId, external_id: &str) -> Result<Credentials, String> {
    let sts = aws_sdk_sts::Client::new(&cloud.config(MANAGEMENT.parse().unwrap()).await);
    let call = sts.assume_role().role_arn(format!("arn:aws:iam::{account}:role/{ROLE}"));
    let call = call.role_session_name("smoke").external_id(external_id);
    let given = call.send().await.map_err(|error| format!("{:?}", error.into_service_error().meta().code()))?;
    let given = given.credentials.unwrap();
    let token = Some(given.session_token);
    Ok(Credentials::new(given.access_key_id, given.secret_access_key, token, None, "test"))
}

/// Every record of the stream, from the oldest.
async fn records(cloud: &Cloud) -> Vec<(String, Vec<u8>)> {
    let kinesis = aws_sdk_kinesis::Client::new(&cloud.config(MANAGEMENT.parse().unwrap()).await);
    let listed = kinesis.list_shards().stream_name(STREAM).send().await.unwrap();
    let mut all = Vec::new();
    for shard in listed.shards() {
        let call = kinesis.get_shard_iterator().stream_name(STREAM).shard_id(shard.shard_id());
        let began = call.shard_iterator_type(ShardIteratorType::TrimHorizon).send().await.unwrap();
        let told = kinesis.get_records().set_shard_iterator(began.shard_iterator).send().await.unwrap();
        all.extend(told.records.into_iter().map(|it| (it.partition_key.unwrap_or_default(), it.data.into_inner())));
    }
    all
}

fn request(node: &Arc<str>) -> StartSession {
    StartSession {
        region: Arc::from(REGION),
        target: Arc::clone(node),
        document: None,
        reason: Some(Arc::from("a ticket")),
        just_in_time: false,
        log: LogFate::Usual,
    }
}

async fn until<F: Future<Output = bool>>(what: &str, holds: impl Fn() -> F) {
    let began = Instant::now();
    while !holds().await {
        assert!(began.elapsed() < SOON, "not within {SOON:?}: {what}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test]
async fn everything_starts_and_fits_together() {
    let Some(cloud) = or_say(Cloud::start(CloudShape::default()).await) else { return };
    the_stream_takes_and_gives_records(&cloud).await;
    a_member_is_reached_by_its_role_only(&cloud).await;
    a_session_is_seen_and_ended(&cloud).await;
    a_log_arrives(&cloud).await;
    notifications_and_metrics_can_be_read(&cloud).await;
    a_program_finds_every_service(&cloud);
}

async fn the_stream_takes_and_gives_records(cloud: &Cloud) {
    cloud.put("any", b"any bytes".to_vec()).await.unwrap();
    assert_eq!(records(cloud).await, [("any".to_owned(), b"any bytes".to_vec())]);
    let two = cloud.open_shards().await.unwrap();
    cloud.split(&two[0]).await.unwrap();
    let three = cloud.open_shards().await.unwrap();
    cloud.merge(&three[1], &three[2]).await.unwrap();
    let shards = cloud.open_shards().await.unwrap();
    assert_eq!((two.len(), three.len(), shards.len()), (2, 3, 2));
    assert_eq!((shards[0].hash_keys.0, shards[1].hash_keys.1), (0, u128::MAX));
    assert_eq!(shards[0].hash_keys.1 + 1, shards[1].hash_keys.0);
}

async fn a_member_is_reached_by_its_role_only(cloud: &Cloud) {
    let member = &cloud.members()[0];
    for (account, external_id) in [(member.account, "wrong"), (AccountId::new(1).unwrap(), EXTERNAL_ID)] {
        assert_eq!(assume(cloud, account, external_id).await.unwrap_err(), r#"Some("AccessDenied")"#);
    }
    let given = assume(cloud, member.account, EXTERNAL_ID).await.unwrap();
    let iam = aws_sdk_iam::Client::new(&cloud.config_with(given).await);
    for (profile, role) in [("web-node-profile", "web-node-role"), ("open-profile", "open-role")] {
        let found = iam.get_instance_profile().instance_profile_name(profile).send().await.unwrap();
        assert_eq!(found.instance_profile().unwrap().roles()[0].role_name(), role);
    }
    let refused = iam.delete_role().role_name("web-node-role").send().await.unwrap_err().into_service_error();
    assert_eq!(refused.meta().code(), Some("AccessDenied"));
}

async fn a_session_is_seen_and_ended(cloud: &Cloud) {
    let (member, other) = (&cloud.members()[0], &cloud.members()[1]);
    let key = cloud.open(&cloud.user(member.account).unwrap(), &request(&member.logging)).unwrap();
    let of = async |account: AccountId| {
        let given = assume(cloud, account, EXTERNAL_ID).await.unwrap();
        aws_sdk_ssm::Client::new(&cloud.config_with(given).await)
    };
    let ssm = of(member.account).await;
    let active = ssm.describe_sessions().state(SessionState::Active).send().await.unwrap();
    let seen = &active.sessions()[0];
    assert_eq!((active.sessions().len(), seen.session_id()), (1, Some(&*key.id)));
    assert_eq!((seen.target(), seen.reason()), (Some(&*member.logging), Some("a ticket")));
    // Each account sees its own.
    let theirs = of(other.account).await.describe_sessions().state(SessionState::Active).send().await.unwrap();
    assert_eq!(theirs.sessions(), []);
    let document = ssm.get_document().name("SSM-SessionManagerRunShell").send().await.unwrap();
    assert_eq!(document.content(), Some(&*preferences(cloud, member.account)));
    let agents = ssm.describe_instance_information().send().await.unwrap();
    let agents: BTreeSet<_> = agents.instance_information_list().iter().filter_map(|it| it.instance_id()).collect();
    assert!(agents.contains(&*member.logging) && agents.contains(&*member.silent));

    cloud.session_manager().fail("TerminateSession", &[Fault::Code(400, "AccessDeniedException")]);
    let refused = ssm.terminate_session().session_id(&*key.id).send().await.unwrap_err().into_service_error();
    assert_eq!(refused.meta().code(), Some("AccessDeniedException"));
    ssm.terminate_session().session_id(&*key.id).send().await.unwrap();
    assert_eq!(cloud.world().describe_session(&key).unwrap().status, SessionStatus::Terminated);
    let by_id = SessionFilter::builder().key(SessionFilterKey::SessionId).value(&*key.id).build().unwrap();
    let past = ssm.describe_sessions().state(SessionState::History).filters(by_id).send().await.unwrap();
    assert_eq!((past.sessions().len(), past.sessions()[0].session_id()), (1, Some(&*key.id)));
    assert_eq!(cloud.session_manager().calls("TerminateSession"), 2);

    until("both events in the stream", async || {
        let all = records(cloud).await;
        let named = |name: &str| {
            let is = |event: &Value| event["detail"]["eventName"] == name;
            let account = member.account.to_string();
            let ours = all.iter().filter(|(of, _)| *of == account);
            ours.filter_map(|(_, data)| serde_json::from_slice(data).ok()).filter(is).count()
        };
        (named("StartSession"), named("TerminateSession")) == (1, 1)
    })
    .await;
}

fn preferences(cloud: &Cloud, account: AccountId) -> Arc<str> {
    cloud.world().document(account, REGION, "SSM-SessionManagerRunShell").unwrap().content
}

async fn a_log_arrives(cloud: &Cloud) {
    let archive = cloud.world().log_archive();
    let s3 = aws_sdk_s3::Client::new(&cloud.config(archive).await);
    let bucket = Arc::clone(cloud.world().bucket_name());
    until("the session's log", async || {
        let listed = s3.list_objects_v2().bucket(&*bucket).send().await.unwrap();
        listed.contents().len() == 1
    })
    .await;
}

async fn notifications_and_metrics_can_be_read(cloud: &Cloud) {
    let config = cloud.config(MANAGEMENT.parse().unwrap()).await;
    let topic = format!("arn:aws:sns:{REGION}:{MANAGEMENT}:{TOPIC}");
    aws_sdk_sns::Client::new(&config).publish().topic_arn(topic).message("told").send().await.unwrap();
    let told = cloud.notifications().await.unwrap();
    assert_eq!((told.len(), &told[0]["Message"]), (1, &Value::from("told")));
    assert_eq!(cloud.notifications().await.unwrap(), [Value::Null; 0]);

    let datum = aws_sdk_cloudwatch::types::MetricDatum::builder().metric_name("Ended").value(3.0).build();
    let cloudwatch = aws_sdk_cloudwatch::Client::new(&config);
    cloudwatch.put_metric_data().namespace("Smoke").metric_data(datum).send().await.unwrap();
    let sum = cloud.metric_sum("Smoke", "Ended", &[]).await.unwrap();
    assert!((sum - 3.0).abs() < 0.01, "{sum}");

    let tables = aws_sdk_dynamodb::Client::new(&config).list_tables().send().await.unwrap();
    assert_eq!(tables.table_names(), [""; 0]);
    for url in [&cloud.queues().wake_ups, &cloud.queues().parked] {
        aws_sdk_sqs::Client::new(&config).get_queue_attributes().queue_url(url).send().await.unwrap();
    }
}

/// The variables are what a child process gets: each endpoint in them listens.
fn a_program_finds_every_service(cloud: &Cloud) {
    let variables = cloud.variables();
    let endpoints = variables.iter().filter(|(name, _)| name.starts_with("AWS_ENDPOINT_URL_"));
    let addresses: Vec<&str> = endpoints.map(|(_, url)| url.strip_prefix("http://").unwrap()).collect();
    assert_eq!(addresses.len(), 14);
    assert!(addresses.iter().all(|address| std::net::TcpStream::connect(address).is_ok()));
    let child = Command::new("env").env_clear().envs(variables).output().unwrap();
    assert!(String::from_utf8(child.stdout).unwrap().contains(&format!("AWS_REGION={REGION}\n")));
}
