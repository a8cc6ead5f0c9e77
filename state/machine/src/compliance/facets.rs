//! Which facts the policies mention: the answer depends on nothing else, so nothing else is part of a remembered
//! question.
//!
//! Mentions are read from the policy's JSON form. What is not understood counts as a mention of everything it could
//! mean, so that a question is never taken for another one.

use serde_json::Value;

use super::facts::EvidenceKind;

/// One fact, as far as policies can tell facts apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Facet {
    Principal,
    PrincipalKind,
    PrincipalRole,
    PrincipalName,
    PrincipalAccount,
    Resource,
    Account,
    Unit,
    Region,
    Management,
    RegionAllowed,
    TargetKind,
    DocumentName,
    DocumentKind,
    DocumentShared,
    SessionType,
    AccessType,
    Reason,
    Resumed,
    StartedAt,
    Threat,
    Event,
    ThingKind,
    Own,
    Failed,
}

const PRINCIPAL: [Facet; 5] =
    [Facet::Principal, Facet::PrincipalKind, Facet::PrincipalAccount, Facet::Account, Facet::Unit];
const RESOURCE: [Facet; 3] = [Facet::Resource, Facet::Account, Facet::Unit];
const CONTEXT: [(&str, Facet); 18] = [
    ("account", Facet::Account),
    ("region", Facet::Region),
    ("management", Facet::Management),
    ("regionAllowed", Facet::RegionAllowed),
    ("targetKind", Facet::TargetKind),
    ("documentName", Facet::DocumentName),
    ("documentKind", Facet::DocumentKind),
    ("documentShared", Facet::DocumentShared),
    ("sessionType", Facet::SessionType),
    ("accessType", Facet::AccessType),
    ("reason", Facet::Reason),
    ("resumed", Facet::Resumed),
    ("startedAt", Facet::StartedAt),
    ("threat", Facet::Threat),
    ("event", Facet::Event),
    ("thingKind", Facet::ThingKind),
    ("own", Facet::Own),
    ("failed", Facet::Failed),
];
const ALL_EVIDENCE: u16 = (1 << EvidenceKind::ALL.len()) - 1;

/// A set of facets, and of evidence.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Facets {
    bits: u32,
    evidence: u16,
}

impl Facets {
    /// The facets that a policy in Cedar's JSON form mentions.
    pub(super) fn of_policy(policy: &Value) -> Self {
        let mut facets = Self::default();
        facets.scope("principal", &policy["principal"]);
        facets.scope("resource", &policy["resource"]);
        for condition in policy["conditions"].as_array().into_iter().flatten() {
            facets.walk(&condition["body"]);
        }
        facets
    }

    pub(super) fn has(self, facet: Facet) -> bool {
        self.bits & (1 << facet as u32) != 0
    }

    /// Bits of the evidence mentioned, as in [`EvidenceKind::bit`].
    pub(super) fn evidence(self) -> u16 {
        self.evidence
    }

    pub(super) fn join(&mut self, other: Self) {
        self.bits |= other.bits;
        self.evidence |= other.evidence;
    }

    fn add(&mut self, facet: Facet) {
        self.bits |= 1 << facet as u32;
    }

    fn scope(&mut self, variable: &str, scope: &Value) {
        match scope["op"].as_str() {
            Some("All") => {}
            Some("==") => self.same(variable),
            Some("in") => self.within(variable, &scope["entity"]),
            // Each action has one type of principal and one of resource: `is` alone tells nothing apart.
            Some("is") => {
                if let Some(within) = scope.get("in") {
                    self.within(variable, &within["entity"]);
                }
            }
            Some(_) | None => self.variable(variable),
        }
    }

    fn walk(&mut self, expr: &Value) {
        if let Some((variable, path)) = path_of(expr) {
            self.path(variable, &path);
            return;
        }
        let Some((operator, args)) = only_entry(expr) else {
            self.walk_all(expr);
            return;
        };
        match operator {
            "Value" => {}
            "has" => match (path_of(&args["left"]), attributes(&args["attr"])) {
                // Every session has its evidence: the question says nothing of its content.
                (Some(("context", path)), Some(attrs)) if path.is_empty() && attrs == ["evidence"] => {}
                (Some((variable, path)), Some(attrs)) => self.path(variable, &[path, attrs].concat()),
                _ => self.walk(&args["left"]),
            },
            "==" | "!=" | "contains" => {
                for side in ["left", "right"] {
                    match path_of(&args[side]) {
                        Some((variable, path)) if path.is_empty() => self.same(variable),
                        _ => self.walk(&args[side]),
                    }
                }
            }
            "in" => match path_of(&args["left"]) {
                Some((variable, path)) if path.is_empty() => self.within(variable, &args["right"]),
                _ => self.walk_all(args),
            },
            _ => self.walk_all(args),
        }
    }

    fn walk_all(&mut self, args: &Value) {
        match args {
            Value::Array(items) => items.iter().for_each(|item| self.walk(item)),
            Value::Object(fields) => fields.values().for_each(|field| self.walk(field)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }

    /// A variable that is only compared with others of its type.
    fn same(&mut self, variable: &str) {
        match variable {
            "principal" => self.add(Facet::Principal),
            "resource" => self.add(Facet::Resource),
            _ => self.variable(variable),
        }
    }

    /// `variable in literal`: what matters is the level of the hierarchy that the literal names.
    fn within(&mut self, variable: &str, literal: &Value) {
        let mut types = Vec::new();
        if !entity_types(literal, &mut types) {
            self.variable(variable);
            self.walk(literal);
            return;
        }
        for name in types {
            match (variable, name) {
                ("principal", "Account") => self.add(Facet::PrincipalAccount),
                ("principal", "Unit") => {
                    self.add(Facet::PrincipalAccount);
                    self.add(Facet::Account);
                    self.add(Facet::Unit);
                }
                ("resource", "Account") => self.add(Facet::Account),
                ("resource", "Unit") => self.add(Facet::Unit),
                _ => self.same(variable),
            }
        }
    }

    fn path(&mut self, variable: &str, path: &[&str]) {
        match (variable, path) {
            ("principal", ["kind"]) => self.add(Facet::PrincipalKind),
            ("principal", ["role"]) => self.add(Facet::PrincipalRole),
            ("principal", ["name"]) => self.add(Facet::PrincipalName),
            ("context", ["evidence", rest @ ..]) => {
                let kind = rest.first().and_then(|name| EvidenceKind::ALL.into_iter().find(|k| k.attribute() == *name));
                self.evidence |= kind.map_or(ALL_EVIDENCE, EvidenceKind::bit);
            }
            ("context", [attr, ..]) => match CONTEXT.iter().find(|(name, _)| name == attr) {
                Some((_, facet)) => self.add(*facet),
                None => self.variable(variable),
            },
            _ => self.variable(variable),
        }
    }

    /// A variable used as a whole.
    fn variable(&mut self, variable: &str) {
        match variable {
            // Questions are remembered for each action apart.
            "action" => {}
            "principal" => PRINCIPAL.into_iter().for_each(|facet| self.add(facet)),
            "resource" => RESOURCE.into_iter().for_each(|facet| self.add(facet)),
            "context" => {
                for (_, facet) in CONTEXT {
                    self.add(facet);
                }
                self.evidence = ALL_EVIDENCE;
            }
            _ => *self = Self { bits: u32::MAX, evidence: ALL_EVIDENCE },
        }
    }
}

/// The variable and attributes of `variable.attribute.attribute`.
fn path_of(expr: &Value) -> Option<(&str, Vec<&str>)> {
    let (operator, args) = only_entry(expr)?;
    match operator {
        "Var" => Some((args.as_str()?, Vec::new())),
        "." => {
            let (variable, mut path) = path_of(&args["left"])?;
            path.push(args["attr"].as_str()?);
            Some((variable, path))
        }
        _ => None,
    }
}

/// What `has` asks for: one attribute, or a path of them.
fn attributes(attr: &Value) -> Option<Vec<&str>> {
    match attr.as_array() {
        Some(path) => path.iter().map(Value::as_str).collect(),
        None => attr.as_str().map(|attr| vec![attr]),
    }
}

fn only_entry(expr: &Value) -> Option<(&str, &Value)> {
    let fields = expr.as_object().filter(|fields| fields.len() == 1)?;
    fields.iter().next().map(|(name, args)| (name.as_str(), args))
}

/// Collects the types of a literal entity or set of them; false where it is anything else.
fn entity_types<'v>(literal: &'v Value, types: &mut Vec<&'v str>) -> bool {
    if let (Some(name), Some(_)) = (literal["type"].as_str(), literal.get("id")) {
        types.push(name);
        return true;
    }
    match only_entry(literal) {
        Some(("Value" | "__entity", inner)) => entity_types(inner, types),
        Some(("Set", Value::Array(items))) => items.iter().all(|item| entity_types(item, types)),
        _ => false,
    }
}
