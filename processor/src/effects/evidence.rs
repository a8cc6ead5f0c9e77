//! Gathers evidence: one round of questions for all due sessions of an account and region.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use sessionwarden_machine::{
    compliance::{EvidenceKind, Tri},
    ids::{AccountId, Now, SessionKey, Thing, ThingKind},
    session::{Gathered, Life, LogLook},
};

use crate::ports::{Hands, NodePosture};

/// What a session needs to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Question {
    /// Whether it is alive, and what it rests on.
    Life,
    /// Whether its log has come.
    Log,
}

fn tri(answer: Option<bool>) -> Tri {
    answer.map_or(Tri::Unknown, Tri::from)
}

/// Asks everything that one account and region's due sessions need: one description for all of them, one look at each
/// distinct node, one at the preferences. An answer that is none leaves the evidence unknown (I11).
pub async fn gather<H: Hands>(
    hands: &H,
    (account, region): (AccountId, &Arc<str>),
    questions: &BTreeMap<SessionKey, Question>,
    now: Now,
) -> Vec<(SessionKey, Gathered)> {
    let asked =
        |wanted: Question| questions.iter().filter(move |(_, question)| **question == wanted).map(|(key, _)| key);
    let living: BTreeSet<SessionKey> = asked(Question::Life).cloned().collect();
    let mut lives = BTreeMap::new();
    if !living.is_empty() {
        match hands.describe(account, region, &living).await {
            Ok(answers) => lives = answers,
            Err(error) => tracing::warn!(%account, %region, %error, "sessions cannot be described"),
        }
    }
    let mut nodes: BTreeMap<Arc<str>, Option<NodePosture>> = BTreeMap::new();
    let mut preferences = None;
    let mut gathered = Vec::new();
    for key in &living {
        let life = lives.remove(key).unwrap_or(Life::Unknown);
        let (mut evidence, mut depends) = (BTreeMap::new(), BTreeSet::new());
        if let Life::Alive(described) = &life {
            if !nodes.contains_key(&described.target) {
                let posture = hands.node(account, region, &described.target).await;
                nodes.insert(Arc::clone(&described.target), posture.ok());
            }
            let posture = nodes.get(&described.target).and_then(Option::as_ref);
            let preferences = match preferences {
                Some(known) => known,
                None => *preferences.insert(hands.preferences_as_wanted(account, region).await.ok().flatten()),
            };
            evidence.insert(EvidenceKind::LogWritable, tri(posture.and_then(|posture| posture.log_writable)));
            evidence.insert(EvidenceKind::DocumentAsWanted, tri(preferences));
            let mut rests_on = |kind, id: &Arc<str>| depends.insert(Thing { kind, account, id: Arc::clone(id) });
            rests_on(ThingKind::Node, &described.target);
            rests_on(ThingKind::Document, &described.document);
            if let Some(role) = posture.and_then(|posture| posture.role.as_ref()) {
                rests_on(ThingKind::Role, role);
            }
        }
        gathered.push((key.clone(), Gathered { at: now, life, evidence, depends, log: LogLook::Unknown }));
    }
    for key in asked(Question::Log) {
        let log = hands.look(key).await.unwrap_or(LogLook::Unknown);
        let (evidence, depends) = (BTreeMap::new(), BTreeSet::new());
        gathered.push((key.clone(), Gathered { at: now, life: Life::Unknown, evidence, depends, log }));
    }
    gathered
}
