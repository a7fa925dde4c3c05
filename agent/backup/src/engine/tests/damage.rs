//! A repository with something broken in it: an error that says so, never a panic, never a wrong file.

use std::fs;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use super::common::{Bench, LATER, objects};
use tenure_trust::Hash;
use tenure_trust::backup::ObjectKind;

use crate::engine::index::{self, BlobKind, Entry, PackEntries};
use crate::engine::sealer::Sealer;
use crate::engine::writer::{PACK, Writer};
use crate::engine::{self, EngineError, Fault, Password, RestoreRequest, Sample, Unlock, file};

fn bench() -> Bench {
    let bench = Bench::new();
    bench.file("d/text", &b"some text that compresses ".repeat(400));
    bench.file("d/noise", &super::common::noise(1, 3000));
    bench.file("e/empty", b"");
    bench.backup(LATER, None);
    bench
}

/// Reads everything there is, every way there is.
fn read_all(bench: &Bench) -> Result<(), EngineError> {
    let password = Password::new("swordfish".to_owned());
    let open = engine::open(&bench.local, Unlock::Master(&bench.master))?;
    let snapshots = engine::snapshots(&open)?;
    let checked = engine::check(&open, Sample::All)?;
    let last = snapshots.last().ok_or(EngineError::WrongKey)?;
    engine::ls(&open, &last.id, Path::new("/"), &mut |_| std::ops::ControlFlow::Continue(()))?;
    let target = tempfile::tempdir_in(bench.dir.path()).unwrap();
    let request = RestoreRequest { target: target.path().to_owned(), ..RestoreRequest::default() };
    engine::restore(&open, &last.id, &request)?;
    assert!(checked.snapshots == 1 && checked.packs_read == 2);
    // last, because the password costs the most
    engine::open(&bench.local, Unlock::Password(&password)).map(|_| ())
}

#[test]
fn every_part_of_every_object_counts() {
    let bench = bench();
    read_all(&bench).unwrap();
    let all = objects(&bench.path("repo"));
    assert_eq!(all.len(), 6, "config, key, two packs, index, snapshot: {all:?}");
    for path in all {
        let bytes = fs::read(&path).unwrap();
        let len = bytes.len();
        // nonce, first and last of the body, code, header, its length; everywhere else in steps
        let places =
            [0, 15, 16, 17, len / 2, len - 37, len - 33, len - 21, len - 20, len - 16, len - 4, len - 1];
        for at in places.into_iter().chain((0..len).step_by(len / 7 + 1)) {
            for bit in [0x01, 0x80] {
                let mut broken = bytes.clone();
                broken[at] ^= bit;
                fs::write(&path, &broken).unwrap();
                assert!(read_all(&bench).is_err(), "{} at {at}", path.display());
            }
        }
        for cut in [0, 1, 31, 32, len / 2, len - 1] {
            fs::write(&path, &bytes[..cut]).unwrap();
            assert!(read_all(&bench).is_err(), "{} cut at {cut}", path.display());
        }
        fs::remove_file(&path).unwrap();
        assert!(read_all(&bench).is_err(), "{} away", path.display());
        fs::write(&path, &bytes).unwrap();
    }
    read_all(&bench).unwrap();
}

#[test]
fn objects_under_each_others_names_are_noticed() {
    let bench = bench();
    let packs = objects(&bench.path("repo/data"));
    let (a, b) = (fs::read(&packs[0]).unwrap(), fs::read(&packs[1]).unwrap());
    fs::write(&packs[0], &b).unwrap();
    fs::write(&packs[1], &a).unwrap();
    assert!(read_all(&bench).is_err());
    fs::write(&packs[0], &a).unwrap();
    fs::write(&packs[1], &b).unwrap();
    // more than the index knows, at the end: the hash tells
    fs::OpenOptions::new().write(true).open(&packs[0]).unwrap().write_all_at(b"x", a.len() as u64).unwrap();
    assert!(read_all(&bench).is_err());
}

#[test]
fn a_backup_onto_a_damaged_index_makes_no_snapshot() {
    let bench = bench();
    let index = objects(&bench.path("repo/index")).remove(0);
    let mut bytes = fs::read(&index).unwrap();
    bytes[40] ^= 1;
    fs::write(&index, bytes).unwrap();
    bench.file("new", b"new");
    let failed = bench.backup_with(&bench.request(LATER + 1, None), &bench.local);
    assert!(matches!(failed, Err(EngineError::Damaged { .. })), "{failed:?}");
    assert_eq!(objects(&bench.path("repo/snapshots")).len(), 1);
}

#[test]
fn a_sample_takes_at_least_one_pack_and_another_seed_others() {
    let bench = Bench::new();
    for number in 0..6 {
        bench.file(&format!("f{number}"), &super::common::noise(number, 12 << 20));
    }
    bench.backup(LATER, None);
    let open = bench.open();
    let share = |share, seed| engine::check(&open, Sample::Share { share, seed }).unwrap();
    assert_eq!(engine::check(&open, Sample::Nothing).unwrap().packs_read, 0);
    assert_eq!(share(0.0, 1).packs_read, 1);
    let half = share(0.5, 1);
    assert_eq!(half.packs_read, half.packs.div_ceil(2));
    let others = (2..40).any(|seed| share(0.2, seed).bytes_read != share(0.2, 1).bytes_read);
    assert!(others);
    assert_eq!(share(1.0, 3).packs_read, half.packs);
}

/// Stores a tree by its JSON, as whoever has the key can.
fn forge(bench: &Bench, trees: &[Vec<u8>]) -> Hash {
    let open = bench.open();
    let writer = Writer::new(&open, &bench.local, PACK);
    let mut sealer = Sealer::new().unwrap();
    let ids: Vec<Hash> =
        trees.iter().map(|json| writer.blob(BlobKind::Tree, json, &mut sealer).unwrap()).collect();
    writer.finish_packs().unwrap();
    writer.store();
    writer.finish_index().unwrap();
    let root = ids.last().unwrap();
    let json = format!(r#"{{"time":"2030-01-01T00:00:00Z","tree":"{root}"}}"#);
    writer.file(ObjectKind::Snapshot, json.as_bytes()).unwrap().0
}

fn restore(bench: &Bench, snapshot: &Hash) -> Result<engine::RestoreReport, EngineError> {
    let target = tempfile::tempdir_in(bench.dir.path()).unwrap();
    let below = target.path().join("below");
    fs::create_dir(&below).unwrap();
    let request = RestoreRequest { target: below, ..RestoreRequest::default() };
    let restored = engine::restore(&bench.open(), snapshot, &request);
    assert_eq!(fs::read_dir(target.path()).unwrap().count(), 1, "something stands beside the target");
    restored
}

#[test]
fn forged_trees_lead_nowhere() {
    let bench = Bench::new();
    for name in ["..", ".", "a/../../b", "/etc/x", r"\\x2e\\x2e", r"..\\x2fb", ""] {
        let json = format!(r#"{{"nodes":[{{"name":"{name}","type":"symlink","linktarget":"x"}}]}}"#);
        let snapshot = forge(&bench, &[json.into_bytes()]);
        let restored = restore(&bench, &snapshot);
        assert!(
            matches!(restored, Err(EngineError::Damaged { fault: Fault::Name, .. })),
            "{name}: {restored:?}"
        );
    }
    let absent = Hash::of(b"absent");
    let json = format!(r#"{{"nodes":[{{"name":"d","type":"dir","subtree":"{absent}"}}]}}"#);
    let restored = restore(&bench, &forge(&bench, &[json.into_bytes()]));
    assert!(matches!(restored, Err(EngineError::Missing { .. })), "{restored:?}");
}

#[test]
fn a_tree_deeper_than_any_is_refused_and_not_followed_down() {
    let bench = Bench::new();
    let mut trees = vec![b"{\"nodes\":[]}".to_vec()];
    for _ in 0..600 {
        let below = Hash::of(trees.last().unwrap());
        trees.push(format!(r#"{{"nodes":[{{"name":"d","type":"dir","subtree":"{below}"}}]}}"#).into_bytes());
    }
    let snapshot = forge(&bench, &trees);
    let listed =
        engine::ls(&bench.open(), &snapshot, Path::new("/"), &mut |_| std::ops::ControlFlow::Continue(()));
    assert!(matches!(listed, Err(EngineError::Limit { .. })), "{listed:?}");
    let restored = restore(&bench, &snapshot);
    assert!(matches!(restored, Err(EngineError::Limit { .. })), "{restored:?}");
    engine::check(&bench.open(), Sample::All).unwrap();
}

/// Puts what `change` makes of the index in its place.
fn with_index(bench: &Bench, change: impl FnOnce(&mut Vec<PackEntries>)) {
    let open = bench.open();
    let listed = open.source.list(ObjectKind::Index).unwrap().remove(0);
    let mut packs = index::parse(&open.file(&listed).unwrap()).unwrap();
    change(&mut packs);
    let (object, bytes) = file::encode(&open.cipher, ObjectKind::Index, &index::encode(&packs)).unwrap();
    fs::remove_file(bench.path("repo/index").join(listed.name.to_string())).unwrap();
    fs::write(bench.path("repo/index").join(object.name.to_string()), bytes).unwrap();
}

#[test]
fn an_index_that_gives_one_blob_for_another_is_noticed() {
    let bench = bench();
    with_index(&bench, |packs| {
        // the trees: each is opened under another's name
        let pack = packs.iter_mut().find(|pack| pack.blobs[0].kind == BlobKind::Tree).unwrap();
        let last = pack.blobs.len() - 1;
        (pack.blobs[0].id, pack.blobs[last].id) = (pack.blobs[last].id, pack.blobs[0].id);
    });
    let snapshot = engine::snapshots(&bench.open()).unwrap().remove(0).id;
    let restored = restore(&bench, &snapshot);
    assert!(matches!(restored, Err(EngineError::Damaged { fault: Fault::Hash, .. })), "{restored:?}");
    assert!(engine::check(&bench.open(), Sample::All).is_err());
}

#[test]
fn an_index_that_promises_what_no_pack_has_is_noticed() {
    let bench = bench();
    with_index(&bench, |packs| {
        let promised = Entry { id: Hash::of(b"nowhere"), ..packs[0].blobs[0] };
        packs[0].blobs.push(promised);
    });
    engine::check(&bench.open(), Sample::Nothing).unwrap();
    let checked = engine::check(&bench.open(), Sample::All);
    assert!(matches!(checked, Err(EngineError::Damaged { fault: Fault::Header, .. })), "{checked:?}");
}
