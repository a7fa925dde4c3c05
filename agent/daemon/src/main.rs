//! The agent's program: everything is in the library beside it.

fn main() {}
