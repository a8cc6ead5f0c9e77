//! Systems Manager documents.

use std::sync::Arc;

use aws_sdk_ssm::types::DocumentFormat;
use sessionwarden_machine::{ids::AccountId, posture::Document};

use super::{AwsOrganization, limits::Place, settings::Api};
use crate::ports::{CallError, Documents};

impl Documents for AwsOrganization {
    async fn document(&self, account: AccountId, region: &str, document: &str) -> Result<Document, CallError> {
        let place: Place = (account, Arc::from(region));
        let name = called(account, document);
        let send = |means: &super::Means| {
            let call = aws_sdk_ssm::Client::new(&means.config).get_document().name(name);
            call.document_version("$DEFAULT").document_format(DocumentFormat::Json).send()
        };
        let found = self.call(&place, Api::Documents, "GetDocument", send).await?;
        match (found.content, found.document_version) {
            (Some(content), Some(version)) => Ok(Document { version: version.into(), content: content.into() }),
            _ => Err(CallError::Unknown),
        }
    }
}

/// What the document is asked for by: those of the account itself and of AWS by their names, those that others share
/// by their ARNs ("Sharing SSM documents").
fn called(account: AccountId, document: &str) -> &str {
    let Some((owner, name)) = document.strip_prefix("arn:").and_then(|arn| {
        let (before, name) = arn.split_once(":document/")?;
        Some((before.rsplit(':').next()?, name))
    }) else {
        return document;
    };
    let own = owner.is_empty() || owner.parse() == Ok(account);
    if own { name } else { document }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shared_documents_keep_their_arns() {
        let account = "111122223333".parse().unwrap();
        let shared = "arn:aws:ssm:eu-west-1:999988887777:document/debug";
        for (document, wanted) in [
            ("SSM-SessionManagerRunShell", "SSM-SessionManagerRunShell"),
            ("arn:aws:ssm:eu-west-1:111122223333:document/Own", "Own"),
            ("arn:aws:ssm:eu-west-1::document/AWS-StartSSHSession", "AWS-StartSSHSession"),
            (shared, shared),
            ("arn:broken", "arn:broken"),
        ] {
            assert_eq!(called(account, document), wanted);
        }
    }
}
