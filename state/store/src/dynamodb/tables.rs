//! Makes the tables, and checks those that are there.

use std::time::Duration;

use aws_sdk_dynamodb::{
    Client,
    error::BuildError,
    operation::{
        create_table::{CreateTableError, builders::CreateTableFluentBuilder},
        describe_table::DescribeTableError,
    },
    types::{
        AttributeDefinition, BillingMode, GlobalSecondaryIndex, KeySchemaElement, KeyType, Projection, ProjectionType,
        ScalarAttributeType as Type, StreamSpecification, StreamViewType, TableDescription, TableStatus,
        TimeToLiveSpecification, TimeToLiveStatus,
    },
};

use sessionwarden_machine::lease::attribute::LEASE_KEY;

use super::{
    DynamoDb, DynamoDbLeases,
    failure::{failed, refused},
    layout::{
        DUE_INDEX, KIND_INDEX,
        attribute::{DUE_AT, DUE_PARTITION, KIND, PK, SK, TTL},
    },
};
use crate::StoreError;

/// How often a new table is looked at until it can be used.
const LOOKS_MAX: u32 = 240;
const LOOK_PAUSE: Duration = Duration::from_millis(250);

/// A table or index: its name, its partition key, its sort key.
type Keys = (&'static str, (&'static str, Type), Option<(&'static str, Type)>);

fn indexes() -> [Keys; 2] {
    [(DUE_INDEX, (DUE_PARTITION, Type::S), Some((DUE_AT, Type::N))), (KIND_INDEX, (KIND, Type::S), Some((PK, Type::S)))]
}

impl DynamoDb {
    /// Makes the tables that are missing, waits until they can be used, for a minute at the most, and checks both.
    ///
    /// They are paid per request; the table of items has Time to Live on, and a stream of new and old images. Several
    /// workers may do this at the same time.
    ///
    /// # Errors
    /// [`StoreError::Refused`] where a table that is there is not as it should be, with all that is wrong, or where
    /// the credentials do not allow it; [`StoreError::Unavailable`] where the service does not answer.
    pub async fn ensure_tables(&self) -> Result<(), StoreError> {
        if describe(&self.client, &self.settings.state_table).await?.is_none() {
            self.create_state_table().await?;
        }
        if describe(&self.client, &self.settings.index_table).await?.is_none() {
            create_plain(&self.client, &self.settings.index_table, &[PK, SK]).await?;
        }
        wait_for(&self.client, &self.settings.state_table).await?;
        wait_for(&self.client, &self.settings.index_table).await?;
        let ttl = self.ttl_status().await?;
        if matches!(ttl, None | Some((TimeToLiveStatus::Disabled, _))) {
            self.turn_ttl_on().await?;
        }
        self.check_tables().await
    }

    /// Checks that both tables are there with the keys, indexes, stream and Time to Live that this store needs.
    ///
    /// # Errors
    /// As [`Self::ensure_tables`]; a table that is not there is refused too.
    pub async fn check_tables(&self) -> Result<(), StoreError> {
        let (state, index) = (&self.settings.state_table, &self.settings.index_table);
        let table = describe(&self.client, state).await?.ok_or_else(|| missing(state))?;
        let mut wrong = wrong_keys(&table, "the table", (PK, Type::S), None, table.key_schema());
        for (name, hash, range) in indexes() {
            let found = table.global_secondary_indexes().iter().find(|index| index.index_name() == Some(name));
            match found {
                Some(found) => {
                    wrong.extend(wrong_keys(&table, &format!("index {name}"), hash, range, found.key_schema()));
                }
                None => wrong.push(format!("index {name} is missing")),
            }
        }
        let stream = table.stream_specification().and_then(StreamSpecification::stream_view_type);
        if stream != Some(&StreamViewType::NewAndOldImages) {
            wrong.push("its stream should have new and old images".to_owned());
        }
        match self.ttl_status().await? {
            Some((TimeToLiveStatus::Enabled | TimeToLiveStatus::Enabling, Some(name))) if name == TTL => {}
            Some((TimeToLiveStatus::Enabled | TimeToLiveStatus::Enabling, Some(name))) => {
                wrong.push(format!("Time to Live should read {TTL}, and reads {name}"));
            }
            Some(_) | None => wrong.push(format!("Time to Live should be on, with the attribute {TTL}")),
        }
        complain(state, &wrong)?;

        let table = describe(&self.client, index).await?.ok_or_else(|| missing(index))?;
        complain(index, &wrong_keys(&table, "the table", (PK, Type::S), Some((SK, Type::S)), table.key_schema()))
    }

    /// The stream of the table of items.
    pub(super) async fn stream(&self) -> Result<String, StoreError> {
        let table = &self.settings.state_table;
        let found = describe(&self.client, table).await?.ok_or_else(|| missing(table))?;
        found.latest_stream_arn.ok_or_else(|| refused(table, "it has no stream"))
    }

    async fn create_state_table(&self) -> Result<(), StoreError> {
        let table = &self.settings.state_table;
        let wrong = |error: BuildError| refused(table, error.to_string());
        let stream = StreamSpecification::builder().stream_enabled(true);
        let stream = stream.stream_view_type(StreamViewType::NewAndOldImages).build().map_err(wrong)?;
        let mut request = self
            .client
            .create_table()
            .table_name(table)
            .billing_mode(BillingMode::PayPerRequest)
            .stream_specification(stream)
            .key_schema(key(PK, KeyType::Hash).map_err(wrong)?)
            .attribute_definitions(definition(PK, Type::S).map_err(wrong)?);
        for (name, hash, range) in indexes() {
            let mut index = GlobalSecondaryIndex::builder()
                .index_name(name)
                .projection(Projection::builder().projection_type(ProjectionType::KeysOnly).build())
                .key_schema(key(hash.0, KeyType::Hash).map_err(wrong)?);
            if hash.0 != PK {
                request = request.attribute_definitions(definition(hash.0, hash.1).map_err(wrong)?);
            }
            if let Some((name, of)) = range {
                index = index.key_schema(key(name, KeyType::Range).map_err(wrong)?);
                if name != PK {
                    request = request.attribute_definitions(definition(name, of).map_err(wrong)?);
                }
            }
            request = request.global_secondary_indexes(index.build().map_err(wrong)?);
        }
        create(table, request).await
    }

    async fn ttl_status(&self) -> Result<Option<(TimeToLiveStatus, Option<String>)>, StoreError> {
        let table = &self.settings.state_table;
        let found = self.client.describe_time_to_live().table_name(table).send().await;
        let found = found.map_err(|error| failed(table, &error))?.time_to_live_description;
        Ok(found.and_then(|found| Some((found.time_to_live_status?, found.attribute_name))))
    }

    async fn turn_ttl_on(&self) -> Result<(), StoreError> {
        let table = &self.settings.state_table;
        let wanted = TimeToLiveSpecification::builder().enabled(true).attribute_name(TTL).build();
        let wanted = wanted.map_err(|error| refused(table, error.to_string()))?;
        let sent = self.client.update_time_to_live().table_name(table).time_to_live_specification(wanted).send().await;
        match sent {
            Ok(_) => Ok(()),
            // Another worker may have been first.
            Err(error) => match self.ttl_status().await? {
                Some((TimeToLiveStatus::Enabled | TimeToLiveStatus::Enabling, _)) => Ok(()),
                Some(_) | None => Err(failed(table, &error)),
            },
        }
    }
}

async fn describe(client: &Client, table: &str) -> Result<Option<TableDescription>, StoreError> {
    match client.describe_table().table_name(table).send().await {
        Ok(found) => Ok(found.table),
        Err(error) if error.as_service_error().is_some_and(DescribeTableError::is_resource_not_found_exception) => {
            Ok(None)
        }
        Err(error) => Err(failed(table, &error)),
    }
}

async fn wait_for(client: &Client, table: &str) -> Result<(), StoreError> {
    for _ in 0..LOOKS_MAX {
        if describe(client, table).await?.is_some_and(|found| found.table_status() == Some(&TableStatus::Active)) {
            return Ok(());
        }
        tokio::time::sleep(LOOK_PAUSE).await;
    }
    Err(StoreError::Unavailable { why: format!("table {table}: it was made a minute ago, and is not active yet") })
}

fn missing(table: &str) -> StoreError {
    refused(table, "there is no such table in this account and region")
}

impl DynamoDbLeases {
    /// Makes the table if it is missing, waits until it can be used, for a minute at the most, and checks it. It is
    /// paid per request. Several workers may do this at the same time.
    ///
    /// # Errors
    /// As [`DynamoDb::ensure_tables`].
    pub async fn ensure_table(&self) -> Result<(), StoreError> {
        if describe(&self.client, &self.table).await?.is_none() {
            create_plain(&self.client, &self.table, &[LEASE_KEY]).await?;
        }
        wait_for(&self.client, &self.table).await?;
        self.check_table().await
    }

    /// Checks that the table is there with the key that the Kinesis Client Library gives it.
    ///
    /// # Errors
    /// As [`DynamoDb::check_tables`].
    pub async fn check_table(&self) -> Result<(), StoreError> {
        let table = describe(&self.client, &self.table).await?.ok_or_else(|| missing(&self.table))?;
        complain(&self.table, &wrong_keys(&table, "the table", (LEASE_KEY, Type::S), None, table.key_schema()))
    }
}

/// Makes a table without indexes: its partition key, and its sort key if there is one, are text.
async fn create_plain(client: &Client, table: &str, keys: &[&str]) -> Result<(), StoreError> {
    let wrong = |error: BuildError| refused(table, error.to_string());
    let mut request = client.create_table().table_name(table).billing_mode(BillingMode::PayPerRequest);
    for (name, role) in keys.iter().zip([KeyType::Hash, KeyType::Range]) {
        request = request.key_schema(key(name, role).map_err(wrong)?);
        request = request.attribute_definitions(definition(name, Type::S).map_err(wrong)?);
    }
    create(table, request).await
}

/// Sends the request; a table that another worker has just made is as good.
async fn create(table: &str, request: CreateTableFluentBuilder) -> Result<(), StoreError> {
    match request.send().await {
        Err(error) if !error.as_service_error().is_some_and(CreateTableError::is_resource_in_use_exception) => {
            Err(failed(table, &error))
        }
        Ok(_) | Err(_) => Ok(()),
    }
}

fn key(name: &str, of: KeyType) -> Result<KeySchemaElement, BuildError> {
    KeySchemaElement::builder().attribute_name(name).key_type(of).build()
}

fn definition(name: &str, of: Type) -> Result<AttributeDefinition, BuildError> {
    AttributeDefinition::builder().attribute_name(name).attribute_type(of).build()
}

fn wrong_keys(
    table: &TableDescription,
    what: &str,
    hash: (&str, Type),
    range: Option<(&str, Type)>,
    found: &[KeySchemaElement],
) -> Vec<String> {
    let find = |of: &KeyType| {
        let name = found.iter().find(|key| key.key_type() == of)?.attribute_name();
        let definition = table.attribute_definitions().iter().find(|one| one.attribute_name() == name)?;
        Some((name, definition.attribute_type().clone()))
    };
    let show = |key: Option<&(&str, Type)>| key.map_or("none".to_owned(), |(name, of)| format!("{name} ({of})"));
    let mut wrong = Vec::new();
    for (role, of, wanted) in [("partition", KeyType::Hash, Some(hash)), ("sort", KeyType::Range, range)] {
        let found = find(&of);
        if found != wanted {
            let (found, wanted) = (show(found.as_ref()), show(wanted.as_ref()));
            wrong.push(format!("{what} should have the {role} key {wanted}, and has {found}"));
        }
    }
    wrong
}

fn complain(table: &str, wrong: &[String]) -> Result<(), StoreError> {
    if wrong.is_empty() { Ok(()) } else { Err(refused(table, wrong.join("; "))) }
}
