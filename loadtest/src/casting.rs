//! Who takes part in which session: everything about a session follows from its number and the seed, so that a
//! million live sessions need no more than their numbers.

use sessionwarden_machine::ids::AccountId;
use sessionwarden_world::{
    Account, Caller, Node, NodeKind,
    dice::{BASE36, HEX, push_symbols},
    session::{DEFAULT_DOCUMENT, UNLOGGED_DOCUMENTS},
};

/// How many sessions a stream can have.
pub const SESSIONS_MAX: u64 = 1 << 31;

const VIOLATING: u32 = 1 << 31;

/// A session's number, and whether it violates a control.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionNumber(u32);

impl SessionNumber {
    /// The session `number`, which is below [`SESSIONS_MAX`].
    pub fn new(number: u32, violating: bool) -> Self {
        Self(number & !VIOLATING | if violating { VIOLATING } else { 0 })
    }

    /// Whether it has a forbidden document or a target that is no node.
    pub fn violating(self) -> bool {
        self.0 & VIOLATING != 0
    }
}

/// A session's properties.
#[derive(Clone, Debug)]
pub struct Role<'a> {
    /// AWS's id.
    pub id: String,
    /// Who started it.
    pub caller: &'a Caller,
    /// What it was opened on.
    pub node: &'a Node,
    /// The document; absent where the request names none.
    pub document: Option<&'static str>,
    /// The other account that shares the document, which is then named by its ARN.
    pub shared_by: Option<AccountId>,
    /// Whether a reason is given.
    pub reason: bool,
}

/// Accounts and a seed, from which every session's properties follow.
#[derive(Clone, Debug)]
pub struct Casting {
    /// The accounts in which sessions run; each has at least one user, one machine and one container target.
    pub accounts: Vec<Account>,
    seed: u64,
}

impl Casting {
    /// Casts sessions among `accounts`.
    pub fn new(accounts: Vec<Account>, seed: u64) -> Self {
        Self { accounts, seed: mix(seed) }
    }

    /// The properties of one session. One in four violating sessions goes straight to a container. Half of the
    /// violating ones fall on one account in fifty, as trouble does.
    pub fn role(&self, session: SessionNumber) -> Role<'_> {
        let violating = session.violating();
        let number = u64::from(session.0 & !VIOLATING);
        let mut word = mix(self.seed ^ number);
        let mut draw = |bound: usize| {
            word = mix(word);
            ((u128::from(word) * bound as u128) >> 64) as usize
        };
        let count = self.accounts.len();
        let noisy = violating && draw(2) == 0;
        let account = &self.accounts[draw(if noisy { count.div_ceil(50) } else { count })];
        let caller = &*account.users[draw(account.users.len())];
        let contained = violating && draw(4) == 0;
        let machines: Vec<&Node> =
            account.nodes.iter().filter(|node| (node.kind == NodeKind::Container) == contained).collect();
        let node = machines[draw(machines.len())];
        let document = if violating && !contained {
            Some(UNLOGGED_DOCUMENTS[draw(UNLOGGED_DOCUMENTS.len())].0)
        } else {
            (draw(10) < 3).then_some(DEFAULT_DOCUMENT)
        };
        let other = self.accounts[draw(count)].id;
        let custom = document.is_some_and(|document| !document.starts_with("AWS-") && document != DEFAULT_DOCUMENT);
        let shared_by = (custom && draw(2) == 0).then_some(other);
        let reason = draw(2) == 0;
        let older = draw(5) == 0;
        Role { id: self.id(&caller.name, number, older), caller, node, document, shared_by, reason }
    }

    fn id(&self, name: &str, number: u64, older: bool) -> String {
        // Mixing is one to one, so ids of one stream never collide.
        let mut word = mix(self.seed.rotate_left(17) ^ number);
        let mut id = String::with_capacity(name.len() + 27);
        id.push_str(name);
        id.push('-');
        if older {
            id.push('0');
            push_hex(&mut id, word);
        } else {
            push_symbols(&mut id, BASE36, 26, || {
                word = mix(word);
                word
            });
        }
        id
    }
}

fn push_hex(out: &mut String, word: u64) {
    for at in 0..16 {
        out.push(char::from(HEX[(word >> (60 - 4 * at) & 0xf) as usize]));
    }
}

/// `SplitMix64`'s finaliser: one to one, and equal on every machine.
fn mix(word: u64) -> u64 {
    let word = word.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let word = (word ^ word >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let word = (word ^ word >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ word >> 31
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use sessionwarden_machine::ids::Now;
    use sessionwarden_world::{OrganisationShape, World};

    use super::*;

    #[test]
    fn sessions_are_told_apart_and_fit() {
        let world = World::new(OrganisationShape::default(), 1, Now(0));
        let casting = Casting::new(world.accounts().to_vec(), 1);
        let mut ids = HashSet::new();
        for number in 0..50_000 {
            let role = casting.role(SessionNumber::new(number, number % 3 == 0));
            assert!(role.id.len() <= 96);
            assert_eq!(role.id, casting.role(SessionNumber::new(number, number % 3 == 0)).id);
            assert!(ids.insert(role.id));
        }
        let older = ids.iter().filter(|id| id.rsplit('-').next().is_some_and(|tail| tail.len() == 17)).count();
        assert!((8_000..12_000).contains(&older), "{older}");
    }

    #[test]
    fn violating_sessions_have_a_reason_to_be_called_so() {
        let world = World::new(OrganisationShape::default(), 1, Now(0));
        let casting = Casting::new(world.accounts().to_vec(), 1);
        for number in 0..5_000 {
            let role = casting.role(SessionNumber::new(number, true));
            let forbidden = role.document.is_some_and(|document| document != DEFAULT_DOCUMENT);
            assert_ne!(forbidden, role.node.kind == NodeKind::Container);
            let role = casting.role(SessionNumber::new(number, false));
            assert!(role.document.is_none_or(|document| document == DEFAULT_DOCUMENT));
            assert_ne!(role.node.kind, NodeKind::Container);
        }
    }
}
