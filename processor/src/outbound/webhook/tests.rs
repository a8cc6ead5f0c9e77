use std::{collections::VecDeque, sync::Mutex};

use axum::{Router, extract::State, http::HeaderMap, routing::post};
use sessionwarden_machine::{effect::Severity, ids::EffectId};

use super::*;

const NOW: Now = Now(1_795_000_000_999);
const KEY: &[u8] = b"a key for tests, of 32 bytes....";

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

// RFC 4231, test cases 1, 2, 3, 6 and 7.
#[test]
fn the_mac_is_hmac_sha256() {
    let long =
        b"This is a test using a larger than block-size key and a larger than block-size data. The key needs to \
                 be hashed before being used by the HMAC algorithm.";
    for (key, data, wanted) in [
        (vec![0x0b; 20], &b"Hi There"[..], "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"),
        (
            b"Jefe".to_vec(),
            b"what do ya want for nothing?",
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
        ),
        (vec![0xaa; 20], &[0xdd; 50], "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe"),
        (
            vec![0xaa; 131],
            b"Test Using Larger Than Block-Size Key - Hash Key First",
            "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54",
        ),
        (vec![0xaa; 131], &long[..], "9b09ffa71b942fcb27635fbcd5b0e944bfdc63644f0713938a7f51535c3a35e2"),
    ] {
        assert_eq!(hex(&mac(&key, &[data])), wanted);
        let (head, tail) = data.split_at(data.len() / 2);
        assert_eq!(hex(&mac(&key, &[head, tail])), wanted, "in parts");
    }
}

#[test]
fn the_signature_in_the_docs_is_right() {
    let page = include_str!("../../../../docs/notifications.md");
    let body = r#"{"sessionwarden":1,"kind":"finding","id":"finding/1"}"#;
    let key = "0123456789abcdef0123456789abcdef";
    assert!(page.contains(body) && page.contains(key));
    assert!(page.contains(&signature(&Secret::of(key.as_bytes()), 1_795_000_000, body)));
}

#[test]
fn addresses_are_safe_or_refused_without_being_shown() {
    for good in [
        "https://hooks.example/sessionwarden?token=x",
        "https://hooks.example:8443",
        "http://127.0.0.1:9000/hook",
        "http://[::1]:9000/",
        "http://localhost/",
    ] {
        assert!(webhook_url(good).is_ok(), "{good}");
    }
    for (bad, why) in [
        ("", "is not a URL"),
        ("not a url", "is not a URL"),
        ("/hook", "must have a host"),
        ("https://user:hunter2@hooks.example/", "must not hold credentials"),
        ("http://hooks.example/", "must begin with https://"),
        ("http://localhost.example/", "must begin with https://"),
        ("http://10.0.0.1/", "must begin with https://"),
        ("ftp://hooks.example/", "must begin with https://"),
    ] {
        let told = webhook_url(bad).unwrap_err();
        assert!(told.contains(why) && !told.contains("hunter2"), "{bad}: {told}");
    }
}

#[test]
fn statuses_are_sorted() {
    let later = |status: u16| Err(Undelivered::Later(format!("status {status}")));
    let refused = |status: u16| Err(Undelivered::Refused(format!("status {status}")));
    for (status, wanted) in [
        (200, Ok(())),
        (202, Ok(())),
        (204, Ok(())),
        (301, later(301)),
        (400, refused(400)),
        (401, refused(401)),
        (404, refused(404)),
        (408, later(408)),
        (410, refused(410)),
        (429, later(429)),
        (500, later(500)),
        (503, later(503)),
    ] {
        assert_eq!(meaning(StatusCode::from_u16(status).unwrap()), wanted, "{status}");
    }
}

#[test]
fn any_id_can_be_a_header() {
    assert_eq!(header_id("finding/session#1/eu/ann-1/SW-DOC-02").unwrap(), "finding/session#1/eu/ann-1/SW-DOC-02");
    assert_eq!(header_id("a b\r\nX: y/ü").unwrap(), "a%20b%0D%0AX:%20y/%C3%BC");
    assert!(header_id(&"ü".repeat(10_000)).unwrap().len() <= ID_BYTES_MAX);
}

/// What a receiver got, and what it answers next: a status, or nothing for a long time.
#[derive(Default)]
struct Seen {
    answers: Mutex<VecDeque<Option<u16>>>,
    got: Mutex<Vec<(HeaderMap, String)>>,
}

async fn receive(State(seen): State<Arc<Seen>>, headers: HeaderMap, body: String) -> StatusCode {
    let answer = seen.answers.lock().unwrap().pop_front().unwrap_or(Some(200));
    seen.got.lock().unwrap().push((headers, body));
    match answer {
        Some(status) => StatusCode::from_u16(status).unwrap(),
        None => std::future::pending().await,
    }
}

async fn receiver(answers: &[Option<u16>]) -> (Arc<Seen>, String) {
    let seen = Arc::new(Seen { answers: Mutex::new(answers.iter().copied().collect()), ..Seen::default() });
    let app = Router::new().route("/hook", post(receive)).with_state(Arc::clone(&seen));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, app).await });
    (seen, url)
}

fn message(id: &str) -> Message {
    Message {
        id: EffectId(id.into()),
        subject: "s".into(),
        body: "b".into(),
        object: serde_json::json!({ "report": { "title": "Sitzung — ohne Protokoll" } }),
        kind: "finding",
        severity: Severity::High,
        control: "document".into(),
        causes: Vec::new(),
        account: None,
        region: "eu-west-1".into(),
    }
}

fn webhook(url: &str, request_max: Duration) -> Webhook {
    Webhook::new(url, Secret::of(KEY), request_max).unwrap()
}

// R-G11: whoever has the key can tell that a message is genuine, whole, and of this time.
#[tokio::test]
async fn a_receiver_can_verify_what_it_gets() {
    let (seen, url) = receiver(&[]).await;
    let told = message("finding/ann-1/SW-DOC-02");
    webhook(&url, REQUEST_MAX).deliver(&told, NOW).await.unwrap();
    let (headers, body) = seen.got.lock().unwrap().pop().unwrap();
    assert_eq!(body, told.json());
    assert_eq!(headers["content-type"], "application/json");
    assert_eq!(headers["sessionwarden-id"], "finding/ann-1/SW-DOC-02");
    // As docs/notifications.md tells receivers to do it.
    let header = headers["sessionwarden-signature"].to_str().unwrap();
    let (time, given) = header.split_once(',').unwrap();
    let (time, given) = (time.strip_prefix("t=").unwrap(), given.strip_prefix("v1=").unwrap());
    assert_eq!(time, "1795000000");
    assert_eq!(given, hex(&mac(KEY, &[format!("{time}.{body}").as_bytes()])));
    assert_ne!(given, hex(&mac(b"another key", &[format!("{time}.{body}").as_bytes()])));
}

// R-W3, I11
#[tokio::test]
async fn answers_decide_whether_it_is_tried_again() {
    let (seen, url) = receiver(&[Some(500), Some(400), Some(429), None, Some(302)]).await;
    let hook = webhook(&url, Duration::from_millis(300));
    let told = message("finding/1");
    assert_eq!(hook.deliver(&told, NOW).await, Err(Undelivered::Later("status 500".into())));
    assert_eq!(hook.deliver(&told, NOW).await, Err(Undelivered::Refused("status 400".into())));
    assert_eq!(hook.deliver(&told, NOW).await, Err(Undelivered::Later("status 429".into())));
    let began = std::time::Instant::now();
    assert_eq!(hook.deliver(&told, NOW).await, Err(Undelivered::Later("no answer in time".into())));
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
    assert_eq!(hook.deliver(&told, NOW).await, Err(Undelivered::Later("status 302".into())));
    assert_eq!(hook.deliver(&told, NOW).await, Ok(()));
    assert_eq!(seen.got.lock().unwrap().len(), 6);

    let nobody = webhook("http://127.0.0.1:1/token-in-the-path", REQUEST_MAX);
    let Err(Undelivered::Later(why)) = nobody.deliver(&told, NOW).await else { panic!("nobody listens there") };
    assert!(why.starts_with("no answer: ") && !why.contains("token"), "{why}");
}
