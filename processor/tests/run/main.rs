//! The live service in process, on a virtual clock: the demonstration, hands and stores that fail, events that are
//! lost, repeated or late, and every scenario of the model.

mod demonstration;
mod evidence;
mod forgotten;
mod hands;
mod hands_that_fail;
mod order;
mod parked;
mod quarantine;
mod races;
mod restoring;
mod scenarios;
mod stage;
mod store_errors;
mod writes;
