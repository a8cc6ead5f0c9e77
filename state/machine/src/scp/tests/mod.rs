mod documents;
mod principals;
mod properties;
mod protection;
mod quarantine;

use std::{collections::BTreeSet, sync::Arc};

use super::{QUOTA_CHARS, Scp, ScpError, ScpName, ScpSettings, render};
use crate::permission::{Answer, Caller, Context, Policy, Principal, Request, Target, evaluate};

pub(super) const ADMIN: &str = "arn:aws:sts::111122223333:assumed-role/Admin/ann";
pub(super) const OTHER: &str = "arn:aws:sts::111122223333:assumed-role/Ops/bob";
pub(super) const BREAK_GLASS: &str = "arn:aws:sts::111122223333:assumed-role/BreakGlass/eve";
pub(super) const RESPONDER: &str = "arn:aws:sts::111122223333:assumed-role/Responder/joe";
pub(super) const OWN: &str = "arn:aws:sts::111122223333:assumed-role/sessionwarden/worker-1";
pub(super) const DEPLOYER: &str = "arn:aws:sts::111122223333:assumed-role/sessionwarden-deployer/pipeline";
pub(super) const ROOT: &str = "arn:aws:iam::111122223333:root";
pub(super) const INSTANCE: &str = "arn:aws:ec2:eu-west-1:111122223333:instance/i-0abc";

/// The default settings with a role in each group.
pub(super) fn settings() -> ScpSettings {
    ScpSettings {
        break_glass_roles: names(&["BreakGlass"]),
        responder_roles: names(&["Responder"]),
        ..ScpSettings::default()
    }
}

pub(super) fn names(names: &[&str]) -> BTreeSet<Arc<str>> {
    names.iter().map(|name| Arc::from(*name)).collect()
}

pub(super) fn rendered(name: ScpName, settings: &ScpSettings, principals: &[&str]) -> Scp {
    render(name, settings, &names(principals)).unwrap()
}

/// A caller that its own policies and the organisation allow everything, but for this policy.
pub(super) struct Bound {
    policy: Arc<Policy>,
}

impl Bound {
    pub(super) fn by(name: ScpName, settings: &ScpSettings, principals: &[&str]) -> Self {
        let policy = Policy::parse(&rendered(name, settings, principals).text);
        assert_eq!(policy.problems().collect::<Vec<_>>(), [""; 0], "{name}");
        Self { policy: Arc::new(policy) }
    }

    /// Whether the policy denies it. It is an error of the test if that is not known.
    pub(super) fn denies(&self, principal: &str, action: &str, resource: &str) -> bool {
        self.denies_with(principal, action, resource, &Context::new())
    }

    pub(super) fn denies_with(&self, principal: &str, action: &str, resource: &str, context: &Context) -> bool {
        let all = Arc::new(Policy::parse(
            r#"{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"*","Resource":"*"}}"#,
        ));
        let open =
            r#"{"Version":"2012-10-17","Statement":{"Effect":"Allow","Principal":"*","Action":"*","Resource":"*"}}"#;
        let caller = Caller {
            identity: vec![Arc::clone(&all)],
            scps: vec![vec![all, Arc::clone(&self.policy)]],
            ..Caller::new(Principal::parse(principal).unwrap())
        };
        let target = Target { policy: Some(Arc::new(Policy::parse(open))), ..Target::new(resource) };
        let decision = evaluate(&Request { action, caller: &caller, target: &target, context });
        match decision.answer {
            Answer::Allow => false,
            Answer::Deny => {
                assert!(decision.explicit, "{}", decision.reason);
                true
            }
            Answer::Unknown => panic!("{principal} {action} {resource}: {}", decision.reason),
        }
    }
}

#[test]
fn names_are_read_back() {
    for name in ScpName::ALL {
        assert_eq!(name.as_str().parse(), Ok(name));
    }
    let unknown = "quarantine".parse::<ScpName>().unwrap_err();
    assert!(unknown.to_string().contains("quarantine-principal, quarantine-access"), "{unknown}");
}

#[test]
fn the_same_settings_give_the_same_text_and_hash() {
    for name in ScpName::ALL {
        let principals: &[&str] = if name.names_principals() { &[ADMIN] } else { &[] };
        let scp = rendered(name, &settings(), principals);
        assert_eq!(scp, rendered(name, &settings(), principals));
        assert_eq!((scp.name, scp.chars), (name, scp.text.len()));
        assert!(scp.chars <= QUOTA_CHARS && scp.text.is_ascii() && !scp.text.contains(char::is_whitespace));
        assert!(scp.hash.len() == 64 && scp.hash.bytes().all(|byte| b"0123456789abcdef".contains(&byte)));
        let changed = ScpSettings { own_roles: names(&["warden"]), ..settings() };
        assert_ne!(rendered(name, &changed, principals).hash, scp.hash);
    }
    // Principals are nothing to the others.
    let access = rendered(ScpName::QuarantineAccess, &settings(), &[]);
    assert_eq!(rendered(ScpName::QuarantineAccess, &settings(), &[ADMIN, "nobody"]), access);
}

#[test]
fn the_policies_stand_in_snapshots_with_their_sizes() {
    for name in ScpName::ALL {
        let principals: &[&str] = if name.names_principals() { &[ADMIN] } else { &[] };
        let scp = rendered(name, &settings(), principals);
        let json: serde_json::Value = serde_json::from_str(&scp.text).unwrap();
        let shown = serde_json::to_string_pretty(&json).unwrap();
        insta::assert_snapshot!(name.as_str(), format!("{} characters\n{shown}", scp.chars));
    }
}

#[test]
fn sids_have_letters_and_digits_only_and_no_statement_names_a_principal() {
    for name in ScpName::ALL {
        let principals: &[&str] = if name.names_principals() { &[ADMIN] } else { &[] };
        let json: serde_json::Value = serde_json::from_str(&rendered(name, &settings(), principals).text).unwrap();
        let mut sids = BTreeSet::new();
        for statement in json["Statement"].as_array().unwrap() {
            let sid = statement["Sid"].as_str().unwrap();
            assert!(sid.bytes().all(|byte| byte.is_ascii_alphanumeric()) && sids.insert(sid.to_owned()), "{sid}");
            assert_eq!(statement["Effect"], "Deny");
            assert!(statement.get("Principal").is_none() && statement.get("NotAction").is_none());
            assert!(statement.get("Resource").is_some() != statement.get("NotResource").is_some(), "{sid}");
        }
    }
}

#[test]
fn another_partition_stands_in_every_arn() {
    let china = ScpSettings { partition: "aws-cn".into(), ..settings() };
    for name in ScpName::ALL {
        let principals: &[&str] =
            if name.names_principals() { &["arn:aws-cn:iam::111122223333:user/ann"] } else { &[] };
        let text = rendered(name, &china, principals).text;
        assert!(text.contains("arn:aws-cn:") && !text.contains("arn:aws:"), "{name}");
    }
}

#[test]
fn what_cannot_stand_in_a_policy_is_refused() {
    let refused = |settings: ScpSettings| match render(ScpName::DocumentCheck, &settings, &BTreeSet::new()) {
        Err(ScpError::BadSetting { list, value, .. }) => format!("{list}={value}"),
        other => panic!("{other:?}"),
    };
    let wrong = [
        ScpSettings { partition: "AWS".into(), ..settings() },
        ScpSettings { break_glass_roles: names(&["*"]), ..settings() },
        ScpSettings { responder_roles: names(&["/guard/x"]), ..settings() },
        ScpSettings { own_roles: names(&["${aws:username}"]), ..settings() },
        ScpSettings { deployer_roles: names(&["arn:aws:iam::1:role/x"]), ..settings() },
        ScpSettings { session_documents: names(&[]), ..settings() },
        ScpSettings { session_documents: names(&["*"]), ..settings() },
        ScpSettings { names: [(super::Guarded::Topic, names(&["*a*"]))].into(), ..settings() },
    ];
    assert_eq!(
        wrong.map(refused),
        [
            "partition=AWS",
            "break_glass_roles=*",
            "responder_roles=/guard/x",
            "own_roles=${aws:username}",
            "deployer_roles=arn:aws:iam::1:role/x",
            "session_documents=",
            "session_documents=*",
            "names.topic=*a*",
        ]
    );
}
