//! From policy texts to controls and waivers, with every mistake found on the way.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use cedar_policy::{
    ActionConstraint, Effect, Policy, PolicySet, Schema, ValidationError, ValidationMode, ValidationWarning, Validator,
};

use super::{
    control::{Control, Waiver},
    error::{PolicyError, PolicyErrors, Report, did_you_mean, position},
    facets::Facets,
    facts::EvidenceKind,
    source::{PolicyRole, PolicySource, SCHEMA},
};
use crate::{
    effect::{Response, Severity},
    ids::EventTime,
};

const CONTROL_ANNOTATIONS: [&str; 7] = ["id", "title", "severity", "response", "requirement", "attack", "quarantine"];
const WAIVER_ANNOTATIONS: [&str; 5] = ["id", "control", "owner", "ticket", "expires"];

/// A policy with what its annotations say.
pub(super) struct Rule<T> {
    pub(super) item: T,
    pub(super) policy: Policy,
    pub(super) facets: Facets,
    /// It judges sessions.
    pub(super) session: bool,
    /// It judges events.
    pub(super) event: bool,
}

/// Controls and waivers, each sorted by id.
pub(super) struct Loaded {
    pub(super) controls: Vec<Rule<Control>>,
    pub(super) waivers: Vec<Rule<Waiver>>,
}

pub(super) fn schema() -> Result<Schema, PolicyErrors> {
    match Schema::from_cedarschema_str(SCHEMA) {
        Ok((schema, _)) => Ok(schema),
        Err(error) => {
            let mut report = Report::new("sessionwarden.cedarschema", SCHEMA);
            report.add_cedar(&error, None, 0);
            Err(PolicyErrors(report.errors))
        }
    }
}

pub(super) fn load(sources: &[PolicySource]) -> Result<Loaded, PolicyErrors> {
    let validator = Validator::new(schema()?);
    let mut errors = Vec::new();
    let mut loaded = Loaded { controls: Vec::new(), waivers: Vec::new() };
    let mut drafts = Vec::new();
    let mut names = Names::default();
    for source in sources {
        let mut report = Report::new(&source.file, &source.text);
        if let Some(policies) = read(&mut report, &validator) {
            for annotated in &policies {
                names.collect(source, annotated);
                match source.role {
                    PolicyRole::Controls => loaded.controls.extend(control(&mut report, annotated)),
                    PolicyRole::Waivers => drafts.extend(waiver(&mut report, annotated)),
                }
            }
        } else {
            names.incomplete |= source.role == PolicyRole::Controls;
        }
        errors.append(&mut report.errors);
    }
    names.check(&mut errors);
    if !errors.is_empty() {
        errors.sort();
        return Err(PolicyErrors(errors));
    }
    loaded.controls.sort_by(|a, b| a.item.id.cmp(&b.item.id));
    loaded.waivers = drafts.into_iter().map(|draft| resolve(draft, &loaded.controls)).collect();
    loaded.waivers.sort_by(|a, b| a.item.id.cmp(&b.item.id));
    Ok(loaded)
}

/// The ids in all files, whatever else is wrong with their policies.
#[derive(Default)]
struct Names<'s> {
    /// Where each id of its role is defined.
    definitions: BTreeMap<(PolicyRole, String), Vec<(&'s PolicySource, usize)>>,
    /// Where waivers name controls.
    uses: Vec<(Arc<str>, &'s PolicySource, usize)>,
    /// Some file of controls could not be read, so a control that is not known may still exist.
    incomplete: bool,
}

impl<'s> Names<'s> {
    fn collect(&mut self, source: &'s PolicySource, annotated: &Annotated) {
        if let Some(id) = annotated.text("id") {
            self.definitions.entry((source.role, id.to_owned())).or_default().push((source, annotated.start));
        }
        if source.role == PolicyRole::Waivers {
            let offset = annotated.offset("control");
            self.uses.extend(annotated.items("control").into_iter().map(|name| (name, source, offset)));
        }
    }

    fn check(&self, errors: &mut Vec<PolicyError>) {
        for ((role, id), places) in &self.definitions {
            let what = match role {
                PolicyRole::Controls => "control",
                PolicyRole::Waivers => "waiver",
            };
            let (first, offset) = places[0];
            let first = format!("{}:{}", first.file, position(&first.text, offset).0);
            for (source, offset) in &places[1..] {
                let hint = format!("it is first used at {first}; give each {what} its own id");
                let mut report = Report::new(&source.file, &source.text);
                report.add(*offset, format!("{what} id `{id}` is used twice"), Some(hint));
                errors.append(&mut report.errors);
            }
        }
        let known = || self.definitions.keys().filter(|(role, _)| *role == PolicyRole::Controls).map(|(_, id)| &**id);
        for (name, source, offset) in &self.uses {
            if !self.incomplete && !known().any(|id| id == &**name) {
                let mut report = Report::new(&source.file, &source.text);
                report.add(*offset, format!("there is no control `{name}`"), did_you_mean(name, known()));
                errors.append(&mut report.errors);
            }
        }
    }
}

struct Annotated {
    policy: Policy,
    /// The schema has nothing against it.
    valid: bool,
    start: usize,
    annotations: BTreeMap<String, (String, usize)>,
}

impl Annotated {
    /// An annotation's text, trimmed; `None` where missing or empty.
    fn text(&self, name: &str) -> Option<&str> {
        self.annotations.get(name).map(|(text, _)| text.trim()).filter(|text| !text.is_empty())
    }

    fn offset(&self, name: &str) -> usize {
        self.annotations.get(name).map_or(self.start, |(_, offset)| *offset)
    }

    fn items(&self, name: &str) -> BTreeSet<Arc<str>> {
        let items = self.text(name).unwrap_or_default().split(',').map(str::trim);
        items.filter(|item| !item.is_empty()).map(Arc::from).collect()
    }

    fn required(&self, report: &mut Report<'_>, name: &str) -> Option<&str> {
        let text = self.text(name);
        if text.is_none() {
            let state = if self.annotations.contains_key(name) { "empty" } else { "missing" };
            let hint = format!("add `@{name}(\"…\")` to this policy");
            self.complain(report, name, format!("annotation `@{name}` is {state}"), Some(hint));
        }
        text
    }

    fn complain(&self, report: &mut Report<'_>, name: &str, message: String, hint: Option<String>) {
        report.add(self.offset(name), message, hint);
    }

    fn check_names(&self, report: &mut Report<'_>, known: &[&str]) {
        for (name, (_, offset)) in &self.annotations {
            if !known.contains(&name.as_str()) {
                let all = || known.iter().map(|name| format!("`@{name}`")).collect::<Vec<_>>().join(", ");
                let hint = did_you_mean(name, known.iter().copied()).unwrap_or_else(|| format!("known are {}", all()));
                report.add(*offset, format!("unknown annotation `@{name}`"), Some(hint));
            }
        }
    }

    /// The value of an annotation that must be one of `choices`.
    fn choice<T: Copy>(&self, report: &mut Report<'_>, name: &str, choices: &[(&str, T)]) -> Option<T> {
        let text = self.required(report, name)?;
        if let Some((_, value)) = choices.iter().find(|(choice, _)| *choice == text) {
            return Some(*value);
        }
        let names = choices.iter().map(|(choice, _)| *choice);
        let one_of = || format!("one of {}", names.clone().collect::<Vec<_>>().join(", "));
        let hint = did_you_mean(text, names.clone()).unwrap_or_else(one_of);
        self.complain(report, name, format!("`@{name}` cannot be `{text}`"), Some(hint));
        None
    }

    fn rule<T>(&self, report: &mut Report<'_>, item: T) -> Option<Rule<T>> {
        let json = match self.policy.to_json() {
            Ok(json) => json,
            Err(error) => {
                report.add_cedar(&error, None, self.start);
                return None;
            }
        };
        let (session, event) = match self.policy.action_constraint() {
            ActionConstraint::Any => (true, true),
            ActionConstraint::In(actions) => {
                let names = |name| actions.iter().any(|action| action.id().unescaped() == name);
                (names("session"), names("event"))
            }
            ActionConstraint::Eq(action) => (action.id().unescaped() == "session", action.id().unescaped() == "event"),
        };
        Some(Rule { item, policy: self.policy.clone(), facets: Facets::of_policy(&json), session, event })
    }

    fn line(&self, text: &str) -> u32 {
        position(text, self.start).0
    }
}

/// Parses and validates one file; `None` where it does not parse.
fn read(report: &mut Report<'_>, validator: &Validator) -> Option<Vec<Annotated>> {
    let policies = match report.text.parse::<PolicySet>() {
        Ok(policies) => policies,
        Err(errors) => {
            for error in errors.iter() {
                report.add_cedar(error, None, report.text.len());
            }
            return None;
        }
    };
    for template in policies.templates() {
        let at = template.as_ref().loc().map_or(0, |loc| loc.span.offset());
        report.add(at, "a policy cannot have slots", Some("write the principal or resource itself".to_owned()));
    }
    let start_of = |id: &cedar_policy::PolicyId| policies.policy(id).map_or(0, start);
    let result = validator.validate(&policies, ValidationMode::Strict);
    for error in result.validation_errors() {
        let id = error.policy_id();
        report.add_cedar(error, Some(id.as_ref()), start_of(id));
    }
    for warning in result.validation_warnings() {
        // A rule that can never match protects or excuses nothing. The other warnings are about spelling.
        if let ValidationWarning::ImpossiblePolicy(_) | ValidationWarning::InvalidActionApplication(_) = warning {
            let id = warning.policy_id();
            report.add_cedar(warning, Some(id.as_ref()), start_of(id));
        }
    }
    let invalid: BTreeSet<_> = result.validation_errors().map(ValidationError::policy_id).collect();
    let mut found: Vec<_> =
        policies.policies().map(|policy| annotated(policy, !invalid.contains(policy.id()))).collect();
    found.sort_by_key(|annotated| annotated.start);
    Some(found)
}

fn start(policy: &Policy) -> usize {
    policy.as_ref().loc().map_or(0, |loc| loc.span.offset())
}

fn annotated(policy: &Policy, valid: bool) -> Annotated {
    let start = start(policy);
    let annotations = policy.as_ref().annotations().map(|(name, annotation)| {
        let offset = annotation.loc.as_ref().map_or(start, |loc| loc.span.offset());
        (name.to_string(), (annotation.val.to_string(), offset))
    });
    Annotated { start, annotations: annotations.collect(), policy: policy.clone(), valid }
}

fn control(report: &mut Report<'_>, from: &Annotated) -> Option<Rule<Control>> {
    from.check_names(report, &CONTROL_ANNOTATIONS);
    if from.policy.effect() == Effect::Permit {
        let hint = "a control says what is forbidden: write `forbid`, or move a waiver to the waivers".to_owned();
        report.add(from.start, "`permit` among the controls", Some(hint));
    }
    let severities = [
        ("info", Severity::Info),
        ("low", Severity::Low),
        ("medium", Severity::Medium),
        ("high", Severity::High),
        ("critical", Severity::Critical),
    ];
    let responses =
        [("report", Response::Report), ("incident", Response::Incident), ("terminate", Response::Terminate)];
    let id = from.required(report, "id").map(Arc::from);
    let title = from.required(report, "title").map(Arc::from);
    let severity = from.choice(report, "severity", &severities);
    let response = from.choice(report, "response", &responses);
    let requirements = from.required(report, "requirement").map(|_| from.items("requirement"));
    let techniques = from.required(report, "attack").map(|_| from.items("attack"));
    for technique in techniques.iter().flatten().filter(|technique| !is_technique(technique)) {
        let hint = "write MITRE ATT&CK technique ids, like `T1021.007`".to_owned();
        from.complain(report, "attack", format!("`{technique}` is not a technique"), Some(hint));
    }
    let quarantine = if from.annotations.contains_key("quarantine") {
        from.choice(report, "quarantine", &[("true", true), ("false", false)])
    } else {
        Some(false)
    };
    let rule = from.rule(report, ())?;
    if rule.event && response == Some(Response::Terminate) {
        let hint = "restrict it to `action == Action::\"session\"`, or respond with `incident`".to_owned();
        from.complain(report, "response", "a control that judges events has no session to end".to_owned(), Some(hint));
    }
    let evidence: Vec<EvidenceKind> = EvidenceKind::of_bits(rule.facets.evidence()).collect();
    // A misspelt attribute counts as all evidence, and is told of already.
    if from.valid && evidence.len() > EvidenceKind::IN_A_CONTROL_MAX {
        let hint = format!("mention at most {} of it by name, or write two controls", EvidenceKind::IN_A_CONTROL_MAX);
        report.add(from.start, format!("the control asks for {} kinds of evidence", evidence.len()), Some(hint));
    }
    let item = Control {
        id: id?,
        title: title?,
        severity: severity?,
        response: response?,
        requirements: requirements?,
        techniques: techniques?,
        quarantine: quarantine?,
        session: rule.session,
        event: rule.event,
        evidence,
        file: report.file.into(),
        line: from.line(report.text),
    };
    Some(Rule { item, policy: rule.policy, facets: rule.facets, session: rule.session, event: rule.event })
}

fn is_technique(text: &str) -> bool {
    let digits = |text: &str, count: usize| text.len() == count && text.bytes().all(|byte| byte.is_ascii_digit());
    let Some(number) = text.strip_prefix('T') else { return false };
    match number.split_once('.') {
        Some((main, sub)) => digits(main, 4) && digits(sub, 3),
        None => digits(number, 4),
    }
}

/// A waiver whose control ids are not yet looked up.
struct Draft {
    waiver: Waiver,
    names: BTreeSet<Arc<str>>,
}

fn waiver(report: &mut Report<'_>, from: &Annotated) -> Option<Rule<Draft>> {
    from.check_names(report, &WAIVER_ANNOTATIONS);
    if from.policy.effect() == Effect::Forbid {
        let hint = "a waiver says what is excused: write `permit`, or move a control to the controls".to_owned();
        report.add(from.start, "`forbid` among the waivers", Some(hint));
    }
    let id = from.required(report, "id").map(Arc::from);
    let names = from.required(report, "control").map(|_| from.items("control"));
    let owner = from.required(report, "owner").map(Arc::from);
    let ticket = from.required(report, "ticket").map(Arc::from);
    let expires = from.required(report, "expires").map(|text| (text, EventTime::parse(text)));
    if let Some((text, None)) = expires {
        let hint = "write it like `2026-12-31T00:00:00Z`".to_owned();
        from.complain(report, "expires", format!("`{text}` is not a time"), Some(hint));
    }
    let rule = from.rule(report, ())?;
    if rule.facets.evidence() != 0 {
        let hint = "say who, what and where is excused; unknown evidence must not excuse".to_owned();
        report.add(from.start, "a waiver cannot depend on `context.evidence`", Some(hint));
    }
    let waiver = Waiver {
        id: id?,
        controls: BTreeSet::new(),
        owner: owner?,
        ticket: ticket?,
        expires: expires?.1?,
        file: report.file.into(),
        line: from.line(report.text),
    };
    let item = Draft { waiver, names: names? };
    Some(Rule { item, policy: rule.policy, facets: rule.facets, session: rule.session, event: rule.event })
}

/// Looks up the controls that a waiver names; all of them are known to exist.
fn resolve(draft: Rule<Draft>, controls: &[Rule<Control>]) -> Rule<Waiver> {
    let Rule { item: Draft { mut waiver, names }, policy, facets, session, event } = draft;
    let index = |name: &Arc<str>| controls.binary_search_by(|control| control.item.id.cmp(name)).ok();
    waiver.controls = names.iter().filter_map(index).collect();
    Rule { item: waiver, policy, facets, session, event }
}
