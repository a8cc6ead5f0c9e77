use std::{collections::VecDeque, fs};

use futures_util::{FutureExt, future::BoxFuture};
use sessionwarden_machine::effect::Severity;

use super::*;
use crate::outbound::{DeskLimits, Destination};

const NOW: Now = Now(1_795_000_000_000);

/// What was delivered, and what the next deliveries answer.
#[derive(Clone, Default)]
struct Inbox {
    got: Arc<Mutex<Vec<EffectId>>>,
    answers: Arc<Mutex<VecDeque<Undelivered>>>,
}

impl Deliver for Inbox {
    fn deliver<'a>(&'a self, message: &'a Message, _: Now) -> BoxFuture<'a, Result<(), Undelivered>> {
        async move {
            if let Some(error) = self.answers.lock().unwrap().pop_front() {
                return Err(error);
            }
            self.got.lock().unwrap().push(message.id.clone());
            Ok(())
        }
        .boxed()
    }
}

struct Stage {
    line: Line,
    inbox: Inbox,
    metrics: Metrics,
    folder: tempfile::TempDir,
}

impl Stage {
    fn new(tries_max: u32, limits: DeskLimits) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let to = Destination::File { path: "unused".into() };
        let route = Route { tries_max, limits, severity_min: Severity::Low, ..Route::new("pager", to) };
        let metrics = Metrics::new().unwrap();
        let letters = DeadLetters::open(folder.path()).unwrap();
        let common = Common { units: Arc::default(), letters, metrics: metrics.clone() };
        let inbox = Inbox::default();
        Self { line: Line::new(route, Box::new(inbox.clone()), common), inbox, metrics, folder }
    }

    fn fail(&self, errors: &[Undelivered]) {
        self.inbox.answers.lock().unwrap().extend(errors.iter().cloned());
    }

    fn got(&self) -> Vec<String> {
        self.inbox.got.lock().unwrap().iter().map(ToString::to_string).collect()
    }

    fn letters(&self) -> Vec<serde_json::Value> {
        let text = fs::read_to_string(self.folder.path().join(DeadLetters::FILE)).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    fn count(&self, result: &str) -> u64 {
        let text = self.metrics.prometheus_text().unwrap();
        let wanted = format!("sessionwarden_route_messages_total{{result=\"{result}\",route=\"pager\"}} ");
        text.lines().find_map(|line| line.strip_prefix(&wanted)).map_or(0, |count| count.parse().unwrap())
    }
}

fn message(number: usize, severity: Severity) -> Message {
    Message {
        id: EffectId(format!("finding/{number}").into()),
        subject: "s".into(),
        body: "b".into(),
        object: serde_json::json!({ "report": { "number": number } }),
        kind: "finding",
        severity,
        control: "document".into(),
        causes: Vec::new(),
        account: AccountId::new(1),
        region: "eu-west-1".into(),
    }
}

fn later() -> Undelivered {
    Undelivered::Later("status 500".into())
}

// R-W2: however often an effect is repeated.
#[tokio::test]
async fn a_message_is_told_once_to_whom_it_concerns() {
    let stage = Stage::new(3, DeskLimits::default());
    assert_eq!(stage.line.tell(&message(1, Severity::Info), NOW).await, Outcome::Nobody);
    assert_eq!(stage.line.tell(&message(2, Severity::High), NOW).await, Outcome::Told);
    assert_eq!(stage.line.tell(&message(2, Severity::High), NOW).await, Outcome::Known);
    assert_eq!((stage.got(), stage.count("told")), (vec!["finding/2".to_owned()], 1));
}

// R-W3: tried again with growing waits, and not before.
#[tokio::test]
async fn what_fails_is_tried_again_and_then_kept() {
    let stage = Stage::new(3, DeskLimits::default());
    let one = message(1, Severity::High);
    stage.fail(&[later(), later(), later()]);
    let second = NOW.plus_ms(5_000);
    assert_eq!(stage.line.tell(&one, NOW).await, Outcome::Waits(second));
    assert_eq!(stage.line.tell(&one, NOW.plus_ms(4_999)).await, Outcome::Waits(second));
    // The destination rests for all.
    assert_eq!(stage.line.tell(&message(2, Severity::High), NOW.plus_ms(1)).await, Outcome::Waits(second));
    let third = second.plus_ms(10_000);
    assert_eq!(stage.line.tell(&one, second).await, Outcome::Waits(third));
    assert_eq!(stage.count("later"), 2);
    assert_eq!(stage.line.tell(&one, third).await, Outcome::GivenUp);
    assert_eq!(stage.line.tell(&one, third).await, Outcome::Known);
    let letters = stage.letters();
    assert_eq!((letters.len(), stage.count("dead"), stage.got().len()), (1, 1, 0));
    assert_eq!(letters[0]["reason"], "tried 3 times, the last time: status 500");
    assert_eq!(letters[0]["message"]["report"]["number"], 1);

    let at = third.plus_ms(300_000);
    assert_eq!(stage.line.tell(&message(2, Severity::High), at).await, Outcome::Told);
}

#[tokio::test]
async fn what_is_refused_is_kept_at_once_and_delays_nobody() {
    let stage = Stage::new(10, DeskLimits::default());
    stage.fail(&[Undelivered::Refused("status 400".into())]);
    assert_eq!(stage.line.tell(&message(1, Severity::High), NOW).await, Outcome::GivenUp);
    assert_eq!(stage.line.tell(&message(2, Severity::High), NOW).await, Outcome::Told);
    let letters = stage.letters();
    assert_eq!((letters.len(), &letters[0]["reason"]), (1, &"refused: status 400".into()));
    assert_eq!(letters[0]["route"], "pager");
}

#[tokio::test]
async fn a_flood_becomes_a_digest_which_is_tried_like_a_message() {
    let stage = Stage::new(2, DeskLimits { burst: 2, refill_ms: 60_000, digest_ms: 1_000 });
    for number in 0..5 {
        let wanted = if number < 2 { Outcome::Told } else { Outcome::Held };
        assert_eq!(stage.line.tell(&message(number, Severity::Low), NOW).await, wanted);
    }
    // Many small things do not hide a large one.
    assert_eq!(stage.line.tell(&message(9, Severity::Critical), NOW).await, Outcome::Told);
    assert_eq!(stage.line.flush(NOW, false).await, []);
    stage.fail(&[later()]);
    assert_eq!(stage.line.flush(NOW.plus_ms(1_000), false).await, []);
    assert_eq!(stage.line.flush(NOW.plus_ms(1_001), false).await, [], "it rests");
    assert_eq!(stage.line.flush(NOW.plus_ms(6_000), false).await.len(), 3);
    assert!(stage.got().last().unwrap().starts_with("digest/"));
    assert_eq!(stage.line.tell(&message(4, Severity::Low), NOW.plus_ms(6_000)).await, Outcome::Known);

    // A digest that is given up is kept, and names what it would have told.
    let at = NOW.plus_ms(7_000);
    for number in 10..12 {
        assert_eq!(stage.line.tell(&message(number, Severity::Low), at).await, Outcome::Held);
    }
    stage.fail(&[later(), later()]);
    assert_eq!(stage.line.flush(at, true).await, []);
    assert_eq!(stage.line.flush(at.plus_ms(5_000), true).await.len(), 2);
    let letters = stage.letters();
    assert_eq!(letters[0]["message"]["ids"], serde_json::json!(["finding/10", "finding/11"]));
    assert_eq!(stage.line.tell(&message(10, Severity::Low), at.plus_ms(5_000)).await, Outcome::Known);
}
