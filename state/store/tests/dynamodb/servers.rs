//! Two servers with DynamoDB's interface: one in this process, and AWS's own as a child process.

use std::sync::atomic::{AtomicU32, Ordering};

use aws_sdk_dynamodb::{
    Config,
    config::{BehaviorVersion, Credentials, Region},
};
use sessionwarden_store::{DynamoDb, DynamoDbSettings, StreamsConfig};
use sessionwarden_testbed::{InProcess, Server, dynamodb, dynamodb_local::dynamodb_local, or_say};

pub(crate) fn in_process() -> InProcess {
    dynamodb().unwrap()
}

/// An address at which a database answers that the test keeps. It ends with the test.
pub(crate) async fn serve(database: dynoxide::Database) -> String {
    let listener = tokio::net::TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(dynoxide::server::serve_on(listener, database));
    url
}

/// DynamoDB Local; `None` with a note where it cannot be had.
pub(crate) fn local() -> Option<Server> {
    or_say(dynamodb_local())
}

pub(crate) fn config(url: &str) -> Config {
    Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("eu-central-1"))
        .credentials_provider(Credentials::new("test", "test", None, None, "test"))
        .endpoint_url(url)
        .build()
}

pub(crate) fn streams_config(url: &str) -> StreamsConfig {
    StreamsConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("eu-central-1"))
        .credentials_provider(Credentials::new("test", "test", None, None, "test"))
        .endpoint_url(url)
        .build()
}

/// Settings with tables that no other store of this process has.
pub(crate) fn settings() -> DynamoDbSettings {
    static STORES: AtomicU32 = AtomicU32::new(0);
    let number = STORES.fetch_add(1, Ordering::Relaxed);
    DynamoDbSettings {
        state_table: format!("test-{number}-state"),
        index_table: format!("test-{number}-index"),
        request_ms_max: 20_000,
        collects: true,
        ..DynamoDbSettings::default()
    }
}

/// An empty store at `url`.
pub(crate) async fn fresh(url: &str) -> DynamoDb {
    let store = DynamoDb::new(&config(url), settings());
    store.ensure_tables().await.unwrap();
    store
}
