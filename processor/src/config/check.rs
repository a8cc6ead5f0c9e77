use std::{io::Read, net::SocketAddr, path::Path};

use sessionwarden_machine::ids::AccountId;

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
