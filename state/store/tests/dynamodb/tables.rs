use aws_sdk_dynamodb::{
    Client,
    types::{
        AttributeDefinition, BillingMode, KeySchemaElement, KeyType, ScalarAttributeType as Type, StreamViewType,
        TimeToLiveStatus,
    },
};
use sessionwarden_store::{
    DynamoDb, Store, StoreError,
    contract::{item, put},
};

use super::servers::{config, in_process, local, settings};

async fn tables_are_made_and_found(url: &str) {
    let settings = settings();
    let store = DynamoDb::new(&config(url), settings.clone());
    let error = store.check_tables().await.unwrap_err().to_string();
    assert_eq!(error, format!("table {}: there is no such table in this account and region", settings.state_table));
    let error = store.load("s").await.unwrap_err();
    assert!(
        matches!(&error, StoreError::Refused { why, .. } if why.starts_with("ResourceNotFoundException")),
        "{error}"
    );

    let (first, second) = tokio::join!(store.ensure_tables(), store.ensure_tables());
    first.unwrap();
    second.unwrap();
    store.check_tables().await.unwrap();
    put(&store, item("s", "", None, &[], None), 0).await;
    store.ensure_tables().await.unwrap();
    assert!(store.load("s").await.unwrap().is_some());

    let client = Client::from_conf(config(url));
    for (name, streams) in [(&settings.state_table, true), (&settings.index_table, false)] {
        let table = client.describe_table().table_name(name).send().await.unwrap().table.unwrap();
        let billing = table.billing_mode_summary().and_then(|summary| summary.billing_mode());
        assert_eq!(billing, Some(&BillingMode::PayPerRequest));
        let view = table.stream_specification().and_then(|stream| stream.stream_view_type());
        assert_eq!(view, streams.then_some(&StreamViewType::NewAndOldImages));
    }
    let ttl = client.describe_time_to_live().table_name(&settings.state_table).send().await.unwrap();
    let ttl = ttl.time_to_live_description.unwrap();
    assert_eq!(ttl.time_to_live_status, Some(TimeToLiveStatus::Enabled));
    assert_eq!(ttl.attribute_name.as_deref(), Some("ttl"));
}

async fn wrong_tables_are_refused_with_all_that_is_wrong(url: &str) {
    let client = Client::from_conf(config(url));
    let make = async |name: &str, keys: &[(&str, KeyType, Type)]| {
        let mut request = client.create_table().table_name(name).billing_mode(BillingMode::PayPerRequest);
        for (name, role, of) in keys {
            let key = KeySchemaElement::builder().attribute_name(*name).key_type(role.clone()).build().unwrap();
            let definition = AttributeDefinition::builder().attribute_name(*name).attribute_type(of.clone());
            request = request.key_schema(key).attribute_definitions(definition.build().unwrap());
        }
        request.send().await.unwrap();
    };
    let settings = settings();
    let store = DynamoDb::new(&config(url), settings.clone());
    make(&settings.state_table, &[("id", KeyType::Hash, Type::N), ("at", KeyType::Range, Type::S)]).await;
    let error = store.ensure_tables().await.unwrap_err();
    assert!(matches!(error, StoreError::Refused { .. }), "{error}");
    assert_eq!(
        error.to_string(),
        format!(
            "table {}: the table should have the partition key pk (S), and has id (N); the table should have the sort \
             key none, and has at (S); index due is missing; index kinds is missing; its stream should have new and \
             old images",
            settings.state_table
        )
    );

    let settings = super::servers::settings();
    let store = DynamoDb::new(&config(url), settings.clone());
    make(&settings.index_table, &[("pk", KeyType::Hash, Type::S)]).await;
    let error = store.ensure_tables().await.unwrap_err().to_string();
    let (table, wanted) = (&settings.index_table, "the table should have the sort key sk (S), and has none");
    assert_eq!(error, format!("table {table}: {wanted}"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tables_in_process() {
    let server = in_process();
    tables_are_made_and_found(&server.url).await;
    wrong_tables_are_refused_with_all_that_is_wrong(&server.url).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tables_in_dynamodb_local() {
    let Some(local) = local() else { return };
    tables_are_made_and_found(&local.url).await;
    wrong_tables_are_refused_with_all_that_is_wrong(&local.url).await;
}
