//! Conditional writes.

use std::{sync::Arc, time::Duration};

use aws_sdk_dynamodb::{
    operation::{
        delete_item::DeleteItemError, transact_write_items::TransactWriteItemsError, update_item::UpdateItemError,
    },
    types::{
        ConditionCheck, Delete, Put, ReturnConsumedCapacity, ReturnValuesOnConditionCheckFailure as OnFailure,
        TransactWriteItem, Update,
    },
};

use super::{
    DynamoDb,
    failure::{failed, refused},
    layout::{self, Expressions, Met, Row, attribute, dependent_key, text},
    random,
};
use crate::{Fence, Item, Saved, StoreError, Write};

/// How often a write is tried again that met a transaction of others, or another list of things than expected.
const COLLISIONS_MAX: u32 = 8;
/// The first wait after a collision, in milliseconds; each further one is twice as long at the most.
const COLLISION_WAIT_MS: u64 = 20;

/// How one attempt ended.
enum Attempt {
    Written,
    /// The condition did not hold for this row.
    Lost(Option<Row>),
    /// A transaction of others was under way, or capacity was short.
    Busy(StoreError),
}

impl DynamoDb {
    /// One conditional write: a plain one where the list of things stays as it is, and a transaction with the entries
    /// that come and go where it changes.
    ///
    /// The old list is the one that was read or written last, or else, because lists seldom change, taken to be the
    /// new one. The write requires it, and where it is all that was wrong, the failed condition returns the right one.
    pub(super) async fn write(&self, write: Write) -> Result<Saved, StoreError> {
        let Write { item, expected } = write;
        let Some(rev) = expected.checked_add(1) else { return Ok(Saved::Conflict) };
        let id = self.next_write();
        let mut before = match expected {
            0 => Vec::new(),
            _ => self.take_list(&item.key, expected).unwrap_or_else(|| item.depends.clone()),
        };
        let mut last = None;
        for collisions in 0..COLLISIONS_MAX {
            let mut expressions = Expressions::default();
            expressions.require_revision(expected, &before);
            if let Some(fence) = &self.fence {
                expressions.require_fence(fence);
            }
            expressions.set_item(item.clone(), rev, &id, self.fence.as_ref());
            match self.attempt_write(&item, &before, expressions, &format!("{id}-{collisions}")).await? {
                Attempt::Written => {
                    self.remember_list(&item.key, rev, item.depends);
                    return Ok(Saved::Saved { rev });
                }
                Attempt::Busy(error) => {
                    last = Some(error);
                    wait(collisions).await;
                }
                Attempt::Lost(None) => return Ok(Saved::Conflict),
                Attempt::Lost(Some(row)) => {
                    let met = self.met(&item.key, &row)?;
                    if met.write == id {
                        return Ok(Saved::Saved { rev: met.rev });
                    }
                    self.check_fence(&item.key, met.fence.as_ref())?;
                    if met.rev != expected || met.depends == before {
                        return Ok(Saved::Conflict);
                    }
                    before = met.depends;
                }
            }
        }
        Err(last.unwrap_or_else(|| self.unsettled(&item.key)))
    }

    /// Deletes the row and its entries if it is still at the item's revision.
    pub(super) async fn remove(&self, item: &Item) -> Result<bool, StoreError> {
        let id = self.next_write();
        let mut last = None;
        for collisions in 0..COLLISIONS_MAX {
            let mut expressions = Expressions::default();
            expressions.require_revision(item.rev, &item.depends);
            if let Some(fence) = &self.fence {
                expressions.require_fence(fence);
            }
            match self.attempt_remove(item, expressions, &format!("{id}-{collisions}")).await? {
                Attempt::Written => return Ok(true),
                Attempt::Lost(_) => return Ok(false),
                Attempt::Busy(error) => {
                    last = Some(error);
                    wait(collisions).await;
                }
            }
        }
        Err(last.unwrap_or_else(|| self.unsettled(&item.key)))
    }

    /// Deletes the entries of an item that was deleted without them. One that is there again owns its entries.
    pub(super) async fn remove_entries(&self, item: &Item) -> Result<(), StoreError> {
        let (_, go) = layout::changes(&item.depends, &[]);
        if go.is_empty() {
            return Ok(());
        }
        let table = &self.settings.state_table;
        let (id, mut last) = (self.next_write(), None);
        for collisions in 0..COLLISIONS_MAX {
            let mut expressions = Expressions::default();
            expressions.require_revision(0, &[]);
            let check = ConditionCheck::builder()
                .table_name(table)
                .key(attribute::PK, text(&*item.key))
                .condition_expression(expressions.condition)
                .set_expression_attribute_names(Some(expressions.names))
                .build()
                .map_err(|error| refused(table, error.to_string()))?;
            let first = TransactWriteItem::builder().condition_check(check).build();
            match self.transact(first, &item.key, &[], &go, &format!("{id}-{collisions}")).await? {
                Attempt::Written | Attempt::Lost(_) => return Ok(()),
                Attempt::Busy(error) => last = Some(error),
            }
            wait(collisions).await;
        }
        Err(last.unwrap_or_else(|| self.unsettled(&item.key)))
    }

    fn unsettled(&self, key: &str) -> StoreError {
        let table = &self.settings.state_table;
        StoreError::Unavailable { why: format!("table {table}: item {key} changed {COLLISIONS_MAX} times meanwhile") }
    }

    fn met(&self, key: &str, row: &Row) -> Result<Met, StoreError> {
        layout::read_met(row).map_err(|why| refused(&self.settings.state_table, format!("item {key}: {why}")))
    }

    fn check_fence(&self, key: &str, found: Option<&Fence>) -> Result<(), StoreError> {
        match (&self.fence, found) {
            (Some(fence), Some(found)) if fence.is_behind(found) => {
                Err(StoreError::Fenced { key: Arc::from(key), fence: fence.number, found: found.number })
            }
            (Some(_) | None, _) => Ok(()),
        }
    }

    async fn attempt_write(
        &self,
        item: &Item,
        before: &[Arc<str>],
        with: Expressions,
        token: &str,
    ) -> Result<Attempt, StoreError> {
        let table = &self.settings.state_table;
        let (come, go) = layout::changes(before, &item.depends);
        if come.is_empty() && go.is_empty() {
            let sent = self.client.update_item().table_name(table).key(attribute::PK, text(&*item.key));
            let sent = sent
                .update_expression(with.update)
                .condition_expression(with.condition)
                .set_expression_attribute_names(Some(with.names))
                .set_expression_attribute_values(Some(with.values))
                .return_values_on_condition_check_failure(OnFailure::AllOld)
                .return_consumed_capacity(ReturnConsumedCapacity::Total);
            return match sent.send().await {
                Ok(done) => {
                    self.count_write(done.consumed_capacity());
                    Ok(Attempt::Written)
                }
                Err(error) => match error.as_service_error() {
                    Some(UpdateItemError::ConditionalCheckFailedException(lost)) => {
                        Ok(Attempt::Lost(lost.item().cloned()))
                    }
                    Some(UpdateItemError::TransactionConflictException(_)) => Ok(Attempt::Busy(failed(table, &error))),
                    Some(_) | None => Err(failed(table, &error)),
                },
            };
        }
        let update = Update::builder()
            .table_name(table)
            .key(attribute::PK, text(&*item.key))
            .update_expression(with.update)
            .condition_expression(with.condition)
            .set_expression_attribute_names(Some(with.names))
            .set_expression_attribute_values(Some(with.values))
            .return_values_on_condition_check_failure(OnFailure::AllOld)
            .build()
            .map_err(|error| refused(table, error.to_string()))?;
        let first = TransactWriteItem::builder().update(update).build();
        self.transact(first, &item.key, &come, &go, token).await
    }

    async fn attempt_remove(&self, item: &Item, with: Expressions, token: &str) -> Result<Attempt, StoreError> {
        let table = &self.settings.state_table;
        let (_, go) = layout::changes(&item.depends, &[]);
        if go.is_empty() {
            let sent = self
                .client
                .delete_item()
                .table_name(table)
                .key(attribute::PK, text(&*item.key))
                .condition_expression(with.condition)
                .set_expression_attribute_names(Some(with.names))
                .set_expression_attribute_values(Some(with.values))
                .return_consumed_capacity(ReturnConsumedCapacity::Total);
            return match sent.send().await {
                Ok(done) => {
                    self.count_write(done.consumed_capacity());
                    Ok(Attempt::Written)
                }
                Err(error) => match error.as_service_error() {
                    Some(DeleteItemError::ConditionalCheckFailedException(_)) => Ok(Attempt::Lost(None)),
                    Some(DeleteItemError::TransactionConflictException(_)) => Ok(Attempt::Busy(failed(table, &error))),
                    Some(_) | None => Err(failed(table, &error)),
                },
            };
        }
        let delete = Delete::builder()
            .table_name(table)
            .key(attribute::PK, text(&*item.key))
            .condition_expression(with.condition)
            .set_expression_attribute_names(Some(with.names))
            .set_expression_attribute_values(Some(with.values))
            .build()
            .map_err(|error| refused(table, error.to_string()))?;
        let first = TransactWriteItem::builder().delete(delete).build();
        self.transact(first, &item.key, &[], &go, token).await
    }

    /// The row and its entries, all or nothing. A second request with the same token changes nothing and succeeds,
    /// for ten minutes ("Amazon DynamoDB Transactions: How it works").
    async fn transact(
        &self,
        first: TransactWriteItem,
        key: &str,
        come: &[&str],
        go: &[&str],
        token: &str,
    ) -> Result<Attempt, StoreError> {
        let (table, entries) = (&self.settings.state_table, &self.settings.index_table);
        let mut actions = vec![first];
        for thing in come {
            let put = Put::builder().table_name(entries).set_item(Some(dependent_key(thing, key)));
            let put = put.build().map_err(|error| refused(entries, error.to_string()))?;
            actions.push(TransactWriteItem::builder().put(put).build());
        }
        for thing in go {
            let delete = Delete::builder().table_name(entries).set_key(Some(dependent_key(thing, key)));
            let delete = delete.build().map_err(|error| refused(entries, error.to_string()))?;
            actions.push(TransactWriteItem::builder().delete(delete).build());
        }
        let sent = self
            .client
            .transact_write_items()
            .set_transact_items(Some(actions))
            .client_request_token(token)
            .return_consumed_capacity(ReturnConsumedCapacity::Total)
            .send()
            .await;
        match sent {
            Ok(done) => {
                self.count_write(done.consumed_capacity());
                Ok(Attempt::Written)
            }
            Err(error) => match error.as_service_error() {
                Some(TransactWriteItemsError::TransactionCanceledException(cancelled)) => {
                    let reasons = cancelled.cancellation_reasons();
                    if let Some(lost) = reasons.iter().find(|reason| reason.code() == Some("ConditionalCheckFailed")) {
                        return Ok(Attempt::Lost(lost.item().cloned()));
                    }
                    let passes = |code: &str| {
                        matches!(
                            code,
                            "None" | "TransactionConflict" | "ThrottlingError" | "ProvisionedThroughputExceeded"
                        )
                    };
                    let busy = reasons.iter().all(|reason| reason.code().is_none_or(passes));
                    let why: Vec<&str> =
                        reasons.iter().filter_map(|reason| reason.message().or(reason.code())).collect();
                    let why = format!("the transaction was cancelled: {}", why.join(", "));
                    if busy {
                        Ok(Attempt::Busy(StoreError::Unavailable { why: format!("table {table}: {why}") }))
                    } else {
                        Err(refused(table, why))
                    }
                }
                Some(TransactWriteItemsError::TransactionInProgressException(_)) => {
                    Ok(Attempt::Busy(failed(table, &error)))
                }
                Some(_) | None => Err(failed(table, &error)),
            },
        }
    }
}

/// Waits between half and all of a time that doubles with each collision.
async fn wait(collisions: u32) {
    let longest = COLLISION_WAIT_MS << collisions.min(6);
    tokio::time::sleep(Duration::from_millis(longest / 2 + random() % (longest / 2 + 1))).await;
}
