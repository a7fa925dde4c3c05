//! What the kernel, the network and our own state files say to the area `firewall`.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde_json::{Value, json};
use tenure_areas::firewall::listing::{Listing, live_families};
use tenure_areas::firewall::nft::{Shown, render};
use tenure_areas::firewall::state::{
    CONFIRM, CONFIRMED, ConfirmRequest, Confirmed, REFUSED, RESTORES, Refused, Restores, Ruleset, TRIAL,
    Trial,
};
use tenure_areas::firewall::{Firewall, HostBits, Table, compile};
use tenure_areas::port::Flow;
use tenure_policy::resolved::FirewallSection;

use crate::check::{self, printable};
use crate::host::{Host, at, now};
use crate::policy::WEB;

static SECTION: LazyLock<FirewallSection> =
    LazyLock::new(|| WEB.firewall.clone().expect("the example has a firewall"));
static TABLE: LazyLock<Table> =
    LazyLock::new(|| compile(&SECTION, &HostBits::assumed(&SECTION)).expect("the example compiles"));

const PASSWD: &str = "root:x:0:0:root:/root:/bin/bash\n_apt:x:42:65534::/nonexistent:/usr/sbin/nologin\n";
const TRIE: &str = "Local:\n  +-- 0.0.0.0/0 3 0 5\n     |-- 198.51.100.11\n        /32 host LOCAL\n     |-- 198.51.100.255\n        /32 link BROADCAST\n";
const IF_INET6: &str = "20010db8000100000000000000000011 02 40 00 80     eth0\n";

fn listing(shown: &Shown<'_>) -> Value {
    let mut objects = vec![json!({"metainfo": {"version": "1.0.6", "json_schema_version": 1}})];
    objects.extend(render(shown));
    json!({"nftables": objects})
}

fn confirmed() -> Confirmed {
    Confirmed { at: at(1_799_000_000), ruleset: Ruleset::new(12, TABLE.clone()) }
}

fn trial() -> Trial {
    Trial {
        new: Ruleset::new(13, TABLE.clone()),
        over: Ruleset::new(12, Table::open()),
        from: at(1_799_999_950),
        until: at(1_800_000_010),
        until_boot_ms: 510_000,
        boot_id: "b".into(),
    }
}

fn bytes<T: serde::Serialize>(value: &T) -> Vec<u8> {
    serde_json::to_vec(value).expect("plain data")
}

/// A host that is as it should be.
fn calm() -> Host {
    let confirmed = confirmed();
    Host::default()
        .file("/etc/passwd", PASSWD)
        .file("/proc/net/fib_trie", TRIE)
        .file("/proc/net/if_inet6", IF_INET6)
        .file(CONFIRMED, bytes(&confirmed))
        .answer("own-table", listing(&Shown::Confirmed(confirmed.ruleset.numbered())).to_string())
        .answer("chains", chain_lists().remove(0))
        .answer("changes", "[]")
        .answer("flows", "")
        .answer("interfaces", "lo\neth0\n")
        .answer("listeners", "")
}

/// A host whose trial has just ended: it asks for connections and addresses.
fn after_trial() -> Host {
    let trial = trial();
    let shown = Shown::Trial { old: trial.over.numbered(), new: trial.new.numbered(), seconds: 60 };
    calm().file(TRIAL, bytes(&trial)).answer("own-table", listing(&shown).to_string())
}

fn judge(host: &Host) {
    check::area::<Firewall>(host, &SECTION, &now(), &[]);
}

/// The listing of our own table.
pub fn own_table(hostile: &[u8]) {
    match Listing::parse(hostile) {
        Err(error) => printable(&error.to_string(), 400),
        Ok(seen) => {
            assert!(seen.differences(&seen, 40).is_empty(), "it differs from itself");
            let confirmed = confirmed();
            let wanted = Listing::expected(&Shown::Confirmed(confirmed.ruleset.numbered()));
            let differences = seen.differences(&wanted, 40);
            assert!(differences.len() <= 41);
            differences.iter().for_each(|difference| printable(difference, 4000));
            assert_eq!(seen == wanted, differences.is_empty(), "a difference that is not told");
        }
    }
    judge(&calm().answer("own-table", hostile));
}

/// The listing of everybody's base chains.
pub fn chains(hostile: &[u8]) {
    judge(&calm().answer("chains", hostile));
}

/// The listing of a trial's live set.
pub fn live_set(hostile: &[u8]) {
    match live_families(hostile) {
        Ok(families) => assert!(families.iter().all(|family| family == "ipv4" || family == "ipv6")),
        Err(error) => printable(&error.to_string(), 400),
    }
}

/// Who changed the ruleset.
pub fn changes(hostile: &[u8]) {
    let mut host = calm().answer("changes", hostile);
    host.answers.remove("own-table");
    judge(&host);
}

/// Tracked connections.
pub fn flows(hostile: &[u8]) {
    judge(&after_trial().answer("flows", hostile));
}

/// Each of the state files; the first byte says which.
pub fn state(hostile: &[u8]) {
    const FILES: [&str; 5] = [CONFIRMED, TRIAL, REFUSED, CONFIRM, RESTORES];
    let Some((first, rest)) = hostile.split_first() else { return };
    let path = FILES[usize::from(*first) % FILES.len()];
    judge(&calm().file(path, rest));
    judge(&after_trial().file(path, rest));
}

/// A ruleset whose hash fits, with any content: what we would load is what we would expect to see.
pub fn ruleset(hostile: &[u8]) {
    let Ok(table) = serde_json::from_slice::<Table>(hostile) else { return };
    check::reads_back(&table);
    let confirmed = Confirmed { at: at(1_799_000_000), ruleset: Ruleset::new(12, table.clone()) };
    let shown = Shown::Confirmed(confirmed.ruleset.numbered());
    let text = listing(&shown).to_string();
    assert_eq!(Listing::parse(text.as_bytes()).as_ref(), Ok(&Listing::expected(&shown)));
    judge(&calm().file(CONFIRMED, bytes(&confirmed)));
    judge(&calm().file(CONFIRMED, bytes(&confirmed)).answer("own-table", text));
    judge(&after_trial().file(TRIAL, bytes(&Trial { over: Ruleset::new(12, table), ..trial() })));
}

/// The kernel's tables of this host's addresses, and the names of interfaces.
pub fn addresses(hostile: &[u8]) {
    judge(&after_trial().file("/proc/net/fib_trie", hostile).file("/proc/net/if_inet6", hostile));
    judge(&calm().answer("interfaces", hostile));
}

/// Our table confirmed, staged and on trial.
pub fn own_tables() -> Vec<Vec<u8>> {
    let (trial, confirmed) = (trial(), confirmed());
    let (old, new) = (trial.over.numbered(), trial.new.numbered());
    let all = [
        Shown::Confirmed(confirmed.ruleset.numbered()),
        Shown::Staged { old, new },
        Shown::Trial { old, new, seconds: 60 },
    ];
    all.iter().map(|shown| listing(shown).to_string().into_bytes()).collect()
}

/// Ours and those of another.
pub fn chain_lists() -> Vec<Vec<u8>> {
    let chain = |family: &str, table: &str, name: &str| {
        json!({"chain": {"family": family, "table": table, "name": name, "handle": 1, "type": "filter",
            "hook": "input", "prio": 0, "policy": "drop"}})
    };
    let chains =
        [chain("inet", "tenure", "input"), chain("ip", "filter", "INPUT"), chain("ip6", "docker", "x")];
    vec![json!({"nftables": chains}).to_string().into_bytes()]
}

/// A live set with both families, and one whose elements are gone.
pub fn live_sets() -> Vec<Vec<u8>> {
    let element = |family: &str| json!({"elem": {"val": family, "timeout": 60, "expires": 41}});
    let set = json!({"family": "inet", "table": "tenure", "name": "g13_live", "type": "nf_proto", "handle": 9,
        "flags": ["timeout"], "elem": [element("ipv4"), element("ipv6")]});
    let empty = json!({"family": "inet", "table": "tenure", "name": "g13_live", "type": "nf_proto"});
    [set, empty].map(|set| json!({"nftables": [{"set": set}]}).to_string().into_bytes()).to_vec()
}

/// As the watcher tells it.
pub fn change_lists() -> Vec<Vec<u8>> {
    let known = json!({"at": "2027-01-15T08:00:00Z", "generation": 41, "pid": 815, "comm": "nft"});
    let unknown = json!({"at": "2027-01-15T08:00:01Z", "generation": 42, "pid": null, "comm": null});
    vec![json!([known, unknown]).to_string().into_bytes()]
}

/// As the shell tells them.
pub fn flow_lists() -> Vec<Vec<u8>> {
    let flow = |protocol, src: &str, dst: &str| Flow {
        protocol,
        src: src.parse().expect("an address"),
        dst: dst.parse().expect("an address"),
        sport: 40_000,
        dport: 443,
    };
    let flows = [flow(6, "192.0.2.7", "198.51.100.11"), flow(17, "2001:db8:1::11", "2001:db8:53::53")];
    vec![flows.map(|flow| serde_json::to_string(&flow).expect("plain data")).join("\n").into_bytes()]
}

/// Each file behind its number.
pub fn states() -> Vec<Vec<u8>> {
    let (now, hash) = (at(1_799_999_990), TABLE.hash());
    let files = [
        bytes(&confirmed()),
        bytes(&trial()),
        bytes(&Refused { number: 13, hash, why: "nobody confirmed it in time".into(), at: now }),
        bytes(&ConfirmRequest { number: 13, hash, by: "marit".into(), at: now }),
        bytes(&Restores { since: now, count: 3, last: now }),
    ];
    files.iter().zip(0u8..).map(|(file, number)| [&[number][..], file].concat()).collect()
}

/// Tables without numbers.
pub fn rulesets() -> Vec<Vec<u8>> {
    vec![bytes(&*TABLE), bytes(&Table::open()), bytes(&BTreeMap::from([("counters", [""; 0])]))]
}

/// What /proc and the list of interfaces say.
pub fn address_files() -> Vec<Vec<u8>> {
    [TRIE, IF_INET6, "lo\neth0\ndocker0\nbr-1a2b\n"].map(|text| text.as_bytes().to_vec()).to_vec()
}
