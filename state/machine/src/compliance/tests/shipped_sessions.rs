use super::*;
use crate::effect::Response;

type Change = fn(&mut Session);

/// A control, what violates it and nothing else, and the nearest thing that does not.
const ROWS: [(&str, Change, Change); 32] = [
    ("SW-DOC-01", |s| s.document_kind = DocumentKind::Custom, |s| s.document_kind = DocumentKind::DefaultShell), // TH1
    ("SW-DOC-01", |s| s.document_shared = true, |s| s.document_shared = false),                                  // TH1
    ("SW-DOC-01", |s| s.document_kind = DocumentKind::Custom, exec_with_custom_document),                        // TH1
    ("SW-DOC-02", |s| s.document_kind = DocumentKind::Port, |s| s.document_kind = DocumentKind::Unknown),        // TH2
    ("SW-DOC-02", |s| s.document_kind = DocumentKind::Ssh, |s| s.document_kind = DocumentKind::Unknown),         // TH2
    ("SW-DOC-02", |s| opens(s, "Port"), |s| opens(s, "Standard_Stream")),                                        // TH2
    ("SW-DOC-03", |s| opens(s, "InteractiveCommands"), |s| opens(s, "")),                                        // TH3
    ("SW-DOC-03", |s| opens(s, "NonInteractiveCommands"), exec_that_opens_a_command),                            // TH3
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
    ("SW-AGT-01", |s| deny(s, EvidenceKind::AgentOnline), |s| exec_without(s, EvidenceKind::AgentOnline)), // TH15, TH31
    ("SW-KEY-02", |s| deny(s, EvidenceKind::KeyUsable), |s| exec_without(s, EvidenceKind::KeyUsable)), // TH22
    ("SW-BKT-02", |s| deny(s, EvidenceKind::BucketAsWanted), |s| exec_without(s, EvidenceKind::BucketAsWanted)), // TH23
    ("SW-STR-01", |s| deny(s, EvidenceKind::StreamingOn), |s| unstreamed(s, EvidenceKind::StreamingOn)), // R-T5
    ("SW-STR-02", |s| deny(s, EvidenceKind::StreamPresent), |s| unstreamed(s, EvidenceKind::StreamPresent)), // TH31
    ("SW-NODE-03", |s| deny(s, EvidenceKind::NodeAllowed), |s| exec_without(s, EvidenceKind::NodeAllowed)), // TH14
    ("SW-TP-01", |s| deny(s, EvidenceKind::TagMatches), |s| exec_without(s, EvidenceKind::TagMatches)), // R-T2
    ("SW-RUN-01", |s| deny(s, EvidenceKind::RunAsAsPrescribed), |s| exec_without(s, EvidenceKind::RunAsAsPrescribed)), // R-T3
    ("SW-RSN-01", |s| deny(s, EvidenceKind::ReasonGiven), |s| exec_without(s, EvidenceKind::ReasonGiven)),
    ("SW-RSN-01", |s| deny(s, EvidenceKind::ReasonGiven), |s| s.reason = Some("")),
    ("SW-IAM-01", |s| deny(s, EvidenceKind::DocumentsChecked), |s| exec_without(s, EvidenceKind::DocumentsChecked)), // R-D1
    ("SW-IAM-02", |s| deny(s, EvidenceKind::DocumentsExplicit), |s| exec_without(s, EvidenceKind::DocumentsExplicit)), // R-D2, R-D3
    ("SW-RES-01", |s| s.resumed = true, |s| s.resumed = false), // TH4
];

fn deny(session: &mut Session, kind: EvidenceKind) {
    session.evidence.set(kind, Tri::No);
}

/// A document of which only the content says what it opens.
fn opens(session: &mut Session, session_type: &'static str) {
    (session.document_kind, session.session_type) = (DocumentKind::Unknown, session_type);
}

fn exec_that_opens_a_command(session: &mut Session) {
    session.target_kind = TargetKind::Container;
    opens(session, "NonInteractiveCommands");
}

fn exec_without(session: &mut Session, kind: EvidenceKind) {
    session.target_kind = TargetKind::Container;
    deny(session, kind);
}

/// No document that would stream a log.
fn unstreamed(session: &mut Session, kind: EvidenceKind) {
    session.document_kind = DocumentKind::Unknown;
    deny(session, kind);
}

/// What each control asks for; the others end the session.
fn wanted(id: &str) -> Response {
    match id {
        "SW-JIT-01" | "SW-RES-01" | "SW-KEY-02" | "SW-BKT-02" | "SW-IAM-01" | "SW-IAM-02" => Response::Report,
        "SW-AGT-01" | "SW-STR-01" | "SW-STR-02" | "SW-RSN-01" => Response::Incident,
        _ => Response::Terminate,
    }
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

// R-G2, R-G3, R-T2, R-T3, R-T5, R-D1, R-D2, R-D3, TH1, TH2, TH3, TH4, TH7, TH8, TH11, TH14, TH15, TH17, TH18, TH20, TH21,
// TH22, TH23, TH26, TH31
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
        assert_eq!(judge.control(answer.violated[0].control).response, wanted(id), "{id}");
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
    let expected =
        ["SW-DOC-01", "SW-DOC-02", "SW-DOC-03", "SW-EIC-01", "SW-LOG-01", "SW-REG-01", "SW-TGT-01", "SW-TP-01"];
    assert_eq!(counting, expected);
    // TH18: ended and looked at, never counted.
    let management = judge.controls().iter().find(|control| &*control.id == "SW-ACC-01").unwrap();
    assert_eq!(management.response, Response::Terminate);
}

#[test]
fn every_kind_of_evidence_is_asked_for_and_some_of_it_presses() {
    let judge = shipped();
    assert_eq!(judge.evidence().collect::<Vec<_>>(), EvidenceKind::ALL);
    let pressing: Vec<_> = judge.pressing_evidence().collect();
    let calm: Vec<_> = EvidenceKind::ALL.into_iter().filter(|kind| !pressing.contains(kind)).collect();
    let reported = [
        EvidenceKind::KeyUsable,
        EvidenceKind::BucketAsWanted,
        EvidenceKind::DocumentsChecked,
        EvidenceKind::DocumentsExplicit,
    ];
    assert_eq!(calm, reported);
}

// I11
#[test]
fn missing_evidence_leaves_only_the_controls_open_that_ask_for_it() {
    let judge = shipped();
    let mut session = Session::good();
    session.evidence = Evidence::default();
    let answer = judge.session(&session.facts());
    assert_eq!(violated(&judge, &answer), Vec::<&str>::new());
    let asking: Vec<_> = judge.controls().iter().filter(|control| !control.evidence.is_empty()).collect();
    let node = asking.iter().map(|control| &*control.id).filter(|id| *id != "SW-ECS-01").collect::<Vec<_>>();
    assert_eq!(open(&judge, &answer), node);
    for open in &answer.unknown {
        assert_eq!(open.needs, judge.control(open.control).evidence);
    }

    session.target_kind = TargetKind::Container;
    session.document_kind = DocumentKind::Unknown;
    let answer = judge.session(&session.facts());
    assert_eq!(open(&judge, &answer), ["SW-ECS-01"]);
}

/// Every combination of the facts that controls look at, with all evidence the same.
fn combinations(evidence: Tri) -> Vec<Session> {
    use DocumentKind as D;
    use TargetKind as T;
    let mut all = Vec::new();
    for target_kind in [T::Ec2, T::Hybrid, T::Container, T::Other, T::Unknown] {
        for document_kind in
            [D::DefaultShell, D::Port, D::Ssh, D::InteractiveCommand, D::NonInteractiveCommand, D::Custom, D::Unknown]
        {
            for session_type in ["", "Standard_Stream", "Port", "InteractiveCommands"] {
                for flags in 0..8 {
                    let mut session = Session { target_kind, document_kind, session_type, ..Session::good() };
                    (session.resumed, session.management) = (flags & 1 != 0, flags & 2 != 0);
                    session.document_shared = flags & 4 != 0;
                    session.evidence = all_evidence(evidence);
                    all.push(session);
                }
            }
        }
    }
    all
}

// I4: more facts never make a session more innocent.
#[test]
fn no_shipped_control_is_cleared_by_a_no_or_depends_on_a_yes() {
    let judge = shipped();
    for good in combinations(Tri::Yes) {
        let ids = |session: &Session| -> Vec<String> {
            violated(&judge, &judge.session(&session.facts())).into_iter().map(str::to_owned).collect()
        };
        let before = ids(&good);
        for id in &before {
            let control = judge.controls().iter().find(|control| *control.id == **id).unwrap();
            assert_eq!(control.evidence, [], "{id} is violated by a yes");
        }
        for kind in EvidenceKind::ALL {
            let session = Session { evidence: good.evidence.with(kind, Tri::No), ..good.clone() };
            let after = ids(&session);
            assert!(before.iter().all(|id| after.contains(id)), "{kind:?} {session:?}");
        }
        // What a document opens is learnt later than its name, and resumptions come after the start.
        let unlearnt = ids(&Session { session_type: "", ..good.clone() });
        assert!(unlearnt.iter().all(|id| before.contains(id)), "{good:?}");
        let unresumed = ids(&Session { resumed: false, ..good.clone() });
        assert!(unresumed.iter().all(|id| before.contains(id)), "{good:?}");
    }
}

/// The rows of the threat catalogue.
const CATALOGUE: [&str; 30] = [
    "TH1", "TH2", "TH3", "TH4", "TH5", "TH6", "TH7", "TH8", "TH9", "TH10", "TH11", "TH12", "TH13", "TH14", "TH15",
    "TH17", "TH18", "TH20", "TH21", "TH22", "TH23", "TH24", "TH25", "TH26", "TH27", "TH28", "TH29", "TH30", "TH31",
    "TH32",
];

#[test]
fn every_row_of_the_catalogue_and_of_the_originals_documents_checks_has_a_control() {
    let judge = shipped();
    let required: std::collections::BTreeSet<&str> =
        judge.controls().iter().flat_map(|control| &control.requirements).map(|id| &**id).collect();
    for id in CATALOGUE.into_iter().chain(["R-G2", "R-G3", "R-T2", "R-T3", "R-T5", "R-D1", "R-D2", "R-D3"]) {
        assert!(required.contains(id), "{id}");
    }
    for id in required.iter().filter(|id| id.starts_with("TH")) {
        assert!(CATALOGUE.contains(id), "{id} is no row");
    }
}
