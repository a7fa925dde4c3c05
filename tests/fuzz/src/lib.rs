//! One function per parser that takes any bytes and asserts what must hold for all of them, not only "does not panic":
//! what is rendered reads back, what is printed steers no terminal, what is kept is bounded, what is signed is not forged.
//! Two drivers: `tests/short.rs` (a fixed number of rounds, in `make test`) and `fuzz/` (cargo-fuzz, without end).

pub mod backup;
pub mod check;
pub mod enrol;
pub mod firewall;
pub mod host;
pub mod mutate;
pub mod patch;
pub mod payload;
pub mod policy;
pub mod ssh_access;
pub mod trust;
pub mod vault;

/// A parser under fuzz.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// Its name: of the folder of seeds and of cargo-fuzz's target.
    pub name: &'static str,
    /// Takes anything; a broken invariant is a panic.
    pub run: fn(&[u8]),
    /// Good inputs to begin with, made in code; more of them, printed by real programs, are in `seeds/<name>/`.
    pub seeds: fn() -> Vec<Vec<u8>>,
    /// How often the short driver calls it: about a second's worth without optimisation. `examples/soak.rs` goes on.
    pub rounds: u32,
}

/// Every parser.
pub const TARGETS: &[Target] = &[
    Target { name: "policy_set", run: policy::set, seeds: policy::sets, rounds: 120 },
    Target { name: "policy_fmt", run: policy::fmt, seeds: policy::files, rounds: 800 },
    Target { name: "host_policy", run: policy::host_policy, seeds: policy::host_policies, rounds: 1500 },
    Target { name: "envelope", run: trust::envelope, seeds: trust::envelopes, rounds: 4000 },
    Target { name: "signed", run: trust::signed, seeds: trust::envelopes, rounds: 1500 },
    Target { name: "statement", run: trust::statement, seeds: trust::statements, rounds: 800 },
    Target { name: "chain", run: trust::chain, seeds: trust::chains, rounds: 250 },
    Target { name: "ingest", run: enrol::ingest, seeds: enrol::lines, rounds: 400 },
    Target { name: "enrolment", run: enrol::enrolment, seeds: enrol::enrolments, rounds: 1500 },
    Target { name: "payload", run: payload::payload, seeds: payload::payload_seeds, rounds: 300 },
    Target { name: "key_text", run: trust::key_text, seeds: trust::key_texts, rounds: 3000 },
    Target { name: "vault_frames", run: vault::frames, seeds: vault::frame_streams, rounds: 3000 },
    Target { name: "vault_view", run: vault::view, seeds: vault::paths, rounds: 5000 },
    Target { name: "nft_table", run: firewall::own_table, seeds: firewall::own_tables, rounds: 120 },
    Target { name: "nft_chains", run: firewall::chains, seeds: firewall::chain_lists, rounds: 150 },
    Target { name: "nft_live_set", run: firewall::live_set, seeds: firewall::live_sets, rounds: 3000 },
    Target { name: "nft_changes", run: firewall::changes, seeds: firewall::change_lists, rounds: 120 },
    Target { name: "flows", run: firewall::flows, seeds: firewall::flow_lists, rounds: 120 },
    Target { name: "firewall_state", run: firewall::state, seeds: firewall::states, rounds: 100 },
    Target { name: "firewall_ruleset", run: firewall::ruleset, seeds: firewall::rulesets, rounds: 100 },
    Target { name: "own_addresses", run: firewall::addresses, seeds: firewall::address_files, rounds: 100 },
    Target { name: "sshd_effective", run: ssh_access::effective, seeds: ssh_access::effectives, rounds: 200 },
    Target { name: "sshd_config", run: ssh_access::config, seeds: ssh_access::configs, rounds: 600 },
    Target { name: "listeners", run: ssh_access::listeners, seeds: ssh_access::listener_lists, rounds: 300 },
    Target { name: "authorized_keys", run: ssh_access::keys, seeds: ssh_access::key_files, rounds: 500 },
    Target { name: "passwd", run: ssh_access::passwd, seeds: ssh_access::passwds, rounds: 200 },
    Target { name: "ssh_before", run: ssh_access::before, seeds: ssh_access::befores, rounds: 250 },
    Target { name: "sshd_journal", run: ssh_access::sshd_journal, seeds: ssh_access::journals, rounds: 300 },
    Target { name: "ssh_notes", run: ssh_access::notes, seeds: ssh_access::note_files, rounds: 200 },
    Target { name: "apt_simulate", run: patch::apt, seeds: patch::simulations, rounds: 800 },
    Target { name: "apt_release", run: patch::release, seeds: patch::releases, rounds: 800 },
    Target { name: "dpkg", run: patch::dpkg, seeds: patch::package_lists, rounds: 800 },
    Target { name: "patch_seen", run: patch::seen, seeds: patch::memories, rounds: 800 },
    Target { name: "debian_version", run: patch::version, seeds: patch::versions, rounds: 5000 },
    Target { name: "restic_index", run: backup::index, seeds: backup::indexes, rounds: 3000 },
    Target { name: "restic_snapshot", run: backup::snapshot, seeds: backup::snapshots, rounds: 3000 },
    Target { name: "restic_tree", run: backup::tree, seeds: backup::trees, rounds: 1500 },
    Target { name: "restic_pack_header", run: backup::header, seeds: backup::headers, rounds: 5000 },
];

/// Runs a target by its name.
///
/// # Panics
/// When an invariant of it is broken or there is no such target.
pub fn run(name: &str, bytes: &[u8]) {
    let target = TARGETS.iter().find(|target| target.name == name).expect("a name of TARGETS");
    (target.run)(bytes);
}
