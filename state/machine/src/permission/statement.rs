//! Whether a statement is in effect for a request.

use super::{
    context::Facts,
    named::{self, Reach},
    policy::{Action, Effect, Element, Resource, Statement},
    principal::Principal,
    truth::{Truth, Why},
};

/// What a policy is attached to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Identity,
    Boundary,
    Session,
    Scp,
    Rcp,
    Resource,
    Endpoint,
}

impl Kind {
    /// Whether its statements name principals. Others must not.
    fn names_principals(self) -> bool {
        match self {
            Self::Rcp | Self::Resource | Self::Endpoint => true,
            Self::Identity | Self::Boundary | Self::Session | Self::Scp => false,
        }
    }
}

/// A request, as statements see it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked<'a> {
    /// In lower case.
    pub(super) action: &'a str,
    /// How the action begins.
    pub(super) head: u64,
    pub(super) resource: &'a str,
    pub(super) principal: &'a Principal,
    /// Whether the principal has a permissions boundary.
    pub(super) bounded: bool,
    pub(super) facts: &'a Facts<'a>,
}

/// What a statement says about a request, if it is in effect.
#[derive(Clone, Copy, Debug)]
pub(super) struct Effective<'a> {
    pub(super) allow: Reach<'a>,
    pub(super) deny: Truth<'a>,
}

impl Statement {
    /// Whether the statement is in effect, and for whom. `None`: it surely says nothing.
    pub(super) fn judge<'a>(&'a self, kind: Kind, asked: &Asked<'a>) -> Option<Effective<'a>> {
        let nothing = Effective { allow: Reach::NOBODY, deny: Truth::No };
        if let Some(problem) = &self.problem {
            let maybe = Truth::Maybe(Why::Unclear(problem));
            return Some(Effective { allow: Reach::directly(maybe), deny: maybe });
        }
        let acts = self.acts(asked);
        if acts == Truth::No {
            return None;
        }
        let matches = acts.and(self.touches(kind, asked));
        if matches == Truth::No {
            return None;
        }
        let reach = self.reach(kind, asked);
        if reach == Reach::NOBODY {
            return None;
        }
        let matches = matches.and(Truth::all(self.conditions.iter().map(|it| it.holds(asked.facts))));
        Some(match self.effect? {
            Effect::Deny => Effective { deny: matches.and(reach.at_all()), ..nothing },
            Effect::Allow => Effective {
                allow: Reach {
                    directly: matches.and(reach.directly),
                    as_role: matches.and(reach.as_role),
                    as_account: matches.and(reach.as_account),
                },
                ..nothing
            },
        })
    }

    /// Source: "IAM JSON policy elements: Action" and "`NotAction`".
    fn acts<'a>(&'a self, asked: &Asked<'a>) -> Truth<'a> {
        let any = |actions: &'a [Action]| {
            let likely = actions.iter().filter(|it| it.may_match(asked.head));
            Truth::any(likely.map(|it| it.pattern.matches(asked.action, asked.facts)))
        };
        match &self.action {
            Element::Is(actions) => any(actions),
            Element::IsNot(actions) => any(actions).negate(),
            Element::Unclear(problem) => Truth::Maybe(Why::Unclear(problem)),
            Element::Absent => Truth::No,
        }
    }

    /// Source: "IAM JSON policy elements: Resource" and "`NotResource`". Only a policy that is attached to a resource may
    /// leave it out: it means that resource.
    fn touches<'a>(&'a self, kind: Kind, asked: &Asked<'a>) -> Truth<'a> {
        let any = |resources: &'a [Resource]| {
            Truth::any(resources.iter().map(|it| match it {
                Resource::Everything => Truth::Yes,
                Resource::Arn(arn) => arn.matches_resource(asked.resource, asked.facts),
            }))
        };
        match &self.resource {
            Element::Is(resources) => any(resources),
            Element::IsNot(resources) => any(resources).or(no_value(resources, asked)).negate(),
            Element::Unclear(problem) => Truth::Maybe(Why::Unclear(problem)),
            Element::Absent if kind == Kind::Resource => Truth::Yes,
            Element::Absent => Truth::Maybe(Why::Unclear("it has neither Resource nor NotResource")),
        }
    }

    fn reach<'a>(&'a self, kind: Kind, asked: &Asked<'a>) -> Reach<'a> {
        let maybe = |problem| Reach::directly(Truth::Maybe(Why::Unclear(problem)));
        match (&self.principal, kind.names_principals()) {
            (Element::Absent, false) => Reach::directly(Truth::Yes),
            (Element::Absent, true) => maybe("it has neither Principal nor NotPrincipal"),
            (_, false) => maybe("it names a principal, which this kind of policy cannot"),
            (Element::Unclear(problem), true) => maybe(problem),
            (Element::Is(names), true) => named::reach(names, asked.principal),
            // "Permissions boundaries for IAM entities": NotPrincipal with Deny always denies who has a boundary.
            (Element::IsNot(_), true) if asked.bounded && self.effect == Some(Effect::Deny) => {
                Reach::directly(Truth::Yes)
            }
            (Element::IsNot(names), true) => Reach::directly(named::not_reached(names, asked.principal)),
        }
    }
}

/// Whether what `NotResource` excepts is unclear for want of a variable's value: the documentation lets the entry match
/// nothing in one place and invalidates the statement in another ("IAM policy elements: Variables and tags").
fn no_value<'a>(resources: &[Resource], asked: &Asked<'a>) -> Truth<'a> {
    let lacks = |it: &Resource| matches!(it, Resource::Arn(arn) if arn.lacks_value(asked.facts));
    if resources.iter().any(lacks) {
        Truth::Maybe(Why::Unclear("a variable in its NotResource has no value, or might have none"))
    } else {
        Truth::No
    }
}
