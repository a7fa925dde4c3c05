//! The demo's own people, keys and addresses: one file of the set, in the place of the example's `local.yaml`.

use age::secrecy::ExposeSecret as _;
use tenure_lab::repository;
use tenure_scenarios::copies::{self, AMSTERDAM};
use tenure_scenarios::{Fleet, Policy, Result};

/// Where the example stands in the repository.
pub(crate) const EXAMPLE: &str = "policies/examples/soworker";
/// The file that the demo writes itself.
pub(crate) const LOCAL: &str = "local.yaml";

/// The secret halves of the recipients, each in a place of its own.
pub(crate) const RECOVERY: [&str; 2] = ["/root/safe/marit.age", "/root/vaulted/jeroen.age"];
/// Where the vault listens.
pub(crate) const PORT: &str = "8422";
/// Where it keeps the series.
pub(crate) const STORE: &str = "/srv/vault";
const RECIPIENTS: &str = "/root/keys/recipients";
const JEROEN: &str = "/root/keys/jeroen";
/// The zone of this run's days.
const ZONE: &str = "/root/keys/zone";

/// The example's files with the demo's own local one.
pub(crate) fn set(fleet: &Fleet) -> Result<Policy> {
    let mut policy = Policy { files: [(LOCAL.to_owned(), text(fleet)?)].into() };
    let example = repository().join(EXAMPLE);
    for folder in ["", "tenants"] {
        let entries =
            std::fs::read_dir(example.join(folder)).map_err(|e| format!("read {EXAMPLE}/{folder}: {e}"))?;
        for entry in entries {
            let path = entry?.path();
            let name = path.strip_prefix(&example)?.display().to_string();
            if name.ends_with(".yaml") && name != LOCAL {
                policy.files.insert(name, std::fs::read_to_string(&path)?);
            }
        }
    }
    Ok(policy.with(AMSTERDAM, &zone(fleet)?))
}

/// Amsterdam, as the example has it; late in its evening another one, so that a day does not end within the demo.
pub(crate) fn zone(fleet: &Fleet) -> Result<String> {
    Ok(fleet.office.get(ZONE)?)
}

/// Makes what this file names: jeroen's key, and two age keys whose secret halves stay in places of their own; and fixes
/// the zone.
pub(crate) fn prepare(fleet: &Fleet) -> Result<()> {
    let words = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "jeroen", "-f", JEROEN];
    fleet.office.must(&words)?;
    let mut public = String::new();
    for place in RECOVERY {
        let identity = age::x25519::Identity::generate();
        let secret = format!("{}\n", identity.to_string().expose_secret());
        fleet.office.put(place, secret.as_bytes(), "600")?;
        public += &format!("{}\n", identity.to_public());
    }
    fleet.office.put(ZONE, copies::zone(&fleet.office)?.as_bytes(), "644")?;
    Ok(fleet.office.put(RECIPIENTS, public.as_bytes(), "644")?)
}

fn text(fleet: &Fleet) -> Result<String> {
    let key = &fleet.marit_public;
    let until = &fleet.until;
    let other = fleet.office.get(&format!("{JEROEN}.pub"))?;
    let other = other.trim();
    let recipients = fleet.office.get(RECIPIENTS)?;
    let recipients = recipients.lines().map(|line| format!("\"{line}\"")).collect::<Vec<_>>().join(", ");
    Ok(format!(
        r#"# Who, from where, and which machines in the demo; made anew each time.
# So often a machine speaks when nothing changes: short, for a demo.
heartbeat: 15s

networks:
  office: [203.0.113.9, "2001:db8:10::9"]
  resolvers: [198.51.100.53, "2001:db8:53::53"]
  clocks: [198.51.100.123, "2001:db8:53::123"]
  mirrors: [198.51.100.7, "2001:db8:1::7"]

people:
  marit: {{ keys: ["{key}"], from: [office], until: "{until}" }}
  jeroen: {{ keys: ["{other}"], from: [office], until: "{until}" }}
groups: {{ ops: [marit, jeroen] }}

controller: {{ host: ctl1, port: 8441, site: Utrecht }}
management: {{ who: [ops], confirm: {{ by: [ctl1, vault1, person], within: 60s }} }}
recovery: {{ recipients: [{recipients}] }}
vaults:
  vault1: {{ host: vault1, port: {PORT}, store: {STORE}, keep_free: 100 MiB, quota: 20 GiB }}

hosts:
  web1:
    profiles: [base, web]
    addresses: [198.51.100.11, "2001:db8:1::11"]
    environment: production
    site: Amsterdam
    databases: {{ main: {{ postgresql: app, socket: /run/postgresql }} }}
  vault1: {{ profiles: [base], addresses: [198.51.100.7, "2001:db8:1::7"], environment: production, site: Delft }}
  ctl1: {{ profiles: [base, centre], addresses: [198.51.100.20, "2001:db8:1::20"], environment: production, site: Utrecht }}

tests:
  - {{ from: 203.0.113.9, to: web1, accept: [ssh, https], drop: [postgresql] }}
  - {{ from: 192.0.2.77, to: web1, accept: [https], drop: [ssh, postgresql, tcp/9000] }}
  - {{ from: "2001:db8:ff::77", to: web1, accept: [https], drop: [ssh, postgresql, tcp/9000] }}
  - {{ from: 203.0.113.9, to: ctl1, accept: [ssh, tcp/8443], drop: [https] }}
  - {{ from: web1, to: 198.51.100.7, user: _apt, accept: [http, https] }}
  - {{ from: web1, to: 198.51.100.7, user: deploy, drop: [http, https] }}
  - {{ from: web1, to: 192.0.2.77, drop: [https, smtp] }}
  - {{ login: marit, from: 203.0.113.9, to: web1, as: admin, expect: accept }}
  - {{ login: marit, from: "2001:db8:10::9", to: web1, as: admin, expect: accept }}
  - {{ login: marit, from: 192.0.2.77, to: web1, as: admin, expect: drop }}
  - {{ login: jeroen, from: 203.0.113.9, to: vault1, as: admin, expect: accept }}
"#
    ))
}
