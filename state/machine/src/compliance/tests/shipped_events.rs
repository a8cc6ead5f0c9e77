use super::*;

/// A control, the threat, an event that violates it, whether only on the guardrail's own things, and whether an attempt
/// that AWS refused is an incident.
pub(super) const ROWS: [(&str, &str, &str, Whose, Refused); 35] = [
    ("SW-DOC-05", "TH1", "CreateDocument", Whose::Others, Refused::Nothing),
    ("SW-DOC-06", "TH1", "CreateDocument", Whose::Own, Refused::Nothing),
    ("SW-CMD-01", "TH5", "SendCommand", Whose::Any, Refused::Nothing),
    ("SW-CMD-02", "TH6", "StartAutomationExecution", Whose::Any, Refused::Nothing),
    ("SW-ECS-02", "TH7", "UpdateService", Whose::Any, Refused::Nothing),
    ("SW-EIC-01", "TH9", "SendSSHPublicKey", Whose::Any, Refused::Nothing),
    ("SW-EIC-01", "TH9", "OpenTunnel", Whose::Any, Refused::Nothing),
    ("SW-EIC-02", "TH9", "CreateInstanceConnectEndpoint", Whose::Any, Refused::Nothing),
    ("SW-SER-01", "TH10", "EnableSerialConsoleAccess", Whose::Any, Refused::Nothing),
    ("SW-JIT-02", "TH11", "StartAccessRequest", Whose::Any, Refused::Nothing),
    ("SW-RDP-01", "TH12", "StartConnection", Whose::Any, Refused::Nothing),
    ("SW-NODE-01", "TH13", "UpdateServiceSetting", Whose::Any, Refused::Nothing),
    ("SW-NODE-02", "TH14", "CreateActivation", Whose::Any, Refused::Nothing),
    ("SW-REG-02", "TH17", "EnableRegion", Whose::Any, Refused::Nothing),
    ("SW-ACC-02", "TH18", "RegisterDelegatedAdministrator", Whose::Any, Refused::Nothing),
    ("SW-ROLE-01", "TH20", "DetachRolePolicy", Whose::Own, Refused::Nothing),
    ("SW-ROLE-02", "TH20", "DetachRolePolicy", Whose::Others, Refused::Nothing),
    ("SW-ROLE-01", "TH21", "RemoveRoleFromInstanceProfile", Whose::Own, Refused::Nothing),
    ("SW-ROLE-02", "TH21", "ReplaceIamInstanceProfileAssociation", Whose::Others, Refused::Nothing),
    ("SW-KEY-01", "TH22", "DisableKey", Whose::Own, Refused::Nothing),
    ("SW-BKT-01", "TH23", "DeleteBucketPolicy", Whose::Own, Refused::Nothing),
    ("SW-OBJ-01", "TH24", "DeleteObject", Whose::Own, Refused::Nothing),
    ("SW-OBJ-01", "TH24", "DeleteObjects", Whose::Own, Refused::Nothing),
    ("SW-NET-01", "TH25", "DeleteVpcEndpoints", Whose::Own, Refused::Nothing),
    ("SW-NET-02", "TH25", "DeleteRoute", Whose::Others, Refused::Nothing),
    ("SW-DOC-06", "TH26", "UpdateDocumentDefaultVersion", Whose::Own, Refused::Nothing),
    ("SW-RULE-01", "TH27", "DisableRule", Whose::Own, Refused::Nothing),
    ("SW-TRAIL-01", "TH28", "StopLogging", Whose::Any, Refused::Incident),
    ("SW-GRD-01", "TH29", "DeleteStream", Whose::Own, Refused::Incident),
    ("SW-ORG-01", "TH30", "LeaveOrganization", Whose::Any, Refused::Incident),
    ("SW-SSH-01", "TH32", "AuthorizeSecurityGroupIngress", Whose::Any, Refused::Nothing),
    ("SW-TRY-01", "TH28", "StopLogging", Whose::Refused, Refused::Incident),
    ("SW-TRY-01", "TH28", "DeleteTrail", Whose::Refused, Refused::Incident),
    ("SW-TRY-01", "TH30", "MoveAccount", Whose::Refused, Refused::Incident),
    ("SW-TRY-01", "TH30", "DetachPolicy", Whose::Refused, Refused::Incident),
];

/// Whose thing has to be changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Whose {
    Any,
    Own,
    Others,
    /// Anybody's, in a call that AWS refused.
    Refused,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    Nothing,
    Incident,
}

fn event_violates(judge: &Judge, event: &Event) -> Vec<String> {
    let answer = judge.event(&event.facts());
    assert_eq!(answer.unknown, []);
    violated(judge, &answer).into_iter().map(str::to_owned).collect()
}

// TH1, TH5, TH6, TH7, TH9, TH10, TH11, TH12, TH13, TH14, TH17, TH18, TH20, TH21, TH22, TH23, TH24, TH25, TH26, TH27,
// TH28, TH29, TH30, TH32, R-G24
#[test]
fn each_event_control_is_violated_by_its_cause_and_by_nothing_near() {
    let judge = shipped();
    for (id, threat, name, whose, refused) in ROWS {
        let event = Event::of(threat, name);
        let attempt = if refused == Refused::Incident { vec!["SW-TRY-01"] } else { vec![] };
        let (bad, near) = match whose {
            Whose::Any => (vec![event.clone(), event.clone().own()], vec![]),
            Whose::Own => (vec![event.clone().own()], vec![event.clone()]),
            Whose::Others => (vec![event.clone()], vec![event.clone().own()]),
            Whose::Refused => (vec![event.clone().failed()], vec![event.clone()]),
        };
        for bad in bad {
            assert_eq!(event_violates(&judge, &bad), [id], "{bad:?}");
            assert_eq!(event_violates(&judge, &bad.clone().failed()), attempt, "{bad:?}");
        }
        for near in near {
            assert!(!event_violates(&judge, &near).contains(&id.to_owned()), "{near:?}");
        }
    }
}

// TH24: the first PutObject is the log arriving.
#[test]
fn a_log_that_is_written_is_no_incident() {
    assert_eq!(event_violates(&shipped(), &Event::of("TH24", "PutObject").own()), Vec::<String>::new());
}

// TH29: somebody else's stream, deleted or not, is nobody's business here.
#[test]
fn an_attempt_on_something_else_than_the_guardrail_is_nothing() {
    assert_eq!(event_violates(&shipped(), &Event::of("TH29", "DeleteStream").failed()), Vec::<String>::new());
    assert_eq!(event_violates(&shipped(), &Event::of("TH29", "DeleteStream")), Vec::<String>::new());
}

#[test]
fn no_event_control_is_violated_by_an_event_of_another_threat() {
    let judge = shipped();
    for (threat, own, failed) in [("TH4", true, false), ("TH15", true, false), ("", true, true), ("TH99", false, false)]
    {
        let mut event = Event::of(threat, "StopLogging");
        (event.own, event.failed) = (own, failed);
        assert_eq!(event_violates(&judge, &event), Vec::<String>::new(), "{threat}");
    }
}

#[test]
fn only_session_controls_end_sessions() {
    let judge = shipped();
    for (id, ..) in ROWS {
        let control = judge.controls().iter().find(|control| &*control.id == id).unwrap();
        assert_ne!(control.response, crate::effect::Response::Terminate, "{id}");
    }
}
