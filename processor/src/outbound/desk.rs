//! Which notifications leave at once, which were told already, and which wait for a digest.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

use serde_json::json;
use sessionwarden_machine::{
    effect::Severity,
    ids::{AccountId, EffectId, Now},
};

use super::message::{Message, name_of, subject};

/// How many ids are remembered as told, in one desk.
const TOLD_MAX: usize = 16_384;
/// How many ids one digest names; it leaves when it has so many.
const DIGEST_IDS_MAX: usize = 500;
/// How many rows one digest has; what fits into none of them counts in the last.
const ROWS_MAX: usize = 100;

/// Bounds of a [`Desk`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeskLimits {
    /// How many messages of one severity leave at once before a digest takes the rest, at least 1.
    pub burst: u32,
    /// After how many milliseconds one more may leave, at least 1.
    pub refill_ms: i64,
    /// How long the first message in a digest waits at most, in milliseconds.
    pub digest_ms: i64,
}

impl Default for DeskLimits {
    /// 10 at once, one more every 6 s, a digest after 60 s.
    fn default() -> Self {
        Self { burst: 10, refill_ms: 6_000, digest_ms: 60_000 }
    }
}

/// What becomes of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// It was told before.
    Known,
    /// It leaves now.
    Now,
    /// It waits for the digest.
    Held,
}

/// What one audience has been told and is still to be told. Each severity has its own allowance, so that many small things
/// cannot hide a large one.
#[derive(Debug)]
pub struct Desk {
    limits: DeskLimits,
    /// When each severity's allowance will be whole again.
    whole_at: BTreeMap<Severity, Now>,
    told: BTreeSet<EffectId>,
    told_in_order: VecDeque<EffectId>,
    held: BTreeMap<EffectId, Row>,
    held_since: Option<Now>,
}

/// What a digest counts together.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Row {
    severity: Severity,
    kind: &'static str,
    control: Arc<str>,
    account: Option<AccountId>,
    region: Arc<str>,
}

impl Desk {
    /// A desk that has told nothing.
    pub fn new(limits: DeskLimits) -> Self {
        Self {
            limits,
            whole_at: BTreeMap::new(),
            told: BTreeSet::new(),
            told_in_order: VecDeque::new(),
            held: BTreeMap::new(),
            held_since: None,
        }
    }

    /// Whether a digest is waiting.
    pub(super) fn is_waiting(&self) -> bool {
        self.held_since.is_some()
    }

    /// What became of a message, where that is decided.
    pub(super) fn past_turn(&self, id: &EffectId) -> Option<Turn> {
        if self.told.contains(id) {
            return Some(Turn::Known);
        }
        self.held.contains_key(id).then_some(Turn::Held)
    }

    /// What becomes of a message. One that leaves has used its allowance, whether or not the call succeeds.
    pub(super) fn turn(&mut self, message: &Message, now: Now) -> Turn {
        if let Some(turn) = self.past_turn(&message.id) {
            return turn;
        }
        let refill_ms = self.limits.refill_ms.max(1);
        let whole_at = self.whole_at.entry(message.severity).or_insert(now);
        let used_until = (*whole_at).max(now).plus_ms(refill_ms);
        if used_until.0 - now.0 <= refill_ms.saturating_mul(i64::from(self.limits.burst.max(1))) {
            *whole_at = used_until;
            return Turn::Now;
        }
        if self.held.len() < DIGEST_IDS_MAX {
            self.held.insert(
                message.id.clone(),
                Row {
                    severity: message.severity,
                    kind: message.kind,
                    control: Arc::clone(&message.control),
                    account: message.account,
                    region: Arc::clone(&message.region),
                },
            );
            self.held_since.get_or_insert(now);
        }
        Turn::Held
    }

    /// Remembers that a message was told.
    pub(super) fn told(&mut self, id: &EffectId) {
        self.held.remove(id);
        if self.told.insert(id.clone()) {
            self.told_in_order.push_back(id.clone());
        }
        while self.told_in_order.len() > TOLD_MAX {
            if let Some(oldest) = self.told_in_order.pop_front() {
                self.told.remove(&oldest);
            }
        }
        if self.held.is_empty() {
            self.held_since = None;
        }
    }

    /// The digest, when it is time or `early`, and the ids it tells of. The same until [`Self::told`] is called for these
    /// ids.
    pub(super) fn digest(&self, now: Now, early: bool) -> Option<(Message, Vec<EffectId>)> {
        let since = self.held_since?;
        if !early && now < since.plus_ms(self.limits.digest_ms) && self.held.len() < DIGEST_IDS_MAX {
            return None;
        }
        let ids: Vec<EffectId> = self.held.keys().cloned().collect();
        Some((digest(&self.held), ids))
    }
}

/// The one account that all have, and the one region.
fn common<T: PartialEq + Clone>(mut all: impl Iterator<Item = T>) -> Option<T> {
    let first = all.next()?;
    all.all(|other| other == first).then_some(first)
}

fn digest(held: &BTreeMap<EffectId, Row>) -> Message {
    let mut counts: BTreeMap<&Row, usize> = BTreeMap::new();
    for row in held.values() {
        *counts.entry(row).or_default() += 1;
    }
    let severity = held.values().map(|row| row.severity).max().unwrap_or(Severity::Info);
    let account = common(held.values().map(|row| row.account)).flatten();
    let region = common(held.values().map(|row| Arc::clone(&row.region))).unwrap_or_default();
    let control = common(held.values().map(|row| Arc::clone(&row.control))).unwrap_or_else(|| "digest".into());
    let mut sentences = vec![format!("{} notifications came too quickly to be sent one by one.", held.len())];
    let mut rows = Vec::new();
    // The worst first.
    for (row, count) in counts.iter().rev().take(ROWS_MAX) {
        let place = row.account.map(|account| format!(" in {account} {}", row.region)).unwrap_or_default();
        sentences.push(format!("{count} × {} {} {}{place}.", name_of(row.severity), row.kind, row.control));
        rows.push(json!({
            "count": count, "severity": row.severity, "kind": row.kind, "control": row.control,
            "account": row.account, "region": row.region,
        }));
    }
    let left: usize = counts.iter().rev().skip(ROWS_MAX).map(|(_, count)| count).sum();
    if left > 0 {
        sentences.push(format!("{left} others; the block below names them by id."));
    }
    let ids: Vec<&EffectId> = held.keys().collect();
    // The digest's own id comes from what it tells of, so that a repeated one is recognised.
    let content = ids.iter().map(|id| &*id.0).collect::<Vec<_>>().join("\n");
    let id = EffectId(format!("digest/{}", sessionwarden_machine::ids::EventId::of_content(content.as_bytes())).into());
    let object = json!({
        "sessionwarden": 1, "kind": "digest", "id": id, "counts": rows, "others": left, "ids": ids,
    });
    let place = account.map_or_else(|| "several accounts".to_owned(), |account| format!("{account} {region}"));
    Message {
        subject: subject(severity, &format!("{} notifications in one", held.len()), place.trim_end()),
        body: Message::body_of(&sentences, &object),
        object,
        kind: "digest",
        severity,
        control,
        causes: Vec::new(),
        account,
        region,
        id,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Now = Now(1_795_000_000_000);

    fn message(id: usize, severity: Severity) -> Message {
        Message {
            id: EffectId(format!("finding/{id}").into()),
            subject: "s".into(),
            body: "b".into(),
            object: json!({}),
            kind: "finding",
            severity,
            control: "document".into(),
            causes: Vec::new(),
            account: AccountId::new(1 + id as u64 % 2),
            region: "eu-west-1".into(),
        }
    }

    fn desk() -> Desk {
        Desk::new(DeskLimits { burst: 2, refill_ms: 1_000, digest_ms: 5_000 })
    }

    #[test]
    fn many_small_things_do_not_hide_a_large_one() {
        let mut desk = desk();
        let turns: Vec<Turn> = (0..5).map(|id| desk.turn(&message(id, Severity::Low), NOW)).collect();
        assert_eq!(turns, [Turn::Now, Turn::Now, Turn::Held, Turn::Held, Turn::Held]);
        assert_eq!(desk.turn(&message(5, Severity::Critical), NOW), Turn::Now);
        assert_eq!(desk.turn(&message(6, Severity::Low), NOW.plus_ms(999)), Turn::Held);
        assert_eq!(desk.turn(&message(7, Severity::Low), NOW.plus_ms(1_000)), Turn::Now);
        assert_eq!(desk.turn(&message(2, Severity::Low), NOW.plus_ms(60_000)), Turn::Held, "it waits already");
    }

    #[test]
    fn what_was_told_is_not_told_again() {
        let mut desk = desk();
        let one = message(1, Severity::Low);
        assert_eq!(desk.turn(&one, NOW), Turn::Now);
        // The call failed: nothing was told.
        assert_eq!(desk.turn(&one, NOW), Turn::Now);
        desk.told(&one.id);
        assert_eq!(desk.turn(&one, NOW), Turn::Known);
        for id in 0..TOLD_MAX {
            desk.told(&message(10 + id, Severity::Low).id);
        }
        assert_eq!(desk.turn(&one, NOW.plus_ms(60_000)), Turn::Now, "memory is bounded");
        assert_eq!((desk.told.len(), desk.told_in_order.len()), (TOLD_MAX, TOLD_MAX));
    }

    #[test]
    fn a_digest_counts_what_was_held_and_names_it() {
        let mut desk = desk();
        for id in 0..12 {
            desk.turn(&message(id, Severity::Medium), NOW);
        }
        assert_eq!(desk.digest(NOW.plus_ms(4_999), false), None);
        let (digest, ids) = desk.digest(NOW.plus_ms(5_000), false).unwrap();
        assert_eq!(ids.len(), 10);
        assert_eq!(digest.subject, "[MEDIUM] 10 notifications in one: several accounts");
        assert_eq!((digest.severity, &*digest.control, digest.account), (Severity::Medium, "document", None));
        let (sentences, block) = digest.body.split_once("\n\n").unwrap();
        let sentences: Vec<&str> = sentences.lines().collect();
        assert_eq!(sentences[0], "10 notifications came too quickly to be sent one by one.");
        assert_eq!(sentences[1], "5 × medium finding document in 000000000002 eu-west-1.");
        let block: serde_json::Value = serde_json::from_str(block).unwrap();
        assert_eq!(block["ids"].as_array().unwrap().len(), 10);
        assert_eq!((&block["counts"][0]["count"], &block["others"]), (&json!(5), &json!(0)));
        assert_eq!(desk.digest(NOW.plus_ms(6_000), false).unwrap().0.id, digest.id, "a repeated digest is the same");
        assert_eq!(desk.digest(NOW, true).unwrap().0.id, digest.id, "nor does it change when it leaves early");
        for id in &ids {
            desk.told(id);
        }
        assert_eq!(desk.digest(NOW.plus_ms(60_000), true), None);
        assert_eq!(desk.turn(&message(5, Severity::Medium), NOW.plus_ms(60_000)), Turn::Known);
    }

    #[test]
    fn a_full_digest_leaves_at_once() {
        let mut desk = desk();
        for id in 0..1_000 {
            let mut one = message(id, Severity::Low);
            one.control = format!("control-{id}").into();
            desk.turn(&one, NOW);
        }
        let (digest, ids) = desk.digest(NOW, false).unwrap();
        assert_eq!(ids.len(), DIGEST_IDS_MAX);
        let block: serde_json::Value = serde_json::from_str(digest.body.split_once("\n\n").unwrap().1).unwrap();
        assert_eq!((block["counts"].as_array().unwrap().len(), &block["others"]), (ROWS_MAX, &json!(400)));
    }
}
