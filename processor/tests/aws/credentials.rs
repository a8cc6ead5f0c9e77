//! Credentials of member accounts, when calls and roles go wrong.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use sessionwarden::{
    aws::AwsSettings,
    ports::{CallError, Sessions as _},
};
use sessionwarden_testbed::Fault;

use super::{account, connect, sessions::Stage, settings};

const HOUR: Duration = Duration::from_hours(1);

#[tokio::test]
async fn one_role_is_assumed_once_for_all_who_come_at_once() {
    let stage = Stage::new(11, 50, HOUR);
    let hands = stage.hands().await;
    let calls = (0..10).map(|_| hands.active(stage.member, &stage.region));
    assert!(join_all(calls).await.iter().all(Result::is_ok));
    assert_eq!(stage.manager.calls("AssumeRole"), 1);
    // The own account needs no role.
    assert!(hands.active(hands.own_account(), &stage.region).await.is_ok());
    assert_eq!((stage.manager.calls("AssumeRole"), stage.manager.calls("DescribeSessions")), (1, 11));
}

#[tokio::test]
async fn credentials_are_renewed_before_they_end() {
    let stage = Stage::new(12, 50, Duration::from_secs(2));
    let hands = stage.hands().await;
    let began = Instant::now();
    while stage.manager.calls("AssumeRole") < 2 {
        hands.active(stage.member, &stage.region).await.unwrap();
        assert!(began.elapsed() < Duration::from_secs(2), "the credentials are over");
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    assert!(began.elapsed() > Duration::from_secs(1));
}

#[tokio::test]
async fn credentials_that_end_in_the_middle_are_renewed_at_once() {
    let stage = Stage::new(13, 50, HOUR);
    stage.open(1);
    let hands = stage.hands().await;
    assert_eq!(hands.active(stage.member, &stage.region).await.unwrap().len(), 1);
    stage.manager.fail("DescribeSessions", &[Fault::Code(400, "ExpiredTokenException")]);
    assert_eq!(hands.active(stage.member, &stage.region).await.unwrap().len(), 1);
    assert_eq!(stage.manager.calls("AssumeRole"), 2);
    // I11: a token that is over again is no refusal and no answer.
    stage.manager.fail("DescribeSessions", &[Fault::Code(400, "ExpiredTokenException"); 2]);
    assert_eq!(hands.active(stage.member, &stage.region).await, Err(CallError::Unknown));
    assert_eq!(stage.manager.calls("AssumeRole"), 3);
    // Own credentials that are over are no refusal either, and are read again.
    stage.manager.fail("AssumeRole", &[Fault::Code(403, "ExpiredToken")]);
    let other = account(111_122_223_333);
    assert_eq!(hands.active(other, &stage.region).await, Err(CallError::Unknown));
    stage.manager.fail("DescribeSessions", &[Fault::Code(400, "ExpiredTokenException")]);
    assert!(hands.active(hands.own_account(), &stage.region).await.is_ok());
}

/// I13: a role that is refused is not asked for by every call.
#[tokio::test]
async fn a_refused_role_is_tried_again_after_a_while() {
    let stage = Stage::new(14, 50, HOUR);
    let kept = AwsSettings { refusal_kept: Duration::from_millis(300), ..settings() };
    let hands = connect("AKIA999988887777", &[("ssm", stage.manager.url()), ("sts", stage.manager.url())], kept).await;
    stage.manager.fail("AssumeRole", &[Fault::Code(403, "AccessDenied")]);
    let refused = join_all((0..20).map(|_| hands.active(stage.member, &stage.region))).await;
    assert!(refused.iter().all(|it| *it == Err(CallError::Denied)));
    assert_eq!((stage.manager.calls("AssumeRole"), stage.manager.calls("DescribeSessions")), (1, 0));
    // Another account is not affected.
    assert!(hands.active(account(111_122_223_333), &stage.region).await.is_ok());
    tokio::time::sleep(Duration::from_millis(350)).await;
    assert!(hands.active(stage.member, &stage.region).await.is_ok());
}

#[tokio::test]
async fn an_endpoint_that_is_silent_is_unknown_within_a_bound() {
    let stage = Stage::new(15, 50, HOUR);
    let quick = AwsSettings { attempt_max: Duration::from_millis(200), ..settings() };
    let hands = connect("AKIA999988887777", &[("ssm", stage.manager.url()), ("sts", stage.manager.url())], quick).await;
    stage.manager.fail("DescribeSessions", &[Fault::Silence; 3]);
    let began = Instant::now();
    assert_eq!(hands.active(stage.member, &stage.region).await, Err(CallError::Unknown));
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    stage.manager.fail("AssumeRole", &[Fault::Nonsense]);
    let other = account(111_122_223_333);
    assert_eq!(hands.active(other, &stage.region).await, Err(CallError::Unknown));
}
