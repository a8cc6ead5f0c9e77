//! Judging: facts are asked as a Cedar request, controls and waivers answer.
//!
//! A **control** is a Cedar `forbid` policy: where it matches, the control is violated. A **waiver** is a `permit`
//! policy in a second set: where it matches, it excuses the controls it names, until it expires. Evidence is
//! three-valued; Cedar only ever sees yes and no, and is asked for both where the answer is unknown.
//!
//! [`Judge`] holds the loaded policies and answers one question at a time; [`Verdicts`] remembers its answers.

mod ask;
mod control;
mod error;
mod facets;
mod facts;
mod judge;
mod key;
mod load;
mod source;
#[cfg(test)]
mod tests;
mod verdicts;

pub use control::{Control, Waiver};
pub use error::{PolicyError, PolicyErrors};
pub use facts::{DocumentKind, EventFacts, Evidence, EvidenceKind, SessionFacts, TargetKind, Tri};
pub use judge::{Answer, Hit, Judge, Open};
pub use source::{PolicyRole, PolicySource, SCHEMA, shipped_sources};
pub use verdicts::Verdicts;
