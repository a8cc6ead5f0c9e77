//! Metric data in Amazon CloudWatch.

use aws_config::SdkConfig;
use aws_sdk_cloudwatch::{
    Client,
    primitives::DateTime,
    types::{Dimension, MetricDatum, StandardUnit},
};

use super::{Datum, MetricSink, failure::failed};
use crate::ports::CallError;

/// How many data one call takes (`PutMetricData`, CloudWatch API reference). Its other limit, 1 MB, is four times as much
/// as 1,000 of ours.
const DATA_MAX: usize = 1_000;

/// [`MetricSink`] in Amazon CloudWatch, in the account and region of its configuration: the guardrail's own, where no
/// member can add to the sums.
#[derive(Clone, Debug)]
pub struct CloudWatch {
    client: Client,
}

impl CloudWatch {
    /// Uses this configuration's region, credentials and time limits.
    pub fn new(config: &SdkConfig) -> Self {
        Self { client: Client::new(config) }
    }
}

impl MetricSink for CloudWatch {
    fn batch_max(&self) -> usize {
        DATA_MAX
    }

    async fn put(&self, namespace: &str, data: &[Datum]) -> Result<(), CallError> {
        if data.is_empty() {
            return Ok(());
        }
        let data = data.iter().map(|datum| {
            let dimensions = datum.dimensions.iter();
            let dimensions = dimensions.map(|(name, value)| Dimension::builder().name(*name).value(&**value).build());
            MetricDatum::builder()
                .metric_name(&*datum.name)
                .set_dimensions(Some(dimensions.collect()))
                .value(datum.value as f64)
                .unit(StandardUnit::Count)
                .timestamp(DateTime::from_millis(datum.at.0))
                .build()
        });
        let call = self.client.put_metric_data().namespace(namespace).set_metric_data(Some(data.collect()));
        call.send().await.map_err(|error| failed("PutMetricData", &error))?;
        Ok(())
    }
}
