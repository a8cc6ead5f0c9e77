//! What leaves Sessionwarden, against a server.
//!
//! ministack, which nobody here wrote, answers for SQS, SNS, EventBridge and CloudWatch. Its set-up needs python3 with venv, and the
//! package index on the first run; where that is missing the tests say so, and fail if `SESSIONWARDEN_REQUIRE_TOOLS` is 1.

mod metrics;
mod notify;
mod parking;
mod routes;
mod wake_ups;

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::Credentials;
use sessionwarden_machine::ids::AccountId;
use sessionwarden_testbed::{
    Server, or_say,
    python::{Access, ministack},
};

pub(crate) const REGION: &str = "eu-west-1";
pub(crate) const OWN: &str = "000000000000";
pub(crate) const MEMBER: u64 = 111_122_223_333;

pub(crate) fn account(number: u64) -> AccountId {
    AccountId::new(number).expect("an account")
}

/// A configuration whose calls are an account's own: the server takes an access key of twelve digits for one.
pub(crate) async fn config(url: &str, account: &str) -> SdkConfig {
    aws_config::defaults(BehaviorVersion::latest())
        .region(Region::new(REGION))
        .credentials_provider(Credentials::new(account, "test", None, None, "test"))
        .endpoint_url(url)
        // The server does not read compressed requests.
        .disable_request_compression(true)
        .load()
        .await
}

/// A server of its own for each test; `None` with a note where it cannot be had.
pub(crate) fn server() -> Option<Server> {
    or_say(ministack(Access::Open))
}
