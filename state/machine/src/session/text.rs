//! Bounds for texts that somebody else chose, so that a stored session stays small whatever it is told.

use std::{borrow::Cow, sync::Arc};

use crate::{
    effect::Principal,
    ids::{AccountId, EventId, Names, Thing, ThingKind},
};

/// How long a text taken from an event may be, in characters.
pub const TEXT_CHARS_MAX: usize = 512;

// Limits in bytes of JSON. AWS's own: an assumed role's ARN 177, a target 400 characters, a document's ARN 200, a
// reason 256 characters of up to four bytes.
pub(super) const ARN_BYTES_MAX: usize = 192;
pub(super) const KIND_BYTES_MAX: usize = 33;
pub(super) const REGION_BYTES_MAX: usize = 64;
pub(super) const TARGET_BYTES_MAX: usize = 400;
pub(super) const DOCUMENT_BYTES_MAX: usize = 208;
pub(super) const REASON_BYTES_MAX: usize = 400;
pub(super) const FAILURE_BYTES_MAX: usize = 128;
/// For each kind of evidence: with all of them a session stays small.
pub(super) const TOLD_BYTES_MAX: usize = 144;
pub(super) const SOURCE_BYTES_MAX: usize = 16;
pub(super) const PLACE_BYTES_MAX: usize = 256;
pub(super) const TITLE_BYTES_MAX: usize = 128;
const THING_BYTES_MAX: usize = 88;

/// The first [`TEXT_CHARS_MAX`] characters.
pub(crate) fn clip(text: &str) -> &str {
    if text.len() <= TEXT_CHARS_MAX {
        return text;
    }
    text.char_indices().nth(TEXT_CHARS_MAX).map_or(text, |(end, _)| &text[..end])
}

/// How many bytes a character takes in JSON, at the most.
fn json_len(c: char) -> usize {
    match c {
        '"' | '\\' => 2,
        c if u32::from(c) < 0x20 => 6,
        c => c.len_utf8(),
    }
}

/// `text`, if its JSON form takes at most `bytes_max` bytes between the quotes; else its beginning and a digest of the
/// whole, within `bytes_max` (at least 33), so that texts that differ stay different.
pub(super) fn fit(text: &str, bytes_max: usize) -> Cow<'_, str> {
    const DIGEST_LEN: usize = 33;
    // Nearly always: short, and nothing in it to escape.
    if text.len() <= bytes_max && !text.bytes().any(|byte| byte < 0x20 || matches!(byte, b'"' | b'\\')) {
        return Cow::Borrowed(text);
    }
    let mut len = 0;
    let mut kept = 0;
    for (at, c) in text.char_indices() {
        len += json_len(c);
        if len + DIGEST_LEN <= bytes_max {
            kept = at + c.len_utf8();
        }
        if len > bytes_max {
            let digest = EventId::of_content(text.as_bytes()).0;
            return format!("{}#{digest:032x}", &text[..kept]).into();
        }
    }
    Cow::Borrowed(text)
}

/// [`fit`] for a text that is shared already.
pub(super) fn fit_shared(text: Arc<str>, bytes_max: usize) -> Arc<str> {
    match fit(&text, bytes_max) {
        Cow::Borrowed(_) => text,
        Cow::Owned(shorter) => shorter.into(),
    }
}

/// The beginning of a text that we write ourselves, within `bytes_max` bytes of JSON.
pub(super) fn cut(text: Arc<str>, bytes_max: usize) -> Arc<str> {
    let mut len = 0;
    let end = text.char_indices().find(|(_, c)| {
        len += json_len(*c);
        len > bytes_max
    });
    match end {
        Some((end, _)) => text[..end].into(),
        None => text,
    }
}

/// A principal with bounded texts.
pub(crate) fn principal(arn: &str, kind: &str, names: &mut Names) -> Principal {
    Principal { arn: names.get(&fit(arn, ARN_BYTES_MAX)), kind: names.get(&fit(kind, KIND_BYTES_MAX)) }
}

/// The one form of a thing's id that facts and events agree on: documents and keys can be given by name or by ARN, and
/// long ids are shortened.
pub(crate) fn thing_id(kind: ThingKind, id: &str) -> Cow<'_, str> {
    let named_or_arn = matches!(kind, ThingKind::Document | ThingKind::Key);
    let name = if named_or_arn && id.starts_with("arn:") { id.rsplit('/').next().unwrap_or(id) } else { id };
    fit(name, THING_BYTES_MAX)
}

/// A thing, with its id as [`thing_id`] has it.
pub(crate) fn thing(kind: ThingKind, account: AccountId, id: &str, names: &mut Names) -> Thing {
    Thing { kind, account, id: names.get(&thing_id(kind, id)) }
}

/// A thing that was given with an id of any form.
pub(super) fn settled(thing: Thing) -> Thing {
    let id = thing_id(thing.kind, &thing.id);
    if *id == *thing.id { thing } else { Thing { id: id.into(), ..thing } }
}

/// `userIdentity.type` as an ARN shows it; empty where it does not.
pub(super) fn kind_of_arn(arn: &str) -> &'static str {
    let path = arn.splitn(6, ':').nth(5).unwrap_or_default();
    match path.split('/').next().unwrap_or_default() {
        "assumed-role" => "AssumedRole",
        "user" => "IAMUser",
        "federated-user" => "FederatedUser",
        "root" => "Root",
        _ => "",
    }
}

/// Things as a list of lists: a session has many, and is small as JSON.
pub(super) mod things {
    use std::collections::BTreeSet;

    use serde::{Deserialize, Deserializer, Serializer};

    use super::{AccountId, Arc, Thing, ThingKind};

    pub(in crate::session) fn serialize<S: Serializer>(
        things: &BTreeSet<Thing>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(things.iter().map(|thing| (thing.kind, thing.account, &thing.id)))
    }

    pub(in crate::session) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<BTreeSet<Thing>, D::Error> {
        let things = Vec::<(ThingKind, AccountId, Arc<str>)>::deserialize(deserializer)?;
        Ok(things.into_iter().map(|(kind, account, id)| Thing { kind, account, id }).collect())
    }
}
