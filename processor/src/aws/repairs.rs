//! Changes that are put back. Each is looked at afterwards.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Value, json};
use sessionwarden_machine::{ids::AccountId, incident::Restore};

use super::{
    AwsOrganization, Means,
    errors::Failure,
    limits::Place,
    settings::Api,
    signed::{self, CLOUDTRAIL, EC2, EVENTS, KMS, Service},
};
use crate::ports::{CallError, Repairs};

/// The part of `DescribeKey` that is read.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DescribedKey {
    key_metadata: KeyState,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct KeyState {
    key_state: String,
}

/// The part of `DescribeRule` that is read.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Rule {
    state: String,
}

/// The part of `GetTrailStatus` that is read.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct TrailStatus {
    is_logging: bool,
}

/// `DisableSerialConsoleAccess` and `GetSerialConsoleAccessStatus`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct SerialConsole {
    serial_console_access_enabled: bool,
}

impl Repairs for AwsOrganization {
    async fn restore(&self, account: AccountId, region: &str, restore: Restore, thing: &str) -> Result<(), CallError> {
        let place: Place = (account, Arc::from(region));
        let as_wanted = match restore {
            Restore::Key => self.enable_key(&place, thing).await?,
            Restore::Rule => {
                self.switch(&place, &EVENTS, "EnableRule", json!({ "Name": thing })).await?;
                let rule: Rule = self.ask(&place, &EVENTS, "DescribeRule", json!({ "Name": thing })).await?;
                rule.state == "ENABLED"
            }
            Restore::Trail => {
                self.switch(&place, &CLOUDTRAIL, "StartLogging", json!({ "Name": thing })).await?;
                let status: TrailStatus =
                    self.ask(&place, &CLOUDTRAIL, "GetTrailStatus", json!({ "Name": thing })).await?;
                status.is_logging
            }
            Restore::SerialConsole => {
                let call = async |action: &'static str| {
                    let send = |means: &Means| signed::query::<SerialConsole>(&EC2, means.clone(), action, Vec::new());
                    self.call(&place, Api::Ec2, action, send).await
                };
                call("DisableSerialConsoleAccess").await?;
                !call("GetSerialConsoleAccessStatus").await?.serial_console_access_enabled
            }
        };
        if as_wanted { Ok(()) } else { Err(CallError::Unknown) }
    }
}

impl AwsOrganization {
    /// A key that waits for its deletion is disabled once that is cancelled ("`CancelKeyDeletion`", KMS API reference).
    async fn enable_key(&self, place: &Place, key: &str) -> Result<bool, Failure> {
        let input = json!({ "KeyId": key });
        let state = async || {
            let found: DescribedKey = self.ask(place, &KMS, "DescribeKey", input.clone()).await?;
            Ok::<_, Failure>(found.key_metadata.key_state)
        };
        if state().await? == "PendingDeletion" {
            self.switch(place, &KMS, "CancelKeyDeletion", input.clone()).await?;
        }
        self.switch(place, &KMS, "EnableKey", input.clone()).await?;
        Ok(state().await? == "Enabled")
    }

    async fn ask<T: serde::de::DeserializeOwned>(
        &self,
        place: &Place,
        service: &'static Service,
        operation: &'static str,
        input: Value,
    ) -> Result<T, Failure> {
        let send = |means: &Means| signed::json::<T>(service, means.clone(), operation, input.clone());
        self.call(place, Api::Kms, operation, send).await
    }

    /// A call whose answer says nothing.
    async fn switch(
        &self,
        place: &Place,
        service: &'static Service,
        operation: &'static str,
        input: Value,
    ) -> Result<(), Failure> {
        let send = |means: &Means| signed::silent(service, means.clone(), operation, input.clone());
        self.call(place, Api::Kms, operation, send).await
    }
}
