//! What could not be read, kept in a queue of Amazon SQS of its own.
//!
//! A message says in its attribute `source` where it comes from: `records` or `wake-ups`. Its text is what could not be
//! read, and the attribute `reason` says why. Records have the attributes `stream`, `shard` and `sequence`, or `file` and
//! `record`; `bytes` is their whole length, and `encoding` is `text` or `base64`.

use std::{borrow::Cow, sync::Arc};

use aws_config::SdkConfig;
use aws_sdk_sqs::{Client, types::MessageAttributeValue};
use aws_smithy_types::base64;

use super::failure::failed;
use crate::{input::Parked, ports::CallError};

/// How much of a message's text is kept, in bytes: with its attributes it fits into any queue, also into one of 256 KiB.
const TEXT_BYTES_MAX: usize = 200 * 1_024;
/// How much of base64 is kept, in bytes before encoding: four characters stand for three bytes.
const BINARY_BYTES_MAX: usize = TEXT_BYTES_MAX / 4 * 3;
const REASON_BYTES_MAX: usize = 1_024;
/// The text of a message that would have none: SQS takes no empty one.
const EMPTY: &str = "(empty)";

/// The queue.
#[derive(Clone, Debug)]
pub struct ParkedQueue {
    client: Client,
    url: Arc<str>,
}

impl ParkedQueue {
    /// Uses the queue of this URL with this configuration's region, credentials and time limits.
    pub fn new(config: &SdkConfig, url: impl Into<Arc<str>>) -> Self {
        Self::with(Client::new(config), url.into())
    }

    pub(super) fn with(client: Client, url: Arc<str>) -> Self {
        Self { client, url }
    }

    /// Keeps a record: at most 200 KiB of text, as it is where a message may have all its characters, or 150 KiB of
    /// anything else.
    ///
    /// # Errors
    /// SQS did not say that it has the message. It may have it all the same; the record has to be given again.
    pub async fn park(&self, parked: &Parked) -> Result<(), CallError> {
        let content = parked.content.as_deref().unwrap_or_default();
        let (body, encoding) = encode(content);
        let bytes = parked.bytes.unwrap_or(content.len() as u64).to_string();
        let record = parked.record.to_string();
        let place = match &parked.stream {
            Some(at) => vec![("stream", &*at.stream), ("shard", &*at.shard), ("sequence", &*at.sequence)],
            None => vec![("file", &*parked.file), ("record", &*record)],
        };
        let what = [("source", "records"), ("reason", &*parked.reason), ("encoding", encoding), ("bytes", &*bytes)];
        self.put(&body, place.into_iter().chain(what)).await
    }

    /// Sends one message. An attribute without a value is left out.
    pub(super) async fn put<'a>(
        &self,
        body: &str,
        attributes: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<(), CallError> {
        let mut call = self.client.send_message().queue_url(&*self.url);
        call = call.message_body(if body.is_empty() { EMPTY } else { head(body, TEXT_BYTES_MAX) });
        for (name, value) in attributes {
            // Characters that a message must not have would keep it from being put away for ever.
            let value = head(value, REASON_BYTES_MAX).replace(|one: char| one.is_control() || !allowed(one), " ");
            if !value.is_empty() {
                call = call.message_attributes(name, text(&value)?);
            }
        }
        call.send().await.map_err(|error| failed("SendMessage", &error))?;
        Ok(())
    }
}

/// An attribute with this value.
pub(super) fn text(value: &str) -> Result<MessageAttributeValue, CallError> {
    let attribute = MessageAttributeValue::builder().data_type("String").string_value(value).build();
    attribute.map_err(|_| CallError::Unknown)
}

/// Whether a message may have this character (`SendMessage`).
fn allowed(one: char) -> bool {
    matches!(one, '\t' | '\n' | '\r' | ' '..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..)
}

fn head(text: &str, bytes_max: usize) -> &str {
    &text[..text.floor_char_boundary(bytes_max)]
}

/// The text that stands for the content's beginning, and how.
fn encode(content: &[u8]) -> (Cow<'_, str>, &'static str) {
    let kept = &content[..content.len().min(TEXT_BYTES_MAX)];
    let found = match std::str::from_utf8(kept) {
        Ok(found) => Some(found),
        // The end of what is kept can divide a character.
        Err(error) if error.error_len().is_none() && kept.len() < content.len() => {
            std::str::from_utf8(&kept[..error.valid_up_to()]).ok()
        }
        Err(_) => None,
    };
    match found.filter(|found| found.chars().all(allowed)) {
        Some(found) => (found.into(), "text"),
        None => (base64::encode(&content[..content.len().min(BINARY_BYTES_MAX)]).into(), "base64"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_text_where_it_may_be_and_fits() {
        assert_eq!(encode(b"{\"a\":\t\"\xc3\xbc\"}\r\n"), ("{\"a\":\t\"ü\"}\r\n".into(), "text"));
        assert_eq!(encode("\u{10ffff}\u{fffd}".as_bytes()).1, "text");
        for not in [&b"\x00"[..], b"a\x1b", b"\xff\xfe", "\u{fffe}".as_bytes(), "\u{ffff}".as_bytes(), b"\xc3"] {
            let (body, encoding) = encode(not);
            assert_eq!((base64::decode(body).unwrap().as_slice(), encoding), (not, "base64"));
        }
        let long = "ü".repeat(TEXT_BYTES_MAX);
        assert_eq!(encode(long.as_bytes()), (head(&long, TEXT_BYTES_MAX).into(), "text"));
        let odd = format!("x{long}");
        assert_eq!(encode(odd.as_bytes()).0.len(), TEXT_BYTES_MAX - 1);
        let binary = vec![0xff; TEXT_BYTES_MAX * 2];
        let (body, _) = encode(&binary);
        assert_eq!((body.len(), base64::decode(&body).unwrap().len()), (TEXT_BYTES_MAX, BINARY_BYTES_MAX));
    }
}
