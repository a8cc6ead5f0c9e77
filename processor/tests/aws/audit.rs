//! The audit trail in objects of S3: on ministack, and on a server that loses answers.

use std::{
    collections::{BTreeMap, VecDeque},
    fs,
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::Credentials;
use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, Method, StatusCode, Uri},
    response::{IntoResponse, Response},
};
use sessionwarden::{
    audit::{AuditEntry, AuditError, AuditKind, AuditObjects, ObjectsSettings, verify, verify_folder},
    effects::{Reports, WriteError},
    feed::FeedFile,
};
use sessionwarden_machine::{
    effect::Effect,
    ids::{EffectId, Now, SessionKey},
};
use sessionwarden_testbed::{
    or_say,
    python::{Access, ministack},
};
use tokio::task::JoinSet;

use super::{REGION, account, prepare};

/// 2024-08-01T23:59:58Z: a chain that goes on over midnight.
const BEGUN: Now = Now(1_722_556_798_000);
const RUN: &str = "host-1-7-1722556798000";

async fn config(key: &str, url: &str) -> SdkConfig {
    aws_config::defaults(BehaviorVersion::latest())
        .region(Region::new(REGION))
        .credentials_provider(Credentials::new(key, "test", None, None, "test"))
        .endpoint_url(url)
        .load()
        .await
}

fn settings(bucket: &str, prefix: &str) -> ObjectsSettings {
    let settings = ObjectsSettings::new(bucket, prefix, "host/1:7", BEGUN);
    ObjectsSettings { attempts_max: 2, attempt_ms_max: 2_000, request_ms_max: 5_000, ..settings }
}

fn entry(n: i64) -> AuditEntry {
    AuditEntry::new(BEGUN.plus_ms(n * 1_000), AuditKind::Decision, format!("effect-{n}"), &n).unwrap()
}

fn entries(of: std::ops::Range<i64>) -> Vec<AuditEntry> {
    of.map(entry).collect()
}

/// What a fault does to a write.
#[derive(Clone, Copy, Debug)]
enum Fault {
    /// It is not done; the answer is this.
    Code(u16, &'static str),
    /// It is done; the answer is a failure.
    Lost,
    /// It is done, after a while.
    Late,
}

#[derive(Default)]
struct Inner {
    objects: BTreeMap<String, Vec<u8>>,
    faults: VecDeque<Fault>,
    puts: u32,
}

/// A bucket that never overwrites.
#[derive(Clone, Default)]
struct Bucket(Arc<Mutex<Inner>>);

impl Bucket {
    async fn start(faults: &[Fault]) -> (Self, SdkConfig) {
        let bucket = Self::default();
        bucket.fail(faults);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let app = Router::new().fallback(answer).with_state(bucket.clone());
        tokio::spawn(async { axum::serve(listener, app).await.unwrap() });
        (bucket, config("AKIA", &url).await)
    }

    fn fail(&self, faults: &[Fault]) {
        self.0.lock().unwrap().faults.extend(faults);
    }

    fn puts(&self) -> u32 {
        self.0.lock().unwrap().puts
    }

    fn keys(&self) -> Vec<String> {
        self.0.lock().unwrap().objects.keys().cloned().collect()
    }

    /// The objects as files of a folder.
    fn download(&self, folder: &Path) {
        for (key, body) in &self.0.lock().unwrap().objects {
            save(folder, key, body);
        }
    }
}

fn save(folder: &Path, key: &str, body: &[u8]) {
    let path = folder.join(key);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, body).unwrap();
}

async fn answer(State(bucket): State<Bucket>, method: Method, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
    let key = uri.path().strip_prefix("/trail/").unwrap().to_owned();
    if method == Method::GET {
        let found = bucket.0.lock().unwrap().objects.get(&key).cloned();
        return found.map_or(StatusCode::NOT_FOUND.into_response(), IntoResponse::into_response);
    }
    assert_eq!(method, Method::PUT);
    assert_eq!(headers["if-none-match"], "*");
    assert!(headers.contains_key("x-amz-checksum-sha256"), "{headers:?}");
    let fault = {
        let mut inner = bucket.0.lock().unwrap();
        inner.puts += 1;
        inner.faults.pop_front()
    };
    if let Some(Fault::Code(status, code)) = fault {
        return failure(status, code);
    }
    if let Some(Fault::Late) = fault {
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    {
        let mut inner = bucket.0.lock().unwrap();
        if inner.objects.contains_key(&key) {
            return failure(412, "PreconditionFailed");
        }
        inner.objects.insert(key, body.to_vec());
    }
    if let Some(Fault::Lost) = fault { failure(500, "InternalError") } else { StatusCode::OK.into_response() }
}

fn failure(status: u16, code: &str) -> Response {
    let body = format!("<Error><Code>{code}</Code><Message>a test</Message></Error>");
    (StatusCode::from_u16(status).unwrap(), body).into_response()
}

#[tokio::test]
async fn each_write_is_one_object_and_all_are_one_chain() {
    let (bucket, config) = Bucket::start(&[]).await;
    let mut trail = AuditObjects::new(&config, settings("trail", "audit/one"));
    trail.append(&[]).await.unwrap();
    assert_eq!(bucket.puts(), 0);
    trail.append(&entries(0..2)).await.unwrap();
    trail.append(&entries(2..5)).await.unwrap();
    // An entry of before midnight that comes late goes where the chain is.
    trail.append(&entries(1..2)).await.unwrap();
    assert_eq!(
        bucket.keys(),
        [
            format!("audit/one/2024/08/01/{RUN}/00000000000000000001.jsonl"),
            format!("audit/one/2024/08/02/{RUN}/00000000000000000004.jsonl"),
            format!("audit/one/2024/08/02/{RUN}/00000000000000000007.jsonl"),
        ]
    );
    let folder = tempfile::tempdir().unwrap();
    bucket.download(folder.path());
    let summary = verify_folder(folder.path(), Some(trail.head_hash()), false).unwrap();
    let [chain] = &summary.chains[..] else { panic!("{summary:?}") };
    assert_eq!((&*chain.run, chain.objects, chain.from, summary.records), (RUN, 3, 1, 7));
    assert_eq!((chain.summary.records, &*chain.summary.head_hash), (trail.records(), trail.head_hash()));
    // The lines are those of a file.
    let whole = folder.path().join("whole.jsonl");
    fs::write(&whole, bucket.0.lock().unwrap().objects.values().flatten().copied().collect::<Vec<_>>()).unwrap();
    assert_eq!(verify(&whole, None).unwrap(), chain.summary);
    let first = fs::read_to_string(&whole).unwrap().lines().next().unwrap().to_owned();
    let first: serde_json::Value = serde_json::from_str(&first).unwrap();
    assert_eq!((&first["kind"], &first["body"]["begins"]["run"]), (&"service".into(), &RUN.into()));
}

#[tokio::test]
async fn a_write_whose_answer_was_lost_is_recognised() {
    let (bucket, config) = Bucket::start(&[Fault::Lost]).await;
    let mut trail = AuditObjects::new(&config, settings("trail", ""));
    trail.append(&entries(0..2)).await.unwrap();
    assert_eq!((bucket.puts(), bucket.keys().len(), trail.records()), (2, 1, 3));
    bucket.fail(&[Fault::Code(409, "ConditionalRequestConflict"), Fault::Code(503, "SlowDown")]);
    trail.append(&entries(2..3)).await.unwrap();
    assert_eq!((bucket.puts(), trail.records()), (5, 4));
    let folder = tempfile::tempdir().unwrap();
    bucket.download(folder.path());
    assert_eq!(verify_folder(folder.path(), Some(trail.head_hash()), false).unwrap().records, 4);
}

/// Whether the write was done or not, the chain goes on behind it, and all that was ever durable stays.
#[tokio::test]
async fn a_failed_write_leaves_the_chain_unbroken() {
    for fault in [Fault::Lost, Fault::Code(500, "InternalError"), Fault::Code(403, "AccessDenied")] {
        let (bucket, config) = Bucket::start(&[]).await;
        let once = ObjectsSettings { attempts_max: 1, ..settings("trail", "") };
        let mut trail = AuditObjects::new(&config, once);
        trail.append(&entries(0..1)).await.unwrap();
        bucket.fail(&[fault, fault]);
        let durable = (trail.records(), trail.head_hash().to_owned());
        for _ in 0..2 {
            let failed = trail.append(&entries(1..3)).await;
            // The second attempt meets the object that the first has left.
            if failed.is_ok() {
                break;
            }
            assert!(matches!(failed, Err(AuditError::Object { .. })), "{fault:?}: {failed:?}");
            assert_eq!((trail.records(), trail.head_hash()), (durable.0, &*durable.1));
        }
        trail.append(&entries(3..4)).await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        bucket.download(folder.path());
        let summary = verify_folder(folder.path(), Some(&durable.1), false).unwrap();
        assert_eq!(summary.chains[0].summary.head_hash, trail.head_hash(), "{fault:?}");
        let text: Vec<u8> = bucket.0.lock().unwrap().objects.values().flatten().copied().collect();
        let text = String::from_utf8(text).unwrap();
        for n in 0..4 {
            assert!(text.contains(&format!("\"effect-{n}\"")), "{fault:?}: effect-{n} is missing");
        }
    }
}

#[tokio::test]
async fn another_process_under_the_same_name_is_noticed() {
    let (bucket, config) = Bucket::start(&[]).await;
    let mut one = AuditObjects::new(&config, settings("trail", "p"));
    let mut two = AuditObjects::new(&config, settings("trail", "p"));
    one.append(&entries(0..1)).await.unwrap();
    // The same content is the same object.
    two.append(&entries(0..1)).await.unwrap();
    one.append(&entries(1..2)).await.unwrap();
    for _ in 0..2 {
        let error = two.append(&entries(0..1)).await.unwrap_err();
        assert!(matches!(&error, AuditError::Taken(key) if key.ends_with("00000000000000000003.jsonl")), "{error}");
    }
    assert_eq!(bucket.keys().len(), 2);
}

fn intent(n: usize) -> Effect {
    let session = SessionKey { account: account(111_122_223_333), region: REGION.into(), id: format!("s-{n}").into() };
    Effect::Terminate { id: EffectId(format!("terminate/{n}").into()), session, reason: "a test".into() }
}

/// What is reported while a write is under way is written together by the next one.
#[tokio::test]
async fn those_who_wait_are_written_together() {
    let (bucket, config) = Bucket::start(&[Fault::Late]).await;
    let folder = tempfile::tempdir().unwrap();
    let feed = FeedFile::open(&folder.path().join("feed.jsonl")).unwrap();
    let reports = Reports::new(feed, AuditObjects::new(&config, settings("trail", "")));
    let mut tasks = JoinSet::new();
    for n in 0..40 {
        let reports = reports.clone();
        tasks.spawn(async move {
            if n > 0 {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            reports.write(&[&intent(n), &intent(n + 100)], BEGUN).await.map(|ids| ids.len())
        });
    }
    while let Some(done) = tasks.join_next().await {
        assert_eq!(done.unwrap().unwrap(), 0, "an intent is not done by being written");
    }
    assert_eq!(bucket.puts(), 2);
    bucket.download(&folder.path().join("trail"));
    assert_eq!(verify_folder(&folder.path().join("trail"), None, false).unwrap().records, 1 + 2 * 40);
}

/// One failure is the failure of all whose reports were in it; nobody else's, and nobody takes it for a success.
#[tokio::test]
async fn a_failure_is_told_to_all_whose_reports_were_in_it() {
    let (bucket, config) = Bucket::start(&[Fault::Late, Fault::Code(403, "AccessDenied")]).await;
    let folder = tempfile::tempdir().unwrap();
    let feed = FeedFile::open(&folder.path().join("feed.jsonl")).unwrap();
    let once = ObjectsSettings { attempts_max: 1, ..settings("trail", "") };
    let reports = Reports::new(feed, AuditObjects::new(&config, once));
    let write = async |n: usize, ms: u64| {
        tokio::time::sleep(Duration::from_millis(ms)).await;
        reports.write(&[&intent(n)], BEGUN).await
    };
    let (first, second, third) = tokio::join!(write(1, 0), write(2, 50), write(3, 60));
    assert!(first.is_ok());
    for failed in [second, third] {
        let error = failed.unwrap_err();
        assert!(matches!(error, WriteError::Together(_) | WriteError::Audit(_)), "{error:?}");
        assert!(error.to_string().contains("AccessDenied"), "{error}");
    }
    reports.write(&[&intent(4)], BEGUN).await.unwrap();
    bucket.download(&folder.path().join("trail"));
    // The failed ones' records are in the trail by now, in one object.
    let summary = verify_folder(&folder.path().join("trail"), None, false).unwrap();
    assert_eq!((summary.chains[0].objects, summary.records), (3, 5));
}

#[tokio::test]
async fn ministack_keeps_a_trail() {
    let Some(server) = or_say(ministack(Access::Checked)) else {
        return;
    };
    let known = prepare("ministack", &server, "{}");
    let config = config(known["management"].as_str().unwrap(), &server.url).await;
    // A bucket with Object Lock.
    let mut trail = AuditObjects::new(&config, settings("logs", "audit"));
    for n in 0..4 {
        trail.append(&entries(2 * n..2 * n + 2)).await.unwrap();
    }
    let mut same = AuditObjects::new(&config, settings("logs", "audit"));
    same.append(&entries(0..2)).await.unwrap();
    let error = same.append(&entries(7..9)).await.unwrap_err();
    assert!(matches!(error, AuditError::Taken(_)), "{error}");

    let client = aws_sdk_s3::Client::new(&config);
    let listed = client.list_objects_v2().bucket("logs").prefix("audit/").send().await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    for object in listed.contents() {
        let key = object.key().unwrap();
        let body = client.get_object().bucket("logs").key(key).send().await.unwrap().body.collect().await.unwrap();
        save(folder.path(), key, &body.to_vec());
    }
    let summary = verify_folder(folder.path(), Some(trail.head_hash()), false).unwrap();
    assert_eq!((summary.chains[0].objects, summary.records), (4, 9));
    let nobodys = AuditObjects::new(&config, settings("nobodys", "")).append(&entries(0..1)).await.unwrap_err();
    assert!(nobodys.to_string().contains("NoSuchBucket"), "{nobodys}");
}
