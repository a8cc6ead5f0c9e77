//! The DynamoDB backend: the contract on two servers, faults on the way to them, tables, and what a session costs.
#![cfg(feature = "aws")]

mod cost;
mod expiry;
mod faults;
mod fences;
#[path = "../histories/mod.rs"]
mod histories;
mod leases;
mod proxy;
mod servers;
mod shards;
mod suite;
mod tables;
