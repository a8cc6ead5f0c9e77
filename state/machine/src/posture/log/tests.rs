//! Logs that are there, that are not, and that are not what they seem.

use super::*;
use crate::session::LogFlaw as F;

const ENDED: EventTime = EventTime(1_700_000_000_000);
const ID: &str = "ann-0a1b2c3d4e5f60718";

fn session() -> SessionKey {
    SessionKey { account: AccountId::new(111_122_223_333).unwrap(), region: "eu-central-1".into(), id: ID.into() }
}

fn wanted() -> Vec<String> {
    ["logs/111122223333", "111122223333"].map(|prefix| format!("{prefix}/{ID}.log")).into()
}

fn good() -> LogObject {
    LogObject { size_bytes: 400, written_at: ENDED.plus_ms(3_000), versions: 1, writer: None }
}

fn settings() -> Settings {
    let mut settings = Settings::default();
    settings.posture.log_bytes_min = 100;
    settings
}

fn judged(key: &str, object: &LogObject, ended: Option<EventTime>) -> LogLook {
    judge_object(&session(), "central", key, &wanted(), object, ended, &settings())
}

fn flaws_of(look: &LogLook) -> Vec<F> {
    let LogLook::Found(log) = look else { panic!("{look:?}") };
    log.flaws.iter().copied().collect()
}

fn absent(why: &str) -> LogLook {
    LogLook::Absent(why.into())
}

// R-G7, R-W19
#[test]
fn a_good_object_is_found_under_each_wanted_key() {
    for key in wanted() {
        let LogLook::Found(log) = judged(&key, &good(), Some(ENDED)) else { panic!("{key}") };
        let expected = LogSeen {
            written_at: ENDED.plus_ms(3_000),
            size_bytes: 400,
            place: format!("s3://central/{key}").into(),
            flaws: BTreeSet::new(),
        };
        assert_eq!(log, expected);
    }
}

// R-W22, R-W23, TH24
#[test]
fn what_is_wrong_with_an_object_is_said() {
    let own = AccountId::new(111_122_223_333);
    let foreign = AccountId::new(444_455_556_666);
    let early = |ms: i64| LogObject { written_at: ENDED.plus_ms(-ms), ..good() };
    for (object, expected) in [
        (LogObject { size_bytes: 99, ..good() }, vec![F::Small]),
        (LogObject { size_bytes: 100, ..good() }, vec![]),
        (LogObject { versions: 2, ..good() }, vec![F::WrittenTwice]),
        (early(60_000), vec![]),
        (early(60_001), vec![F::WrittenEarly]),
        (LogObject { writer: own, ..good() }, vec![]),
        (LogObject { writer: foreign, ..good() }, vec![F::ForeignWriter]),
        (
            LogObject { size_bytes: 1, versions: 3, writer: foreign, ..early(90_000) },
            vec![F::Small, F::WrittenTwice, F::WrittenEarly, F::ForeignWriter],
        ),
    ] {
        assert_eq!(flaws_of(&judged(&wanted()[0], &object, Some(ENDED))), expected, "{object:?}");
    }
    assert_eq!(flaws_of(&judged(&wanted()[0], &early(90_000), None)), []);
}

// R-W23: under another account's prefix it is not where it belongs, whoever wrote it.
#[test]
fn an_object_in_another_place_is_found_and_suspect() {
    for key in [format!("444455556666/{ID}.log"), format!("{ID}.log"), format!("logs/111122223333/{ID}.log.log")] {
        assert_eq!(flaws_of(&judged(&key, &good(), Some(ENDED))), [F::ForeignPlace], "{key}");
    }
    let none = judge_object(&session(), "central", &wanted()[0], &[], &good(), None, &settings());
    assert_eq!(flaws_of(&none), [F::ForeignPlace]);
}

// R-W22
#[test]
fn an_empty_object_is_no_log() {
    let empty = LogObject { size_bytes: 0, versions: 2, ..good() };
    let expected = format!("s3://central/{} is empty", wanted()[0]);
    assert_eq!(judged(&wanted()[0], &empty, Some(ENDED)), absent(&expected));
}

fn streamed(stream: Option<&LogStream>, ended: Option<EventTime>) -> LogLook {
    judge_stream("/ssm-session-logs", ID, stream, ended, &settings())
}

fn stream(last_event_at: Option<EventTime>) -> LogStream {
    LogStream { created_at: ENDED.plus_ms(-3_600_000), last_event_at }
}

// R-G8, R-W21, TH31
#[test]
fn a_stream_counts_when_it_goes_on_to_the_end() {
    let look = |before_ms: i64, ended| streamed(Some(&stream(Some(ENDED.plus_ms(-before_ms)))), ended);
    let LogLook::Found(log) = look(600_000, Some(ENDED)) else { panic!("not found") };
    assert_eq!((&*log.place, log.size_bytes), ("stream ann-0a1b2c3d4e5f60718 in /ssm-session-logs", 0));
    assert_eq!((log.written_at, log.flaws.len()), (ENDED.plus_ms(-600_000), 0));
    assert_eq!(flaws_of(&look(600_001, Some(ENDED))), [F::Gap]);
    assert_eq!(flaws_of(&look(600_001, None)), []);
    assert_eq!(streamed(None, Some(ENDED)), absent("no stream ann-0a1b2c3d4e5f60718 in /ssm-session-logs"));
    let empty = "stream ann-0a1b2c3d4e5f60718 in /ssm-session-logs is empty";
    assert_eq!(streamed(Some(&stream(None)), Some(ENDED)), absent(empty));
}

fn found(place: &str, at: i64, flaws: &[F]) -> LogLook {
    let flaws = flaws.iter().copied().collect();
    LogLook::Found(LogSeen { written_at: EventTime(at), size_bytes: 7, place: place.into(), flaws })
}

// R-W21, I11: both must be there, and no answer is none.
#[test]
fn a_log_wanted_in_two_places_must_be_in_both() {
    let unknown = || LogLook::Unknown;
    for (object, stream, expected) in [
        (None, None, unknown()),
        (Some(found("o", 5, &[])), None, found("o", 5, &[])),
        (None, Some(absent("no stream")), absent("no stream")),
        (Some(found("o", 5, &[F::Small])), Some(found("s", 4, &[F::Gap])), found("o and s", 5, &[F::Small, F::Gap])),
        (Some(found("o", 5, &[F::Small])), Some(absent("no stream")), absent("no stream; o is there, small")),
        (Some(absent("no object")), Some(found("s", 4, &[])), absent("no object; s is there")),
        (Some(absent("no object")), Some(absent("no stream")), absent("no object; no stream")),
        (Some(absent("no object")), Some(unknown()), absent("no object")),
        (Some(unknown()), Some(absent("no stream")), absent("no stream")),
        (Some(unknown()), Some(found("s", 4, &[])), unknown()),
        (Some(found("o", 5, &[])), Some(unknown()), unknown()),
        (Some(unknown()), Some(unknown()), unknown()),
    ] {
        assert_eq!(combine_logs(object.clone(), stream.clone()), expected, "{object:?} {stream:?}");
    }
}

// TH24, R-W19
#[test]
fn an_objects_key_names_its_session() {
    let regions = ["eu-central-1", "us-east-1"].map(Arc::from);
    let of = |key: &str| {
        sessions_of_key(&format!("777788889999/{key}"), &regions).iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    let one = ["111122223333/us-east-1/ann-0a1b2c3d4e5f60718"];
    assert_eq!(of("logs/111122223333/us-east-1/ann-0a1b2c3d4e5f60718.log"), one);
    assert_eq!(of("444455556666/us-east-1/111122223333/ann-0a1b2c3d4e5f60718.log"), one);
    let both = ["111122223333/eu-central-1/ann-0", "111122223333/us-east-1/ann-0"];
    assert_eq!(of("111122223333/ann-0.log"), both);
    assert_eq!(of("111122223333/af-south-1/ann-0.log"), both);
    let ids =
        ["ann-0.log", "logs/ann-0.log", "111122223333/ann-0", "111122223333/.log", "11112222333x/ann-0.log", "", "/"];
    for key in ids {
        assert_eq!(of(key), [] as [&str; 0], "{key}");
    }
    // A bucket can be named like an account.
    assert_eq!(sessions_of_key("111122223333/ann-0.log", &regions), []);
    assert_eq!(sessions_of_key("logs/111122223333/ann-0.log", &[]), []);
}
