//! The loaded policies, and one answer at a time.

use std::{fmt, sync::Arc};

use cedar_policy::{AuthorizationError, Authorizer, Entities, PolicyId, PolicySet, Request};

use super::{
    ask::{Question, Vocabulary},
    control::{Control, Waiver},
    error::{PolicyError, PolicyErrors},
    facets::Facets,
    facts::{EventFacts, EvidenceKind, SessionFacts},
    load::{self, Loaded, Rule},
    source::{PolicyRole, PolicySource, SCHEMA, shipped_sources},
};
use crate::{
    effect::Response,
    ids::{EventTime, digest_128},
    mutation::{Mutation, made},
};

/// What the policies say about one question. Everything in it is sorted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// Controls that are violated, whatever the unknown evidence turns out to be.
    pub violated: Vec<Hit>,
    /// Controls that could not be decided (I11).
    pub unknown: Vec<Open>,
    /// Waivers that could not be evaluated, with Cedar's reason. They excuse nothing.
    pub faulty_waivers: Vec<(usize, Arc<str>)>,
}

/// A violated control.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hit {
    /// The control's index in [`Judge::controls`].
    pub control: usize,
    /// Indexes of the waivers that match, expired ones included: see [`Judge::first_unexcused`].
    pub waivers: Vec<usize>,
}

/// A control that could not be decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Open {
    /// The control's index in [`Judge::controls`].
    pub control: usize,
    /// The unknown evidence that the decision depends on.
    pub needs: Vec<EvidenceKind>,
    /// Cedar's reason, where the control could not be evaluated.
    pub error: Option<Arc<str>>,
    /// Indexes of the waivers that match, expired ones included: whichever way it is decided, they excuse it.
    pub waivers: Vec<usize>,
}

/// Controls and waivers, loaded and checked.
pub struct Judge {
    controls: Vec<Control>,
    waivers: Vec<Waiver>,
    session: Rules,
    event: Rules,
    vocabulary: Vocabulary,
    authorizer: Authorizer,
    hash: Arc<str>,
}

/// What is asked for one action.
struct Rules {
    /// Each control by itself: its index, its policy and the bits of the evidence it mentions.
    controls: Vec<(usize, PolicySet, u16)>,
    /// All waivers; a policy's id is the waiver's index.
    waivers: PolicySet,
    /// What any of them mentions.
    facets: Facets,
    /// Bits of the evidence that controls mention which do more than report.
    pressing: u16,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Outcome {
    Violated,
    Clear,
    Error(Arc<str>),
}

impl fmt::Debug for Judge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Judge")
            .field("hash", &self.hash)
            .field("controls", &self.controls.len())
            .field("waivers", &self.waivers.len())
            .finish_non_exhaustive()
    }
}

impl Judge {
    /// Loads and checks policies. The order of `sources` does not matter.
    ///
    /// # Errors
    /// Every mistake in every file; nothing is loaded then.
    pub fn load(sources: &[PolicySource]) -> Result<Self, PolicyErrors> {
        let loaded = load::load(sources)?;
        let session = Rules::new(&loaded, |session, _| session).map_err(internal)?;
        let event = Rules::new(&loaded, |_, event| event).map_err(internal)?;
        Ok(Self {
            controls: loaded.controls.into_iter().map(|rule| rule.item).collect(),
            waivers: loaded.waivers.into_iter().map(|rule| rule.item).collect(),
            session,
            event,
            vocabulary: Vocabulary::new().map_err(internal)?,
            authorizer: Authorizer::new(),
            hash: hash(sources),
        })
    }

    /// Loads the controls that ship with the product, without waivers.
    pub fn shipped() -> Result<Self, PolicyErrors> {
        Self::load(&shipped_sources())
    }

    /// The hash of the schema and all policy texts: 32 hexadecimal digits. It does not depend on names or order of files.
    pub fn policy_hash(&self) -> &Arc<str> {
        &self.hash
    }

    /// The controls, sorted by id.
    pub fn controls(&self) -> &[Control] {
        &self.controls
    }

    /// The control at `index`, as answers give it.
    ///
    /// # Panics
    /// Where `index` comes from another judge with more controls.
    pub fn control(&self, index: usize) -> &Control {
        &self.controls[index]
    }

    /// The waivers, sorted by id.
    pub fn waivers(&self) -> &[Waiver] {
        &self.waivers
    }

    /// The waiver at `index`, as answers give it.
    ///
    /// # Panics
    /// Where `index` comes from another judge with more waivers.
    pub fn waiver(&self, index: usize) -> &Waiver {
        &self.waivers[index]
    }

    /// The evidence that controls of sessions mention: what has to be gathered, and nothing else.
    pub fn evidence(&self) -> impl Iterator<Item = EvidenceKind> + use<> {
        EvidenceKind::of_bits(self.session.facets.evidence())
    }

    /// The evidence whose absence somebody has to hear of: what controls of sessions mention that do more than report.
    pub fn pressing_evidence(&self) -> impl Iterator<Item = EvidenceKind> + use<> {
        EvidenceKind::of_bits(self.session.pressing)
    }

    /// The waivers that no longer work at `now`.
    pub fn expired_waivers(&self, now: EventTime) -> impl Iterator<Item = &Waiver> {
        self.waivers.iter().filter(move |waiver| !waiver.valid_at(now))
    }

    /// The first instant at or after `since` at which none of `waivers` works (I16): when a violation that lasts from
    /// `since` counts.
    pub fn first_unexcused(&self, waivers: &[usize], since: EventTime) -> EventTime {
        if made(Mutation::WaiverWithoutExpiry) && !waivers.is_empty() {
            return EventTime(i64::MAX);
        }
        waivers.iter().map(|index| self.waiver(*index).expires).fold(since, EventTime::max)
    }

    /// Judges a session, asking Cedar.
    pub fn session(&self, facts: &SessionFacts<'_>) -> Answer {
        let evidence = facts.evidence;
        let unknown = !(evidence.yes_bits() | evidence.no_bits());
        self.answer(&self.session, self.vocabulary.session(facts), evidence.yes_bits(), unknown)
    }

    /// Judges an event outside a session, asking Cedar.
    pub fn event(&self, facts: &EventFacts<'_>) -> Answer {
        self.answer(&self.event, self.vocabulary.event(facts), 0, 0)
    }

    pub(super) fn session_facets(&self) -> Facets {
        self.session.facets
    }

    pub(super) fn event_facets(&self) -> Facets {
        self.event.facets
    }

    fn answer(&self, rules: &Rules, question: Result<Question, String>, yes: u16, unknown: u16) -> Answer {
        let asked = question.and_then(|question| Asked::new(&self.authorizer, question, yes));
        let mut asked = match asked {
            Ok(asked) => asked,
            Err(error) => return rules.all_open(&error),
        };
        let mut answer = Answer::default();
        for (control, policy, mentioned) in &rules.controls {
            let (outcome, needs) = asked.decide(policy, mentioned & unknown);
            let error = match outcome {
                Outcome::Clear if needs == 0 => continue,
                Outcome::Violated if needs == 0 => {
                    answer.violated.push(Hit { control: *control, waivers: Vec::new() });
                    continue;
                }
                Outcome::Clear | Outcome::Violated => None,
                Outcome::Error(error) => Some(error),
            };
            let needs = EvidenceKind::of_bits(needs).collect();
            answer.unknown.push(Open { control: *control, needs, error, waivers: Vec::new() });
        }
        if !answer.violated.is_empty() || !answer.unknown.is_empty() {
            self.add_waivers(&mut answer, rules, &asked);
        }
        answer
    }

    fn add_waivers(&self, answer: &mut Answer, rules: &Rules, asked: &Asked<'_>) {
        if rules.waivers.is_empty() {
            return;
        }
        let response = self.authorizer.is_authorized(&asked.plain, &rules.waivers, &asked.question.entities);
        let index_of = |id: &PolicyId| id.to_string().parse::<usize>().ok();
        let mut matching: Vec<usize> = response.diagnostics().reason().filter_map(index_of).collect();
        matching.sort_unstable();
        let excusing = |control: usize| {
            matching.iter().copied().filter(|index| self.waiver(*index).controls.contains(&control)).collect()
        };
        for hit in &mut answer.violated {
            hit.waivers = excusing(hit.control);
        }
        for open in &mut answer.unknown {
            open.waivers = excusing(open.control);
        }
        answer.faulty_waivers = response
            .diagnostics()
            .errors()
            .filter_map(|AuthorizationError::PolicyEvaluationError(error)| {
                Some((index_of(error.policy_id())?, error.inner().to_string().into()))
            })
            .collect();
        answer.faulty_waivers.sort();
    }
}

impl Rules {
    fn new(loaded: &Loaded, applies: impl Fn(bool, bool) -> bool) -> Result<Self, String> {
        let (controls, waivers) = (Vec::new(), PolicySet::new());
        let mut rules = Self { controls, waivers, facets: Facets::default(), pressing: 0 };
        for (index, rule) in loaded.controls.iter().enumerate() {
            if applies(rule.session, rule.event) {
                let mut policies = PolicySet::new();
                add(&mut policies, rule, index)?;
                rules.controls.push((index, policies, rule.facets.evidence()));
                rules.facets.join(rule.facets);
                if rule.item.response != Response::Report {
                    rules.pressing |= rule.facets.evidence();
                }
            }
        }
        for (index, rule) in loaded.waivers.iter().enumerate() {
            if applies(rule.session, rule.event) {
                add(&mut rules.waivers, rule, index)?;
                rules.facets.join(rule.facets);
            }
        }
        Ok(rules)
    }

    fn all_open(&self, error: &str) -> Answer {
        let error: Arc<str> = error.into();
        let open = |control: &(usize, PolicySet, u16)| Open {
            control: control.0,
            needs: Vec::new(),
            error: Some(Arc::clone(&error)),
            waivers: Vec::new(),
        };
        Answer { unknown: self.controls.iter().map(open).collect(), ..Answer::default() }
    }
}

fn add<T>(policies: &mut PolicySet, rule: &Rule<T>, index: usize) -> Result<(), String> {
    policies.add(rule.policy.new_id(PolicyId::new(index.to_string()))).map_err(|error| error.to_string())
}

/// A question, and the requests already made of it.
struct Asked<'j> {
    authorizer: &'j Authorizer,
    question: Question,
    /// Bits of the evidence known to be so.
    yes: u16,
    /// The request with all unknown evidence false.
    plain: Request,
    /// Requests with some unknown evidence true, by the bits of all evidence that is true in them.
    others: Vec<(u16, Request)>,
}

impl<'j> Asked<'j> {
    fn new(authorizer: &'j Authorizer, question: Question, yes: u16) -> Result<Self, String> {
        let plain = question.request(yes, None)?;
        Ok(Self { authorizer, question, yes, plain, others: Vec::new() })
    }

    /// The outcome for `policy`, and the bits of the `open` evidence that it depends on. Where it depends on any, the
    /// outcome is meaningful only as the first error.
    fn decide(&mut self, policy: &PolicySet, open: u16) -> (Outcome, u16) {
        let mut outcomes: Vec<(u16, Outcome)> = Vec::new();
        let mut part = 0_u16;
        loop {
            outcomes.push((part, self.outcome(policy, part)));
            // The next subset of the bits of `open`, in rising order.
            part = part.wrapping_sub(open) & open;
            if part == 0 {
                break;
            }
        }
        let outcome_of = |part: u16| outcomes.iter().find(|(at, _)| *at == part).map(|(_, outcome)| outcome);
        let needs = EvidenceKind::of_bits(open)
            .map(EvidenceKind::bit)
            .filter(|bit| outcomes.iter().any(|(part, outcome)| outcome_of(part ^ bit) != Some(outcome)))
            .fold(0, |needs, bit| needs | bit);
        let error = outcomes.iter().find(|(_, outcome)| matches!(outcome, Outcome::Error(_)));
        let (_, outcome) = error.unwrap_or(&outcomes[0]);
        (outcome.clone(), needs)
    }

    fn outcome(&mut self, policy: &PolicySet, part: u16) -> Outcome {
        let yes = self.yes | part;
        if part != 0 && !self.others.iter().any(|(at, _)| *at == yes) {
            match self.question.request(yes, None) {
                Ok(request) => self.others.push((yes, request)),
                Err(error) => return Outcome::Error(error.into()),
            }
        }
        let request = self.others.iter().find(|(at, _)| *at == yes).map_or(&self.plain, |(_, request)| request);
        evaluate(self.authorizer, request, policy, &self.question.entities)
    }
}

fn evaluate(authorizer: &Authorizer, request: &Request, policy: &PolicySet, entities: &Entities) -> Outcome {
    let response = authorizer.is_authorized(request, policy, entities);
    let diagnostics = response.diagnostics();
    if let Some(AuthorizationError::PolicyEvaluationError(error)) = diagnostics.errors().next() {
        return Outcome::Error(error.inner().to_string().into());
    }
    if diagnostics.reason().next().is_some() { Outcome::Violated } else { Outcome::Clear }
}

fn hash(sources: &[PolicySource]) -> Arc<str> {
    let mut texts: Vec<(PolicyRole, &str)> = sources.iter().map(|source| (source.role, source.text.as_str())).collect();
    texts.sort_unstable();
    let mut content = Vec::new();
    for (role, text) in std::iter::once((PolicyRole::Controls, SCHEMA)).chain(texts) {
        content.push(role as u8);
        content.extend_from_slice(&(text.len() as u64).to_le_bytes());
        content.extend_from_slice(text.as_bytes());
    }
    format!("{:032x}", digest_128(&content)).into()
}

/// A mistake of the product itself, which its own tests find.
fn internal(message: String) -> PolicyErrors {
    let file = "sessionwarden.cedarschema".to_owned();
    PolicyErrors(vec![PolicyError { file, line: 1, column: 1, message, hint: None }])
}
