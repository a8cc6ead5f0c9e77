//! Whether policies treat all resources under one prefix alike.

use super::{
    arn,
    policy::{Element, Policy, Resource},
};

impl Policy {
    /// Whether a Resource or `NotResource` of it might tell two resources apart that both begin with `base`, such as
    /// `arn:aws:s3:::bucket/prefix/`. `true` where that is not certain: for a `base` that ends before the first `/` or
    /// `:` of the ARN's resource, and for entries with variables that might match below `base`.
    ///
    /// Where it is `false` for every policy of a request, [`evaluate`](super::evaluate) gives one and the same decision
    /// for every resource under `base`, as long as all else in the request is the same and no resource is longer than
    /// [`TEXT_BYTES_MAX`](super::TEXT_BYTES_MAX). Conditions see the context alone: values that belong to one resource,
    /// such as `s3:ExistingObjectTag`, are the caller's to keep the same.
    pub fn tells_apart(&self, base: &str) -> bool {
        // Whose a resource is, and whether it is an alias of a key, shows before that sign.
        let settled = arn::split(base).is_some_and(|parts| parts[4].contains(['/', ':']));
        let mut entries = self.statements.iter().filter(|it| it.problem.is_none()).flat_map(|it| match &it.resource {
            Element::Is(entries) | Element::IsNot(entries) => entries.as_slice(),
            Element::Absent | Element::Unclear(_) => &[],
        });
        !settled || entries.any(|it| matches!(it, Resource::Arn(arn) if arn.tells_apart(base)))
    }
}
