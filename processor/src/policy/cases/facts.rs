//! From a case to what the core judges.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use sessionwarden_machine::{
    compliance::{EventFacts, EvidenceKind, Judge, Tri, Verdicts},
    document::WantedPreferences,
    effect::Principal,
    ids::{EventId, EventTime, Now, SessionKey},
    session::{Described, Known, Mark, Rules, Seen, Session},
    settings::{PostureSettings, Settings},
};

use super::{Case, EventCase, Expected, Facts, SessionCase};
use crate::policy::explain::Said;

/// How AWS names the sessions of ECS Exec.
const EXEC_PREFIX: &str = "ecs-execute-command-";

impl Case {
    /// What the policies say, judged at `now` where the case names no time.
    pub fn judge(&self, verdicts: &mut Verdicts, now: EventTime) -> Expected {
        match &self.facts {
            Facts::Session(case) => self.judge_session(case, verdicts, now),
            Facts::Event(case) => self.judge_event(case, verdicts.judge(), now),
        }
    }

    fn judge_session(&self, case: &SessionCase, verdicts: &mut Verdicts, now: EventTime) -> Expected {
        let (session, settings) = self.session(case, now);
        let judge = Arc::clone(verdicts.judge());
        let verdict = session.verdict(&mut Rules { verdicts, settings: &settings });
        let id = |control: usize| judge.control(control).id.to_string();
        Expected {
            violated: verdict.violated.iter().map(|(control, ..)| id(*control)).collect(),
            undecided: verdict.unproven.iter().map(|open| open.control.to_string()).collect(),
            waived: verdict.waived.iter().map(|waived| waived.control_id.to_string()).collect(),
        }
    }

    fn judge_event(&self, case: &EventCase, judge: &Judge, now: EventTime) -> Expected {
        let mut found = Expected::default();
        for (control, said) in self.event_said(case, judge, self.at.unwrap_or(now)) {
            let ids = match said {
                Said::Violated { .. } => &mut found.violated,
                Said::Undecided { .. } => &mut found.undecided,
                Said::Waived { .. } => &mut found.waived,
                Said::Clear => continue,
            };
            ids.insert(control.to_string());
        }
        found
    }

    /// What the controls say of an event at `at`, by id; those that are not named are clear.
    pub(crate) fn event_said(&self, case: &EventCase, judge: &Judge, at: EventTime) -> BTreeMap<Arc<str>, Said> {
        let principal = Principal { arn: case.principal.as_str().into(), kind: principal_kind(&case.principal).into() };
        let answer = judge.event(&EventFacts {
            account: self.account,
            region: &case.region,
            unit: case.unit.as_deref(),
            management: case.management,
            principal: &principal,
            threat: &case.threat,
            event: &case.event,
            thing_kind: case.kind,
            thing: &case.thing,
            own: case.own,
            failed: case.failed,
        });
        let id = |control: usize| Arc::clone(&judge.control(control).id);
        let violated = answer.violated.iter().map(|hit| {
            let until = judge.first_unexcused(&hit.waivers, at);
            let said = match hit.waivers.first().filter(|_| until > at) {
                Some(waiver) => {
                    Said::Waived { waiver: Arc::clone(&judge.waiver(*waiver).id), until: until.to_string() }
                }
                None => Said::Violated { since: at.to_string(), event: None },
            };
            (id(hit.control), said)
        });
        // Events have no evidence: a control is open only where it cannot be evaluated.
        let open = answer.unknown.iter().map(|open| (id(open.control), Said::Undecided { needs: Vec::new() }));
        violated.chain(open).collect()
    }

    /// The session as the service would know it, adopted from AWS's description, and the settings that make its place
    /// what the case says.
    pub fn session(&self, case: &SessionCase, now: EventTime) -> (Session, Settings) {
        let at = self.at.unwrap_or_else(|| self.started_at.map_or(now, |started| started.max(now)));
        let started_at = self.started_at.unwrap_or(at);
        let id = if case.container { format!("{EXEC_PREFIX}case") } else { "case".to_owned() };
        let key = SessionKey { account: self.account, region: case.region.as_str().into(), id: id.into() };
        let target = case.target.as_deref();
        let target = target.unwrap_or(if case.container { "ecs:cluster_task_runtime" } else { "i-0123456789abcdef0" });
        let shell = case.document.is_empty() && !case.container;
        let session_type = case.session_type.as_deref().unwrap_or(if shell { "Standard_Stream" } else { "" });
        let mut seen = Seen {
            described: Some(Described {
                started_at,
                owner: case.principal.as_str().into(),
                target: target.into(),
                document: case.document.as_str().into(),
                reason: case.reason.as_deref().map(Into::into),
                access_type: case.access_type.as_str().into(),
            }),
            alive_at: Some(at),
            session_type: session_type.into(),
            ..Seen::default()
        };
        for kind in EvidenceKind::ALL {
            let known = match case.evidence.get(&kind).copied().unwrap_or(Tri::Yes) {
                Tri::Yes => Known { last: Some((at, true)), ..Known::default() },
                Tri::No => Known { first_no: Some(started_at), last: Some((at, false)), ..Known::default() },
                Tri::Unknown => continue,
            };
            seen.evidence.insert(kind, known);
        }
        let mut session = Session::new(key, Now(started_at.0));
        session.seen = Some(Box::new(seen));
        if case.resumed {
            let principal = session.principal();
            session.resumes.push(Mark { at: started_at, event: EventId(0), principal });
        }
        let allowed = if case.region_allowed { BTreeSet::new() } else { BTreeSet::from(["none".into()]) };
        let settings = Settings {
            organization: true,
            allowed_regions: allowed,
            management_account: case.management.then_some(self.account),
            units: case.unit.iter().map(|unit| (self.account, unit.as_str().into())).collect(),
            posture: asking_about_everything(),
            ..Settings::default()
        };
        (session, settings)
    }
}

/// Settings under which no kind of evidence goes without saying: a case says which there is.
fn asking_about_everything() -> PostureSettings {
    let any = || vec!["*".into()];
    PostureSettings {
        preferences: WantedPreferences { streaming: Some(true), ..WantedPreferences::default() },
        node_tags: BTreeMap::from([("any".into(), BTreeSet::new())]),
        third_party_roles: any(),
        run_as_roles: any(),
        reason_units: any().into_iter().collect(),
        ..PostureSettings::default()
    }
}

/// `userIdentity.type` as an ARN shows it; empty where it does not.
fn principal_kind(arn: &str) -> &'static str {
    let path = arn.splitn(6, ':').nth(5).unwrap_or_default();
    match path.split('/').next().unwrap_or_default() {
        "assumed-role" => "AssumedRole",
        "user" => "IAMUser",
        "root" => "Root",
        _ => "",
    }
}
