//! Nodes: instances from EC2, hybrid nodes from Systems Manager, and what surrounds them.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use aws_sdk_ssm::types::{InstanceInformation, InstanceInformationStringFilter, PingStatus, ResourceTypeForTagging};
use sessionwarden_machine::{
    ids::{AccountId, EventTime},
    posture::{Agent, Cluster, Endpoint, Network, Node, PolicyText, RoleFrom, Tags},
};

use super::{
    AwsOrganization, Means, Pages,
    ec2::{Association, Associations, Instance, Instances, VpcEndpoint, VpcEndpoints, filter},
    errors::Failure,
    event_time,
    limits::Place,
    settings::Api,
    signed::{self, EC2, ECS},
};
use crate::ports::{CallError, Nodes};

/// The most ids that one filter takes.
const IDS_AT_ONCE_MAX: usize = 100;
/// The most that `DescribeInstanceInformation` gives at once.
const AGENTS_PER_PAGE: i32 = 50;
const HOST_MANAGEMENT: &str = "/ssm/managed-instance/default-ec2-instance-management-role";
/// What an endpoint lets through that has no policy ("Control access to VPC endpoints using endpoint policies").
const EVERYTHING: &str = r#"{"Statement":[{"Effect":"Allow","Principal":"*","Action":"*","Resource":"*"}]}"#;

impl Nodes for AwsOrganization {
    /// A node is an instance (`i-…`) or a hybrid node (`mi-…`); anything else is not in the answer. An instance without
    /// an instance profile has the role of Default Host Management, where that is set.
    async fn nodes(
        &self,
        account: AccountId,
        region: &str,
        nodes: &BTreeSet<Arc<str>>,
    ) -> Result<BTreeMap<Arc<str>, Node>, CallError> {
        let place: Place = (account, Arc::from(region));
        let (instances, hybrid): (Vec<&str>, Vec<&str>) =
            nodes.iter().map(|id| &**id).filter(|id| is_node(id)).partition(|id| id.starts_with("i-"));
        let all: Vec<&str> = instances.iter().chain(&hybrid).copied().collect();
        let agents = self.agents(&place, &all).await?;
        let mut found = BTreeMap::new();
        for id in hybrid {
            if let Some(agent) = agents.get(id) {
                found.insert(Arc::from(id), self.hybrid(&place, id, agent).await?);
            }
        }
        let associations = self.associations(&place, &instances).await?;
        let mut roles = Roles::new();
        for instance in self.instances(&place, &instances).await? {
            let id = instance.id.as_str();
            let role = self.role_of(&place, &instance, &mut roles).await?;
            let agent = agent_of(&instance, agents.get(id)).ok_or(CallError::Unknown)?;
            let tags = instance.tag_set.item.iter();
            let node = Node {
                role,
                association: associations.get(id).map(|id| Arc::from(id.as_str())),
                tags: tags.map(|tag| (Arc::from(tag.key.as_str()), Arc::from(tag.value.as_str()))).collect(),
                agent,
                network: instance.vpc_id.as_deref().map(Arc::from),
            };
            found.insert(Arc::from(id), node);
        }
        Ok(found)
    }

    /// Endpoints that carry what the agent sends: available ones, and of the interface endpoints those with private
    /// names. A gateway endpoint goes before an interface endpoint ("Types of VPC endpoints for Amazon S3"). Which of
    /// two gateways with different policies carries a node's traffic is not known.
    async fn network(&self, account: AccountId, region: &str, network: &str) -> Result<Network, CallError> {
        let place: Place = (account, Arc::from(region));
        let mut found: Vec<VpcEndpoint> = Vec::new();
        let mut pages = Pages::new();
        loop {
            let mut parameters = filter("vpc-id", [network]);
            parameters.extend(pages.token.clone().map(|token| ("NextToken".to_owned(), token)));
            let send = |means: &Means| {
                signed::query::<VpcEndpoints>(&EC2, means.clone(), "DescribeVpcEndpoints", parameters.clone())
            };
            let page = self.call(&place, Api::Ec2, "DescribeVpcEndpoints", send).await?;
            found.extend(page.vpc_endpoint_set.item);
            if !pages.go_on(page.next_token.as_deref())? {
                return endpoints(region, found).ok_or(CallError::Unknown);
            }
        }
    }

    async fn cluster(&self, account: AccountId, region: &str, cluster: &str) -> Result<Cluster, CallError> {
        let place: Place = (account, Arc::from(region));
        let input = serde_json::json!({ "clusters": [cluster], "include": ["CONFIGURATIONS"] });
        let send =
            |means: &Means| signed::json::<serde_json::Value>(&ECS, means.clone(), "DescribeClusters", input.clone());
        let answer = self.call(&place, Api::Ecs, "DescribeClusters", send).await?;
        let Some(found) = answer["clusters"].get(0) else {
            let missing = answer["failures"][0]["reason"] == "MISSING";
            return Err(if missing { CallError::Gone } else { CallError::Unknown });
        };
        let exec = &found["configuration"]["executeCommandConfiguration"];
        let text = |value: &serde_json::Value| Arc::from(value.as_str().unwrap_or_default());
        Ok(Cluster {
            logging: text(&exec["logging"]),
            bucket: text(&exec["logConfiguration"]["s3BucketName"]),
            log_group: text(&exec["logConfiguration"]["cloudWatchLogGroupName"]),
        })
    }
}

/// Roles that were asked for, by profile, so that each profile costs one call; without a profile it is the role of
/// Default Host Management.
type Roles = BTreeMap<Option<Arc<str>>, Option<Arc<str>>>;

impl AwsOrganization {
    async fn agents(&self, place: &Place, ids: &[&str]) -> Result<BTreeMap<String, InstanceInformation>, Failure> {
        let mut found = BTreeMap::new();
        for ids in ids.chunks(IDS_AT_ONCE_MAX) {
            let values = Some(ids.iter().map(|id| (*id).to_owned()).collect());
            let wanted = InstanceInformationStringFilter::builder().key("InstanceIds").set_values(values).build();
            let wanted = wanted.map_err(|_| Failure::unknown(false))?;
            let mut pages = Pages::new();
            loop {
                let send = |means: &Means| {
                    let call = aws_sdk_ssm::Client::new(&means.config).describe_instance_information();
                    let call = call.filters(wanted.clone()).set_next_token(pages.token.clone());
                    call.max_results(AGENTS_PER_PAGE).send()
                };
                let page = self.call(place, Api::Nodes, "DescribeInstanceInformation", send).await?;
                let next = page.next_token().map(str::to_owned);
                let agents = page.instance_information_list.unwrap_or_default().into_iter();
                found.extend(agents.filter_map(|it| Some((it.instance_id()?.to_owned(), it))));
                if !pages.go_on(next.as_deref())? {
                    break;
                }
            }
        }
        Ok(found)
    }

    async fn instances(&self, place: &Place, ids: &[&str]) -> Result<Vec<Instance>, Failure> {
        let mut found = Vec::new();
        for ids in ids.chunks(IDS_AT_ONCE_MAX) {
            let mut pages = Pages::new();
            loop {
                // By filter: one unknown `InstanceId` would make the whole call fail.
                let mut parameters = filter("instance-id", ids.iter().copied());
                parameters.extend(pages.token.clone().map(|token| ("NextToken".to_owned(), token)));
                let send = |means: &Means| {
                    signed::query::<Instances>(&EC2, means.clone(), "DescribeInstances", parameters.clone())
                };
                let page = self.call(place, Api::Ec2, "DescribeInstances", send).await?;
                found.extend(page.reservation_set.item.into_iter().flat_map(|it| it.instances_set.item));
                if !pages.go_on(page.next_token.as_deref())? {
                    break;
                }
            }
        }
        Ok(found)
    }

    /// The id of each instance's association with its profile.
    async fn associations(&self, place: &Place, ids: &[&str]) -> Result<BTreeMap<String, String>, Failure> {
        const NAME: &str = "DescribeIamInstanceProfileAssociations";
        let mut found = BTreeMap::new();
        for ids in ids.chunks(IDS_AT_ONCE_MAX) {
            let mut pages = Pages::new();
            loop {
                let mut parameters = filter("instance-id", ids.iter().copied());
                parameters.extend(pages.token.clone().map(|token| ("NextToken".to_owned(), token)));
                let send = |means: &Means| signed::query::<Associations>(&EC2, means.clone(), NAME, parameters.clone());
                let page = self.call(place, Api::Ec2, NAME, send).await?;
                let current = |it: &Association| matches!(it.state.as_str(), "associated" | "associating");
                let all = page.iam_instance_profile_association_set.item.into_iter();
                found.extend(all.filter(current).map(|it| (it.instance_id, it.id)));
                if !pages.go_on(page.next_token.as_deref())? {
                    break;
                }
            }
        }
        Ok(found)
    }

    async fn hybrid(&self, place: &Place, id: &str, agent: &InstanceInformation) -> Result<Node, Failure> {
        let send = |means: &Means| {
            let call = aws_sdk_ssm::Client::new(&means.config).list_tags_for_resource();
            call.resource_type(ResourceTypeForTagging::ManagedInstance).resource_id(id).send()
        };
        let listed = self.call(place, Api::Nodes, "ListTagsForResource", send).await.map_err(Failure::of_part)?;
        let tags: Tags = listed.tag_list().iter().map(|tag| (Arc::from(tag.key()), Arc::from(tag.value()))).collect();
        let role = agent.iam_role().map(last_part).filter(|role| !role.is_empty());
        let seen = agent.last_ping_date_time().and_then(event_time);
        let online = agent.ping_status() == Some(&PingStatus::Online);
        Ok(Node {
            role: role.map(|role| (Arc::from(role), RoleFrom::Activation)),
            association: None,
            tags,
            agent: if online { Agent::Online } else { Agent::Lost(seen.ok_or_else(|| Failure::unknown(false))?) },
            network: None,
        })
    }

    async fn role_of(
        &self,
        place: &Place,
        instance: &Instance,
        roles: &mut Roles,
    ) -> Result<Option<(Arc<str>, RoleFrom)>, Failure> {
        let profile: Option<Arc<str>> = instance.iam_instance_profile.as_ref().map(|it| Arc::from(last_part(&it.arn)));
        let role = match (roles.get(&profile), &profile) {
            (Some(role), _) => role.clone(),
            (None, Some(profile)) => self.role_of_profile(place, profile).await?,
            (None, None) => self.host_management(place).await?,
        };
        roles.insert(profile.clone(), role.clone());
        let from = profile.map_or(RoleFrom::DefaultHostManagement, RoleFrom::InstanceProfile);
        Ok(role.map(|role| (role, from)))
    }

    /// The role of a profile; a profile that was deleted gives none.
    async fn role_of_profile(&self, place: &Place, profile: &str) -> Result<Option<Arc<str>>, Failure> {
        let send = |means: &Means| {
            aws_sdk_iam::Client::new(&means.config).get_instance_profile().instance_profile_name(profile).send()
        };
        match self.call(&self.iam_place(place.0), Api::Iam, "GetInstanceProfile", send).await {
            Ok(found) => {
                let role = found.instance_profile().and_then(|profile| profile.roles().first());
                Ok(role.map(|role| Arc::from(role.role_name())))
            }
            Err(failure) if failure.error == CallError::Gone => Ok(None),
            Err(failure) => Err(failure),
        }
    }

    /// The role of Default Host Management; its setting may name it with its path ("Managing EC2 instances
    /// automatically with Default Host Management Configuration").
    async fn host_management(&self, place: &Place) -> Result<Option<Arc<str>>, Failure> {
        let send = |means: &Means| {
            aws_sdk_ssm::Client::new(&means.config).get_service_setting().setting_id(HOST_MANAGEMENT).send()
        };
        match self.call(place, Api::Nodes, "GetServiceSetting", send).await {
            Ok(found) => {
                let value = found.service_setting().and_then(|setting| setting.setting_value());
                let role = value.map(last_part).filter(|role| !role.is_empty() && *role != "$None");
                Ok(role.map(Arc::from))
            }
            Err(failure) if failure.is("ServiceSettingNotFound") => Ok(None),
            Err(failure) => Err(failure),
        }
    }
}

fn is_node(id: &str) -> bool {
    id.starts_with("i-") || id.starts_with("mi-")
}

fn last_part(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// Whether an instance's agent answers. One that this account does not know of while the instance runs is taken to be
/// lost since the launch (TH15).
fn agent_of(instance: &Instance, agent: Option<&InstanceInformation>) -> Option<Agent> {
    if !matches!(instance.state.name.as_str(), "pending" | "running") {
        return Some(Agent::Stopped);
    }
    if agent.is_some_and(|agent| agent.ping_status() == Some(&PingStatus::Online)) {
        return Some(Agent::Online);
    }
    let seen = agent.and_then(|agent| agent.last_ping_date_time()).and_then(event_time);
    seen.or_else(|| EventTime::parse(&instance.launch_time)).map(Agent::Lost)
}

/// The endpoint of each service; `None` where two endpoints of one service differ.
fn endpoints(region: &str, found: Vec<VpcEndpoint>) -> Option<Network> {
    let mut chosen: BTreeMap<Arc<str>, (bool, Endpoint)> = BTreeMap::new();
    for endpoint in found {
        let gateway = endpoint.kind == "Gateway";
        let carries = gateway || endpoint.kind == "Interface" && endpoint.private_dns_enabled;
        let service = endpoint.service_name.split_once(&format!(".{region}.")).map(|(_, service)| Arc::from(service));
        let (Some(service), true) = (service, carries && endpoint.state.eq_ignore_ascii_case("available")) else {
            continue;
        };
        let text = endpoint.policy_document.filter(|text| !text.is_empty());
        let text = text.map_or_else(|| Arc::from(EVERYTHING), Arc::from);
        let policy = PolicyText { name: Arc::from("the endpoint's policy"), text };
        let fresh = (gateway, Endpoint { id: endpoint.id.into(), policy });
        match chosen.get(&service) {
            Some((true, _)) if !gateway => continue,
            Some((before, known)) if *before == gateway => {
                if known.policy != fresh.1.policy {
                    return None;
                }
                continue;
            }
            Some(_) | None => chosen.insert(service, fresh),
        };
    }
    Some(Network { endpoints: chosen.into_iter().map(|(service, (_, endpoint))| (service, endpoint)).collect() })
}

#[cfg(test)]
mod tests;
