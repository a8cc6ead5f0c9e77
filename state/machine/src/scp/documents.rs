//! Which documents sessions may use.

use serde_json::Value;

use super::{
    ScpSettings, arns,
    quarantine::{DOCUMENT_WRITES, spared_roles},
    statement::Deny,
};

const START: [&str; 1] = ["ssm:StartSession"];

/// Sessions use the allowed documents only, those of their own account; nobody writes session documents.
///
/// StartSession is authorised for the target and for the document ("Actions, resources, and condition keys for AWS
/// Systems Manager"). A Deny cannot say "all documents but these" by Resource and `NotResource` together: what is no
/// document is listed beside the allowed ones. A target of a kind that is not listed is denied too.
pub(super) fn only_allowed(settings: &ScpSettings) -> Vec<Value> {
    let partition = &settings.partition;
    let arn = |rest: &str| format!("arn:{partition}:{rest}");
    let targets = [arn("ec2:*:*:instance/*"), arn("ecs:*:*:task/*"), arn("ssm:*:*:managed-instance/*")];
    let documents = || settings.session_documents.iter().map(|name| arns::document(partition, name));
    // Those that an account can make.
    let own = || {
        let own = settings.session_documents.iter().filter(|name| !arns::is_aws_document(name));
        own.map(|name| arns::document(partition, name))
    };
    let (spared, writers) = (settings.spared(), settings.spared_or_deployer());
    let mut statements = vec![
        Deny::new("OtherDocuments", START).not_on(targets.into_iter().chain(documents())).except(&spared).build(),
        Deny::new("SessionDocuments", DOCUMENT_WRITES)
            .on([arn("ssm:*:*:document/*")])
            .when("StringEquals", "ssm:DocumentType", ["Session".to_owned()])
            .except(&writers)
            .build(),
    ];
    if own().next().is_some() {
        // A document of an allowed name that another account shares. Null keeps the statement off requests that do not
        // tell whose the document is.
        statements.push(
            Deny::new("SharedDocuments", START)
                .on(own())
                .when("StringNotEquals", "aws:ResourceAccount", ["${aws:PrincipalAccount}".to_owned()])
                .when("Null", "aws:ResourceAccount", ["false".to_owned()])
                .except(&spared)
                .build(),
        );
        // By name as well: not every partition has the key for the document's type.
        statements.push(Deny::new("AllowedDocuments", DOCUMENT_WRITES).on(own()).except(&writers).build());
    }
    statements.extend(guard_of_spared(settings));
    statements
}

/// No session where the caller's permission for the document is not checked (R-D1).
///
/// AWS asks for a condition in every Allow: `BoolIfExists` with `true`, which fails where the key is there and false, and
/// holds without it ("Enforce a session document permission check for the AWS CLI"). Its opposite for a Deny is `Bool`
/// with `false`: `BoolIfExists` would also deny where there is no key, which are all calls that never had the check.
pub(super) fn checked(settings: &ScpSettings) -> Vec<Value> {
    let unchecked = Deny::new("Unchecked", START)
        .when("Bool", "ssm:SessionDocumentAccessCheck", ["false".to_owned()])
        .except(&settings.spared())
        .build();
    std::iter::once(unchecked).chain(guard_of_spared(settings)).collect()
}

fn guard_of_spared(settings: &ScpSettings) -> Option<Value> {
    let spared = settings.spared_or_deployer();
    (!spared.is_empty()).then(|| spared_roles(&spared).except(&spared).build())
}
