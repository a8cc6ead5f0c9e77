//! The layout of both tables: the only place that names their attributes.
//!
//! The table of items has one row for each item; the table of entries has one row for each thing and item that depends
//! on it, and one for each source position.

use std::{
    collections::{BTreeSet, HashMap},
    fmt::Display,
    sync::Arc,
};

use aws_sdk_dynamodb::{primitives::Blob, types::AttributeValue};
use sessionwarden_machine::ids::Now;

use crate::{Due, Fence, Item};

/// Attributes of both tables.
pub(super) mod attribute {
    /// The item's key; of an entry, its group with the thing or the position's name. Text, partition key.
    pub(crate) const PK: &str = "pk";
    /// Of an entry: the dependent item's key. Text, sort key of the table of entries.
    pub(crate) const SK: &str = "sk";
    /// The item's revision. Number.
    pub(crate) const REV: &str = "rev";
    /// Version of the body. Number.
    pub(crate) const SCHEMA: &str = "schema";
    /// The state; of a source position, its value. Binary.
    pub(crate) const BODY: &str = "body";
    /// The id of the write that made this revision. Text.
    pub(crate) const WRITE: &str = "write";
    /// The fence under which a shard's owner last wrote the item; absent where none did. Number.
    pub(crate) const FENCE: &str = "fence";
    /// That shard. Text.
    pub(crate) const FENCE_SHARD: &str = "fence_shard";
    /// The key up to and with its first `#`, or all of it. Text, partition key of the index of kinds.
    pub(crate) const KIND: &str = "kind";
    /// `account#region`; absent where nothing is due. Text, partition key of the index of due items.
    pub(crate) const DUE_PARTITION: &str = "due_partition";
    /// Milliseconds since 1970; absent where nothing is due. Number, sort key of the index of due items.
    pub(crate) const DUE_AT: &str = "due_at";
    /// Text forms of the things; absent where there are none. List of text.
    pub(crate) const DEPENDS: &str = "depends";
    /// Milliseconds since 1970; absent where the item is kept. Number.
    pub(crate) const EXPIRES: &str = "expires";
    /// [`EXPIRES`] in seconds, rounded up: when DynamoDB may delete it. Number.
    pub(crate) const TTL: &str = "ttl";
}

use attribute::{
    BODY, DEPENDS, DUE_AT, DUE_PARTITION, EXPIRES, FENCE, FENCE_SHARD, KIND, PK, REV, SCHEMA, SK, TTL, WRITE,
};

/// The index of items that are due: sparse, keys only.
pub(super) const DUE_INDEX: &str = "due";
/// The index of all keys by kind: keys only.
pub(super) const KIND_INDEX: &str = "kinds";

/// What DynamoDB gives for a row.
pub(super) type Row = HashMap<String, AttributeValue>;

pub(super) fn text(value: impl Into<String>) -> AttributeValue {
    AttributeValue::S(value.into())
}

pub(super) fn number(value: impl Display + Copy) -> AttributeValue {
    AttributeValue::N(value.to_string())
}

/// The partition of the things' entries.
pub(super) fn thing_pk(thing: &str) -> AttributeValue {
    text(format!("depends#{thing}"))
}

/// The key of the entry for an item that depends on a thing.
pub(super) fn dependent_key(thing: &str, key: &str) -> Row {
    Row::from([(PK.to_owned(), thing_pk(thing)), (SK.to_owned(), text(key))])
}

/// The key of a source position.
pub(super) fn checkpoint_key(name: &str) -> Row {
    Row::from([(PK.to_owned(), text(format!("checkpoint#{name}"))), (SK.to_owned(), text("position"))])
}

/// The key up to and with its first `#`, or all of it: what the index of kinds is partitioned by. Never empty.
pub(super) fn kind_of(key: &str) -> &str {
    key.find('#').map_or(key, |at| &key[..=at])
}

/// What a conditional write needs to know of the row it met.
pub(super) struct Met {
    pub(super) rev: u64,
    pub(super) write: String,
    pub(super) fence: Option<Fence>,
    pub(super) depends: Vec<Arc<str>>,
}

pub(super) fn read_text(row: &Row, name: &str) -> Result<Arc<str>, String> {
    match row.get(name) {
        Some(AttributeValue::S(value)) => Ok(Arc::from(value.as_str())),
        other => Err(wrong(name, "text", other)),
    }
}

pub(super) fn read_number<T: std::str::FromStr>(row: &Row, name: &str) -> Result<T, String> {
    let value = row.get(name);
    match value {
        Some(AttributeValue::N(digits)) => digits.parse().map_err(|_| wrong(name, "a number in range", value)),
        _ => Err(wrong(name, "a number", value)),
    }
}

pub(super) fn read_optional_number<T: std::str::FromStr>(row: &Row, name: &str) -> Result<Option<T>, String> {
    row.contains_key(name).then(|| read_number(row, name)).transpose()
}

pub(super) fn read_body(row: &Row) -> Result<Vec<u8>, String> {
    match row.get(BODY) {
        Some(AttributeValue::B(body)) => Ok(body.clone().into_inner()),
        other => Err(wrong(BODY, "binary", other)),
    }
}

fn read_depends(row: &Row) -> Result<Vec<Arc<str>>, String> {
    let name = |value: &AttributeValue| match value {
        AttributeValue::S(name) => Ok(Arc::from(name.as_str())),
        other => Err(wrong(DEPENDS, "a list of text", Some(other))),
    };
    match row.get(DEPENDS) {
        None => Ok(Vec::new()),
        Some(AttributeValue::L(names)) => names.iter().map(name).collect(),
        other => Err(wrong(DEPENDS, "a list of text", other)),
    }
}

fn wrong(name: &str, wanted: &str, found: Option<&AttributeValue>) -> String {
    let found = match found {
        None => "absent",
        Some(AttributeValue::S(_)) => "text",
        Some(AttributeValue::N(_)) => "a number",
        Some(AttributeValue::B(_)) => "binary",
        Some(AttributeValue::L(_)) => "a list",
        Some(_) => "of another type",
    };
    format!("its attribute {name} should be {wanted}, and is {found}")
}

pub(super) fn read_due(row: &Row) -> Result<Option<Due>, String> {
    let at = read_optional_number(row, DUE_AT)?;
    at.map(|at| Ok(Due { partition: read_text(row, DUE_PARTITION)?, at: Now(at) })).transpose()
}

pub(super) fn read_item(row: &Row) -> Result<Item, String> {
    Ok(Item {
        key: read_text(row, PK)?,
        rev: read_number(row, REV)?,
        schema: read_number(row, SCHEMA)?,
        body: read_body(row)?,
        due: read_due(row)?,
        depends: read_depends(row)?,
        expires: read_optional_number(row, EXPIRES)?.map(Now),
    })
}

pub(super) fn read_met(row: &Row) -> Result<Met, String> {
    Ok(Met {
        rev: read_number(row, REV)?,
        write: read_text(row, WRITE)?.to_string(),
        // Rows of before shards were kept beside fences have no shard: their fences bind nobody.
        fence: match read_optional_number(row, FENCE)? {
            Some(number) if row.contains_key(FENCE_SHARD) => {
                Some(Fence { shard: read_text(row, FENCE_SHARD)?, number })
            }
            Some(_) | None => None,
        },
        depends: read_depends(row)?,
    })
}

/// The expressions of a request, with the names and values they use. Every name goes by an alias: `ttl`, `write` and
/// others are reserved words ("Reserved words in DynamoDB").
#[derive(Clone, Default)]
pub(super) struct Expressions {
    pub(super) update: String,
    pub(super) condition: String,
    pub(super) names: HashMap<String, String>,
    pub(super) values: HashMap<String, AttributeValue>,
}

impl Expressions {
    pub(super) fn name(&mut self, name: &str) -> String {
        let alias = format!("#{name}");
        self.names.insert(alias.clone(), name.to_owned());
        alias
    }

    pub(super) fn value(&mut self, alias: &str, value: AttributeValue) -> String {
        let alias = format!(":{alias}");
        self.values.insert(alias.clone(), value);
        alias
    }

    pub(super) fn require(&mut self, condition: &str) {
        if !self.condition.is_empty() {
            self.condition.push_str(" AND ");
        }
        self.condition.push_str(condition);
    }

    /// Requires that the row is at `rev` (0: that there is none) and depends on what `depends` lists.
    pub(super) fn require_revision(&mut self, rev: u64, depends: &[Arc<str>]) {
        if rev == 0 {
            let pk = self.name(PK);
            return self.require(&format!("attribute_not_exists({pk})"));
        }
        let (name, value) = (self.name(REV), self.value("rev_before", number(rev)));
        self.require(&format!("{name} = {value}"));
        let name = self.name(DEPENDS);
        if depends.is_empty() {
            self.require(&format!("attribute_not_exists({name})"));
        } else {
            let value = self.value("depends_before", list(depends));
            self.require(&format!("{name} = {value}"));
        }
    }

    /// Requires that no higher fence of the same shard was the last to write the row (I3).
    pub(super) fn require_fence(&mut self, fence: &Fence) {
        let (name, value) = (self.name(FENCE), self.value(FENCE, number(fence.number)));
        let (shard, own) = (self.name(FENCE_SHARD), self.value(FENCE_SHARD, text(&*fence.shard)));
        self.require(&format!("(attribute_not_exists({name}) OR {name} <= {value} OR {shard} <> {own})"));
    }

    /// Sets all attributes of `item`, at `rev`. A fence in the row stays where `fence` is `None`.
    pub(super) fn set_item(&mut self, item: Item, rev: u64, write: &str, fence: Option<&Fence>) {
        let kind = kind_of(&item.key).to_owned();
        let (partition, at) =
            item.due.map_or((None, None), |due| (Some(text(&*due.partition)), Some(number(due.at.0))));
        let attributes = [
            (REV, Some(number(rev))),
            (SCHEMA, Some(number(item.schema))),
            (BODY, Some(AttributeValue::B(Blob::new(item.body)))),
            (WRITE, Some(text(write))),
            (KIND, Some(text(kind))),
            (DUE_PARTITION, partition),
            (DUE_AT, at),
            (DEPENDS, (!item.depends.is_empty()).then(|| list(&item.depends))),
            (EXPIRES, item.expires.map(|at| number(at.0))),
            (TTL, item.expires.map(|at| number(at.0.div_euclid(1_000) + i64::from(at.0.rem_euclid(1_000) > 0)))),
        ];
        let fence = fence.map(|fence| [(FENCE, Some(number(fence.number))), (FENCE_SHARD, Some(text(&*fence.shard)))]);
        self.update(attributes.into_iter().chain(fence.into_iter().flatten()));
    }

    /// Sets these attributes, and removes those without a value.
    pub(super) fn update(&mut self, attributes: impl IntoIterator<Item = (&'static str, Option<AttributeValue>)>) {
        let (mut set, mut remove) = (Vec::new(), Vec::new());
        for (name, value) in attributes {
            let alias = self.name(name);
            match value {
                Some(value) => set.push(format!("{alias} = {}", self.value(name, value))),
                None => remove.push(alias),
            }
        }
        self.update = format!("SET {}", set.join(", "));
        if !remove.is_empty() {
            self.update.push_str(" REMOVE ");
            self.update.push_str(&remove.join(", "));
        }
    }
}

fn list(depends: &[Arc<str>]) -> AttributeValue {
    AttributeValue::L(depends.iter().map(|thing| text(&**thing)).collect())
}

/// The things whose entries have to come and to go when an item's list changes.
pub(super) fn changes<'a>(before: &'a [Arc<str>], after: &'a [Arc<str>]) -> (Vec<&'a str>, Vec<&'a str>) {
    let set = |things: &'a [Arc<str>]| things.iter().map(|thing| &**thing).collect::<BTreeSet<&str>>();
    let (before, after) = (set(before), set(after));
    (after.difference(&before).copied().collect(), before.difference(&after).copied().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    // I3: a row that an earlier version has written can be read, and its fence keeps nobody from writing.
    #[test]
    fn a_fence_without_a_shard_binds_nobody() {
        let mut row =
            Row::from([(REV.to_owned(), number(3)), (WRITE.to_owned(), text("w")), (FENCE.to_owned(), number(7))]);
        assert_eq!(read_met(&row).unwrap().fence, None);
        row.insert(FENCE_SHARD.to_owned(), text("shard-1"));
        assert_eq!(read_met(&row).unwrap().fence, Some(Fence { shard: "shard-1".into(), number: 7 }));
    }
}
