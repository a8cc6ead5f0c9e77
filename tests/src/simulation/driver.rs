//! One run, from its beginning to the moment at which everything has come to rest.

use std::sync::Arc;

use sessionwarden_machine::{
    compliance::Judge,
    ids::{AccountId, Now, Subject},
};
use sessionwarden_world::Change;

use super::{
    chance::{Fault, mix},
    converge,
    orders::Orders,
    people::People,
    sim::{Sim, lock},
    stream::{arrive, pause},
    watch,
    workers::{Slot, totals_agree},
};

/// The time between two looks around, in milliseconds.
const TICK_MS: u64 = 250;
/// The time between two checks of what time must bring, in milliseconds.
const CHECK_MS: i64 = 5_000;
/// How long everything may take to come to rest, in milliseconds.
const REST_MS_MAX: i64 = 3_600_000;

/// A run under way.
pub struct Run<'a> {
    sim: &'a Arc<Sim>,
    judge: &'a Arc<Judge>,
    slots: Vec<Slot>,
    people: People,
    orders: Orders,
    checked: Now,
    second: Now,
}

impl<'a> Run<'a> {
    /// All workers are started.
    pub fn new(sim: &'a Arc<Sim>, judge: &'a Arc<Judge>) -> Self {
        let slots = (0..sim.plan.workers).map(|worker| Slot::start(sim, judge, worker, 1)).collect();
        Self {
            sim,
            judge,
            slots,
            people: People::new(sim),
            orders: Orders::default(),
            checked: sim.now(),
            second: sim.now(),
        }
    }

    /// Runs to the end, or to the first promise that does not hold.
    pub async fn run(mut self) {
        let sim = self.sim;
        while sim.elapsed_ms() < sim.plan.faulty_ms && self.goes_on() {
            self.tick().await;
        }
        self.calm_down().await;
        let over = sim.now().plus_ms(REST_MS_MAX);
        while self.goes_on() {
            self.tick().await;
            if sim.elapsed_ms() % 10_000 >= TICK_MS as i64 || !self.people.is_over() {
                continue;
            }
            let Some(why) = converge::unrest(sim) else { break };
            if sim.now() > over {
                sim.broken("liveness", "the whole", format!("an hour after the last fault, {why}"));
            }
        }
        if self.goes_on() {
            // What was counted last has left by then.
            for _ in 0..4 {
                self.tick().await;
            }
            for slot in &self.slots {
                totals_agree(sim, slot);
            }
            converge::compare(sim, self.judge);
        }
        for slot in &mut self.slots {
            slot.bury().await;
        }
    }

    fn goes_on(&self) -> bool {
        lock(&self.sim.watch).broken.is_empty()
    }

    async fn tick(&mut self) {
        pause(TICK_MS).await;
        let sim = self.sim;
        self.people.step(sim);
        arrive(sim);
        self.look_after_workers().await;
        if sim.now() >= self.second.plus_ms(1_000) {
            self.second = sim.now();
            self.second();
        }
        if sim.now() >= self.checked.plus_ms(CHECK_MS) {
            self.checked = sim.now();
            watch::tick(sim);
            self.orders.look(sim, self.judge);
        }
    }

    async fn look_after_workers(&mut self) {
        let (sim, now) = (self.sim, self.sim.now());
        let died = std::mem::take(&mut *lock(&sim.died));
        for worker in died {
            // Somebody's command, otherwise.
            let Some(slot) = self.slots.get_mut(worker) else { continue };
            slot.bury().await;
            let life = slot.host.life;
            let down_ms = 500 + (mix(sim.plan.seed, 5_000 + worker as u64, life) % 20_000) as i64;
            slot.down_until = Some(now.plus_ms(down_ms));
            sim.disturbed_until(now.plus_ms(down_ms));
        }
        for slot in &mut self.slots {
            if slot.down_until.is_some_and(|until| now >= until) {
                *slot = slot.next(sim, self.judge);
            } else if slot.stands_until.is_some_and(|until| now >= until) {
                slot.stands_until = None;
                slot.host.note(format_args!("goes on"));
                slot.host.stand_still(false);
            }
        }
    }

    /// Whatever can go wrong at any time.
    fn second(&mut self) {
        let sim = self.sim;
        self.trouble_workers();
        self.trouble_accounts();
        if let Some(drawn) = sim.happens(Fault::LeaseTheft) {
            lock(&sim.shards).steal(drawn);
            sim.disturbed_until(sim.now().plus_ms(2 * sim.plan.fail_over_ms as i64));
        }
        if let Some(drawn) = sim.happens(Fault::Split) {
            lock(&sim.shards).split(drawn);
            sim.disturbed_until(sim.now());
        }
        if let Some(drawn) = sim.happens(Fault::Merge) {
            lock(&sim.shards).merge(drawn);
            sim.disturbed_until(sim.now());
        }
        if let Some(drawn) = sim.happens(Fault::FeedDown) {
            let until = sim.now().plus_ms(5_000 + (drawn % 120_000) as i64);
            lock(&sim.troubles).feed = Some(until);
            sim.disturbed_until(until);
        }
        if let Some(drawn) = sim.happens(Fault::Poison) {
            let texts: [&[u8]; 4] = [
                b"{\"detail\":{\"eventSource\":\"ssm.amazonaws.com\",\"eventName\":\"StartSession\",",
                b"{\"detail\":{\"eventSource\":\"ssm.amazonaws.com\",\"eventName\":\"ResumeSession\",\"requestParameters\":7}}",
                b"\xff\xfe\x00 \"eventName\":\"StartSession\"",
                b"{\"eventSource\":\"ssm.amazonaws.com\",\"eventName\":\"TerminateSession\",\"eventTime\":\"never\"}",
            ];
            People::rubbish(sim, texts[drawn as usize % texts.len()].to_vec(), drawn);
        }
        if let Some(drawn) = sim.happens(Fault::Oversize) {
            People::rubbish(sim, vec![b'x'; (1 << 20) + 1], drawn);
        }
        if let Some(drawn) = sim.happens(Fault::Aggregated) {
            People::rubbish(sim, vec![0xF3, 0x89, 0x9A, 0xC2, 1, 2, 3], drawn);
        }
        if let Some(drawn) = sim.happens(Fault::TtlEarly) {
            delete_one(sim, drawn);
        }
    }

    fn trouble_workers(&mut self) {
        let (sim, now) = (self.sim, self.sim.now());
        let count = self.slots.len() as u64;
        if let Some(drawn) = sim.happens(Fault::Crash) {
            self.slots[(drawn % count) as usize].host.die_after((drawn >> 8) % 400);
        }
        if let Some(drawn) = sim.happens(Fault::Restart) {
            self.slots[(drawn % count) as usize].ask_to_stop();
        }
        if let Some(drawn) = sim.happens(Fault::Pause) {
            let slot = &mut self.slots[(drawn % count) as usize];
            let lasts_ms = ((drawn >> 8) % (3 * sim.plan.fail_over_ms)) as i64;
            slot.stands_until = Some(now.plus_ms(lasts_ms));
            slot.host.note(format_args!("stands still for {lasts_ms} ms"));
            slot.host.stand_still(true);
            sim.disturbed_until(now.plus_ms(lasts_ms));
        }
    }

    fn trouble_accounts(&self) {
        let (sim, now) = (self.sim, self.sim.now());
        let (accounts, regions, locked) = sim.organization.with(|world| {
            let accounts: Vec<AccountId> = world.accounts().iter().map(|account| account.id).collect();
            (accounts, world.regions().to_vec(), world.quarantined())
        });
        let one = |drawn: u64| accounts[(drawn >> 16) as usize % accounts.len()];
        let lasts = |drawn: u64| now.plus_ms(10_000 + (drawn % 240_000) as i64);
        if let Some(drawn) = sim.happens(Fault::AccountDenied) {
            lock(&sim.troubles).denied.insert(one(drawn), lasts(drawn));
        }
        if let Some(drawn) = sim.happens(Fault::IamDenied) {
            lock(&sim.troubles).iam.insert(one(drawn), now.plus_ms(60_000 + (drawn % 1_740_000) as i64));
        }
        if let Some(drawn) = sim.happens(Fault::AccountSlow) {
            lock(&sim.troubles).slow.insert(one(drawn), lasts(drawn));
        }
        if let Some(drawn) = sim.happens(Fault::SlotsFull) {
            lock(&sim.troubles).full.insert(one(drawn), lasts(drawn));
            sim.disturbed_until(lasts(drawn));
        }
        if let Some(drawn) = sim.happens(Fault::RegionGone) {
            let region = Arc::clone(&regions[(drawn >> 16) as usize % regions.len()]);
            lock(&sim.troubles).regions.insert(region, lasts(drawn));
            sim.disturbed_until(lasts(drawn));
        }
        if !locked.is_empty()
            && let Some(drawn) = sim.happens(Fault::ForeignDetach)
        {
            let account = locked.keys().nth(drawn as usize % locked.len()).copied();
            sim.organization.with(|world| {
                let management = world.accounts().iter().find(|account| account.management);
                let caller = management.map(|account| Arc::clone(&account.admin));
                if let (Some(caller), Some(account), Some(region)) = (caller, account, regions.first()) {
                    let done = world.change(&caller, region, &Change::DetachQuarantine { account });
                    sim.note(None, format_args!("somebody else detaches from {account}: {done:?}"));
                }
            });
        }
    }

    /// Nothing goes wrong any more.
    async fn calm_down(&mut self) {
        let sim = self.sim;
        sim.chance().over = true;
        sim.note(None, format_args!("the faults are over"));
        let now = sim.now();
        {
            let mut troubles = lock(&sim.troubles);
            (troubles.denied, troubles.slow, troubles.iam) = Default::default();
            (troubles.regions, troubles.full, troubles.feed) = Default::default();
            troubles.calm_since = now;
        }
        for slot in &mut self.slots {
            if slot.stands_until.take().is_some() {
                slot.host.stand_still(false);
            }
        }
        self.look_after_workers().await;
        self.people.finish(sim);
    }
}

/// Time to Live deletes a session long before its time.
fn delete_one(sim: &Sim, drawn: u64) {
    let key = {
        let tables = lock(&sim.tables);
        let sessions: Vec<&Arc<str>> =
            tables.of("").filter(|item| item.expires.is_some()).map(|item| &item.key).collect();
        sessions.get(drawn as usize % sessions.len().max(1)).map(|key| Arc::clone(key))
    };
    let Some(key) = key else { return };
    if let Ok(Subject::Session(session)) = key.parse() {
        watch::forget(sim, &session);
        lock(&sim.tables).delete(&key);
    }
}
