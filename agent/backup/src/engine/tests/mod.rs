//! The engine on real files, with Debian's restic as the judge.

mod common;
mod damage;
mod restores;
mod runs;
mod stock;
