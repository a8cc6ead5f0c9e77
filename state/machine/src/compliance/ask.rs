//! Facts as Cedar requests.

use std::collections::{HashMap, HashSet};

use cedar_policy::{
    Context, Entities, Entity, EntityId, EntityTypeName, EntityUid, Request, RestrictedExpression, Schema,
};

use super::facts::{EventFacts, EvidenceKind, SessionFacts};
use crate::{
    effect::Principal,
    ids::{AccountId, EventTime},
};

/// What an ARN says about its principal; empty where it says nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PrincipalParts<'a> {
    pub(super) account: Option<&'a str>,
    pub(super) role: &'a str,
    pub(super) name: &'a str,
}

impl<'a> PrincipalParts<'a> {
    pub(super) fn of(arn: &'a str) -> Self {
        let mut fields = arn.splitn(6, ':').skip(4);
        let account = fields.next().filter(|account| !account.is_empty());
        let path = fields.next().unwrap_or_default();
        let name = path.rsplit('/').next().unwrap_or_default();
        let role = match path.split_once('/') {
            Some(("assumed-role", rest)) => rest.split('/').next().unwrap_or_default(),
            Some(("role", _)) => name,
            _ => "",
        };
        Self { account, role, name }
    }
}

/// The names of the schema, parsed once.
#[derive(Debug)]
pub(super) struct Vocabulary {
    unit: EntityTypeName,
    account: EntityTypeName,
    principal: EntityTypeName,
    node: EntityTypeName,
    thing: EntityTypeName,
    target_kind: EntityTypeName,
    document_kind: EntityTypeName,
    thing_kind: EntityTypeName,
    threat: EntityTypeName,
    session: EntityUid,
    event: EntityUid,
}

/// A question without its evidence.
pub(super) struct Question {
    principal: EntityUid,
    action: EntityUid,
    resource: EntityUid,
    context: Vec<(String, RestrictedExpression)>,
    with_evidence: bool,
    pub(super) entities: Entities,
}

impl Question {
    /// The Cedar request, with the evidence in `yes` (bits of [`EvidenceKind::bit`]) true and all other evidence false.
    pub(super) fn request(&self, yes: u16, schema: Option<&Schema>) -> Result<Request, String> {
        let mut pairs = self.context.clone();
        if self.with_evidence {
            let evidence = EvidenceKind::ALL
                .map(|kind| (kind.attribute().to_owned(), RestrictedExpression::new_bool(yes & kind.bit() != 0)));
            pairs.push(("evidence".to_owned(), RestrictedExpression::new_record(evidence).map_err(text)?));
        }
        let context = Context::from_pairs(pairs).map_err(text)?;
        Request::new(self.principal.clone(), self.action.clone(), self.resource.clone(), context, schema).map_err(text)
    }
}

impl Vocabulary {
    pub(super) fn new() -> Result<Self, String> {
        let name = |name: &str| name.parse::<EntityTypeName>().map_err(text);
        let action = name("Action")?;
        Ok(Self {
            unit: name("Unit")?,
            account: name("Account")?,
            principal: name("Principal")?,
            node: name("Node")?,
            thing: name("Thing")?,
            target_kind: name("TargetKind")?,
            document_kind: name("DocumentKind")?,
            thing_kind: name("ThingKind")?,
            threat: name("Threat")?,
            session: uid(&action, "session"),
            event: uid(&action, "event"),
        })
    }

    pub(super) fn session(&self, facts: &SessionFacts<'_>) -> Result<Question, String> {
        let place =
            Place { account: facts.account, unit: facts.unit, region: facts.region, management: facts.management };
        let resource = uid(&self.node, facts.target);
        let started_at = RestrictedExpression::new_datetime(datetime(facts.started_at));
        let mut context = place.context();
        context.extend([
            ("regionAllowed".to_owned(), RestrictedExpression::new_bool(facts.region_allowed)),
            ("targetKind".to_owned(), entity(&self.target_kind, facts.target_kind.as_str())),
            ("documentName".to_owned(), string(facts.document_name)),
            ("documentKind".to_owned(), entity(&self.document_kind, facts.document_kind.as_str())),
            ("documentShared".to_owned(), RestrictedExpression::new_bool(facts.document_shared)),
            ("sessionType".to_owned(), string(facts.session_type)),
            ("accessType".to_owned(), string(facts.access_type)),
            ("reason".to_owned(), string(facts.reason.unwrap_or_default())),
            ("resumed".to_owned(), RestrictedExpression::new_bool(facts.resumed)),
            ("startedAt".to_owned(), started_at),
        ]);
        Ok(Question {
            principal: uid(&self.principal, &facts.principal.arn),
            action: self.session.clone(),
            entities: self.entities(facts.principal, &place, resource.clone())?,
            resource,
            context,
            with_evidence: true,
        })
    }

    pub(super) fn event(&self, facts: &EventFacts<'_>) -> Result<Question, String> {
        let place =
            Place { account: facts.account, unit: facts.unit, region: facts.region, management: facts.management };
        let resource = uid(&self.thing, facts.thing);
        let thing_kind = facts.thing_kind.map_or("unknown", |kind| kind.as_str());
        let mut context = place.context();
        context.extend([
            ("threat".to_owned(), entity(&self.threat, facts.threat)),
            ("event".to_owned(), string(facts.event)),
            ("thingKind".to_owned(), entity(&self.thing_kind, thing_kind)),
            ("own".to_owned(), RestrictedExpression::new_bool(facts.own)),
            ("failed".to_owned(), RestrictedExpression::new_bool(facts.failed)),
        ]);
        Ok(Question {
            principal: uid(&self.principal, &facts.principal.arn),
            action: self.event.clone(),
            entities: self.entities(facts.principal, &place, resource.clone())?,
            resource,
            context,
            with_evidence: false,
        })
    }

    fn entities(&self, principal: &Principal, place: &Place<'_>, resource: EntityUid) -> Result<Entities, String> {
        let account = uid(&self.account, &place.account.to_string());
        let units = place.unit.map(|unit| uid(&self.unit, unit));
        let parts = PrincipalParts::of(&principal.arn);
        let home = parts.account.map(|id| uid(&self.account, id));
        let attributes = HashMap::from([
            ("kind".to_owned(), string(&principal.kind)),
            ("role".to_owned(), string(parts.role)),
            ("name".to_owned(), string(parts.name)),
        ]);
        let principal = uid(&self.principal, &principal.arn);
        let all = [
            Entity::new(principal, attributes, home.into_iter().collect()).map_err(text)?,
            Entity::new_no_attrs(resource, HashSet::from([account.clone()])),
            Entity::new_no_attrs(account, units.into_iter().collect()),
        ];
        Entities::from_entities(all, None).map_err(text)
    }
}

struct Place<'a> {
    account: AccountId,
    unit: Option<&'a str>,
    region: &'a str,
    management: bool,
}

impl Place<'_> {
    fn context(&self) -> Vec<(String, RestrictedExpression)> {
        vec![
            ("account".to_owned(), string(&self.account.to_string())),
            ("region".to_owned(), string(self.region)),
            ("management".to_owned(), RestrictedExpression::new_bool(self.management)),
        ]
    }
}

fn uid(name: &EntityTypeName, id: &str) -> EntityUid {
    EntityUid::from_type_name_and_id(name.clone(), EntityId::new(id))
}

fn entity(name: &EntityTypeName, id: &str) -> RestrictedExpression {
    RestrictedExpression::new_entity_uid(uid(name, id))
}

fn string(text: &str) -> RestrictedExpression {
    RestrictedExpression::new_string(text.to_owned())
}

/// Cedar reads years 0 to 9999 and exactly three decimals.
fn datetime(at: EventTime) -> String {
    const LAST: i64 = 253_402_300_799_999;
    match jiff::Timestamp::from_millisecond(at.0.clamp(0, LAST)) {
        Ok(at) => at.strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string(),
        Err(_) => "1970-01-01T00:00:00.000Z".to_owned(),
    }
}

#[expect(clippy::needless_pass_by_value, reason = "passed to map_err")]
fn text(error: impl ToString) -> String {
    error.to_string()
}
