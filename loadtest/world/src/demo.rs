//! A minute in the life of an organisation, in quick motion, again and again with variations.

use std::sync::Arc;

use sessionwarden_machine::ids::{AccountId, Now, SessionKey};

use crate::{
    act::{Act, Cast},
    change::Change,
    cloudtrail::Caller,
    dice::Dice,
    estate::{LOG_VERSION, customer_policy, has_profile, profile_of},
    organisation::{Account, Node, NodeKind},
    session::{LogFate, PORT_DOCUMENT, StartSession, UNLOGGED_DOCUMENTS},
    texts::{DENY_LOG, DENY_POLICY, LOG_POLICY, OPEN_PROFILE, UNLOGGED_PREFERENCES, USELESS_LOG},
    world::World,
};

/// How long one round of the script is, in milliseconds.
pub const ROUND_MS: i64 = 60_000;

/// A script that drives a [`World`] so that a watcher sees each kind of trouble within the first 60 s.
///
/// | s | what happens |
/// |---|---|
/// | from 0.5 | ordinary sessions, one every two seconds; each ends by `exit` after 4–9 s and its log arrives |
/// | 6 | a port-forwarding session |
/// | 8, 12 | a session begins; the role behind its node loses the right to write the log: by rounds, the policy is detached, gets another version, is overruled by a deny, or the instance gets another profile |
/// | 10 | a session straight to a container |
/// | 15 | a session that ends at 19 s and whose log never comes |
/// | 17, 26, 41 | a key push, a shell command, another key push |
/// | 20–34 | two people of one account open twelve port sessions; they keep trying until 45 s |
/// | 36 | the role is as before |
/// | 48, 56 | every second round: the preferences document is changed, and put back |
///
/// Sessions that nobody ends by force are left by `exit` before the round is over.
#[derive(Clone, Debug)]
pub struct Demonstration {
    dice: Dice,
    start: Now,
    round: u64,
    acts: std::vec::IntoIter<(i64, Act)>,
    planned: bool,
    cast: Cast,
}

impl Demonstration {
    /// A demonstration whose first round begins at `start`. Equal seeds and worlds give equal rounds.
    pub fn new(seed: u64, start: Now) -> Self {
        let acts = Vec::new().into_iter();
        Self { dice: Dice::new(seed), start, round: 0, acts, planned: false, cast: Cast::default() }
    }

    /// Performs everything that is due, each at its own time, and lets the world's time pass up to `now`.
    ///
    /// How often this is called does not change what happens. After a pause longer than two rounds, the rounds in
    /// between are left out. A world without an ordinary account only has its time pass.
    pub fn step(&mut self, world: &mut World, now: Now) {
        let rounds_due = (now.0 - self.start.0).div_euclid(ROUND_MS);
        if rounds_due > self.round as i64 + 2 {
            self.exit_all(world);
            (self.round, self.planned) = (rounds_due as u64, false);
        }
        loop {
            let begun = self.start.plus_ms(self.round as i64 * ROUND_MS);
            if begun > now {
                break;
            }
            if !self.planned {
                self.acts = self.plan(world).into_iter();
                self.planned = true;
            }
            while let Some((offset_ms, _)) = self.acts.as_slice().first() {
                let at = begun.plus_ms(*offset_ms);
                if at > now {
                    world.advance_to(now);
                    return;
                }
                if let Some((_, act)) = self.acts.next() {
                    world.advance_to(at);
                    self.cast.perform(world, act);
                }
            }
            if begun.plus_ms(ROUND_MS) > now {
                break;
            }
            world.advance_to(begun.plus_ms(ROUND_MS));
            self.exit_all(world);
            (self.round, self.planned) = (self.round + 1, false);
        }
        world.advance_to(now);
    }

    /// The sessions that the current round has opened, by the order in which the script opens them.
    pub fn sessions(&self) -> impl Iterator<Item = &SessionKey> {
        self.cast.sessions()
    }

    fn exit_all(&mut self, world: &mut World) {
        let keys: Vec<SessionKey> = self.cast.sessions().cloned().collect();
        for key in keys {
            world.exit_session(&key);
        }
        self.cast = Cast::default();
    }

    fn plan(&mut self, world: &World) -> Vec<(i64, Act)> {
        let quarantined = world.quarantined();
        let free = |account: &&Account| account.ordinary() && !quarantined.contains_key(&account.id);
        let accounts: Vec<&Account> = world.accounts().iter().filter(free).collect();
        let mut round = Round { dice: &mut self.dice, acts: Vec::new(), slots: 0 };
        if !accounts.is_empty() {
            round.plan(&accounts, self.round);
        }
        let mut acts = round.acts;
        acts.sort_by_key(|(offset_ms, _)| *offset_ms);
        acts
    }
}

struct Round<'d> {
    dice: &'d mut Dice,
    acts: Vec<(i64, Act)>,
    slots: u32,
}

const REASONS: [&str; 4] = ["OPS-1841 disk full", "OPS-1902 slow queries", "release 42", "on call: \"alarm web-5xx\""];

impl Round<'_> {
    fn plan(&mut self, accounts: &[&Account], round: u64) {
        let turn = |at: u64| accounts[((round + at) % accounts.len() as u64) as usize];
        let (abused, tampered) = (turn(0), turn(1));
        let calm: Vec<&Account> =
            accounts.iter().filter(|account| ![abused.id, tampered.id].contains(&account.id)).copied().collect();
        let calm = if calm.is_empty() { accounts.to_vec() } else { calm };

        for at in 0..26 {
            let begin_ms = 500 + 2_000 * at + if at == 0 { 0 } else { self.dice.between(-400, 400) };
            let lasting_ms = if at == 0 { 4_000 } else { self.dice.between(4_000, 9_000) };
            self.visit(&calm, begin_ms, lasting_ms, None, LogFate::Usual);
        }
        let jitter_ms = if round == 0 { 0 } else { self.dice.between(-1_500, 1_500) };
        self.visit(&calm, 6_000 + jitter_ms, 24_000, Some(PORT_DOCUMENT), LogFate::Usual);
        self.visit(&calm, 15_000 + jitter_ms, 4_000, None, LogFate::Never);
        self.container(&calm, 10_000 + jitter_ms);
        self.tampering(tampered, jitter_ms, round);
        self.abuse(abused, round);
        self.side_channels(&calm);
        if round % 2 == 1 {
            self.preferences(&calm);
        }
        self.noise(accounts);
    }

    /// A session of somebody somewhere, left by `exit` after `lasting_ms`.
    fn visit(&mut self, among: &[&Account], begin_ms: i64, lasting_ms: i64, document: Option<&str>, log: LogFate) {
        let Some((account, node)) = self.place(among) else {
            return;
        };
        let caller = self.person(account);
        self.session(begin_ms, lasting_ms, caller, &node, document, log);
    }

    fn session(
        &mut self,
        begin_ms: i64,
        lasting_ms: i64,
        caller: Arc<Caller>,
        node: &Node,
        document: Option<&str>,
        log: LogFate,
    ) {
        let slot = self.slots;
        self.slots += 1;
        let reason = self.dice.pick(&REASONS).map(|reason| Arc::from(*reason));
        let (region, target) = (Arc::clone(&node.region), Arc::clone(&node.id));
        let request =
            StartSession { region, target, document: document.map(Arc::from), reason, log, just_in_time: false };
        self.acts.push((begin_ms, Act::Start { slot, caller, request }));
        self.acts.push((begin_ms + lasting_ms, Act::Exit { slot }));
    }

    fn container(&mut self, among: &[&Account], begin_ms: i64) {
        let Some(account) = self.dice.pick(among).copied() else {
            return;
        };
        let caller = self.person(account);
        if let Some(node) = account.nodes.iter().find(|node| node.kind == NodeKind::Container) {
            self.session(begin_ms, 20_000, caller, node, None, LogFate::Never);
        }
    }

    fn tampering(&mut self, account: &Account, jitter_ms: i64, round: u64) {
        let Some((_, node)) = self.place(&[account]) else {
            return;
        };
        let caller = self.person(account);
        self.session(8_000 + jitter_ms, 32_000, caller, &node, None, LogFate::Usual);
        let role = Arc::clone(&node.role);
        let policy = customer_policy(account.id, LOG_POLICY);
        let (name, deny) = (Arc::from(DENY_POLICY), Arc::from(DENY_LOG));
        let attach = Change::AttachRolePolicy { role: Arc::clone(&role), policy: Arc::clone(&policy) };
        let detach = Change::DetachRolePolicy { role: Arc::clone(&role), policy: Arc::clone(&policy) };
        let (spoil, mend) = match round % 4 {
            1 => {
                let useless = Change::CreatePolicyVersion { policy: Arc::clone(&policy), text: Arc::from(USELESS_LOG) };
                let back = Change::SetDefaultPolicyVersion { policy: Arc::clone(&policy), version: LOG_VERSION };
                (useless, vec![back, Change::DeletePolicyVersion { policy }])
            }
            2 => {
                let put = Change::PutRolePolicy { role: Arc::clone(&role), name: Arc::clone(&name), text: deny };
                (put, vec![Change::DeleteRolePolicy { role, name }])
            }
            3 if has_profile(account, &node) => {
                let swap = |profile| Change::ReplaceProfile { node: Arc::clone(&node.id), profile };
                (swap(Arc::from(OPEN_PROFILE)), vec![swap(profile_of(&role))])
            }
            _ => (detach, vec![attach]),
        };
        self.change(12_000 + jitter_ms, &account.admin, &node.region, spoil);
        for (at, mending) in (0..).zip(mend) {
            self.change(36_000 + 200 * at, &account.admin, &node.region, mending);
        }
    }

    fn abuse(&mut self, account: &Account, round: u64) {
        for at in 0..16 {
            let begin_ms = if at < 12 { 20_000 + 1_200 * at } else { 34_000 + 2_750 * (at - 11) };
            let Some((_, node)) = self.place(&[account]) else {
                return;
            };
            let caller = Arc::clone(&account.users[at as usize % account.users.len().min(2)]);
            let varied = self.dice.pick(&UNLOGGED_DOCUMENTS[..3]).filter(|_| round > 0);
            let document = varied.map_or(PORT_DOCUMENT, |(document, _)| *document);
            self.session(begin_ms, 12_000, caller, &node, Some(document), LogFate::Never);
        }
    }

    fn side_channels(&mut self, among: &[&Account]) {
        for (at_ms, push) in [(17_000, true), (26_000, false), (41_000, true)] {
            let Some((account, node)) = self.place(among) else {
                return;
            };
            let id = Arc::clone(&node.id);
            let change = if push {
                Change::Other("ec2-instance-connect", "SendSSHPublicKey", id)
            } else {
                Change::Other("ssm", "SendCommand", id)
            };
            let caller = self.person(account);
            self.change(at_ms, &caller, &node.region, change);
        }
    }

    fn preferences(&mut self, among: &[&Account]) {
        if let Some((account, node)) = self.place(among) {
            let unlogged = Change::update_preferences(UNLOGGED_PREFERENCES);
            self.change(48_000, &account.admin, &node.region, unlogged);
            self.change(48_100, &account.admin, &node.region, Change::set_preferences(None));
            self.change(56_000, &account.admin, &node.region, Change::set_preferences(Some(1)));
        }
    }

    /// Five irrelevant events each second.
    fn noise(&mut self, accounts: &[&Account]) {
        for at in 0..ROUND_MS / 200 {
            let Some((account, node)) = self.place(accounts) else {
                return;
            };
            let caller = self.person(account);
            let Node { id: node, region, role, .. } = node;
            self.acts.push((at * 200 + self.dice.between(0, 199), Act::Background { caller, region, node, role }));
        }
    }

    fn change(&mut self, at_ms: i64, caller: &Arc<Caller>, region: &Arc<str>, change: Change) {
        self.acts.push((at_ms, Act::Change { caller: Arc::clone(caller), region: Arc::clone(region), change }));
    }

    fn place<'a>(&mut self, among: &[&'a Account]) -> Option<(&'a Account, Node)> {
        let account = *self.dice.pick(among)?;
        let machines: Vec<&Node> = account.machines().collect();
        Some((account, (*self.dice.pick(&machines)?).clone()))
    }

    fn person(&mut self, account: &Account) -> Arc<Caller> {
        let person = self.dice.pick(&account.users).unwrap_or(&account.admin);
        Arc::clone(person)
    }
}

/// The account whose people keep opening port sessions in the first round.
pub fn abused_account(world: &World) -> Option<AccountId> {
    world.accounts().iter().find(|account| account.ordinary()).map(|account| account.id)
}
