//! The chain over restarts, torn lines, damaged lines and a disk that is full.

use std::fs;
use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use jiff::Timestamp;
use tenure_trust::{
    About, AreaName, ChainReport, ChainVerifier, EventName, Expected, JudgeVersion, PolicyVersion, VerdictTag,
};

use super::*;
use crate::export::{ExportError, export};
use crate::segment::Medium;

fn host() -> HostName {
    HostName::new("web1").unwrap()
}

fn state() -> tempfile::TempDir {
    tempfile::tempdir_in("/run").expect("these tests run as root")
}

fn draft() -> Draft {
    Draft {
        about: About::Area(AreaName::new("firewall").unwrap()),
        policy: Some(PolicyVersion(7)),
        judge: JudgeVersion::new("tenure 0.1.0").unwrap(),
        observed_at: Timestamp::from_second(1_800_000_000).unwrap(),
        verdict: Some(VerdictTag::Compliant),
        reason: None,
    }
}

fn open(state: &Path) -> ChainStore {
    let (store, repairs) = ChainStore::open(state, host(), Epoch(1)).unwrap();
    assert_eq!(repairs, []);
    store
}

fn fill(store: &mut ChainStore, count: u64) {
    for _ in 0..count {
        let place = store.head().next.0;
        assert_eq!(store.append(draft(), format!("{{\"fact\":{place}}}").into_bytes()).unwrap(), Seq(place));
    }
}

fn exported(state: &Path, from: u64, to: Option<u64>) -> String {
    let mut out = Vec::new();
    export(state, &host(), Epoch(1), Seq(from), to.map(Seq), &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

fn verify(store: &ChainStore, text: &str, from: u64) -> ChainReport {
    let expected = Expected { from: Seq(from), known: None };
    let mut verifier = ChainVerifier::new(store.public_key().key, expected);
    for line in text.lines() {
        verifier.line(line.as_bytes());
    }
    verifier.finish()
}

fn only_segment(state: &Path) -> PathBuf {
    let dir = state.join("chain");
    let found = segments(&dir).unwrap();
    assert_eq!(found.len(), 1);
    dir.join(segment::name(found[0].0, found[0].1))
}

#[test]
fn key_and_head_survive_a_restart() {
    let state = state();
    let mut store = open(state.path());
    fill(&mut store, 3);
    let (head, key) = (store.head().clone(), store.public_key());
    drop(store);
    let mut store = open(state.path());
    assert_eq!((store.head(), store.public_key()), (&head, key));
    fill(&mut store, 2);
    let report = verify(&store, &exported(state.path(), 1, None), 1);
    assert!(report.is_clean(), "{report:?}");
    assert_eq!((report.records, report.head), (5, Some(store.head().prev)));
}

#[test]
fn the_same_facts_twice_are_two_commitments() {
    let state = state();
    let mut store = open(state.path());
    for _ in 0..2 {
        store.append(draft(), br#"{"who":"marit"}"#.to_vec()).unwrap();
    }
    let text = exported(state.path(), 1, None);
    // The first line is the header.
    let lines: Vec<_> =
        text.lines().skip(1).map(|line| ExportLine::parse(line.as_bytes()).unwrap()).collect();
    let [first, second] = &lines[..] else { panic!("{text}") };
    let payloads = [first, second].map(|line| line.payload.clone().unwrap());
    assert_eq!(payloads[0].bytes(), payloads[1].bytes());
    assert_ne!(payloads[0].salt(), payloads[1].salt());
    let commitments = [first, second].map(|line| line.unverified().unwrap().payload);
    assert_ne!(commitments[0], commitments[1], "who knows the facts must not find them in the chain");
    assert!(payloads[0].opens(&commitments[0]) && payloads[1].opens(&commitments[1]));
    assert!(!payloads[0].opens(&commitments[1]));
}

#[test]
fn the_secret_is_roots_alone_and_a_readable_one_is_refused() {
    use std::os::unix::fs::PermissionsExt;
    let state = state();
    drop(open(state.path()));
    let path = state.path().join("identity.key");
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    let refused = ChainStore::open(state.path(), host(), Epoch(1)).unwrap_err();
    assert!(
        matches!(&refused, ChainError::File(FileError::Unsafe { mend, .. }) if mend.starts_with("chmod 600"))
    );
}

#[test]
fn no_new_key_is_made_for_old_records() {
    let state = state();
    fill(&mut open(state.path()), 1);
    fs::remove_file(state.path().join("identity.key")).unwrap();
    let refused = ChainStore::open(state.path(), host(), Epoch(1)).unwrap_err();
    assert!(matches!(refused, ChainError::KeyMissing(_)), "{refused:?}");
    fs::write(state.path().join("identity.key"), "rubbish").unwrap();
    fs::set_permissions(
        state.path().join("identity.key"),
        std::os::unix::fs::PermissionsExt::from_mode(0o600),
    )
    .unwrap();
    let refused = ChainStore::open(state.path(), host(), Epoch(1)).unwrap_err();
    assert!(matches!(refused, ChainError::BadKey { .. }), "{refused:?}");
}

#[test]
fn a_half_line_at_the_end_is_cut_whatever_its_length_and_told() {
    let state = state();
    let mut store = open(state.path());
    fill(&mut store, 2);
    drop(store);
    let path = only_segment(state.path());
    let whole = fs::read(&path).unwrap();
    let first = whole.iter().position(|byte| *byte == b'\n').unwrap() + 1;
    for kept in [first + 1, first + 40, whole.len() - 2, whole.len() - 1] {
        fs::write(&path, &whole[..kept]).unwrap();
        let (mut store, repairs) = ChainStore::open(state.path(), host(), Epoch(1)).unwrap();
        let bytes = (kept - first) as u64;
        assert_eq!(repairs, [Repair::TornTail { segment: path.clone(), bytes }]);
        assert_eq!(fs::read(&path).unwrap(), &whole[..first]);
        assert_eq!(store.head().next, Seq(2));
        fill(&mut store, 1);
        assert!(verify(&store, &exported(state.path(), 1, None), 1).is_clean());
    }
}

#[test]
fn damaged_whole_lines_stay_and_the_verifier_names_only_them() {
    let state = state();
    fill(&mut open(state.path()), 4);
    let path = only_segment(state.path());
    let text = fs::read_to_string(&path).unwrap();
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    lines[2] = lines[2].replace("payload", "paiload");
    lines[3] = "\0".repeat(lines[3].len());
    fs::write(&path, format!("{}\n", lines.join("\n"))).unwrap();
    let (mut store, repairs) = ChainStore::open(state.path(), host(), Epoch(1)).unwrap();
    assert_eq!(repairs, [Repair::Damaged { segment: path, lines: 2 }]);
    assert_eq!(store.head().next, Seq(5));
    fill(&mut store, 2);
    let report = verify(&store, &exported(state.path(), 1, None), 1);
    assert_eq!(report.findings.iter().map(|f| f.line).collect::<Vec<_>>(), [4, 5], "{report:?}");
}

#[test]
fn another_hosts_state_and_an_earlier_epoch_are_refused() {
    let state = state();
    fill(&mut open(state.path()), 1);
    let db1 = HostName::new("db1").unwrap();
    let refused = ChainStore::open(state.path(), db1, Epoch(1)).unwrap_err();
    assert!(matches!(refused, ChainError::OtherHost { .. }), "{refused:?}");
    let (mut second, _) = ChainStore::open(state.path(), host(), Epoch(2)).unwrap();
    assert_eq!(second.head(), &Chain::begin(host(), Epoch(2)));
    fill(&mut second, 1);
    let refused = ChainStore::open(state.path(), host(), Epoch(1)).unwrap_err();
    assert!(matches!(refused, ChainError::EpochPast { found: Epoch(2), .. }), "{refused:?}");
}

#[test]
fn segments_follow_one_another_and_a_part_can_be_exported() {
    let state = state();
    let mut store = open(state.path());
    for _ in 0..16 {
        store.append(draft(), vec![b'x'; Payload::MAX]).unwrap();
    }
    assert!(segments(&state.path().join("chain")).unwrap().len() > 1);
    drop(store);
    let mut store = open(state.path());
    assert_eq!(store.head().next, Seq(17));
    fill(&mut store, 1);
    assert!(verify(&store, &exported(state.path(), 1, None), 1).is_clean());
    let part = exported(state.path(), 5, Some(12));
    let report = verify(&store, &part, 5);
    assert!(report.is_clean(), "{:?}", report.findings);
    assert_eq!((report.first, report.last), (Some(Seq(5)), Some(Seq(12))));
    let nothing = export(state.path(), &host(), Epoch(1), Seq(18), None, &mut io::sink());
    assert!(matches!(nothing, Err(ExportError::Nothing { .. })), "{nothing:?}");
}

#[test]
fn facts_that_are_too_large_are_an_error_and_count_as_lost() {
    let state = state();
    let mut store = open(state.path());
    let refused = store.append(draft(), vec![0; Payload::MAX + 1]).unwrap_err();
    assert!(matches!(refused, ChainError::Payload(_)));
    assert_eq!(store.lost(), 1);
}

#[test]
fn an_event_has_no_verdict() {
    let state = state();
    let mut store = open(state.path());
    let event = About::Event(EventName::new("policy_refused").unwrap());
    store.append(Draft { about: event, verdict: None, ..draft() }, b"{}".to_vec()).unwrap();
    assert!(verify(&store, &exported(state.path(), 1, None), 1).is_clean());
}

/// A disk with so much room; writes what fits and then says that it is full, as the kernel does.
#[derive(Debug, Clone)]
struct Disk(Arc<Mutex<(Vec<u8>, usize, bool)>>);

impl Medium for Disk {
    fn add(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut disk = self.0.lock().unwrap();
        let fits = bytes.len().min(disk.1.saturating_sub(disk.0.len()));
        disk.0.write_all(&bytes[..fits])?;
        if fits < bytes.len() { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }
    fn cut(&mut self, length: u64) -> io::Result<()> {
        let mut disk = self.0.lock().unwrap();
        if disk.2 {
            return Err(io::Error::other("read-only now"));
        }
        disk.0.truncate(length as usize);
        Ok(())
    }
    fn sync(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_full_disk_is_an_error_and_the_next_record_says_how_many_were_lost() {
    let state = state();
    let mut store = open(state.path());
    let disk = Disk(Arc::new(Mutex::new((Vec::new(), 1 << 20, false))));
    store.replace_segment(Segment::over(Box::new(disk.clone()), "/full".into()));
    fill(&mut store, 2);
    let used = disk.0.lock().unwrap().0.len();
    disk.0.lock().unwrap().1 = used + 100; // room for a part of a line
    for lost in 1..=3 {
        let refused = store.append(draft(), b"{}".to_vec()).unwrap_err();
        assert!(
            matches!(&refused, ChainError::Io { source, .. } if source.kind() == io::ErrorKind::StorageFull)
        );
        assert_eq!((store.lost(), store.head().next), (lost, Seq(3)));
        assert_eq!(disk.0.lock().unwrap().0.len(), used, "the half line was taken back");
    }
    // and a disk on which not even that works: the half line goes before the next record
    disk.0.lock().unwrap().2 = true;
    store.append(draft(), b"{}".to_vec()).unwrap_err();
    assert_eq!(disk.0.lock().unwrap().0.len(), used + 100);
    *disk.0.lock().unwrap() = {
        let (bytes, _, _) = disk.0.lock().unwrap().clone();
        (bytes, 1 << 20, false)
    };
    fill(&mut store, 1);
    assert_eq!(store.lost(), 0);
    let lines = String::from_utf8(disk.0.lock().unwrap().0.clone()).unwrap();
    let header = tenure_trust::ExportHeader::new(host(), Epoch(1), store.public_key().key).to_json();
    let report = verify(&store, &format!("{header}\n{lines}"), 1);
    assert!(report.is_clean(), "{report:?}");
    assert_eq!((report.records, report.lost), (3, 4));
}

#[test]
fn records_of_passes_leave_room_for_changes_and_the_agents_own_word_may_use_it() {
    let state = state();
    let mut store = open(state.path());
    fill(&mut store, 1);
    const MIB: u64 = 1 << 20;
    store.replace_room(|_| Ok(Room { free: 64 * MIB - 1, all: 1 << 40 }));
    let error = store.append(draft(), b"{}".to_vec()).unwrap_err();
    assert!(matches!(&error, ChainError::Reserve { kept, .. } if *kept == 64 * MIB), "{error:?}");
    assert!(error.to_string().starts_with("less than 64 MiB are free at "), "{error}");
    let event =
        Draft { about: About::Event(EventName::new("records_stop").unwrap()), verdict: None, ..draft() };
    assert_eq!(store.append(event, b"{}".to_vec()).unwrap(), Seq(2), "a full disk is still said");
    assert_eq!(store.lost(), 0, "and how many were lost is said with it");
    store.replace_room(|_| Ok(Room { free: MIB, all: 8 * MIB }));
    fill(&mut store, 1);
    store.replace_room(|_| Ok(Room { free: MIB - 1, all: 8 * MIB }));
    assert!(store.append(draft(), b"{}".to_vec()).is_err(), "of a small disk an eighth");
    store.replace_room(|_| Err(io::ErrorKind::Unsupported.into()));
    fill(&mut store, 1);
    let report = verify(&store, &exported(state.path(), 1, None), 1);
    assert!(report.findings.is_empty(), "{report:?}");
}
