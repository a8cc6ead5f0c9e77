//! KMS keys: enabled, with their policy and grants.

use serde_json::{Value, json};
use sessionwarden_machine::wanted::{State, missing};

use super::{Change, Failure, Thing, joined, parsed, picked, unparsed};
use crate::aws::{Pages, signed::KMS};

/// What a grant is made of ("`CreateGrant`", KMS API reference).
const GRANT: [&str; 5] = ["Name", "GranteePrincipal", "RetiringPrincipal", "Operations", "Constraints"];

impl Thing<'_> {
    pub(super) async fn key(&self) -> Result<State, Failure> {
        let mut state = State::from([("enabled".into(), (self.key_state().await? == "Enabled").into())]);
        if self.wants("policy") {
            let found = self.ask(&KMS, "GetKeyPolicy", json!({ "KeyId": self.name, "PolicyName": "default" })).await?;
            state.insert("policy".into(), parsed(found["Policy"].as_str().unwrap_or_default()));
        }
        if self.wants("grants") {
            state.insert("grants".into(), self.grants().await?);
        }
        Ok(state)
    }

    async fn key_state(&self) -> Result<String, Failure> {
        let found = self.ask(&KMS, "DescribeKey", json!({ "KeyId": self.name })).await?;
        let state = found["KeyMetadata"]["KeyState"].as_str().map(str::to_owned);
        state.ok_or_else(|| Failure::unknown(false))
    }

    async fn grants(&self) -> Result<Value, Failure> {
        let mut grants = Vec::new();
        let mut pages = Pages::new();
        loop {
            let mut input = json!({ "KeyId": self.name, "Limit": 100 });
            if let Some(marker) = &pages.token {
                input["Marker"] = marker.as_str().into();
            }
            let page = self.ask(&KMS, "ListGrants", input).await?;
            let found = page["Grants"].as_array().map(Vec::as_slice).unwrap_or_default();
            grants.extend(found.iter().map(|grant| picked(grant, &GRANT)));
            if !pages.go_on(page["NextMarker"].as_str())? {
                return Ok(grants.into());
            }
        }
    }

    pub(super) async fn write_key(&self, change: &Change<'_>) -> Result<(), Failure> {
        let key = json!({ "KeyId": self.name });
        match change.part {
            "policy" => {
                let policy = json!({ "PolicyName": "default", "Policy": unparsed(change.wanted) });
                self.tell(&KMS, "PutKeyPolicy", joined(key, &policy)).await
            }
            "grants" => {
                for grant in missing(change.wanted, change.have) {
                    self.ask(&KMS, "CreateGrant", joined(key.clone(), grant)).await?;
                }
                Ok(())
            }
            _ => {
                // It is disabled once its deletion is cancelled ("`CancelKeyDeletion`", KMS API reference).
                if self.key_state().await? == "PendingDeletion" {
                    self.tell(&KMS, "CancelKeyDeletion", key.clone()).await?;
                }
                self.tell(&KMS, "EnableKey", key).await
            }
        }
    }
}
