//! What the product told others.

use anyhow::Context as _;
use aws_sdk_cloudwatch::{
    primitives::DateTime,
    types::{Dimension, Statistic},
};
use serde_json::Value;

use super::{Cloud, MANAGEMENT, connect, now};

const HOUR_MS: i64 = 3_600_000;

impl Cloud {
    /// Takes what the central topic was told since the last call, each in the envelope of SNS. Returns once a second has
    /// brought nothing more.
    ///
    /// # Errors
    /// The queue does not answer, or has something else.
    pub async fn notifications(&self) -> anyhow::Result<Vec<Value>> {
        let sqs = aws_sdk_sqs::Client::new(&self.config_with(connect::root(MANAGEMENT)).await);
        let queue = &self.queues.notifications;
        let mut all = Vec::new();
        loop {
            let call = sqs.receive_message().queue_url(queue).max_number_of_messages(10).wait_time_seconds(1);
            let came = call.send().await.context("ReceiveMessage")?;
            if came.messages().is_empty() {
                return Ok(all);
            }
            for message in came.messages() {
                all.push(serde_json::from_str(message.body().unwrap_or_default())?);
                let receipt = message.receipt_handle().unwrap_or_default();
                sqs.delete_message().queue_url(queue).receipt_handle(receipt).send().await.context("DeleteMessage")?;
            }
        }
    }

    /// The sum of a metric's values in the last hour.
    ///
    /// # Errors
    /// `CloudWatch` does not answer.
    pub async fn metric_sum(&self, namespace: &str, metric: &str, dimensions: &[(&str, &str)]) -> anyhow::Result<f64> {
        let cloudwatch = aws_sdk_cloudwatch::Client::new(&self.config_with(connect::root(MANAGEMENT)).await);
        let of = dimensions.iter().map(|(name, value)| Dimension::builder().name(*name).value(*value).build());
        let now = now().0;
        let call = cloudwatch
            .get_metric_statistics()
            .namespace(namespace)
            .metric_name(metric)
            .set_dimensions(Some(of.collect()))
            .start_time(DateTime::from_millis(now - HOUR_MS))
            .end_time(DateTime::from_millis(now + HOUR_MS))
            .period(60)
            .statistics(Statistic::Sum);
        let told = call.send().await.context("GetMetricStatistics")?;
        Ok(told.datapoints().iter().filter_map(aws_sdk_cloudwatch::types::Datapoint::sum).sum())
    }
}
