use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    sync::Arc,
};

use sessionwarden::{
    metrics::{MetricKind, Metrics, table, table_markdown},
    stream::{Movements, ShardStatus, WorkerStatus},
};
use sessionwarden_machine::ids::Now;

fn touched() -> Metrics {
    let metrics = Metrics::new().unwrap();
    metrics.records_read(10);
    metrics.records_relevant(4);
    metrics.records_ignored(5);
    metrics.records_duplicate(2);
    metrics.records_parked(1);
    metrics.source_lag_ms(-5);
    metrics.handle_seconds(0.003);
    metrics.sessions_live(7);
    metrics.verdict(&Arc::from("port-forwarding"), "violated");
    metrics.judged(8, 9);
    metrics.termination("done");
    metrics.effect("terminate", "failed");
    metrics.incidents_open(3);
    metrics.quarantined_accounts(6);
    metrics.recheck_overdue_ms(250);
    metrics.store_conflicts(11);
    metrics.invariant_violation("I8");
    metrics.store_units([1.5, 4.0]);
    metrics.heartbeat(Now(1_795_000_000_500));
    let shard = ShardStatus { behind_ms: Some(40), ..ShardStatus::default() };
    let status = WorkerStatus { shards: BTreeMap::from([("shard".into(), shard)]), ..WorkerStatus::default() };
    metrics.shards(&status);
    metrics.movements(&Movements::default(), &Movements { taken: 2, ..Movements::default() });
    metrics.call("DescribeSessions", "throttled");
    metrics.role_assumed("denied", 3);
    metrics.sessions_adopted(12);
    metrics.sessions_announced(13);
    metrics.routed(&Arc::from("pager"), "dead");
    metrics
}

#[test]
fn exactly_the_tables_metrics_are_exposed() {
    let text = touched().prometheus_text().unwrap();
    let exposed: BTreeSet<(&str, &str)> = text
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE "))
        .map(|line| line.split_once(' ').unwrap())
        .collect();
    let promised: BTreeSet<(&str, &str)> = table().iter().map(|def| (def.name, def.kind.as_str())).collect();
    assert_eq!(exposed, promised);
    assert_eq!(promised.len(), table().len(), "a name stands twice in the table");
    for def in table() {
        assert!(text.contains(&format!("# HELP {} {}\n", def.name, def.meaning)), "{}", def.name);
    }
}

#[test]
fn each_method_touches_its_own_metric() {
    let text = touched().prometheus_text().unwrap();
    let values: Vec<&str> = text
        .lines()
        .filter(|line| !line.starts_with('#') && !line.contains("_bucket{"))
        .map(|line| line.trim_start_matches("sessionwarden_"))
        .collect();
    insta::assert_snapshot!(values.join("\n"), @r#"
    accounts_refused 3
    calls_total{call="DescribeSessions",result="throttled"} 1
    effects_total{kind="terminate",result="failed"} 1
    handle_seconds_sum 0.003
    handle_seconds_count 1
    heartbeat_seconds 1795000000
    incidents_open 3
    invariant_violations_total{invariant="I8"} 1
    iterator_age_ms 40
    judge_memo_hits_total 8
    judge_memo_misses_total 9
    leases_moved_total{how="taken"} 2
    quarantined_accounts 6
    recheck_overdue_ms 250
    records_duplicate_total 2
    records_ignored_total 5
    records_parked_total 1
    records_read_total 10
    records_relevant_total 4
    roles_assumed_total{result="denied"} 1
    route_messages_total{result="dead",route="pager"} 1
    sessions_adopted_total 12
    sessions_announced_total 13
    sessions_live 7
    shards 1
    source_lag_ms 0
    store_conflicts_total 11
    store_units_total{kind="read"} 1.5
    store_units_total{kind="write"} 4
    terminations_total{result="done"} 1
    verdicts_total{control="port-forwarding",outcome="violated"} 1
    "#);
}

#[test]
fn single_counters_and_gauges_are_there_from_the_start() {
    let text = Metrics::new().unwrap().prometheus_text().unwrap();
    for def in table().iter().filter(|def| def.labels.is_empty() && def.kind != MetricKind::Histogram) {
        assert!(text.contains(&format!("\n{} 0\n", def.name)), "{}", def.name);
    }
}

#[test]
fn names_carry_their_unit() {
    for def in table() {
        assert!(def.name.starts_with("sessionwarden_"), "{}", def.name);
        assert_eq!(def.kind == MetricKind::Counter, def.name.ends_with("_total"), "{}", def.name);
        assert_eq!(def.unit == "ms", def.name.ends_with("_ms"), "{}", def.name);
        assert_eq!(def.unit == "s", def.name.ends_with("_seconds"), "{}", def.name);
    }
}

/// `UPDATE_DOCS=1` writes the page again.
#[test]
fn the_page_in_docs_is_current() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/metrics.md");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&page, table_markdown()).unwrap();
    }
    let written = fs::read_to_string(&page).unwrap();
    assert!(written == table_markdown(), "docs/metrics.md is not current: run this test with UPDATE_DOCS=1");
}
