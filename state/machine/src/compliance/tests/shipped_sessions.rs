use super::*;
use crate::effect::Response;

type Change = fn(&mut Session);

/// A control, what violates it and nothing else, and the nearest thing that does not.
const ROWS: [(&str, Change, Change); 16] = [
    ("SW-DOC-01", |s| s.document_kind = DocumentKind::Custom, |s| s.document_kind = DocumentKind::DefaultShell), // TH1
    ("SW-DOC-01", |s| s.document_shared = true, |s| s.document_shared = false),                                  // TH1
    ("SW-DOC-01", |s| s.document_kind = DocumentKind::Custom, exec_with_custom_document),                        // TH1
    ("SW-DOC-02", |s| s.document_kind = DocumentKind::Port, |s| s.document_kind = DocumentKind::Unknown),        // TH2
    ("SW-DOC-02", |s| s.document_kind = DocumentKind::Ssh, |s| s.document_kind = DocumentKind::Unknown),         // TH2
    ("SW-DOC-03", |s| s.document_kind = DocumentKind::InteractiveCommand, exec_with_command),                    // TH3
    ("SW-DOC-03", |s| s.document_kind = DocumentKind::NonInteractiveCommand, exec_with_command),                 // TH3
    ("SW-DOC-04", |s| deny(s, EvidenceKind::DocumentAsWanted), not_wanted_and_not_used),                         // TH26
    ("SW-TGT-01", |s| s.target_kind = TargetKind::Other, |s| s.target_kind = TargetKind::Hybrid),                // TH8
    ("SW-TGT-01", |s| s.target_kind = TargetKind::Other, |s| s.target_kind = TargetKind::Container),             // TH8
    ("SW-ECS-01", exec_unlogged, |s| s.target_kind = TargetKind::Container),                                     // TH7
    ("SW-ECS-01", exec_unlogged, |s| deny(s, EvidenceKind::ContainerLogged)),                                    // TH7
    ("SW-REG-01", |s| s.region_allowed = false, |s| s.region_allowed = true),                                    // TH17
    ("SW-ACC-01", |s| s.management = true, |s| s.management = false),                                            // TH18
    ("SW-JIT-01", |s| s.access_type = "JustInTime", |s| s.access_type = ""),                                     // TH11
    ("SW-LOG-01", |s| deny(s, EvidenceKind::LogWritable), exec_with_other_role), // TH20, TH21, R-G3
];

fn deny(session: &mut Session, kind: EvidenceKind) {
    session.evidence.set(kind, Tri::No);
}

fn exec_unlogged(session: &mut Session) {
    session.target_kind = TargetKind::Container;
    deny(session, EvidenceKind::ContainerLogged);
}

fn exec_with_command(session: &mut Session) {
    session.target_kind = TargetKind::Container;
    session.document_kind = DocumentKind::InteractiveCommand;
}

fn exec_with_custom_document(session: &mut Session) {
    session.target_kind = TargetKind::Container;
    session.document_kind = DocumentKind::Custom;
}

fn exec_with_other_role(session: &mut Session) {
    session.target_kind = TargetKind::Container;
    deny(session, EvidenceKind::LogWritable);
}

fn not_wanted_and_not_used(session: &mut Session) {
    session.document_kind = DocumentKind::Unknown;
    deny(session, EvidenceKind::DocumentAsWanted);
}

// R-G2, R-G3, TH1, TH2, TH3, TH7, TH8, TH11, TH17, TH18, TH20, TH21, TH26
#[test]
fn each_session_control_is_violated_by_its_cause_and_by_nothing_near() {
    let judge = shipped();
    let good = judge.session(&Session::good().facts());
    assert_eq!(good, Answer::default());
    for (id, bad, near) in ROWS {
        let mut session = Session::good();
        bad(&mut session);
        let answer = judge.session(&session.facts());
        assert_eq!((violated(&judge, &answer), open(&judge, &answer)), (vec![id], vec![]), "{session:?}");
        let wanted = if id == "SW-JIT-01" { Response::Report } else { Response::Terminate };
        assert_eq!(judge.control(answer.violated[0].control).response, wanted, "{id}");
        let mut session = Session::good();
        near(&mut session);
        assert_eq!(judge.session(&session.facts()), Answer::default(), "{id}: {session:?}");
    }
}

#[test]
fn every_session_control_stands_in_the_table() {
    let judge = shipped();
    let listed: std::collections::BTreeSet<_> = ROWS.iter().map(|(id, ..)| *id).collect();
    let events: std::collections::BTreeSet<_> = shipped_events::ROWS.iter().map(|row| row.0).collect();
    let loaded: Vec<_> = judge.controls().iter().map(|control| &*control.id).collect();
    assert_eq!(listed.union(&events).copied().collect::<Vec<_>>(), loaded);
    assert!(listed.is_disjoint(&events));
}

#[test]
fn a_session_without_its_start_violates_nothing_by_that() {
    let judge = shipped();
    let mut session = Session::good();
    session.target_kind = TargetKind::Unknown;
    session.document_kind = DocumentKind::Unknown;
    (session.target, session.document_name, session.access_type) = ("", "", "");
    assert_eq!(judge.session(&session.facts()), Answer::default());
}

#[test]
fn what_counts_towards_quarantine_is_what_the_catalogue_says() {
    let judge = shipped();
    let counting: Vec<_> = judge.controls().iter().filter(|control| control.quarantine).map(|c| &*c.id).collect();
    let expected = ["SW-DOC-01", "SW-DOC-02", "SW-DOC-03", "SW-EIC-01", "SW-LOG-01", "SW-REG-01", "SW-TGT-01"];
    assert_eq!(counting, expected);
    // TH18: ended and looked at, never counted.
    let management = judge.controls().iter().find(|control| &*control.id == "SW-ACC-01").unwrap();
    assert_eq!(management.response, Response::Terminate);
}

#[test]
fn the_shipped_controls_need_three_kinds_of_evidence() {
    let needed: Vec<_> = shipped().evidence().collect();
    assert_eq!(needed, [EvidenceKind::LogWritable, EvidenceKind::DocumentAsWanted, EvidenceKind::ContainerLogged]);
}

// I11
#[test]
fn missing_evidence_leaves_only_the_controls_open_that_ask_for_it() {
    let judge = shipped();
    let mut session = Session::good();
    session.evidence = Evidence::default();
    let answer = judge.session(&session.facts());
    assert_eq!(violated(&judge, &answer), Vec::<&str>::new());
    assert_eq!(open(&judge, &answer), ["SW-DOC-04", "SW-LOG-01"]);
    let needs: Vec<_> = answer.unknown.iter().flat_map(|open| open.needs.clone()).collect();
    assert_eq!(needs, [EvidenceKind::DocumentAsWanted, EvidenceKind::LogWritable]);

    session.target_kind = TargetKind::Container;
    session.document_kind = DocumentKind::Custom;
    let answer = judge.session(&session.facts());
    assert_eq!(open(&judge, &answer), ["SW-ECS-01"]);
}
