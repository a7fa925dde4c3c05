//! Lines for the journal, with their kind and what they are about as fields, by journald's own protocol; without a journal
//! on standard error. Hostile text is made harmless.

use std::error::Error;
use std::io::{self, Write};
use std::os::unix::net::UnixDatagram;
use std::path::Path;

use tenure_areas::area::Actor;
use tenure_sys::text;
use tenure_trust::PolicyVersion;

use crate::areas::Area;

/// Where journald takes entries (systemd's "Native Journal Protocol").
const SOCKET: &str = "/run/systemd/journal/socket";
/// The service's name in the journal, whoever starts it.
const IDENTIFIER: &str = "tenure-agent";
/// Longest line in characters.
const LINE: usize = 2000;
/// Longest other field in characters.
const FIELD: usize = 200;

/// What an entry tells: one MESSAGE_ID each, explained in `units/tenure-agent.catalog`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A part of the agent does not work.
    Fault,
    /// A part of the agent works another way than wanted.
    Limp,
    /// Another policy is in force.
    PolicyInForce,
    /// A policy was offered and not taken.
    PolicyNotTaken,
    /// What somebody changed is again as the policy says.
    Restored,
    /// The host was changed because the policy or a person wanted it.
    Applied,
    /// One step was carried out.
    Step,
    /// One step did not work.
    StepFailed,
    /// A plan was not carried out, because it would lock people out or break a promise.
    PlanRefused,
    /// A ruleset on trial was confirmed.
    TrialConfirmed,
    /// An area was given back.
    Lifted,
    /// Records cannot be written.
    RecordsFail,
    /// Records are written again.
    RecordsResume,
    /// An area is restored less often, because somebody changes it again and again.
    RestoredLessOften,
}

impl Kind {
    /// All of them, for the catalogue's test.
    #[cfg(test)]
    const ALL: [Self; 14] = [
        Self::Fault,
        Self::Limp,
        Self::PolicyInForce,
        Self::PolicyNotTaken,
        Self::Restored,
        Self::Applied,
        Self::Step,
        Self::StepFailed,
        Self::PlanRefused,
        Self::TrialConfirmed,
        Self::Lifted,
        Self::RecordsFail,
        Self::RecordsResume,
        Self::RestoredLessOften,
    ];

    /// Its MESSAGE_ID: given once and never to another kind.
    pub fn id(self) -> &'static str {
        match self {
            Self::Fault => "cd810ea4ab9e42b5a8e5bb7c1bc26ffb",
            Self::Limp => "1d303aa8b4154d029a46238ea2cffedc",
            Self::PolicyInForce => "3e38488a39204ebe96b39721939b7cd6",
            Self::PolicyNotTaken => "61ee7ea9dbb9418487add22cfb59d87b",
            Self::Restored => "e963938ecad44cd1844fbab27a903e19",
            Self::Applied => "0878caa6db6746bfa0eb59f924443900",
            Self::Step => "627f69571f1e47b8add91b31db82143f",
            Self::StepFailed => "17aa4959f42c4c6aa016dfc6d6b0ab3f",
            Self::PlanRefused => "2ddfc918368644d6ae56d09444c12928",
            Self::TrialConfirmed => "81c97353bc4a42f19b78823e1df4db4b",
            Self::Lifted => "7d30d3b4c5e749d5b2eba1caae66e96f",
            Self::RecordsFail => "1e7dcf982d0f447cb0d6e4433ba799b0",
            Self::RecordsResume => "039389cd467d4feeb7c183a4a0808961",
            Self::RestoredLessOften => "a0374b1b427c42928a799c4b122b2dff",
        }
    }

    /// syslog(3)'s number: 3 error, 4 warning, 5 notice.
    fn priority(self) -> u8 {
        match self {
            Self::Fault | Self::PolicyNotTaken | Self::StepFailed | Self::PlanRefused | Self::RecordsFail => {
                3
            }
            Self::Limp | Self::RestoredLessOften => 4,
            Self::PolicyInForce
            | Self::Restored
            | Self::Applied
            | Self::Step
            | Self::TrialConfirmed
            | Self::Lifted
            | Self::RecordsResume => 5,
        }
    }
}

/// A part of the agent does not work, and a person must look at it.
pub fn error(message: &str) {
    Entry::new(Kind::Fault, message).write();
}

/// Something went another way than wanted, and the agent goes on.
pub fn warning(message: &str) {
    Entry::new(Kind::Limp, message).write();
}

/// An error with all its causes on one line.
pub fn chain(error: &dyn Error) -> String {
    let mut out = error.to_string();
    let mut cause = error.source();
    while let Some(source) = cause {
        out.push_str(": ");
        out.push_str(&source.to_string());
        cause = source.source();
    }
    out
}

/// One entry of the journal.
#[derive(Debug, Clone)]
#[must_use = "an entry is written with `write`"]
pub struct Entry {
    kind: Kind,
    message: String,
    fields: Vec<(&'static str, String)>,
}

impl Entry {
    /// An entry that says this.
    pub fn new(kind: Kind, message: &str) -> Self {
        Self { kind, message: text::neutral(message.as_bytes(), LINE), fields: Vec::new() }
    }

    /// In which area: `TENURE_AREA=`.
    pub fn area(self, area: Area) -> Self {
        self.field("TENURE_AREA", area.word())
    }

    /// Under which policy: `TENURE_VERSION=`; a standalone host's has none.
    pub fn version(self, version: Option<PolicyVersion>) -> Self {
        match version {
            Some(version) => self.field("TENURE_VERSION", &version.to_string()),
            None => self,
        }
    }

    /// By which rule: `TENURE_RULE=`.
    pub fn rule(self, rule: Option<&str>) -> Self {
        match rule {
            Some(rule) => self.field("TENURE_RULE", rule),
            None => self,
        }
    }

    /// Whose change it answers: `TENURE_ACTOR_PID=` and `TENURE_ACTOR_COMM=`.
    pub fn actor(self, actor: Option<&Actor>) -> Self {
        match actor {
            Some(Actor { pid, comm }) => {
                self.field("TENURE_ACTOR_PID", &pid.to_string()).field("TENURE_ACTOR_COMM", comm)
            }
            None => self,
        }
    }

    fn field(mut self, name: &'static str, value: &str) -> Self {
        self.fields.push((name, text::neutral(value.as_bytes(), FIELD)));
        self
    }

    /// Writes it: a service to the journal, a command to its terminal. Never waits; what cannot be written is lost.
    pub fn write(self) {
        if cfg!(test) {
            // Tests read what is shown and recorded; their own output stays readable.
            return;
        }
        if !crate::output::is_service() {
            // When standard error is gone there is nobody left to tell.
            let _ = writeln!(io::stderr().lock(), "tenure-agent: {}", self.message);
        } else if send(Path::new(SOCKET), &self.datagram()).is_err() {
            // systemd reads the priority of such a line (sd-daemon(3)); the fields are lost. As above.
            let _ = writeln!(io::stderr().lock(), "<{}>{}", self.kind.priority(), self.message);
        }
    }

    /// `NAME=value` lines. No value has a line end, because all of them went through `neutral`.
    fn datagram(&self) -> Vec<u8> {
        let Self { kind, message, fields } = self;
        let mut out = format!(
            "MESSAGE={message}\nMESSAGE_ID={}\nPRIORITY={}\nSYSLOG_IDENTIFIER={IDENTIFIER}\n",
            kind.id(),
            kind.priority()
        );
        for (name, value) in fields {
            out.push_str(name);
            out.push('=');
            out.push_str(value);
            out.push('\n');
        }
        out.into_bytes()
    }
}

fn send(to: &Path, datagram: &[u8]) -> io::Result<()> {
    let socket = UnixDatagram::unbound()?;
    // A journal that does not keep up must not hold a lane.
    socket.set_nonblocking(true)?;
    socket.send_to(datagram, to).map(drop)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const CATALOGUE: &str = include_str!("../units/tenure-agent.catalog");

    #[test]
    fn every_kind_has_its_own_entry_in_the_catalogue() {
        let kinds: BTreeSet<&str> = Kind::ALL.iter().map(|kind| kind.id()).collect();
        assert_eq!(kinds.len(), Kind::ALL.len(), "two kinds share an id");
        let explained: Vec<&str> =
            CATALOGUE.lines().filter_map(|line| line.strip_prefix("-- ")).map(str::trim).collect();
        assert_eq!(explained.iter().copied().collect::<BTreeSet<_>>(), kinds);
        assert_eq!(explained.len(), kinds.len(), "one is explained twice");
        for entry in CATALOGUE.split("\n-- ").skip(1) {
            assert!(entry.contains("\nSubject: ") && entry.contains("\nDefined-By: Tenure\n"), "{entry}");
        }
    }

    #[test]
    fn an_entry_arrives_whole_and_a_value_cannot_add_a_field() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("socket");
        let journal = UnixDatagram::bind(&path).expect("bound");
        let actor = Actor { pid: 4711, comm: "nft\nPRIORITY=0".into() };
        let entry = Entry::new(Kind::Restored, "firewall: a\nMESSAGE_ID=0 \u{1b}[2J")
            .area(Area::Firewall)
            .version(Some(PolicyVersion(12)))
            .rule(Some("in:web"))
            .actor(Some(&actor));
        send(&path, &entry.datagram()).expect("sent");
        let mut bytes = [0; 4096];
        let length = journal.recv(&mut bytes).expect("received");
        assert_eq!(
            String::from_utf8_lossy(&bytes[..length]),
            "MESSAGE=firewall: a MESSAGE_ID=0 \\u{1b}[2J\nMESSAGE_ID=e963938ecad44cd1844fbab27a903e19\nPRIORITY=5\n\
             SYSLOG_IDENTIFIER=tenure-agent\nTENURE_AREA=firewall\nTENURE_VERSION=12\nTENURE_RULE=in:web\n\
             TENURE_ACTOR_PID=4711\nTENURE_ACTOR_COMM=nft PRIORITY=0\n"
        );
    }

    #[test]
    fn without_a_journal_it_says_so_and_a_full_one_does_not_hold() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("socket");
        assert!(send(&path, b"MESSAGE=x\n").is_err());
        let journal = UnixDatagram::bind(&path).expect("bound");
        let full = (0..100_000).find_map(|_| send(&path, &[b'x'; 4096]).err());
        assert_eq!(full.expect("nobody reads").kind(), io::ErrorKind::WouldBlock);
        drop(journal);
    }
}
