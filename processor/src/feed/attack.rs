//! MITRE ATT&CK: names and tactics of the techniques that session abuse and guardrail tampering use.

use super::event::{Attack, Entity};

/// The ATT&CK release that the table follows.
const VERSION: &str = "17.1";

#[derive(Clone, Copy)]
enum Tactic {
    InitialAccess,
    Execution,
    Persistence,
    PrivilegeEscalation,
    DefenseEvasion,
    LateralMovement,
    Exfiltration,
    CommandAndControl,
    Impact,
}

use Tactic::{
    CommandAndControl, DefenseEvasion, Execution, Exfiltration, Impact, InitialAccess, LateralMovement, Persistence,
    PrivilegeEscalation,
};

impl Tactic {
    fn entity(self) -> Entity<'static> {
        let (uid, name) = match self {
            Self::InitialAccess => ("TA0001", "Initial Access"),
            Self::Execution => ("TA0002", "Execution"),
            Self::Persistence => ("TA0003", "Persistence"),
            Self::PrivilegeEscalation => ("TA0004", "Privilege Escalation"),
            Self::DefenseEvasion => ("TA0005", "Defense Evasion"),
            Self::LateralMovement => ("TA0008", "Lateral Movement"),
            Self::Exfiltration => ("TA0010", "Exfiltration"),
            Self::CommandAndControl => ("TA0011", "Command and Control"),
            Self::Impact => ("TA0040", "Impact"),
        };
        Entity { uid, name: Some(name) }
    }
}

/// Technique or sub-technique, its name, its tactics.
const KNOWN: &[(&str, &str, &[Tactic])] = &[
    ("T1021", "Remote Services", &[LateralMovement]),
    ("T1021.001", "Remote Desktop Protocol", &[LateralMovement]),
    ("T1021.004", "SSH", &[LateralMovement]),
    ("T1021.007", "Cloud Services", &[LateralMovement]),
    ("T1021.008", "Direct Cloud VM Connections", &[LateralMovement]),
    ("T1059", "Command and Scripting Interpreter", &[Execution]),
    ("T1059.009", "Cloud API", &[Execution]),
    ("T1070", "Indicator Removal", &[DefenseEvasion]),
    ("T1072", "Software Deployment Tools", &[Execution, LateralMovement]),
    ("T1078", "Valid Accounts", &[InitialAccess, Persistence, PrivilegeEscalation, DefenseEvasion]),
    ("T1078.004", "Cloud Accounts", &[InitialAccess, Persistence, PrivilegeEscalation, DefenseEvasion]),
    ("T1090", "Proxy", &[CommandAndControl]),
    ("T1098", "Account Manipulation", &[Persistence, PrivilegeEscalation]),
    ("T1098.001", "Additional Cloud Credentials", &[Persistence, PrivilegeEscalation]),
    ("T1098.003", "Additional Cloud Roles", &[Persistence, PrivilegeEscalation]),
    ("T1098.004", "SSH Authorized Keys", &[Persistence, PrivilegeEscalation]),
    ("T1133", "External Remote Services", &[InitialAccess, Persistence]),
    ("T1199", "Trusted Relationship", &[InitialAccess]),
    ("T1219", "Remote Access Tools", &[CommandAndControl]),
    ("T1484", "Domain or Tenant Policy Modification", &[PrivilegeEscalation, DefenseEvasion]),
    ("T1484.002", "Trust Modification", &[PrivilegeEscalation, DefenseEvasion]),
    ("T1485", "Data Destruction", &[Impact]),
    ("T1489", "Service Stop", &[Impact]),
    ("T1531", "Account Access Removal", &[Impact]),
    ("T1535", "Unused/Unsupported Cloud Regions", &[DefenseEvasion]),
    ("T1537", "Transfer Data to Cloud Account", &[Exfiltration]),
    ("T1548", "Abuse Elevation Control Mechanism", &[PrivilegeEscalation, DefenseEvasion]),
    ("T1548.005", "Temporary Elevated Cloud Access", &[PrivilegeEscalation, DefenseEvasion]),
    ("T1562", "Impair Defenses", &[DefenseEvasion]),
    ("T1562.001", "Disable or Modify Tools", &[DefenseEvasion]),
    ("T1562.007", "Disable or Modify Cloud Firewall", &[DefenseEvasion]),
    ("T1562.008", "Disable or Modify Cloud Logs", &[DefenseEvasion]),
    ("T1572", "Protocol Tunneling", &[CommandAndControl]),
    ("T1578", "Modify Cloud Compute Infrastructure", &[DefenseEvasion]),
    ("T1578.005", "Modify Cloud Compute Configurations", &[DefenseEvasion]),
    ("T1609", "Container Administration Command", &[Execution]),
    ("T1651", "Cloud Administration Command", &[Execution]),
    ("T1666", "Modify Cloud Resource Hierarchy", &[DefenseEvasion]),
];

fn known(uid: &str) -> Option<(&'static str, &'static [Tactic])> {
    KNOWN.iter().find(|row| row.0 == uid).map(|row| (row.1, row.2))
}

/// Adds `technique`, once for each of its tactics; a technique that the table lacks is added with its id alone.
pub(super) fn push<'a>(attacks: &mut Vec<Attack<'a>>, technique: &'a str) {
    if technique.is_empty() {
        return;
    }
    let entity = |uid: &'a str| Entity { uid, name: known(uid).map(|found| found.0) };
    let parent = technique.split_once('.').map(|split| split.0).filter(|parent| !parent.is_empty());
    let attack = |tactic: Option<Tactic>| Attack {
        tactic: tactic.map(Tactic::entity),
        technique: entity(parent.unwrap_or(technique)),
        sub_technique: parent.map(|_| entity(technique)),
        version: tactic.map(|_| VERSION),
    };
    match known(technique) {
        Some((_, tactics)) => attacks.extend(tactics.iter().map(|tactic| attack(Some(*tactic)))),
        None => attacks.push(attack(None)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_known_sub_technique_has_a_known_parent() {
        for (uid, _, tactics) in KNOWN {
            assert!(!tactics.is_empty(), "{uid}");
            if let Some((parent, _)) = uid.split_once('.') {
                assert!(known(parent).is_some(), "{uid}");
            }
        }
        assert!(KNOWN.windows(2).all(|pair| pair[0].0 < pair[1].0), "the table is sorted and has no row twice");
    }

    #[test]
    fn an_unknown_technique_keeps_its_id_and_claims_nothing_more() {
        let mut attacks = Vec::new();
        push(&mut attacks, "T1021.999");
        push(&mut attacks, "not-a-technique");
        push(&mut attacks, "");
        let json = serde_json::to_value(&attacks).unwrap();
        assert_eq!(
            json,
            serde_json::json!([
                {"technique": {"uid": "T1021", "name": "Remote Services"}, "sub_technique": {"uid": "T1021.999"}},
                {"technique": {"uid": "not-a-technique"}},
            ])
        );
    }
}
