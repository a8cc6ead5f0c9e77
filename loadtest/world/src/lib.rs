//! A small deterministic model of an AWS organisation: accounts, nodes, roles, documents, sessions, logs, quarantine.
//!
//! It answers the questions that the control plane answers and emits the CloudTrail events that its own changes cause.
//! It has no clock and no threads: time is passed in, chance comes from a seed.

pub mod act;
mod apply;
pub mod background;
pub mod catalogue;
pub mod change;
pub mod cloudtrail;
mod containers;
pub mod control_plane;
pub mod demo;
pub mod dice;
pub mod estate;
pub mod organisation;
pub mod scenario;
pub mod session;
mod stream;
pub mod template;
pub mod texts;
mod told;
pub mod upload;
pub mod world;

pub use change::Change;
pub use cloudtrail::Caller;
pub use demo::Demonstration;
pub use organisation::{Account, Node, NodeKind, OrganisationShape};
pub use scenario::{Expected, Play, Scenario, scenarios};
pub use session::{LogFate, SessionDescription, SessionStatus, StartSession};
pub use world::{CallError, World};
