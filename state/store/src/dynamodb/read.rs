//! Reads: rows by key, and the three listings.

use std::{collections::BTreeSet, sync::Arc};

use aws_sdk_dynamodb::{
    primitives::Blob,
    types::{AttributeValue, ReturnConsumedCapacity},
};
use sessionwarden_machine::ids::Now;

use super::{
    DynamoDb,
    failure::{failed, refused},
    layout::{
        self, DUE_INDEX, KIND_INDEX, Row,
        attribute::{BODY, DUE_AT, DUE_PARTITION, EXPIRES, KIND, PK, SK},
        checkpoint_key, kind_of, number, text,
    },
};
use crate::{Due, DueItem, Item, StoreError};

/// Rows of one page at the most; a page also ends at 1 MB.
const PAGE: usize = 1_000;

impl DynamoDb {
    pub(super) async fn get_item(&self, key: &str) -> Result<Option<Item>, StoreError> {
        let table = &self.settings.state_table;
        let found = self
            .client
            .get_item()
            .table_name(table)
            .key(PK, text(key))
            .consistent_read(true)
            .return_consumed_capacity(ReturnConsumedCapacity::Total)
            .send()
            .await
            .map_err(|error| failed(table, &error))?;
        self.count_read(found.consumed_capacity());
        found.item().map(|row| self.item_of(row)).transpose()
    }

    pub(super) async fn get_checkpoint(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let table = &self.settings.index_table;
        let found = self
            .client
            .get_item()
            .table_name(table)
            .set_key(Some(checkpoint_key(name)))
            .consistent_read(true)
            .return_consumed_capacity(ReturnConsumedCapacity::Total)
            .send()
            .await
            .map_err(|error| failed(table, &error))?;
        self.count_read(found.consumed_capacity());
        let wrong = |why| refused(table, format!("position {name}: {why}"));
        found.item().map(|row| layout::read_body(row).map_err(wrong)).transpose()
    }

    pub(super) async fn put_checkpoint(&self, name: &str, value: &[u8]) -> Result<(), StoreError> {
        let table = &self.settings.index_table;
        let mut row = checkpoint_key(name);
        row.insert(BODY.to_owned(), AttributeValue::B(Blob::new(value)));
        let put = self.client.put_item().table_name(table).set_item(Some(row));
        let put = put.return_consumed_capacity(ReturnConsumedCapacity::Total).send().await;
        self.count_write(put.map_err(|error| failed(table, &error))?.consumed_capacity());
        Ok(())
    }

    pub(super) async fn query_dependents(
        &self,
        thing: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Arc<str>>, StoreError> {
        let table = &self.settings.index_table;
        let after = after.filter(|after| !after.is_empty());
        let (mut keys, mut from) = (Vec::new(), None);
        while keys.len() < limit {
            let mut query = self
                .client
                .query()
                .table_name(table)
                .key_condition_expression(if after.is_some() {
                    "#pk = :thing AND #sk > :after"
                } else {
                    "#pk = :thing"
                })
                .expression_attribute_names("#pk", PK)
                .expression_attribute_values(":thing", layout::thing_pk(thing))
                .consistent_read(true)
                .limit(page(limit - keys.len()))
                .set_exclusive_start_key(from.take())
                .return_consumed_capacity(ReturnConsumedCapacity::Total);
            if let Some(after) = after {
                query = query.expression_attribute_names("#sk", SK).expression_attribute_values(":after", text(after));
            }
            let found = query.send().await.map_err(|error| failed(table, &error))?;
            self.count_read(found.consumed_capacity());
            for row in found.items() {
                keys.push(text_of(table, row, SK)?);
            }
            from = found.last_evaluated_key;
            if from.is_none() {
                break;
            }
        }
        Ok(keys)
    }

    /// Items of one `account#region` that are due at `until` or before, at most `limit`, ordered by time, then key.
    ///
    /// # Errors
    /// As [`crate::Store::due`].
    pub async fn due_in(&self, partition: &str, until: Now, limit: usize) -> Result<Vec<DueItem>, StoreError> {
        let table = &self.settings.state_table;
        let (mut due, mut from) = (BTreeSet::new(), None);
        if limit == 0 {
            return Ok(Vec::new());
        }
        loop {
            let found = self
                .client
                .query()
                .table_name(table)
                .index_name(DUE_INDEX)
                .key_condition_expression("#partition = :partition AND #at <= :until")
                .expression_attribute_names("#partition", DUE_PARTITION)
                .expression_attribute_names("#at", DUE_AT)
                .expression_attribute_values(":partition", text(partition))
                .expression_attribute_values(":until", number(until.0))
                .limit(page(limit.saturating_add(1)))
                .set_exclusive_start_key(from.take())
                .return_consumed_capacity(ReturnConsumedCapacity::Total)
                .send()
                .await
                .map_err(|error| failed(table, &error))?;
            self.count_read(found.consumed_capacity());
            let mut last = None;
            for row in found.items() {
                last = Some(self.insert_due(&mut due, row, limit)?);
            }
            from = found.last_evaluated_key;
            // The index orders by time only: all items of the last time have to be seen.
            let beyond = due.len() == limit && last.is_some_and(|last| due.last().is_some_and(|(at, ..)| *at < last));
            if from.is_none() || beyond {
                return Ok(due_items(due));
            }
        }
    }

    pub(super) async fn scan_due(&self, until: Now, limit: usize) -> Result<Vec<DueItem>, StoreError> {
        let table = &self.settings.state_table;
        let (mut due, mut from) = (BTreeSet::new(), None);
        if limit == 0 {
            return Ok(Vec::new());
        }
        loop {
            let found = self
                .client
                .scan()
                .table_name(table)
                .index_name(DUE_INDEX)
                .filter_expression("#at <= :until")
                .expression_attribute_names("#at", DUE_AT)
                .expression_attribute_values(":until", number(until.0))
                .set_exclusive_start_key(from.take())
                .return_consumed_capacity(ReturnConsumedCapacity::Total)
                .send()
                .await
                .map_err(|error| failed(table, &error))?;
            self.count_read(found.consumed_capacity());
            for row in found.items() {
                self.insert_due(&mut due, row, limit)?;
            }
            from = found.last_evaluated_key;
            if from.is_none() {
                return Ok(due_items(due));
            }
        }
    }

    /// Keeps the first `limit` entries; returns the time of this one.
    fn insert_due(&self, due: &mut DueSet, row: &Row, limit: usize) -> Result<Now, StoreError> {
        let table = &self.settings.state_table;
        let key = text_of(table, row, PK)?;
        let wrong = |why: String| refused(table, format!("index {DUE_INDEX}, item {key}: {why}"));
        let found = layout::read_due(row).map_err(wrong)?;
        let Due { partition, at } = found.ok_or_else(|| wrong("it has no due time".to_owned()))?;
        due.insert((at, key, partition));
        if due.len() > limit {
            due.pop_last();
        }
        Ok(at)
    }

    /// All items that expired before `now`, by a scan of the whole table.
    pub(super) async fn scan_expired(&self, now: Now) -> Result<Vec<Item>, StoreError> {
        let table = &self.settings.state_table;
        let (mut expired, mut from) = (Vec::new(), None);
        loop {
            let found = self
                .client
                .scan()
                .table_name(table)
                .filter_expression("#expires < :now")
                .expression_attribute_names("#expires", EXPIRES)
                .expression_attribute_values(":now", number(now.0))
                .consistent_read(true)
                .set_exclusive_start_key(from.take())
                .return_consumed_capacity(ReturnConsumedCapacity::Total)
                .send()
                .await
                .map_err(|error| failed(table, &error))?;
            self.count_read(found.consumed_capacity());
            for row in found.items() {
                expired.push(self.item_of(row)?);
            }
            from = found.last_evaluated_key;
            if from.is_none() {
                return Ok(expired);
            }
        }
    }

    pub(super) async fn list_keys(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Arc<str>>, StoreError> {
        if limit == 0 {
            return Ok(Vec::new());
        }
        if prefix.contains('#') {
            self.query_keys(prefix, after, limit).await
        } else {
            self.scan_keys(prefix, after, limit).await
        }
    }

    async fn query_keys(&self, prefix: &str, after: Option<&str>, limit: usize) -> Result<Vec<Arc<str>>, StoreError> {
        let table = &self.settings.state_table;
        let after = after.filter(|after| *after >= prefix);
        let (mut keys, mut from) = (Vec::new(), None);
        loop {
            let query = self
                .client
                .query()
                .table_name(table)
                .index_name(KIND_INDEX)
                .key_condition_expression(if after.is_some() {
                    "#kind = :kind AND #pk > :from"
                } else {
                    "#kind = :kind AND begins_with(#pk, :from)"
                })
                .expression_attribute_names("#kind", KIND)
                .expression_attribute_names("#pk", PK)
                .expression_attribute_values(":kind", text(kind_of(prefix)))
                .expression_attribute_values(":from", text(after.unwrap_or(prefix)))
                .limit(page(limit - keys.len()))
                .set_exclusive_start_key(from.take())
                .return_consumed_capacity(ReturnConsumedCapacity::Total);
            let found = query.send().await.map_err(|error| failed(table, &error))?;
            self.count_read(found.consumed_capacity());
            for row in found.items() {
                let key = text_of(table, row, PK)?;
                if !key.starts_with(prefix) {
                    return Ok(keys);
                }
                keys.push(key);
            }
            from = found.last_evaluated_key;
            if from.is_none() || keys.len() == limit {
                return Ok(keys);
            }
        }
    }

    async fn scan_keys(&self, prefix: &str, after: Option<&str>, limit: usize) -> Result<Vec<Arc<str>>, StoreError> {
        let table = &self.settings.state_table;
        let (mut keys, mut from) = (BTreeSet::new(), None);
        loop {
            let found = self
                .client
                .scan()
                .table_name(table)
                .index_name(KIND_INDEX)
                .set_exclusive_start_key(from.take())
                .return_consumed_capacity(ReturnConsumedCapacity::Total)
                .send()
                .await
                .map_err(|error| failed(table, &error))?;
            self.count_read(found.consumed_capacity());
            for row in found.items() {
                let key = text_of(table, row, PK)?;
                if key.starts_with(prefix) && after.is_none_or(|after| &*key > after) {
                    keys.insert(key);
                    if keys.len() > limit {
                        keys.pop_last();
                    }
                }
            }
            from = found.last_evaluated_key;
            if from.is_none() {
                return Ok(keys.into_iter().collect());
            }
        }
    }

    fn item_of(&self, row: &Row) -> Result<Item, StoreError> {
        let table = &self.settings.state_table;
        layout::read_item(row).map_err(|why| {
            let key = layout::read_text(row, PK).unwrap_or_else(|_| Arc::from("without a key"));
            refused(table, format!("item {key}: {why}"))
        })
    }
}

fn text_of(table: &str, row: &Row, name: &str) -> Result<Arc<str>, StoreError> {
    layout::read_text(row, name).map_err(|why| refused(table, format!("a row: {why}")))
}

type DueSet = BTreeSet<(Now, Arc<str>, Arc<str>)>;

fn due_items(due: DueSet) -> Vec<DueItem> {
    due.into_iter().map(|(at, key, partition)| DueItem { key, due: Due { partition, at } }).collect()
}

fn page(rows: usize) -> i32 {
    rows.min(PAGE) as i32
}
