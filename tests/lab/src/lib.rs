//! A lab of real Debian hosts on one machine, for scenarios, the demo and benchmarks.
