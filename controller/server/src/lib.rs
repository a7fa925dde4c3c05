//! The controller: enrols machines, passes signed policy and admissions on, takes evidence in, judges it again, shows it.
//! It can author nothing that a machine obeys: no key that signs policy, admissions or orders is ever here.

pub mod app;
pub mod authority;
pub mod book;
pub mod cli;
pub mod config;
mod contained;
pub mod ingest;
pub mod journal;
pub mod judging;
pub mod limits;
pub mod listen;
pub mod machines;
pub mod pages;
pub mod password;
pub mod people;
pub mod problem;
mod remembered;
pub mod secret;
pub mod service;
pub mod shelf;
pub mod store;
pub mod watch;
