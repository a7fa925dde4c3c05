//! Safe files, command runner, clock and lock. No policy.
