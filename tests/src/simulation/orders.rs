//! What people order: they approve locks or refuse them, and end some of them early, each by a command of its own.

use std::{collections::BTreeMap, sync::Arc};

use sessionwarden::{
    control::{ControlReply, ControlRequest, answer, desk},
    host,
    metrics::Metrics,
    run::{Board, SharedBoard},
};
use sessionwarden_machine::{
    account::{Account, EpisodePhase},
    compliance::{Judge, Verdicts},
    effect::Order,
    ids::{AccountId, Now, Subject},
};
use tokio::task::JoinSet;

use super::{
    chance::mix,
    hands::SimHands,
    host::SimHost,
    sim::{Sim, lock},
    store::SimStore,
};

/// How long somebody may think before he orders something, in milliseconds.
const THINKS_MS_MAX: u64 = 120_000;
/// The time between two looks, in milliseconds.
const LOOKS_EVERY_MS: i64 = 15_000;
const PEOPLE: [&str; 3] = ["ann", "ben", "cleo"];

/// The orders that are to be given, and the commands that run.
#[derive(Default)]
pub struct Orders {
    /// When each is given, by account, episode and what the episode waits for.
    planned: BTreeMap<(AccountId, u64, Waits), (Now, Option<Order>)>,
    /// The accounts as they were last read, with their revisions.
    known: BTreeMap<Arc<str>, (u64, Account)>,
    commands: JoinSet<()>,
    looked: Now,
    given: u64,
}

/// What an episode waits for, as far as people have a part in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Waits {
    /// An approval more than these.
    Approvals(usize),
    /// Its end.
    End,
}

impl Orders {
    /// Looks at the accounts as they are stored, and gives what orders are due.
    pub fn look(&mut self, sim: &Arc<Sim>, judge: &Arc<Judge>) {
        while self.commands.try_join_next().is_some() {}
        let now = sim.now();
        if now < self.looked.plus_ms(LOOKS_EVERY_MS) {
            return;
        }
        self.looked = now;
        self.read(sim);
        let known = std::mem::take(&mut self.known);
        for (_, account) in known.values() {
            let Some((number, waits)) = waits_for(account, now, sim) else { continue };
            let key = (account.account, number, waits);
            let drawn = mix(sim.plan.seed, 7_000, self.planned.len() as u64);
            let planned =
                self.planned.entry(key).or_insert_with(|| (now.plus_ms(time_of(drawn, waits)), order_of(drawn, waits)));
            if planned.0 > now {
                continue;
            }
            let Some(order) = planned.1.take() else { continue };
            self.give(sim, judge, order, account.account);
        }
        self.known = known;
    }

    /// Reads the accounts that were written since they were last read.
    fn read(&mut self, sim: &Sim) {
        let tables = lock(&sim.tables);
        for item in tables.of("account#") {
            if self.known.get(&item.key).is_some_and(|(rev, _)| *rev == item.rev) {
                continue;
            }
            if let Ok(account) = item.decode() {
                self.known.insert(Arc::clone(&item.key), (item.rev, account));
            }
        }
    }

    fn give(&mut self, sim: &Arc<Sim>, judge: &Arc<Judge>, order: Order, account: AccountId) {
        self.given += 1;
        let who: Arc<str> = PEOPLE[self.given as usize % PEOPLE.len()].into();
        if order == Order::Approve {
            lock(&sim.approvers).entry(account).or_default().insert(Arc::clone(&who));
        }
        // A command runs on a machine of its own, after those of the workers.
        let machine = SimHost::new(sim, sim.plan.workers, self.given);
        let (sim, judge) = (Arc::clone(sim), Arc::clone(judge));
        let command = Arc::clone(&machine);
        let running = async move {
            let now = host::Host::now(&*command);
            let metrics = Metrics::new().unwrap_or_else(|error| panic!("the table of metrics is wrong: {error}"));
            let settings = sim.settings.clone();
            let board = SharedBoard::new(Board::new(now, &settings, "", metrics.clone()));
            let store = SimStore::new(Arc::clone(&command));
            let mut handler = desk::<_, SimHands>(store, settings, Verdicts::new(judge), metrics, board);
            let subject = Subject::Account(account).to_string();
            let request = ControlRequest::Order { order, subject, reason: "it is understood".to_owned() };
            let reply = answer(&mut handler, request, Arc::clone(&who), now).await;
            let reply = match reply {
                Ok(ControlReply::Refused(why)) => format!("refused: {why}"),
                Ok(_) => "done".to_owned(),
                Err(error) => format!("failed: {error}"),
            };
            command.note(format_args!("{who} orders {order:?} of {account}: {reply}"));
        };
        self.commands.spawn(host::on(machine, Box::pin(running)));
    }
}

fn waits_for(account: &Account, now: Now, sim: &Sim) -> Option<(u64, Waits)> {
    let episode = account.episode.as_ref()?;
    match episode.phase(now, &sim.settings.quarantine) {
        EpisodePhase::Proposed => Some((episode.number.into(), Waits::Approvals(episode.approvals.len()))),
        EpisodePhase::Sweeping | EpisodePhase::Enforced | EpisodePhase::Drifted => {
            Some((episode.number.into(), Waits::End))
        }
        EpisodePhase::Observed
        | EpisodePhase::Refused
        | EpisodePhase::Approved
        | EpisodePhase::Attaching
        | EpisodePhase::Escalated
        | EpisodePhase::Releasing
        | EpisodePhase::Released => None,
    }
}

fn time_of(drawn: u64, waits: Waits) -> i64 {
    let thinks_ms = (drawn >> 8) % THINKS_MS_MAX;
    match waits {
        Waits::Approvals(_) => thinks_ms as i64,
        Waits::End => 2 * thinks_ms as i64,
    }
}

/// Most locks are approved, some are refused, some are forgotten; a quarter of those that hold is ended early.
fn order_of(drawn: u64, waits: Waits) -> Option<Order> {
    match (waits, drawn % 16) {
        (Waits::Approvals(_), 0..12) => Some(Order::Approve),
        (Waits::Approvals(_), 12..14) => Some(Order::Deny),
        (Waits::End, 0..4) => Some(Order::Release),
        (Waits::Approvals(_) | Waits::End, _) => None,
    }
}
