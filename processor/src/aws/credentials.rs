//! Credentials of one member account: asked for once by all who need them, kept, and asked for again before they end.

use std::time::{Duration, Instant, SystemTime};

use aws_credential_types::Credentials;
use tokio::sync::Mutex;

use super::errors::Failure;

/// The longest time before their end at which credentials are no longer used.
const MARGIN_MAX: Duration = Duration::from_mins(5);

/// What an account's role gave.
#[derive(Debug)]
enum Held {
    Nothing,
    /// Credentials, and when new ones are asked for. By the monotonic clock, because the wall clock may be wrong.
    Lent(Credentials, Instant),
    /// A refusal, and when it is tried again.
    Refused(Failure, Instant),
}

/// The credentials of one account.
#[derive(Debug)]
pub(super) struct Purse(Mutex<Held>);

impl Purse {
    pub(super) fn new() -> Self {
        Self(Mutex::new(Held::Nothing))
    }

    /// Credentials that hold for a while. Whoever comes while they are being asked for waits for that answer.
    ///
    /// Credentials that end later than `asked_for` from now are taken to end then, and so are those that ended already:
    /// then this machine's clock is wrong.
    pub(super) async fn get(
        &self,
        asked_for: Duration,
        refusal_kept: Duration,
        assume: impl Future<Output = Result<Credentials, Failure>>,
    ) -> Result<Credentials, Failure> {
        let mut held = self.0.lock().await;
        match &*held {
            Held::Lent(credentials, until) if Instant::now() < *until => return Ok(credentials.clone()),
            Held::Refused(failure, until) if Instant::now() < *until => return Err(failure.clone()),
            Held::Nothing | Held::Lent(..) | Held::Refused(..) => {}
        }
        match assume.await {
            Ok(credentials) => {
                let left = credentials.expiry().and_then(|at| at.duration_since(SystemTime::now()).ok());
                let left = left.filter(|left| !left.is_zero()).unwrap_or(asked_for).min(asked_for);
                let until = Instant::now() + left.saturating_sub((left / 5).min(MARGIN_MAX));
                *held = Held::Lent(credentials.clone(), until);
                Ok(credentials)
            }
            Err(failure) => {
                *held = Held::Refused(failure.clone(), Instant::now() + refusal_kept);
                Err(failure)
            }
        }
    }

    /// Forgets `credentials`, which were found to be over; not those that somebody else got meanwhile.
    pub(super) async fn forget(&self, credentials: &Credentials) {
        let mut held = self.0.lock().await;
        if matches!(&*held, Held::Lent(lent, _) if lent.access_key_id() == credentials.access_key_id()) {
            *held = Held::Nothing;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;
    use crate::ports::CallError;

    const HOUR: Duration = Duration::from_hours(1);

    fn credentials(number: u32, expiry: Option<SystemTime>) -> Credentials {
        Credentials::new(format!("ASIA{number}"), "secret", None, expiry, "test")
    }

    struct Role(AtomicU32, Option<Duration>);

    impl Role {
        async fn assume(&self) -> Result<Credentials, Failure> {
            tokio::task::yield_now().await;
            let number = self.0.fetch_add(1, Ordering::Relaxed);
            Ok(credentials(number, self.1.map(|left| SystemTime::now() + left)))
        }
    }

    #[tokio::test]
    async fn many_who_come_at_once_ask_once() {
        let (purse, role) = (Purse::new(), Role(AtomicU32::new(0), Some(HOUR)));
        let asking = (0..100).map(|_| purse.get(HOUR, HOUR, role.assume()));
        let all = futures_util::future::join_all(asking).await;
        assert!(all.iter().all(|it| it.as_ref().is_ok_and(|it| it.access_key_id() == "ASIA0")));
        assert_eq!(role.0.into_inner(), 1);
    }

    #[tokio::test]
    async fn credentials_are_renewed_before_they_end() {
        let (purse, role) = (Purse::new(), Role(AtomicU32::new(0), Some(Duration::from_secs(1))));
        let began = Instant::now();
        while purse.get(HOUR, HOUR, role.assume()).await.unwrap().access_key_id() == "ASIA0" {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let kept = began.elapsed();
        assert!(kept >= Duration::from_millis(750) && kept < Duration::from_secs(1), "{kept:?}");
    }

    #[tokio::test]
    async fn a_wrong_clock_does_not_make_every_call_ask() {
        let purse = Purse::new();
        let past = SystemTime::now().checked_sub(HOUR);
        for number in 0..3 {
            let got = purse.get(HOUR, HOUR, async { Ok(credentials(number, past)) }).await.unwrap();
            assert_eq!(got.access_key_id(), "ASIA0");
        }
    }

    #[tokio::test]
    async fn a_refusal_is_kept_for_a_while_and_no_longer() {
        let purse = Purse::new();
        let kept = Duration::from_millis(50);
        let refuse = async || Err(Failure::answered("AccessDenied", 403));
        let grant = async || Ok(credentials(7, None));
        assert_eq!(purse.get(HOUR, kept, refuse()).await.unwrap_err().error, CallError::Denied);
        assert_eq!(purse.get(HOUR, kept, grant()).await.unwrap_err().error, CallError::Denied);
        tokio::time::sleep(kept * 2).await;
        assert_eq!(purse.get(HOUR, kept, grant()).await.unwrap().access_key_id(), "ASIA7");
    }

    #[tokio::test]
    async fn only_the_credentials_that_are_over_are_forgotten() {
        let purse = Purse::new();
        let get = async |number| purse.get(HOUR, HOUR, async { Ok(credentials(number, None)) }).await.unwrap();
        let first = get(1).await;
        purse.forget(&first).await;
        assert_eq!(get(2).await.access_key_id(), "ASIA2");
        purse.forget(&first).await;
        assert_eq!(get(3).await.access_key_id(), "ASIA2");
    }
}
