//! Scenarios in the lab; see tests/scenarios/tests.
