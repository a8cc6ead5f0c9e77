//! Tests of judging, and what they share.

mod errors;
mod evidence;
mod memory;
mod schema;
mod shipped_events;
mod shipped_sessions;
mod waivers;

use std::sync::Arc;

use super::{
    Answer, DocumentKind, EventFacts, Evidence, EvidenceKind, Judge, PolicyRole, PolicySource, SessionFacts,
    TargetKind, Tri,
};
use crate::{
    effect::Principal,
    ids::{AccountId, EventTime, ThingKind},
};

/// Facts that own their text.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
#[expect(clippy::struct_field_names, reason = "a session's type is called so")]
struct Session {
    account: u64,
    region: &'static str,
    unit: Option<&'static str>,
    management: bool,
    region_allowed: bool,
    principal: Principal,
    target: &'static str,
    target_kind: TargetKind,
    document_name: &'static str,
    document_kind: DocumentKind,
    document_shared: bool,
    session_type: &'static str,
    access_type: &'static str,
    reason: Option<&'static str>,
    resumed: bool,
    started_at: EventTime,
    evidence: Evidence,
}

impl Session {
    /// A session that breaks no shipped control, with all evidence at hand.
    fn good() -> Self {
        Self {
            account: 111_122_223_333,
            region: "eu-central-1",
            unit: Some("sandbox"),
            management: false,
            region_allowed: true,
            principal: principal("arn:aws:sts::111122223333:assumed-role/Admin/alice"),
            target: "i-0123456789abcdef0",
            target_kind: TargetKind::Ec2,
            document_name: "SSM-SessionManagerRunShell",
            document_kind: DocumentKind::DefaultShell,
            document_shared: false,
            session_type: "Standard_Stream",
            access_type: "Standard",
            reason: None,
            resumed: false,
            started_at: EventTime(1_700_000_000_000),
            evidence: all_evidence(Tri::Yes),
        }
    }

    fn facts(&self) -> SessionFacts<'_> {
        SessionFacts {
            account: AccountId::new(self.account).unwrap(),
            region: self.region,
            unit: self.unit,
            management: self.management,
            region_allowed: self.region_allowed,
            principal: &self.principal,
            target: self.target,
            target_kind: self.target_kind,
            document_name: self.document_name,
            document_kind: self.document_kind,
            document_shared: self.document_shared,
            session_type: self.session_type,
            access_type: self.access_type,
            reason: self.reason,
            resumed: self.resumed,
            started_at: self.started_at,
            evidence: self.evidence,
        }
    }
}

#[derive(Clone, Debug)]
struct Event {
    account: u64,
    unit: Option<&'static str>,
    management: bool,
    principal: Principal,
    threat: &'static str,
    call: &'static str,
    thing_kind: Option<ThingKind>,
    thing: &'static str,
    own: bool,
    failed: bool,
}

impl Event {
    /// An event of `threat` on something of somebody.
    fn of(threat: &'static str, call: &'static str) -> Self {
        Self {
            account: 111_122_223_333,
            unit: Some("sandbox"),
            management: false,
            principal: principal("arn:aws:iam::111122223333:user/bob"),
            threat,
            call,
            thing_kind: None,
            thing: "",
            own: false,
            failed: false,
        }
    }

    fn own(mut self) -> Self {
        self.own = true;
        self
    }

    fn failed(mut self) -> Self {
        self.failed = true;
        self
    }

    fn facts(&self) -> EventFacts<'_> {
        EventFacts {
            account: AccountId::new(self.account).unwrap(),
            region: "us-east-1",
            unit: self.unit,
            management: self.management,
            principal: &self.principal,
            threat: self.threat,
            event: self.call,
            thing_kind: self.thing_kind,
            thing: self.thing,
            own: self.own,
            failed: self.failed,
        }
    }
}

fn principal(arn: &str) -> Principal {
    let kind = if arn.contains("assumed-role") { "AssumedRole" } else { "IAMUser" };
    Principal { arn: arn.into(), kind: kind.into() }
}

fn all_evidence(value: Tri) -> Evidence {
    EvidenceKind::ALL.into_iter().fold(Evidence::default(), |evidence, kind| evidence.with(kind, value))
}

fn source(role: PolicyRole, file: &str, text: &str) -> PolicySource {
    PolicySource { file: file.to_owned(), text: text.to_owned(), role }
}

/// A control on sessions with the given id and condition.
fn control(id: &str, condition: &str) -> String {
    format!(
        "@id(\"{id}\") @title(\"A test\") @severity(\"low\") @response(\"report\") @requirement(\"X\") @attack(\"T1021\")\n\
         forbid (principal, action == Action::\"session\", resource) when {{ {condition} }};\n"
    )
}

/// A waiver of `controls` with the given scope of the resource and condition.
fn waiver(id: &str, controls: &str, expires: &str, scope: &str, condition: &str) -> String {
    format!(
        "@id(\"{id}\") @control(\"{controls}\") @owner(\"o\") @ticket(\"t\") @expires(\"{expires}\")\n\
         permit ({scope}) when {{ {condition} }};\n"
    )
}

fn judge(controls: &str, waivers: &str) -> Judge {
    Judge::load(&[source(PolicyRole::Controls, "c.cedar", controls), source(PolicyRole::Waivers, "w.cedar", waivers)])
        .unwrap_or_else(|errors| panic!("{errors}"))
}

fn violated<'j>(judge: &'j Judge, answer: &Answer) -> Vec<&'j str> {
    answer.violated.iter().map(|hit| &*judge.control(hit.control).id).collect()
}

fn open<'j>(judge: &'j Judge, answer: &Answer) -> Vec<&'j str> {
    answer.unknown.iter().map(|open| &*judge.control(open.control).id).collect()
}

fn shipped() -> Arc<Judge> {
    Arc::new(Judge::shipped().unwrap_or_else(|errors| panic!("{errors}")))
}
