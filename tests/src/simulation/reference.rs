//! What is right: a small interpreter that reads all that really happened, in order, and says what must come of it.
//!
//! It knows nothing of the product's code, of stores, streams or workers. Where the moment decides (a role that loses a
//! right and gets it back), it says that either is right.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use sessionwarden_machine::{
    ids::{AccountId, Now, SessionKey},
    settings::QuarantineSettings,
};

/// How long after a role was mended it may still be seen as it was, in milliseconds.
const MENDED_MS: i64 = 60_000;

/// How far a worker's clock may be ahead of the end of a waiver, or behind it, in milliseconds.
const SKEW_MS: i64 = 3_000;

/// What a session is, as far as the rules go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A shell that is logged.
    Shell,
    /// A forwarded port.
    Port,
    /// A tunnel for SSH, which the plan's waiver excuses for a while.
    Ssh,
    /// A command.
    Command,
    /// A document that is not the preferences.
    Custom,
    /// Straight to a container.
    Container,
    /// A shell whose log is never written.
    NeverLogged,
    /// A shell whose log is empty.
    EmptyLog,
    /// A shell whose log is in the wrong place.
    MisplacedLog,
    /// A shell whose log is written twice.
    TwiceLogged,
    /// A shell whose stream is cut off.
    Unstreamed,
}

impl Kind {
    /// The control that it violates by itself.
    pub fn control(self) -> Option<&'static str> {
        match self {
            Self::Port | Self::Ssh => Some("SW-DOC-02"),
            Self::Command => Some("SW-DOC-03"),
            Self::Custom => Some("SW-DOC-01"),
            Self::Container => Some("SW-TGT-01"),
            Self::Shell
            | Self::NeverLogged
            | Self::EmptyLog
            | Self::MisplacedLog
            | Self::TwiceLogged
            | Self::Unstreamed => None,
        }
    }

    /// How it may come out, where no right was lost meanwhile.
    fn outcomes(self) -> &'static [&'static str] {
        match self {
            Self::Shell => &["compliant"],
            Self::Port | Self::Ssh => &["violated"],
            Self::Command | Self::Custom | Self::Container => &["violated", "log-missing"],
            Self::NeverLogged | Self::EmptyLog | Self::MisplacedLog => &["log-missing"],
            Self::TwiceLogged => &["compliant", "unproven"],
            Self::Unstreamed => &["compliant", "violated", "unproven", "log-missing"],
        }
    }
}

/// Something that really happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Happened {
    /// A session began.
    Started {
        /// Which.
        key: SessionKey,
        /// What it is.
        kind: Kind,
        /// Who began it.
        who: Arc<str>,
        /// The role behind its node.
        role: Arc<str>,
        /// Nobody leaves it: it ends by force, or with the show.
        stubborn: bool,
    },
    /// The event of its beginning is in the stream.
    Heard {
        /// Which.
        key: SessionKey,
    },
    /// A session ended.
    Ended {
        /// Which.
        key: SessionKey,
        /// By a call of a worker.
        forced: bool,
    },
    /// A role lost the right to write logs.
    Spoiled {
        /// Whose.
        account: AccountId,
        /// Which.
        role: Arc<str>,
    },
    /// It has it back.
    Mended {
        /// Whose.
        account: AccountId,
        /// Which.
        role: Arc<str>,
    },
    /// A quarantine policy was attached.
    Locked {
        /// To which account.
        account: AccountId,
    },
    /// It was detached.
    Unlocked {
        /// From which account.
        account: AccountId,
    },
    /// What was known of a session was deleted before its time.
    Forgotten {
        /// Which.
        key: SessionKey,
    },
}

/// Whether something must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Must {
    /// It must.
    Be,
    /// It may be, or not.
    MayBe,
    /// It must not.
    NotBe,
}

/// What is right about one session.
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionRight {
    /// What it is.
    pub kind: Kind,
    /// When it began.
    pub started: Now,
    /// When its beginning was heard of.
    pub heard: Option<Now>,
    /// When it ended.
    pub ended: Option<Now>,
    /// It is found to violate a control.
    pub violates: Must,
    /// It may be ended by force.
    pub may_be_ended: bool,
    /// A role lost a right while it lived.
    pub spoiled: bool,
    /// What was known of it was deleted.
    pub forgotten: bool,
    /// How it may come out.
    pub outcomes: BTreeSet<&'static str>,
    /// The role behind its node.
    pub role: Arc<str>,
    /// Who began it.
    pub who: Arc<str>,
    stubborn: bool,
    locked: bool,
}

/// What is right.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Right {
    /// About each session.
    pub sessions: BTreeMap<SessionKey, SessionRight>,
    /// Whether each account's window was full.
    pub accounts: BTreeMap<AccountId, Must>,
}

/// The rules, as far as the interpreter needs to know them.
#[derive(Clone, Debug)]
pub struct RulesRead {
    /// When the waiver for tunnels ends, if there is one.
    pub waiver_ends: Option<Now>,
    /// When an account is locked.
    pub quarantine: QuarantineSettings,
}

/// The interpreter, as far as it has read.
#[derive(Debug)]
pub struct Interpreter {
    rules: RulesRead,
    sessions: BTreeMap<SessionKey, SessionRight>,
    spoiled: BTreeMap<(AccountId, Arc<str>), Option<Now>>,
    locked: BTreeSet<AccountId>,
}

impl Interpreter {
    /// It has read nothing.
    pub fn new(rules: RulesRead) -> Self {
        Self { rules, sessions: BTreeMap::new(), spoiled: BTreeMap::new(), locked: BTreeSet::new() }
    }

    /// Reads what happened next.
    pub fn read(&mut self, at: Now, happened: &Happened) {
        match happened {
            Happened::Started { key, kind, who, role, stubborn } => {
                let spoilt = self.spoiled.get(&(key.account, Arc::clone(role)));
                let session = SessionRight {
                    kind: *kind,
                    started: at,
                    heard: None,
                    ended: None,
                    violates: Must::NotBe,
                    may_be_ended: false,
                    spoiled: spoilt.is_some_and(|until| until.is_none_or(|until| at < until)),
                    forgotten: false,
                    outcomes: BTreeSet::new(),
                    role: Arc::clone(role),
                    who: Arc::clone(who),
                    stubborn: *stubborn,
                    locked: self.locked.contains(&key.account),
                };
                self.sessions.insert(key.clone(), session);
            }
            Happened::Heard { key } => self.change(key, |session| session.heard = session.heard.or(Some(at))),
            Happened::Ended { key, .. } => self.change(key, |session| session.ended = session.ended.or(Some(at))),
            Happened::Forgotten { key } => self.change(key, |session| session.forgotten = true),
            Happened::Spoiled { account, role } => {
                self.spoiled.insert((*account, Arc::clone(role)), None);
                for (key, session) in &mut self.sessions {
                    let here = key.account == *account && session.role == *role;
                    // What the organisation tells of its end may be some seconds old.
                    session.spoiled |= here && session.ended.is_none_or(|ended| at < ended.plus_ms(MENDED_MS));
                }
            }
            Happened::Mended { account, role } => {
                self.spoiled.insert((*account, Arc::clone(role)), Some(at.plus_ms(MENDED_MS)));
            }
            Happened::Locked { account } => {
                self.locked.insert(*account);
                let alive = self.sessions.iter_mut().filter(|(key, it)| key.account == *account && it.ended.is_none());
                alive.for_each(|(_, session)| session.locked = true);
            }
            Happened::Unlocked { account } => drop(self.locked.remove(account)),
        }
    }

    fn change(&mut self, key: &SessionKey, change: impl FnOnce(&mut SessionRight)) {
        if let Some(session) = self.sessions.get_mut(key) {
            change(session);
        }
    }

    /// What is right about one session at `now`; `None` where there never was one of this key.
    pub fn session(&self, key: &SessionKey, now: Now) -> Option<SessionRight> {
        let mut session = self.sessions.get(key).cloned()?;
        judge(&mut session, &self.rules, now);
        Some(session)
    }

    /// What was read about one session; what it comes to is not said.
    pub fn known(&self, key: &SessionKey) -> Option<&SessionRight> {
        self.sessions.get(key)
    }

    /// Whether such a session is found to violate a control.
    pub fn must_end(&self, session: &SessionRight, now: Now) -> bool {
        alone(session, &self.rules, now) == Must::Be
    }

    /// When the last session ended.
    pub fn last_ended(&self) -> Option<Now> {
        self.sessions.values().filter_map(|it| it.ended).max()
    }

    /// Whether an account's window was full by `now`.
    pub fn account(&self, account: AccountId, now: Now) -> Must {
        let here = self.sessions.keys().filter(|key| key.account == account);
        let all: Vec<SessionRight> = here.filter_map(|key| self.session(key, now)).collect();
        window(&all.iter().collect::<Vec<_>>(), &self.rules)
    }

    /// Whether the role behind a session lacks a right now.
    pub fn is_spoiled(&self, key: &SessionKey) -> bool {
        let role = self.sessions.get(key).map(|session| (key.account, Arc::clone(&session.role)));
        role.and_then(|role| self.spoiled.get(&role)).is_some_and(Option::is_none)
    }

    /// How many people are behind these sessions.
    pub fn people<'a>(&self, sessions: impl Iterator<Item = &'a SessionKey>) -> usize {
        sessions.filter_map(|key| self.sessions.get(key)).map(|it| person(&it.who)).collect::<BTreeSet<&str>>().len()
    }

    /// How many people broke the rules in an account, or may have, by `now`.
    pub fn violators(&self, account: AccountId, now: Now) -> usize {
        let here = self.sessions.keys().filter(|key| key.account == account);
        self.people(here.filter(|key| self.session(key, now).is_some_and(|it| it.violates != Must::NotBe)))
    }

    /// All that is right at `now`.
    pub fn right(&self, now: Now) -> Right {
        let judged = |key: &SessionKey| Some((key.clone(), self.session(key, now)?));
        let sessions: BTreeMap<SessionKey, SessionRight> = self.sessions.keys().filter_map(judged).collect();
        let accounts: BTreeSet<AccountId> = sessions.keys().map(|key| key.account).collect();
        let accounts = accounts.into_iter().map(|account| (account, self.account(account, now))).collect();
        Right { sessions, accounts }
    }
}

/// Whoever may assume a role chooses how its session is named; only Identity Center names it after the person.
fn person(who: &str) -> &str {
    let (role, _) = who.rsplit_once('/').unwrap_or((who, ""));
    if role.contains("/AWSReservedSSO_") || !who.contains(":assumed-role/") { who } else { role }
}

/// Whether what a session is violates a control, whatever becomes of its role.
fn alone(session: &SessionRight, rules: &RulesRead, now: Now) -> Must {
    match (session.kind, rules.waiver_ends) {
        (Kind::Ssh, Some(ends)) => match session.ended {
            _ if session.started >= ends => Must::Be,
            Some(ended) if ended.plus_ms(SKEW_MS) < ends => Must::NotBe,
            None if now.plus_ms(SKEW_MS) < ends => Must::NotBe,
            None if now < ends => Must::MayBe,
            // Whether it was seen alive after the end of the waiver is a matter of chance.
            // A sweep may end it before anybody sees that it outlived the waiver.
            Some(_) | None if session.stubborn && !session.locked => Must::Be,
            Some(_) | None => Must::MayBe,
        },
        (kind, _) => {
            if kind.control().is_some() {
                Must::Be
            } else {
                Must::NotBe
            }
        }
    }
}

fn judge(session: &mut SessionRight, rules: &RulesRead, now: Now) {
    let alone = alone(session, rules, now);
    // A cut-off stream is an incident.
    let more = session.spoiled || session.kind == Kind::Unstreamed;
    session.violates = match alone {
        Must::NotBe if more => Must::MayBe,
        Must::Be | Must::MayBe | Must::NotBe => alone,
    };
    session.may_be_ended = alone != Must::NotBe || session.spoiled || session.locked;
    session.outcomes.extend(session.kind.outcomes());
    if session.kind == Kind::Ssh && alone != Must::Be {
        session.outcomes.insert("compliant");
        if alone == Must::NotBe {
            session.outcomes.remove("violated");
        }
    }
    if session.spoiled {
        session.outcomes.extend(["violated", "log-missing", "unproven"]);
    }
}

/// The window slides over the time of the violations; each session counts once.
fn window(all: &[&SessionRight], rules: &RulesRead) -> Must {
    let window_ms = rules.quarantine.window_ms;
    let sure = all.iter().filter(|it| it.violates == Must::Be && it.heard.is_some() && !it.forgotten);
    // When the violation of a tunnel began that outlived its waiver is a matter of the waiver.
    let sure = sure.filter(|it| it.kind != Kind::Ssh || rules.waiver_ends.is_none_or(|ends| it.started >= ends));
    let mut times: Vec<i64> = sure.map(|it| it.started.0).collect();
    times.sort_unstable();
    // CloudTrail gives whole seconds, so the first may count up to a second earlier than it began.
    let end = |first: i64| first - first.rem_euclid(1_000) + window_ms;
    let inside = |at: usize| times[at..].iter().take_while(|time| **time < end(times[at])).count();
    if (0..times.len()).any(|at| inside(at) >= rules.quarantine.sessions_min) {
        return Must::Be;
    }
    // When the others began to violate is not known: all of them may have done so at once.
    let may = all.iter().filter(|it| it.violates != Must::NotBe && it.may_be_ended).count();
    if may >= rules.quarantine.sessions_min { Must::MayBe } else { Must::NotBe }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Now = Now(1_000_000);

    fn key(number: u32) -> SessionKey {
        let account = AccountId::new(7).expect("a small number");
        SessionKey { account, region: "eu-central-1".into(), id: format!("ann-{number}").into() }
    }

    fn started(number: u32, kind: Kind) -> Happened {
        Happened::Started { key: key(number), kind, who: "ann".into(), role: "web".into(), stubborn: false }
    }

    fn read_all(truth: &[(i64, Happened)], waiver_ends: Option<i64>) -> Right {
        let quarantine = QuarantineSettings { sessions_min: 3, window_ms: 10_000, ..QuarantineSettings::default() };
        let rules = RulesRead { waiver_ends: waiver_ends.map(|ms| NOW.plus_ms(ms)), quarantine };
        let mut interpreter = Interpreter::new(rules);
        for (ms, happened) in truth {
            interpreter.read(NOW.plus_ms(*ms), happened);
        }
        interpreter.right(NOW.plus_ms(1_000_000))
    }

    #[test]
    fn a_role_that_lost_a_right_may_make_a_session_violate() {
        let (account, role) = (key(0).account, Arc::<str>::from("web"));
        let spoiled = Happened::Spoiled { account, role: Arc::clone(&role) };
        let right = read_all(
            &[
                (0, started(1, Kind::Shell)),
                (1, Happened::Ended { key: key(1), forced: false }),
                (2, started(2, Kind::Shell)),
                (100_000, spoiled),
                (200_000, Happened::Mended { account, role }),
                (270_000, started(3, Kind::Shell)),
            ],
            None,
        );
        let violates: Vec<Must> = right.sessions.values().map(|session| session.violates).collect();
        assert_eq!(violates, [Must::NotBe, Must::MayBe, Must::NotBe]);
        assert!(right.sessions[&key(2)].may_be_ended && !right.sessions[&key(3)].may_be_ended);
    }

    // I16
    #[test]
    fn a_waiver_ends() {
        let ended = |number| Happened::Ended { key: key(number), forced: false };
        let right = read_all(
            &[
                (0, started(1, Kind::Ssh)),
                (10, ended(1)),
                (20, started(2, Kind::Ssh)),
                (50_000, ended(2)),
                (60_000, started(3, Kind::Ssh)),
            ],
            Some(10_000),
        );
        let violates: Vec<Must> = right.sessions.values().map(|session| session.violates).collect();
        assert_eq!(violates, [Must::NotBe, Must::MayBe, Must::Be]);
        assert!(!right.sessions[&key(1)].outcomes.contains("violated"));
    }

    // R-G13
    #[test]
    fn people_are_told_apart_where_they_can_be() {
        let by = |number, who: &str| {
            let (key, role) = (key(number), "web".into());
            (0, Happened::Started { key, kind: Kind::Port, who: who.into(), role, stubborn: false })
        };
        let arn = |rest: &str| format!("arn:aws:sts::000000000007:assumed-role/{rest}");
        let mut interpreter =
            Interpreter::new(RulesRead { waiver_ends: None, quarantine: QuarantineSettings::default() });
        let names = ["AWSReservedSSO_Op_1/ann", "AWSReservedSSO_Op_1/bob", "AWSReservedSSO_Op_1/ann", "ops/x", "ops/y"];
        for (number, name) in (1..).zip(names) {
            interpreter.read(NOW, &by(number, &arn(name)).1);
        }
        assert_eq!(interpreter.people([key(1), key(3), key(9)].iter()), 1);
        assert_eq!(interpreter.violators(key(0).account, NOW), 3);
    }

    // I5
    #[test]
    fn a_window_slides() {
        let heard = |number| Happened::Heard { key: key(number) };
        let at = |times: [i64; 3]| {
            let started =
                (1..).zip(times).flat_map(|(number, at)| [(at, started(number, Kind::Port)), (at, heard(number))]);
            read_all(&started.collect::<Vec<_>>(), None).accounts[&key(0).account]
        };
        assert_eq!(at([0, 9_000, 9_999]), Must::Be);
        assert_eq!(at([8_000, 11_000, 17_999]), Must::Be, "whatever the clock says");
        assert_eq!(at([0, 9_000, 10_000]), Must::MayBe);
        assert_eq!(at([500, 9_000, 10_250]), Must::MayBe, "the first counts as of second 0");
    }
}
