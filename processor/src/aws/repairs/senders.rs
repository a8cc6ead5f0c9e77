//! What carries events and tells people: Kinesis streams, SNS topics, CloudWatch alarms.

use serde_json::{Map, Value, json};
use sessionwarden_machine::wanted::{State, same};

use super::{Api, CallError, Change, Failure, Means, Thing, joined, parsed, unparsed};
use crate::aws::signed::KINESIS;

/// The attributes of a topic that can be set ("`SetTopicAttributes`", SNS API reference); others are counts.
const ATTRIBUTES: [&str; 6] =
    ["Policy", "DeliveryPolicy", "DisplayName", "KmsMasterKeyId", "SignatureVersion", "TracingConfig"];

impl Thing<'_> {
    fn stream_name(&self) -> Value {
        if self.name.starts_with("arn:") {
            json!({ "StreamARN": self.name })
        } else {
            json!({ "StreamName": self.name })
        }
    }

    async fn retention_hours(&self) -> Result<u64, Failure> {
        let found = self.ask(&KINESIS, "DescribeStreamSummary", self.stream_name()).await?;
        let hours = found["StreamDescriptionSummary"]["RetentionPeriodHours"].as_u64();
        hours.ok_or_else(|| Failure::unknown(false))
    }

    pub(super) async fn stream(&self) -> Result<State, Failure> {
        Ok(State::from([("retention-hours".into(), self.retention_hours().await?.into())]))
    }

    pub(super) async fn write_stream(&self, change: &Change<'_>) -> Result<(), Failure> {
        let input = joined(self.stream_name(), &json!({ "RetentionPeriodHours": change.wanted }));
        let longer = change.wanted.as_u64() > change.have.as_u64();
        let operation = if longer { "IncreaseStreamRetentionPeriod" } else { "DecreaseStreamRetentionPeriod" };
        self.tell(&KINESIS, operation, input).await
    }

    pub(super) async fn topic(&self) -> Result<State, Failure> {
        let send =
            |means: &Means| aws_sdk_sns::Client::new(&means.config).get_topic_attributes().topic_arn(self.name).send();
        let found = self.hands.call(&self.place, Api::Repairs, "GetTopicAttributes", send).await?;
        let attributes = found.attributes().ok_or_else(|| Failure::unknown(false))?;
        let told = |name: &str| Some((name.to_owned(), attributes.get(name).filter(|text| !text.is_empty())?));
        let attributes = ATTRIBUTES.into_iter().filter_map(told).map(|(name, text)| (name, parsed(text)));
        Ok(State::from([("attributes".into(), Value::Object(attributes.collect::<Map<_, _>>()))]))
    }

    pub(super) async fn write_topic(&self, change: &Change<'_>) -> Result<(), Failure> {
        for name in ATTRIBUTES.into_iter().filter(|name| !same(&change.wanted[*name], &change.have[*name])) {
            // A topic's name for people and its key are taken away by an empty text.
            let text = Some(&change.wanted[name]).filter(|value| !value.is_null()).map(unparsed).unwrap_or_default();
            let send = |means: &Means| {
                let call = aws_sdk_sns::Client::new(&means.config).set_topic_attributes().topic_arn(self.name);
                call.attribute_name(name).attribute_value(&text).send()
            };
            self.hands.call(&self.place, Api::Repairs, "SetTopicAttributes", send).await?;
        }
        Ok(())
    }

    pub(super) async fn alarm(&self) -> Result<State, Failure> {
        use aws_sdk_cloudwatch::types::AlarmType::{CompositeAlarm, MetricAlarm};
        let send = |means: &Means| {
            let call = aws_sdk_cloudwatch::Client::new(&means.config).describe_alarms().alarm_names(self.name);
            call.alarm_types(MetricAlarm).alarm_types(CompositeAlarm).send()
        };
        let found = self.hands.call(&self.place, Api::Repairs, "DescribeAlarms", send).await?;
        let metric = found.metric_alarms().iter().map(|alarm| (alarm.alarm_name(), alarm.actions_enabled()));
        let composite = found.composite_alarms().iter().map(|alarm| (alarm.alarm_name(), alarm.actions_enabled()));
        let (_, enabled) =
            metric.chain(composite).find(|(name, _)| *name == Some(self.name)).ok_or(Failure::from(CallError::Gone))?;
        Ok(State::from([("actions".into(), enabled.unwrap_or_default().into())]))
    }

    pub(super) async fn enable_alarm(&self) -> Result<(), Failure> {
        let send = |means: &Means| {
            aws_sdk_cloudwatch::Client::new(&means.config).enable_alarm_actions().alarm_names(self.name).send()
        };
        self.hands.call(&self.place, Api::Repairs, "EnableAlarmActions", send).await.map(drop)
    }
}
