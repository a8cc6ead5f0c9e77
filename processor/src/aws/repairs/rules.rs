//! EventBridge rules of the default bus, with their targets.

use serde_json::{Value, json};
use sessionwarden_machine::wanted::{State, missing};

use super::{Change, Failure, Thing, joined, parsed, picked};
use crate::aws::{Pages, signed::EVENTS};

/// What a rule is made of, but for its state ("`PutRule`", EventBridge API reference).
const RULE: [&str; 4] = ["EventPattern", "ScheduleExpression", "Description", "RoleArn"];
/// A rule that is enabled for more than others is ("`DescribeRule`").
const ENABLED: [&str; 2] = ["ENABLED", "ENABLED_WITH_ALL_CLOUDTRAIL_MANAGEMENT_EVENTS"];

impl Thing<'_> {
    pub(super) async fn rule(&self) -> Result<State, Failure> {
        let found = self.ask(&EVENTS, "DescribeRule", json!({ "Name": self.name })).await?;
        let state = found["State"].as_str().ok_or_else(|| Failure::unknown(false))?;
        let mut rule = picked(&found, &RULE);
        if let Some(pattern) = rule["EventPattern"].as_str().map(parsed) {
            rule["EventPattern"] = pattern;
        }
        let state = if ENABLED.contains(&state) { "ENABLED" } else { state };
        let mut state = State::from([("rule".into(), rule), ("state".into(), state.into())]);
        if self.wants("targets") {
            state.insert("targets".into(), self.targets().await?);
        }
        Ok(state)
    }

    async fn targets(&self) -> Result<Value, Failure> {
        let mut targets = Vec::new();
        let mut pages = Pages::new();
        loop {
            let mut input = json!({ "Rule": self.name });
            if let Some(token) = &pages.token {
                input["NextToken"] = token.as_str().into();
            }
            let page = self.ask(&EVENTS, "ListTargetsByRule", input).await?;
            targets.extend(page["Targets"].as_array().into_iter().flatten().cloned());
            if !pages.go_on(page["NextToken"].as_str())? {
                return Ok(targets.into());
            }
        }
    }

    pub(super) async fn write_rule(&self, change: &Change<'_>) -> Result<(), Failure> {
        match change.part {
            "rule" => {
                let mut rule = joined(json!({ "Name": self.name, "State": "ENABLED" }), change.wanted);
                if rule["EventPattern"].is_object() {
                    rule["EventPattern"] = rule["EventPattern"].to_string().into();
                }
                self.ask(&EVENTS, "PutRule", rule).await.map(drop)
            }
            "targets" => {
                let extra = missing(change.have, change.wanted);
                let ids: Vec<&Value> = extra.into_iter().map(|target| &target["Id"]).collect();
                if !ids.is_empty() {
                    let answer = self.ask(&EVENTS, "RemoveTargets", json!({ "Rule": self.name, "Ids": ids })).await?;
                    entries_done(&answer)?;
                }
                let missing = missing(change.wanted, change.have);
                if !missing.is_empty() {
                    let input = json!({ "Rule": self.name, "Targets": missing });
                    entries_done(&self.ask(&EVENTS, "PutTargets", input).await?)?;
                }
                Ok(())
            }
            _ => self.tell(&EVENTS, "EnableRule", json!({ "Name": self.name })).await,
        }
    }
}

/// Such a call may succeed although entries of it were refused.
fn entries_done(answer: &Value) -> Result<(), Failure> {
    if answer["FailedEntryCount"].as_u64().unwrap_or_default() == 0 {
        return Ok(());
    }
    let code = answer["FailedEntries"][0]["ErrorCode"].as_str().unwrap_or_default();
    Err(Failure::answered(code, 200))
}
