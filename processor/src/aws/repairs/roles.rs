//! IAM roles and managed policies.

use aws_sdk_iam::Client;
use serde_json::{Map, Value};
use sessionwarden_machine::wanted::{State, missing, same};

use super::{Api, Change, Failure, Means, Thing, parsed, unparsed};
use crate::aws::{Pages, identities::decoded};

impl Thing<'_> {
    pub(super) async fn role(&self) -> Result<State, Failure> {
        let send = |means: &Means| Client::new(&means.config).get_role().role_name(self.name).send();
        let found = self.iam("GetRole", send).await?;
        let role = found.role().ok_or_else(|| Failure::unknown(false))?;
        let trust = role.assume_role_policy_document().unwrap_or_default();
        let boundary = role.permissions_boundary().and_then(|boundary| boundary.permissions_boundary_arn());
        let mut state = State::from([
            ("path".into(), role.path().into()),
            ("trust".into(), parsed(&decoded(trust)?)),
            ("boundary".into(), boundary.into()),
        ]);
        if self.wants("inline") {
            state.insert("inline".into(), self.inline().await?);
        }
        if self.wants("attached") {
            state.insert("attached".into(), self.attached().await?);
        }
        Ok(state)
    }

    async fn inline(&self) -> Result<Value, Failure> {
        let mut policies = Map::new();
        let mut pages = Pages::new();
        loop {
            let send = |means: &Means| {
                let call = Client::new(&means.config).list_role_policies().role_name(self.name);
                call.set_marker(pages.token.clone()).send()
            };
            let page = self.iam("ListRolePolicies", send).await?;
            for policy in page.policy_names() {
                let send = |means: &Means| {
                    Client::new(&means.config).get_role_policy().role_name(self.name).policy_name(policy).send()
                };
                let found = self.iam("GetRolePolicy", send).await.map_err(Failure::of_part)?;
                policies.insert(policy.clone(), parsed(&decoded(found.policy_document())?));
            }
            if !pages.go_on(page.marker().filter(|_| page.is_truncated()))? {
                return Ok(policies.into());
            }
        }
    }

    async fn attached(&self) -> Result<Value, Failure> {
        let mut policies: Vec<Value> = Vec::new();
        let mut pages = Pages::new();
        loop {
            let send = |means: &Means| {
                let call = Client::new(&means.config).list_attached_role_policies().role_name(self.name);
                call.set_marker(pages.token.clone()).send()
            };
            let page = self.iam("ListAttachedRolePolicies", send).await?;
            policies.extend(page.attached_policies().iter().filter_map(|policy| policy.policy_arn()).map(Value::from));
            if !pages.go_on(page.marker().filter(|_| page.is_truncated()))? {
                return Ok(policies.into());
            }
        }
    }

    pub(super) async fn write_role(&self, change: &Change<'_>) -> Result<(), Failure> {
        let name = self.name;
        match change.part {
            "path" if !change.exists => self.create_role(change).await,
            // A role cannot be moved; what is read afterwards says so.
            "path" => Ok(()),
            "trust" => {
                let trust = unparsed(change.wanted);
                let send = |means: &Means| {
                    Client::new(&means.config)
                        .update_assume_role_policy()
                        .role_name(name)
                        .policy_document(&trust)
                        .send()
                };
                self.iam("UpdateAssumeRolePolicy", send).await.map(drop)
            }
            "boundary" => match change.wanted.as_str() {
                Some(boundary) => {
                    let send = |means: &Means| {
                        let call = Client::new(&means.config).put_role_permissions_boundary().role_name(name);
                        call.permissions_boundary(boundary).send()
                    };
                    self.iam("PutRolePermissionsBoundary", send).await.map(drop)
                }
                None => {
                    let send = |means: &Means| {
                        Client::new(&means.config).delete_role_permissions_boundary().role_name(name).send()
                    };
                    self.iam("DeleteRolePermissionsBoundary", send).await.map(drop)
                }
            },
            "inline" => self.write_inline(change).await,
            _ => self.write_attached(change).await,
        }
    }

    async fn create_role(&self, change: &Change<'_>) -> Result<(), Failure> {
        let path = change.wanted.as_str().map(str::to_owned);
        let trust = change.state.get("trust").map(unparsed).unwrap_or_default();
        let boundary = change.state.get("boundary").and_then(Value::as_str).map(str::to_owned);
        let send = |means: &Means| {
            let call = Client::new(&means.config).create_role().role_name(self.name).set_path(path.clone());
            call.assume_role_policy_document(&trust).set_permissions_boundary(boundary.clone()).send()
        };
        self.iam("CreateRole", send).await.map(drop)
    }

    async fn write_inline(&self, change: &Change<'_>) -> Result<(), Failure> {
        let none = Map::new();
        let wanted = change.wanted.as_object().unwrap_or(&none);
        let have = change.have.as_object().unwrap_or(&none);
        for (policy, text) in wanted.iter().filter(|(policy, text)| !have.get(*policy).is_some_and(|it| same(it, text)))
        {
            let text = unparsed(text);
            let send = |means: &Means| {
                let call = Client::new(&means.config).put_role_policy().role_name(self.name).policy_name(policy);
                call.policy_document(&text).send()
            };
            self.iam("PutRolePolicy", send).await?;
        }
        for policy in have.keys().filter(|policy| !wanted.contains_key(*policy)) {
            let send = |means: &Means| {
                Client::new(&means.config).delete_role_policy().role_name(self.name).policy_name(policy).send()
            };
            self.iam("DeleteRolePolicy", send).await?;
        }
        Ok(())
    }

    async fn write_attached(&self, change: &Change<'_>) -> Result<(), Failure> {
        for policy in missing(change.wanted, change.have).into_iter().filter_map(Value::as_str) {
            let send = |means: &Means| {
                Client::new(&means.config).attach_role_policy().role_name(self.name).policy_arn(policy).send()
            };
            self.iam("AttachRolePolicy", send).await?;
        }
        for policy in missing(change.have, change.wanted).into_iter().filter_map(Value::as_str) {
            let send = |means: &Means| {
                Client::new(&means.config).detach_role_policy().role_name(self.name).policy_arn(policy).send()
            };
            self.iam("DetachRolePolicy", send).await?;
        }
        Ok(())
    }

    pub(super) async fn policy(&self) -> Result<State, Failure> {
        let send = |means: &Means| Client::new(&means.config).get_policy().policy_arn(self.name).send();
        let found = self.iam("GetPolicy", send).await?;
        let version = found.policy().and_then(|policy| policy.default_version_id());
        let document = self.version(version.ok_or_else(|| Failure::unknown(false))?).await?;
        Ok(State::from([("document".into(), document)]))
    }

    async fn version(&self, version: &str) -> Result<Value, Failure> {
        let send = |means: &Means| {
            Client::new(&means.config).get_policy_version().policy_arn(self.name).version_id(version).send()
        };
        let found = self.iam("GetPolicyVersion", send).await.map_err(Failure::of_part)?;
        let text = found.policy_version().and_then(|version| version.document()).unwrap_or_default();
        Ok(parsed(&decoded(text)?))
    }

    /// A version that says what is wanted is made the default one, or else a new one is made.
    pub(super) async fn write_policy(&self, change: &Change<'_>) -> Result<(), Failure> {
        let text = unparsed(change.wanted);
        if !change.exists {
            let (path, name) = path_and_name(self.name);
            let send = |means: &Means| {
                let call = Client::new(&means.config).create_policy().policy_name(name).path(&path);
                call.policy_document(&text).send()
            };
            return self.iam("CreatePolicy", send).await.map(drop);
        }
        // There are five at the most ("IAM and AWS STS quotas"), so that one page has them all.
        let send = |means: &Means| Client::new(&means.config).list_policy_versions().policy_arn(self.name).send();
        let versions = self.iam("ListPolicyVersions", send).await?;
        for version in versions.versions().iter().filter_map(|version| version.version_id()) {
            if same(&self.version(version).await?, change.wanted) {
                let send = |means: &Means| {
                    let call = Client::new(&means.config).set_default_policy_version().policy_arn(self.name);
                    call.version_id(version).send()
                };
                return self.iam("SetDefaultPolicyVersion", send).await.map(drop);
            }
        }
        let send = |means: &Means| {
            let call = Client::new(&means.config).create_policy_version().policy_arn(self.name);
            call.policy_document(&text).set_as_default(true).send()
        };
        self.iam("CreatePolicyVersion", send).await.map(drop)
    }

    async fn iam<T, E, F>(&self, name: &'static str, send: impl Fn(&Means) -> F) -> Result<T, Failure>
    where
        E: Into<Failure>,
        F: Future<Output = Result<T, E>>,
    {
        self.hands.call(&self.place, Api::Iam, name, send).await
    }
}

/// What stands between `policy` and the name in a policy's ARN, and the name.
fn path_and_name(arn: &str) -> (String, &str) {
    let resource = arn.split_once(":policy").map_or(arn, |(_, resource)| resource);
    let (path, name) = resource.rsplit_once('/').unwrap_or(("", resource));
    (format!("{path}/"), name)
}

#[cfg(test)]
mod tests {
    use super::path_and_name;

    #[test]
    fn a_policy_is_made_again_under_its_arn() {
        let arn = "arn:aws:iam::111111111111:policy/a/b/name";
        assert_eq!(path_and_name(arn), ("/a/b/".to_owned(), "name"));
        assert_eq!(path_and_name("arn:aws:iam::111111111111:policy/name"), ("/".to_owned(), "name"));
    }
}
