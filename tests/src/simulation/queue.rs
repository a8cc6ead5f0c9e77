//! The queue of wake-ups: delays, duplicates, losses, visibility.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use sessionwarden::{
    outbound::{Delivered, Receipt, Received, Trace, Wake, WakeUps, delay_seconds},
    ports::CallError,
};
use sessionwarden_machine::ids::Now;

use super::{
    chance::Fault,
    host::SimHost,
    sim::{Sim, lock},
    watch,
};

/// How long a message waits in the queue at most, in seconds.
const DELAY_SECONDS_MAX: u16 = 900;
/// How long one receipt waits for messages, in milliseconds.
const WAIT_MS: i64 = 20_000;

struct Message {
    wake: Wake,
    times: u32,
    receipt: u64,
    /// Revisions of what was due in its lane at each receipt.
    due: BTreeMap<u64, Vec<(Arc<str>, u64)>>,
}

/// The messages.
#[derive(Default)]
pub struct Messages {
    numbers: u64,
    visible: BTreeSet<(Now, u64)>,
    kept: BTreeMap<u64, Message>,
    visible_at: BTreeMap<u64, Now>,
}

impl Messages {
    fn show(&mut self, message: u64, at: Now) {
        if let Some(before) = self.visible_at.insert(message, at) {
            self.visible.remove(&(before, message));
        }
        self.visible.insert((at, message));
    }

    /// The same is sent again: who received it so far, and found it too early by his clock, need not look.
    fn sent_on(&mut self, wake: &Wake) {
        for message in self.kept.values_mut().filter(|message| message.wake == *wake) {
            message.due.values_mut().for_each(Vec::clear);
        }
    }

    fn add(&mut self, wake: Wake, at: Now) {
        self.numbers += 1;
        let number = self.numbers;
        self.kept.insert(number, Message { wake, times: 0, receipt: 0, due: BTreeMap::new() });
        self.show(number, at);
    }
}

/// The number of a message, and of its receipt.
fn of_receipt(receipt: &Receipt) -> Option<(u64, u64)> {
    let (message, number) = receipt.0.split_once('/')?;
    Some((message.parse().ok()?, number.parse().ok()?))
}

/// The queue, as one worker sees it.
pub struct SimQueue(pub Arc<SimHost>);

impl SimQueue {
    fn sim(&self) -> &Sim {
        &self.0.sim
    }

    async fn call(&self) -> Result<(), CallError> {
        self.0.way().await;
        match self.sim().happens(Fault::QueueFails) {
            None => Ok(()),
            Some(_) => Err(CallError::Unknown),
        }
    }

    fn take(&self, room: usize, hidden: Duration) -> Vec<Delivered> {
        let (sim, now) = (self.sim(), self.sim().now());
        let mut deliveries = Vec::new();
        let mut messages = lock(&sim.messages);
        while deliveries.len() < room.min(10) {
            let Some((at, number)) = messages.visible.first().copied().filter(|(at, _)| *at <= now) else { break };
            messages.visible.remove(&(at, number));
            let early = sim.happens(Fault::WakeVisibility).map(|drawn| drawn % 10_000);
            let hidden_ms = early.unwrap_or(hidden.as_millis() as u64);
            messages.show(number, now.plus_ms(hidden_ms as i64));
            messages.numbers += 1;
            let receipt = messages.numbers;
            let Some(message) = messages.kept.get_mut(&number) else { continue };
            message.times += 1;
            message.receipt = receipt;
            message.due.insert(receipt, watch::due_at_receipt(sim, &message.wake));
            deliveries.push(Delivered {
                wake: message.wake.clone(),
                receipt: Receipt(format!("{number}/{receipt}").into()),
                times: message.times,
                trace: Trace::default(),
            });
        }
        deliveries
    }
}

impl WakeUps for SimQueue {
    async fn send(&self, wakes: &[(Wake, Trace)], now: Now) -> Vec<(Wake, CallError)> {
        if let Err(error) = self.call().await {
            return wakes.iter().map(|(wake, _)| (wake.clone(), error)).collect();
        }
        let sim = self.sim();
        for (wake, _) in wakes {
            let seconds = delay_seconds(wake.due_at, now, DELAY_SECONDS_MAX);
            let due = sim.now().plus_ms(i64::from(seconds) * 1_000);
            self.0.note(format_args!("sends {}", wake.text()));
            lock(&sim.messages).sent_on(wake);
            if sim.happens(Fault::WakeLost).is_some() {
                continue;
            }
            let late = sim.happens(Fault::WakeLate).map_or(0, |drawn| (drawn % 40_000) as i64);
            let mut messages = lock(&sim.messages);
            messages.add(wake.clone(), due.plus_ms(late));
            if let Some(drawn) = sim.happens(Fault::WakeDuplicate) {
                messages.add(wake.clone(), due.plus_ms((drawn % 20_000) as i64));
            }
        }
        sim.sent.notify_waiters();
        Vec::new()
    }

    async fn receive(&self, room: usize, hidden: Duration, _now: Now) -> Result<Received, CallError> {
        self.call().await?;
        let sim = self.sim();
        let until = sim.now().plus_ms(WAIT_MS);
        loop {
            let sent = sim.sent.notified();
            let deliveries = self.take(room, hidden);
            if !deliveries.is_empty() || sim.now() >= until {
                for one in &deliveries {
                    self.0.note(format_args!("receives {}", one.wake.text()));
                }
                return Ok(Received { deliveries, parked: 0 });
            }
            let next = lock(&sim.messages).visible.first().map_or(until, |(at, _)| (*at).min(until));
            let wait_ms = (next.0 - sim.now().0).max(1).unsigned_abs();
            tokio::select! {
                biased;
                () = sent => {}
                () = tokio::time::sleep(Duration::from_millis(wait_ms)) => {}
            }
        }
    }

    async fn extend(&self, receipts: &[Receipt], hidden: Duration) -> Result<(), CallError> {
        self.call().await?;
        let until = self.sim().now().plus_ms(hidden.as_millis() as i64);
        let mut messages = lock(&self.sim().messages);
        for receipt in receipts {
            let Some((number, of)) = of_receipt(receipt) else { continue };
            if messages.kept.get(&number).is_some_and(|message| message.receipt == of) {
                messages.show(number, until);
            }
        }
        Ok(())
    }

    async fn delete(&self, receipts: &[Receipt]) -> Result<(), CallError> {
        self.call().await?;
        let mut deleted = Vec::new();
        {
            let mut messages = lock(&self.sim().messages);
            for receipt in receipts {
                // As in SQS, an old receipt deletes as well, most of the time.
                let Some((number, of)) = of_receipt(receipt) else { continue };
                if let Some(at) = messages.visible_at.remove(&number) {
                    messages.visible.remove(&(at, number));
                }
                let message = messages.kept.remove(&number);
                deleted.extend(message.and_then(|mut it| Some((it.wake, it.due.remove(&of)?))));
            }
        }
        for (wake, due) in deleted {
            self.0.note(format_args!("deletes {}", wake.text()));
            watch::wake_done(&self.0, &wake, &due);
        }
        Ok(())
    }
}
