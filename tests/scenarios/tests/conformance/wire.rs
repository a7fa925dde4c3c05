//! Requests to a host's ports and their answers as JSON lines, and the one way to carry a request out on any host.
//! The conformance test and the program that it runs on the lab host (agent/daemon/examples/port.rs) share this file.

use serde::{Deserialize, Serialize};
use tenure_areas::port::{
    Beneath, Command, Entry, HostRead, HostWrite, ManagedFile, ManagedPath, Owner, PortResult, Query, Stat,
};

/// One line to the program.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Line {
    /// Asks the ports.
    Port(Request),
    /// Somebody else on the host runs a line of shell.
    Outsider(String),
}

/// One call of a port.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Request {
    File { path: Beneath, owner: Owner, limit: usize },
    Dir { path: Beneath, limit: usize },
    Stat(Beneath),
    Ask(Query),
    Put(ManagedFile),
    Replace(ManagedPath, ManagedPath),
    Remove(ManagedPath),
    Tell(Command),
}

/// What came back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Answer {
    Bytes(PortResult<Vec<u8>>),
    Entries(PortResult<Vec<Entry>>),
    Stat(PortResult<Stat>),
    Done(PortResult<()>),
    /// Of an outsider: `Err` is what the shell said when it failed.
    Outsider(Result<(), String>),
}

/// Carries a request out.
pub(crate) fn perform(host: &(impl HostRead + HostWrite), request: &Request) -> Answer {
    match request {
        Request::File { path, owner, limit } => Answer::Bytes(host.file(path, *owner, *limit)),
        Request::Dir { path, limit } => Answer::Entries(host.dir(path, *limit)),
        Request::Stat(path) => Answer::Stat(host.stat(path)),
        Request::Ask(query) => Answer::Bytes(host.ask(query)),
        Request::Put(file) => Answer::Done(host.put(file)),
        Request::Replace(from, to) => Answer::Done(host.replace(from, to)),
        Request::Remove(path) => Answer::Done(host.remove(path)),
        Request::Tell(command) => Answer::Done(host.tell(command)),
    }
}
