//! `sshd_effective` without end.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tenure_fuzz::run("sshd_effective", bytes));
