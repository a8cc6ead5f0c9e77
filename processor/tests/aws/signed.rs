//! The signed client, when servers go wrong.

use std::time::{Duration, Instant};

use sessionwarden::{
    aws::{AwsOrganization, AwsSettings},
    ports::{CallError, LogPlaces as _, Nodes as _},
};
use sessionwarden_testbed::Fault;

use super::{REGION, connect, sessions::Stage, settings};

async fn hands(stage: &Stage, attempt_max: Duration) -> AwsOrganization {
    let url = stage.manager.url();
    let settings = AwsSettings { attempt_max, ..settings() };
    connect("AKIA999988887777", &[("sts", url), ("ec2", url), ("kms", url)], settings).await
}

#[tokio::test]
async fn errors_of_both_protocols_are_sorted_and_repeated() {
    let stage = Stage::new(21, 50, Duration::from_hours(1));
    let hands = hands(&stage, Duration::from_secs(5)).await;
    let mut asked = (0, 0);
    // What helps is done again, twice at the most; what does not is not.
    for (faults, error, tries) in [
        (vec![Fault::Code(400, "ThrottlingException"); 3], CallError::Throttled, 3),
        (vec![Fault::Code(503, "RequestLimitExceeded"); 3], CallError::Throttled, 3),
        (vec![Fault::Code(500, "InternalFailure"); 3], CallError::Unknown, 3),
        (vec![Fault::Code(403, "UnauthorizedOperation")], CallError::Denied, 1),
        (vec![Fault::Code(400, "InvalidParameterValue")], CallError::Unknown, 1),
        (vec![Fault::Code(502, "")], CallError::Unknown, 3),
        (vec![Fault::Nonsense], CallError::Unknown, 1),
        // I11: an answer longer than any that is read is no answer.
        (vec![Fault::Long(9 << 20)], CallError::Unknown, 1),
    ] {
        let faults = if tries == 3 { vec![faults[0]; 3] } else { faults };
        stage.manager.fail("DescribeVpcEndpoints", &faults);
        assert_eq!(hands.network(stage.member, REGION, "vpc-1").await, Err(error));
        stage.manager.fail("DescribeKey", &faults);
        assert_eq!(hands.key(stage.member, REGION, "k").await, Err(error));
        asked = (asked.0 + tries, asked.1 + tries);
        assert_eq!((stage.manager.calls("DescribeVpcEndpoints"), stage.manager.calls("DescribeKey")), asked);
    }
    stage.manager.fail("DescribeVpcEndpoints", &[Fault::Code(503, "RequestLimitExceeded")]);
    // Two pages, the first of them asked for twice.
    assert_eq!(hands.network(stage.member, REGION, "vpc-1").await.unwrap().endpoints.len(), 1);
    assert_eq!(stage.manager.calls("DescribeVpcEndpoints"), asked.0 + 3);
}

#[tokio::test]
async fn a_silent_server_is_unknown_within_a_bound() {
    let stage = Stage::new(22, 50, Duration::from_hours(1));
    let hands = hands(&stage, Duration::from_millis(200)).await;
    stage.manager.fail("DescribeKey", &[Fault::Silence; 3]);
    let began = Instant::now();
    assert_eq!(hands.key(stage.member, REGION, "k").await, Err(CallError::Unknown));
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    assert_eq!(stage.manager.calls("DescribeKey"), 3);
}
