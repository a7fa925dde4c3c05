//! The controller over loopback TLS: honest machines and people, and hostile ones.

#[cfg(test)]
mod agreed;
#[cfg(test)]
mod bounds;
#[cfg(test)]
mod client;
#[cfg(test)]
mod enrol;
#[cfg(test)]
mod history;
#[cfg(test)]
mod hostile;
#[cfg(test)]
mod judged;
#[cfg(test)]
mod orders;
#[cfg(test)]
mod people;
#[cfg(test)]
mod policy;
#[cfg(test)]
mod records;
#[cfg(test)]
mod world;
