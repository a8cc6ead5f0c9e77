//! CloudTrail trails: started, with their settings and selectors.

use serde_json::{Value, json};
use sessionwarden_machine::wanted::State;

use super::{Change, Failure, Thing, joined, picked};
use crate::aws::signed::CLOUDTRAIL;

/// What a trail is made of, as `UpdateTrail` names it ("`UpdateTrail`", CloudTrail API reference).
const TRAIL: [&str; 10] = [
    "S3BucketName",
    "S3KeyPrefix",
    "SnsTopicName",
    "IncludeGlobalServiceEvents",
    "IsMultiRegionTrail",
    "IsOrganizationTrail",
    "EnableLogFileValidation",
    "CloudWatchLogsLogGroupArn",
    "CloudWatchLogsRoleArn",
    "KmsKeyId",
];
const SELECTORS: [&str; 2] = ["EventSelectors", "AdvancedEventSelectors"];

impl Thing<'_> {
    pub(super) async fn trail(&self) -> Result<State, Failure> {
        let mut found = self.ask(&CLOUDTRAIL, "GetTrail", json!({ "Name": self.name })).await?["Trail"].take();
        found["EnableLogFileValidation"] = found["LogFileValidationEnabled"].take();
        if !found["SnsTopicARN"].is_null() {
            found["SnsTopicName"] = found["SnsTopicARN"].take();
        }
        let mut state = State::from([("trail".into(), picked(&found, &TRAIL))]);
        if self.wants("selectors") {
            let found = self.ask(&CLOUDTRAIL, "GetEventSelectors", json!({ "TrailName": self.name })).await?;
            let told = |name: &&str| found[*name].as_array().is_some_and(|selectors| !selectors.is_empty());
            let names: Vec<&str> = SELECTORS.into_iter().filter(told).collect();
            state.insert("selectors".into(), picked(&found, &names));
        }
        if self.wants("logging") {
            let found = self.ask(&CLOUDTRAIL, "GetTrailStatus", json!({ "Name": self.name })).await?;
            state.insert("logging".into(), found["IsLogging"].as_bool().unwrap_or_default().into());
        }
        Ok(state)
    }

    pub(super) async fn write_trail(&self, change: &Change<'_>) -> Result<(), Failure> {
        match change.part {
            "trail" if change.exists => {
                let mut trail = joined(json!({ "Name": self.name }), change.wanted);
                // What is left out is kept: a text that is not to be there is emptied.
                for name in TRAIL.into_iter().filter(|name| change.have[*name].is_string()) {
                    if trail.get(name).is_none() {
                        trail[name] = Value::String(String::new());
                    }
                }
                self.ask(&CLOUDTRAIL, "UpdateTrail", trail).await.map(drop)
            }
            "trail" => {
                let name = self.name.rsplit(['/', ':']).next().unwrap_or(self.name);
                self.ask(&CLOUDTRAIL, "CreateTrail", joined(json!({ "Name": name }), change.wanted)).await.map(drop)
            }
            "selectors" => {
                let input = joined(json!({ "TrailName": self.name }), change.wanted);
                self.ask(&CLOUDTRAIL, "PutEventSelectors", input).await.map(drop)
            }
            _ => self.tell(&CLOUDTRAIL, "StartLogging", json!({ "Name": self.name })).await,
        }
    }
}
