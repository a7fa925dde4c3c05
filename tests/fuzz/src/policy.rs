//! The policy language: a set's texts, the canonical form, and the bundle that a host gets.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use tenure_areas::area::AreaSpec;
use tenure_areas::firewall::listing::Listing;
use tenure_areas::firewall::nft::{Numbered, Shown, render};
use tenure_areas::firewall::{Firewall, HostBits, compile, guard};
use tenure_areas::ssh_access::{SshAccess, keys, render as ssh};
use tenure_policy::fault::{Faults, MAX_FAULTS};
use tenure_policy::resolved::{FirewallSection, HostPolicy, Login};
use tenure_policy::tree::{self, Kind, Node};
use tenure_policy::{load, load_standalone};
use tenure_trust::Hash;

use crate::check::{printable, reads_back};
use crate::host::now;

const FLEET: &str = include_str!("../../../policies/examples/soworker/fleet.yaml");
const LOCAL: &str = include_str!("../../../policies/examples/soworker/local.yaml");
const TENANT: &str = include_str!("../../../policies/examples/soworker/tenants/example-client.yaml");
const COMPLETE: &str = include_str!("../../../policies/model/tests/complete.yaml");

/// What the example gives its first host with a firewall and logins.
pub static WEB: LazyLock<HostPolicy> = LazyLock::new(|| {
    let set = load_standalone(&files_in(sets()[0].as_slice())).expect("the example is a policy");
    let name = set.hosts().find(|name| name.as_str() == "web1").expect("the example has web1").clone();
    set.host_policy(&name).expect("it is resolved")
});

/// The head of a file inside the bytes of a set.
const HEAD: &str = "=== ";

/// A set: `=== path` lines begin files; what stands before the first is `fleet.yaml`.
pub fn set(bytes: &[u8]) {
    let files = files_in(bytes);
    match load_standalone(&files) {
        Err(faults) => refused(&faults),
        Ok(set) => {
            for name in set.hosts() {
                let policy = set.host_policy(name).expect("a host of the set");
                reads_back(&policy);
                for explained in set.explain(name, "").expect("a host of the set") {
                    printable(&explained.key, 2000);
                    printable(&explained.value, 64 << 10);
                    printable(&explained.reason, 8 << 10);
                }
                accepted(&policy);
            }
            set.notes(now().wall).iter().for_each(|note| printable(&note.to_string(), 8000));
        }
    }
    if let Err(faults) = load(&files) {
        refused(&faults);
    }
}

fn refused(faults: &Faults) {
    assert!(!faults.is_empty(), "refused without a fault");
    assert!(faults.len() <= MAX_FAULTS, "{} faults", faults.len());
    for fault in faults {
        fault.to_string().split('\n').for_each(|line| printable(line, 8 << 10));
    }
}

/// One file: its canonical form is final and means the same.
pub fn fmt(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    for path in ["fleet.yaml", "hosts/web1.yaml"] {
        let once = match tenure_policy::fmt::canonical(path, &text) {
            Ok(once) => once,
            Err(faults) => {
                refused(&faults);
                continue;
            }
        };
        assert_eq!(meaning(path, &once), meaning(path, &text), "another meaning:\n{text}\n---\n{once}");
        let twice = tenure_policy::fmt::canonical(path, &once);
        let twice = twice.unwrap_or_else(|faults| unreachable!("its own form is refused: {faults}\n{once}"));
        assert_eq!(twice, once, "formatting twice is not once:\n{text}\n---\n{once}\n---\n{twice}");
    }
}

/// A tree without places, comments and the order of keys.
fn meaning(path: &str, text: &str) -> String {
    let mut faults = Faults::new();
    let tree = tree::parse(path, text, &mut faults);
    assert!(faults.is_empty(), "its own form is refused: {faults}\n{text}");
    tree.map(|tree| shape(&tree.root)).unwrap_or_default()
}

fn shape(node: &Node) -> String {
    match &node.kind {
        Kind::Scalar { text, plain } => {
            // Whether quotes stand around a text is of no meaning, unless they make a text of a number or a word.
            let word = matches!(text.as_str(), "true" | "false" | "null")
                || tenure_policy::plain::is_integer(text)
                || tenure_policy::plain::is_float(text);
            format!("{}{text:?}", if *plain && word { "=" } else { "" })
        }
        Kind::List(items) => format!("[{}]", items.iter().map(shape).collect::<Vec<_>>().join(",")),
        Kind::Map(entries) => {
            let entries: BTreeMap<&str, String> =
                entries.iter().map(|(key, value)| (key.text.as_str(), shape(value))).collect();
            format!("{entries:?}")
        }
        Kind::Bad => "bad".to_owned(),
    }
}

/// The content of a host's bundle, however it came about.
pub fn host_policy(bytes: &[u8]) {
    if let Ok(policy) = serde_json::from_slice::<HostPolicy>(bytes) {
        reads_back(&policy);
        accepted(&policy);
    }
}

/// What areas make of a bundle, whatever stands in it: a table that the kernel would list back, and key files in which
/// every line that sshd takes a key from is restricted.
fn accepted(policy: &HostPolicy) {
    if let Some(section) = &policy.firewall {
        compiled(section);
    }
    if let Some(section) = &policy.ssh_access {
        let logins: Vec<&Login> = section.logins.iter().collect();
        let text = ssh::key_file(&logins);
        let found = keys::parse(text.as_bytes());
        assert_eq!(found.len(), logins.iter().map(|login| ssh::lines(login).len()).sum::<usize>(), "{text}");
        for (_, key) in found {
            let from = key.option("from").unwrap_or_default();
            assert!(!from.is_empty() && key.options[0].0 == "restrict", "an open key: {text}");
        }
        for line in ssh::drop_in(&logins).lines() {
            let keyword = line.split(' ').next().unwrap_or_default();
            assert!(keyword == "#" || keyword.bytes().all(|b| b.is_ascii_alphabetic()), "{line}");
        }
        SshAccess::desired(section);
    }
}

fn compiled(section: &FirewallSection) {
    match compile(section, &HostBits::assumed(section)) {
        Err(error) => printable(&format!("{error}; {}", error.hint()), 1000),
        Ok(table) => {
            let number = Numbered { number: 3, table: &table, hash: Hash::of(b"any") };
            let json = serde_json::json!({"nftables": render(&Shown::Confirmed(number))}).to_string();
            let listed = Listing::parse(json.as_bytes()).expect("what we render is a listing");
            assert_eq!(listed, Listing::expected(&Shown::Confirmed(number)));
            if let Err(refusal) = guard::management_stays(&Firewall::desired(section), &table, &[]) {
                printable(&refusal.to_string(), 4000);
            }
        }
    }
}

pub(crate) fn files_in(bytes: &[u8]) -> BTreeMap<String, String> {
    let text = String::from_utf8_lossy(bytes);
    let mut files: BTreeMap<String, String> = BTreeMap::new();
    let mut path = "fleet.yaml".to_owned();
    for line in text.split_inclusive('\n') {
        match line.strip_prefix(HEAD) {
            Some(name) => path = name.trim_end_matches('\n').to_owned(),
            None => files.entry(path.clone()).or_default().push_str(line),
        }
    }
    files
}

/// The example, and a file with everything in it.
pub fn sets() -> Vec<Vec<u8>> {
    let example = format!("{FLEET}{HEAD}local.yaml\n{LOCAL}{HEAD}tenants/example-client.yaml\n{TENANT}");
    vec![example.into_bytes(), COMPLETE.as_bytes().to_vec()]
}

/// Single files, and forms that stand in none of them.
pub fn files() -> Vec<Vec<u8>> {
    const ODD: [&str; 8] = [
        "# top\n\na: 1 # one\n# between\nb:\n  # inside\n  - x # item\n  # below\n# end\n",
        "a: |\n  two\n  lines\nb: >-\n  folded\n  text\n",
        "{a: [1, {b: c, d: [e, \"f,g\"]}], # in brackets\n \"h i\": 'it''s'}\n",
        "- - a\n  - b\n-\n  c: d\n  e:\n  - f\n",
        "? a\n: b\n",
        "\"a: b\": \"\\u0041\\n\\x1b\"\n",
        "a: plain text\n  on two lines\nb: \"quoted\n  on two\"\n",
        "# only a comment\n",
    ];
    let files = [FLEET, LOCAL, TENANT, COMPLETE].into_iter().chain(ODD);
    files.map(|text| text.as_bytes().to_vec()).collect()
}

/// The bundle of the example's web host.
pub fn host_policies() -> Vec<Vec<u8>> {
    vec![serde_json::to_vec(&*WEB).expect("plain data")]
}
