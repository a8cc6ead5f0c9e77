//! What the tests of sessions, accounts and invariants share.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, LazyLock},
};

use crate::{
    compliance::{EvidenceKind, Judge, PolicyRole, PolicySource, Tri, Verdicts, shipped_sources},
    effect::{Effect, Mode, Principal, RemedyResult},
    ids::{AccountId, EventId, EventTime, Now, SessionKey, Thing, ThingKind},
    session::{
        Call, Described, Gathered, Input, Life, LogLook, LogSeen, Mark, Phase, Rules, Session, SessionEvent, Verdict,
    },
    settings::Settings,
};

/// The beginning of every test, 2023-11-14T22:13:20Z; the other times are seconds after it.
pub(crate) const T0: i64 = 1_700_000_000_000;
/// An instance.
pub(crate) const NODE: &str = "i-0123456789abcdef0";
/// A document that forwards ports.
pub(crate) const PORT: &str = "AWS-StartPortForwardingSession";
/// The account of every session.
pub(crate) const ACCOUNT: u64 = 111_122_223_333;

static SHIPPED: LazyLock<Arc<Judge>> = LazyLock::new(|| with_waivers(""));

/// The shipped controls, with these waivers.
pub(crate) fn with_waivers(text: &str) -> Arc<Judge> {
    let mut sources = shipped_sources();
    sources.push(PolicySource { file: "w.cedar".into(), text: text.into(), role: PolicyRole::Waivers });
    Arc::new(Judge::load(&sources).unwrap_or_else(|errors| panic!("{errors}")))
}

/// A waiver of `controls` that ends `seconds` after the beginning.
pub(crate) fn waiver(id: &str, controls: &str, seconds: i64, condition: &str) -> String {
    format!(
        "@id(\"{id}\") @control(\"{controls}\") @owner(\"o\") @ticket(\"t\") @expires(\"{}\")\n\
         permit (principal, action == Action::\"session\", resource) when {{ {condition} }};\n",
        at(seconds)
    )
}

pub(crate) fn at(seconds: i64) -> EventTime {
    EventTime(T0 + seconds * 1_000)
}

pub(crate) fn now(seconds: i64) -> Now {
    Now(T0 + seconds * 1_000)
}

pub(crate) fn account(number: u64) -> AccountId {
    AccountId::new(number).unwrap()
}

pub(crate) fn key(id: &str) -> SessionKey {
    SessionKey { account: account(ACCOUNT), region: "eu-central-1".into(), id: id.into() }
}

/// A session heard of at the beginning.
pub(crate) fn session() -> Session {
    Session::new(key("ann-0a1b2c3d4e5f60718"), now(0))
}

pub(crate) fn principal(name: &str) -> Principal {
    Principal { arn: format!("arn:aws:iam::{ACCOUNT}:user/{name}").into(), kind: "IAMUser".into() }
}

fn event(seconds: i64, event: u128, call: Call) -> Input {
    let mark = Mark { at: at(seconds), event: EventId(event), principal: principal("ann") };
    Input::Event(SessionEvent { key: session().key, mark, call })
}

/// An opening call.
pub(crate) fn opened(seconds: i64, id: u128, target: &str, document: Option<&str>) -> Input {
    let document = document.map(Arc::from);
    event(seconds, id, Call::Start { target: target.into(), document, reason: None, container: false })
}

/// `ecs:ExecuteCommand`.
pub(crate) fn executed(seconds: i64, id: u128) -> Input {
    event(seconds, id, Call::Start { target: "ecs:c_t_n".into(), document: None, reason: None, container: true })
}

/// A default shell on an instance.
pub(crate) fn start(seconds: i64) -> Input {
    opened(seconds, 1, NODE, None)
}

pub(crate) fn resume(seconds: i64, id: u128) -> Input {
    event(seconds, id, Call::Resume)
}

pub(crate) fn terminate(seconds: i64, id: u128) -> Input {
    event(seconds, id, Call::Terminate)
}

/// What AWS says of a default shell that began at the beginning.
pub(crate) fn described() -> Described {
    Described {
        started_at: at(0),
        owner: principal("ann").arn,
        target: NODE.into(),
        document: "SSM-SessionManagerRunShell".into(),
        reason: None,
        access_type: "Standard".into(),
    }
}

pub(crate) fn round(seconds: i64, life: Life, evidence: &[(EvidenceKind, Tri)], log: LogLook) -> Input {
    let evidence = evidence.iter().map(|(kind, value)| (*kind, (*value).into())).collect();
    Input::Gathered(Box::new(Gathered { evidence, log, ..Gathered::new(now(seconds), life) }))
}

/// Every kind of evidence.
type Whole = [(EvidenceKind, Tri); EvidenceKind::ALL.len()];

/// All evidence that a session needs.
pub(crate) const GOOD: Whole = all_yes_but(Tri::Yes);
/// A role that cannot write the log.
pub(crate) const BAD: Whole = all_yes_but(Tri::No);

const fn all_yes_but(log_writable: Tri) -> Whole {
    let mut all = [(EvidenceKind::LogWritable, log_writable); EvidenceKind::ALL.len()];
    let mut n = 1;
    while n < all.len() {
        all[n] = (EvidenceKind::ALL[n], Tri::Yes);
        n += 1;
    }
    all
}

pub(crate) fn alive(seconds: i64, evidence: &[(EvidenceKind, Tri)]) -> Input {
    round(seconds, Life::Alive(described()), evidence, LogLook::Unknown)
}

/// A round that finds that the session ended at `ended`.
pub(crate) fn ended(seconds: i64, ended: i64) -> Input {
    round(seconds, Life::Ended(at(ended)), &[], LogLook::Unknown)
}

/// A look for the log.
pub(crate) fn look(seconds: i64, log: LogLook) -> Input {
    round(seconds, Life::Unknown, &[], log)
}

pub(crate) fn found(written: i64) -> LogLook {
    LogLook::Found(LogSeen { written_at: at(written), size_bytes: 100, ..LogSeen::default() })
}

pub(crate) fn absent() -> LogLook {
    LogLook::Absent("no object".into())
}

/// A change of the role of this name.
pub(crate) fn changed(role: &str) -> Input {
    Input::Changed(Thing { kind: ThingKind::Role, account: account(ACCOUNT), id: role.into() })
}

pub(crate) fn tried(result: RemedyResult) -> Input {
    Input::Tried { result }
}

/// A policy and settings, to judge with.
pub(crate) struct Desk {
    pub(crate) verdicts: Verdicts,
    pub(crate) settings: Settings,
}

impl Desk {
    pub(crate) fn new(judge: Arc<Judge>, mode: Mode) -> Self {
        let settings = Settings { mode, activity: false, ..Settings::default() };
        Self { verdicts: Verdicts::new(judge), settings }
    }

    /// The shipped controls in observe mode.
    pub(crate) fn observing() -> Self {
        Self::new(Arc::clone(&SHIPPED), Mode::Observe)
    }

    /// The shipped controls in enforce mode.
    pub(crate) fn enforcing() -> Self {
        Self::new(Arc::clone(&SHIPPED), Mode::Enforce)
    }

    pub(crate) fn rules(&mut self) -> Rules<'_> {
        Rules { verdicts: &mut self.verdicts, settings: &self.settings }
    }

    pub(crate) fn step(&mut self, session: &mut Session, input: Input, seconds: i64) -> Vec<Effect> {
        session.step(input, now(seconds), &mut self.rules())
    }

    /// Steps through inputs, each at its second, and returns what the last one wants.
    pub(crate) fn play(
        &mut self,
        session: &mut Session,
        inputs: impl IntoIterator<Item = (i64, Input)>,
    ) -> Vec<Effect> {
        inputs.into_iter().fold(Vec::new(), |_, (seconds, input)| self.step(session, input, seconds))
    }

    pub(crate) fn verdict(&mut self, session: &Session) -> Verdict {
        session.verdict(&mut self.rules())
    }

    pub(crate) fn phase(&mut self, session: &Session) -> Phase {
        let verdict = self.verdict(session);
        session.phase(&verdict, &self.settings)
    }

    /// When to look again, in milliseconds after the beginning.
    pub(crate) fn due_ms(&mut self, session: &Session) -> Option<i64> {
        let verdict = self.verdict(session);
        session.due_at(&verdict, &self.settings).map(|due| due.0 - T0)
    }

    /// Ids of the controls that cannot be decided.
    pub(crate) fn unproven(&mut self, session: &Session) -> Vec<String> {
        self.verdict(session).unproven.iter().map(|open| open.control.to_string()).collect()
    }
}

/// Ids of the controls that were found violated.
pub(crate) fn violated(session: &Session) -> Vec<&str> {
    session.violations.iter().flat_map(|found| found.keys()).map(|id| &**id).collect()
}

/// The effects' ids, sorted, with `*` in place of the session.
pub(crate) fn ids(effects: &[Effect]) -> Vec<String> {
    let session = format!("{ACCOUNT}/eu-central-1/");
    let short = |effect: &Effect| {
        let id = effect.id().0.to_string();
        match id.split_once(&session) {
            Some((kind, rest)) => {
                format!("{kind}*{}", rest.split_once('/').map(|(_, rest)| format!("/{rest}")).unwrap_or_default())
            }
            None => id,
        }
    };
    let sorted: BTreeSet<String> = effects.iter().map(short).collect();
    sorted.into_iter().collect()
}

/// One of each kind of effect that `wanted` can give, by its id.
pub(crate) fn by_id(effects: &[Effect]) -> BTreeMap<String, &Effect> {
    ids(effects)
        .into_iter()
        .map(|id| {
            let effect = effects.iter().find(|effect| ids(std::slice::from_ref(effect))[0] == id).unwrap();
            (id, effect)
        })
        .collect()
}
