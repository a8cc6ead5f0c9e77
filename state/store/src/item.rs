//! What the store keeps, and the only place that names its attributes and their encoding.

use std::sync::Arc;

use serde::{Serialize, de::DeserializeOwned};
use sessionwarden_machine::ids::Now;

/// The newest version of an item's body that this binary writes and reads.
pub const SCHEMA: u16 = 1;

/// The longest key and the longest name of a thing, in bytes: DynamoDB's limit for a sort key.
pub const KEY_BYTES_MAX: usize = 1_024;

/// The largest item, names and index attributes included, in bytes: DynamoDB's limit of 400 KB, less what its rows need
/// for attribute names, ids and the copy of a key's beginning.
pub const ITEM_BYTES_MAX: usize = 398 * 1_024;

/// The most things one item depends on. A change from as many to as many others, and the item, are together one
/// transaction of DynamoDB, which has at most 100 actions.
pub const THINGS_MAX: usize = 48;

/// One stored subject.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// The subject's text form, for example `session#123456789012/eu-central-1/abc`; 1 to [`KEY_BYTES_MAX`] bytes.
    pub key: Arc<str>,
    /// The revision this item has in the store; 0 was never stored. A save does not read it: it takes
    /// [`Write::expected`].
    pub rev: u64,
    /// Schema version of the body.
    pub schema: u16,
    /// The state, with what it notes as done; opaque to the store.
    pub body: Vec<u8>,
    /// When somebody has to look at the item again; absent when no work is left.
    pub due: Option<Due>,
    /// Text forms of the things the live session rests on.
    pub depends: Vec<Arc<str>>,
    /// After this time the item may be collected. It can be read until it is.
    pub expires: Option<Now>,
}

/// When, and in whose round, an item is looked at again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Due {
    /// `account#region`: the items that one call to AWS can answer.
    pub partition: Arc<str>,
    /// The time of the look.
    pub at: Now,
}

/// An entry of the due index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DueItem {
    /// The item's key.
    pub key: Arc<str>,
    /// The item's [`Item::due`].
    pub due: Due,
}

/// A conditional write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    /// What to store; its `rev` is not read.
    pub item: Item,
    /// The revision the caller read; 0 means that the item must not exist.
    pub expected: u64,
}

/// How a conditional write ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Saved {
    /// Stored, durable, with this revision.
    Saved {
        /// The item's revision now.
        rev: u64,
    },
    /// The item had another revision than expected; nothing was written.
    Conflict,
}

/// An item that cannot be stored or read.
#[derive(Debug, thiserror::Error)]
pub enum ItemError {
    /// The key, or a thing's name, is empty or too long.
    #[error("{what} of {bytes} bytes; 1 to {KEY_BYTES_MAX} are allowed (item {key:.80})")]
    BadName {
        /// The item.
        key: Arc<str>,
        /// Which name.
        what: &'static str,
        /// Its length.
        bytes: usize,
    },
    /// The item is larger than a store takes.
    #[error("item {key} has {bytes} bytes; at most {ITEM_BYTES_MAX} are allowed")]
    TooLarge {
        /// The item.
        key: Arc<str>,
        /// Its size.
        bytes: usize,
    },
    /// The item depends on more things than a store takes.
    #[error("item {key} depends on {things} things; at most {THINGS_MAX} are allowed")]
    TooManyThings {
        /// The item.
        key: Arc<str>,
        /// How many.
        things: usize,
    },
    /// A newer binary wrote the item.
    #[error("item {key} has schema {found}, this version reads up to {known}: upgrade before reading it")]
    Newer {
        /// The item.
        key: Arc<str>,
        /// The schema of the stored body.
        found: u16,
        /// The newest schema this binary reads.
        known: u16,
    },
    /// The body cannot be written as, or read from, JSON.
    #[error("item {key}: body of schema {schema} (this version writes {known}): {source}")]
    Body {
        /// The item.
        key: Arc<str>,
        /// The schema of the body.
        schema: u16,
        /// The newest schema this binary reads.
        known: u16,
        /// What is wrong, with line and column.
        source: serde_json::Error,
    },
}

impl Item {
    /// A new item with `state` as its JSON body, not due, depending on nothing, kept for ever.
    ///
    /// # Errors
    /// [`ItemError::Body`] when `state` has no JSON form.
    pub fn encode<T: Serialize>(key: impl Into<Arc<str>>, state: &T) -> Result<Self, ItemError> {
        let key = key.into();
        match serde_json::to_vec(state) {
            Ok(body) => Ok(Self { key, rev: 0, schema: SCHEMA, body, due: None, depends: Vec::new(), expires: None }),
            Err(source) => Err(ItemError::Body { key, schema: SCHEMA, known: SCHEMA, source }),
        }
    }

    /// The state in the body.
    ///
    /// # Errors
    /// [`ItemError::Newer`] when a newer binary wrote it, [`ItemError::Body`] when it is not a `T`.
    pub fn decode<T: DeserializeOwned>(&self) -> Result<T, ItemError> {
        if self.schema > SCHEMA {
            return Err(ItemError::Newer { key: Arc::clone(&self.key), found: self.schema, known: SCHEMA });
        }
        serde_json::from_slice(&self.body).map_err(|source| ItemError::Body {
            key: Arc::clone(&self.key),
            schema: self.schema,
            known: SCHEMA,
            source,
        })
    }

    /// Checks what every backend refuses.
    pub fn check(&self) -> Result<(), ItemError> {
        let bad = |what, bytes| Err(ItemError::BadName { key: Arc::clone(&self.key), what, bytes });
        let allowed = 1..=KEY_BYTES_MAX;
        if !allowed.contains(&self.key.len()) {
            return bad("key", self.key.len());
        }
        if let Some(thing) = self.depends.iter().find(|thing| !allowed.contains(&thing.len())) {
            return bad("name of a thing", thing.len());
        }
        if let Some(due) = self.due.as_ref().filter(|due| !allowed.contains(&due.partition.len())) {
            return bad("due partition", due.partition.len());
        }
        if self.depends.len() > THINGS_MAX {
            return Err(ItemError::TooManyThings { key: Arc::clone(&self.key), things: self.depends.len() });
        }
        let bytes = self.key.len() + ROW_HEAD_BYTES + self.row_names_bytes() + self.body.len();
        if bytes > ITEM_BYTES_MAX {
            return Err(ItemError::TooLarge { key: Arc::clone(&self.key), bytes });
        }
        Ok(())
    }

    fn row_names_bytes(&self) -> usize {
        let things: usize = self.depends.iter().map(|thing| 4 + thing.len()).sum();
        things + self.due.as_ref().map_or(0, |due| due.partition.len())
    }

    /// The bytes an embedded database keeps under the key.
    pub(crate) fn to_row(&self) -> Vec<u8> {
        let mut row = Vec::with_capacity(ROW_HEAD_BYTES + self.row_names_bytes() + self.body.len());
        let flags = (u8::from(self.due.is_some()) * HAS_DUE) | (u8::from(self.expires.is_some()) * HAS_EXPIRES);
        row.push(ROW_FORMAT);
        row.push(flags);
        row.extend(self.schema.to_le_bytes());
        row.extend(self.rev.to_le_bytes());
        row.extend(self.due.as_ref().map_or(0, |due| due.at.0).to_le_bytes());
        row.extend(self.expires.map_or(0, |at| at.0).to_le_bytes());
        put_text(&mut row, self.due.as_ref().map_or("", |due| &due.partition));
        row.extend((self.depends.len() as u32).to_le_bytes());
        for thing in &self.depends {
            put_text(&mut row, thing);
        }
        row.extend(&self.body);
        row
    }

    /// Reads [`Self::to_row`]; `None` when the row is not one.
    pub(crate) fn from_row(key: &str, row: &[u8]) -> Option<Self> {
        let mut rest = row;
        let [format, flags] = take(&mut rest)?;
        if format != ROW_FORMAT {
            return None;
        }
        let schema = u16::from_le_bytes(take(&mut rest)?);
        let rev = u64::from_le_bytes(take(&mut rest)?);
        let at = Now(i64::from_le_bytes(take(&mut rest)?));
        let expires = Now(i64::from_le_bytes(take(&mut rest)?));
        let partition = take_text(&mut rest)?;
        let count = u32::from_le_bytes(take(&mut rest)?);
        let depends = (0..count).map(|_| take_text(&mut rest)).collect::<Option<Vec<_>>>()?;
        Some(Self {
            key: Arc::from(key),
            rev,
            schema,
            body: rest.to_vec(),
            due: (flags & HAS_DUE != 0).then_some(Due { partition, at }),
            depends,
            expires: (flags & HAS_EXPIRES != 0).then_some(expires),
        })
    }
}

const ROW_FORMAT: u8 = 1;
const HAS_DUE: u8 = 1;
const HAS_EXPIRES: u8 = 2;
/// A row without names and body.
const ROW_HEAD_BYTES: usize = 1 + 1 + 2 + 8 + 8 + 8 + 4 + 4;

fn put_text(row: &mut Vec<u8>, text: &str) {
    row.extend((text.len() as u32).to_le_bytes());
    row.extend(text.as_bytes());
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (head, tail) = rest.split_first_chunk()?;
    *rest = tail;
    Some(*head)
}

fn take_text(rest: &mut &[u8]) -> Option<Arc<str>> {
    let length = u32::from_le_bytes(take(rest)?) as usize;
    let (text, tail) = rest.split_at_checked(length)?;
    *rest = tail;
    std::str::from_utf8(text).ok().map(Arc::from)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_item() -> impl Strategy<Value = Item> {
        let name = || ".{1,40}".prop_map(Arc::<str>::from);
        let due = (name(), any::<i64>()).prop_map(|(partition, at)| Due { partition, at: Now(at) });
        (
            name(),
            any::<u64>(),
            any::<u16>(),
            proptest::collection::vec(any::<u8>(), 0..200),
            proptest::option::of(due),
            proptest::collection::vec(name(), 0..5),
            proptest::option::of(any::<i64>().prop_map(Now)),
        )
            .prop_map(|(key, rev, schema, body, due, depends, expires)| Item {
                key,
                rev,
                schema,
                body,
                due,
                depends,
                expires,
            })
    }

    proptest! {
        #[test]
        fn a_row_reads_back(item in any_item()) {
            prop_assert_eq!(Item::from_row(&item.key, &item.to_row()), Some(item));
        }

        #[test]
        fn a_cut_row_is_refused_or_has_a_shorter_body(item in any_item(), cut in 0_usize..400) {
            let row = item.to_row();
            let kept = cut.min(row.len());
            let read = Item::from_row(&item.key, &row[..kept]);
            let head = row.len() - item.body.len();
            prop_assert_eq!(read.is_some(), kept >= head);
        }
    }

    #[test]
    fn a_newer_schema_is_refused_with_key_and_versions() {
        let mut item = Item::encode("account#000000000001", &vec![1, 2]).unwrap();
        assert_eq!(item.decode::<Vec<u8>>().unwrap(), [1, 2]);
        item.schema = SCHEMA + 1;
        let error = item.decode::<Vec<u8>>().unwrap_err();
        assert!(matches!(error, ItemError::Newer { found, known, .. } if found == SCHEMA + 1 && known == SCHEMA));
        assert_eq!(
            error.to_string(),
            "item account#000000000001 has schema 2, this version reads up to 1: upgrade before reading it"
        );
    }

    #[test]
    fn a_body_of_another_type_is_refused_with_key_and_place() {
        let error = Item::encode("incident#7", &"text").unwrap().decode::<Vec<u8>>().unwrap_err().to_string();
        assert!(error.starts_with("item incident#7: body of schema 1"), "{error}");
        assert!(error.contains("line 1 column"), "{error}");
    }
}
