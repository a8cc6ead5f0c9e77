//! Token buckets: so many calls of each group in each account and region, whoever makes them.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use governor::DefaultKeyedRateLimiter;
use sessionwarden_machine::ids::AccountId;

use super::{
    errors::Failure,
    settings::{Api, Limit},
};
use crate::ports::CallError;

/// An account and a region.
pub(super) type Place = (AccountId, Arc<str>);

/// The token buckets of all groups. There are at most as many as accounts times regions times groups.
#[derive(Debug)]
pub(super) struct Limits {
    limiters_by_api: BTreeMap<Api, DefaultKeyedRateLimiter<Place>>,
    wait_max: Duration,
}

impl Limits {
    pub(super) fn new(limits: &BTreeMap<Api, Limit>, wait_max: Duration) -> Self {
        let limiter = |api: Api| {
            let limit = limits.get(&api).copied().unwrap_or_else(|| api.default_limit());
            let quota = governor::Quota::per_second(limit.per_second).allow_burst(limit.burst);
            (api, DefaultKeyedRateLimiter::keyed(quota))
        };
        Self { limiters_by_api: Api::ALL.into_iter().map(limiter).collect(), wait_max }
    }

    /// Waits for a call's turn. A turn that does not come in time is [`CallError::Throttled`].
    pub(super) async fn turn(&self, api: Api, place: &Place) -> Result<(), Failure> {
        let Some(limiter) = self.limiters_by_api.get(&api) else {
            return Ok(());
        };
        let turn = tokio::time::timeout(self.wait_max, limiter.until_key_ready(place)).await;
        turn.map_err(|_| Failure::from(CallError::Throttled))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[tokio::test]
    async fn a_bucket_is_of_one_account_region_and_group() {
        let limits = BTreeMap::from([(Api::Sessions, Limit::new(1, 2)), (Api::Iam, Limit::new(1, 1))]);
        let limits = Limits::new(&limits, Duration::from_millis(20));
        let place = |account, region| (AccountId::new(account).unwrap(), Arc::from(region));
        let here = place(1, "eu-west-1");
        for _ in 0..2 {
            limits.turn(Api::Sessions, &here).await.unwrap();
        }
        assert_eq!(limits.turn(Api::Sessions, &here).await.unwrap_err().error, CallError::Throttled);
        // I13: another account, another region and another group go on.
        limits.turn(Api::Sessions, &place(2, "eu-west-1")).await.unwrap();
        limits.turn(Api::Sessions, &place(1, "eu-west-2")).await.unwrap();
        limits.turn(Api::Iam, &here).await.unwrap();
    }

    #[tokio::test]
    async fn a_turn_that_comes_in_time_is_waited_for() {
        let limits = BTreeMap::from([(Api::Kms, Limit::new(20, 1))]);
        let limits = Limits::new(&limits, Duration::from_secs(5));
        let place = (AccountId::new(1).unwrap(), Arc::from("eu-west-1"));
        let began = Instant::now();
        for _ in 0..5 {
            limits.turn(Api::Kms, &place).await.unwrap();
        }
        assert!(began.elapsed() >= Duration::from_millis(190), "{:?}", began.elapsed());
    }
}
