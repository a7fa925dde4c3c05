//! Laws of every area, against the fake host: enforcing converges, a second pass has nothing to do, observing changes
//! nothing, a refused change is drift, a fault at any write leaves the management path open and the next passes
//! converge, unknown is never compliant. A new area adds one [`Law`].

use std::cell::RefCell;
use std::collections::BTreeSet;

use tenure_policy::resolved::Mode;

use crate::area::AreaSpec;
use crate::backup::Backup;
use crate::fake::{FakeHost, FakePackage, Node};
use crate::firewall::Firewall;
use crate::pass::{Report, Verdict, pass};
use crate::patch::Patch;
use crate::port::{Beneath, Entry, HostRead, Owner, PortResult, Query, Stat};
use crate::ssh_access::SshAccess;

mod cases;

/// A situation: its name and a host in it.
type Start = (&'static str, fn() -> FakeHost);

/// An area with its situations.
struct Law<A: AreaSpec> {
    section: A::Section,
    /// Hosts that are not as the section says, each made anew.
    starts: Vec<Start>,
    /// What a person does so that an operation can end.
    help: fn(&FakeHost),
    /// Is the management path open?
    open: fn(&FakeHost) -> bool,
    /// Sections that the guard must refuse, on a fresh host.
    refused: Vec<A::Section>,
    /// Questions without whose answer the area can still be judged, each with its reason beside it.
    spare: &'static [&'static str],
}

/// What happens at a write.
#[derive(Debug, Clone, Copy)]
enum Fault {
    Fails,
    Kills,
    KillsThenReboot,
    /// The disk is full from there on, while everything else goes on.
    FillsTheDisk,
}

/// Each fault with nobody there, and with a person who helps as it strikes.
const FAULTS: [(Fault, bool); 8] = [
    (Fault::Fails, false),
    (Fault::Kills, false),
    (Fault::KillsThenReboot, false),
    (Fault::FillsTheDisk, false),
    (Fault::Fails, true),
    (Fault::Kills, true),
    (Fault::KillsThenReboot, true),
    (Fault::FillsTheDisk, true),
];

impl<A: AreaSpec> Law<A> {
    fn turn(&self, host: &FakeHost, mode: Mode) -> Report {
        pass::<A>(&A::desired(&self.section), mode, host, host, &|| host.now())
    }

    /// Passes with a person's help in between, as many as a change may need.
    fn settle(&self, host: &FakeHost, what: &str) -> Report {
        let mut verdicts = Vec::new();
        for _ in 0..12 {
            let report = self.turn(host, Mode::Enforce);
            verdicts.push(report.verdict);
            if report.verdict == Verdict::Compliant {
                return report;
            }
            host.advance_ms(1000);
            (self.help)(host);
        }
        panic!(
            "{} from {what} does not converge: {verdicts:?}\n{:#?}",
            A::NAME,
            self.turn(host, Mode::Enforce)
        );
    }

    fn settled(&self) -> FakeHost {
        let host = (self.starts[0].1)();
        self.settle(&host, self.starts[0].0);
        host
    }

    fn all(&self) {
        self.converges_and_then_rests();
        self.rests_while_something_is_under_way();
        self.observing_changes_nothing();
        self.refused_is_drift();
        self.faults_leave_a_way_in();
        self.unknown_is_never_compliant();
    }

    fn converges_and_then_rests(&self) {
        for (name, start) in &self.starts {
            let host = start();
            self.settle(&host, name);
            let (files, rules, writes) = (host.all_files(), host.nft_listing(), host.writes());
            let report = self.turn(&host, Mode::Enforce);
            assert_eq!(report.verdict, Verdict::Compliant, "{name}");
            assert!(report.done.is_empty() && report.plan.is_some_and(|p| p.steps.is_empty()), "{name}");
            assert_eq!(
                (host.all_files(), host.nft_listing(), host.writes()),
                (files, rules, writes),
                "{name}"
            );
        }
    }

    /// After each pass a second one at the same moment does nothing, above all when the first has started something.
    fn rests_while_something_is_under_way(&self) {
        for (name, start) in &self.starts {
            let host = start();
            for _ in 0..6 {
                let first = self.turn(&host, Mode::Enforce);
                if first.verdict != Verdict::Pending {
                    continue;
                }
                let (files, rules, writes) = (host.all_files(), host.nft_listing(), host.writes());
                let second = self.turn(&host, Mode::Enforce);
                assert_eq!(second.verdict, Verdict::Pending, "{name}: {second:#?}");
                assert!(second.done.is_empty(), "{name}: {:?}", second.done);
                assert_eq!(
                    (host.all_files(), host.nft_listing(), host.writes()),
                    (files, rules, writes),
                    "{name}"
                );
            }
        }
    }

    fn observing_changes_nothing(&self) {
        let beyond_memory = |host: &FakeHost| -> Vec<(String, Node)> {
            let files = host.all_files().into_iter();
            files.filter(|(path, _)| !format!("{path}/").starts_with("/var/lib/tenure/")).collect()
        };
        for (name, start) in &self.starts {
            let host = start();
            let before = (beyond_memory(&host), host.nft_listing(), host.is_warmed());
            let report = self.turn(&host, Mode::Observe);
            assert_eq!((beyond_memory(&host), host.nft_listing(), host.is_warmed()), before, "{name}");
            assert!(report.done.is_empty() && report.verdict != Verdict::Remediated, "{name}");
            let writes = host.writes();
            let again = self.turn(&host, Mode::Observe);
            assert_eq!(host.writes(), writes, "{name}: a second look remembers nothing new");
            assert!(again.repeats(&report), "{name}");
        }
    }

    fn refused_is_drift(&self) {
        for section in &self.refused {
            let host = FakeHost::debian();
            let before = (host.all_files(), host.nft_listing());
            let report = pass::<A>(&A::desired(section), Mode::Enforce, &host, &host, &|| host.now());
            assert_eq!(report.verdict, Verdict::Drifted, "{report:#?}");
            assert!(report.refusal.is_some() && report.done.is_empty(), "{report:#?}");
            assert_eq!((host.all_files(), host.nft_listing()), before);
        }
    }

    fn faults_leave_a_way_in(&self) {
        for (name, start) in &self.starts {
            for (fault, helped) in FAULTS {
                for n in 1.. {
                    let what = format!("{name}, {fault:?} at write {n}, helped {helped}");
                    let host = start();
                    let before = host.writes();
                    // What somebody else has cut before we come is not ours; in the end it must be open.
                    let untouched = start();
                    if matches!(fault, Fault::KillsThenReboot) {
                        untouched.reboot();
                    }
                    let was_open = (self.open)(&host) && (self.open)(&untouched);
                    match fault {
                        Fault::Fails => host.fail_write(n),
                        Fault::FillsTheDisk => host.fill_disk_before_write(n),
                        Fault::Kills | Fault::KillsThenReboot => host.kill_before_write(n),
                    }
                    for _ in 0..4 {
                        let _ = self.turn(&host, Mode::Enforce);
                        let open = (self.open)(&host) || !was_open;
                        assert!(open, "{}: {what}: the management path is cut", A::NAME);
                        host.advance_ms(500);
                        if helped {
                            (self.help)(&host);
                        }
                    }
                    let struck = host.writes() >= before + n;
                    host.revive();
                    if matches!(fault, Fault::KillsThenReboot) {
                        // Every daemon reads what stands on disk.
                        host.reboot();
                    }
                    // Whatever runs by the kernel's clock ends.
                    host.advance_ms(120_000);
                    assert!((self.open)(&host) || !was_open, "{}: {what}: cut after a while", A::NAME);
                    (self.help)(&host);
                    self.settle(&host, &what);
                    assert!((self.open)(&host), "{}: {what}: cut in the end", A::NAME);
                    if !struck {
                        break;
                    }
                }
            }
        }
    }

    /// Every question that a healthy pass asks is left unanswered once.
    fn unknown_is_never_compliant(&self) {
        let host = self.settled();
        let asking = Asking { host: &host, asked: RefCell::default() };
        let report = pass::<A>(&A::desired(&self.section), Mode::Enforce, &asking, &host, &|| host.now());
        assert_eq!(report.verdict, Verdict::Compliant);
        for query in asking.asked.into_inner() {
            host.refuse_to_answer(&query, "it does not answer");
            let report = self.turn(&host, Mode::Enforce);
            host.answer();
            let fine = matches!(report.verdict, Verdict::Unknown | Verdict::Drifted);
            let spare = self.spare.iter().any(|s| query.starts_with(s));
            assert!(fine != spare, "{}: without {query} it says {}", A::NAME, report.verdict);
        }
    }
}

/// Notes what is asked.
struct Asking<'a> {
    host: &'a FakeHost,
    asked: RefCell<BTreeSet<String>>,
}

impl HostRead for Asking<'_> {
    fn file(&self, path: &Beneath, owner: Owner, limit: usize) -> PortResult<Vec<u8>> {
        self.host.file(path, owner, limit)
    }
    fn dir(&self, path: &Beneath, limit: usize) -> PortResult<Vec<Entry>> {
        self.host.dir(path, limit)
    }
    fn stat(&self, path: &Beneath) -> PortResult<Stat> {
        self.host.stat(path)
    }
    fn ask(&self, query: &Query) -> PortResult<Vec<u8>> {
        self.asked.borrow_mut().insert(format!("{query:?}"));
        self.host.ask(query)
    }
}

/// One test for each area, and the list of those that have one.
macro_rules! laws {
    ($($test:ident: $case:ident of $area:ty;)*) => {
        $(#[test] fn $test() { let law: Law<$area> = cases::$case(); law.all(); })*
        const UNDER_LAW: &[&str] = &[$(<$area>::NAME),*];
    };
}

laws! {
    laws_hold_for_firewall: firewall of Firewall;
    laws_hold_for_ssh_access: ssh_access of SshAccess;
    laws_hold_for_patch: patch of Patch;
    laws_hold_for_backup: backup of Backup;
}

#[test]
fn every_area_is_under_the_laws() {
    assert_eq!(UNDER_LAW, crate::AREAS);
}

fn package(name: &str, version: &str, candidate: Option<(&str, &str)>) -> FakePackage {
    let candidate = candidate.map(|(v, o)| (v.to_owned(), o.to_owned()));
    FakePackage { name: name.into(), version: version.into(), candidate }
}
