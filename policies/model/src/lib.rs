//! The policy language: YAML as a person writes it → parsed → resolved sections per machine.
//! Pure: takes a map of texts and reads no file; knows no area's types.

pub mod addresses;
pub mod calendar;
pub mod names;
pub mod nearest;
pub mod resolved;
pub mod services;
pub mod sizes;
