//! The tool as a person meets it: files, output and exit codes of the built program.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use tenure_sys::command::{Ended, Program, capture};
use tenure_trust::{
    About, AreaName, Chain, Draft, Epoch, ExportHeader, HostName, JudgeVersion, KeyName, NamedKey, Payload,
    SigningKey, VerdictTag,
};

/// What a run of the tool left: exit code, standard output, standard error.
struct Ran {
    code: i32,
    out: String,
    err: String,
}

fn run(program: &str, args: &[&str], stdin: &str) -> Ran {
    let done = capture(&Program::new(program, args).stdin(stdin.as_bytes().to_vec()))
        .expect("as the test set it up");
    let code = if let Ended::Code(code) = done.ended { code } else { -1 };
    let text = |bytes| String::from_utf8(bytes).expect("as the test set it up");
    Ran { code, out: text(done.stdout), err: text(done.stderr) }
}

fn tenure(args: &[&str]) -> Ran {
    run(env!("CARGO_BIN_EXE_tenure"), args, "")
}

/// A directory with a passphrase file and its paths as texts.
struct Desk(tempfile::TempDir);

impl Desk {
    fn new() -> Self {
        let desk = Self(tempfile::tempdir().expect("as the test set it up"));
        fs::write(desk.0.path().join("pass"), "correct horse battery\n").expect("as the test set it up");
        desk.mode("pass", 0o600);
        desk
    }

    fn path(&self, name: &str) -> String {
        self.0.path().join(name).to_str().expect("as the test set it up").to_owned()
    }

    fn mode(&self, name: &str, mode: u32) {
        fs::set_permissions(self.path(name), fs::Permissions::from_mode(mode))
            .expect("as the test set it up");
    }

    fn key(&self, name: &str) -> Ran {
        tenure(&["key", "create", name, "--dir", &self.path(""), "--passphrase-file", &self.path("pass")])
    }

    fn root(&self, threshold: &str) -> Ran {
        let (marit, jeroen) = (self.path("marit.pub"), self.path("jeroen.pub"));
        let mut args =
            vec!["root", "create", "--fleet", "soworker", "--root-key", &marit, "--policy-key", &marit];
        args.extend(["--policy-key", &jeroen, "--policy-threshold", threshold]);
        let (key, out, pass) = (self.path("marit.key"), self.path("root.json"), self.path("pass"));
        args.extend(["--key", &key, "--out", &out, "--passphrase-file", &pass]);
        tenure(&args)
    }
}

#[test]
fn a_key_is_encrypted_private_and_opened_by_openssl() {
    let desk = Desk::new();
    let made = desk.key("marit");
    assert_eq!(made.code, 0, "{}", made.err);
    let secret = desk.path("marit.key");
    assert_eq!(fs::metadata(&secret).expect("as the test set it up").permissions().mode() & 0o7777, 0o600);
    let pass = format!("file:{}", desk.path("pass"));
    let judged = run("/usr/bin/openssl", &["pkey", "-in", &secret, "-passin", &pass, "-pubout"], "");
    assert_eq!(judged.code, 0, "{}", judged.err);
    // SubjectPublicKeyInfo (RFC 8410): 12 bytes, then the 32 of the key; 12 is a multiple of 3, so base64 lines up.
    let spki = judged.out.lines().nth(1).expect("as the test set it up");
    let public = fs::read_to_string(desk.path("marit.pub")).expect("as the test set it up");
    assert_eq!(public, format!("tenure-ed25519 {} marit\n", &spki[16..]));
    let wrong = run("/usr/bin/openssl", &["pkey", "-in", &secret, "-passin", "pass:wrong"], "");
    assert_ne!(wrong.code, 0);
    let again = desk.key("marit");
    assert_eq!(again.code, 1);
    assert!(again.err.contains("stands there already"), "{}", again.err);
}

#[test]
fn a_passphrase_comes_from_a_descriptor_or_a_private_file_and_is_not_short() {
    let desk = Desk::new();
    let dir = desk.path("");
    let binary = env!("CARGO_BIN_EXE_tenure");
    let made =
        run(binary, &["key", "create", "a", "--dir", &dir, "--passphrase-fd", "0"], "a long passphrase\n");
    assert_eq!(made.code, 0, "{}", made.err);
    let short = run(binary, &["key", "create", "b", "--dir", &dir, "--passphrase-fd", "0"], "short\n");
    assert_eq!((short.code, Path::new(&desk.path("b.key")).exists()), (1, false), "{}", short.err);
    desk.mode("pass", 0o640);
    let open = desk.key("c");
    assert_eq!(open.code, 78);
    assert!(open.err.contains("next: chmod 600 "), "{}", open.err);
    assert!(!open.err.contains("correct horse"));
}

#[test]
fn a_wrong_passphrase_says_so_and_makes_nothing() {
    let desk = Desk::new();
    desk.key("marit");
    desk.key("jeroen");
    fs::write(desk.path("pass"), "another horse battery\n").expect("as the test set it up");
    let ran = desk.root("1");
    assert_eq!((ran.code, Path::new(&desk.path("root.json")).exists()), (1, false));
    assert!(ran.err.contains("the passphrase is wrong, or the file is damaged"), "{}", ran.err);
}

#[test]
fn keys_are_listed() {
    let desk = Desk::new();
    desk.key("marit");
    desk.key("jeroen");
    fs::remove_file(desk.path("marit.key")).expect("as the test set it up");
    let listed = tenure(&["key", "list", "--dir", &desk.path("")]);
    let lines: Vec<_> = listed.out.lines().collect();
    assert!(
        lines[0].ends_with("jeroen           secret here")
            && lines[1].ends_with("marit            public only")
    );
    let json = tenure(&["--json", "key", "list", "--dir", &desk.path("")]);
    let value: serde_json::Value = serde_json::from_str(&json.out).expect("as the test set it up");
    assert_eq!(value[1]["secret_here"], false);
}

#[test]
fn a_root_is_made_shown_and_verified() {
    let desk = Desk::new();
    desk.key("marit");
    desk.key("jeroen");
    let made = desk.root("2");
    assert_eq!(made.code, 0, "{}", made.err);
    let shown = tenure(&["root", "show", &desk.path("root.json")]);
    assert!(shown.out.contains("policy  2 of 2: jeroen, marit"), "{}", shown.out);
    let shown = tenure(&["root", "show", &desk.path("root.json"), "--json"]);
    let shown: serde_json::Value = serde_json::from_str(&shown.out).expect("is JSON");
    assert_eq!(shown["root"]["roles"]["policy"]["threshold"], 2, "{shown}");
    let verified = tenure(&["verify", &desk.path("root.json"), "--root", &desk.path("root.json")]);
    assert!(verified.out.starts_with("holds   root version 1, until "), "{}", verified.out);
    assert_eq!(desk.root("2").code, 1, "a root is never replaced");
    fs::remove_file(desk.path("root.json")).expect("as the test set it up");
    let impossible = desk.root("3");
    assert!(impossible.code == 1 && impossible.err.contains("asks for 3 of 2 keys"), "{}", impossible.err);
    assert!(!Path::new(&desk.path("root.json")).exists());
}

/// Writes an exported chain of `count` records and the host's public key.
fn export(desk: &Desk, count: u8) -> Vec<String> {
    let host = HostName::new("web1").expect("as the test set it up");
    let key = SigningKey::from_seed(&[9; 32]);
    let named = NamedKey { name: KeyName::new("web1").expect("as the test set it up"), key: key.public() };
    fs::write(desk.path("identity.pub"), format!("{named}\n")).expect("as the test set it up");
    let mut chain = Chain::begin(host.clone(), Epoch(1));
    let mut lines = vec![ExportHeader::new(host, Epoch(1), key.public()).to_json()];
    for number in 1..=count {
        let draft = Draft {
            about: About::Area(AreaName::new("firewall").expect("as the test set it up")),
            policy: None,
            judge: JudgeVersion::new("tenure test").expect("as the test set it up"),
            observed_at: "2026-11-22T10:00:00Z".parse().expect("as the test set it up"),
            verdict: Some(VerdictTag::Compliant),
            reason: None,
        };
        let payload =
            Payload::new([number; 32], b"{\"open\":[443]}".to_vec()).expect("as the test set it up");
        let link = chain.link(draft, payload, 0, &key);
        lines.push(link.line());
        chain.advance(&link);
    }
    lines
}

fn verify(desk: &Desk, lines: &[String], more: &[&str]) -> Ran {
    let (file, key) = (desk.path("web1.jsonl"), desk.path("identity.pub"));
    fs::write(&file, format!("{}\n", lines.join("\n"))).expect("as the test set it up");
    tenure(&[&["verify", &file, "--key", &key], more].concat())
}

#[test]
fn a_whole_chain_is_told_with_its_head() {
    let desk = Desk::new();
    let lines = export(&desk, 5);
    let ran = verify(&desk, &lines, &[]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert!(ran.out.starts_with("whole   chain of web1: 5 records, 1 to 5\nhead    "), "{}", ran.out);
    let head = ran
        .out
        .lines()
        .nth(1)
        .expect("as the test set it up")
        .split_whitespace()
        .nth(1)
        .expect("as the test set it up");
    assert_eq!(verify(&desk, &lines, &["--known", head]).code, 0);
    let cut = verify(&desk, &lines[..5], &["--known", head]);
    assert!(cut.code == 1 && cut.err.contains("known from before, is not in it"), "{}", cut.err);
    assert_eq!(verify(&desk, &lines, &["--quiet"]).out, "");
}

#[test]
fn a_planted_change_is_named_by_line_and_record() {
    let desk = Desk::new();
    let whole = export(&desk, 5);
    // a fact in the payload of record 3: {"open":[443]} becomes {"open":[442]} in base64
    let mut lines = whole.clone();
    lines[3] = lines[3].replace("eyJvcGVuIjpbNDQzXX0=", "eyJvcGVuIjpbNDQyXX0=");
    assert_ne!(lines, whole);
    let ran = verify(&desk, &lines, &[]);
    assert_eq!(ran.code, 1);
    assert!(ran.err.contains("web1.jsonl:4: record 3: the payload beside it was changed"), "{}", ran.err);
    // a record left out
    let mut lines = whole.clone();
    lines.remove(2);
    let ran = verify(&desk, &lines, &["--json"]);
    let value: serde_json::Value = serde_json::from_str(&ran.out).expect("as the test set it up");
    assert_eq!((ran.code, &value["clean"]), (1, &serde_json::json!(false)));
    assert_eq!(value["report"]["findings"][0]["line"], 3);
    assert_eq!(value["report"]["findings"][0]["fault"]["gap"], serde_json::json!({ "from": 2, "to": 2 }));
}

#[test]
fn hostile_files_are_named_without_reaching_the_terminal() {
    let desk = Desk::new();
    let mut lines = export(&desk, 2);
    lines.insert(2, "\x1b]0;owned\x07".into());
    lines.insert(3, "x".repeat(3 << 20));
    let ran = verify(&desk, &lines, &[]);
    assert_eq!(ran.code, 1);
    assert!(!ran.err.contains('\x1b') && ran.err.contains(":3: ") && ran.err.contains(":4: "), "{}", ran.err);
    let empty = verify(&desk, &[], &[]);
    assert_eq!(empty.code, 1);
    let missing = tenure(&["verify", &desk.path("none"), "--key", &desk.path("identity.pub")]);
    assert!(missing.code == 1 && missing.err.contains("cannot read "), "{}", missing.err);
}

#[test]
fn usage_is_64_and_help_is_0() {
    for args in [
        &["bogus"][..],
        &[],
        &["verify"],
        &["verify", "x"],
        &["key", "create", "Marit"],
        &["verify", "x", "--from", "y"],
    ] {
        assert_eq!(tenure(args).code, 64, "{args:?}");
    }
    for args in [&["--help"][..], &["--version"], &["key", "--help"]] {
        assert_eq!(tenure(args).code, 0, "{args:?}");
    }
    assert!(tenure(&["completions", "bash"]).out.contains("_tenure()"));
}

#[test]
fn every_command_has_a_man_page_with_the_exit_codes() {
    let dir = tempfile::tempdir().expect("a directory");
    assert_eq!(tenure(&["man", dir.path().to_str().expect("text")]).code, 0);
    for name in ["tenure", "tenure-sign", "tenure-key-create"] {
        let page = fs::read_to_string(dir.path().join(format!("{name}.1"))).expect(name);
        assert!(page.contains(".SH \"EXIT STATUS\"\n.TP\n0\n") && page.contains(".TP\n78\n"), "{page}");
    }
    assert!(!dir.path().join("tenure-man.1").exists(), "it is no command for people");
}

/// The example set of the repository.
fn example() -> String {
    concat!(env!("CARGO_MANIFEST_DIR"), "/../../policies/examples/soworker").to_owned()
}

impl Desk {
    fn sign(&self, set: &str, keys: &[&str], more: &[&str]) -> Ran {
        let (out, pass) = (self.path("signed"), self.path("pass"));
        let mut args = vec!["sign", set, "--out", &out, "--passphrase-file", &pass];
        let paths: Vec<String> = keys.iter().map(|key| self.path(&format!("{key}.key"))).collect();
        paths.iter().for_each(|path| args.extend(["--key", path.as_str()]));
        args.extend(more);
        tenure(&args)
    }

    fn signed(&self) -> Vec<(String, Vec<u8>)> {
        let entries = fs::read_dir(self.path("signed")).expect("the directory was made");
        let mut files: Vec<_> = entries
            .map(|entry| {
                let entry = entry.expect("it can be listed");
                let name = entry.file_name().into_string().expect("it is text");
                (name, fs::read(entry.path()).expect("it can be read"))
            })
            .collect();
        files.sort();
        files
    }
}

#[test]
fn a_set_is_signed_and_every_file_is_believed_under_the_root() {
    let desk = Desk::new();
    desk.key("marit");
    desk.key("jeroen");
    desk.root("1");
    let root = desk.path("root.json");
    let ran = desk.sign(&example(), &["marit"], &["--root", &root]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert!(ran.out.contains("version 1 of soworker, until ") && ran.out.contains("by marit"), "{}", ran.out);
    let index = desk.path("signed/index.json");
    let told = tenure(&["verify", &index, "--root", &root]);
    assert!(told.code == 0 && told.out.contains("index version 1"), "{}{}", told.out, told.err);
    let bundles: Vec<_> =
        desk.signed().into_iter().filter(|(name, _)| name.ends_with(".bundle.json")).collect();
    assert!(!bundles.is_empty());
    for (name, _) in bundles {
        let told =
            tenure(&["verify", &desk.path(&format!("signed/{name}")), "--root", &root, "--index", &index]);
        assert_eq!(told.code, 0, "{}", told.err);
        assert!(told.out.contains("by marit") && told.out.contains("host    "), "{}", told.out);
    }
}

#[test]
fn who_checks_or_signs_is_told_when_management_soon_gets_in_no_more() {
    let desk = Desk::new();
    desk.key("marit");
    let set = desk.path("set");
    copy(Path::new(&example()), Path::new(&set));
    let place = format!("{set}/local.yaml");
    let local = fs::read_to_string(&place).expect("it is there");
    let in_days = |days: &str| run("/usr/bin/date", &["-u", "-d", days, "+%F"], "").out.trim().to_owned();
    let told = |until: &str| {
        // The first of the two is marit's.
        fs::write(&place, local.replacen("until: \"2027-06-30\"", &format!("until: \"{until}\""), 1))
            .expect("write");
        let checked = tenure(&["check", &set]);
        let signed = desk.sign(&set, &["marit"], &[]);
        assert_eq!((checked.code, signed.code), (0, 0), "{}{}", checked.err, signed.err);
        let as_json = desk.sign(&set, &["marit"], &["--json"]);
        let as_json: serde_json::Value = serde_json::from_str(&as_json.out).expect("JSON");
        [
            checked.out.contains("ends on"),
            signed.out.contains("ends on"),
            as_json["notes"].to_string().contains("ends on"),
        ]
        .map(|told| (told, signed.out.clone()))
    };
    let soon = in_days("20 days");
    for (told, out) in told(&soon) {
        assert!(told && out.contains("local.yaml:") && out.contains("every login of marit"), "{out}");
        assert!(out.contains(&soon) && !out.contains("jeroen"), "{out}");
    }
    for (told, out) in told(&in_days("40 days")) {
        assert!(!told, "{out}");
    }
}

#[test]
fn versions_rise_and_unchanged_bundles_keep_their_hash() {
    let desk = Desk::new();
    desk.key("marit");
    assert_eq!(desk.sign(&example(), &["marit"], &[]).code, 0);
    let first = desk.signed();
    let ran = desk.sign(&example(), &["marit"], &["--version", "1"]);
    assert!(ran.code == 64 && ran.err.contains("version 1 is not above version 1"), "{}", ran.err);
    assert_eq!(desk.signed(), first, "nothing was changed");
    let ran = desk.sign(&example(), &["marit"], &[]);
    assert!(ran.out.contains("version 2 of ") && ran.out.contains("changed: none"), "{}", ran.out);
}

#[test]
fn a_key_that_the_root_does_not_name_signs_nothing_for_its_hosts() {
    let desk = Desk::new();
    for name in ["marit", "jeroen", "stranger"] {
        desk.key(name);
    }
    desk.root("1");
    let ran = desk.sign(&example(), &["stranger"], &["--root", &desk.path("root.json")]);
    assert!(ran.code == 1 && ran.err.contains("which the root does not name"), "{}", ran.err);
    assert!(!Path::new(&desk.path("signed")).exists());
}

#[test]
fn two_of_two_sign_one_after_the_other_from_the_same_set() {
    let desk = Desk::new();
    desk.key("marit");
    desk.key("jeroen");
    desk.root("2");
    let root = desk.path("root.json");
    let index = desk.path("signed/index.json");
    let ran = desk.sign(&example(), &["marit"], &["--root", &root]);
    assert!(ran.code == 0 && ran.err.contains("1 of 2 keys of the role policy signed it"), "{}", ran.err);
    assert_eq!(tenure(&["verify", &index, "--root", &root]).code, 1);
    let again = desk.sign(&example(), &["marit"], &["--root", &root, "--add"]);
    assert!(again.code == 1 && again.err.contains("has signed it already"), "{}", again.err);
    let ran = desk.sign(&example(), &["jeroen"], &["--root", &root, "--add"]);
    assert_eq!((ran.code, ran.err.as_str()), (0, ""));
    let told = tenure(&["verify", &index, "--root", &root]);
    assert!(told.code == 0 && told.out.contains("by "), "{}", told.err);
    // whoever reads another set than the first signer adds nothing
    let other = desk.path("other");
    copy(Path::new(&example()), Path::new(&other));
    let fleet = format!("{other}/fleet.yaml");
    let text = fs::read_to_string(&fleet).expect("the example has it");
    let changed = text.replace("security_within: 7d", "security_within: 8d");
    assert_ne!(text, changed);
    fs::write(&fleet, changed).expect("it can be written");
    let before = desk.signed();
    let ran = desk.sign(&other, &["jeroen"], &["--root", &root, "--add"]);
    assert!(ran.code == 1 && ran.err.contains("it was not signed from this set; different: "), "{}", ran.err);
    assert_eq!(desk.signed(), before);
}

#[test]
fn a_set_with_faults_is_not_signed() {
    let desk = Desk::new();
    desk.key("marit");
    let broken = desk.path("broken");
    copy(Path::new(&example()), Path::new(&broken));
    let fleet = format!("{broken}/fleet.yaml");
    let text = fs::read_to_string(&fleet).expect("the example has it");
    fs::write(&fleet, text.replacen("tenure: 1", "tenure: 1\ntenure: 1", 1)).expect("it can be written");
    let ran = desk.sign(&broken, &["marit"], &[]);
    assert_eq!(ran.code, 78, "{}", ran.err);
    assert!(ran.err.contains("fleet.yaml:"), "{}", ran.err);
    assert!(!Path::new(&desk.path("signed")).exists());
}

#[test]
fn a_value_is_explained_from_policy_with_origin_and_reason() {
    let ask = |words: &[&str]| tenure(&[&["explain", "--policy", &example()], words].concat());
    let ran = ask(&["web1", "firewall.inbound"]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    let lines: Vec<&str> = ran.out.lines().collect();
    assert!(
        lines[0].starts_with("from policy ") && lines[0].ends_with("not from what is live on web1"),
        "{}",
        ran.out
    );
    let key = |line: &str| line.starts_with("firewall.inbound.implied:ssh/admin/1 ");
    let own = lines.iter().position(|line| key(line)).expect("the logins' opening is explained");
    assert!(lines[own].ends_with("tcp/22 from office"), "{}", ran.out);
    assert!(
        lines[own + 1].contains("fleet.yaml:")
            && lines[own + 1].contains("profile base lets ops log in as admin"),
        "{}",
        ran.out
    );
    let json: serde_json::Value =
        serde_json::from_str(&ask(&["web1", "patch", "--json"]).out).expect("is JSON");
    assert_eq!(json["answers_from"], "policy");
    assert_eq!(json["values"][2]["key"], "patch.security_within");
    assert_eq!(json["values"][2]["origin"]["file"], "fleet.yaml");
    let ran = ask(&["web9", "patch"]);
    assert!(
        ran.code == 1 && ran.err.contains("no host web9") && ran.err.contains("vault1, web1"),
        "{}",
        ran.err
    );
    let ran = ask(&["web1", "firewal"]);
    assert!(ran.code == 1 && ran.err.contains("firewall.inbound"), "{}", ran.err);
}

#[test]
fn promises_are_told_with_their_worst_case() {
    let ran = tenure(&["check", "--promises", &example()]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert!(ran.out.contains("web1 3 a day, at worst 8 h between two"), "{}", ran.out);
    assert!(ran.out.contains("unknown: no probe yet") && ran.out.contains("without a probe"), "{}", ran.out);
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).expect("it is new");
    for entry in fs::read_dir(from).expect("it is there") {
        let entry = entry.expect("it can be listed");
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), &target).expect("it can be copied");
        }
    }
}
