//! What people do, and how the events of it reach the stream.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use sessionwarden_machine::{
    decode::Decoder,
    ids::{AccountId, Now, SessionKey},
};
use sessionwarden_world::{
    Account, Caller, Change, LogFate, NodeKind, StartSession, World,
    dice::Dice,
    estate::customer_policy,
    session::{PORT_DOCUMENT, UNLOGGED_DOCUMENTS},
    texts::LOG_POLICY,
};

use super::{
    chance::Fault,
    plan::{Act, ActKind},
    reference::{Happened, Kind},
    sim::{Sim, lock},
    stream::Meaning,
};

/// What is under way.
pub struct People {
    acts: std::vec::IntoIter<Act>,
    later: BTreeMap<(Now, u64), Later>,
    numbers: u64,
    events: BTreeMap<(Now, u64), Event>,
    decoder: Decoder,
    noise: Dice,
    next_noise: Now,
    spoiled: BTreeSet<(AccountId, Arc<str>)>,
}

/// An event on its way: its partition key, its content, and what has to follow from it.
type Event = (Arc<str>, Vec<u8>, Meaning);

enum Later {
    Exit(SessionKey),
    Resume(SessionKey, Arc<Caller>),
    Start { account: AccountId, kind: Kind, dice: Box<Dice>, stubborn: bool },
    Mend { account: AccountId, role: Arc<str> },
}

fn dice_of(sim: &Sim, act: Act) -> Dice {
    Dice::new(sim.plan.seed.wrapping_mul(0x9e37_79b9).wrapping_add(u64::from(act.number) << 20))
}

impl People {
    /// Nobody has done anything yet.
    pub fn new(sim: &Sim) -> Self {
        Self {
            acts: sim.plan.acts.clone().into_iter(),
            later: BTreeMap::new(),
            numbers: 0,
            events: BTreeMap::new(),
            decoder: Decoder::default(),
            noise: Dice::new(sim.plan.seed ^ 0x006e_6f69_7365),
            next_noise: sim.now(),
            spoiled: BTreeSet::new(),
        }
    }

    /// Does what is due.
    pub fn step(&mut self, sim: &Sim) {
        let now = sim.now();
        while let Some(act) = self.acts.as_slice().first().copied().filter(|act| act.at_ms <= sim.elapsed_ms()) {
            self.acts.next();
            self.act(sim, act);
        }
        while self.later.first_key_value().is_some_and(|((at, _), _)| *at <= now) {
            let Some(((at, _), later)) = self.later.pop_first() else { break };
            self.perform(sim, at, later);
        }
        self.make_noise(sim, now);
        sim.organization.with(|world| {
            // To let time pass costs something for each session that lives.
            if now >= world.now().plus_ms(1_000) {
                world.advance_to(now);
            }
        });
        self.collect(sim);
        self.deliver(sim);
    }

    fn later(&mut self, at: Now, what: Later) {
        self.numbers += 1;
        self.later.insert((at, self.numbers), what);
    }

    fn act(&mut self, sim: &Sim, act: Act) {
        let mut dice = dice_of(sim, act);
        sim.organization.with(|world| world.advance_to(sim.now()));
        // An exempt account is used now and then, and abused more often: it is never to be locked.
        let (also, only) = (dice.chance(0.06), act.kind == ActKind::Abuse && dice.chance(0.25));
        let accounts: Vec<AccountId> = sim.organization.with(|world| {
            let taken = |it: &&Account| if only { it.log_archive } else { it.ordinary() || also && it.log_archive };
            world.accounts().iter().filter(taken).map(|it| it.id).collect()
        });
        let Some(account) = dice.pick(&accounts).copied() else { return };
        match act.kind {
            ActKind::Visit => self.start(sim, account, Kind::Shell, &mut dice, false),
            ActKind::Resumed => {
                if let Some((key, who)) = self.start_session(sim, account, Kind::Shell, &mut dice, false) {
                    for _ in 0..dice.between(1, 6) {
                        let at = sim.now().plus_ms(dice.between(5_000, 300_000));
                        self.later(at, Later::Resume(key.clone(), Arc::clone(&who)));
                    }
                }
            }
            ActKind::Violation => {
                let kinds = [Kind::Port, Kind::Port, Kind::Ssh, Kind::Ssh, Kind::Command, Kind::Custom];
                let kind = dice.pick(&kinds).copied().unwrap_or(Kind::Port);
                let stubborn = dice.chance(0.6);
                self.start(sim, account, kind, &mut dice, stubborn);
            }
            ActKind::Container => {
                let stubborn = dice.chance(0.6);
                self.start(sim, account, Kind::Container, &mut dice, stubborn);
            }
            ActKind::OddLog => {
                let kinds =
                    [Kind::NeverLogged, Kind::EmptyLog, Kind::MisplacedLog, Kind::TwiceLogged, Kind::Unstreamed];
                let kind = dice.pick(&kinds).copied().unwrap_or(Kind::NeverLogged);
                self.start(sim, account, kind, &mut dice, false);
            }
            ActKind::Abuse => self.abuse(sim, account, &mut dice),
            ActKind::Outbreak => {
                let first = dice.below(accounts.len() as u64) as usize;
                let several = accounts.iter().cycle().skip(first).take(accounts.len());
                for account in several.take(sim.settings.quarantine.concurrent_max + 2) {
                    self.abuse(sim, *account, &mut dice);
                }
            }
            ActKind::Tampering => self.spoil(sim, account, &mut dice),
            ActKind::Disturbance => {
                let (archive, bucket) = sim.organization.with(|world| {
                    let bucket = Arc::clone(world.bucket_name());
                    (world.log_archive(), world.bucket(&bucket))
                });
                if let Some(policy) = bucket.ok().and_then(|bucket| bucket.policy) {
                    change(sim, archive, |account| &account.admin, &Change::PutBucketPolicy { text: policy.text });
                }
            }
        }
    }

    fn perform(&mut self, sim: &Sim, at: Now, later: Later) {
        sim.organization.with(|world| world.advance_to(at));
        match later {
            Later::Exit(key) => {
                let alive = |world: &World| world.describe_session(&key).is_some_and(|it| it.ended.is_none());
                let left = sim.organization.with(|world| {
                    let alive = alive(world);
                    world.exit_session(&key);
                    alive
                });
                if left {
                    sim.happened(&Happened::Ended { key, forced: false });
                }
            }
            Later::Resume(key, who) => {
                // A call that is refused, by a lock for one, is part of the show.
                let _ = sim.organization.with(|world| world.resume_session(&who, &key));
            }
            Later::Start { account, kind, mut dice, stubborn } => self.start(sim, account, kind, &mut dice, stubborn),
            Later::Mend { account, role } => {
                self.spoiled.remove(&(account, Arc::clone(&role)));
                let policy = customer_policy(account, LOG_POLICY);
                // Somebody whom no lock denies.
                let attach = Change::AttachRolePolicy { role: Arc::clone(&role), policy };
                change(sim, account, |account| &account.warden, &attach);
                sim.happened(&Happened::Mended { account, role });
            }
        }
    }

    /// Tunnels one after the other, about as many as lock an account.
    fn abuse(&mut self, sim: &Sim, account: AccountId, dice: &mut Dice) {
        let sessions = sim.settings.quarantine.sessions_min as i64 + dice.between(-1, 4);
        for _ in 0..sessions {
            let at = sim.now().plus_ms(dice.between(0, 200_000));
            let start = Later::Start {
                account,
                kind: Kind::Port,
                dice: Box::new(Dice::new(dice.bits())),
                stubborn: dice.chance(0.7),
            };
            self.later(at, start);
        }
    }

    fn start(&mut self, sim: &Sim, account: AccountId, kind: Kind, dice: &mut Dice, stubborn: bool) {
        self.start_session(sim, account, kind, dice, stubborn);
    }

    /// Somebody begins a session, and leaves it after some minutes, unless he is stubborn.
    fn start_session(
        &mut self,
        sim: &Sim,
        account: AccountId,
        kind: Kind,
        dice: &mut Dice,
        stubborn: bool,
    ) -> Option<(SessionKey, Arc<Caller>)> {
        let account: Account = sim.organization.with(|world| world.account(account).cloned())?;
        let container = kind == Kind::Container;
        let nodes: Vec<_> = account.nodes.iter().filter(|it| (it.kind == NodeKind::Container) == container).collect();
        let node = *dice.pick(&nodes)?;
        let drawn = dice.pick(&account.users)?;
        let alone = account.users.first().filter(|_| sim.plan.loners && kind == Kind::Port);
        let who = Arc::clone(alone.unwrap_or(drawn));
        let document = match kind {
            Kind::Port => Some(PORT_DOCUMENT),
            Kind::Ssh => Some("AWS-StartSSHSession"),
            Kind::Command => Some(UNLOGGED_DOCUMENTS[3].0),
            Kind::Custom => Some("debug-shell"),
            Kind::Shell
            | Kind::Container
            | Kind::NeverLogged
            | Kind::EmptyLog
            | Kind::MisplacedLog
            | Kind::TwiceLogged
            | Kind::Unstreamed => None,
        };
        let log = match kind {
            Kind::NeverLogged => LogFate::Never,
            Kind::EmptyLog => LogFate::Empty,
            Kind::MisplacedLog => LogFate::Misplaced,
            Kind::TwiceLogged => LogFate::Twice,
            Kind::Unstreamed => LogFate::Unstreamed,
            Kind::Shell | Kind::Port | Kind::Ssh | Kind::Command | Kind::Custom | Kind::Container => LogFate::Usual,
        };
        let request = StartSession {
            region: Arc::clone(&node.region),
            target: Arc::clone(&node.id),
            document: document.map(Arc::from),
            reason: Some(Arc::from("OPS-7 look around")),
            just_in_time: false,
            log,
        };
        let key = sim.organization.with(|world| world.start_session(&who, &request)).ok()?;
        let role = sim.organization.with(|world| world.node(account.id, &node.region, &node.id)?.role);
        let role = role.map_or_else(|| Arc::clone(&node.role), |(role, _)| role);
        sim.happened(&Happened::Started { key: key.clone(), kind, who: Arc::clone(&who.arn), role, stubborn });
        if !stubborn {
            // Most last minutes, some only seconds.
            let shortest = if dice.chance(0.1) { 2_000 } else { 120_000 };
            let at = sim.now().plus_ms(dice.between(shortest, sim.plan.lasts_ms_max));
            self.later(at, Later::Exit(key.clone()));
        }
        Some((key, who))
    }

    fn spoil(&mut self, sim: &Sim, account: AccountId, dice: &mut Dice) {
        let roles = ["web-node-role", "batch-node-role"];
        let Some(role) = dice.pick(&roles).map(|role| Arc::<str>::from(*role)) else { return };
        if !self.spoiled.insert((account, Arc::clone(&role))) {
            return;
        }
        let policy = customer_policy(account, LOG_POLICY);
        let detach = Change::DetachRolePolicy { role: Arc::clone(&role), policy };
        self.collect(sim);
        if !change(sim, account, |account| &account.admin, &detach) {
            self.spoiled.remove(&(account, role));
            return;
        }
        if sim.plan.quiet {
            sim.organization.with(World::drain_events);
        }
        sim.happened(&Happened::Spoiled { account, role: Arc::clone(&role) });
        let at = sim.now().plus_ms(dice.between(20_000, 900_000));
        self.later(at, Later::Mend { account, role });
    }

    fn make_noise(&mut self, sim: &Sim, now: Now) {
        while sim.plan.noise > 0.0 && self.next_noise <= now && !sim.chance().over {
            let every_ms = (1_000.0 / sim.plan.noise) as i64;
            self.next_noise = self.next_noise.plus_ms(self.noise.between(1, 2 * every_ms));
            let dice = &mut self.noise;
            sim.organization.with(|world| {
                let Some(account) = dice.pick(world.accounts()).cloned() else { return };
                let (Some(node), Some(who)) = (dice.pick(&account.nodes), dice.pick(&account.users)) else { return };
                world.background(who, &node.region, &node.id, &node.role);
            });
        }
    }

    /// Takes the events that the organisation has emitted, each to be delivered in its own time.
    fn collect(&mut self, sim: &Sim) {
        let now = sim.now();
        let fresh = sim.organization.with(World::drain_events);
        for data in fresh {
            let meaning = Meaning::of(&self.decoder, &data);
            self.numbers += 1;
            let number = self.numbers;
            let bits = super::chance::mix(sim.plan.seed, 4_000, number);
            let mut delay_ms = 200 + (bits % 1_800) as i64;
            let begins = matches!(meaning, Meaning::Start(_));
            if let Some(drawn) = sim.happens(Fault::EventReordered) {
                delay_ms += (drawn % 30_000) as i64;
            }
            if let Some(drawn) = begins.then(|| sim.happens(Fault::StartLate)).flatten() {
                delay_ms += (drawn % 400_000) as i64;
            }
            if let Some(drawn) = sim.happens(Fault::EventLate) {
                delay_ms += 120_000 + (drawn % 10_000_000) as i64;
            }
            let key = partition_key(&data, sim.plan.spread);
            if let Some(drawn) = sim.happens(Fault::EventDuplicate) {
                let at = now.plus_ms(delay_ms + (drawn % 60_000) as i64);
                self.numbers += 1;
                self.events.insert((at, self.numbers), (Arc::clone(&key), data.clone(), meaning.clone()));
            }
            if sim.happens(Fault::EventLost).is_none() {
                self.events.insert((now.plus_ms(delay_ms), number), (key, data, meaning));
            }
        }
    }

    fn deliver(&mut self, sim: &Sim) {
        let now = sim.now();
        while self.events.first_key_value().is_some_and(|((at, _), _)| *at <= now) {
            let Some((_, (key, data, meaning))) = self.events.pop_first() else { break };
            if let Meaning::Start(session) = &meaning {
                sim.happened(&Happened::Heard { key: session.clone() });
            }
            lock(&sim.shards).put(&key, data, meaning, now);
        }
    }

    /// Something that cannot be read arrives.
    pub fn rubbish(sim: &Sim, data: Vec<u8>, drawn: u64) {
        lock(&sim.shards).put(&format!("{drawn:x}"), data, Meaning::Unreadable, sim.now());
    }

    /// The show is over: what was on its way arrives, whoever is not stubborn leaves, and roles have their rights again.
    pub fn finish(&mut self, sim: &Sim) {
        self.acts = Vec::new().into_iter();
        let now = sim.now();
        let late: Vec<_> = std::mem::take(&mut self.events).into_values().collect();
        for (number, event) in (0..).zip(late) {
            self.numbers += 1;
            self.events.insert((now.plus_ms(number % 5_000), self.numbers), event);
        }
        let later: Vec<Later> = std::mem::take(&mut self.later).into_values().collect();
        for one in later {
            if matches!(one, Later::Exit(_) | Later::Mend { .. }) {
                self.later(now.plus_ms(60_000), one);
            }
        }
    }

    /// Whether all has been delivered and everybody is gone who leaves by himself.
    pub fn is_over(&self) -> bool {
        self.later.is_empty() && self.events.is_empty()
    }
}

/// The partition key: the envelope's account, as the documentation asks for, or the event's id, as a rule of EventBridge has
/// it where nobody asks for anything.
fn partition_key(data: &[u8], spread: bool) -> Arc<str> {
    let text = std::str::from_utf8(data).unwrap_or_default();
    let name = if spread { r#""eventID":""# } else { r#""account":""# };
    let value = text.split_once(name).and_then(|(_, rest)| rest.split('"').next());
    value.unwrap_or("elsewhere").into()
}

/// Whether it was changed; what the administrator of a locked account wants is refused.
fn change(sim: &Sim, account: AccountId, by: impl Fn(&Account) -> &Arc<Caller>, change: &Change) -> bool {
    sim.organization.with(|world| {
        let caller = world.account(account).map(|account| Arc::clone(by(account)));
        let region = world.regions().first().cloned();
        caller.zip(region).is_some_and(|(caller, region)| world.change(&caller, &region, change).is_ok())
    })
}
