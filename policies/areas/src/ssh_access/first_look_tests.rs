//! What is changed of ours is put back before sshd is asked about everybody; what is judged and reported is seen whole.

use std::cell::RefCell;

use tenure_policy::resolved::Mode;

use super::tests::{enforced, section, turn};
use super::*;
use crate::fake::FakeHost;
use crate::pass::{Verdict, pass};
use crate::port::{
    Beneath, Command, Entry, HostRead, HostWrite, ManagedFile, ManagedPath, Owner, PortResult, Query, Stat,
};

/// A host that notes what sshd is asked and what is put.
struct Noting<'a>(&'a FakeHost, RefCell<Vec<&'static str>>);

impl HostRead for Noting<'_> {
    fn file(&self, path: &Beneath, owner: Owner, limit: usize) -> PortResult<Vec<u8>> {
        self.0.file(path, owner, limit)
    }
    fn dir(&self, path: &Beneath, limit: usize) -> PortResult<Vec<Entry>> {
        self.0.dir(path, limit)
    }
    fn stat(&self, path: &Beneath) -> PortResult<Stat> {
        self.0.stat(path)
    }
    fn ask(&self, query: &Query) -> PortResult<Vec<u8>> {
        if matches!(query, Query::SshdEffective { .. }) {
            self.1.borrow_mut().push("ask");
        }
        self.0.ask(query)
    }
}

impl HostWrite for Noting<'_> {
    fn put(&self, file: &ManagedFile) -> PortResult<()> {
        if file.path.as_str() == DROP_IN {
            self.1.borrow_mut().push("put");
        }
        self.0.put(file)
    }
    fn replace(&self, from: &ManagedPath, to: &ManagedPath) -> PortResult<()> {
        self.0.replace(from, to)
    }
    fn remove(&self, path: &ManagedPath) -> PortResult<()> {
        self.0.remove(path)
    }
    fn tell(&self, command: &Command) -> PortResult<()> {
        self.0.tell(command)
    }
}

#[test]
fn an_edited_drop_in_is_put_back_before_sshd_is_asked_about_everybody() {
    let changes: [&dyn Fn(&FakeHost); 2] =
        [&|host| host.write_as(DROP_IN, "PasswordAuthentication yes\n", 0, 0o644), &|host| {
            host.delete(DROP_IN)
        }];
    for change in changes {
        let host = enforced();
        change(&host);
        let noting = Noting(&host, RefCell::default());
        let observed =
            pass::<SshAccess>(&SshAccess::desired(&section()), Mode::Observe, &noting, &noting, &|| {
                host.now()
            });
        assert_eq!(observed.verdict, Verdict::Drifted);
        let all = noting.1.take().len();
        assert!(all > 2, "who only looks looks whole");
        let report =
            pass::<SshAccess>(&SshAccess::desired(&section()), Mode::Enforce, &noting, &noting, &|| {
                host.now()
            });
        assert_eq!(report.verdict, Verdict::Remediated, "{report:#?}");
        let noted = noting.1.take();
        let put = noted.iter().position(|what| *what == "put").expect("it was put");
        assert_eq!((put, noted.len()), (1, 1 + 1 + all), "one question before, all after: {noted:?}");
        assert_eq!(report.facts_of::<SshAccess>().expect("facts").probes.len(), all, "reported whole");
    }
}

#[test]
fn a_drop_in_edited_while_sshd_is_about_to_move_is_not_read_anew() {
    let host = enforced();
    host.write_as(DROP_IN, "PasswordAuthentication yes\n", 0, 0o644);
    host.write_as("/etc/ssh/sshd_config.d/50-port.conf", "Port 2222\n", 0, 0o644);
    let report = turn(&host, &section(), Mode::Enforce);
    assert_eq!(report.refusal.as_ref().map(|r| r.kind.as_str()), Some("sshd-would-move"), "{report:#?}");
}
