//! What the model answers for Systems Manager and CloudWatch Logs.

use std::{sync::Arc, time::Instant};

use serde_json::{Value, json};
use sessionwarden_machine::{
    ids::{AccountId, SessionKey},
    posture::{Agent, RoleFrom},
};
use sessionwarden_world::{Account, Node, SessionDescription, World};

use super::{Inner, answer::Code};

const INVALID: Code = "ValidationException";

impl Inner {
    /// The answer of the model; `None` for what it does not answer.
    pub(super) fn model(
        &self,
        action: &str,
        account: AccountId,
        region: &str,
        input: &Value,
    ) -> Option<Result<Value, Code>> {
        Some(match action {
            "DescribeSessions" => self.describe_sessions(account, region, input),
            "TerminateSession" => self.terminate_session(account, region, input),
            "DescribeInstanceInformation" => self.agents(account, region, input),
            "GetServiceSetting" => {
                let role = self.settings.host_management.as_ref().ok_or("ServiceSettingNotFound");
                role.map(|role| json!({ "ServiceSetting": { "SettingValue": role } }))
            }
            "ListTagsForResource" => Ok(self.tags(account, region, input)),
            "DescribeLogStreams" => self.log_streams(account, region, input),
            // AWS's own documents are in every account, and moto has none of them.
            "GetDocument" => {
                let name = input["Name"].as_str().filter(|name| name.starts_with("AWS-"))?;
                let found = self.world().document(account, region, name).map_err(|_| "InvalidDocument");
                found.map(|document| json!({ "Name": name, "DocumentVersion": "1", "Content": document.content }))
            }
            _ => return None,
        })
    }

    /// `DescribeSessions`: pages of at most `MaxResults`, the state, and filters of which all must hold.
    fn describe_sessions(&self, account: AccountId, region: &str, input: &Value) -> Result<Value, Code> {
        let world = self.world();
        let mut all = match input["State"].as_str() {
            Some("Active") => world.active_sessions(account, region),
            Some("History") => world.past_sessions(account, region),
            _ => return Err(INVALID),
        };
        for filter in input["Filters"].as_array().into_iter().flatten() {
            let wanted = filter["value"].as_str().ok_or(INVALID)?;
            let value: fn(&SessionDescription) -> &str = match filter["key"].as_str() {
                Some("SessionId") => |session| &session.key.id,
                Some("Target") => |session| &session.target,
                Some("Owner") => |session| &session.owner,
                Some("Status") => |session| session.status.as_str(),
                _ => return Err("InvalidFilterKey"),
            };
            all.retain(|session| value(session) == wanted);
        }
        let from = match input["NextToken"].as_str() {
            Some(token) => token.parse().map_err(|_| "InvalidNextToken")?,
            None => 0_usize,
        };
        let most = input["MaxResults"].as_u64().unwrap_or(200) as usize;
        if !(1..=200).contains(&most) || from > all.len() {
            return Err(INVALID);
        }
        let to = all.len().min(from + most.min(self.settings.page));
        let next = (to < all.len()).then(|| to.to_string());
        let page: Vec<Value> = all[from..to].iter().map(shown).collect();
        Ok(json!({ "Sessions": page, "NextToken": next }))
    }

    fn terminate_session(&self, account: AccountId, region: &str, input: &Value) -> Result<Value, Code> {
        let id = input["SessionId"].as_str().ok_or(INVALID)?;
        let key = SessionKey { account, region: Arc::from(region), id: Arc::from(id) };
        let came = Instant::now();
        let mut world = self.world();
        let warden =
            world.account(account).map(|account| Arc::clone(&account.warden)).ok_or("AccessDeniedException")?;
        world.terminate_session(&warden, &key).map_err(|_| "DoesNotExistException")?;
        drop(world);
        self.told().terminations.entry(key.id).or_insert(came);
        Ok(json!({ "SessionId": id }))
    }

    /// `DescribeInstanceInformation`, with the filter by id or without one.
    fn agents(&self, account: AccountId, region: &str, input: &Value) -> Result<Value, Code> {
        let wanted = match input["Filters"].as_array().map_or(&[][..], Vec::as_slice) {
            [] => None,
            [one] if one["Key"] == "InstanceIds" => one["Values"].as_array(),
            _ => return Err("InvalidInstanceInformationFilterValue"),
        };
        let world = self.world();
        let nodes = world.account(account).into_iter().flat_map(Account::machines);
        let of_model = || nodes.filter_map(|node| agent(&world, account, region, node)).collect();
        let mut all = self.settings.agents.clone().unwrap_or_else(of_model);
        all.retain(|agent| wanted.is_none_or(|wanted| wanted.contains(&agent["InstanceId"])));
        Ok(json!({ "InstanceInformationList": all }))
    }

    /// `DescribeLogStreams` of CloudWatch Logs, for the stream whose whole name the prefix is.
    fn log_streams(&self, account: AccountId, region: &str, input: &Value) -> Result<Value, Code> {
        let group = input["logGroupName"].as_str().ok_or("InvalidParameterException")?;
        let name = input["logStreamNamePrefix"].as_str().ok_or("InvalidParameterException")?;
        let found = self.world().stream(account, region, group, name).map_err(|_| "ResourceNotFoundException")?;
        let streams = found.iter().map(|stream| {
            let last = stream.last_event_at.map(|at| at.0);
            json!({ "logStreamName": name, "creationTime": stream.created_at.0, "lastEventTimestamp": last })
        });
        Ok(json!({ "logStreams": streams.collect::<Vec<_>>() }))
    }

    /// `ListTagsForResource`: a node's tags; one that the model does not know is named like its id.
    fn tags(&self, account: AccountId, region: &str, input: &Value) -> Value {
        let id = input["ResourceId"].as_str().unwrap_or_default();
        let tags: Vec<Value> = match self.world().node(account, region, id) {
            Some(node) => node.tags.iter().map(|(key, value)| json!({ "Key": key, "Value": value })).collect(),
            None => vec![json!({ "Key": "Name", "Value": id })],
        };
        json!({ "TagList": tags })
    }
}

fn agent(world: &World, account: AccountId, region: &str, node: &Node) -> Option<Value> {
    let known = world.node(account, region, &node.id)?;
    let now = world.now().as_event_time();
    let (status, seen) = match known.agent {
        Agent::Online => ("Online", now),
        Agent::Lost(since) => ("ConnectionLost", since),
        Agent::Stopped => ("ConnectionLost", now),
    };
    let role = known.role.filter(|(_, from)| *from == RoleFrom::Activation).map(|(role, _)| role);
    Some(json!({
        "InstanceId": node.id,
        "PingStatus": status,
        "LastPingDateTime": seconds(seen.0),
        "IamRole": role,
    }))
}

fn seconds(ms: i64) -> f64 {
    ms as f64 / 1_000.0
}

fn shown(session: &SessionDescription) -> Value {
    json!({
        "SessionId": session.key.id,
        "Target": session.target,
        "Status": session.status.as_str(),
        "StartDate": seconds(session.started.0),
        "EndDate": session.ended.map(|at| seconds(at.0)),
        "DocumentName": session.document,
        "Owner": session.owner,
        "Reason": session.reason,
        "AccessType": if session.just_in_time { "JustInTime" } else { "Standard" },
    })
}
