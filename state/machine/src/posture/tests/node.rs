use super::*;
use EvidenceKind::{AgentOnline, ContainerLogged, DocumentAsWanted, NodeAllowed, StreamPresent, StreamingOn};

/// TH26
#[test]
fn the_preferences_must_be_as_wanted() {
    let mut show = Show::new();
    show.expect(DocumentAsWanted, Tri::Yes, "as wanted");
    show.prefer("s3BucketName", json!("elsewhere"));
    show.expect(DocumentAsWanted, Tri::No, "s3BucketName is \"elsewhere\", wanted \"central-logs\"");
    show.preferences = Err(CallError::Gone);
    show.expect(DocumentAsWanted, Tri::No, "there is no preferences document, so nothing is logged");
    show.preferences = Err(CallError::Denied);
    show.expect(DocumentAsWanted, Tri::Unknown, "the preferences document: denied");
    show.preferences = Ok(Arc::new(Document { version: "1".into(), content: "{".into() }));
    show.expect(DocumentAsWanted, Tri::Unknown, "the preferences document: ");
    show.settings.posture.preferences = crate::document::WantedPreferences::default();
    show.expect(DocumentAsWanted, Tri::Unknown, "no wanted preferences are configured");
}

/// R-W16: the default document given as an ARN is the default document, and its content is looked at.
#[test]
fn the_preferences_may_be_given_by_arn() {
    let mut show = Show::new();
    for name in
        ["", "SSM-SessionManagerRunShell", "arn:aws:ssm:eu-west-1:111122223333:document/SSM-SessionManagerRunShell"]
    {
        show.described.document = name.into();
        assert_eq!(&*session_type(&show.facts(), &mut Memory::default()), "Standard_Stream", "{name}");
        show.expect(DocumentAsWanted, Tri::Yes, "");
        show.expect(StreamingOn, Tri::Yes, "/sessions");
    }
    for name in ["AWS-StartSSHSession", "arn:aws:ssm:eu-west-1:999988887777:document/SSM-SessionManagerRunShell"] {
        show.described.document = name.into();
        assert_eq!(&*session_type(&show.facts(), &mut Memory::default()), "", "{name}");
    }
}

/// TH2: what a custom document opens shows in its content, not in its name.
#[test]
fn a_documents_content_says_what_it_opens() {
    let mut show = Show::new();
    show.described.document = "Harmless".into();
    let port = r#"{"schemaVersion":"1.0","sessionType":"Port","properties":{"portNumber":"22"}}"#;
    show.document = Some(Ok(Arc::new(Document { version: "1".into(), content: port.into() })));
    assert_eq!(&*session_type(&show.facts(), &mut Memory::default()), "Port");
    show.document = Some(Err(CallError::Denied));
    assert_eq!(&*session_type(&show.facts(), &mut Memory::default()), "");
}

/// TH15, TH31
#[test]
fn an_agent_that_is_lost_is_told_with_the_time() {
    let mut show = Show::new();
    show.expect(AgentOnline, Tri::Yes, "answers");
    show.node().agent = Agent::Lost(EventTime(0));
    show.expect(AgentOnline, Tri::No, "since 1970-01-01T00:00:00Z");
    show.node().agent = Agent::Stopped;
    show.expect(AgentOnline, Tri::No, "does not run");
    show.node = Some(Err(CallError::Throttled));
    show.expect(AgentOnline, Tri::Unknown, "the node: throttled");
    show.node = None;
    show.expect(AgentOnline, Tri::Yes, "not a node");
}

/// R-T5
#[test]
fn streaming_is_on_where_it_is_wanted() {
    let mut show = Show::new();
    show.prefer("cloudWatchStreamingEnabled", json!(false));
    show.expect(StreamingOn, Tri::No, "does not stream");
    show.prefer("cloudWatchLogGroupName", json!(""));
    show.expect(StreamingOn, Tri::No, "names no log group");
    show.document = Some(document(&inputs()));
    show.expect(StreamingOn, Tri::Yes, "/sessions");
    show.document = Some(Err(CallError::Denied));
    show.expect(StreamingOn, Tri::Unknown, "the session's document: denied");
    show.settings.posture.preferences.streaming = None;
    show.expect(StreamingOn, Tri::Yes, "not required");
}

/// R-W21
#[test]
fn a_missing_stream_shows_while_the_session_lives() {
    let mut show = Show::new();
    show.expect(StreamPresent, Tri::Yes, "has existed since");
    show.stream = Some(Ok(None));
    show.expect(StreamPresent, Tri::No, "1000 s after its start");
    show.stream = Some(Err(CallError::Denied));
    show.expect(StreamPresent, Tri::Unknown, "the stream: denied");
    show.stream = None;
    show.expect(StreamPresent, Tri::Unknown, "not asked for");
    show.stream = Some(Ok(None));
    show.now = Now(show.described.started_at.0 + 119_999);
    show.expect(StreamPresent, Tri::Yes, "too young");
    show.now = Now(show.described.started_at.0 + 120_000);
    show.expect(StreamPresent, Tri::No, "120 s");
    show.settings.posture.preferences.streaming = None;
    show.expect(StreamPresent, Tri::Yes, "not required");
}

#[test]
fn sessions_run_on_nodes_with_the_right_tags() {
    let mut show = Show::new();
    show.expect(NodeAllowed, Tri::Yes, "every node");
    let tags = &mut show.settings.posture.node_tags;
    tags.insert("Stage".into(), ["test".into(), "staging".into()].into());
    show.expect(NodeAllowed, Tri::No, "no tag Stage");
    show.node().tags.insert("Stage".into(), "prod".into());
    show.expect(NodeAllowed, Tri::No, "Stage is \"prod\"");
    show.node().tags.insert("Stage".into(), "test".into());
    show.expect(NodeAllowed, Tri::Yes, "has the tags");
    show.settings.posture.node_tags.insert("Owner".into(), [].into());
    show.expect(NodeAllowed, Tri::No, "no tag Owner");
    show.node().tags.insert("Owner".into(), "anyone".into());
    show.expect(NodeAllowed, Tri::Yes, "has the tags");
    show.node = Some(Err(CallError::Denied));
    show.expect(NodeAllowed, Tri::Unknown, "the node: denied");
}

fn container(logging: &str, bucket: &str, log_group: &str) -> Show {
    let mut show = Show::new();
    (show.node, show.role, show.network) = (None, None, None);
    show.described.target = "ecs:web_0123456789_0123456789-1".into();
    let [logging, bucket, log_group] = [logging, bucket, log_group].map(Arc::from);
    show.cluster = Some(Ok(Arc::new(Cluster { logging, bucket, log_group })));
    show
}

/// TH7, R-W15
#[test]
fn the_cluster_decides_whether_ecs_exec_is_logged() {
    container("NONE", "", "").expect(ContainerLogged, Tri::No, "NONE");
    container("OVERRIDE", "", "").expect(ContainerLogged, Tri::No, "neither bucket nor log group");
    container("OVERRIDE", BUCKET, "").expect(ContainerLogged, Tri::Yes, BUCKET);
    container("OVERRIDE", "elsewhere", "").expect(ContainerLogged, Tri::No, "where no log is wanted");
    container("OVERRIDE", "", "/exec").expect(ContainerLogged, Tri::No, "where no log is wanted");
    let mut group = container("OVERRIDE", "", "/exec");
    group.settings.posture.preferences.log_group = Some("/exec".into());
    group.expect(ContainerLogged, Tri::Yes, "/exec");
    let mut anywhere = container("OVERRIDE", "elsewhere", "");
    anywhere.settings.posture.preferences.s3_bucket = None;
    anywhere.expect(ContainerLogged, Tri::Yes, "elsewhere");
    // Whether the task has the awslogs driver is not known.
    container("DEFAULT", "", "").expect(ContainerLogged, Tri::Unknown, "awslogs");
    container("", "", "").expect(ContainerLogged, Tri::Unknown, "awslogs");
    container("LATER", "", "").expect(ContainerLogged, Tri::Unknown, "LATER");
    let mut failed = container("NONE", "", "");
    failed.cluster = Some(Err(CallError::Throttled));
    failed.expect(ContainerLogged, Tri::Unknown, "the cluster: throttled");
    failed.cluster = None;
    failed.expect(ContainerLogged, Tri::Unknown, "not asked for");
    Show::new().expect(ContainerLogged, Tri::Yes, "not a container");
}
