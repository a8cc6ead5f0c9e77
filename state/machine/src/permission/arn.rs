//! Amazon Resource Names and patterns of them.

use super::{
    context::Facts,
    pattern::{Pattern, Share, Syntax},
    truth::{Truth, Why},
};

/// How many parts an ARN has: `arn:partition:service:region:account:resource`.
const PARTS: usize = 6;

/// A pattern of ARNs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ArnPattern {
    text: Box<str>,
    parts: Vec<Pattern>,
    whole: Pattern,
}

impl ArnPattern {
    /// Reads the value of an ARN operator, or an element of Resource. Variables may stand behind the fifth colon only
    /// ("IAM policy elements: Variables and tags").
    pub(super) fn parse(text: &str, variables: bool) -> Result<Self, &'static str> {
        let whole = Pattern::parse(text, Syntax { wildcards: true, variables })?;
        let parts = whole.split(PARTS);
        if parts.iter().take(PARTS - 1).any(Pattern::has_variables) {
            return Err("a variable before the fifth colon of an ARN");
        }
        let is_arn = text.starts_with("arn:");
        if !is_arn || (parts.len() < PARTS && !whole.ends_open()) {
            return Err("no ARN");
        }
        Ok(Self { text: text.into(), parts, whole })
    }

    /// Whether a variable in it has no value, as far as is known.
    pub(super) fn lacks_value(&self, facts: &Facts<'_>) -> bool {
        self.whole.lacks_value(facts)
    }

    /// Whether an ARN matches as the ARN operators do: each of the six parts for itself ("IAM JSON policy elements:
    /// Condition operators"). `None` if `arn` is no ARN, or this pattern has fewer parts.
    pub(super) fn matches_parts<'a>(&'a self, arn: &str, facts: &'a Facts<'_>) -> Option<Truth<'a>> {
        if self.parts.len() < PARTS || !arn.starts_with("arn:") {
            return None;
        }
        let mut rest = arn.splitn(PARTS, ':');
        let mut matches = Truth::Yes;
        for part in &self.parts {
            matches = matches.and(part.matches(rest.next()?, facts));
        }
        Some(matches)
    }

    /// Whether a resource matches. A wildcard at the end of a pattern reaches over colons; whether one before a colon
    /// does is not clear from the documentation, so that it may ("Identify AWS resources with Amazon Resource Names").
    pub(super) fn matches_resource<'a>(&'a self, resource: &str, facts: &'a Facts<'_>) -> Truth<'a> {
        let whole = self.whole.matches(resource, facts);
        if whole == Truth::No || self.parts.len() < PARTS {
            return whole;
        }
        match self.matches_parts(resource, facts) {
            Some(Truth::No) | None => Truth::Maybe(Why::Colon(&self.text)),
            Some(parts) => whole.and(parts),
        }
    }

    /// Whether two resources that begin with `base` might get different answers from [`Self::matches_resource`]. `base`
    /// must reach past the fifth colon.
    pub(super) fn tells_apart(&self, base: &str) -> bool {
        match self.whole.share_under(base) {
            Share::None => false,
            Share::Some => true,
            Share::All if self.parts.len() < PARTS => false,
            // The first five parts are complete in `base`, and so the same for all.
            Share::All => base
                .splitn(PARTS, ':')
                .zip(&self.parts)
                .nth(PARTS - 1)
                .is_none_or(|(rest, part)| part.share_under(rest) == Share::Some),
        }
    }
}

/// The parts of an ARN that is no pattern: partition, service, region, account and the resource.
pub(super) fn split(arn: &str) -> Option<[&str; 5]> {
    let mut parts = arn.strip_prefix("arn:")?.splitn(5, ':');
    let parts = [parts.next()?, parts.next()?, parts.next()?, parts.next()?, parts.next()?];
    (!parts[0].is_empty() && !parts[1].is_empty()).then_some(parts)
}
