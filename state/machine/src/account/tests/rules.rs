//! Who is locked, and how much.

use super::*;
use crate::{
    effect::{RemedyResult, Report},
    settings::Maintenance,
};

fn names(all: &[&str]) -> BTreeSet<Arc<str>> {
    all.iter().map(|name| user(name)).collect()
}

// I6, TH18, R-W29: every refusal names its rule; the management account is never locked.
#[test]
fn refusals_name_their_rule() {
    type Change = fn(&mut Settings);
    let refused = |rule: &str| Decision::Refused(rule.into());
    let rows: [(Change, Decision); 13] = [
        (|_| {}, Decision::Lock),
        (|s| s.quarantine.enabled = false, refused("quarantine.enabled = false")),
        (|s| s.management_account = Some(account(ACCOUNT)), refused("the management account is never locked")),
        (|s| s.quarantine.exempt = [account(ACCOUNT)].into(), refused("organization.exempt_accounts")),
        (|s| s.quarantine.exempt = [account(1)].into(), Decision::Lock),
        (|s| s.quarantine.exempt_units = ["prod".into()].into(), refused("quarantine.exempt_units")),
        (|s| s.quarantine.exempt_units = ["test".into()].into(), Decision::Lock),
        (|s| s.quarantine.units = ["test".into()].into(), Decision::Observed),
        (|s| s.quarantine.units = ["prod".into()].into(), Decision::Lock),
        (|s| s.mode = Mode::Observe, Decision::Observed),
        (|s| s.quarantine.mode = Mode::Observe, Decision::Observed),
        (|s| s.organization = false, Decision::Observed),
        (
            |s| {
                s.units.clear();
                s.quarantine.units = ["prod".into()].into();
            },
            Decision::Observed,
        ),
    ];
    for (change, expected) in rows {
        let mut settings = enforcing();
        settings.units.insert(account(ACCOUNT), "prod".into());
        change(&mut settings);
        assert_eq!(decide(account(ACCOUNT), &names(&["ann"]), &settings), expected);
    }
    let nobody = decide(account(ACCOUNT), &BTreeSet::new(), &enforcing());
    let Decision::Refused(rule) = nobody else { panic!("{nobody:?}") };
    assert!(rule.starts_with("quarantine.access_principals_min"), "{rule}");
    // An exempt account is refused in observe mode too, and a refusal is reported with its rule.
    let mut settings = Settings::default();
    settings.quarantine.exempt = [account(ACCOUNT)].into();
    let effects = fill(&mut fresh(), &settings, (0..10).map(|n| counted(n, n as usize)));
    assert_eq!(calls(&effects), ["incident/threshold", "quarantine"]);
    let Effect::Report(Report::Remedy(remedy)) = &effects[1] else { panic!("{effects:?}") };
    assert_eq!(remedy.result, RemedyResult::Refused("organization.exempt_accounts".into()));
    assert_eq!(&*remedy.reason, "10 violating sessions by 1 principals inside the window");
}

// R-G13: one principal cannot have an account locked for all, under however many names.
#[test]
fn one_principal_is_denied_alone() {
    let rules = QuarantineSettings::default();
    let role = |role: &str, name: &str| Arc::from(format!("arn:aws:sts::{ACCOUNT}:assumed-role/{role}/{name}"));
    let tier = |all: &[Arc<str>]| tier_for(&all.iter().cloned().collect(), &rules);
    assert_eq!(tier(&[user("ann")]), Some(Tier::Principal));
    assert_eq!(tier(&[user("ann"), user("bob")]), Some(Tier::Access));
    assert_eq!(tier(&[role("dev", "a"), role("dev", "b"), role("dev", "c")]), Some(Tier::Principal));
    assert_eq!(tier(&[role("dev", "a"), role("ops", "a")]), Some(Tier::Access));
    let sso = "AWSReservedSSO_Dev_0123456789abcdef";
    assert_eq!(tier(&[role(sso, "ann@example.com"), role(sso, "bob@example.com")]), Some(Tier::Access));
    let root: Arc<str> = format!("arn:aws:iam::{ACCOUNT}:root").into();
    assert_eq!(tier(std::slice::from_ref(&root)), None);
    assert_eq!(tier(&[root, user("ann")]), Some(Tier::Access));
    assert_eq!(tier(&[]), None);
    let alone = QuarantineSettings { access_principals_min: 1, ..rules };
    assert_eq!(tier_for(&names(&["ann"]), &alone), Some(Tier::Access));
}

#[test]
fn approvals_depend_on_the_unit_and_on_planned_work() {
    let work = |units: &[&str]| Maintenance {
        from: now(100),
        until: now(200),
        units: units.iter().map(|unit| Arc::from(*unit)).collect(),
    };
    let mut rules = QuarantineSettings {
        approvals_by_unit: [("prod".into(), 2)].into(),
        maintenance: vec![work(&["test"])],
        ..QuarantineSettings::default()
    };
    let rows = [(Some("prod"), 150, 2), (Some("test"), 150, 1), (Some("test"), 99, 0), (Some("test"), 200, 0)];
    for (unit, seconds, needed) in rows.into_iter().chain([(Some("dev"), 150, 0), (None, 150, 0)]) {
        assert_eq!(rules.approvals_needed(unit, now(seconds)), needed, "{unit:?} at {seconds}");
    }
    rules.maintenance = vec![work(&[])];
    assert_eq!(rules.approvals_needed(None, now(150)), 1);
}
