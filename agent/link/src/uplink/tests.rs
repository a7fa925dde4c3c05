//! The link against controllers of all kinds: an honest one, and those that forge, withhold, hang, flood and lie.

mod fake;
mod fetching;
mod orders;
mod pushing;
mod turning;
