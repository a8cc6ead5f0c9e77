//! Tests of sessions.

mod closing;
mod evidence;
mod kinds;
mod logs;
mod order;
mod resting;
mod shipped;
mod size;
pub(crate) mod support;
mod table;
mod waivers;
