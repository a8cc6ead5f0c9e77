//! The feed against the released OCSF 1.8.0 schema: every record that the product can emit.

#[path = "feed_schema/reports.rs"]
mod reports;
#[path = "feed_schema/validator.rs"]
mod validator;

use std::collections::BTreeSet;

use proptest::prelude::*;
use reports::{KINDS, activity, any_report, every_combination, finding, incident, remedy, results};
use serde_json::{Value, json};
use sessionwarden::feed;
use sessionwarden_machine::{
    effect::{Finding, IncidentNote, Mode, Remedy, RemedyKind, RemedyResult, Report},
    ids::EventTime,
};
use validator::Schema;

fn record(report: &Report) -> Value {
    serde_json::from_str(&feed::line(report)).unwrap()
}

fn of_remedy(kind: RemedyKind, result: RemedyResult) -> Value {
    record(&Report::Remedy(Box::new(Remedy { kind, result, ..remedy() })))
}

fn one_of_each_class() -> [(&'static str, Value); 4] {
    [
        ("finding", record(&Report::Finding(Box::new(finding())))),
        ("incident", record(&Report::Incident(Box::new(incident())))),
        ("remedy", of_remedy(RemedyKind::Terminate, RemedyResult::Failed("Rate exceeded".into()))),
        ("activity", record(&Report::Activity(Box::new(activity())))),
    ]
}

#[test]
fn every_combination_of_fields_and_values_fits_the_schema() {
    let Some(schema) = Schema::load() else { return };
    let mut classes = BTreeSet::new();
    for report in every_combination() {
        let record = record(&report);
        let problems = schema.problems(&record);
        assert!(problems.is_empty(), "{problems:#?}\n{record:#}");
        classes.insert(record["type_uid"].as_i64().unwrap());
    }
    let expected = [200_401, 200_501, 200_503, 600_301, 600_303, 600_304, 700_101, 700_102, 700_103];
    assert_eq!(classes, expected.into());
}

#[test]
fn any_report_at_all_fits_the_schema() {
    let Some(schema) = Schema::load() else { return };
    proptest!(|(report in any_report())| {
        let record = record(&report);
        prop_assert_eq!(schema.problems(&record), Vec::<String>::new(), "{:#}", record);
    });
}

proptest! {
    #[test]
    fn the_same_report_makes_the_same_line(report in any_report()) {
        let again: Report = serde_json::from_str(&serde_json::to_string(&report).unwrap()).unwrap();
        let line = feed::line(&report);
        prop_assert_eq!(&line, &feed::line(&again));
        prop_assert!(!line.contains('\n'));
        let mut written = Vec::new();
        feed::write_line(&report, &mut written).unwrap();
        prop_assert_eq!(written, format!("{line}\n").into_bytes());
        prop_assert_eq!(&record(&report)["metadata"]["uid"], &Value::from(feed::record_uid(&report)));
    }
}

/// Every place in a record that the schema governs: not what is free-form.
fn places(value: &Value, at: &str, found: &mut Vec<String>) {
    if at.ends_with("/unmapped") || at.ends_with("/data") {
        return;
    }
    found.push(at.to_owned());
    match value {
        Value::Object(fields) => fields.iter().for_each(|(name, value)| places(value, &format!("{at}/{name}"), found)),
        Value::Array(items) => {
            for (n, item) in items.iter().enumerate() {
                places(item, &format!("{at}/{n}"), found);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[test]
fn the_validator_rejects_every_wrong_type_unknown_attribute_and_unknown_number() {
    let Some(schema) = Schema::load() else { return };
    let mut mutations = 0;
    for (_, good) in one_of_each_class() {
        assert_eq!(schema.problems(&good), Vec::<String>::new());
        let mut found = Vec::new();
        places(&good, "", &mut found);
        for place in found.iter().filter(|place| !place.is_empty()) {
            let mut rejects = |what: &str, wrong: Value| {
                let mut bad = good.clone();
                *bad.pointer_mut(place).unwrap() = wrong;
                assert!(!schema.problems(&bad).is_empty(), "{place}: {what} was accepted");
                mutations += 1;
            };
            match good.pointer(place).unwrap() {
                Value::Object(fields) => {
                    rejects("a list for an object", json!([1]));
                    let mut more = fields.clone();
                    more.insert("x_unknown".to_owned(), json!("x"));
                    rejects("an unknown attribute", Value::Object(more));
                }
                Value::Array(_) => {
                    rejects("an object for a list", json!({"name": "x"}));
                    rejects("an empty list", json!([]));
                }
                Value::String(_) => {
                    rejects("a number for a text", json!(1));
                    rejects("an empty text", json!(""));
                }
                Value::Number(_) => {
                    rejects("a text for a number", json!("1722514758000"));
                    rejects("a fraction", json!(1.5));
                    if place.ends_with("_id") || place.ends_with("class_uid") || place.ends_with("type_uid") {
                        rejects("a number outside the enumeration", json!(77));
                    }
                }
                Value::Bool(_) => rejects("a text for a truth value", json!("true")),
                Value::Null => panic!("{place} is null"),
            }
        }
    }
    assert!(mutations > 300, "only {mutations} mutations");
}

#[test]
fn the_validator_rejects_what_is_missing_or_contradicts_itself() {
    let Some(schema) = Schema::load() else { return };
    let [finding, incident, remedy, activity] = one_of_each_class().map(|(_, record)| record);
    let base = ["time", "metadata", "cloud", "severity_id", "class_uid", "category_uid", "activity_id", "type_uid"];
    let removed = [
        (&finding, [&base[..], &["finding_info", "metadata/product", "cloud/provider", "finding_info/uid"]].concat()),
        (&incident, [&base[..], &["finding_info_list", "status_id", "assignee_group"]].concat()),
        (&remedy, [&base[..], &["command_uid", "remediation/desc", "api/operation"]].concat()),
        (&activity, [&base[..], &["actor", "api", "src_endpoint", "actor/user", "src_endpoint/name"]].concat()),
    ];
    for (good, names) in removed {
        for name in names {
            let (parent, field) = name.rsplit_once('/').map_or(("", name), |(parent, field)| (parent, field));
            let mut bad = good.clone();
            let parent = if parent.is_empty() { String::new() } else { format!("/{parent}") };
            let fields = bad.pointer_mut(&parent).unwrap().as_object_mut().unwrap();
            assert!(fields.remove(field).is_some(), "{name}");
            assert!(!schema.problems(&bad).is_empty(), "a record without {name} was accepted");
        }
    }
    let contradictions = [
        ("/metadata/profiles", json!(["security_control", "host"])),
        ("/metadata/profiles", json!(["cloud", "host", "security_control", "osint"])),
        ("/metadata/profiles", json!(["cloud", "host", "security_control", "trace"])),
        ("/metadata/version", json!("1.7.0")),
        ("/severity", json!("Critical")),
        ("/type_uid", json!(200_402)),
    ];
    for (place, wrong) in contradictions {
        let mut bad = finding.clone();
        *bad.pointer_mut(place).unwrap() = wrong.clone();
        assert!(!schema.problems(&bad).is_empty(), "{place} = {wrong} was accepted");
    }
}

#[test]
fn one_record_of_each_class() {
    for (name, record) in one_of_each_class() {
        let mut record = record;
        assert_eq!(record["metadata"]["product"]["version"], env!("CARGO_PKG_VERSION"));
        record["metadata"]["product"]["version"] = json!("[version]");
        insta::with_settings!({ sort_maps => true }, { insta::assert_json_snapshot!(name, record) });
    }
}

#[test]
fn a_planned_remedy_cannot_be_taken_for_a_done_one() {
    for kind in KINDS {
        let [planned, done, ..] = results().map(|result| of_remedy(kind, result));
        assert_eq!((&planned["status"], &planned["status_id"]), (&json!("Planned"), &json!(99)));
        assert_eq!((&planned["disposition"], &planned["action"]), (&json!("No Action"), &json!("Observed")));
        assert!(planned.get("api").is_none(), "nothing was called");
        assert_eq!((&done["status"], &done["status_id"]), (&json!("Success"), &json!(1)));
        assert_ne!(done["disposition_id"], planned["disposition_id"]);
        assert_ne!(done["action_id"], planned["action_id"]);
    }
}

#[test]
fn what_is_told_later_about_the_same_effect_is_not_dropped_as_a_repetition() {
    let id = remedy().id.to_string();
    let records = results().map(|result| of_remedy(RemedyKind::Quarantine, result));
    let uids = records.each_ref().map(|record| record["metadata"]["uid"].as_str().unwrap().to_owned());
    // A repeated call that finds the work done tells the same as the call that did it.
    assert_eq!(uids[1], id);
    assert_eq!(uids[2], id);
    assert_eq!(uids.iter().collect::<BTreeSet<_>>().len(), 4);
    assert!(records.iter().all(|record| record["command_uid"] == id.as_str()));

    let of = |resolved| record(&Report::Incident(Box::new(IncidentNote { resolved, ..incident() })));
    let (open, closed) = (of(None), of(Some(EventTime(1_722_514_999_000))));
    assert_eq!(open["metadata"]["uid"], incident().id.to_string());
    assert_ne!(open["metadata"]["uid"], closed["metadata"]["uid"]);
    assert_eq!((&open["status"], &closed["status"]), (&json!("New"), &json!("Resolved")));
}

#[test]
fn the_mode_shows_in_the_finding() {
    let of = |mode| record(&Report::Finding(Box::new(Finding { mode, ..finding() })));
    let (observe, enforce) = (of(Mode::Observe), of(Mode::Enforce));
    assert_eq!((&observe["policy"]["is_applied"], &observe["unmapped"]["mode"]), (&json!(false), &json!("observe")));
    assert_eq!((&enforce["policy"]["is_applied"], &enforce["unmapped"]["mode"]), (&json!(true), &json!("enforce")));
    assert_eq!(observe["metadata"]["uid"], enforce["metadata"]["uid"]);
}

#[test]
fn an_end_that_no_event_tells_of_names_the_call_that_showed_it() {
    let mut end = activity();
    end.kind = sessionwarden_machine::effect::ActivityKind::End;
    end.event = None;
    end.principal.arn = "".into();
    end.principal.kind = "".into();
    let record = record(&Report::Activity(Box::new(end)));
    assert_eq!(record["api"]["operation"], "DescribeSessions");
    assert_eq!(record["actor"]["user"]["name"], "unknown");
    assert!(record["metadata"].get("original_event_uid").is_none());
}
