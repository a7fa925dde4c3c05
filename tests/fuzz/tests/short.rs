//! The short driver: every target with its seeds and a fixed number of inputs made from them. An input that breaks
//! something is kept in the target directory and its path is told; put it into `seeds/<target>/` with the mend.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::{fs, io};

use tenure_fuzz::mutate::{Dice, mutated};
use tenure_fuzz::{TARGETS, Target};

macro_rules! short {
    ($($name:ident)*) => {
        $(#[test] fn $name() { drive(stringify!($name)); })*
        const DRIVEN: &[&str] = &[$(stringify!($name)),*];
    };
}

short! {
    policy_set policy_fmt host_policy envelope signed statement chain ingest enrolment payload key_text vault_frames vault_view nft_table nft_chains nft_live_set
    nft_changes flows firewall_state firewall_ruleset own_addresses sshd_effective sshd_config listeners authorized_keys passwd
    ssh_before sshd_journal ssh_notes apt_simulate apt_release dpkg patch_seen debian_version restic_index restic_snapshot restic_tree
    restic_pack_header
}

#[test]
fn every_target_is_driven_here_and_by_cargo_fuzz() {
    let names: Vec<&str> = TARGETS.iter().map(|target| target.name).collect();
    assert_eq!(names, DRIVEN);
    let manifest = fs::read_to_string(beside("fuzz/Cargo.toml")).expect("cargo-fuzz's manifest");
    // The other way round: what cargo-fuzz would build is driven here, and no file lies about unused.
    let named = |start: &str| -> Vec<&str> {
        let bins = manifest.split("[[bin]]").skip(1);
        bins.map(|bin| bin.split(start).nth(1).and_then(|rest| rest.split('"').next()).unwrap_or("?"))
            .collect()
    };
    assert_eq!(named("name = \""), names, "the [[bin]]s of fuzz/Cargo.toml, in the order of TARGETS");
    let paths: Vec<String> = names.iter().map(|name| format!("fuzz_targets/{name}.rs")).collect();
    assert_eq!(named("path = \""), paths);
    let mut files: Vec<String> = Vec::new();
    for file in fs::read_dir(beside("fuzz/fuzz_targets")).expect("cargo-fuzz's folder") {
        let name = file.expect("a file").file_name().into_string().expect("a name");
        files.push(format!("fuzz_targets/{name}"));
    }
    let sorted = |mut list: Vec<String>| {
        list.sort();
        list
    };
    assert_eq!(sorted(files), sorted(paths));
    for name in names {
        assert!(manifest.contains(&format!("\nname = \"{name}\"\n")), "fuzz/Cargo.toml lacks {name}");
        let file = fs::read_to_string(beside(&format!("fuzz/fuzz_targets/{name}.rs"))).expect("its file");
        assert!(
            file.contains(&format!("tenure_fuzz::run(\"{name}\", bytes)")),
            "{name}.rs runs something else"
        );
    }
    let folders = fs::read_dir(beside("seeds")).expect("the seeds");
    for folder in folders {
        let name = folder.expect("a folder").file_name().into_string().expect("a name");
        assert!(DRIVEN.contains(&name.as_str()), "seeds/{name} belongs to no target");
    }
}

fn drive(name: &str) {
    let target = TARGETS.iter().find(|target| target.name == name).expect("a target");
    let mut seeds = (target.seeds)();
    assert!(!seeds.is_empty(), "{name} has nothing good to begin with");
    seeds.extend(kept(name).expect("the seeds are read"));
    for seed in &seeds {
        attempt(target, seed);
    }
    for hostile in [&b""[..], b"\0", b"\xff\xfe", b"{}", b"[]", b"null", b"\n\n"] {
        attempt(target, hostile);
    }
    let mut dice = Dice::new(0x7e9u64 ^ u64::try_from(name.len()).expect("a short name"));
    for _ in 0..target.rounds {
        attempt(target, &mutated(&seeds, &mut dice));
    }
}

fn attempt(target: &Target, bytes: &[u8]) {
    // What broke is said by the panic itself.
    if catch_unwind(AssertUnwindSafe(|| (target.run)(bytes))).is_err() {
        let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("fuzz-{}", target.name));
        fs::write(&file, bytes).expect("the input is kept");
        unreachable!("{}: the input that broke it is in {}", target.name, file.display());
    }
}

fn kept(name: &str) -> io::Result<Vec<Vec<u8>>> {
    let folder = beside("seeds").join(name);
    if !folder.exists() {
        return Ok(Vec::new());
    }
    let mut paths: Vec<PathBuf> = Vec::new();
    for entry in fs::read_dir(folder)? {
        paths.push(entry?.path());
    }
    paths.sort();
    paths.iter().map(fs::read).collect()
}

fn beside(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}
