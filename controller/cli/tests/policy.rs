//! `tenure check`, `fmt` and `schema` as a person meets them: files, output and exit codes of the built program.

use std::fs;
use std::path::PathBuf;

use tenure_sys::command::{Ended, Program, capture};

/// Exit code, standard output, standard error.
fn tenure(args: &[&str]) -> (i32, String, String) {
    let done = capture(&Program::new(env!("CARGO_BIN_EXE_tenure"), args)).expect("the built program starts");
    let code = if let Ended::Code(code) = done.ended { code } else { -1 };
    let text = |bytes| String::from_utf8(bytes).expect("the program writes UTF-8");
    (code, text(done.stdout), text(done.stderr))
}

/// A copy of the example, to be broken.
fn example() -> (tempfile::TempDir, PathBuf) {
    let from = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../policies/examples/soworker"));
    let desk = tempfile::tempdir().expect("a temporary directory");
    let set = desk.path().join("set");
    fs::create_dir_all(set.join("tenants")).expect("a directory");
    for file in ["fleet.yaml", "local.yaml", "tenants/example-client.yaml"] {
        fs::copy(from.join(file), set.join(file)).expect("the example has this file");
    }
    fs::write(set.join("README.md"), "not a part of the set\n").expect("a file");
    (desk, set)
}

/// Replaces a text that stands once in a file.
fn change(file: &PathBuf, from: &str, to: &str) {
    let text = fs::read_to_string(file).expect("the file is there");
    assert_eq!(text.matches(from).count(), 1, "{from}");
    fs::write(file, text.replace(from, to)).expect("the file can be written");
}

#[test]
fn the_example_is_clean_and_says_how_much_was_checked() {
    let (_desk, set) = example();
    let set = set.to_str().expect("is UTF-8");
    let (code, out, err) = tenure(&["check", set]);
    assert_eq!((code, err.as_str()), (0, ""));
    let last = out.lines().last().unwrap_or_default();
    assert!(last.starts_with("3 files, ") && last.contains(" promises attainable, "), "{out}");
    let (code, out, _) = tenure(&["check", "--json", set]);
    let value: serde_json::Value = serde_json::from_str(&out).expect("is JSON");
    assert_eq!(code, 0);
    assert_eq!((&value["faults"], &value["files"]), (&serde_json::json!([]), &serde_json::json!(3)));
}

#[test]
fn a_broken_copy_is_refused_with_every_fault_at_once() {
    let (_desk, set) = example();
    change(&set.join("local.yaml"), "office: [203.0.113.0/24, ", "office: [203.0.113.0/24, *x, ");
    change(&set.join("fleet.yaml"), "to: [clocks]", "to: [clokcs]");
    change(&set.join("fleet.yaml"), "valid_for: 90d", "valid_for: 90");
    let (code, out, err) = tenure(&["check", set.to_str().expect("is UTF-8")]);
    assert_eq!((code, out.as_str()), (78, ""));
    for says in [
        "fleet.yaml:6:12 \"90\" is not a period",
        "unknown network \"clokcs\", did you mean \"clocks\"?",
        "local.yaml:3:28 alias *x is refused",
        "to: [clokcs]",
        "^^^^^^",
        "hint: ",
        " in 3 files",
    ] {
        assert!(err.contains(says), "{says} in\n{err}");
    }
}

#[test]
fn a_test_of_the_set_that_fails_is_a_fault() {
    let (_desk, set) = example();
    let more = "tests:\n  - { from: 192.0.2.77, to: web1, accept: [postgresql] }\n";
    fs::write(set.join("more.yaml"), more).expect("a file");
    let (code, _, err) = tenure(&["check", set.to_str().expect("is UTF-8")]);
    assert_eq!(code, 78);
    assert!(
        err.contains("more.yaml:2:5 test fails: postgresql (tcp/5432) from 192.0.2.77 to web1 is dropped"),
        "{err}"
    );
}

#[test]
fn fmt_writes_all_or_nothing_and_only_once() {
    let (_desk, set) = example();
    let path = set.to_str().expect("is UTF-8");
    let main = set.join("fleet.yaml");
    change(&main, "fleet: soworker", "fleet:   \"soworker\"   # whose");
    let before = fs::read_to_string(&main).expect("the file is there");
    let (code, out, _) = tenure(&["fmt", "--check", path]);
    assert!(code == 2 && out.contains("fleet.yaml"), "{out}");
    let (code, out, _) = tenure(&["fmt", "--check", "--json", path]);
    let told: serde_json::Value = serde_json::from_str(&out).expect("is JSON");
    assert_eq!(
        (code, &told["changed"], &told["written"]),
        (2, &serde_json::json!(["fleet.yaml"]), &false.into())
    );
    assert_eq!(fs::read_to_string(&main).expect("the file is there"), before);

    let local = fs::read_to_string(set.join("local.yaml")).expect("the file is there");
    fs::write(set.join("local.yaml"), "a: [\n").expect("a file");
    let (code, _, err) = tenure(&["fmt", path]);
    assert!(code == 78 && err.contains("local.yaml:1:"), "{err}");
    assert_eq!(fs::read_to_string(&main).expect("the file is there"), before);

    fs::write(set.join("local.yaml"), local).expect("a file");
    assert_eq!(tenure(&["fmt", path]).0, 0);
    let after = fs::read_to_string(&main).expect("the file is there");
    assert!(after.contains("fleet: soworker  # whose\n"), "{after}");
    let (code, out, _) = tenure(&["fmt", "--check", path]);
    assert!(code == 0 && out.contains("3 files in canonical form"), "{out}");
    assert_eq!(tenure(&["check", path]).0, 0);
    let files: Vec<_> = fs::read_dir(&set).expect("a directory").collect();
    assert_eq!(files.len(), 4, "nothing is left beside the files: {files:?}");
}

#[test]
fn a_set_that_cannot_be_read_is_said_with_its_path() {
    let (_desk, set) = example();
    let gone = set.join("gone");
    let (code, _, err) = tenure(&["check", gone.to_str().expect("is UTF-8")]);
    assert!(code == 78 && err.contains("gone") && err.contains("No such file"), "{err}");
    fs::write(set.join("bytes.yaml"), b"a: 1\nb: \xff\n").expect("a file");
    let (code, _, err) = tenure(&["check", set.to_str().expect("is UTF-8")]);
    assert!(code == 78 && err.contains("line 2 is not UTF-8"), "{err}");
}

#[test]
fn the_schema_is_json_and_the_reference_is_the_page() {
    let (code, out, _) = tenure(&["schema"]);
    let schema: serde_json::Value = serde_json::from_str(&out).expect("is JSON");
    assert_eq!((code, &schema["$ref"]), (0, &serde_json::json!("#/$defs/policy")));
    let page = include_str!("../../../docs/policy.md");
    let (code, out, _) = tenure(&["schema", "--reference"]);
    assert!(code == 0 && page.ends_with(&out));
}
