//! Systems Manager documents: what their default version says, and whom they are shared with.

use serde_json::{Value, json};
use sessionwarden_machine::wanted::{State, missing};

use super::{Change, Failure, Thing, parsed, unparsed};
use crate::aws::{Pages, signed::SSM};

impl Thing<'_> {
    pub(super) async fn document(&self) -> Result<State, Failure> {
        let input = json!({ "Name": self.name, "DocumentVersion": "$DEFAULT", "DocumentFormat": "JSON" });
        let found = self.ask(&SSM, "GetDocument", input).await?;
        let content = found["Content"].as_str().ok_or_else(|| Failure::unknown(false))?;
        let mut state = State::from([("content".into(), parsed(content))]);
        if self.wants("shared") {
            state.insert("shared".into(), self.shared_with().await?);
        }
        Ok(state)
    }

    async fn shared_with(&self) -> Result<Value, Failure> {
        let mut accounts = Vec::new();
        let mut pages = Pages::new();
        loop {
            let mut input = json!({ "Name": self.name, "PermissionType": "Share" });
            if let Some(token) = &pages.token {
                input["NextToken"] = token.as_str().into();
            }
            let page = self.ask(&SSM, "DescribeDocumentPermission", input).await?;
            accounts.extend(page["AccountIds"].as_array().into_iter().flatten().cloned());
            if !pages.go_on(page["NextToken"].as_str())? {
                return Ok(accounts.into());
            }
        }
    }

    pub(super) async fn write_document(&self, change: &Change<'_>) -> Result<(), Failure> {
        if change.part == "shared" {
            let input = json!({
                "Name": self.name, "PermissionType": "Share",
                "AccountIdsToAdd": missing(change.wanted, change.have),
                "AccountIdsToRemove": missing(change.have, change.wanted),
            });
            return self.tell(&SSM, "ModifyDocumentPermission", input).await;
        }
        let content = json!({ "Name": self.name, "DocumentFormat": "JSON", "Content": unparsed(change.wanted) });
        if !change.exists {
            let input = super::joined(content, &json!({ "DocumentType": "Session" }));
            return self.ask(&SSM, "CreateDocument", input).await.map(drop);
        }
        let input = super::joined(content, &json!({ "DocumentVersion": "$LATEST" }));
        let version = match self.ask(&SSM, "UpdateDocument", input).await {
            Ok(updated) => updated["DocumentDescription"]["DocumentVersion"].clone(),
            // The newest version says so already, and is not the default one.
            Err(failure) if failure.is("DuplicateDocumentContent") => {
                let found = self.ask(&SSM, "DescribeDocument", json!({ "Name": self.name })).await?;
                found["Document"]["LatestVersion"].clone()
            }
            Err(failure) => return Err(failure),
        };
        let input = json!({ "Name": self.name, "DocumentVersion": version });
        self.ask(&SSM, "UpdateDocumentDefaultVersion", input).await.map(drop)
    }
}
