//! What EC2 answers, as far as it is read.

use serde::Deserialize;

/// A list of the query protocol.
#[derive(Debug, Deserialize)]
pub(super) struct Items<T> {
    #[serde(default = "Vec::new")]
    pub(super) item: Vec<T>,
}

impl<T> Default for Items<T> {
    fn default() -> Self {
        Self { item: Vec::new() }
    }
}

/// `DescribeInstances`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Instances {
    #[serde(default)]
    pub(super) reservation_set: Items<Reservation>,
    pub(super) next_token: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Reservation {
    #[serde(default)]
    pub(super) instances_set: Items<Instance>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Instance {
    #[serde(rename = "instanceId")]
    pub(super) id: String,
    #[serde(rename = "instanceState")]
    pub(super) state: State,
    pub(super) launch_time: String,
    pub(super) vpc_id: Option<String>,
    pub(super) iam_instance_profile: Option<Profile>,
    #[serde(default)]
    pub(super) tag_set: Items<Tag>,
}

#[derive(Debug, Deserialize)]
pub(super) struct State {
    pub(super) name: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct Profile {
    pub(super) arn: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct Tag {
    pub(super) key: String,
    #[serde(default)]
    pub(super) value: String,
}

/// `DescribeIamInstanceProfileAssociations`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Associations {
    #[serde(default)]
    pub(super) iam_instance_profile_association_set: Items<Association>,
    pub(super) next_token: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Association {
    #[serde(rename = "associationId")]
    pub(super) id: String,
    pub(super) instance_id: String,
    #[serde(default)]
    pub(super) state: String,
}

/// `DescribeVpcEndpoints`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct VpcEndpoints {
    #[serde(default)]
    pub(super) vpc_endpoint_set: Items<VpcEndpoint>,
    pub(super) next_token: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct VpcEndpoint {
    #[serde(rename = "vpcEndpointId")]
    pub(super) id: String,
    #[serde(rename = "vpcEndpointType", default)]
    pub(super) kind: String,
    pub(super) service_name: String,
    #[serde(default)]
    pub(super) state: String,
    pub(super) policy_document: Option<String>,
    #[serde(default)]
    pub(super) private_dns_enabled: bool,
}

/// `DescribeRegions`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Regions {
    #[serde(default)]
    pub(super) region_info: Items<RegionInfo>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct RegionInfo {
    pub(super) region_name: String,
}

/// Parameters of a filter, the first one of a call.
pub(super) fn filter<'a>(name: &str, values: impl IntoIterator<Item = &'a str>) -> Vec<(String, String)> {
    let values = values.into_iter().enumerate();
    let values = values.map(|(at, value)| (format!("Filter.1.Value.{}", at + 1), value.to_owned()));
    std::iter::once(("Filter.1.Name".to_owned(), name.to_owned())).chain(values).collect()
}
