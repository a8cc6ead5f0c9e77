//! Wake-ups through SQS.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use aws_sdk_sqs::types::QueueAttributeName;
use opentelemetry::trace::TracerProvider as _;
use sessionwarden::{
    outbound::{Planned, Queues, SqsWakeUps, Trace, Wake, WakeLimits, WakeUps as _, serve},
    ports::CallError,
};
use sessionwarden_machine::ids::Now;
use tokio_util::sync::CancellationToken;
use tracing_subscriber::layer::SubscriberExt as _;

use super::{MEMBER, OWN, REGION, account, config, server};

const NOW: Now = Now(1_795_000_000_000);
const MINUTE_MS: i64 = 60_000;
const HIDDEN: Duration = Duration::from_secs(30);

struct Stage {
    client: aws_sdk_sqs::Client,
    queue: SqsWakeUps,
    wake_ups: String,
    parked: String,
}

/// Two fresh queues.
async fn stage(url: &str, name: &str, change: impl Fn(Queues) -> Queues) -> Stage {
    let config = config(url, OWN).await;
    let client = aws_sdk_sqs::Client::new(&config);
    let mut urls = Vec::new();
    for name in [format!("{name}-wake-ups"), format!("{name}-parked")] {
        let made = client.create_queue().queue_name(name).send().await.unwrap();
        urls.push(made.queue_url().unwrap().to_owned());
    }
    let (parked, wake_ups) = (urls.pop().unwrap(), urls.pop().unwrap());
    let queues = Queues { wait_seconds: 1, ..Queues::new(&*wake_ups, &*parked) };
    Stage { queue: SqsWakeUps::new(&config, change(queues)), client, wake_ups, parked }
}

impl Stage {
    /// Messages in the queue: visible, delayed, received and not deleted.
    async fn count(&self) -> [usize; 3] {
        let names = [
            QueueAttributeName::ApproximateNumberOfMessages,
            QueueAttributeName::ApproximateNumberOfMessagesDelayed,
            QueueAttributeName::ApproximateNumberOfMessagesNotVisible,
        ];
        let call = self.client.get_queue_attributes().queue_url(&self.wake_ups);
        let answer = call.set_attribute_names(Some(names.to_vec())).send().await.unwrap();
        let found = answer.attributes().unwrap();
        names.map(|name| found[&name].parse().unwrap())
    }

    async fn put(&self, body: &str) {
        self.client.send_message().queue_url(&self.wake_ups).message_body(body).send().await.unwrap();
    }

    /// What is parked: text and attributes.
    async fn all_parked(&self) -> Vec<(String, BTreeMap<String, String>)> {
        let call = self.client.receive_message().queue_url(&self.parked).message_attribute_names("All");
        let answer = call.max_number_of_messages(10).visibility_timeout(0).send().await.unwrap();
        let attributes = |message: &aws_sdk_sqs::types::Message| {
            let all = message.message_attributes().into_iter().flatten();
            all.map(|(name, value)| (name.clone(), value.string_value().unwrap().to_owned())).collect()
        };
        answer.messages().iter().map(|one| (one.body().unwrap().to_owned(), attributes(one))).collect()
    }
}

fn wake(region: &str, due_at: Now) -> Wake {
    Wake { account: account(MEMBER), region: region.into(), due_at }
}

fn untraced(wakes: impl IntoIterator<Item = Wake>) -> Vec<(Wake, Trace)> {
    wakes.into_iter().map(|wake| (wake, Trace::default())).collect()
}

/// Serves until `done` holds, and says what was handled. Fails after 20 s.
async fn served<F>(
    stage: &Stage,
    limits: WakeLimits,
    clock: impl Fn() -> Now + Sync,
    handle: impl Fn(Wake) -> F + Sync,
    done: impl AsyncFn() -> bool,
) where
    F: Future<Output = Result<(), &'static str>> + Send,
{
    let stop = CancellationToken::new();
    let until = async {
        let began = Instant::now();
        while !done().await {
            assert!(began.elapsed() < Duration::from_secs(20), "it lasts too long: {:?}", stage.count().await);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        stop.cancel();
    };
    tokio::join!(serve(&stage.queue, limits, clock, handle, &stop), until);
}

#[tokio::test]
async fn wake_ups_are_sent_and_deleted_in_batches_and_wait_in_the_queue() {
    let Some(server) = server() else { return };
    let stage = stage(&server.url, "batches", |queues| queues).await;
    // R-W7: a message for each account and region, and no more than ten in a call, which the server would refuse.
    let mut planned = Planned::new(1_000);
    let dues = (0..25 * 40).map(|number| {
        let region = format!("region-{}", number % 25);
        ((account(MEMBER), Arc::from(region)), if number % 25 < 22 { NOW } else { NOW.plus_ms(40 * MINUTE_MS) })
    });
    let wakes = planned.plan(dues, NOW);
    assert_eq!(wakes.len(), 25);
    assert_eq!(stage.queue.send(&untraced(wakes), NOW).await, []);
    assert_eq!(stage.count().await, [22, 3, 0]);

    let (mut receipts, mut times) = (Vec::new(), 0);
    while receipts.len() < 22 {
        times += 1;
        assert!(times < 20, "only {} came", receipts.len());
        let received = stage.queue.receive(100, HIDDEN, NOW).await.unwrap();
        assert!(received.deliveries.len() <= 10);
        assert!(received.deliveries.iter().all(|one| one.wake.due_at == NOW && one.times == 1));
        receipts.extend(received.deliveries.into_iter().map(|one| one.receipt));
    }
    assert_eq!(stage.count().await, [0, 3, 22]);
    stage.queue.extend(&receipts, Duration::from_mins(1)).await.unwrap();
    stage.queue.delete(&receipts).await.unwrap();
    assert_eq!(stage.count().await, [0, 3, 0]);
}

#[tokio::test]
async fn a_wait_beyond_the_queues_limit_is_a_chain() {
    let Some(server) = server() else { return };
    // The queue waits a second where AWS's would wait 15 minutes, and each second of the clock is 15 minutes.
    let stage = stage(&server.url, "chain", |queues| Queues { delay_seconds_max: 1, ..queues }).await;
    let (begun, handled) = (Instant::now(), Mutex::new(Vec::new()));
    let clock = || NOW.plus_ms(begun.elapsed().as_millis() as i64 * 15 * 60);
    let due = NOW.plus_ms(40 * MINUTE_MS);
    stage.queue.send(&untraced([wake(REGION, due)]), NOW).await;
    assert_eq!(stage.count().await, [0, 1, 0]);
    let done = async || !handled.lock().unwrap().is_empty() && stage.count().await == [0, 0, 0];
    let handle = async |wake: Wake| -> Result<(), &'static str> {
        handled.lock().unwrap().push((wake, clock()));
        Ok(())
    };
    let handle = |wake| Box::pin(handle(wake));
    let limits = WakeLimits { hidden: HIDDEN, ..WakeLimits::default() };
    served(&stage, limits, clock, handle, done).await;
    let handled = handled.into_inner().unwrap();
    // Three waits, as none is longer than 15 minutes.
    let [(found, at)] = &handled[..] else { panic!("{handled:?}") };
    assert_eq!(*found, wake(REGION, due));
    assert!(*at >= due, "before it was due: {at:?}");
}

#[tokio::test]
async fn what_a_crash_interrupts_comes_again_and_what_lasts_does_not() {
    let Some(server) = server() else { return };
    let stage = stage(&server.url, "crash", |queues| queues).await;
    let limits = WakeLimits { hidden: Duration::from_secs(3), ..WakeLimits::default() };
    stage.queue.send(&untraced([wake(REGION, NOW)]), NOW).await;
    // I2: a worker that ends in the middle has deleted nothing.
    let crash = tokio::time::timeout(Duration::from_millis(1_500), async {
        let never = |_| std::future::pending::<Result<(), &str>>();
        serve(&stage.queue, limits, || NOW, never, &CancellationToken::new()).await;
    });
    assert!(crash.await.is_err());
    assert_eq!(stage.count().await, [0, 0, 1]);

    // The next one is twice as long at it as a message is hidden: it keeps it hidden, so that it comes once. The first
    // attempt fails, and it comes again.
    let (begun, ended) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let handle = |_| {
        let attempt = begun.fetch_add(1, Ordering::Relaxed);
        let ended = &ended;
        async move {
            if attempt == 0 {
                return Err("the store does not answer");
            }
            tokio::time::sleep(Duration::from_secs(6)).await;
            ended.fetch_add(1, Ordering::Relaxed);
            Ok(())
        }
    };
    let done = async || ended.load(Ordering::Relaxed) > 0 && stage.count().await == [0, 0, 0];
    served(&stage, limits, || NOW, handle, done).await;
    assert_eq!((begun.into_inner(), ended.into_inner()), (2, 1));
}

#[tokio::test]
async fn duplicates_are_handled_together_and_a_slow_account_keeps_nobody_waiting() {
    let Some(server) = server() else { return };
    let stage = stage(&server.url, "duplicates", |queues| queues).await;
    let twice = [wake(REGION, NOW), wake(REGION, NOW), wake("us-east-1", NOW), wake("slow", NOW)];
    assert_eq!(stage.queue.send(&untraced(twice), NOW).await, []);
    let handled = Mutex::new(Vec::new());
    let release = CancellationToken::new();
    let handle = |wake: Wake| {
        let (handled, release) = (&handled, &release);
        async move {
            if &*wake.region == "slow" {
                release.cancelled().await;
            }
            handled.lock().unwrap().push(wake.region.to_string());
            Ok(())
        }
    };
    // I13: the others are handled and deleted while the slow one lasts; then it may end.
    let done = async || {
        let count = stage.count().await;
        if count == [0, 0, 1] {
            release.cancel();
        }
        count == [0, 0, 0]
    };
    served(&stage, WakeLimits::default(), || NOW, handle, done).await;
    let handled = handled.into_inner().unwrap();
    assert_eq!(handled.last().map(String::as_str), Some("slow"));
    assert_eq!(handled.iter().filter(|region| *region == "us-east-1").count(), 1);
    assert!(handled.iter().filter(|region| *region == REGION).count() <= 2);
}

// I12
#[tokio::test]
async fn what_is_no_wake_up_is_parked_with_its_reason() {
    let Some(server) = server() else { return };
    let stage = stage(&server.url, "poison", |queues| Queues { deliveries_max: 2, ..queues }).await;
    let bad = [
        ("poison \u{fffd} ü", "it is no wake-up: expected value at line 1 column 1"),
        (r#"{"account":"1","region":"\u0001","due_at":1}"#, r#""\u{1}" is no region"#),
    ];
    let long = "x".repeat(5_000);
    for (body, _) in bad {
        stage.put(body).await;
    }
    stage.put(&long).await;
    stage.put(&wake(REGION, NOW).text()).await;
    let (mut parked, mut good, mut times) = (0, 0, 0);
    while parked < 3 || good < 1 {
        times += 1;
        assert!(times < 20, "{parked} parked, {good} good");
        let received = stage.queue.receive(10, Duration::from_secs(1), NOW).await.unwrap();
        parked += received.parked;
        good += received.deliveries.len();
    }
    let mut found = stage.all_parked().await;
    found.sort();
    let mut wanted: Vec<(&str, &str, usize)> = bad.iter().map(|(body, why)| (*body, *why, body.len())).collect();
    wanted.push((&long, "it has 5000 bytes, and a wake-up has at most 1024", 5_000));
    wanted.sort_unstable();
    assert_eq!(found.len(), 3);
    for ((body, attributes), (text, reason, bytes)) in found.iter().zip(wanted) {
        assert_eq!((body.as_str(), attributes["reason"].as_str()), (text, reason));
        assert_eq!((attributes["source"].as_str(), attributes["bytes"].as_str()), ("wake-ups", &*bytes.to_string()));
        assert!(!attributes["message_id"].is_empty());
    }

    // One that is received again and again and never done is parked as well.
    times = 0;
    while stage.all_parked().await.len() < 4 {
        times += 1;
        assert!(times < 20, "it is never parked");
        tokio::time::sleep(Duration::from_millis(300)).await;
        stage.queue.receive(10, Duration::from_secs(1), NOW).await.unwrap();
    }
    let reasons: Vec<String> =
        stage.all_parked().await.into_iter().map(|(_, attributes)| attributes["reason"].clone()).collect();
    assert!(reasons.contains(&"it was delivered 3 times and never done".to_owned()), "{reasons:?}");
    assert_eq!(stage.count().await, [0, 0, 0]);
}

#[tokio::test]
async fn a_missing_queue_is_an_answer() {
    let Some(server) = server() else { return };
    let config = config(&server.url, OWN).await;
    let url = format!("{}/{OWN}/missing", server.url);
    let queue = SqsWakeUps::new(&config, Queues::new(&*url, &*url));
    let one = wake(REGION, NOW);
    assert_eq!(queue.send(&untraced([one.clone()]), NOW).await, [(one, CallError::Gone)]);
    assert_eq!(queue.receive(1, HIDDEN, NOW).await, Err(CallError::Gone));
    let nobody = SqsWakeUps::new(
        &super::config("http://127.0.0.1:1", OWN).await,
        Queues::new("http://127.0.0.1:1/1/q", "http://127.0.0.1:1/1/p"),
    );
    assert_eq!(nobody.receive(1, HIDDEN, NOW).await, Err(CallError::Unknown));
}

#[tokio::test]
async fn a_trace_goes_across_the_queue() {
    let Some(server) = server() else { return };
    let stage = stage(&server.url, "trace", |queues| queues).await;
    let tracer = opentelemetry_sdk::trace::SdkTracerProvider::builder().build();
    let layer = tracing_opentelemetry::layer().with_tracer(tracer.tracer("test"));
    let _guard = tracing::subscriber::set_default(tracing_subscriber::registry().with(layer));

    let sent = tracing::info_span!("sender").in_scope(Trace::current);
    let id = |trace: &Trace| trace.parent.as_ref().unwrap().split('-').nth(1).unwrap().to_owned();
    assert!(id(&sent).len() == 32 && id(&sent).contains(|digit| digit != '0'));
    stage.queue.send(&[(wake(REGION, NOW), sent.clone())], NOW).await;
    let seen = Mutex::new(None);
    let handle = |_| {
        let seen = &seen;
        async move {
            *seen.lock().unwrap() = Some(Trace::current());
            Ok(())
        }
    };
    served(&stage, WakeLimits::default(), || NOW, handle, async || seen.lock().unwrap().is_some()).await;
    let seen = seen.into_inner().unwrap().unwrap();
    assert_eq!(id(&seen), id(&sent), "one trace");
    assert_ne!(seen.parent, sent.parent, "another span");
}
