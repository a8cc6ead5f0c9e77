//! Sessions into containers by ECS Exec.

use std::sync::Arc;

use serde_json::json;
use sessionwarden_machine::ids::SessionKey;

use crate::{
    cloudtrail::Caller,
    dice::BASE36,
    organisation::NodeKind,
    session::StartSession,
    upload::Destination,
    world::{Call, CallError, World},
};

impl World {
    /// `ecs:ExecuteCommand` into a container of the caller's account. Emits the event, of a refused call too.
    ///
    /// # Errors
    /// [`CallError::Denied`] in quarantine, [`CallError::Gone`] where the region has no such container.
    pub fn execute_command(
        &mut self,
        caller: &Caller,
        region: &Arc<str>,
        target: &Arc<str>,
    ) -> Result<SessionKey, CallError> {
        let mut parts = target.trim_start_matches("ecs:").splitn(3, '_');
        let (cluster, task) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        let account = caller.account;
        let request = json!({"cluster": cluster, "container": "web", "command": "HIDDEN_DUE_TO_SECURITY_REASONS",
            "interactive": true, "task": format!("arn:aws:ecs:{region}:{account}:task/{cluster}/{task}")});
        let request = request.to_string();
        let call = Call { source: "ecs", name: "ExecuteCommand", region, request: &request };
        self.permitted(caller, &call)?;
        let known = self.account(account).and_then(|account| account.node(region, target));
        if known.is_none_or(|node| node.kind != NodeKind::Container) {
            self.emit_failure(caller, &call, "InvalidParameterException", "The task was not found.");
            return Err(CallError::Gone);
        }
        let mut id = String::from("ecs-execute-command-");
        self.dice.push(&mut id, BASE36, 26);
        let response = json!({"clusterArn": format!("arn:aws:ecs:{region}:{account}:cluster/{cluster}"),
            "containerName": "web", "interactive": true,
            "session": {"sessionId": id, "streamUrl": "HIDDEN_DUE_TO_SECURITY_REASONS", "tokenValue": "HIDDEN_DUE_TO_SECURITY_REASONS"}});
        self.emit(caller, &call, &response.to_string());
        let destination = self.cluster(account, region, cluster).ok().filter(|cluster| &*cluster.logging == "OVERRIDE");
        let destination = destination.map(|cluster| Destination {
            bucket: cluster.bucket,
            prefix: format!("{account}/ecs").into(),
            encrypted: true,
            log_group: cluster.log_group,
            key: Arc::from(""),
        });
        let key = SessionKey { account, region: Arc::clone(region), id: id.into() };
        let (region, target) = (Arc::clone(region), Arc::clone(target));
        let request = StartSession { region, target, ..StartSession::default() };
        self.open(caller, &key, &request, Arc::from("AmazonECS-ExecuteInteractiveCommand"), destination);
        Ok(key)
    }
}
