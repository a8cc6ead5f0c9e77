//! CloudTrail records and the EventBridge envelope around them, written as AWS writes them.

use std::{fmt::Write, sync::Arc};

use sessionwarden_machine::ids::{AccountId, EventTime};

use crate::dice::{BASE32, Dice, push_uuid};

/// What kind of identity a caller has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CallerKind {
    /// An IAM user with a long-lived key.
    IamUser,
    /// A person or a machine with a role's temporary credentials.
    AssumedRole,
    /// A service of AWS itself.
    Service,
}

/// Somebody who calls AWS, with the parts of a record that stay the same over their calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The account the caller belongs to.
    pub account: AccountId,
    /// The user's name or the role session's name: the first part of the caller's session ids.
    pub name: Arc<str>,
    /// The ARN as `userIdentity.arn` gives it; empty for a service.
    pub arn: Arc<str>,
    /// What kind of identity.
    pub kind: CallerKind,
    /// True where the quarantine policy makes an exception: break-glass and Sessionwarden's own roles.
    pub exempt: bool,
    identity: String,
    address: String,
    agent: &'static str,
}

const AGENTS: [&str; 5] = [
    "aws-cli/2.17.20 md/awscrt#0.20.11 ua/2.0 os/linux#6.1.94 md/arch#x86_64 lang/python#3.11.8 cfg/retry-mode#standard",
    "aws-sdk-go-v2/1.30.3 os/linux lang/go#1.22.5 md/GOOS#linux md/GOARCH#amd64 api/ssm#1.52.4",
    "Boto3/1.34.140 md/Botocore#1.34.140 ua/2.0 os/linux#5.10 lang/python#3.12.4 Botocore/1.34.140",
    "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36",
    "APN/1.0 HashiCorp/1.0 Terraform/1.9.2 (+https://www.terraform.io) terraform-provider-aws/5.58.0 aws-sdk-go-v2/1.30.1",
];

impl Caller {
    /// An IAM user of `account`.
    pub fn iam_user(account: AccountId, name: &str, dice: &mut Dice) -> Self {
        let arn = format!("arn:aws:iam::{account}:user/{name}");
        let mut identity = String::from(r#"{"type":"IAMUser","principalId":"AIDA"#);
        dice.push(&mut identity, BASE32, 17);
        let _ = write!(identity, r#"","arn":"{arn}","accountId":"{account}","accessKeyId":"AKIA"#);
        dice.push(&mut identity, BASE32, 16);
        let _ = write!(identity, r#"","userName":"{name}"}}"#);
        Self::new(account, name, arn, CallerKind::IamUser, identity, dice)
    }

    /// A session named `name` of the role `role` in `account`, with credentials made at `since`.
    pub fn assumed_role(account: AccountId, role: &str, name: &str, since: EventTime, dice: &mut Dice) -> Self {
        let arn = format!("arn:aws:sts::{account}:assumed-role/{role}/{name}");
        let mut unique = String::from("AROA");
        dice.push(&mut unique, BASE32, 17);
        let mut identity = format!(
            r#"{{"type":"AssumedRole","principalId":"{unique}:{name}","arn":"{arn}","accountId":"{account}","accessKeyId":"ASIA"#
        );
        dice.push(&mut identity, BASE32, 16);
        let _ = write!(
            identity,
            r#"","sessionContext":{{"sessionIssuer":{{"type":"Role","principalId":"{unique}","arn":"arn:aws:iam::{account}:role/{role}","accountId":"{account}","userName":"{role}"}},"attributes":{{"creationDate":""#
        );
        push_time(&mut identity, since);
        identity.push_str(r#"","mfaAuthenticated":"false"}}}"#);
        Self::new(account, name, arn, CallerKind::AssumedRole, identity, dice)
    }

    /// A service of AWS, for example `cloudtrail.amazonaws.com`, acting in `account`.
    pub fn service(account: AccountId, service: &'static str) -> Self {
        Self {
            account,
            name: Arc::from(service),
            arn: Arc::from(""),
            kind: CallerKind::Service,
            exempt: false,
            identity: format!(r#"{{"type":"AWSService","invokedBy":"{service}"}}"#),
            address: service.to_owned(),
            agent: service,
        }
    }

    /// The same caller, excepted from the quarantine policy.
    #[must_use]
    pub fn exempted(mut self) -> Self {
        self.exempt = true;
        self
    }

    fn new(account: AccountId, name: &str, arn: String, kind: CallerKind, identity: String, dice: &mut Dice) -> Self {
        let address = format!("203.0.113.{}", dice.between(1, 254));
        let agent = AGENTS[dice.below(AGENTS.len() as u64) as usize];
        Self { account, name: Arc::from(name), arn: arn.into(), kind, exempt: false, identity, address, agent }
    }
}

/// One CloudTrail record. JSON parts are given as text and copied as they are.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    /// Who called.
    pub caller: &'a Caller,
    /// When; records keep whole seconds.
    pub time: EventTime,
    /// The event source without `.amazonaws.com`, for example `ssm`.
    pub source: &'a str,
    /// The event's name.
    pub name: &'a str,
    /// The region of the record.
    pub region: &'a str,
    /// `requestParameters` as JSON.
    pub request: &'a str,
    /// `responseElements` as JSON.
    pub response: &'a str,
    /// `additionalEventData` and `resources` as JSON members, each followed by a comma; may be empty.
    pub extra: &'a str,
    /// `errorCode` and `errorMessage` of a failed call.
    pub error: Option<(&'a str, &'a str)>,
    /// Whether the call only reads.
    pub read_only: bool,
    /// A data event rather than a management event.
    pub data_event: bool,
}

impl Record<'_> {
    /// Appends the record as one line of JSON without the line's end, with fresh event and request ids.
    pub fn write(&self, dice: &mut Dice, out: &mut String) {
        let caller = self.caller;
        out.push_str(r#"{"eventVersion":"1.10","userIdentity":"#);
        out.push_str(&caller.identity);
        out.push_str(r#","eventTime":""#);
        push_time(out, self.time);
        let (source, name, region) = (self.source, self.name, self.region);
        push_all(out, &[r#"","eventSource":""#, source, r#".amazonaws.com","eventName":""#, name]);
        push_all(out, &[r#"","awsRegion":""#, region, r#"","sourceIPAddress":""#, &caller.address]);
        push_all(out, &[r#"","userAgent":""#, caller.agent, "\","]);
        if let Some((code, message)) = self.error {
            push_all(out, &[r#""errorCode":""#, code, r#"","errorMessage":"#, &json_text(message), ","]);
        }
        push_all(out, &[r#""requestParameters":"#, self.request, r#","responseElements":"#, self.response, ","]);
        push_all(out, &[self.extra, r#""requestID":""#]);
        push_uuid(out, dice.uuid());
        out.push_str(r#"","eventID":""#);
        push_uuid(out, dice.uuid());
        let (managed, category) = if self.data_event { ("false", "Data") } else { ("true", "Management") };
        let read_only = if self.read_only { "true" } else { "false" };
        push_all(out, &[r#"","readOnly":"#, read_only, r#","eventType":"AwsApiCall","managementEvent":"#, managed]);
        let _ = write!(out, r#","recipientAccountId":"{}","eventCategory":"{category}""#, caller.account);
        if caller.kind != CallerKind::Service {
            out.push_str(r#","tlsDetails":{"tlsVersion":"TLSv1.3","cipherSuite":"TLS_AES_128_GCM_SHA256","clientProvidedHostHeader":""#);
            match source {
                "iam" | "organizations" => push_all(out, &[source, ".amazonaws.com\"}"]),
                _ => push_all(out, &[source, ".", region, ".amazonaws.com\"}"]),
            }
        }
        out.push('}');
    }

    /// Appends the record inside the envelope in which EventBridge delivers it.
    pub fn write_envelope(&self, dice: &mut Dice, out: &mut String) {
        write_envelope(self.source, self.caller.account, self.region, self.time, dice, out, |dice, out| {
            self.write(dice, out);
        });
    }
}

/// Appends an EventBridge envelope whose `detail` is what `detail` appends. `source` is without `.amazonaws.com`.
pub fn write_envelope(
    source: &str,
    account: AccountId,
    region: &str,
    time: EventTime,
    dice: &mut Dice,
    out: &mut String,
    detail: impl FnOnce(&mut Dice, &mut String),
) {
    out.push_str(r#"{"version":"0","id":""#);
    push_uuid(out, dice.uuid());
    let _ = write!(
        out,
        r#"","detail-type":"AWS API Call via CloudTrail","source":"aws.{source}","account":"{account}","time":""#
    );
    push_time(out, time);
    push_all(out, &[r#"","region":""#, region, r#"","resources":[],"detail":"#]);
    detail(dice, out);
    out.push('}');
}

/// Appends `time` as CloudTrail writes it, in whole seconds; a time that cannot be written becomes 1970.
pub fn push_time(out: &mut String, time: EventTime) {
    let at = jiff::Timestamp::from_second(time.0.div_euclid(1000)).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    let _ = write!(out, "{at}");
}

/// `text` as a JSON string, quotes included.
pub fn json_text(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn push_all(out: &mut String, parts: &[&str]) {
    for part in parts {
        out.push_str(part);
    }
}
