//! Architecture rules as tests; see tests/architecture/tests.
