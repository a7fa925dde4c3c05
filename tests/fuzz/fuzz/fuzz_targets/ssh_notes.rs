//! `ssh_notes` without end.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tenure_fuzz::run("ssh_notes", bytes));
