//! `sessionwarden policy`.

#[path = "policy_command/explain.rs"]
mod explain;
#[path = "policy_command/mistakes.rs"]
mod mistakes;

use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::{Value, json};
use sessionwarden_machine::compliance::EvidenceKind;

/// A folder of its own for one test, in which the command runs.
struct Folder(tempfile::TempDir);

struct Answer {
    code: i32,
    out: String,
    err: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {} {}", self.out, self.err))
    }
}

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        let path = self.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// Runs `sessionwarden policy` with these arguments.
    fn policy(&self, arguments: &[&str]) -> Answer {
        let output = Command::new(env!("CARGO_BIN_EXE_sessionwarden"))
            .arg("policy")
            .args(arguments)
            .current_dir(self.path())
            .output()
            .unwrap();
        Answer {
            code: output.status.code().unwrap(),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

const CONTROLS: &str = r#"
@id("MY-PORT") @title("A port is forwarded") @severity("high") @response("terminate") @quarantine("true")
@requirement("TH2") @attack("T1572")
forbid (principal, action == Action::"session", resource)
when { context.documentKind == DocumentKind::"port" };

@id("MY-LOG") @title("The log cannot be written") @severity("medium") @response("report")
@requirement("R-G3, X-1") @attack("T1562.008")
forbid (principal, action == Action::"session", resource)
when { !context.evidence.logWritable };

@id("MY-TRAIL") @title("A trail was stopped") @severity("critical") @response("incident")
@requirement("TH28") @attack("T1562.008")
forbid (principal, action == Action::"event", resource)
when { context.threat == Threat::"TH28" };
"#;

fn waiver(id: &str, controls: &str, expires: &str, action: &str) -> String {
    format!(
        "@id(\"{id}\") @control(\"{controls}\") @owner(\"ann@example.com\") @ticket(\"SEC-1\") @expires(\"{expires}\")\n\
         permit (principal, action == Action::\"{action}\", resource in Unit::\"sandbox\");\n"
    )
}

const CASES: &str = r#"
[[session]]
name = "a port"
document = "AWS-StartPortForwardingSession"
expect = ["MY-PORT"]
clear = ["MY-LOG"]

[[session]]
name = "no log"
evidence = { log-writable = "no" }
expect = ["MY-LOG"]
clear = ["MY-PORT"]

[[session]]
name = "who knows"
evidence = { log-writable = "unknown" }
undecided = ["MY-LOG"]

[[event]]
name = "a trail"
threat = "TH28"
event = "StopLogging"
kind = "trail"
expect = ["MY-TRAIL"]
"#;

fn own_policies() -> Folder {
    let folder = Folder::new();
    folder.write("policies/controls/mine.cedar", CONTROLS);
    folder.write("policies/cases/mine.cases.toml", CASES);
    folder
}

fn shipped_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../infra/policies")
}

#[test]
fn every_shipped_control_has_cases_on_both_sides_and_all_pass() {
    let folder = Folder::new();
    let answer = folder.policy(&["test", "--format", "json"]);
    assert_eq!(answer.code, 0, "{}{}", answer.out, answer.err);
    let tested = answer.json();
    assert_eq!(tested["failed"], json!([]));
    assert_eq!(tested["one_sided"], json!([]));
    assert_eq!(tested["both_sides"], tested["controls"]);
    let controls = folder.policy(&["check", "--format", "json"]).json();
    assert_eq!(tested["controls"], controls["controls"].as_array().unwrap().len());

    // The folder in the repository is what ships.
    let answer = folder.policy(&["test", shipped_folder().to_str().unwrap(), "--format", "json"]);
    assert_eq!(answer.code, 0, "{}{}", answer.out, answer.err);
    assert_eq!(answer.json(), tested);
}

#[test]
fn cases_that_hold_are_counted() {
    let folder = own_policies();
    let answer = folder.policy(&["test", "policies"]);
    assert_eq!(answer.code, 0, "{}{}", answer.out, answer.err);
    insta::assert_snapshot!(answer.out, @r"
    4 cases, 0 failed
    2 of 3 controls have cases on both sides
      MY-TRAIL: no case names it under `clear`
    ");
}

#[test]
fn a_case_that_fails_shows_what_was_expected_and_what_was_found() {
    let folder = own_policies();
    let wrong = CASES
        .replace("expect = [\"MY-PORT\"]", "expect = [\"MY-LOG\"]")
        .replace("undecided = [\"MY-LOG\"]", "clear = [\"MY-LOG\"]")
        .replace("expect = [\"MY-TRAIL\"]", "waived = [\"MY-TRAIL\"]")
        .replace("clear = [\"MY-LOG\"]\n\n[[session]]\nname = \"no", "\n[[session]]\nname = \"no");
    folder.write("policies/cases/mine.cases.toml", wrong);
    let answer = folder.policy(&["test", "policies"]);
    assert_eq!((answer.code, &*answer.err), (1, ""));
    insta::assert_snapshot!(answer.out, @r"
    ┌───────────────────────────────────┬─────────────────┬───────────────────┐
    │ failed case                       ┆ expected        ┆ found             │
    ╞═══════════════════════════════════╪═════════════════╪═══════════════════╡
    │ a port                            ┆ violated MY-LOG ┆ violated MY-PORT  │
    │ policies/cases/mine.cases.toml:2  ┆                 ┆                   │
    │ who knows                         ┆ nothing         ┆ undecided MY-LOG  │
    │ policies/cases/mine.cases.toml:13 ┆ clear MY-LOG    ┆                   │
    │ a trail                           ┆ waived MY-TRAIL ┆ violated MY-TRAIL │
    │ policies/cases/mine.cases.toml:18 ┆                 ┆                   │
    └───────────────────────────────────┴─────────────────┴───────────────────┘

    4 cases, 3 failed
    1 of 3 controls have cases on both sides
      MY-PORT: no case violates it
      MY-TRAIL: no case names it under `clear`
    ");
    let tested = folder.policy(&["test", "policies", "--format", "json"]);
    assert_eq!(tested.code, 1);
    let failed = &tested.json()["failed"];
    assert_eq!(failed.as_array().unwrap().len(), 3);
    assert_eq!(failed[0]["name"], "a port");
    assert_eq!((&failed[0]["file"], &failed[0]["line"]), (&json!("policies/cases/mine.cases.toml"), &json!(2)));
    assert_eq!(failed[0]["expected"], json!({"violated": ["MY-LOG"], "undecided": [], "waived": []}));
    assert_eq!(failed[0]["found"], json!({"violated": ["MY-PORT"], "undecided": [], "waived": []}));
    assert_eq!((&failed[1]["clear"], &failed[1]["found"]["undecided"]), (&json!(["MY-LOG"]), &json!(["MY-LOG"])));
}

// I16: a case is judged at its own time, and a waiver works strictly before its expiry.
#[test]
fn a_waiver_is_tried_at_the_time_of_the_case() {
    let folder = own_policies();
    let (until, sessions) = ("2026-06-01T00:00:00Z", "MY-PORT, MY-LOG");
    let waivers = waiver("WV-1", sessions, until, "session") + &waiver("WV-2", "MY-TRAIL", until, "event");
    folder.write("policies/waivers/w.cedar", waivers);
    let case = |name: &str, unit: &str, at: &str, outcome: &str| {
        let session = format!(
            "[[session]]\nname = \"{name}\"\nunit = \"{unit}\"\nat = \"{at}\"\n\
             document = \"AWS-StartPortForwardingSession\"\n{outcome} = [\"MY-PORT\"]\n"
        );
        let event = format!(
            "[[event]]\nname = \"{name}, event\"\nunit = \"{unit}\"\nat = \"{at}\"\nthreat = \"TH28\"\n\
             event = \"StopLogging\"\n{outcome} = [\"MY-TRAIL\"]\n"
        );
        session + &event
    };
    let cases = case("before", "sandbox", "2026-05-31T23:59:59Z", "waived")
        + &case("after", "sandbox", until, "expect")
        + &case("elsewhere", "production", "2026-05-31T23:59:59Z", "expect")
        + "[[session]]\nname = \"outlived\"\nunit = \"sandbox\"\nstarted_at = \"2026-05-01T00:00:00Z\"\n\
           at = \"2026-06-02T00:00:00Z\"\ndocument = \"AWS-StartPortForwardingSession\"\nexpect = [\"MY-PORT\"]\n"
        + "[[session]]\nname = \"unknown\"\nunit = \"sandbox\"\nat = \"2026-05-01T00:00:00Z\"\n\
           evidence = { log-writable = \"unknown\" }\nclear = [\"MY-LOG\"]\n";
    folder.write("policies/cases/mine.cases.toml", cases);
    let answer = folder.policy(&["test", "policies"]);
    assert_eq!(answer.code, 0, "{}{}", answer.out, answer.err);
    assert!(answer.out.starts_with("8 cases, 0 failed\n"), "{}", answer.out);
}

#[test]
fn every_fact_of_a_case_reaches_the_policies() {
    let folder = Folder::new();
    let control = |id: &str, action: &str, condition: &str| {
        format!(
            "@id(\"{id}\") @title(\"t\") @severity(\"low\") @response(\"report\") @requirement(\"X\") @attack(\"T1021\")\n\
             forbid (principal, action == Action::\"{action}\", resource) when {{ {condition} }};\n"
        )
    };
    let facts = [
        (
            "session",
            "context.account == \"444455556666\" && resource in Account::\"444455556666\"",
            "account = \"444455556666\"",
        ),
        ("session", "context.region == \"us-east-1\"", "region = \"us-east-1\""),
        ("session", "resource in Unit::\"sandbox\"", "unit = \"sandbox\""),
        ("session", "context.management", "management = true"),
        ("session", "!context.regionAllowed", "region_allowed = false"),
        (
            "session",
            "principal.name == \"bob\" && principal.kind == \"IAMUser\"",
            "principal = \"arn:aws:iam::111122223333:user/bob\"",
        ),
        ("session", "context.targetKind == TargetKind::\"hybrid\" && resource == Node::\"mi-1\"", "target = \"mi-1\""),
        ("session", "context.targetKind == TargetKind::\"container\"", "container = true"),
        (
            "session",
            "context.documentName == \"Mine\" && context.documentKind == DocumentKind::\"custom\"",
            "document = \"Mine\"",
        ),
        ("session", "context.documentShared", "document = \"arn:aws:ssm:eu-central-1:444455556666:document/D\""),
        ("session", "context.sessionType == \"Port\"", "session_type = \"Port\""),
        ("session", "context.accessType == \"JustInTime\"", "access_type = \"JustInTime\""),
        ("session", "context.reason like \"OPS-*\"", "reason = \"OPS-1\""),
        ("session", "context.resumed", "resumed = true"),
        ("session", "context.startedAt < datetime(\"2020-01-01\")", "started_at = \"2019-01-01T00:00:00Z\""),
        ("event", "context.threat == Threat::\"TH30\"", "threat = \"TH30\""),
        ("event", "context.event == \"MoveAccount\"", "event = \"MoveAccount\""),
        ("event", "context.thingKind == ThingKind::\"log-group\"", "kind = \"log-group\""),
        ("event", "resource == Thing::\"prod\"", "thing = \"prod\""),
        ("event", "context.own", "own = true"),
        ("event", "context.failed", "failed = true"),
        ("event", "context.account == \"444455556666\"", "account = \"444455556666\""),
        ("event", "context.region == \"us-east-1\"", "region = \"us-east-1\""),
        ("event", "resource in Unit::\"sandbox\"", "unit = \"sandbox\""),
        ("event", "context.management", "management = true"),
        ("event", "principal.kind == \"Root\"", "principal = \"arn:aws:iam::111122223333:root\""),
    ];
    let (mut controls, mut cases) = (String::new(), String::new());
    for (at, (action, condition, fact)) in facts.iter().enumerate() {
        let (id, event) = (format!("C{at:02}"), *action == "event");
        controls += &control(&id, action, condition);
        let needed = if event && !fact.starts_with("threat") { "threat = \"TH1\"\n" } else { "" };
        let needed = needed.to_owned() + if event && !fact.starts_with("event") { "event = \"X\"\n" } else { "" };
        let _ = writeln!(cases, "[[{action}]]\nname = \"with {at}\"\n{needed}{fact}\nexpect = [\"{id}\"]");
        let bare = if event { "threat = \"TH1\"\nevent = \"X\"\n" } else { "" };
        let _ = writeln!(cases, "[[{action}]]\nname = \"without {at}\"\n{bare}clear = [\"{id}\"]");
    }
    folder.write("p/a.cedar", controls);
    folder.write("p/a.cases.toml", cases);
    let answer = folder.policy(&["test", "p"]);
    assert_eq!(answer.code, 0, "{}{}", answer.out, answer.err);
    assert!(answer.out.contains("26 of 26 controls have cases on both sides"), "{}", answer.out);
}

#[test]
fn a_check_shows_controls_and_waivers() {
    let folder = own_policies();
    let waivers = waiver("WV-OLD", "MY-PORT", "2020-01-01T00:00:00Z", "session")
        + &waiver("WV-NEW", "MY-PORT, MY-LOG", "2999-01-01T00:00:00Z", "session");
    folder.write("policies/waivers/w.cedar", waivers);
    let answer = folder.policy(&["check", "policies"]);
    assert_eq!(answer.code, 0, "{}", answer.err);
    assert!(answer.err.contains("policies/waivers/w.cedar:1: waiver WV-OLD expired at"), "{}", answer.err);
    let out: Vec<_> = answer.out.lines().filter(|line| !line.starts_with("policy ")).collect();
    insta::assert_snapshot!(out.join("\n"), @r"
    ┌──────────┬──────────┬───────────────────┬──────────────┬──────────────┬───────────────────────────┐
    │ control  ┆ severity ┆ response          ┆ evidence     ┆ requirements ┆ what it means             │
    ╞══════════╪══════════╪═══════════════════╪══════════════╪══════════════╪═══════════════════════════╡
    │ MY-LOG   ┆ medium   ┆ report            ┆ log-writable ┆ R-G3, X-1    ┆ The log cannot be written │
    │ MY-PORT  ┆ high     ┆ terminate, counts ┆              ┆ TH2          ┆ A port is forwarded       │
    │ MY-TRAIL ┆ critical ┆ incident          ┆              ┆ TH28         ┆ A trail was stopped       │
    └──────────┴──────────┴───────────────────┴──────────────┴──────────────┴───────────────────────────┘

    Waivers
    ┌────────┬─────────────────┬────────────────────────────────┬─────────────────┬────────┐
    │ waiver ┆ excuses         ┆ expires                        ┆ owner           ┆ ticket │
    ╞════════╪═════════════════╪════════════════════════════════╪═════════════════╪════════╡
    │ WV-NEW ┆ MY-LOG, MY-PORT ┆ 2999-01-01T00:00:00Z           ┆ ann@example.com ┆ SEC-1  │
    │ WV-OLD ┆ MY-PORT         ┆ 2020-01-01T00:00:00Z (expired) ┆ ann@example.com ┆ SEC-1  │
    └────────┴─────────────────┴────────────────────────────────┴─────────────────┴────────┘
    ");
    assert!(answer.out.ends_with(": 3 controls, 2 waivers, 4 cases\n"), "{}", answer.out);

    let json = folder.policy(&["check", "policies", "--format", "json"]).json();
    assert_eq!((&json["mistakes"], &json["cases"]), (&json!([]), &json!(4)));
    let log = &json["controls"][0];
    assert_eq!((&log["id"], &log["evidence"]), (&json!("MY-LOG"), &json!(["log-writable"])));
    assert_eq!((&log["requirements"], &log["line"]), (&json!(["R-G3", "X-1"]), &json!(7)));
    assert_eq!((&log["session"], &log["event"]), (&json!(true), &json!(false)));
    assert_eq!(json["waivers"][1]["expired"], true);
    assert_eq!(json["waivers"][0]["controls"], json!(["MY-LOG", "MY-PORT"]));
}

#[test]
fn the_configuration_names_the_folder() {
    let folder = own_policies();
    folder.write("sw.toml", "[policy]\ndir = \"policies\"\n");
    let answer = folder.policy(&["test", "--config", "sw.toml"]);
    assert_eq!(answer.code, 0, "{}", answer.err);
    assert!(answer.out.starts_with("4 cases, 0 failed\n"), "{}", answer.out);
}

#[test]
fn the_documentation_lists_every_control_and_every_kind_of_evidence() {
    let text = fs::read_to_string(shipped_folder().join("../../docs/policies.md")).unwrap();
    let checked = Folder::new().policy(&["check", "--format", "json"]).json();
    for control in checked["controls"].as_array().unwrap() {
        let text_of = |key: &str| control[key].as_str().unwrap().to_owned();
        let counts = if control["quarantine"] == true && control["session"] == true { ", counts" } else { "" };
        let mut requirements: Vec<_> =
            control["requirements"].as_array().unwrap().iter().map(|id| id.as_str().unwrap()).collect();
        let start = format!("| {} | {} | {}{counts} | ", text_of("id"), text_of("severity"), text_of("response"));
        let row = text.lines().find(|line| line.starts_with(&start)).unwrap_or_else(|| panic!("{start}"));
        let cells: Vec<_> = row.split(" | ").collect();
        let mut listed: Vec<_> = cells[3].split(", ").collect();
        requirements.sort_unstable();
        listed.sort_unstable();
        assert_eq!(listed, requirements, "{row}");
        assert_eq!(cells[4].trim_end_matches(" |"), text_of("title"));
    }
    for kind in EvidenceKind::ALL {
        let row = format!("| `{}` | `{}` | ", kind.attribute(), kind.as_str());
        assert!(text.contains(&row), "{row}");
    }
}
