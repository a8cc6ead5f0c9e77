//! Names of things: small types that cannot be mixed up.

use std::{collections::HashSet, fmt, str::FromStr, sync::Arc};

use foldhash::fast::FixedState;
use serde::{Deserialize, Serialize};

/// When something happened, by the clock of the service that reported it, in milliseconds since 1970 (UTC).
///
/// Windows, order and reports use event time; deadlines use [`Now`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct EventTime(pub i64);

/// Processing time, passed in by the shell, in milliseconds since 1970 (UTC).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Now(pub i64);

impl EventTime {
    /// The latest representable time: "for ever".
    pub const MAX: Self = Self(i64::MAX);

    /// Parses RFC 3339, as CloudTrail writes it.
    pub fn parse(text: &str) -> Option<Self> {
        let usual = <&[u8; 20]>::try_from(text.as_bytes()).ok().and_then(usual_time_ms);
        usual.map(Self).or_else(|| text.parse::<jiff::Timestamp>().ok().map(|at| Self(at.as_millisecond())))
    }

    /// This instant plus `ms` milliseconds, without overflow.
    #[must_use]
    pub fn plus_ms(self, ms: i64) -> Self {
        Self(self.0.saturating_add(ms))
    }
}

impl Now {
    /// This instant plus `ms` milliseconds, without overflow.
    #[must_use]
    pub fn plus_ms(self, ms: i64) -> Self {
        Self(self.0.saturating_add(ms))
    }

    /// The same instant, read as event time: for facts that Sessionwarden observes itself.
    pub fn as_event_time(self) -> EventTime {
        EventTime(self.0)
    }
}

/// Milliseconds since 1970 of a time of the form `2024-08-01T12:19:18Z` from 1970 on; `None` for any other, and for a
/// leap second, which the slow parser decides on.
fn usual_time_ms(text: &[u8; 20]) -> Option<i64> {
    const DAYS_BEFORE_MONTH: [i64; 12] = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334];
    const MARKS: [(usize, u8); 6] = [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':'), (19, b'Z')];
    let digits = |at: usize| {
        let (tens, ones) = (text[at].wrapping_sub(b'0'), text[at + 1].wrapping_sub(b'0'));
        (tens <= 9 && ones <= 9).then(|| i64::from(tens) * 10 + i64::from(ones))
    };
    if MARKS.iter().any(|(at, mark)| text[*at] != *mark) {
        return None;
    }
    let (year, month, day) = (digits(0)? * 100 + digits(2)?, digits(5)?, digits(8)?);
    let (hour, minute, second) = (digits(11)?, digits(14)?, digits(17)?);
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let before = DAYS_BEFORE_MONTH.get(usize::try_from(month - 1).ok()?)?;
    let month_ends = DAYS_BEFORE_MONTH.get(month as usize).unwrap_or(&365);
    let days_in_month = month_ends - before + i64::from(leap && month == 2);
    if year < 1970 || !(1..=days_in_month).contains(&day) || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let past = year - 1;
    let leap_days = past / 4 - past / 100 + past / 400 - (1969 / 4 - 1969 / 100 + 1969 / 400);
    let days = (year - 1970) * 365 + leap_days + before + i64::from(leap && month > 2) + day - 1;
    Some((((days * 24 + hour) * 60 + minute) * 60 + second) * 1000)
}

fn show_ms(ms: i64, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match jiff::Timestamp::from_millisecond(ms) {
        Ok(at) => fmt::Display::fmt(&at, f),
        Err(_) => write!(f, "{ms} ms"),
    }
}

impl fmt::Display for EventTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        show_ms(self.0, f)
    }
}

impl fmt::Display for Now {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        show_ms(self.0, f)
    }
}

/// An AWS account: twelve digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AccountId(u64);

/// An account id that is not one to twelve digits.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("account id is not twelve digits")]
pub struct BadAccountId;

impl AccountId {
    /// An account from its number; `None` above twelve digits.
    pub fn new(number: u64) -> Option<Self> {
        (number <= 999_999_999_999).then_some(Self(number))
    }
}

impl FromStr for AccountId {
    type Err = BadAccountId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.is_empty() || text.len() > 12 || !text.bytes().all(|b| b.is_ascii_digit()) {
            return Err(BadAccountId);
        }
        text.parse().map(Self).map_err(|_| BadAccountId)
    }
}

impl fmt::Display for AccountId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:012}", self.0)
    }
}

impl Serialize for AccountId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for AccountId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// The value of each byte as a hexadecimal digit; 255 for those that are none.
const HEX_DIGITS: [u8; 256] = {
    let mut digits = [u8::MAX; 256];
    let mut value = 0;
    while value < 16 {
        digits[b"0123456789abcdef"[value] as usize] = value as u8;
        digits[b"0123456789ABCDEF"[value] as usize] = value as u8;
        value += 1;
    }
    digits
};

/// A CloudTrail event's id (a UUID), kept as its 128 bits.
///
/// A record without one gets an id from its content, so that its duplicates are still recognised.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventId(pub u128);

impl EventId {
    /// Parses `8-4-4-4-12` hexadecimal digits.
    pub fn parse(text: &str) -> Option<Self> {
        let text: &[u8; 36] = text.as_bytes().try_into().ok()?;
        if [8, 13, 18, 23].iter().any(|at| text[*at] != b'-') {
            return None;
        }
        let mut wrong = 0;
        let mut number = |from: usize, to: usize| {
            text[from..to].iter().fold(0_u64, |number, byte| {
                let digit = HEX_DIGITS[usize::from(*byte)];
                wrong |= digit;
                number << 4 | u64::from(digit & 0xF)
            })
        };
        let high = number(0, 8) << 32 | number(9, 13) << 16 | number(14, 18);
        let low = number(19, 23) << 48 | number(24, 36);
        (wrong <= 0xF).then_some(Self(u128::from(high) << 64 | u128::from(low)))
    }

    /// An id from content: the first 128 bits of its SHA-256.
    pub fn of_content(content: &[u8]) -> Self {
        Self(digest_128(content))
    }
}

/// The first 128 bits of the SHA-256 of `content`.
pub(crate) fn digest_128(content: &[u8]) -> u128 {
    use sha2::Digest;
    let digest = sha2::Sha256::digest(content);
    digest.iter().take(16).fold(0, |sum, byte| sum << 8 | u128::from(*byte))
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hex = format!("{:032x}", self.0);
        write!(f, "{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
    }
}

impl Serialize for EventId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for EventId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| serde::de::Error::custom("event id is not a UUID"))
    }
}

/// A session, named so that equal ids in two accounts or regions stay apart.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SessionKey {
    /// The account the session runs in.
    pub account: AccountId,
    /// The region the session runs in.
    pub region: Arc<str>,
    /// AWS's id of the session, at most 96 characters.
    pub id: Arc<str>,
}

impl fmt::Display for SessionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.account, self.region, self.id)
    }
}

/// What kind of thing a session can depend on, or an attacker can change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ThingKind {
    /// An IAM role.
    Role,
    /// A managed IAM policy.
    Policy,
    /// An instance profile.
    InstanceProfile,
    /// An instance or a hybrid node.
    Node,
    /// A Systems Manager document.
    Document,
    /// A KMS key.
    Key,
    /// An S3 bucket.
    Bucket,
    /// An object that holds a session's log.
    LogObject,
    /// A CloudWatch log group or stream.
    LogGroup,
    /// An EventBridge rule.
    Rule,
    /// A CloudTrail trail.
    Trail,
    /// A Kinesis stream.
    Stream,
    /// A DynamoDB table.
    Table,
    /// An SQS queue.
    Queue,
    /// An SNS topic.
    Topic,
    /// A CloudWatch alarm.
    Alarm,
    /// An endpoint, a security group, a network ACL or a route.
    Network,
    /// A Systems Manager service setting.
    ServiceSetting,
    /// The organisation, its policies or an account's place in it.
    Organization,
    /// A region being enabled in an account.
    Region,
    /// The account-wide switch of the EC2 serial console.
    SerialConsole,
    /// A hybrid activation.
    Activation,
    /// An ECS service or task.
    Container,
}

impl ThingKind {
    /// The kind's name as policies and reports write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Role => "role",
            Self::Policy => "policy",
            Self::InstanceProfile => "instance-profile",
            Self::Node => "node",
            Self::Document => "document",
            Self::Key => "key",
            Self::Bucket => "bucket",
            Self::LogObject => "log-object",
            Self::LogGroup => "log-group",
            Self::Rule => "rule",
            Self::Trail => "trail",
            Self::Stream => "stream",
            Self::Table => "table",
            Self::Queue => "queue",
            Self::Topic => "topic",
            Self::Alarm => "alarm",
            Self::Network => "network",
            Self::ServiceSetting => "service-setting",
            Self::Organization => "organization",
            Self::Region => "region",
            Self::SerialConsole => "serial-console",
            Self::Activation => "activation",
            Self::Container => "container",
        }
    }
}

/// A thing that sessions depend on, in the account that owns it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Thing {
    /// What it is.
    pub kind: ThingKind,
    /// Whose it is.
    pub account: AccountId,
    /// Its name or id; empty where the event names none.
    pub id: Arc<str>,
}

impl fmt::Display for Thing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.kind.as_str(), self.account, self.id)
    }
}

/// What a decision is made about; its text form is the key under which the state is stored.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Subject {
    /// One session.
    Session(SessionKey),
    /// One account's window, episode and caps.
    Account(AccountId),
    /// One cause that somebody has to look at.
    Incident(Arc<str>),
    /// The organisation's register of locks.
    Register,
    /// An account and region: when the sessions in it were last looked at.
    Place(AccountId, Arc<str>),
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Session(key) => write!(f, "session#{key}"),
            Self::Account(account) => write!(f, "account#{account}"),
            Self::Incident(id) => write!(f, "incident#{id}"),
            Self::Register => f.write_str("register#locks"),
            Self::Place(account, region) => write!(f, "place#{account}/{region}"),
        }
    }
}

/// A text that is no subject's key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} names no session, account, incident, register or place")]
pub struct BadSubject(String);

impl FromStr for Subject {
    type Err = BadSubject;

    /// Reads the text form back.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bad = || BadSubject(text.chars().take(80).collect());
        let (kind, id) = text.split_once('#').ok_or_else(bad)?;
        match kind {
            "session" => {
                let mut parts = id.splitn(3, '/');
                let (Some(account), Some(region), Some(id)) = (parts.next(), parts.next(), parts.next()) else {
                    return Err(bad());
                };
                let account = account.parse().map_err(|_| bad())?;
                Ok(Self::Session(SessionKey { account, region: region.into(), id: id.into() }))
            }
            "account" => id.parse().map(Self::Account).map_err(|_| bad()),
            "incident" => Ok(Self::Incident(id.into())),
            "register" if id == "locks" => Ok(Self::Register),
            "place" => {
                let (account, region) = id.split_once('/').ok_or_else(bad)?;
                Ok(Self::Place(account.parse().map_err(|_| bad())?, region.into()))
            }
            _ => Err(bad()),
        }
    }
}

/// The stable id of an effect: made from its cause only, so that whoever makes the same decision makes the same id.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct EffectId(pub Arc<str>);

impl fmt::Display for EffectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Shares equal strings, so that a million sessions keep one copy of a region, a role or a document.
///
/// Holds at most [`Names::MAX`] strings; beyond that a string is simply not shared.
#[derive(Debug, Default)]
pub struct Names {
    known: HashSet<Arc<str>, FixedState>,
}

impl Names {
    /// How many strings are shared at the most.
    pub const MAX: usize = 65_536;

    /// The shared copy of `text`.
    pub fn get(&mut self, text: &str) -> Arc<str> {
        if let Some(known) = self.known.get(text) {
            return Arc::clone(known);
        }
        let fresh: Arc<str> = Arc::from(text);
        if self.known.len() < Self::MAX {
            self.known.insert(Arc::clone(&fresh));
        }
        fresh
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_keep_their_text() {
        let id = "f8f0460c-476b-42b7-9cfb-cd6345e2aad1";
        assert_eq!(EventId::parse(id).unwrap().to_string(), id);
        assert_eq!(EventId::parse(&id.to_uppercase()), EventId::parse(id));
        assert_eq!(EventId::parse("f8f0460c-476b-42b7-9cfb-cd6345e2aad"), None);
        for at in 0..id.len() {
            for wrong in ["g", ":", "/", "@", "G", "`"] {
                let mut text = id.to_owned();
                text.replace_range(at..=at, wrong);
                assert_eq!(EventId::parse(&text), None, "{text}");
            }
        }
        assert_eq!("000000000042".parse::<AccountId>().unwrap().to_string(), "000000000042");
        assert!("1234567890123".parse::<AccountId>().is_err());
        assert!("700***".parse::<AccountId>().is_err());
    }

    #[test]
    fn subjects_are_read_back() {
        for text in ["session#000000000042/eu-west-1/ann-0a", "account#000000000042", "incident#SW-X/1/arn:aws:x/y#z"] {
            assert_eq!(text.parse::<Subject>().unwrap().to_string(), text);
        }
        assert!("session#1/eu-west-1".parse::<Subject>().is_err());
        assert!("nobody".parse::<Subject>().is_err());
    }

    #[test]
    fn time_is_read_and_shown() {
        let at = EventTime::parse("2024-08-01T12:19:18Z").unwrap();
        assert_eq!(at.to_string(), "2024-08-01T12:19:18Z");
        assert_eq!(EventTime::parse("yesterday"), None);
        for text in [
            "1970-01-01T00:00:00Z",
            "1969-12-31T23:59:59Z",
            "1999-12-31T23:59:59Z",
            "2000-02-29T12:00:00Z",
            "2023-02-29T12:00:00Z",
            "2024-02-29T12:00:00Z",
            "2024-03-01T00:00:00Z",
            "2024-12-31T23:59:60Z",
            "2024-12-31T24:00:00Z",
            "2024-00-10T00:00:00Z",
            "2024-13-10T00:00:00Z",
            "2024-04-31T00:00:00Z",
            "2100-02-29T00:00:00Z",
            "2024-08-01t12:19:18z",
            "2024-08-01 12:19:18Z",
            "2024-08-01T12:19:1:Z",
            "9999-12-30T22:00:00Z",
            "2024-08-01T12:19:18.5Z",
            "2024-08-01T12:19:18+02:00",
        ] {
            let slowly = text.parse::<jiff::Timestamp>().ok().map(|at| EventTime(at.as_millisecond()));
            assert_eq!(EventTime::parse(text), slowly, "{text}");
        }
        for day in 0..60_000 {
            let at = jiff::Timestamp::from_second(day * 86_400 + 45_296).unwrap();
            assert_eq!(EventTime::parse(&at.to_string()), Some(EventTime(at.as_millisecond())));
        }
    }
}
