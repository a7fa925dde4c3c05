//! What a process that runs as root needs from its machine, done carefully once: files, processes, clock, lock.
//!
//! No policy lives here: every limit, path and owner comes from the caller.

pub mod clock;
pub mod command;
pub mod conversation;
pub mod files;
pub mod lock;
pub mod proc;
pub mod progress;
pub mod room;
pub mod text;
