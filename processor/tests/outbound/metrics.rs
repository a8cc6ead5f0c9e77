//! Metric data in CloudWatch, read back.

use std::{sync::Arc, time::SystemTime};

use aws_sdk_cloudwatch::{
    Client,
    primitives::DateTime,
    types::{Dimension, Metric, MetricDataQuery, MetricStat, Statistic},
};
use sessionwarden::{
    outbound::{CloudWatch, CountKey, Counts, Datum, MetricNames, MetricSink as _, publish},
    ports::CallError,
};
use sessionwarden_machine::ids::Now;

use super::{OWN, REGION, account, config, server};

fn now() -> Now {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    Now(since.as_millis() as i64)
}

fn dimensions(named: &[(&str, &str)]) -> Vec<Dimension> {
    named.iter().map(|(name, value)| Dimension::builder().name(*name).value(*value).build()).collect()
}

/// The sum of a metric in the last hour, by `GetMetricStatistics`.
async fn sum(client: &Client, names: MetricNames, of: &[(&str, &str)]) -> f64 {
    let now = now();
    let answer = client
        .get_metric_statistics()
        .namespace(names.namespace())
        .metric_name(names.metric())
        .set_dimensions(Some(dimensions(of)))
        .start_time(DateTime::from_millis(now.0 - 3_600_000))
        .end_time(DateTime::from_millis(now.0 + 3_600_000))
        .period(60)
        .statistics(Statistic::Sum)
        .send()
        .await
        .unwrap();
    answer.datapoints().iter().filter_map(aws_sdk_cloudwatch::types::Datapoint::sum).sum()
}

// R-G9: the original's namespace and name, and the dimensions it lacked (R-W27).
#[tokio::test]
async fn terminated_sessions_can_be_read() {
    let Some(server) = server() else { return };
    let config = config(&server.url, OWN).await;
    let (client, sink) = (Client::new(&config), CloudWatch::new(&config));
    let key = |number: u64, control: &str| CountKey {
        account: account(number),
        region: REGION.into(),
        control: control.into(),
    };
    let names = MetricNames::Original;
    let mut counts = Counts::new(names);
    for total in [2, 2, 3] {
        counts.note(&key(1, "document"), total);
        counts.note(&key(1, "role"), 1);
        counts.note(&key(2, "document"), 4);
        // R-W2: a count that is given again counts nothing.
        publish(&mut counts, &sink, now()).await.unwrap();
    }
    let (one, two) = ("000000000001", "000000000002");
    for (of, wanted) in [
        // Asked for none, the server adds up the metric's three sets of dimensions, which AWS keeps apart.
        (vec![], 3.0 * 8.0),
        (vec![("Account", one)], 4.0),
        (vec![("Account", two)], 4.0),
        (vec![("Account", one), ("Region", REGION), ("Control", "document")], 3.0),
        (vec![("Account", one), ("Region", REGION), ("Control", "role")], 1.0),
        (vec![("Account", two), ("Region", REGION), ("Control", "document")], 4.0),
    ] {
        let found = sum(&client, names, &of).await;
        assert!((found - wanted).abs() < 0.01, "{of:?}: {found}");
    }

    let metric = Metric::builder().namespace("SSMMonitoringLoggingGuardrails").metric_name("TerminatedSSMSessions");
    let metric = metric.set_dimensions(Some(dimensions(&[("Account", one)]))).build();
    let stat = MetricStat::builder().metric(metric).period(3_600).stat("Sum").build();
    let now = now();
    let answer = client
        .get_metric_data()
        .metric_data_queries(MetricDataQuery::builder().id("one").metric_stat(stat).build())
        .start_time(DateTime::from_millis(now.0 - 7_200_000))
        .end_time(DateTime::from_millis(now.0 + 7_200_000))
        .send()
        .await
        .unwrap();
    let values: f64 =
        answer.metric_data_results().iter().flat_map(aws_sdk_cloudwatch::types::MetricDataResult::values).sum();
    assert!((values - 4.0).abs() < 0.01, "{values}");
}

#[tokio::test]
async fn more_than_a_call_takes_leaves_in_batches() {
    let Some(server) = server() else { return };
    let config = config(&server.url, OWN).await;
    let (client, sink) = (Client::new(&config), CloudWatch::new(&config));
    let mut counts = Counts::new(MetricNames::Own);
    for number in 0..1_200 {
        let key =
            CountKey { account: account(number % 3), region: REGION.into(), control: format!("c{number}").into() };
        counts.note(&key, 1);
    }
    assert_eq!(sink.batch_max(), 1_000);
    assert_eq!(publish(&mut counts, &sink, now()).await, Ok(1_203));
    let first = sum(&client, MetricNames::Own, &[("Account", "000000000000")]).await;
    assert!((first - 400.0).abs() < 0.01, "{first}");
    let last = [("Account", "000000000002"), ("Region", REGION), ("Control", "c1199")];
    assert!((sum(&client, MetricNames::Own, &last).await - 1.0).abs() < 0.01);
}

// I11
#[tokio::test]
async fn what_is_not_answered_has_not_left() {
    let sink = CloudWatch::new(&config("http://127.0.0.1:1", OWN).await);
    let mut counts = Counts::new(MetricNames::Own);
    counts.note(&CountKey { account: account(1), region: REGION.into(), control: "c".into() }, 1);
    for _ in 0..2 {
        assert_eq!(publish(&mut counts, &sink, now()).await, Err(CallError::Unknown));
    }
    let nothing: [Datum; 0] = [];
    assert_eq!(sink.put("Sessionwarden", &nothing).await, Ok(()));
    let one = Datum { name: Arc::from("m"), dimensions: Vec::new(), value: 1, at: now() };
    assert_eq!(sink.put("Sessionwarden", &[one]).await, Err(CallError::Unknown));
}
