//! `[routes.NAME]`: who is told what.

use std::sync::Arc;

use sessionwarden_machine::effect::Severity;

use super::{
    BackendKind,
    check::{self, Checked},
    error::{Place, suggest},
    reader::{Reader, Section},
};
use crate::outbound::{DeskLimits, Destination, Kind, Route, SecretRef, TRIES_MAX, webhook_url};

/// How many routes there can be.
pub const ROUTES_MAX: usize = 64;
/// How long a route's name can be.
const NAME_BYTES_MAX: usize = 64;

#[derive(Clone, Copy, PartialEq, Eq)]
enum To {
    Sns,
    EventBridge,
    Webhook,
    File,
}

impl To {
    const WORDS: [(&'static str, Option<Self>); 4] = [
        ("sns", Some(Self::Sns)),
        ("eventbridge", Some(Self::EventBridge)),
        ("webhook", Some(Self::Webhook)),
        ("file", Some(Self::File)),
    ];

    fn as_str(self) -> &'static str {
        Self::WORDS.iter().find(|(_, to)| *to == Some(self)).map_or("", |(word, _)| word)
    }

    fn needs_aws(self) -> bool {
        matches!(self, Self::Sns | Self::EventBridge)
    }
}

pub(super) fn read(reader: &mut Reader<'_>, backend: BackendKind) -> Vec<Route> {
    let tables = reader.tables("routes");
    if let Some((_, place)) = tables.get(ROUTES_MAX) {
        reader.error(place.clone(), format!("`routes` has more than {ROUTES_MAX} tables"), None);
    }
    let mut routes = Vec::new();
    for (name, place) in tables {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
        if !(1..=NAME_BYTES_MAX).contains(&name.len()) || !name.bytes().all(fits) {
            let hint = format!("a name has 1 to {NAME_BYTES_MAX} letters, digits, `-` and `_`");
            reader.error(place.clone(), format!("`routes` has \"{name}\", which is not a route's name"), Some(hint));
        }
        routes.extend(route(reader.table("routes", &name), &name, &place, backend));
    }
    routes
}

/// One route; `None` where it leads nowhere, which has been told.
fn route(mut section: Section<'_, '_>, name: &str, place: &Place, backend: BackendKind) -> Option<Route> {
    let errors = section.errors();
    let to = section.word("to", &To::WORDS, None);
    if to.is_none() && section.errors() == errors {
        let words = To::WORDS.map(|(word, _)| format!("\"{word}\"")).join(", ");
        missing(&mut section, place, "to", &format!("one of {words}"));
    }
    if let Some(to) = to.filter(|to| to.needs_aws() && backend != BackendKind::Aws) {
        let at = section.place("to");
        let problem = format!("{} is \"{}\", which needs the backend \"aws\"", section.label("to"), to.as_str());
        section.error(at, problem, Some("set `kind = \"aws\"` under `[backend]`".to_owned()));
    }
    let topic = needed(&mut section, place, to, To::Sns, "topic", "the ARN of a topic", check::topic);
    let bus = needed(&mut section, place, to, To::EventBridge, "bus", "the name or ARN of an event bus", bus);
    let url = needed(&mut section, place, to, To::Webhook, "url", "where messages are sent", url);
    let secret = needed(&mut section, place, to, To::Webhook, "secret", "where the key of signatures is", secret);
    let path = needed(&mut section, place, to, To::File, "path", "where the file is", check::not_empty);
    let filters = filters(&mut section, name);
    let to = match to? {
        To::Sns => Destination::Sns { topic: topic? },
        To::EventBridge => Destination::EventBridge { bus: bus? },
        To::Webhook => Destination::Webhook { url: url?, secret: secret? },
        To::File => Destination::File { path: path?.into() },
    };
    Some(Route { to, ..filters })
}

/// What is let through, and how quickly; it leads nowhere yet.
fn filters(section: &mut Section<'_, '_>, name: &str) -> Route {
    let severities = [
        ("info", Severity::Info),
        ("low", Severity::Low),
        ("medium", Severity::Medium),
        ("high", Severity::High),
        ("critical", Severity::Critical),
    ];
    let limits = DeskLimits::default();
    let texts = |texts: Option<Vec<String>>| -> Vec<Arc<str>> { texts.into_iter().flatten().map(Arc::from).collect() };
    Route {
        severity_min: section.word("severity_min", &severities, Severity::Info),
        accounts: section.list("accounts", check::account).into_iter().flatten().collect(),
        units: texts(section.list("units", check::not_empty)),
        controls: texts(section.list("controls", check::not_empty)),
        kinds: section.list("kinds", kind).into_iter().flatten().collect(),
        limits: DeskLimits {
            burst: section.whole("burst", 1..=10_000).unwrap_or(limits.burst),
            refill_ms: section.whole("refill_ms", 1..=3_600_000_u32).map_or(limits.refill_ms, i64::from),
            digest_ms: section.whole("digest_ms", 1_000..=86_400_000_u32).map_or(limits.digest_ms, i64::from),
        },
        tries_max: section.whole("tries_max", 1..=1_000).unwrap_or(TRIES_MAX),
        ..Route::new(name, Destination::File { path: "".into() })
    }
}

fn missing(section: &mut Section<'_, '_>, place: &Place, key: &'static str, what: &str) {
    let problem = format!("{} is missing; it is {what}", section.label(key));
    section.error(place.clone(), problem, None);
}

/// A setting that one kind of destination must have, and no other may.
fn needed<T>(
    section: &mut Section<'_, '_>,
    place: &Place,
    to: Option<To>,
    owner: To,
    key: &'static str,
    what: &str,
    parse: fn(&str) -> Checked<T>,
) -> Option<T> {
    let errors = section.errors();
    let found = section.text(key, parse);
    let at = section.place(key);
    match to {
        Some(to) if to == owner && at == Place::Default && section.errors() == errors => {
            missing(section, place, key, what);
        }
        Some(to) if to != owner && at != Place::Default => {
            let problem = format!("{} is set, but `to` is \"{}\"", section.label(key), to.as_str());
            section.error(at, problem, Some(format!("it belongs to \"{}\"", owner.as_str())));
        }
        Some(_) | None => {}
    }
    found
}

/// The name of an event bus or its ARN ("`PutEventsRequestEntry`").
fn bus(text: &str) -> Checked<String> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-".contains(&byte);
    let named = |name: &str| (1..=256).contains(&name.len()) && name.bytes().all(fits);
    let is_bus = match text.splitn(6, ':').collect::<Vec<_>>()[..] {
        [name] => named(name),
        ["arn", _, "events", region, account, name] => {
            let name = name.strip_prefix("event-bus/").unwrap_or_default();
            check::region(region).is_ok() && check::account(account).is_ok() && named(name)
        }
        _ => false,
    };
    if is_bus {
        return Ok(text.to_owned());
    }
    let hint = "write its name, or `arn:aws:events:eu-central-1:111111111111:event-bus/security`".to_owned();
    Err((format!("is \"{text}\", which is not an event bus"), Some(hint)))
}

/// The address of a webhook. No message shows it: parts of it can be secret.
fn url(text: &str) -> Checked<String> {
    let hint = "write it like `https://hooks.example/sessionwarden`; plain http:// goes to this machine only";
    webhook_url(text).map(|_| text.to_owned()).map_err(|problem| (problem.to_owned(), Some(hint.to_owned())))
}

/// Where a secret is. No message shows what is there instead: it may be the secret itself.
fn secret(text: &str) -> Checked<SecretRef> {
    let letter = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    match text.split_once(':') {
        Some(("env", name)) if !name.is_empty() && name.bytes().all(letter) => {
            Ok(SecretRef::Environment(name.to_owned()))
        }
        Some(("file", path)) if !path.is_empty() => Ok(SecretRef::File(path.into())),
        _ => {
            let hint = "write `env:NAME` or `file:PATH`; the secret itself has no place in the configuration";
            Err(("does not say where a secret is".to_owned(), Some(hint.to_owned())))
        }
    }
}

fn kind(text: &str) -> Checked<Kind> {
    let kinds = [Kind::Finding, Kind::Incident, Kind::Remedy];
    kinds.into_iter().find(|kind| kind.as_str() == text).ok_or_else(|| {
        let hint = suggest(text, kinds.into_iter().map(Kind::as_str));
        (format!("has \"{text}\", but a kind is \"finding\", \"incident\" or \"remedy\""), hint)
    })
}
