//! S3 buckets: what protects the logs in them. The XML that S3 answers with is kept, and sent back as it was.

use std::borrow::Cow;

use serde_json::Value;
use sessionwarden_machine::wanted::State;

use super::{Api, Change, Failure, Means, Thing, parsed, signed, unparsed};
use crate::aws::signed::Rest;

/// A part, what S3 calls it in requests, and the code that says that there is none.
const PARTS: [(&str, &str, &str); 5] = [
    ("versioning", "versioning", ""),
    ("encryption", "encryption", "ServerSideEncryptionConfigurationNotFoundError"),
    ("object-lock", "object-lock", "ObjectLockConfigurationNotFoundError"),
    ("lifecycle", "lifecycle", "NoSuchLifecycleConfiguration"),
    ("policy", "policy", "NoSuchBucketPolicy"),
];

impl Thing<'_> {
    pub(super) async fn bucket(&self) -> Result<State, Failure> {
        let mut state = State::new();
        for (part, query, none) in PARTS.into_iter().filter(|(part, ..)| self.wants(part)) {
            let value = match self.about_bucket("GET", query, String::new()).await {
                Ok(policy) if part == "policy" => parsed(&policy),
                Ok(xml) => bare(&xml).into_owned().into(),
                Err(failure) if !none.is_empty() && failure.is(none) => Value::Null,
                Err(failure) => return Err(failure),
            };
            state.insert(part.into(), value);
        }
        Ok(state)
    }

    pub(super) async fn write_bucket(&self, change: &Change<'_>) -> Result<(), Failure> {
        let (_, query, _) =
            PARTS.into_iter().find(|(part, ..)| *part == change.part).ok_or_else(|| Failure::unknown(false))?;
        let (method, body) =
            if change.wanted.is_null() { ("DELETE", String::new()) } else { ("PUT", unparsed(change.wanted)) };
        self.about_bucket(method, query, body).await.map(drop)
    }

    async fn about_bucket(&self, method: &'static str, query: &'static str, body: String) -> Result<String, Failure> {
        let name = match method {
            "GET" => "GetBucketConfiguration",
            "PUT" => "PutBucketConfiguration",
            _ => "DeleteBucketConfiguration",
        };
        let path = format!("{}?{query}", self.name);
        let send = |means: &Means| {
            let rest = Rest { method, path: path.clone(), body: body.clone() };
            let means = means.clone();
            async move { signed::rest(&means, &rest).await }
        };
        self.hands.call(&self.place, Api::S3, name, send).await
    }
}

/// XML without its declaration and without white space around it.
fn bare(xml: &str) -> Cow<'_, str> {
    let xml = xml.trim();
    let after = xml.strip_prefix("<?xml").and_then(|rest| rest.split_once("?>")).map_or(xml, |(_, after)| after);
    after.trim().into()
}

#[cfg(test)]
mod tests {
    use super::bare;

    #[test]
    fn a_declaration_is_no_difference() {
        assert_eq!(bare("<?xml version=\"1.0\"?>\n<a>b</a>\n"), "<a>b</a>");
        assert_eq!(bare("<a/>"), "<a/>");
    }
}
