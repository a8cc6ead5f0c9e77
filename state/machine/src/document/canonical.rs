//! JSON in which no name stands twice, and the one way to write it.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{Error, MapAccess, SeqAccess, Visitor},
};
use serde_json::{Map, Number, Value};

use super::{BadDocument, CONTENT_BYTES_MAX};

/// How much of a foreign text a message shows, in characters.
const SHOWN_CHARS_MAX: usize = 80;

/// Reads a document. The parser bounds the depth.
pub(super) fn read(content: &str) -> Result<Value, BadDocument> {
    if content.len() > CONTENT_BYTES_MAX {
        return Err(BadDocument::TooLong(content.len()));
    }
    serde_json::from_str::<Strict>(content)
        .map(|strict| strict.0)
        .map_err(|error| BadDocument::Json(clipped(&error.to_string())))
}

/// The first [`SHOWN_CHARS_MAX`] characters, with a mark where there are more.
pub(super) fn clipped(text: &str) -> String {
    match text.char_indices().nth(SHOWN_CHARS_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// Refuses a member whose name differs from a known one in case only. The agent's JSON reader takes such a member for
/// the known one.
pub(super) fn check_names(members: &Map<String, Value>, known: &[&'static str]) -> Result<(), BadDocument> {
    for name in members.keys().filter(|name| !known.contains(&name.as_str())) {
        if let Some(known) = known.iter().find(|known| folded(known) == folded(name)) {
            return Err(BadDocument::Spelling { found: clipped(name), known });
        }
    }
    Ok(())
}

/// `name` without case: through capitals, so that the long s and the Kelvin sign fold as the agent folds them.
fn folded(name: &str) -> String {
    name.chars().flat_map(char::to_uppercase).flat_map(char::to_lowercase).collect()
}

/// The value as JSON without white space, the members of objects by their names.
pub(crate) fn text(value: &Value) -> String {
    let mut text = String::new();
    write(value, &mut text);
    text
}

fn write(value: &Value, text: &mut String) {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => text.push_str(&value.to_string()),
        Value::Array(elements) => {
            text.push('[');
            for (at, element) in elements.iter().enumerate() {
                if at > 0 {
                    text.push(',');
                }
                write(element, text);
            }
            text.push(']');
        }
        Value::Object(members) => {
            // Whether the map keeps the order of names is a feature that any crate of the program can turn on.
            let mut members: Vec<_> = members.iter().collect();
            members.sort_unstable_by_key(|(name, _)| *name);
            text.push('{');
            for (at, (name, member)) in members.into_iter().enumerate() {
                if at > 0 {
                    text.push(',');
                }
                text.push_str(&Value::from(name.as_str()).to_string());
                text.push(':');
                write(member, text);
            }
            text.push('}');
        }
    }
}

struct Strict(Value);

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Reader).map(Strict)
    }
}

struct Reader;

impl<'de> Visitor<'de> for Reader {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("a number is out of range"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
        let mut elements = Vec::new();
        while let Some(Strict(element)) = list.next_element()? {
            elements.push(element);
        }
        Ok(Value::Array(elements))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut members = Map::new();
        while let Some((name, Strict(member))) = map.next_entry::<String, Strict>()? {
            if members.contains_key(&name) {
                return Err(A::Error::custom(format_args!("{:?} stands twice", clipped(&name))));
            }
            members.insert(name, member);
        }
        Ok(Value::Object(members))
    }
}
