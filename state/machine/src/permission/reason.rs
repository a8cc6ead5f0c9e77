//! Which statement decided, in words.

use std::fmt;

use super::{statement::Kind, truth::Truth};

/// How many bytes a decision's reason may have: names and Sids in it are others' choice.
pub const REASON_BYTES_MAX: usize = 1024;

/// Where in the policies something stands. Numbers count from 1 when shown.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place<'a> {
    pub(super) kind: Kind,
    pub(super) level: Option<usize>,
    /// Number and name.
    pub(super) policy: Option<(usize, Option<&'a str>)>,
    /// Number and Sid.
    pub(super) statement: Option<(usize, Option<&'a str>)>,
}

impl Place<'_> {
    pub(super) fn layer(kind: Kind, level: Option<usize>) -> Self {
        Self { kind, level, policy: None, statement: None }
    }
}

/// Whether something was found, and where.
#[derive(Clone, Copy, Debug)]
pub(super) struct Found<'a> {
    pub(super) truth: Truth<'a>,
    /// What decided: a statement, or the layer that has none. The root user's own right is nowhere.
    place: Option<Place<'a>>,
    /// The other side's statement, between two accounts.
    other: Option<Place<'a>>,
}

impl<'a> Found<'a> {
    pub(super) fn at(truth: Truth<'a>, place: Place<'a>) -> Self {
        Self { truth, place: Some(place), other: None }
    }

    /// What holds everywhere and for this caller.
    pub(super) fn root() -> Self {
        Self { truth: Truth::Yes, place: None, other: None }
    }

    pub(super) fn nothing(kind: Kind, level: Option<usize>) -> Self {
        Self::at(Truth::No, Place::layer(kind, level))
    }

    /// The one that holds; if none does, the one that might; if none does either, the first.
    pub(super) fn or(self, other: Self) -> Self {
        match (self.truth, other.truth) {
            (Truth::No | Truth::Maybe(_), Truth::Yes) | (Truth::No, Truth::Maybe(_)) => other,
            (Truth::Yes, _) | (_, Truth::No) | (Truth::Maybe(_), Truth::Maybe(_)) => self,
        }
    }

    /// The one that fails; if none does, the one that might; if both hold, the first and where the second stands.
    pub(super) fn and(self, other: Self) -> Self {
        match (self.truth, other.truth) {
            (Truth::Yes | Truth::Maybe(_), Truth::No) | (Truth::Yes, Truth::Maybe(_)) => other,
            (Truth::No | Truth::Maybe(_), _) => self,
            (Truth::Yes, Truth::Yes) if self.place.is_none() => other,
            (Truth::Yes, Truth::Yes) => {
                let second = other.place.filter(|place| place.kind == Kind::Resource);
                Self { other: self.other.or(second), ..self }
            }
        }
    }

    /// One sentence: what was found, or what was not.
    pub(super) fn reason(&self, verb: &str, action: &str) -> String {
        let mut reason = self.whole_reason(verb, action);
        if reason.len() > REASON_BYTES_MAX {
            reason.truncate(reason.floor_char_boundary(REASON_BYTES_MAX - '…'.len_utf8()));
            reason.push('…');
        }
        reason
    }

    fn whole_reason(&self, verb: &str, action: &str) -> String {
        let Some(place) = self.place else { return format!("the root user may do {action} in its own account") };
        match self.truth {
            Truth::Yes => match self.other {
                Some(other) => format!("{place} and {other} allow {action}"),
                None => format!("{place} {verb} {action}"),
            },
            Truth::No => format!("no statement of {} {verb} {action}", Layer(place)),
            Truth::Maybe(why) => format!("it is not known whether {place} {verb} {action}: {why}"),
        }
    }
}

/// A kind of policies as a whole.
struct Layer<'a>(Place<'a>);

impl fmt::Display for Layer<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.0.kind, self.0.level) {
            (Kind::Identity, _) => f.write_str("the identity policies"),
            (Kind::Boundary, _) => f.write_str("the permissions boundary"),
            (Kind::Session, _) => f.write_str("the session policies"),
            (Kind::Resource, _) => f.write_str("the resource policy"),
            (Kind::Endpoint, _) => f.write_str("the endpoint policy"),
            (Kind::Scp, Some(level)) => write!(f, "the SCPs of level {}", level + 1),
            (Kind::Rcp, Some(level)) => write!(f, "the RCPs of level {}", level + 1),
            (Kind::Scp, None) => f.write_str("the SCPs"),
            (Kind::Rcp, None) => f.write_str("the RCPs"),
        }
    }
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some((index, name)) = self.policy else { return fmt::Display::fmt(&Layer(*self), f) };
        match (self.kind, self.level) {
            (Kind::Identity, _) => write!(f, "identity policy {}", index + 1)?,
            (Kind::Boundary, _) => f.write_str("the permissions boundary")?,
            (Kind::Session, _) => write!(f, "session policy {}", index + 1)?,
            (Kind::Resource, _) => f.write_str("the resource policy")?,
            (Kind::Endpoint, _) => f.write_str("the endpoint policy")?,
            (Kind::Scp, level) => write!(f, "SCP {} of level {}", index + 1, level.unwrap_or(0) + 1)?,
            (Kind::Rcp, level) => write!(f, "RCP {} of level {}", index + 1, level.unwrap_or(0) + 1)?,
        }
        if let Some(name) = name {
            write!(f, " ({name})")?;
        }
        match self.statement {
            Some((index, Some(sid))) if !sid.is_empty() => write!(f, ", statement {} {sid:?},", index + 1),
            Some((index, _)) => write!(f, ", statement {},", index + 1),
            None => Ok(()),
        }
    }
}
