//! Single things that happen in a script.

use std::{collections::BTreeMap, sync::Arc};

use sessionwarden_machine::ids::SessionKey;

use crate::{change::Change, cloudtrail::Caller, session::StartSession, world::World};

/// One thing that happens. Sessions are told apart by slots that the script gives them.
#[expect(missing_docs, reason = "the fields say what they are")]
#[derive(Clone, Debug)]
pub enum Act {
    /// Somebody starts a session.
    Start { slot: u32, caller: Arc<Caller>, request: StartSession },
    /// Somebody opens a container by ECS Exec.
    Execute { slot: u32, caller: Arc<Caller>, region: Arc<str>, target: Arc<str> },
    /// The client of a session loses its connection.
    Disconnect { slot: u32 },
    /// Somebody resumes a session.
    Resume { slot: u32, caller: Arc<Caller> },
    /// Somebody types `exit`.
    Exit { slot: u32 },
    /// Something is changed, or another way onto a node is taken.
    Change { caller: Arc<Caller>, region: Arc<str>, change: Change },
    /// Something is done to a session's log, once it is there.
    ToLog { slot: u32, caller: Arc<Caller>, region: Arc<str>, change: fn(Arc<str>) -> Change },
    /// A node's agent dies.
    LoseAgent { node: Arc<str> },
    /// A node's agent answers again.
    FindAgent { node: Arc<str> },
    /// A call that has nothing to do with sessions.
    Background { caller: Arc<Caller>, region: Arc<str>, node: Arc<str>, role: Arc<str> },
}

/// The sessions of a script.
#[derive(Clone, Debug, Default)]
pub struct Cast {
    keys_by_slot: BTreeMap<u32, SessionKey>,
}

impl Cast {
    /// The sessions that were opened, by their slots.
    pub fn sessions(&self) -> impl Iterator<Item = &SessionKey> {
        self.keys_by_slot.values()
    }

    /// Performs one act at the world's time. A call that is refused, by a quarantine for one, is part of the show.
    pub fn perform(&mut self, world: &mut World, act: Act) {
        match act {
            Act::Start { slot, caller, request } => {
                let opened = world.start_session(&caller, &request);
                self.keys_by_slot.extend(opened.ok().map(|key| (slot, key)));
            }
            Act::Execute { slot, caller, region, target } => {
                let opened = world.execute_command(&caller, &region, &target);
                self.keys_by_slot.extend(opened.ok().map(|key| (slot, key)));
            }
            Act::Disconnect { slot } => {
                if let Some(key) = self.keys_by_slot.get(&slot) {
                    world.disconnect_session(key);
                }
            }
            Act::Resume { slot, caller } => {
                if let Some(key) = self.keys_by_slot.get(&slot) {
                    let _refused = world.resume_session(&caller, key);
                }
            }
            Act::Exit { slot } => {
                if let Some(key) = self.keys_by_slot.get(&slot) {
                    world.exit_session(key);
                }
            }
            Act::Change { caller, region, change } => {
                let _refused = world.change(&caller, &region, &change);
            }
            Act::ToLog { slot, caller, region, change } => {
                let log = self.keys_by_slot.get(&slot).and_then(|key| world.session_log(key));
                if let Some((name, _)) = log {
                    let _refused = world.change(&caller, &region, &change(name));
                }
            }
            Act::LoseAgent { node } => world.lose_agent(&node),
            Act::FindAgent { node } => world.find_agent(&node),
            Act::Background { caller, region, node, role } => world.background(&caller, &region, &node, &role),
        }
    }
}
