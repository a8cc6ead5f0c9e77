//! The live service in process, on a virtual clock: the demonstration, hands and stores that fail, events that are
//! lost, repeated or late.

mod demonstration;
mod hands;
mod hands_that_fail;
mod order;
mod races;
mod stage;
mod store_errors;
