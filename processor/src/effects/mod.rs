//! Performs effects. An executor has no choice to make: what it is given is to be done, once or many times.

mod calls;
mod evidence;
mod lanes;
mod reports;
mod survey;

use std::sync::Arc;

use sessionwarden_machine::effect::RemedyResult;

pub(crate) use calls::{Answer, Caller};
pub use evidence::{Found, Question, SharedMemory, gather};
pub(crate) use lanes::{Lane, Lanes, limit_of, within};
pub use reports::{Ledger, Reports, WriteError};
pub(crate) use survey::Survey;

use crate::ports::CallError;

/// How a call ended, as the core takes it. A thing that is gone needs no ending.
fn result_of(call: Result<(), CallError>) -> RemedyResult {
    match call {
        Ok(()) => RemedyResult::Done,
        Err(CallError::Gone) => RemedyResult::Unneeded,
        Err(error @ (CallError::Throttled | CallError::Denied | CallError::Unknown)) => {
            RemedyResult::Failed(Arc::from(error.to_string()))
        }
    }
}
