//! The policy set of the scenarios' fleet, as text files; variants are made by replacing text that must be there.

use std::collections::BTreeMap;

/// Name of the one file of the set.
pub const FILE: &str = "lab.yaml";

/// A policy set as texts.
#[derive(Debug, Clone)]
pub struct Policy {
    /// File name (relative, may contain `/`) to text.
    pub files: BTreeMap<String, String>,
}

impl Policy {
    /// Marit may log in to web1 as admin from the office with `key` until `until` (`YYYY-MM-DD`); https is open to
    /// all; web1 reaches vault1's port 8443, and root and _apt its archive; all else is closed. Enforced.
    #[must_use]
    pub fn new(key: &str, until: &str) -> Self {
        let text = TEXT.replace("@KEY@", key.trim()).replace("@UNTIL@", until);
        Self { files: BTreeMap::from([(FILE.to_owned(), text)]) }
    }

    /// The set with `old` replaced by `new` in every file.
    ///
    /// # Panics
    /// When `old` is nowhere: the variant would silently be the original.
    #[must_use]
    #[track_caller]
    pub fn with(mut self, old: &str, new: &str) -> Self {
        assert!(self.files.values().any(|text| text.contains(old)), "the policy does not say {old:?}");
        for text in self.files.values_mut() {
            *text = text.replace(old, new);
        }
        self
    }

    /// The set with one more file.
    #[must_use]
    pub fn and(mut self, name: &str, text: &str) -> Self {
        self.files.insert(name.to_owned(), text.to_owned());
        self
    }
}

const TEXT: &str = r#"tenure: 1
fleet: lab
timezone: Europe/Amsterdam
valid_for: 90d
networks:
  office: [203.0.113.9, "2001:db8:10::9"]
  archive: [198.51.100.7, "2001:db8:1::7"]
people:
  marit: { keys: ["@KEY@"], from: [office], until: "@UNTIL@" }
groups: { ops: [marit] }
management: { who: [ops], confirm: { by: [person], within: 60s } }
profiles:
  web:
    mode: { firewall: enforce, access: enforce, patch: observe }
    firewall:
      inbound:
        - { allow: [https], from: [anywhere] }
      outbound:
        - { allow: [tcp/8443], to: [archive] }
        - { allow: [http], to: [archive], users: [root, _apt] }
    access:
      logins: [ { who: [ops], as: admin } ]
      unmanaged_keys: report
    patch: { security_within: 7d, reboot_within: 14d, lists_within: 2d }
hosts:
  web1: { profiles: [web], addresses: [198.51.100.11, "2001:db8:1::11"], environment: production, site: "Amsterdam" }
tests:
  - { from: 192.0.2.77, to: web1, accept: [https], drop: [ssh, postgresql, tcp/9000] }
  - { from: "2001:db8:ff::77", to: web1, accept: [https], drop: [ssh, postgresql] }
  - { from: web1, to: 192.0.2.77, drop: [https, smtp] }
  - { from: web1, to: 198.51.100.7, accept: [tcp/8443], drop: [https] }
  - { login: marit, from: 203.0.113.9, to: web1, as: admin, expect: accept }
  - { login: marit, from: 192.0.2.77, to: web1, as: admin, expect: drop }
"#;
