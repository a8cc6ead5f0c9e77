//! The bytes that tell two questions apart: only the facets the policies mention.

use std::io::Write;

use super::{
    ask::PrincipalParts,
    facets::{Facet, Facets},
    facts::{EventFacts, SessionFacts},
};
use crate::{effect::Principal, ids::AccountId};

struct Writer<'k> {
    key: &'k mut Vec<u8>,
    facets: Facets,
}

impl Writer<'_> {
    fn text(&mut self, facet: Facet, text: &str) {
        if self.facets.has(facet) {
            self.put(text);
        }
    }

    fn small(&mut self, facet: Facet, value: u8) {
        if self.facets.has(facet) {
            self.key.push(value);
        }
    }

    fn put(&mut self, text: &str) {
        self.key.extend_from_slice(&(text.len() as u32).to_le_bytes());
        self.key.extend_from_slice(text.as_bytes());
    }

    /// `None` and an empty text differ.
    fn put_option(&mut self, text: Option<&str>) {
        self.key.push(u8::from(text.is_some()));
        self.put(text.unwrap_or_default());
    }

    fn common(&mut self, principal: &Principal, account: AccountId, unit: Option<&str>, resource: &str, region: &str) {
        self.text(Facet::Principal, &principal.arn);
        self.text(Facet::PrincipalKind, &principal.kind);
        let derived = [Facet::PrincipalRole, Facet::PrincipalName, Facet::PrincipalAccount];
        if derived.into_iter().any(|facet| self.facets.has(facet)) {
            let parts = PrincipalParts::of(&principal.arn);
            self.text(Facet::PrincipalRole, parts.role);
            self.text(Facet::PrincipalName, parts.name);
            if self.facets.has(Facet::PrincipalAccount) {
                self.put_option(parts.account);
            }
        }
        self.text(Facet::Resource, resource);
        if self.facets.has(Facet::Account) {
            // Twelve digits: no length is needed, and writing to a vector cannot fail.
            let _ = write!(self.key, "{account}");
        }
        if self.facets.has(Facet::Unit) {
            self.put_option(unit);
        }
        self.text(Facet::Region, region);
    }
}

/// Writes the question that `facts` ask to `key`, replacing what stood there.
pub(super) fn session(key: &mut Vec<u8>, facets: Facets, facts: &SessionFacts<'_>) {
    key.clear();
    key.push(b's');
    let mut writer = Writer { key, facets };
    writer.common(facts.principal, facts.account, facts.unit, facts.target, facts.region);
    writer.small(Facet::Management, u8::from(facts.management));
    writer.small(Facet::RegionAllowed, u8::from(facts.region_allowed));
    writer.small(Facet::TargetKind, facts.target_kind as u8);
    writer.text(Facet::DocumentName, facts.document_name);
    writer.small(Facet::DocumentKind, facts.document_kind as u8);
    writer.small(Facet::DocumentShared, u8::from(facts.document_shared));
    writer.text(Facet::SessionType, facts.session_type);
    writer.text(Facet::AccessType, facts.access_type);
    writer.text(Facet::Reason, facts.reason.unwrap_or_default());
    writer.small(Facet::Resumed, u8::from(facts.resumed));
    if facets.has(Facet::StartedAt) {
        writer.key.extend_from_slice(&facts.started_at.0.to_le_bytes());
    }
    for bits in [facts.evidence.yes_bits(), facts.evidence.no_bits()] {
        writer.key.extend_from_slice(&(bits & facets.evidence()).to_le_bytes());
    }
}

/// Writes the question that `facts` ask to `key`, replacing what stood there.
pub(super) fn event(key: &mut Vec<u8>, facets: Facets, facts: &EventFacts<'_>) {
    key.clear();
    key.push(b'e');
    let mut writer = Writer { key, facets };
    writer.common(facts.principal, facts.account, facts.unit, facts.thing, facts.region);
    writer.small(Facet::Management, u8::from(facts.management));
    writer.text(Facet::Threat, facts.threat);
    writer.text(Facet::Event, facts.event);
    writer.small(Facet::ThingKind, facts.thing_kind.map_or(u8::MAX, |kind| kind as u8));
    writer.small(Facet::Own, u8::from(facts.own));
    writer.small(Facet::Failed, u8::from(facts.failed));
}
