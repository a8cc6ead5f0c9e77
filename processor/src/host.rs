//! The machine that a worker runs on: its clocks, and whether its tasks may go on.
//!
//! Without a host these are the clocks of this machine, and every task goes on. With hosts, many workers run in one
//! process as if each had a machine of its own: what a task on a host starts through [`task`] is on the same host.

use std::{
    cell::RefCell,
    sync::Arc,
    task::{Poll, Waker},
};

use sessionwarden_machine::{ids::Now, invariants::Broken, lease::Mono};

/// A machine that can be slow, wrong about the time, or dead.
pub trait Host: Send + Sync + 'static {
    /// Its time of day.
    fn now(&self) -> Now;

    /// Its milliseconds that never go back.
    fn mono(&self) -> Mono;

    /// Whether a task may go on now. Where not, the host wakes it once it may.
    fn goes_on(&self, waker: &Waker) -> bool;

    /// A promise was found broken.
    fn broken(&self, broken: &Broken);
}

thread_local! {
    static HOST: RefCell<Option<Arc<dyn Host>>> = const { RefCell::new(None) };
}

/// Puts back the host that was there before.
struct Entered(Option<Arc<dyn Host>>);

impl Drop for Entered {
    fn drop(&mut self) {
        let before = self.0.take();
        HOST.with(|host| *host.borrow_mut() = before);
    }
}

fn current() -> Option<Arc<dyn Host>> {
    HOST.with(|host| host.borrow().clone())
}

/// The time of day.
pub fn now() -> Now {
    let hosted = HOST.with(|host| host.borrow().as_ref().map(|host| host.now()));
    hosted.unwrap_or_else(|| Now(jiff::Timestamp::now().as_millisecond()))
}

/// Milliseconds that never go back, where there is a host.
pub(crate) fn mono() -> Option<Mono> {
    HOST.with(|host| host.borrow().as_ref().map(|host| host.mono()))
}

/// Tells the host, where there is one, of a promise that was found broken.
pub(crate) fn broken(broken: &Broken) {
    if let Some(host) = current() {
        host.broken(broken);
    }
}

/// A future that runs on `host`.
pub fn on<F: Future>(host: Arc<dyn Host>, future: F) -> impl Future<Output = F::Output> + use<F> {
    hosted(Some(host), future)
}

/// A task's future, on the host that starts it.
pub(crate) fn task<F: Future>(future: F) -> impl Future<Output = F::Output> + use<F> {
    hosted(current(), future)
}

fn hosted<F: Future>(host: Option<Arc<dyn Host>>, future: F) -> impl Future<Output = F::Output> + use<F> {
    let mut future = Box::pin(future);
    std::future::poll_fn(move |cx| {
        let Some(host) = &host else { return future.as_mut().poll(cx) };
        if !host.goes_on(cx.waker()) {
            return Poll::Pending;
        }
        let _before = Entered(HOST.with(|current| current.borrow_mut().replace(Arc::clone(host))));
        future.as_mut().poll(cx)
    })
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    struct Fixed(i64, AtomicBool);

    impl Host for Fixed {
        fn now(&self) -> Now {
            Now(self.0)
        }

        fn mono(&self) -> Mono {
            Mono(self.0.unsigned_abs())
        }

        fn goes_on(&self, waker: &Waker) -> bool {
            let waits = self.1.swap(false, Ordering::Relaxed);
            if waits {
                waker.wake_by_ref();
            }
            !waits
        }

        fn broken(&self, broken: &Broken) {
            panic!("{broken}");
        }
    }

    #[tokio::test]
    async fn what_a_task_starts_is_on_its_host() {
        let fixed = |at, waits| -> Arc<dyn Host> { Arc::new(Fixed(at, AtomicBool::new(waits))) };
        let one = on(fixed(1, true), async {
            let inner = tokio::spawn(task(async {
                tokio::task::yield_now().await;
                (now(), mono())
            }));
            (now(), inner.await.expect("it ends"))
        });
        let two = on(fixed(2, false), async {
            tokio::task::yield_now().await;
            now()
        });
        assert_eq!(tokio::join!(one, two), ((Now(1), (Now(1), Some(Mono(1)))), Now(2)));
        assert!(now().0 > 1_600_000_000_000, "this machine's own time");
        assert_eq!(mono(), None);
    }
}
