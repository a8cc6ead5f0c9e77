//! What leaves Sessionwarden, against a server.
//!
//! ministack, which nobody here wrote, answers for SQS, SNS and CloudWatch. Its set-up needs python3 with venv, and the
//! package index on the first run; where that is missing the tests say so, and fail if `SESSIONWARDEN_REQUIRE_TOOLS` is 1.

mod metrics;
mod notify;
mod tools;
mod wake_ups;

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::Credentials;
use sessionwarden_machine::ids::AccountId;

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
pub(crate) fn server() -> Option<tools::Server> {
    let server = tools::ministack();
    if let Err(missing) = &server {
        let required = std::env::var_os("SESSIONWARDEN_REQUIRE_TOOLS").is_some_and(|it| it == "1");
        assert!(!required, "the server cannot be run: {missing}");
        println!("NOT TESTED: the server cannot be run: {missing}");
    }
    server.ok()
}
