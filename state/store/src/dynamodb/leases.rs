//! The rows of the lease table.

use std::{collections::BTreeSet, sync::Arc};

use aws_sdk_dynamodb::{
    Client, Config,
    operation::{delete_item::DeleteItemError, put_item::PutItemError, update_item::UpdateItemError},
    types::{AttributeValue, ReturnValuesOnConditionCheckFailure as OnFailure},
};
use sessionwarden_machine::{
    ids::EventTime,
    lease::{
        Answer, Checkpoint, HandOffChange, HashRange, Lease, ShardId, Version, WorkerId, Write,
        attribute::{
            CHECKPOINT, CHECKPOINT_SUB_SEQUENCE, CHECKPOINT_TIMESTAMP, CHILDREN, FENCE, HAND_OFF_TO, HASH_END,
            HASH_START, LEASE_COUNTER, LEASE_KEY, LEASE_OWNER, OWNER_SWITCHES, PARENTS,
        },
    },
};

use super::{
    client_of,
    failure::{failed, refused},
    layout::{Expressions, Row, number, read_number, read_optional_number, read_text, text},
    limits,
};
use crate::StoreError;

/// How often a request for leases is sent at the most, within its time.
const ATTEMPTS_MAX: u32 = 3;

/// The lease table of one stream, with the attribute names of the Kinesis Client Library; a clone is the same table.
///
/// Rows are changed attribute by attribute, so that what other tools keep in them stays.
#[derive(Clone, Debug)]
pub struct DynamoDbLeases {
    pub(super) client: Client,
    pub(super) table: String,
}

impl DynamoDbLeases {
    /// The leases in `table`. Nothing is sent yet. A request takes `request_ms_max` milliseconds at the most, with
    /// three attempts; less than the time between two renewals is wise.
    pub fn new(config: &Config, table: impl Into<String>, request_ms_max: u64) -> Self {
        let attempt_ms_max = (request_ms_max / u64::from(ATTEMPTS_MAX)).max(1);
        Self { client: client_of(config, limits(ATTEMPTS_MAX, attempt_ms_max, request_ms_max)), table: table.into() }
    }

    /// All rows, as they are stored now.
    ///
    /// # Errors
    /// [`StoreError::Refused`] for a row that cannot be read, by its shard: nothing is known of that shard, and so
    /// nothing can be planned. Otherwise as the requests fail.
    pub async fn list(&self) -> Result<Vec<Lease>, StoreError> {
        let (mut leases, mut from) = (Vec::new(), None);
        loop {
            let scan = self.client.scan().table_name(&self.table).consistent_read(true);
            let found = scan.set_exclusive_start_key(from.take()).send().await;
            let found = found.map_err(|error| failed(&self.table, &error))?;
            for row in found.items() {
                leases.push(self.lease_of(row)?);
            }
            from = found.last_evaluated_key;
            if from.is_none() {
                return Ok(leases);
            }
        }
    }

    /// Creates the row, unless there is one; tells whether it did. After an answer that was lost, it may say no
    /// although the row is its own: the next reading shows it.
    ///
    /// # Errors
    /// As the request fails; then the row may be there or not.
    pub async fn create(&self, lease: &Lease) -> Result<bool, StoreError> {
        let mut with = Expressions::default();
        let name = with.name(LEASE_KEY);
        with.require(&format!("attribute_not_exists({name})"));
        let put = self
            .client
            .put_item()
            .table_name(&self.table)
            .set_item(Some(row_of(lease)))
            .condition_expression(with.condition)
            .set_expression_attribute_names(Some(with.names));
        match put.send().await {
            Ok(_) => Ok(true),
            Err(error) => match error.as_service_error() {
                Some(PutItemError::ConditionalCheckFailedException(_)) => Ok(false),
                Some(_) | None => Err(failed(&self.table, &error)),
            },
        }
    }

    /// Performs a conditional write; [`Write::judge`] says what the answer means. Never [`Answer::Unanswered`].
    ///
    /// # Errors
    /// As the request fails. Nothing is then known of the row: judge it as [`Answer::Unanswered`].
    pub async fn write(&self, write: &Write) -> Result<Answer, StoreError> {
        let with = expressions_of(write);
        let update = self
            .client
            .update_item()
            .table_name(&self.table)
            .key(LEASE_KEY, text(&*write.shard.0))
            .update_expression(with.update)
            .condition_expression(with.condition)
            .set_expression_attribute_names(Some(with.names))
            .set_expression_attribute_values(Some(with.values))
            .return_values_on_condition_check_failure(OnFailure::AllOld);
        match update.send().await {
            Ok(_) => Ok(Answer::Done),
            Err(error) => match error.as_service_error() {
                Some(UpdateItemError::ConditionalCheckFailedException(lost)) => {
                    Ok(Answer::Refused(lost.item().map(|row| self.lease_of(row)).transpose()?))
                }
                Some(_) | None => Err(failed(&self.table, &error)),
            },
        }
    }

    /// Deletes the row of a shard that has ended, if its fence is `fence`; tells whether it did.
    ///
    /// # Errors
    /// As the request fails; then the row may be there or not.
    pub async fn delete(&self, shard: &ShardId, fence: u64) -> Result<bool, StoreError> {
        let mut with = Expressions::default();
        let (name, end) = (with.name(CHECKPOINT), with.value(CHECKPOINT, text(Checkpoint::ShardEnd.text())));
        with.require(&format!("{name} = {end}"));
        require_fence(&mut with, fence);
        let delete = self
            .client
            .delete_item()
            .table_name(&self.table)
            .key(LEASE_KEY, text(&*shard.0))
            .condition_expression(with.condition)
            .set_expression_attribute_names(Some(with.names))
            .set_expression_attribute_values(Some(with.values));
        match delete.send().await {
            Ok(_) => Ok(true),
            Err(error) => match error.as_service_error() {
                Some(DeleteItemError::ConditionalCheckFailedException(_)) => Ok(false),
                Some(_) | None => Err(failed(&self.table, &error)),
            },
        }
    }

    fn lease_of(&self, row: &Row) -> Result<Lease, StoreError> {
        read_lease(row).map_err(|why| {
            let shard = read_text(row, LEASE_KEY).unwrap_or_else(|_| Arc::from("without a name"));
            refused(&self.table, format!("the lease of {shard} cannot be read: {why}"))
        })
    }
}

fn read_lease(row: &Row) -> Result<Lease, String> {
    let optional = |name| row.contains_key(name).then(|| read_text(row, name)).transpose();
    let sub_sequence = read_optional_number(row, CHECKPOINT_SUB_SEQUENCE)?.unwrap_or(0);
    let time = read_optional_number(row, CHECKPOINT_TIMESTAMP)?.map(EventTime);
    let hash_key = |name| {
        let digits = read_text(row, name)?;
        digits.parse::<u128>().map_err(|_| format!("its attribute {name} is no hash key: {digits:.60}"))
    };
    Ok(Lease {
        shard: ShardId(read_text(row, LEASE_KEY)?),
        owner: optional(LEASE_OWNER)?.map(WorkerId),
        counter: read_number(row, LEASE_COUNTER)?,
        owner_switches: read_optional_number(row, OWNER_SWITCHES)?.unwrap_or(0),
        checkpoint: Checkpoint::read(&read_text(row, CHECKPOINT)?, sub_sequence, time)
            .map_err(|error| error.to_string())?,
        parents: read_shards(row, PARENTS)?,
        children: read_shards(row, CHILDREN)?,
        range: HashRange { start: hash_key(HASH_START)?, end: hash_key(HASH_END)? },
        // A row of the library's own has none.
        fence: read_optional_number(row, FENCE)?.unwrap_or(0),
        hand_off_to: optional(HAND_OFF_TO)?.map(WorkerId),
    })
}

fn read_shards(row: &Row, name: &str) -> Result<BTreeSet<ShardId>, String> {
    match row.get(name) {
        None => Ok(BTreeSet::new()),
        Some(AttributeValue::Ss(shards)) => Ok(shards.iter().map(|shard| ShardId::from(shard.as_str())).collect()),
        Some(_) => Err(format!("its attribute {name} should be a set of text")),
    }
}

/// A set of text; DynamoDB has no empty one.
fn shards(shards: &BTreeSet<ShardId>) -> Option<AttributeValue> {
    (!shards.is_empty()).then(|| AttributeValue::Ss(shards.iter().map(|shard| shard.0.to_string()).collect()))
}

type Attribute = (&'static str, Option<AttributeValue>);

fn checkpoint_attributes(checkpoint: &Checkpoint) -> [Attribute; 3] {
    [
        (CHECKPOINT, Some(text(checkpoint.text()))),
        (CHECKPOINT_SUB_SEQUENCE, Some(number(checkpoint.sub_sequence()))),
        (CHECKPOINT_TIMESTAMP, checkpoint.time().map(|time| number(time.0))),
    ]
}

fn version_attributes(version: &Version, owner_switches: u64) -> [Attribute; 4] {
    [
        (LEASE_OWNER, version.owner.as_ref().map(|owner| text(&*owner.0))),
        (LEASE_COUNTER, Some(number(version.counter))),
        (FENCE, Some(number(version.fence))),
        (OWNER_SWITCHES, Some(number(owner_switches))),
    ]
}

fn row_of(lease: &Lease) -> Row {
    let attributes = [
        (LEASE_KEY, Some(text(&*lease.shard.0))),
        (PARENTS, shards(&lease.parents)),
        (CHILDREN, shards(&lease.children)),
        (HASH_START, Some(text(lease.range.start.to_string()))),
        (HASH_END, Some(text(lease.range.end.to_string()))),
        (HAND_OFF_TO, lease.hand_off_to.as_ref().map(|to| text(&*to.0))),
    ];
    let attributes = attributes.into_iter().chain(checkpoint_attributes(&lease.checkpoint));
    let attributes = attributes.chain(version_attributes(&lease.version(), lease.owner_switches));
    attributes.filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
}

fn require_fence(with: &mut Expressions, fence: u64) {
    let (name, value) = (with.name(FENCE), with.value("fence_before", number(fence)));
    if fence == 0 {
        with.require(&format!("(attribute_not_exists({name}) OR {name} = {value})"));
    } else {
        with.require(&format!("{name} = {value}"));
    }
}

fn expressions_of(write: &Write) -> Expressions {
    let mut with = Expressions::default();
    let name = with.name(LEASE_KEY);
    with.require(&format!("attribute_exists({name})"));
    let name = with.name(LEASE_OWNER);
    match &write.expected.owner {
        Some(owner) => {
            let value = with.value("owner_before", text(&*owner.0));
            with.require(&format!("{name} = {value}"));
        }
        None => with.require(&format!("attribute_not_exists({name})")),
    }
    require_fence(&mut with, write.expected.fence);
    if let HandOffChange::Request(to) = &write.hand_off {
        let (name, value) = (with.name(HAND_OFF_TO), with.value("taker", text(&*to.0)));
        with.require(&format!("(attribute_not_exists({name}) OR {name} = {value})"));
        with.update([(HAND_OFF_TO, Some(text(&*to.0)))]);
        return with;
    }
    let (name, value) = (with.name(LEASE_COUNTER), with.value("counter_before", number(write.expected.counter)));
    with.require(&format!("{name} = {value}"));
    let mut attributes = Vec::from(version_attributes(&write.becomes, write.owner_switches));
    attributes.extend(write.checkpoint.iter().flat_map(checkpoint_attributes));
    attributes.extend(write.children.as_ref().map(|children| (CHILDREN, shards(children))));
    if write.hand_off == HandOffChange::Clear {
        attributes.push((HAND_OFF_TO, None));
    }
    with.update(attributes);
    with
}
