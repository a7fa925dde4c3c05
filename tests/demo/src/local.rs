//! The demo's own people, keys and addresses: one file of the set, in the place of the example's `local.yaml`.

use tenure_lab::repository;
use tenure_scenarios::{Fleet, Policy, Result};

/// Where the example stands in the repository.
pub(crate) const EXAMPLE: &str = "policies/examples/soworker";
/// The file that the demo writes itself.
pub(crate) const LOCAL: &str = "local.yaml";

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
    Ok(policy)
}

fn text(fleet: &Fleet) -> Result<String> {
    let key = &fleet.marit_public;
    let until = &fleet.until;
    let other = fleet.office.must(&[
        "sh",
        "-c",
        "[ -e /root/keys/jeroen ] || ssh-keygen -q -t ed25519 -N '' -C jeroen -f /root/keys/jeroen; cat /root/keys/jeroen.pub",
    ])?;
    let other = other.trim();
    Ok(format!(
        r#"# Who, from where, and which machines in the demo; made anew each time.
networks:
  office: [203.0.113.9, "2001:db8:10::9"]
  resolvers: [198.51.100.53, "2001:db8:53::53"]
  clocks: [198.51.100.123, "2001:db8:53::123"]
  mirrors: [198.51.100.7, "2001:db8:1::7"]

people:
  marit: {{ keys: ["{key}"], from: [office], until: "{until}" }}
  jeroen: {{ keys: ["{other}"], from: [office], until: "{until}" }}
groups: {{ ops: [marit, jeroen] }}

management: {{ who: [ops], confirm: {{ by: [person], within: 60s }} }}

hosts:
  web1:
    profiles: [base, web]
    addresses: [198.51.100.11, "2001:db8:1::11"]
    environment: production
    site: Amsterdam
    databases: {{ main: {{ postgresql: app, socket: /run/postgresql }} }}
  vault1: {{ profiles: [base], addresses: [198.51.100.7, "2001:db8:1::7"], environment: production, site: Delft }}

tests:
  - {{ from: 203.0.113.9, to: web1, accept: [ssh, https], drop: [postgresql] }}
  - {{ from: 192.0.2.77, to: web1, accept: [https], drop: [ssh, postgresql, tcp/9000] }}
  - {{ from: "2001:db8:ff::77", to: web1, accept: [https], drop: [ssh, postgresql, tcp/9000] }}
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
