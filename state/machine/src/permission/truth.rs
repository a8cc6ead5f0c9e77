//! Three-valued logic: yes, no, and maybe with its cause.

use std::fmt;

/// Whether something holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Truth<'a> {
    No,
    Maybe(Why<'a>),
    Yes,
}

/// Why something cannot be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Why<'a> {
    /// A context key that is neither given nor known to be absent.
    Key(&'a str),
    /// A context key with several values where AWS documents the meaning of one only.
    Values(&'a str),
    /// A context key whose value is not of the operator's type.
    Value(&'a str),
    /// A variable whose value holds a wildcard, which AWS documents neither as literal nor as wildcard.
    Wildcard(&'a str),
    /// A pattern with a wildcard that might reach over a colon.
    Colon(&'a str),
    /// A part of a policy that is not understood.
    Unclear(&'a str),
    /// A principal of which more would have to be known.
    Principal(&'a str),
}

impl<'a> Truth<'a> {
    pub(super) fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::No, _) | (_, Self::No) => Self::No,
            (Self::Maybe(why), _) | (_, Self::Maybe(why)) => Self::Maybe(why),
            (Self::Yes, Self::Yes) => Self::Yes,
        }
    }

    pub(super) fn or(self, other: Self) -> Self {
        match (self, other) {
            (Self::Yes, _) | (_, Self::Yes) => Self::Yes,
            (Self::Maybe(why), _) | (_, Self::Maybe(why)) => Self::Maybe(why),
            (Self::No, Self::No) => Self::No,
        }
    }

    /// Whether any of these holds; stops at the first that does.
    pub(super) fn any(truths: impl IntoIterator<Item = Self>) -> Self {
        let mut sum = Self::No;
        for truth in truths {
            sum = sum.or(truth);
            if sum == Self::Yes {
                break;
            }
        }
        sum
    }

    /// Whether all of these hold; stops at the first that does not.
    pub(super) fn all(truths: impl IntoIterator<Item = Self>) -> Self {
        let mut product = Self::Yes;
        for truth in truths {
            product = product.and(truth);
            if product == Self::No {
                break;
            }
        }
        product
    }

    pub(super) fn negate(self) -> Self {
        match self {
            Self::No => Self::Yes,
            Self::Yes => Self::No,
            Self::Maybe(why) => Self::Maybe(why),
        }
    }

    /// Negated if `negated`.
    pub(super) fn negate_if(self, negated: bool) -> Self {
        if negated { self.negate() } else { self }
    }

    /// This truth where `other` says the same, else maybe.
    pub(super) fn agreeing(self, other: Self, why: Why<'a>) -> Self {
        if self == other { self } else { Self::Maybe(why) }
    }
}

impl From<bool> for Truth<'_> {
    fn from(holds: bool) -> Self {
        if holds { Self::Yes } else { Self::No }
    }
}

impl fmt::Display for Why<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key(key) => write!(f, "the context key {key} is not known"),
            Self::Values(key) => write!(f, "the context key {key} has several values and no set operator reads them"),
            Self::Value(key) => write!(f, "the value of the context key {key} is not of the operator's type"),
            Self::Wildcard(key) => write!(f, "the value of the variable {key} holds a wildcard"),
            Self::Colon(pattern) => write!(f, "a wildcard in {pattern} might reach over a colon"),
            Self::Unclear(what) => f.write_str(what),
            Self::Principal(who) => write!(f, "it is not known whether the caller is {who}"),
        }
    }
}
