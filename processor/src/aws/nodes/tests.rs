use super::*;

fn endpoint(id: &str, service: &str, kind: &str, policy: &str) -> VpcEndpoint {
    VpcEndpoint {
        id: id.to_owned(),
        kind: kind.to_owned(),
        service_name: format!("com.amazonaws.eu-west-1.{service}"),
        state: "available".to_owned(),
        policy_document: Some(policy.to_owned()),
        private_dns_enabled: kind == "Interface",
    }
}

fn ids(network: &Network) -> Vec<(&str, &str)> {
    network.endpoints.iter().map(|(service, endpoint)| (&**service, &*endpoint.id)).collect()
}

#[test]
fn endpoints_that_carry_traffic_are_kept() {
    let mut unnamed = endpoint("vpce-3", "kms", "Interface", "{}");
    unnamed.private_dns_enabled = false;
    let mut pending = endpoint("vpce-4", "ssmmessages", "Interface", "{}");
    pending.state = "pending".to_owned();
    let found = vec![
        endpoint("vpce-1", "s3", "Interface", "{}"),
        endpoint("vpce-2", "s3", "Gateway", "{\"a\":1}"),
        unnamed,
        pending,
        endpoint("vpce-5", "logs", "Interface", ""),
    ];
    let network = endpoints("eu-west-1", found).unwrap();
    assert_eq!(ids(&network), [("logs", "vpce-5"), ("s3", "vpce-2")]);
    assert_eq!(&*network.endpoints["logs"].policy.text, EVERYTHING);
}

/// I11: which of two gateways a node uses is in its route table, which is not read.
#[test]
fn two_gateways_with_different_policies_are_unknown() {
    let two = |other| vec![endpoint("vpce-1", "s3", "Gateway", "{}"), endpoint("vpce-2", "s3", "Gateway", other)];
    assert_eq!(ids(&endpoints("eu-west-1", two("{}")).unwrap()), [("s3", "vpce-1")]);
    assert_eq!(endpoints("eu-west-1", two("{\"a\":1}")), None);
}

fn instance(state: &str) -> Instance {
    let xml = format!(
        "<item><instanceId>i-1</instanceId><instanceState><name>{state}</name></instanceState>\
         <launchTime>2026-11-20T08:00:00.000Z</launchTime><tagSet/></item>"
    );
    quick_xml::de::from_str(&xml).unwrap()
}

/// TH15, TH31: an agent that left while the machine runs is told from a machine that was stopped.
#[test]
fn agents_are_online_lost_or_stopped() {
    let at = aws_smithy_types::DateTime::from_secs(1_795_000_000);
    let info = |status| InstanceInformation::builder().ping_status(status).last_ping_date_time(at).build();
    let seen = EventTime(1_795_000_000_000);
    let launched = EventTime::parse("2026-11-20T08:00:00Z").unwrap();
    let running = instance("running");
    assert_eq!(agent_of(&running, Some(&info(PingStatus::Online))), Some(Agent::Online));
    assert_eq!(agent_of(&running, Some(&info(PingStatus::ConnectionLost))), Some(Agent::Lost(seen)));
    assert_eq!(agent_of(&running, Some(&info(PingStatus::Inactive))), Some(Agent::Lost(seen)));
    assert_eq!(agent_of(&running, None), Some(Agent::Lost(launched)));
    for state in ["stopping", "stopped", "shutting-down", "terminated"] {
        assert_eq!(agent_of(&instance(state), Some(&info(PingStatus::Online))), Some(Agent::Stopped), "{state}");
    }
}
