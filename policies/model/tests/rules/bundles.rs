//! What machines get beside their own firewall and logins: derived openings (rule 6), whose data goes where (rule 13),
//! vaults' bundles and the duty book.

use tenure_policy::bundles::{BackupSection, SeriesSection, VaultPolicy};
use tenure_policy::resolved::{ConfirmBy, HostPolicy, Peers, Users};
use tenure_policy::{FaultCode, Set};
use tenure_trust::{Bundle, Kind, Owner, SetName, Statement};

use super::{GOOD, changed, good, host, refused};

/// The good set with a controller, a confirmer and a database that two tenants have a part of.
fn full() -> Set {
    let text = GOOD
        .replace("recovery:", "controller: { host: ctl1, port: 8441, site: Delft }\nrecovery:")
        .replace("by: [person]", "by: [vault1, person]")
        .replace(
            "hosts:\n",
            "hosts:\n  ctl1: { profiles: [base], addresses: [198.51.100.5], site: Delft }\n",
        )
        .replace("paths: [/srv/app] }", "paths: [/srv/app], databases: [main] }")
        .replace(
            "addresses: [198.51.100.11, \"2001:db8:1::11\"], site: Amsterdam",
            "addresses: [198.51.100.11, \"2001:db8:1::11\"], site: Amsterdam, databases: { main: { postgresql: app, socket: /run/postgresql } }",
        )
        .replace(
            "files: { host: web1, path: /srv/app/client, user: client }",
            "files: { host: web1, path: /srv/app/client, user: client }\n      data: { host: web1, database: main, schema: client }",
        );
    good(&text)
}

fn section(policy: &HostPolicy) -> &BackupSection {
    policy.backup.as_ref().expect("a backup section")
}

fn series<'s>(section: &'s BackupSection, owner: &str, set: SetName) -> &'s SeriesSection {
    let of = |s: &&SeriesSection| match &s.series.owner {
        Owner::Host => owner == "host",
        Owner::Tenant(tenant) => tenant.as_str() == owner,
    };
    let mut found = section.series.iter().filter(of).filter(|s| s.series.set == set);
    found.next().expect("the owner has such a set")
}

/// `way id ports peers users` of every opening that no rule of the policy names.
fn implied(policy: &HostPolicy) -> Vec<String> {
    let firewall = policy.firewall.as_ref().expect("a firewall section");
    let peers = |peers: &Peers| match peers {
        Peers::Anywhere => "anywhere".to_owned(),
        Peers::Networks(some) => some.iter().map(|n| n.as_str()).collect::<Vec<_>>().join("+"),
    };
    let ours = |id: &str| id.starts_with("implied:") && !id.starts_with("implied:ssh/");
    let inbound = firewall.inbound.iter().filter(|rule| ours(rule.id.as_str()));
    let inbound = inbound.map(|rule| format!("{} {} {}", rule.id, rule.ports[0].first, peers(&rule.from)));
    let outbound = firewall.outbound.iter().filter(|rule| ours(rule.id.as_str())).map(|rule| {
        let users = if matches!(rule.users, Users::Every) { "every" } else { "root" };
        format!("{} {} {} {users}", rule.id, rule.ports[0].first, peers(&rule.to))
    });
    let mut all: Vec<String> = inbound.chain(outbound).collect();
    all.sort();
    all
}

#[test]
fn openings_follow_from_controller_vault_and_prober_on_both_ends() {
    let set = full();
    assert_eq!(
        implied(&host(&set, "web1")),
        [
            "implied:confirm/vault1/in 22 vault1",
            "implied:confirm/vault1/out 8442 vault1 root",
            "implied:controller/out 8441 ctl1 root",
            "implied:vault/vault1/out 8422 vault1 root",
        ]
    );
    assert_eq!(
        implied(&host(&set, "vault1")),
        [
            "implied:confirm/in 8442 ctl1+db1+web1",
            "implied:confirm/out 22 ctl1+db1+web1 root",
            "implied:controller/out 8441 ctl1 every",
            "implied:vault/vault1/in 8422 office+web1",
        ]
    );
    assert_eq!(
        implied(&host(&set, "ctl1")),
        [
            "implied:confirm/vault1/in 22 vault1",
            "implied:confirm/vault1/out 8442 vault1 root",
            "implied:controller/in 8441 db1+vault1+web1",
        ]
    );
    // nothing of it without its cause
    assert_eq!(implied(&host(&good(GOOD), "db1")), [] as [&str; 0]);
    // and every opening can be asked for its reason
    let name = "vault1".parse().expect("a name");
    let why = set.explain(&name, "firewall.inbound").expect("the host");
    assert!(why.iter().any(|entry| format!("{entry:?}").contains("implied:vault/vault1/in")), "{why:?}");
}

#[test]
fn a_prober_confirms_others_and_never_itself() {
    let set = full();
    let confirm = |name: &str| host(&set, name).firewall.expect("a firewall section").confirm.by;
    assert!(
        matches!(confirm("web1"), ConfirmBy::Hosts(by) if by.len() == 1 && by[0].host.as_str() == "vault1")
    );
    assert_eq!(confirm("vault1"), ConfirmBy::Person);
    let prober = host(&set, "vault1").prober.expect("it is a prober");
    assert_eq!(prober.hosts.keys().map(|h| h.as_str()).collect::<Vec<_>>(), ["ctl1", "db1", "web1"]);
    assert!(host(&set, "web1").prober.is_none());
    refused("by: [person]", "by: [office]", FaultCode::Rule, "confirms nothing");
    refused("by: [person]", "by: [vault2]", FaultCode::UnknownName, "confirmer");
}

#[test]
fn whose_data_goes_where() {
    let policy = host(&full(), "web1");
    let section = section(&policy);
    let names = |list: &[tenure_policy::scalars::AbsolutePath]| {
        list.iter().map(|path| path.as_str().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(section.series.len(), 4, "server and nightly for the host and for the tenant");
    assert_eq!(section.series[0].series.owner, Owner::Host, "the host's own come first");
    let server = series(section, "host", SetName::Server);
    assert_eq!(
        (names(&server.paths), names(&server.exclude)),
        (vec!["/".into()], vec!["/srv/app/client".into()])
    );
    let nightly = series(section, "host", SetName::Nightly);
    assert_eq!(names(&nightly.paths), ["/srv/app"]);
    assert_eq!(
        nightly.dumps[0].without[0].as_str(),
        "client",
        "the host's dump leaves the tenant's schema out"
    );
    for set in [SetName::Server, SetName::Nightly] {
        let theirs = series(section, "client", set);
        assert_eq!(names(&theirs.paths), ["/srv/app/client"], "{set}");
        assert!(theirs.exclude.is_empty());
    }
    let dump = &series(section, "client", SetName::Nightly).dumps[0];
    assert_eq!((dump.only[0].as_str(), dump.without.len()), ("client", 0));
    assert!(series(section, "client", SetName::Server).dumps.is_empty());
    assert_eq!(section.recipients.len(), 2);
    assert_eq!(section.vaults.len(), 1);
    // no series of a host that backs nothing up, and no tenant under a host's name
    assert!(host(&full(), "db1").backup.is_none());
    let text = changed("tenants:\n  client:", "tenants:\n  web1:");
    let faults = super::bad(&text);
    assert!(faults.iter().any(|fault| fault.what.contains("has the name of the host")), "{faults}");
}

#[test]
fn a_vault_gets_the_series_of_all_hosts_and_nothing_else() {
    let set = full();
    let vaults = set.vault_policies();
    let (on, vault): (_, &VaultPolicy) = vaults.iter().next().expect("one vault");
    assert_eq!((vaults.len(), on.as_str(), vault.machine().as_str()), (1, "vault1", "vault1"));
    assert_eq!(VaultPolicy::KIND, Kind::VaultPolicy);
    let web1 = host(&set, "web1");
    let mut wanted: Vec<_> = section(&web1).series.iter().map(|s| s.series.clone()).collect();
    wanted.sort();
    assert_eq!(vault.series.iter().map(|s| s.series.clone()).collect::<Vec<_>>(), wanted);
    assert_eq!(vault.hosts.keys().map(|h| h.as_str()).collect::<Vec<_>>(), ["web1"]);
    assert_eq!(vault.recovery_from.len(), 2, "office, both families");
    assert_eq!((vault.keep_free_bytes, vault.quota_bytes), (100 << 30, 400 << 30));
    let bytes = serde_json::to_vec(vault).expect("it is written down");
    assert_eq!(&serde_json::from_slice::<VaultPolicy>(&bytes).expect("and read"), vault);
    // two vaults on one machine would be lost together
    let second =
        "vault1: { host: vault1, port: 8422, store: /srv/vault, keep_free: 100 GiB, quota: 400 GiB }";
    let both = format!(
        "{second}\n  vault2: {{ host: vault1, port: 8423, store: /srv/two, keep_free: 1 GiB, quota: 4 GiB }}"
    );
    refused(second, &both, FaultCode::DefinedTwice, "second vault on the same host");
}

#[test]
fn the_duty_book_names_every_promise_in_their_words() {
    let book = full().duty_book().expect("a controller");
    assert_eq!(book.machine().as_str(), "ctl1");
    let client = &book.tenants[&"client".parse().expect("a name")];
    let said: Vec<_> = client.promises.iter().map(|p| (p.says.as_str(), p.means.as_str())).collect();
    assert_eq!(
        said,
        [("drie keer per dag", "backup.server"), ("elders", "backup.offhost"), ("weg na een maand", "purge")]
    );
    assert_eq!((client.promises[0].at_least_times, client.promises[0].at_least_days), (Some(3), Some(1)));
    assert_eq!(client.promises[0].hosts.iter().map(|h| h.as_str()).collect::<Vec<_>>(), ["web1"]);
    assert_eq!(book.waivers[0].hosts.iter().map(|h| h.as_str()).collect::<Vec<_>>(), ["db1"]);
    assert_eq!(book.machines.len(), 4);
    assert!(good(GOOD).duty_book().is_none(), "without a controller nobody judges");
}
