//! `restic_tree` without end.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tenure_fuzz::run("restic_tree", bytes));
