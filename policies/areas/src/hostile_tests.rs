//! Every parser of what a host says, fed with anything: no panic, bounded output, nothing that steers a terminal.

use std::cmp::Ordering;
use std::net::IpAddr;

use proptest::prelude::*;
use tenure_trust::{neutral, neutral_bytes};

use crate::patch::{parse, version};
use crate::ssh_access::{accounts, config, effective, keys};

const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIF7adlDPUQUVlSFti1uDb0qWvWxaIujoyUuGaz3XYTFk";

fn harmless(text: &str) -> bool {
    neutral(text) == text && !text.chars().any(char::is_control)
}

/// Lines that are nearly right: the words of a format between anything.
fn nearly(words: &'static [&'static str]) -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        3 => proptest::sample::select(words).prop_map(|w| w.as_bytes().to_vec()),
        1 => proptest::collection::vec(any::<u8>(), 0..12),
        1 => proptest::sample::select(vec![" ", "\t", "\n", "\"", "\\", "=", ",", "#", "\0", "\u{202e}"])
            .prop_map(|w| w.as_bytes().to_vec()),
    ];
    proptest::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn neutral_text_is_harmless_and_stays_as_it_is(text in any::<String>(), bytes in any::<Vec<u8>>(), most in 1usize..50) {
        prop_assert!(harmless(&neutral(&text)));
        let cut = neutral_bytes(&bytes, most);
        prop_assert!(harmless(&cut) && cut.chars().count() <= most);
    }

    #[test]
    fn authorized_keys(bytes in nearly(&[KEY, "restrict", "command=\"a b\"", "from=\"10.0.0.0/8\"", "ssh-rsa", "AAAA", "\n"])) {
        for (line, key) in keys::parse(&bytes) {
            prop_assert!(line >= 1);
            prop_assert!(!key.blob.is_empty() && key.fingerprint().starts_with("SHA256:"));
        }
    }

    /// A key that stands on a line of its own is found whatever stands around it.
    #[test]
    fn a_planted_key_is_always_found(
        before in nearly(&["junk", "\"", "#", "from=\"", "\\\""]), after in nearly(&["junk", "\"", "#"]),
        options in proptest::sample::select(vec!["", "no-pty ", "from=\"*\" ", "command=\"a \\\" b\",restrict "]),
    ) {
        let file = [&before[..], b"\n", options.as_bytes(), KEY.as_bytes(), b" me\n", &after[..]].concat();
        prop_assert!(keys::parse(&file).iter().any(|(_, key)| key.comment == "me"));
    }

    #[test]
    fn sshd_config(
        main in nearly(&["Include /etc/ssh/sshd_config.d/*.conf", "Match", "User a", "all", "AllowUsers", "\n"]),
        extra in nearly(&["Include", "sshd_config.d/*.conf", "Match", "PasswordAuthentication yes", "\n"]),
    ) {
        let files = vec![(format!("{}/50-x.conf", config::DIRECTORY), extra)];
        let scan = config::scan(&main, &files);
        for (setting, _) in &scan.settings {
            prop_assert!(setting.args.iter().all(|a| harmless(a)) && harmless(&setting.place()));
        }
        prop_assert!(scan.elsewhere.iter().all(|text| harmless(text)));
    }

    #[test]
    fn sshd_effective(
        bytes in nearly(&["authorizedkeysfile x\n", "passwordauthentication no\n", "pubkeyauthentication yes\n", "permitrootlogin no\n", "allowusers ", "a@10.0.0.0/8", "*", "!", "\n"]),
        addr in any::<IpAddr>(),
    ) {
        if let Ok(settings) = effective::parse(&bytes) {
            prop_assert!(settings.values().flatten().all(|v| harmless(v)));
            let _ = effective::may_try(&settings, "admin", addr);
        }
    }

    #[test]
    fn patterns(pattern in "[a*?!,./0-9:@]{0,40}", text in "[a.0-9:]{0,40}", addr in any::<IpAddr>()) {
        let _ = effective::host_matches(&pattern, addr);
        let _ = effective::user_matches(&pattern, &text, addr);
        prop_assert!(effective::glob("*", &text) && effective::glob(&text, &text));
    }

    #[test]
    fn passwd_and_shadow(bytes in nearly(&["root", ":", "0", "x", "/home/a", "/bin/sh", "a:x:1:1::/:/bin/sh", "\n"])) {
        for account in accounts::passwd(&bytes) {
            prop_assert!(!account.name.is_empty() && !account.name.contains([':', '\n']));
        }
        let _ = accounts::with_password(&bytes);
    }

    #[test]
    fn dpkg_and_apt(
        packages in nearly(&["openssl", "\t", "1.0-1", "amd64", "ii ", "\n"]),
        upgrades in nearly(&["Inst ", "openssl", " [1.0]", " (2.0 ", "Debian-Security:12/stable-security", " [amd64])", "\n"]),
    ) {
        for package in parse::packages(&packages).unwrap_or_default() {
            prop_assert!(harmless(&package.name) && harmless(&package.version) && harmless(&package.status));
        }
        for upgrade in parse::upgrades(&upgrades).unwrap_or_default() {
            prop_assert!(harmless(&upgrade.package) && harmless(&upgrade.candidate));
            prop_assert!(upgrade.origins.iter().all(|o| harmless(o)));
        }
    }

    #[test]
    fn versions_have_one_order(a in "[0-9a~+.:-]{0,12}", b in "[0-9a~+.:-]{0,12}", c in "[0-9a~+.:-]{0,12}") {
        use version::compare;
        prop_assert_eq!(compare(&a, &b), compare(&b, &a).reverse());
        prop_assert_eq!(compare(&a, &a), Ordering::Equal);
        if compare(&a, &b).is_le() && compare(&b, &c).is_le() {
            prop_assert!(compare(&a, &c).is_le(), "{} {} {}", a, b, c);
        }
    }
}
