//! Nobody but its own roles and its deployer touches the guardrail.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{Guarded, ScpSettings, guarded::KEY_ACTIONS, statement::Deny};

/// One statement for all kinds together, because each exemption costs characters again in each statement. It denies no
/// more than one for each kind would: an action fits the ARNs of its own service only.
pub(super) fn statements(settings: &ScpSettings) -> Vec<Value> {
    let partition = &settings.partition;
    let spared = settings.spared_or_deployer();
    let (mut actions, mut resources) = (BTreeSet::new(), BTreeSet::new());
    for kind in Guarded::ALL {
        let before = resources.len();
        resources.extend(settings.names_of(kind).flat_map(|name| kind.arns(partition, name)));
        if kind == Guarded::Role {
            // Whoever is spared nobody else may create or change.
            resources.extend(spared.iter().cloned());
        } else if kind == Guarded::Document {
            resources.extend(session_documents(settings));
        }
        if resources.len() > before {
            actions.extend(kind.harms());
        }
    }
    let mut statements = Vec::new();
    if !resources.is_empty() {
        statements.push(Deny::new("Guardrail", actions).on(resources).except(&spared).build());
    }
    // The mandatory policy stays on roles that are not the guardrail's.
    let policies: BTreeSet<String> =
        settings.names_of(Guarded::Policy).flat_map(|name| Guarded::Policy.arns(partition, name)).collect();
    if !policies.is_empty() {
        let detach = Deny::new("DetachPolicy", ["iam:DetachRolePolicy"]);
        statements.push(detach.when("ArnLike", "iam:PolicyARN", policies).except(&spared).build());
    }
    // Calls name a key by its ARN: which alias it has only the key tells ("kms:ResourceAliases").
    let aliases: BTreeSet<String> = settings.names_of(Guarded::Alias).map(|name| format!("alias/{name}")).collect();
    if !aliases.is_empty() {
        statements.push(
            Deny::new("KeysByAlias", KEY_ACTIONS)
                .on([format!("arn:{partition}:kms:*:*:key/*")])
                .when("ForAnyValue:StringLike", "kms:ResourceAliases", aliases)
                .except(&spared)
                .build(),
        );
    }
    statements
}

fn session_documents(settings: &ScpSettings) -> impl Iterator<Item = String> {
    let own = settings.session_documents.iter().filter(|name| !super::arns::is_aws_document(name));
    own.flat_map(|name| Guarded::Document.arns(&settings.partition, name))
}
