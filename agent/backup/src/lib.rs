//! `tenure-backup`: what a host's backup jobs need. [`engine`] writes, reads, checks and restores restic's repository
//! format; it knows no policy, network, process or clock.

pub mod engine;
