//! What node, cluster, preferences and stream of a session are like.

use super::{
    Agent, CallError, Facts, Memory,
    assess::{Read, is_container, no, own_document, preferences, unanswered, unknown, yes},
};
use crate::{compliance::Tri, document::SessionDocument, session::Answered};

const SSM: &str = "ssm";
const ECS: &str = "ecs";
const LOGS: &str = "logs";

/// The default version of the preferences document is as wanted (TH26). Without a document nothing is logged, which is
/// as nobody wants it; a document that is not understood was accepted by AWS and stays unknown.
pub(super) fn document_as_wanted(facts: &Facts<'_>, memory: &mut Memory) -> Answered {
    let wanted = &facts.settings.posture.preferences;
    if wanted.is_empty() {
        return unknown("", "no wanted preferences are configured");
    }
    let document = match preferences(facts, memory) {
        Read::Known(document) => document,
        Read::Gone => return no(SSM, "there is no preferences document, so nothing is logged"),
        Read::Unknown(reason) => return unknown(SSM, reason),
    };
    match wanted.differences(&document, facts.key.account, &facts.key.region) {
        None => unknown("", "no wanted preferences are configured"),
        Some(differences) if differences.is_empty() => yes(SSM, "the preferences document is as wanted"),
        Some(differences) => no(SSM, differences.join("; ")),
    }
}

/// The cluster's own logging of ECS Exec, as AWS describes it in "`ExecuteCommandConfiguration`" (TH7, R-W15): `NONE`
/// logs nothing; `OVERRIDE` logs to the bucket and log group that are named, of which one must be a wanted place where
/// any is configured; `DEFAULT`, which also stands for no setting, logs with the `awslogs` driver of the task definition,
/// and nothing where the task has another or none. The task's driver is not among the facts, so that it stays unknown.
pub(super) fn container_logged(facts: &Facts<'_>) -> Answered {
    let cluster = match facts.cluster {
        Some(Ok(cluster)) => cluster,
        Some(Err(error)) => return unanswered(ECS, "the cluster", *error),
        None if is_container(facts) => return unknown("", "the cluster was not asked for"),
        None => return yes("", "not a container"),
    };
    match &*cluster.logging {
        "NONE" => no(ECS, "the cluster's logging of ECS Exec is NONE"),
        "" | "DEFAULT" => unknown(
            ECS,
            "the cluster's logging of ECS Exec is DEFAULT, which logs only with the awslogs driver in the task \
             definition, and that is not known",
        ),
        "OVERRIDE" => {
            let wanted = &facts.settings.posture.preferences;
            let pairs = [(&cluster.bucket, &wanted.s3_bucket), (&cluster.log_group, &wanted.log_group)];
            let named = || pairs.iter().filter(|(place, _)| !place.is_empty());
            let is_wanted = pairs.iter().any(|(_, wanted)| wanted.as_ref().is_some_and(|wanted| !wanted.is_empty()));
            let places = named().map(|(place, _)| &***place).collect::<Vec<_>>().join(" and ");
            if places.is_empty() {
                no(ECS, "the cluster's logging of ECS Exec names neither bucket nor log group")
            } else if !is_wanted || named().any(|(place, wanted)| wanted.as_ref() == Some(*place)) {
                yes(ECS, format_args!("the cluster logs ECS Exec to {places}"))
            } else {
                no(ECS, format_args!("the cluster logs ECS Exec to {places}, where no log is wanted"))
            }
        }
        other => unknown(ECS, format_args!("the cluster's logging of ECS Exec is {other:?}, which is not understood")),
    }
}

/// The node's agent answers to this account (TH15, TH31).
pub(super) fn agent_online(facts: &Facts<'_>) -> Answered {
    let node = match facts.node {
        Some(Ok(node)) => node,
        Some(Err(error)) => return unanswered(SSM, "the node", *error),
        None => return yes("", "not a node"),
    };
    match node.agent {
        Agent::Online => yes(SSM, "the node's agent answers"),
        Agent::Lost(at) => no(SSM, format_args!("the node's agent has not answered since {at}, while the node runs")),
        Agent::Stopped => no(SSM, "the node does not run"),
    }
}

/// The session's document streams its log to CloudWatch Logs where that is wanted (R-T5).
pub(super) fn streaming_on(facts: &Facts<'_>, memory: &mut Memory) -> Answered {
    if facts.settings.posture.preferences.streaming != Some(true) {
        return yes("", "streaming is not required");
    }
    if is_container(facts) {
        return unknown("", "preferences say nothing about a container");
    }
    match own_document(facts, memory) {
        Read::Known(document) => streams(&document),
        Read::Gone => no(SSM, "the session's document does not exist"),
        Read::Unknown(reason) => unknown(SSM, reason),
    }
}

fn streams(document: &SessionDocument) -> Answered {
    let inputs = &document.inputs;
    if inputs.open.contains("cloudWatchStreamingEnabled") || inputs.open.contains("cloudWatchLogGroupName") {
        no(SSM, "whoever starts the session chooses whether its log is streamed")
    } else if inputs.log_group.is_empty() {
        no(SSM, "the session's document names no log group")
    } else if inputs.streaming {
        yes(SSM, format_args!("the log is streamed to {}", inputs.log_group))
    } else {
        no(SSM, "the session's document does not stream")
    }
}

/// The session's stream exists where streaming is wanted; a young session's need not yet (R-W21).
pub(super) fn stream_present(facts: &Facts<'_>, memory: &mut Memory) -> Answered {
    let on = streaming_on(facts, memory);
    if facts.settings.posture.preferences.streaming != Some(true) || on.value != Tri::Yes {
        return on;
    }
    let age_ms = facts.now.0.saturating_sub(facts.described.started_at.0);
    match facts.stream {
        Some(Ok(Some(stream))) => yes(LOGS, format_args!("the stream has existed since {}", stream.created_at)),
        Some(Ok(None) | Err(CallError::Gone)) if age_ms < facts.settings.posture.stream_grace_ms => {
            yes(LOGS, "the session is too young for its stream to be missed")
        }
        Some(Ok(None) | Err(CallError::Gone)) => {
            no(LOGS, format_args!("{} s after its start the session has no stream", age_ms / 1000))
        }
        Some(Err(error)) => unanswered(LOGS, "the stream", *error),
        None => unknown("", "the stream was not asked for"),
    }
}

/// The node has every tag that sessions need, each with an allowed value; a tag with no values listed may have any.
pub(super) fn node_allowed(facts: &Facts<'_>) -> Answered {
    let tags = &facts.settings.posture.node_tags;
    if tags.is_empty() {
        return yes("", "sessions may run on every node");
    }
    let node = match facts.node {
        Some(Ok(node)) => node,
        Some(Err(error)) => return unanswered(SSM, "the node", *error),
        None => return unknown("", "the target is no node and has no tags"),
    };
    for (name, values) in tags {
        match node.tags.get(name) {
            None => return no(SSM, format_args!("the node has no tag {name}")),
            Some(value) if !values.is_empty() && !values.contains(value) => {
                return no(SSM, format_args!("the node's tag {name} is {value:?}, which is not allowed"));
            }
            Some(_) => {}
        }
    }
    yes(SSM, "the node has the tags that sessions need")
}
