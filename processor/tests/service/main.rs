//! The `run` command as people start it: real files in, signals, kills, full disks, probes.

mod bad_input;
mod child;
mod endings;
mod kills;
mod probes;
mod routes;
mod sources;
