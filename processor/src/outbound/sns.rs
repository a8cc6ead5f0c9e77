//! Notifications through topics of Amazon SNS.

use std::{collections::HashMap, sync::Arc};

use aws_config::{Region, SdkConfig};
use aws_sdk_sns::{Client, config, types::MessageAttributeValue};
use futures_util::{FutureExt, future::BoxFuture};
use sessionwarden_machine::ids::{AccountId, Now};

use super::{Deliver, Message, Notify, Undelivered, failure::failed};
use crate::ports::CallError;

/// Gives the configuration with which an account is called: its role's credentials.
pub type Configs = Arc<dyn Fn(AccountId) -> BoxFuture<'static, Result<SdkConfig, CallError>> + Send + Sync>;

/// Why a text names no topics.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TopicTemplateError {
    /// It is no ARN of a topic.
    #[error("{0:?} is no ARN of a standard SNS topic: arn:aws:sns:<region>:<account>:<name>")]
    Arn(String),
    /// The members' topics would all be one.
    #[error("{0:?} has no {{account}}; members' topics are arn:aws:sns:<region>:{{account}}:<name>")]
    Account(String),
}

/// The ARN of a topic, in which `{account}` and `{region}` stand for those that a message is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicTemplate {
    arn: Arc<str>,
    region: Arc<str>,
}

impl TopicTemplate {
    /// The topic of the members: its ARN, with `{account}`, and with `{region}` if each region has its own.
    ///
    /// # Errors
    /// [`TopicTemplateError`] where it is no such ARN.
    pub fn of_members(arn: &str, home: &str) -> Result<Self, TopicTemplateError> {
        let template = Self::new(arn, home)?;
        if arn.split(':').nth(4) == Some("{account}") {
            Ok(template)
        } else {
            Err(TopicTemplateError::Account(arn.chars().take(300).collect()))
        }
    }

    /// One topic. `home` is the region of messages that are about none.
    ///
    /// # Errors
    /// [`TopicTemplateError`] where it is no ARN of a standard topic.
    pub fn new(arn: &str, home: &str) -> Result<Self, TopicTemplateError> {
        let parts: Vec<&str> = arn.split(':').collect();
        let [head, partition, service, region, account, name] = parts[..] else {
            return Err(TopicTemplateError::Arn(arn.chars().take(300).collect()));
        };
        let given = account == "{account}" || account.len() == 12 && account.parse::<AccountId>().is_ok();
        let letter = |one: u8| one.is_ascii_alphanumeric() || matches!(one, b'-' | b'_');
        let named = (1..=256).contains(&name.len()) && name.bytes().all(letter);
        if head == "arn" && partition.starts_with("aws") && service == "sns" && !region.is_empty() && given && named {
            Ok(Self { arn: arn.into(), region: home.into() })
        } else {
            Err(TopicTemplateError::Arn(arn.chars().take(300).collect()))
        }
    }

    /// The topic for a message, and its region.
    fn topic(&self, account: Option<AccountId>, region: &str) -> (String, String) {
        // A region becomes a part of a host's name: what is none does not.
        let letter = |one: u8| one.is_ascii_lowercase() || one.is_ascii_digit() || one == b'-';
        let is_region = (1..=64).contains(&region.len()) && region.bytes().all(letter);
        let region = if is_region { region } else { &self.region };
        let account = account.map(|account| account.to_string()).unwrap_or_default();
        let arn = self.arn.replace("{account}", &account).replace("{region}", region);
        let region = arn.split(':').nth(3).unwrap_or_default().to_owned();
        (arn, region)
    }
}

/// [`Notify`] through Amazon SNS: a topic in the account that a message is about (R-G10), and one for all (R-G11).
#[derive(Clone)]
pub struct SnsTopics {
    central: Option<(TopicTemplate, SdkConfig)>,
    members: Option<(TopicTemplate, Configs)>,
}

impl std::fmt::Debug for SnsTopics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let members = self.members.as_ref().map(|(template, _)| template);
        let central = self.central.as_ref().map(|(template, _)| template);
        f.debug_struct("SnsTopics").field("central", &central).field("members", &members).finish()
    }
}

impl SnsTopics {
    /// Publishes to the central topic with the configuration beside it, and to members' topics with the configuration that
    /// the function gives for each account. `None` where nobody is to be told.
    pub fn new(central: Option<(TopicTemplate, SdkConfig)>, members: Option<(TopicTemplate, Configs)>) -> Self {
        Self { central, members }
    }
}

impl Notify for SnsTopics {
    async fn member(&self, account: AccountId, message: &Message) -> Result<bool, CallError> {
        let Some((template, configs)) = &self.members else {
            return Ok(false);
        };
        let config = configs(account).await?;
        publish(&config, &template.topic(Some(account), &message.region), message).await
    }

    async fn central(&self, message: &Message) -> Result<bool, CallError> {
        let Some((template, config)) = &self.central else {
            return Ok(false);
        };
        publish(config, &template.topic(message.account, &message.region), message).await
    }

    fn tells_members(&self) -> bool {
        self.members.is_some()
    }

    fn tells_central(&self) -> bool {
        self.central.is_some()
    }
}

/// A route to one topic.
#[derive(Clone, Debug)]
pub struct SnsRoute {
    topic: TopicTemplate,
    config: SdkConfig,
}

impl SnsRoute {
    /// Publishes to this topic with this configuration.
    pub fn new(topic: TopicTemplate, config: SdkConfig) -> Self {
        Self { topic, config }
    }
}

impl Deliver for SnsRoute {
    /// Whatever SNS says may change: a permission or a topic that is missing may be there at the next try.
    fn deliver<'a>(&'a self, message: &'a Message, _: Now) -> BoxFuture<'a, Result<(), Undelivered>> {
        let place = self.topic.topic(message.account, &message.region);
        async move {
            let told = publish(&self.config, &place, message).await;
            told.map(drop).map_err(|error| Undelivered::Later(format!("Publish: {error}")))
        }
        .boxed()
    }
}

async fn publish(config: &SdkConfig, (arn, region): &(String, String), message: &Message) -> Result<bool, CallError> {
    let client = Client::from_conf(config::Builder::from(config).region(Region::new(region.clone())).build());
    let mut attributes = HashMap::new();
    for (name, value) in message.attributes() {
        let value = MessageAttributeValue::builder().data_type("String").string_value(value).build();
        attributes.insert(name.to_owned(), value.map_err(|_| CallError::Unknown)?);
    }
    let call = client.publish().topic_arn(arn).subject(&message.subject).message(&message.body);
    call.set_message_attributes(Some(attributes)).send().await.map_err(|error| failed("Publish", &error))?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_are_named_by_account_and_region() {
        let account = AccountId::new(42);
        let each = TopicTemplate::of_members("arn:aws:sns:{region}:{account}:sessionwarden", "eu-west-1").unwrap();
        let named = |region: &str, arn: &str| (arn.to_owned(), region.to_owned());
        let wanted = named("us-east-1", "arn:aws:sns:us-east-1:000000000042:sessionwarden");
        assert_eq!(each.topic(account, "us-east-1"), wanted);
        let wanted = named("eu-west-1", "arn:aws:sns:eu-west-1:000000000042:sessionwarden");
        assert_eq!(each.topic(account, ""), wanted, "what is about an account as a whole");
        assert_eq!(each.topic(account, "example.com/#"), wanted);
        let one = TopicTemplate::of_members("arn:aws-cn:sns:cn-north-1:{account}:guard", "x").unwrap();
        assert_eq!(one.topic(account, "x"), named("cn-north-1", "arn:aws-cn:sns:cn-north-1:000000000042:guard"));
    }

    #[test]
    fn bad_topics_say_why() {
        for bad in [
            "",
            "sessionwarden",
            "arn:aws:sqs:eu-west-1:111122223333:queue",
            "arn:aws:sns::111122223333:topic",
            "arn:aws:sns:eu-west-1:1111:topic",
            "arn:aws:sns:eu-west-1:111122223333:",
            "arn:aws:sns:eu-west-1:111122223333:topic:subscription",
            "arn:aws:sns:eu-west-1:111122223333:topic.fifo",
        ] {
            let error = TopicTemplate::new(bad, "eu-west-1").unwrap_err();
            assert_eq!(error, TopicTemplateError::Arn(bad.to_owned()));
        }
        let fixed = "arn:aws:sns:eu-west-1:111122223333:topic";
        assert!(TopicTemplate::new(fixed, "eu-west-1").is_ok());
        let error = TopicTemplate::of_members(fixed, "eu-west-1").unwrap_err();
        assert_eq!(
            error.to_string(),
            "\"arn:aws:sns:eu-west-1:111122223333:topic\" has no {account}; members' topics are \
             arn:aws:sns:<region>:{account}:<name>"
        );
    }
}
