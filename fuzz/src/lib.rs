//! Inputs made of bytes, and what must hold for every one of them.
//!
//! The targets are tests of this crate, so that an engine finds them all in one binary.
#![cfg(test)]

mod bytes;
mod iam;
mod targets;
