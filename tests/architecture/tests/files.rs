//! What may stand in which file: processes, clocks, input and output of the core, `unsafe`, lint exceptions, sizes.

use tenure_architecture::{Source, holds, named, our_files, rust_files, without_comments};

/// (words, the files that may say them, why nobody else may).
const ONLY_IN: &[(&[&str], &[&str], &str)] = &[
    (
        &[
            "process::Command",
            "process::{Command",
            "posix_spawn",
            "nix::unistd::fork",
            "unistd::{fork",
            "execv",
            "execve",
            "fexecve",
            "libc::fork",
            "libc::system",
        ],
        &[
            "agent/sys/src/command.rs",
            "tests/lab/src/run.rs",
            "tests/lab/src/host.rs",
            // starts itself, to be killed while it writes
            "agent/sys/src/files/tests.rs",
        ],
        "processes start in agent/sys/src/command.rs and in the lab, and nowhere else",
    ),
    (
        &[
            "SystemTime::now",
            "Instant::now",
            "Timestamp::now",
            "Zoned::now",
            "clock_gettime",
            "ClockId::",
            "libc::time",
        ],
        &["agent/sys/src/clock.rs", "controller/cli/src/clock.rs", "tests/lab/src/stopwatch.rs"],
        "time is a parameter; there is one clock file a shell",
    ),
    (
        &["TimeZone::get", "TimeZone::system", "TimeZoneDatabase::from_env", "tz::db", "in_tz"],
        &[],
        "zone data is our own and its version stands in verdicts: TimeZoneDatabase::bundled() in policies/model",
    ),
    (
        &[
            "nftables::helper",
            "nftables::{helper",
            "get_current_ruleset",
            "get_current_ruleset_raw",
            "get_current_ruleset_with_args",
            "apply_ruleset",
            "apply_ruleset_raw",
            "apply_ruleset_with_args",
            "apply_and_return_ruleset",
            "apply_and_return_ruleset_with_args",
        ],
        &[],
        "of the crate nftables only the types: its helper starts nft from the PATH with our environment",
    ),
    (&["TimeZoneDatabase::bundled"], &["policies/model/src/calendar.rs"], "zones come from one place"),
];

/// Files that may contain `unsafe`, with the reason.
const UNSAFE: &[(&str, &str)] = &[];

/// The functional core never touches the machine. Tests of it may read the files of the repository.
const OUTSIDE: &[&str] = &[
    "std::fs",
    "std::net::Tcp",
    "std::net::Udp",
    "std::env",
    "std::process",
    "std::thread",
    "std::os",
    "std::io::stdin",
    "std::io::stdout",
    "async fn",
    "env!(\"PWD\")",
];

#[test]
fn words_that_belong_to_one_file() {
    let files = code();
    for (words, home, reason) in ONLY_IN {
        let elsewhere = files.iter().filter(|file| !home.contains(&file.path.as_str()) && !is_this(file));
        let broken: Vec<String> = elsewhere
            .flat_map(|file| words.iter().flat_map(|word| places(file, word)).collect::<Vec<_>>())
            .collect();
        holds(reason, &broken);
    }
}

#[test]
fn the_core_touches_nothing() {
    let core = code().into_iter().filter(|file| file.path.starts_with("policies/") && !is_test(&file.path));
    let broken: Vec<String> = core
        .map(|file| Source { text: before_tests(&file.text).to_owned(), path: file.path })
        .flat_map(|file| OUTSIDE.iter().flat_map(|word| places(&file, word)).collect::<Vec<_>>())
        .collect();
    holds(
        "policies/* is the functional core: no file, socket, clock, environment, process or async",
        &broken,
    );
}

#[test]
fn unsafe_only_where_it_is_listed() {
    let broken: Vec<String> = code()
        .iter()
        .filter(|file| !is_this(file) && !UNSAFE.iter().any(|(path, _)| *path == file.path))
        .flat_map(|file| places(file, "unsafe"))
        .collect();
    holds("`unsafe` only in tiny modules listed in this test with a reason", &broken);
}

#[test]
fn every_lint_exception_has_a_reason() {
    let mut broken = Vec::new();
    for file in code().iter().filter(|file| !is_this(file)) {
        for opening in ["#[allow(", "#![allow(", "#[expect(", "#![expect("] {
            for (at, _) in file.text.match_indices(opening) {
                let attribute = &file.text[at..];
                let end = attribute.find(")]").unwrap_or(attribute.len());
                if !attribute[..end].contains("reason") {
                    let line = file.text[..at].lines().count();
                    broken.push(format!("{}:{line}: {opening}…", file.path));
                }
            }
        }
    }
    holds("a lint is set aside only with its reason", &broken);
}

#[test]
fn every_file_opens_with_its_one_job() {
    let broken: Vec<String> = rust_files()
        .into_iter()
        .filter(|file| !file.text.starts_with("//! "))
        .map(|file| format!("{}: first line is not `//! …`", file.path))
        .collect();
    holds("`//!` opens every file with its one job", &broken);
}

#[test]
fn files_stay_small() {
    let broken: Vec<String> = rust_files()
        .into_iter()
        .map(|file| (file.text.lines().count(), file.path))
        .filter(|(lines, _)| *lines > 600)
        .map(|(lines, path)| format!("{path}: {lines} lines"))
        .collect();
    holds("files are near 350 lines; at 600 they are split by resource, never by layer", &broken);
}

#[test]
fn no_ignored_test_and_no_stub() {
    // A test that another test starts as its child process is run by that one.
    let words = ["#[ignore", "todo!(", "unimplemented!("];
    let child = "#[ignore = \"the child of `";
    let broken: Vec<String> = code()
        .iter()
        .filter(|file| !is_this(file))
        .map(|file| Source { text: file.text.replace(child, ""), path: file.path.clone() })
        .flat_map(|file| words.iter().flat_map(|word| lines_with(&file, word)).collect::<Vec<_>>())
        .collect();
    holds("a test that does not run and a stub called done are defects", &broken);
}

#[test]
fn no_package_registry_is_named_outside_the_lock() {
    let hosts =
        [["crates", "io"], ["pypi", "org"], ["npmjs", "org"], ["npmjs", "com"], ["pythonhosted", "org"]];
    let hosts = hosts.map(|[name, end]| format!("{name}.{end}"));
    let broken: Vec<String> = our_files()
        .iter()
        .filter(|file| !file.path.ends_with("Cargo.lock"))
        .flat_map(|file| hosts.iter().flat_map(|host| lines_with(file, host)).collect::<Vec<_>>())
        .collect();
    holds("where packages come from is the business of the machine, not of our files", &broken);
}

#[test]
fn every_dependency_has_its_version_in_the_root() {
    // The fuzz targets need a nightly compiler and are no member of the workspace, so they cannot inherit from it.
    let ours = |path: &str| path.ends_with("/Cargo.toml") && path != "tests/fuzz/fuzz/Cargo.toml";
    let manifests = our_files().into_iter().filter(|file| ours(&file.path));
    let mut broken = Vec::new();
    for file in manifests {
        let mut inside = false;
        for (number, line) in file.text.lines().enumerate() {
            if line.starts_with('[') {
                inside = line.ends_with("dependencies]");
            } else if inside && line.contains('=') && !line.contains("workspace") {
                broken.push(format!("{}:{}: {line}", file.path, number + 1));
            }
        }
    }
    holds("versions stand in the root Cargo.toml and nowhere else", &broken);
}

/// Our Rust files without comments.
fn code() -> Vec<Source> {
    let strip = |file: Source| Source { text: without_comments(&file.text), path: file.path };
    rust_files().into_iter().map(strip).collect()
}

/// This file names what it forbids.
fn is_this(file: &Source) -> bool {
    file.path == "tests/architecture/tests/files.rs"
}

fn is_test(path: &str) -> bool {
    path.contains("/tests/") || path.ends_with("/tests.rs") || path.ends_with("_tests.rs")
}

fn before_tests(text: &str) -> &str {
    text.find("#[cfg(test)]\nmod tests").map_or(text, |at| &text[..at])
}

fn places(file: &Source, word: &str) -> Vec<String> {
    named(&file.text, word).into_iter().map(|line| format!("{}:{line}: {word}", file.path)).collect()
}

fn lines_with(file: &Source, word: &str) -> Vec<String> {
    let hits = file.text.lines().enumerate().filter(|(_, line)| line.contains(word));
    hits.map(|(number, _)| format!("{}:{}: {word}", file.path, number + 1)).collect()
}
