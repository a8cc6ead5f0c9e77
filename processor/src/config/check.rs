use std::{io::Read, net::SocketAddr, path::Path};

use sessionwarden_machine::{
    document::{CONTENT_BYTES_MAX, DocumentHash},
    ids::AccountId,
    incident::Restore,
    scp::Guarded,
};

use super::{
    FILE_BYTES_MAX,
    error::{ConfigError, ConfigErrors, Place, place_in, position, suggest},
};

/// A checked value, or the problem and a hint.
pub(super) type Checked<T> = Result<T, (String, Option<String>)>;

pub(super) fn account(text: &str) -> Checked<AccountId> {
    let parsed = if text.len() == 12 { text.parse().ok() } else { None };
    parsed.ok_or_else(|| (format!("has \"{text}\", but an account id is twelve digits"), None))
}

pub(super) fn region(text: &str) -> Checked<String> {
    let parts: Vec<&str> = text.split('-').collect();
    let number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    let word = |part: &&str| part.len() >= 2 && part.bytes().all(|byte| byte.is_ascii_lowercase());
    match parts.split_last() {
        Some((last, words)) if words.len() >= 2 && words.iter().all(word) && number(last) => Ok(text.to_owned()),
        _ => Err((
            format!("has \"{text}\", which is not a region's name"),
            Some("a region is written like `eu-central-1`".to_owned()),
        )),
    }
}

pub(super) fn not_empty(text: &str) -> Checked<String> {
    if text.trim().is_empty() { Err(("has an empty text".to_owned(), None)) } else { Ok(text.to_owned()) }
}

/// A bucket; empty: none. Wide enough for the names of old ("General purpose bucket naming rules").
pub(super) fn bucket(text: &str) -> Checked<String> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
    if text.is_empty() || ((3..=255).contains(&text.len()) && text.bytes().all(fits)) {
        return Ok(text.to_owned());
    }
    let hint = "write the bucket's name alone, without `s3://`, ARN and prefix".to_owned();
    Err((format!("is \"{text}\", which is not a bucket's name"), Some(hint)))
}

/// An S3 prefix that keeps accounts apart (R-W23). It leaves room for the log's name in the 1,024 bytes of a key
/// ("Naming Amazon S3 objects").
pub(super) fn prefix(text: &str) -> Checked<String> {
    const BYTES_MAX: usize = 900;
    let bad = |problem: &str, hint: &str| Err((format!("is \"{text}\", {problem}"), Some(hint.to_owned())));
    if text.len() > BYTES_MAX {
        return Err((format!("has {} bytes, more than {BYTES_MAX}", text.len()), None));
    }
    if text.replace("{account}", "").replace("{region}", "").contains(['{', '}']) {
        return bad("which has a placeholder of another name or a single brace", "write `{account}` or `{region}`");
    }
    if text.split('/').any(|part| part == "." || part == "..") || text.contains(char::is_control) {
        return bad("which is not a prefix", "leave out `.`, `..` and control characters");
    }
    if !text.contains("{account}") {
        let hint = "write where the account's number stands, for example `session-logs/{account}/{region}`";
        return bad("which mixes the logs of all accounts", hint);
    }
    Ok(text.to_owned())
}

/// A log group; empty: none ("`CreateLogGroup`").
pub(super) fn log_group(text: &str) -> Checked<String> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"._/#-".contains(&byte);
    if text.len() <= 512 && text.bytes().all(fits) {
        return Ok(text.to_owned());
    }
    let hint = "write the log group's name alone, without ARN".to_owned();
    Err((format!("is \"{text}\", which is not a log group's name"), Some(hint)))
}

/// A KMS key ("Key identifiers (`KeyId`)").
pub(super) fn kms_key(text: &str) -> Checked<String> {
    let word = |text: &str, others: &[u8]| {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || others.contains(&byte);
        (1..=256).contains(&text.len()) && text.bytes().all(fits)
    };
    let alias = |name: &str| name.strip_prefix("alias/").is_some_and(|name| word(name, b"/_-"));
    let is_key = if let Some(arn) = text.strip_prefix("arn:") {
        match arn.splitn(5, ':').collect::<Vec<_>>()[..] {
            [partition, "kms", in_region, in_account, name] => {
                let key = name.strip_prefix("key/").is_some_and(|id| word(id, b"-"));
                word(partition, b"-")
                    && region(in_region).is_ok()
                    && account(in_account).is_ok()
                    && (key || alias(name))
            }
            _ => false,
        }
    } else {
        alias(text) || word(text, b"-")
    };
    if is_key {
        return Ok(text.to_owned());
    }
    let hint = "write a key's id or ARN, or an alias as `alias/name` or ARN".to_owned();
    Err((format!("is \"{text}\", which is not a KMS key"), Some(hint)))
}

pub(super) fn os_user(text: &str) -> Checked<String> {
    if (1..=256).contains(&text.len()) && !text.contains(|c: char| c.is_whitespace() || c.is_control()) {
        return Ok(text.to_owned());
    }
    Err((format!("has \"{text}\", which is not an operating system user"), None))
}

/// The user of all whose principal has no tag that names one (R-T3).
pub(super) fn default_user(text: &str) -> Checked<String> {
    if text == "root" {
        let hint = "name an unprivileged user: all sessions run as it whose principal has no tag `SSMSessionRunAs`";
        return Err(("is \"root\"".to_owned(), Some(hint.to_owned())));
    }
    os_user(text)
}

/// A shell profile. It may hold secrets: no message shows it.
pub(super) fn shell(text: &str) -> Checked<String> {
    if text.len() > CONTENT_BYTES_MAX {
        let problem = format!("has {} bytes, more than the {CONTENT_BYTES_MAX} of a document", text.len());
        return Err((problem, None));
    }
    Ok(text.to_owned())
}

pub(super) fn document_hash(text: &str) -> Checked<DocumentHash> {
    text.parse().map_err(|error| (format!("has \"{text}\", but {error}"), None))
}

/// A kind of things that can be put back.
pub(super) fn restore(text: &str) -> Checked<Restore> {
    let found = Restore::ALL.into_iter().find(|known| known.as_str() == text);
    let hint = || suggest(text, Restore::ALL.into_iter().map(Restore::as_str));
    found.ok_or_else(|| {
        let all = Restore::ALL.map(Restore::as_str).join(", ");
        (format!("has \"{text}\", but these can be put back: {all}"), hint())
    })
}

/// A role's name, with `*` for any characters ("IAM and AWS STS quotas").
pub(super) fn role(text: &str) -> Checked<String> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"_+=,.@-*".contains(&byte);
    if (1..=64).contains(&text.len()) && text.bytes().all(fits) {
        return Ok(text.to_owned());
    }
    let hint = "write the role's name alone, without ARN and path; `*` stands for any characters".to_owned();
    Err((format!("has \"{text}\", which is not a role's name"), Some(hint)))
}

/// A kind of things that the guardrail consists of.
pub(super) fn guarded(text: &str) -> Checked<Guarded> {
    text.parse().map_err(|error| {
        let hint = suggest(text, Guarded::ALL.into_iter().map(Guarded::as_str));
        (format!("has \"{text}\", but {error}"), hint)
    })
}

/// A tag's key ("Tag your Amazon EC2 resources").
pub(super) fn tag_key(text: &str) -> Checked<String> {
    if (1..=128).contains(&text.chars().count()) {
        return Ok(text.to_owned());
    }
    Err((format!("has \"{text}\", but a tag's key has 1 to 128 characters"), None))
}

/// A tag's value, which may be empty ("Tag your Amazon EC2 resources").
pub(super) fn tag_value(text: &str) -> Checked<String> {
    if text.chars().count() <= 256 {
        return Ok(text.to_owned());
    }
    Err((format!("has \"{text}\", but a tag's value has at most 256 characters"), None))
}

/// A name of up to `max` letters, digits and some signs.
fn named(text: &str, max: usize, signs: &[u8], what: &str) -> Checked<String> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || signs.contains(&byte);
    if (1..=max).contains(&text.len()) && text.bytes().all(fits) {
        return Ok(text.to_owned());
    }
    Err((format!("is \"{text}\", which is not {what}"), Some("write the name alone, without an ARN".to_owned())))
}

/// A stream or a stream's consumer (`CreateStream`, `RegisterStreamConsumer`).
pub(super) fn stream(text: &str) -> Checked<String> {
    named(text, 128, b"_.-", "the name of a stream or consumer")
}

/// A DynamoDB table ("Naming rules").
pub(super) fn table(text: &str) -> Checked<String> {
    let found = named(text, 255, b"_.-", "a table's name")?;
    if found.len() < 3 {
        Err((format!("is \"{text}\", but a table's name has 3 to 255 characters"), None))
    } else {
        Ok(found)
    }
}

/// A worker's name in the lease table.
pub(super) fn worker(text: &str) -> Checked<String> {
    named(text, 200, b"_.-:/", "a worker's name")
}

/// A role's name with its path ("IAM identifiers").
pub(super) fn role_path(text: &str) -> Checked<String> {
    let whole = named(text, 512, b"_+=,.@-/", "a role's name")?;
    let name = whole.rsplit('/').next().unwrap_or_default();
    if text.starts_with('/') || text.contains("//") || name.is_empty() || name.len() > 64 {
        let hint =
            "write the path and the name without a slash before them, for example `guard/sessionwarden`".to_owned();
        return Err((format!("is \"{text}\", which is not a role's name"), Some(hint)));
    }
    Ok(whole)
}

/// An External ID (`AssumeRole`).
pub(super) fn external_id(text: &str) -> Checked<String> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"_+=,.@:/-".contains(&byte);
    if (2..=1_224).contains(&text.len()) && text.bytes().all(fits) {
        return Ok(text.to_owned());
    }
    Err(("is not an External ID: 2 to 1,224 letters, digits and `+=,.@:/-_`".to_owned(), None))
}

/// The URL of a standard queue.
pub(super) fn queue_url(text: &str) -> Checked<String> {
    let web = text.starts_with("https://") || text.starts_with("http://");
    if web && !text.contains(char::is_whitespace) && !text.ends_with('/') && text.split('.').next_back() != Some("fifo")
    {
        return Ok(text.to_owned());
    }
    let hint = "write it like `https://sqs.eu-central-1.amazonaws.com/111111111111/sessionwarden-wake-ups`".to_owned();
    Err((format!("is \"{text}\", which is not the URL of a standard queue"), Some(hint)))
}

/// The ARN of a topic.
pub(super) fn topic(text: &str) -> Checked<String> {
    let parts: Vec<&str> = text.split(':').collect();
    match parts[..] {
        ["arn", _, "sns", region, account, name] if ![region, account, name].contains(&"") => Ok(text.to_owned()),
        _ => {
            let hint = "write it like `arn:aws:sns:eu-central-1:111111111111:sessionwarden`".to_owned();
            Err((format!("is \"{text}\", which is not the ARN of a topic"), Some(hint)))
        }
    }
}

/// The ARN of the members' topics.
pub(super) fn member_topic(text: &str) -> Checked<String> {
    let found = topic(text)?;
    if found.split(':').nth(4) == Some("{account}") {
        return Ok(found);
    }
    let hint = "write `{account}` in place of the account".to_owned();
    Err((format!("is \"{text}\", which names one topic for all members"), Some(hint)))
}

/// What keys begin with: no slash at either end, nothing that would have to be encoded.
pub(super) fn key_prefix(text: &str) -> Checked<String> {
    named(text, 200, b"_.-/", "the beginning of keys").and_then(|found| {
        if found.starts_with('/') || found.ends_with('/') || found.contains("//") {
            return Err((format!("is \"{text}\", which has a slash too many"), None));
        }
        Ok(found)
    })
}

pub(super) fn address(text: &str) -> Checked<SocketAddr> {
    text.parse().map_err(|_| {
        let hint = "write an IP address and a port, for example `127.0.0.1:7878`".to_owned();
        (format!("is \"{text}\", which is not an address"), Some(hint))
    })
}

pub(super) fn endpoint(text: &str) -> Checked<String> {
    let bad = |problem: &str, hint: &str| Err((problem.to_owned(), Some(hint.to_owned())));
    let Some(rest) = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://")) else {
        return bad("does not begin with http:// or https://", "for example `http://127.0.0.1:4318`");
    };
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    // The value itself is left out of these messages: it may hold a password.
    if authority.contains('@') || text.contains(['?', '#']) {
        return bad(
            "must not hold credentials, a query or a fragment",
            "set headers in the variable OTEL_EXPORTER_OTLP_HEADERS",
        );
    }
    if authority.is_empty() || text.parse::<axum::http::Uri>().is_err() {
        return bad("is not a URL", "for example `http://127.0.0.1:4318`");
    }
    if path.trim_end_matches('/').ends_with("v1/traces") || path.trim_end_matches('/').ends_with("v1/metrics") {
        return bad("must be the collector's base URL", "`/v1/traces` and `/v1/metrics` are added to it");
    }
    Ok(text.trim_end_matches('/').to_owned())
}

pub(super) fn log_level(text: &str) -> Checked<String> {
    const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
    for part in text.split(',') {
        let level = part.rsplit_once('=').map_or(part, |(_, level)| level).trim();
        if !LEVELS.contains(&level) {
            let hint = suggest(level, LEVELS.into_iter());
            return Err((format!("has \"{level}\", but a level is {}", LEVELS.join(", ")), hint));
        }
    }
    match tracing_subscriber::EnvFilter::try_new(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(error) => Err((format!("is \"{text}\", which is not a filter: {error}"), None)),
    }
}

pub(super) fn read_file(path: &Path) -> Result<String, ConfigError> {
    let whole = |problem: String, hint: Option<&str>| ConfigError {
        place: Place::WholeFile(path.to_owned()),
        problem,
        hint: hint.map(str::to_owned),
    };
    let file = std::fs::File::open(path).map_err(|error| whole(format!("cannot be read: {error}"), None))?;
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| whole(format!("cannot be read: {error}"), None))?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(whole(format!("is larger than {FILE_BYTES_MAX} bytes"), Some("is this the configuration file?")));
    }
    String::from_utf8(bytes).map_err(|error| {
        let valid = error.utf8_error().valid_up_to();
        let text = String::from_utf8_lossy(&error.as_bytes()[..valid]);
        let (line, column) = position(&text, valid);
        let place = Place::File { path: path.to_owned(), line, column };
        ConfigError { place, problem: "is not UTF-8 text".to_owned(), hint: None }
    })
}

pub(super) fn syntax_error(path: &Path, text: &str, error: &toml::de::Error) -> ConfigError {
    let place = match error.span() {
        Some(span) => place_in(path, text, &span),
        None => Place::WholeFile(path.to_owned()),
    };
    ConfigError { place, problem: error.message().to_owned(), hint: None }
}

/// Adds what was found, except on lines that already have an error: what follows from one mistake is not told twice.
pub(super) fn add_unless_same_line(errors: &mut Vec<ConfigError>, found: Vec<ConfigError>) {
    let line = |error: &ConfigError| match &error.place {
        Place::File { line, .. } => Some(*line),
        _ => None,
    };
    let taken: Vec<usize> = errors.iter().filter_map(line).collect();
    errors.extend(found.into_iter().filter(|error| line(error).is_none_or(|line| !taken.contains(&line))));
}

pub(super) fn sorted(mut errors: Vec<ConfigError>) -> ConfigErrors {
    errors.sort_by_key(|error| match &error.place {
        Place::WholeFile(_) => (0, 0, 0, String::new()),
        Place::File { line, column, .. } => (1, *line, *column, String::new()),
        Place::Environment(name) => (2, 0, 0, name.clone()),
        Place::Default => (3, 0, 0, String::new()),
    });
    ConfigErrors(errors)
}
