//! Whether a session's log is there, and what is wrong with it (R-W19 to R-W23).

use std::{collections::BTreeSet, sync::Arc};

use super::{LogObject, LogStream};
use crate::{
    ids::{AccountId, EventTime, SessionKey},
    session::{LogFlaw, LogLook, LogSeen},
    settings::Settings,
};

/// By how much a log's time may lie before the end of its session, in milliseconds: the agent writes the log after the
/// shell has ended and before it reports that, and clocks differ.
pub const WRITTEN_EARLY_MS_MAX: i64 = 60_000;

/// What an object in a bucket says about the log of a session (R-G7).
///
/// `object_key` is where it was found, and `wanted_keys` are the keys at which the log of this session belongs. An empty
/// object is no log. Without `session_ended_at` its time shows nothing.
pub fn judge_object(
    session: &SessionKey,
    bucket: &str,
    object_key: &str,
    wanted_keys: &[String],
    object: &LogObject,
    session_ended_at: Option<EventTime>,
    settings: &Settings,
) -> LogLook {
    let place = format!("s3://{bucket}/{object_key}");
    if object.size_bytes == 0 {
        return LogLook::Absent(format!("{place} is empty").into());
    }
    let early = session_ended_at.is_some_and(|ended| object.written_at.plus_ms(WRITTEN_EARLY_MS_MAX) < ended);
    let flaws = flaws([
        (LogFlaw::Small, object.size_bytes < settings.posture.log_bytes_min),
        (LogFlaw::WrittenTwice, object.versions > 1),
        (LogFlaw::WrittenEarly, early),
        (LogFlaw::ForeignWriter, object.writer.is_some_and(|writer| writer != session.account)),
        (LogFlaw::ForeignPlace, !wanted_keys.iter().any(|wanted| wanted == object_key)),
    ]);
    let (written_at, size_bytes) = (object.written_at, object.size_bytes);
    LogLook::Found(LogSeen { written_at, size_bytes, place: place.into(), flaws })
}

/// What a log stream says about the log of a session (R-G8); `None` for one that does not exist (R-W21).
///
/// A stream without events is no log. One whose last event lies more than `stream_gap_ms_max` before the end of the
/// session has a gap (TH31).
pub fn judge_stream(
    group: &str,
    name: &str,
    stream: Option<&LogStream>,
    session_ended_at: Option<EventTime>,
    settings: &Settings,
) -> LogLook {
    let Some(stream) = stream else {
        return LogLook::Absent(format!("no stream {name} in {group}").into());
    };
    let Some(written_at) = stream.last_event_at else {
        return LogLook::Absent(format!("stream {name} in {group} is empty").into());
    };
    let gap_ms_max = settings.posture.stream_gap_ms_max;
    let gap = session_ended_at.is_some_and(|ended| written_at.plus_ms(gap_ms_max) < ended);
    let place = format!("stream {name} in {group}").into();
    LogLook::Found(LogSeen { written_at, size_bytes: 0, place, flaws: flaws([(LogFlaw::Gap, gap)]) })
}

fn flaws<const N: usize>(found: [(LogFlaw, bool); N]) -> BTreeSet<LogFlaw> {
    found.into_iter().filter(|(_, found)| *found).map(|(flaw, _)| flaw).collect()
}

/// One look at a log from a look at its object and one at its stream, each `None` where no log is wanted there.
///
/// What is wanted in both places must be in both: one that is certainly absent makes the log absent, and only two that
/// are there make it found, with the flaws of both and the size of the object. Where none is wanted nothing is known.
pub fn combine_logs(object: Option<LogLook>, stream: Option<LogLook>) -> LogLook {
    let (object, stream) = match (object, stream) {
        (Some(object), Some(stream)) => (object, stream),
        (Some(only), None) | (None, Some(only)) => return only,
        (None, None) => return LogLook::Unknown,
    };
    match (object, stream) {
        (LogLook::Found(object), LogLook::Found(stream)) => LogLook::Found(LogSeen {
            written_at: object.written_at.max(stream.written_at),
            size_bytes: object.size_bytes,
            place: format!("{} and {}", object.place, stream.place).into(),
            flaws: object.flaws.union(&stream.flaws).copied().collect(),
        }),
        (LogLook::Absent(object), LogLook::Absent(stream)) => LogLook::Absent(format!("{object}; {stream}").into()),
        (LogLook::Absent(why), LogLook::Found(other)) | (LogLook::Found(other), LogLook::Absent(why)) => {
            LogLook::Absent(format!("{why}; {} is there{}", other.place, other.flaw_names()).into())
        }
        (LogLook::Absent(why), LogLook::Unknown) | (LogLook::Unknown, LogLook::Absent(why)) => LogLook::Absent(why),
        (LogLook::Unknown, LogLook::Found(_) | LogLook::Unknown) | (LogLook::Found(_), LogLook::Unknown) => {
            LogLook::Unknown
        }
    }
}

/// The sessions whose log an object `bucket/key` can be, by its key: the session's id is its name, the account the last
/// part of the path that is one, the region a part of the path or else any of `regions` (R-W19, TH24).
///
/// Empty where the key is no log's or names no account. The id is the key's own claim: which of these sessions exist is
/// for the caller to see.
pub fn sessions_of_key(object: &str, regions: &[Arc<str>]) -> Vec<SessionKey> {
    let (_bucket, object_key) = object.split_once('/').unwrap_or_default();
    let (path, file) = object_key.rsplit_once('/').unwrap_or_default();
    let Some(id) = file.strip_suffix(".log").filter(|id| !id.is_empty()) else {
        return Vec::new();
    };
    let account_of = |part: &str| (part.len() == 12).then(|| part.parse::<AccountId>().ok()).flatten();
    let Some(account) = path.rsplit('/').find_map(account_of) else {
        return Vec::new();
    };
    let named = |region: &&Arc<str>| path.split('/').any(|part| *part == ***region);
    let of_region = |region: &Arc<str>| SessionKey { account, region: Arc::clone(region), id: id.into() };
    match regions.iter().find(named) {
        Some(region) => vec![of_region(region)],
        None => regions.iter().map(of_region).collect(),
    }
}

#[cfg(test)]
mod tests;
