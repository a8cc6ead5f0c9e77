//! Posture of sessions: an account whose sessions are logged as they should be, and what takes that away.

#![expect(clippy::needless_pass_by_value, reason = "the values are json! literals in the calls")]
#![expect(clippy::unnecessary_wraps, reason = "facts are answers")]

mod bucket;
mod caller;
mod depends;
mod log_writable;
mod memory;
mod node;
mod properties;

use std::{collections::BTreeMap, sync::Arc};

use serde_json::{Value, json};

use super::*;
use crate::{
    compliance::{EvidenceKind, Tri},
    ids::{Now, SessionKey},
    session::{Answered, Described},
    settings::Settings,
};

pub(super) const ACCOUNT: &str = "111122223333";
pub(super) const ARCHIVE: &str = "444455556666";
pub(super) const BUCKET: &str = "central-logs";
pub(super) const BUCKET_KEY: &str = "arn:aws:kms:eu-west-1:444455556666:key/bucket";
pub(super) const SESSION_KEY: &str = "arn:aws:kms:eu-west-1:111122223333:key/session";
pub(super) const NODE: &str = "i-0abc";

/// All facts about one session.
#[derive(Clone, Debug)]
pub(super) struct Show {
    pub(super) key: SessionKey,
    pub(super) described: Described,
    pub(super) now: Now,
    pub(super) settings: Settings,
    pub(super) node: Option<Asked<Node>>,
    pub(super) role: Option<Asked<Identity>>,
    pub(super) guards: Asked<Guards>,
    pub(super) preferences: Asked<Document>,
    pub(super) document: Option<Asked<Document>>,
    pub(super) bucket: Option<Asked<Bucket>>,
    pub(super) bucket_guards: Option<Asked<Guards>>,
    pub(super) keys: BTreeMap<Arc<str>, Asked<Key>>,
    pub(super) network: Option<Asked<Network>>,
    pub(super) caller: Option<Asked<Identity>>,
    pub(super) cluster: Option<Asked<Cluster>>,
    pub(super) stream: Option<Result<Option<LogStream>, CallError>>,
}

pub(super) fn policy(name: &str, statements: Value) -> PolicyText {
    let text = json!({"Version": "2012-10-17", "Statement": statements}).to_string();
    PolicyText { name: name.into(), text: text.into() }
}

pub(super) fn allow(actions: Value) -> Value {
    json!({"Effect": "Allow", "Action": actions, "Resource": "*"})
}

pub(super) fn deny(actions: Value) -> Value {
    json!({"Effect": "Deny", "Action": actions, "Resource": "*"})
}

/// What the agent needs, plainly written.
pub(super) fn agent_policy() -> PolicyText {
    policy(
        "agent",
        json!([
            allow(json!("ssmmessages:*")),
            {"Effect": "Allow", "Action": "s3:PutObject", "Resource": "arn:aws:s3:::central-logs/sessions/*"},
            {"Effect": "Allow", "Action": "s3:GetEncryptionConfiguration", "Resource": "arn:aws:s3:::central-logs"},
            {"Effect": "Allow", "Action": ["kms:GenerateDataKey", "kms:Decrypt"], "Resource": BUCKET_KEY},
            {"Effect": "Allow", "Action": "kms:Decrypt", "Resource": SESSION_KEY},
            {"Effect": "Allow", "Action": ["logs:CreateLogStream", "logs:PutLogEvents"],
                "Resource": "arn:aws:logs:*:*:log-group:/sessions:*"}
        ]),
    )
}

/// Everyone of the organisation puts logs under the prefix of their own account, over TLS.
pub(super) fn bucket_statements() -> Vec<Value> {
    let members = json!({"StringEquals": {"aws:PrincipalOrgID": "o-ours"}});
    vec![
        json!({"Effect": "Allow", "Principal": "*", "Action": "s3:PutObject", "Condition": members,
            "Resource": "arn:aws:s3:::central-logs/sessions/${aws:PrincipalAccount}/*"}),
        json!({"Effect": "Allow", "Principal": "*", "Action": "s3:GetEncryptionConfiguration", "Condition": members,
            "Resource": "arn:aws:s3:::central-logs"}),
        json!({"Sid": "Tls", "Effect": "Deny", "Principal": "*", "Action": "s3:*",
            "Resource": ["arn:aws:s3:::central-logs", "arn:aws:s3:::central-logs/*"],
            "Condition": {"Bool": {"aws:SecureTransport": "false"}}}),
    ]
}

fn key(arn: &str) -> Asked<Key> {
    let statement = json!({"Effect": "Allow", "Action": "kms:*", "Resource": "*", "Principal": {"AWS": ACCOUNT}});
    Ok(Arc::new(Key { arn: arn.into(), enabled: true, aliases: None, policy: policy("the key's policy", statement) }))
}

pub(super) fn guards() -> Guards {
    let level = || vec![policy("p-FullAWSAccess", allow(json!("*")))];
    Guards { organization: Some("o-ours".into()), scps: vec![level(), level()], rcps: Vec::new() }
}

pub(super) fn document(inputs: &Value) -> Asked<Document> {
    let content = json!({"schemaVersion": "1.0", "sessionType": "Standard_Stream", "inputs": inputs});
    Ok(Arc::new(Document { version: "1".into(), content: content.to_string().into() }))
}

pub(super) fn inputs() -> Value {
    json!({"s3BucketName": BUCKET, "s3KeyPrefix": "sessions/111122223333/eu-west-1", "s3EncryptionEnabled": true,
        "cloudWatchLogGroupName": "/sessions", "cloudWatchStreamingEnabled": true, "kmsKeyId": "alias/session",
        "runAsEnabled": true, "runAsDefaultUser": "operator"})
}

pub(super) fn identity(arn: &str, policies: Vec<PolicyText>) -> Identity {
    Identity { arn: arn.into(), policies, attached: Vec::new(), boundary: None, tags: Tags::new() }
}

fn settings() -> Settings {
    let mut settings = Settings::default();
    let posture = &mut settings.posture;
    posture.log_archive_account = Some(ARCHIVE.parse().unwrap());
    posture.preferences.s3_bucket = Some(BUCKET.into());
    posture.preferences.s3_prefix = Some("sessions/{account}/{region}".into());
    posture.preferences.streaming = Some(true);
    settings
}

impl Show {
    /// A session that is as it should be in every respect.
    pub(super) fn new() -> Self {
        let account = ACCOUNT.parse().unwrap();
        let tag: Tags = [("ExternalAccessGrantedTo".into(), "acme".into())].into();
        let endpoint = |id: &str| Endpoint {
            id: id.into(),
            policy: policy(
                "the endpoint's policy",
                json!({"Effect": "Allow", "Principal": "*", "Action": "*", "Resource": "*"}),
            ),
        };
        let endpoints = [("s3", "vpce-s3"), ("kms", "vpce-kms"), ("logs", "vpce-logs"), ("ssmmessages", "vpce-ssm")];
        let endpoints = endpoints.map(|(service, id)| (service.into(), endpoint(id))).into();
        let mut caller = identity(
            "arn:aws:iam::111122223333:role/Vendor",
            vec![policy(
                "starter",
                json!({"Effect": "Allow", "Action": "ssm:StartSession",
                    "Resource": ["arn:aws:ec2:*:*:instance/*",
                        "arn:aws:ssm:*:111122223333:document/SSM-SessionManagerRunShell",
                        "arn:aws:ssm:*::document/AWS-StartSSHSession"],
                    "Condition": {"BoolIfExists": {"ssm:SessionDocumentAccessCheck": "true"}}}),
            )],
        );
        caller.tags.clone_from(&tag);
        Self {
            key: SessionKey { account, region: "eu-west-1".into(), id: "ann-0a1b".into() },
            described: Described {
                started_at: EventTime(1_000_000),
                owner: "arn:aws:sts::111122223333:assumed-role/Vendor/ann".into(),
                target: NODE.into(),
                document: "SSM-SessionManagerRunShell".into(),
                reason: Some("ticket 7".into()),
                access_type: "Standard".into(),
            },
            now: Now(2_000_000),
            settings: settings(),
            node: Some(Ok(Arc::new(Node {
                role: Some(("Node".into(), RoleFrom::InstanceProfile("NodeProfile".into()))),
                association: Some("iip-assoc-0abc".into()),
                tags: tag,
                agent: Agent::Online,
                network: Some("vpc-1".into()),
            }))),
            role: Some(Ok(Arc::new(identity("arn:aws:iam::111122223333:role/Node", vec![agent_policy()])))),
            guards: Ok(Arc::new(guards())),
            preferences: document(&inputs()),
            document: None,
            bucket: Some(Ok(Arc::new(Bucket {
                account: ARCHIVE.parse().unwrap(),
                policy: Some(policy("the bucket's policy", json!(bucket_statements()))),
                versioned: true,
                key: Some(BUCKET_KEY.into()),
                locked: false,
            }))),
            bucket_guards: Some(Ok(Arc::new(guards()))),
            keys: [("alias/session".into(), key(SESSION_KEY)), (BUCKET_KEY.into(), key(BUCKET_KEY))].into(),
            network: Some(Ok(Arc::new(Network { endpoints }))),
            caller: Some(Ok(Arc::new(caller))),
            cluster: None,
            stream: Some(Ok(Some(LogStream { created_at: EventTime(1_000_500), last_event_at: None }))),
        }
    }

    pub(super) fn facts(&self) -> Facts<'_> {
        Facts {
            key: &self.key,
            described: &self.described,
            now: self.now,
            settings: &self.settings,
            node: self.node.as_ref(),
            role: self.role.as_ref(),
            guards: &self.guards,
            preferences: &self.preferences,
            document: self.document.as_ref(),
            bucket: self.bucket.as_ref(),
            bucket_guards: self.bucket_guards.as_ref(),
            keys: &self.keys,
            network: self.network.as_ref(),
            caller: self.caller.as_ref(),
            cluster: self.cluster.as_ref(),
            stream: self.stream.as_ref(),
        }
    }

    pub(super) fn answer(&self, kind: EvidenceKind) -> Answered {
        assess(&self.facts(), &[kind], &mut Memory::default()).remove(&kind).unwrap()
    }

    /// Checks an answer, and that its reason holds `words`.
    #[track_caller]
    pub(super) fn expect(&self, kind: EvidenceKind, value: Tri, words: &str) {
        let answer = self.answer(kind);
        assert_eq!(answer.value, value, "{}", answer.reason);
        assert!(answer.reason.contains(words), "{}", answer.reason);
    }

    pub(super) fn node(&mut self) -> &mut Node {
        Arc::make_mut(self.node.as_mut().unwrap().as_mut().unwrap())
    }

    pub(super) fn role(&mut self) -> &mut Identity {
        Arc::make_mut(self.role.as_mut().unwrap().as_mut().unwrap())
    }

    pub(super) fn caller(&mut self) -> &mut Identity {
        Arc::make_mut(self.caller.as_mut().unwrap().as_mut().unwrap())
    }

    pub(super) fn guards(&mut self) -> &mut Guards {
        Arc::make_mut(self.guards.as_mut().unwrap())
    }

    pub(super) fn bucket(&mut self) -> &mut Bucket {
        Arc::make_mut(self.bucket.as_mut().unwrap().as_mut().unwrap())
    }

    pub(super) fn key_named(&mut self, name: &str) -> &mut Key {
        Arc::make_mut(self.keys.get_mut(name).unwrap().as_mut().unwrap())
    }

    pub(super) fn endpoint(&mut self, service: &str) -> &mut Endpoint {
        let network = Arc::make_mut(self.network.as_mut().unwrap().as_mut().unwrap());
        network.endpoints.get_mut(service).unwrap()
    }

    /// Changes the inputs of the preferences document.
    pub(super) fn prefer(&mut self, name: &str, value: Value) {
        let mut changed = inputs();
        changed[name] = value;
        self.preferences = document(&changed);
    }
}

#[test]
fn a_session_as_it_should_be_has_every_evidence() {
    let mut show = Show::new();
    show.settings.posture.third_party_roles = vec!["Vendor*".into()];
    show.settings.posture.run_as_roles = vec!["Vendor".into()];
    show.settings.posture.reason_units.insert("*".into());
    show.settings.posture.node_tags.insert("ExternalAccessGrantedTo".into(), ["acme".into()].into());
    let answers = assess(&show.facts(), &EvidenceKind::ALL, &mut Memory::default());
    assert_eq!(answers.len(), EvidenceKind::ALL.len());
    for (kind, answer) in answers {
        assert_eq!(answer.value, Tri::Yes, "{}: {}", kind.as_str(), answer.reason);
        assert!(!answer.reason.is_empty() && !answer.reason.ends_with('.'), "{}", answer.reason);
    }
}
