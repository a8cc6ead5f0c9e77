//! Policies of the organisation: what they say, and what they are attached to. They are called through the
//! organisation's own account, whatever account the event was in.

use aws_sdk_organizations::Client;
use serde_json::Value;
use sessionwarden_machine::wanted::{State, missing};

use super::{Api, CallError, Change, Failure, Means, Thing, parsed, unparsed};
use crate::aws::Pages;

impl Thing<'_> {
    pub(super) async fn organization_policy(&self) -> Result<State, Failure> {
        // An account's number may stand in the place of a policy's id.
        if !self.name.starts_with("p-") {
            return Err(CallError::Gone.into());
        }
        let place = self.hands.organization_place();
        let send = |means: &Means| Client::new(&means.config).describe_policy().policy_id(self.name).send();
        let found = self.hands.call(&place, Api::Organizations, "DescribePolicy", send).await?;
        let content = found.policy().and_then(|policy| policy.content()).ok_or_else(|| Failure::unknown(false))?;
        let mut state = State::from([("content".into(), parsed(content))]);
        if self.wants("targets") {
            state.insert("targets".into(), self.attached_to().await?);
        }
        Ok(state)
    }

    async fn attached_to(&self) -> Result<Value, Failure> {
        let place = self.hands.organization_place();
        let mut targets: Vec<Value> = Vec::new();
        let mut pages = Pages::new();
        loop {
            let send = |means: &Means| {
                let call = Client::new(&means.config).list_targets_for_policy().policy_id(self.name);
                call.set_next_token(pages.token.clone()).send()
            };
            let page = self.hands.call(&place, Api::Organizations, "ListTargetsForPolicy", send).await?;
            targets.extend(page.targets().iter().filter_map(|target| target.target_id()).map(Value::from));
            if !pages.go_on(page.next_token())? {
                return Ok(targets.into());
            }
        }
    }

    pub(super) async fn write_organization_policy(&self, change: &Change<'_>) -> Result<(), Failure> {
        let _alone = self.hands.writing.lock().await;
        let written = self.write_unguarded(change).await;
        self.hands.forget_guards().await;
        written
    }

    async fn write_unguarded(&self, change: &Change<'_>) -> Result<(), Failure> {
        let place = self.hands.organization_place();
        if change.part == "content" {
            let content = unparsed(change.wanted);
            let send = |means: &Means| {
                Client::new(&means.config).update_policy().policy_id(self.name).content(&content).send()
            };
            return self.hands.call(&place, Api::Organizations, "UpdatePolicy", send).await.map(drop);
        }
        for target in missing(change.wanted, change.have).into_iter().filter_map(Value::as_str) {
            let send = |means: &Means| {
                Client::new(&means.config).attach_policy().policy_id(self.name).target_id(target).send()
            };
            match self.hands.call(&place, Api::Organizations, "AttachPolicy", send).await {
                Ok(_) => {}
                Err(failure) if failure.is("DuplicatePolicyAttachmentException") => {}
                Err(failure) => return Err(failure),
            }
        }
        Ok(())
    }
}
