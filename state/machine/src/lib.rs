//! The pure core of Sessionwarden: decode, decide, derive.
//!
//! Nothing in here reads a clock, draws a random number or touches the world; the shell passes bytes, times and
//! answers in, and performs the effects that come out.

pub mod account;
pub mod compliance;
pub mod decode;
pub mod document;
pub mod effect;
pub mod ids;
pub mod incident;
pub mod invariants;
pub mod lease;
#[doc(hidden)]
pub mod mutation;
pub mod permission;
pub mod place;
pub mod posture;
pub mod recheck;
pub mod register;
pub mod scp;
pub mod session;
pub mod settings;
pub mod wanted;
