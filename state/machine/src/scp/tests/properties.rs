use std::{collections::BTreeSet, sync::Arc};

use proptest::{collection::btree_set, prelude::*};

use super::{
    super::{Guarded, QUOTA_CHARS, ScpError, ScpName, ScpSettings, render},
    Bound, INSTANCE,
};
use crate::permission::{Policy, Principal};

fn roles() -> impl Strategy<Value = BTreeSet<Arc<str>>> {
    let wild = "([a-z]{1,4}/){0,2}[A-Za-z][A-Za-z0-9_+=,.@*?-]{0,20}";
    btree_set(wild.prop_map(Arc::from), 0..4)
}

fn anything() -> impl Strategy<Value = BTreeSet<Arc<str>>> {
    btree_set(prop_oneof!["[a-z*]{3,40}", "\\PC{0,12}", Just("${x}\"".to_owned())].prop_map(Arc::from), 0..30)
}

fn settings() -> impl Strategy<Value = ScpSettings> {
    let guarded = proptest::collection::btree_map(proptest::sample::select(Guarded::ALL.to_vec()), anything(), 0..4);
    let documents = btree_set("[A-Z][A-Za-z-]{2,30}".prop_map(Arc::from), 1..4);
    (roles(), roles(), roles(), roles(), documents, guarded).prop_map(
        |(break_glass_roles, responder_roles, own_roles, deployer_roles, session_documents, names)| {
            let rest = ScpSettings::default();
            let names = rest.names.into_iter().chain(names).collect();
            ScpSettings {
                partition: rest.partition,
                break_glass_roles,
                responder_roles,
                own_roles,
                deployer_roles,
                session_documents,
                names,
            }
        },
    )
}

fn principals() -> impl Strategy<Value = BTreeSet<Arc<str>>> {
    let arn = prop_oneof![
        9 => "arn:aws:sts::[0-9]{12}:assumed-role/[A-Za-z_]{1,30}/[a-z@.]{1,20}",
        9 => "arn:aws:iam::[0-9]{12}:(role|user)/([a-z]{1,5}/){0,2}[A-Za-z]{1,20}",
        1 => "\\PC{0,20}",
    ];
    btree_set(arn.prop_map(Arc::from), 0..12)
}

fn name() -> impl Strategy<Value = ScpName> {
    proptest::sample::select(ScpName::ALL.to_vec())
}

proptest! {
    // R-G13, R-G14
    #[test]
    fn a_policy_is_under_the_quota_and_understood_or_an_error(
        name in name(), settings in settings(), principals in principals(),
    ) {
        match render(name, &settings, &principals) {
            Ok(scp) => {
                prop_assert!(scp.chars <= QUOTA_CHARS);
                prop_assert_eq!(scp.chars, scp.text.chars().count());
                prop_assert!(serde_json::from_str::<serde_json::Value>(&scp.text).is_ok());
                let policy = Policy::parse(&scp.text);
                prop_assert_eq!(policy.problems().collect::<Vec<_>>(), Vec::<&str>::new());
                prop_assert_eq!(render(name, &settings, &principals), Ok(scp));
            }
            Err(ScpError::TooLong { chars, list, .. }) => {
                prop_assert!(chars > QUOTA_CHARS && !list.is_empty());
            }
            Err(error) => prop_assert!(!error.to_string().is_empty()),
        }
    }

    // R-G13, R-W31: whoever is exempt cannot be made by anybody else, whatever the patterns are.
    #[test]
    fn who_is_exempt_is_protected(name in name(), settings in settings(), star in "(|[a-z]{1,2}|[a-z]/[a-z])") {
        let settings = ScpSettings { names: ScpSettings::default().names, ..settings };
        let user = "arn:aws:iam::111122223333:user/0";
        let principals = [Arc::from(user)].into();
        prop_assume!(render(name, &settings, &principals).is_ok());
        let bound = Bound::by(name, &settings, &[user]);
        let (action, resource) = match name {
            ScpName::Protection => ("sns:DeleteTopic", "arn:aws:sns:eu-west-1:111122223333:sessionwarden"),
            ScpName::Documents => ("ssm:StartSession", "arn:aws:ssm:eu-west-1:111122223333:document/0"),
            // It denies by what the request says too, and tier 1 holds for the user alone.
            ScpName::DocumentCheck | ScpName::QuarantinePrincipal => return Ok(()),
            ScpName::QuarantineAccess | ScpName::QuarantineChannel => ("ssm:StartSession", INSTANCE),
        };
        let groups = [
            &settings.break_glass_roles,
            &settings.responder_roles,
            &settings.own_roles,
            &settings.deployer_roles,
        ];
        for pattern in groups.into_iter().flatten() {
            let role = pattern.replace('*', &star).replace('?', "q");
            let role = format!("arn:aws:iam::111122223333:role/{role}");
            if Principal::parse(&role).is_ok() && !bound.denies(&role, action, resource) {
                prop_assert!(bound.denies(user, "iam:CreateRole", &role), "{}", role);
                prop_assert!(bound.denies(user, "iam:UpdateAssumeRolePolicy", &role), "{}", role);
            }
        }
    }
}
