//! Holds what sshd says of every account and address against what it must say, and names who overrides it.

use std::collections::{BTreeMap, BTreeSet};

use tenure_policy::resolved::Login;

use crate::area::{Finding, Weight};
use crate::ssh_access::effective::{self, Settings, may_try};
use crate::ssh_access::facts::{Answer, Facts, Probe};
use crate::ssh_access::{keys, matrix, render};
use crate::ssh_servers::SSH;

/// Where the files read here do not tell.
const UNPLACED: &str = "sshd -T";

/// Only meaningful once our drop-in is in place.
pub(super) fn assert_effective(facts: &Facts, holding: &[&Login], findings: &mut Vec<Finding>) {
    let ends = |v4: bool| {
        let probes = facts.probes.iter().filter(move |p| p.local.is_ipv4() == v4);
        probes.map(|p| (p.local, p.port)).collect::<BTreeSet<_>>().len()
    };
    let one_end = ends(true) <= 1 && ends(false) <= 1;
    let mut judge = Judge { facts, holding, one_end, seen: BTreeMap::new() };
    for probe in &facts.probes {
        match facts.answer(probe) {
            Some(Answer::Settings(settings)) => judge.settings(probe, settings),
            Some(Answer::Refused(why)) => {
                judge.say(
                    "sshd-refuses",
                    "sshd -T",
                    Weight::Drift,
                    format!("sshd does not accept its configuration: {why}"),
                    probe,
                );
            }
            None => {
                judge.say("sshd-refuses", "sshd -T", Weight::Drift, "its answer is missing".into(), probe)
            }
        }
    }
    findings.extend(judge.findings());
}

/// Keys outside of our directory: drift when sshd would read them, else worth knowing.
pub(super) fn other_keys(facts: &Facts, findings: &mut Vec<Finding>) {
    for key in &facts.other_keys {
        let read = matrix::is_read(facts, key);
        let comment = if key.comment.is_empty() { String::new() } else { format!(" ({})", key.comment) };
        let effect = if read { "sshd reads it" } else { "sshd does not read it" };
        findings.push(Finding {
            kind: "unmanaged-key".into(),
            place: format!("{}:{}", key.path, key.line),
            what: format!(
                "{} {}{comment} for {} is not in the policy; {effect}; the process that wrote it is not known",
                key.kind, key.fingerprint, key.account
            ),
            weight: if read { Weight::Drift } else { Weight::Note },
            at: key.mtime.and_then(|seconds| jiff::Timestamp::from_second(seconds).ok()),
            by: None,
        });
    }
}

struct Judge<'a> {
    facts: &'a Facts,
    holding: &'a [&'a Login],
    /// Was sshd asked for one address and port of this host in each family?
    one_end: bool,
    /// (kind, place, what, weight) → for which account and address.
    seen: BTreeMap<(String, String, String, Weight), BTreeSet<String>>,
}

impl Judge<'_> {
    fn say(&mut self, kind: &str, place: &str, weight: Weight, what: String, probe: &Probe) {
        let to = if probe.port == SSH && self.one_end {
            String::new()
        } else {
            format!(" to {} port {}", probe.local, probe.port)
        };
        let connection = format!("{} from {}{to}", probe.account, probe.addr);
        self.seen.entry((kind.into(), place.into(), what, weight)).or_default().insert(connection);
    }

    fn settings(&mut self, probe: &Probe, settings: &Settings) {
        for (keyword, wanted) in render::expected(self.holding) {
            // A build without it does not print it, and what it cannot do is not open.
            let Some(got) = settings.get(keyword) else { continue };
            if got.len() != 1 || !wanted.contains(&got[0].as_str()) {
                let what = format!("{keyword} is `{}` and must be `{}`", got.join(" "), wanted[0]);
                self.say("sshd-overridden", &self.rivals(keyword), Weight::Drift, what, probe);
            }
        }
        self.allowed(probe, settings);
        self.extras(probe, settings);
    }

    fn allowed(&mut self, probe: &Probe, settings: &Settings) {
        let of = |l: &&&Login| {
            l.account.as_str() == probe.account && l.from.iter().any(|net| net.contains(&probe.addr))
        };
        let logins: Vec<&Login> = self.holding.iter().filter(of).copied().collect();
        let ours: BTreeSet<String> = render::allow_users(self.holding).into_iter().collect();
        let got: BTreeSet<String> = settings.get("allowusers").into_iter().flatten().cloned().collect();
        for extra in got.difference(&ours) {
            let what = format!("AllowUsers has `{extra}`, which no login of the policy asks for");
            self.say("sshd-overridden", &self.rivals("allowusers"), Weight::Drift, what, probe);
        }
        let may = may_try(settings, &probe.account, probe.addr);
        if logins.is_empty() && may {
            let what = "sshd lets it try although the policy lists no login".to_owned();
            self.say("way-in-open", &self.rivals("allowusers"), Weight::Drift, what, probe);
        }
        if !logins.is_empty() && !may {
            let what = "sshd does not let it try although the policy lists a login".to_owned();
            self.say("way-in-cut", &self.rivals("denyusers"), Weight::Drift, what, probe);
        }
        for groups in ["allowgroups", "denygroups"] {
            if settings.get(groups).is_some_and(|values| !values.is_empty()) && !logins.is_empty() {
                let what = format!("{groups} is set: it may cut a login of the policy");
                self.say("way-in-cut", &self.rivals(groups), Weight::Drift, what, probe);
            }
        }
        if let Some(accepted) = settings.get("pubkeyacceptedalgorithms").and_then(|v| v.first()) {
            let accepted: BTreeSet<&str> = accepted.split(',').collect();
            let kinds = logins.iter().flat_map(|l| &l.keys).filter_map(|k| keys::parse_line(k.as_bytes()));
            for kind in kinds.map(|k| k.kind).filter(|kind| !accepts(&accepted, kind)) {
                let what = format!("sshd accepts no {kind} keys, and a login of the policy has one");
                self.say("way-in-cut", &self.rivals("pubkeyacceptedalgorithms"), Weight::Drift, what, probe);
            }
        }
    }

    fn extras(&mut self, probe: &Probe, settings: &Settings) {
        let value =
            |keyword: &str| settings.get(keyword).and_then(|v| v.first()).map_or("none", String::as_str);
        for keyword in ["forcecommand", "chrootdirectory", "revokedkeys"] {
            if value(keyword) != "none" {
                let what = format!("{keyword} is `{}`, which the policy does not know", value(keyword));
                self.say("sshd-setting", &self.rivals(keyword), Weight::Note, what, probe);
            }
        }
        let ports = effective::ports(settings);
        if ports.iter().any(|port| *port != SSH) {
            let weight = if ports.contains(&SSH) { Weight::Note } else { Weight::Drift };
            let ports: Vec<String> = ports.iter().map(ToString::to_string).collect();
            let what = format!("sshd's configuration says port {}; the policy opens {SSH}", ports.join(", "));
            let place = [self.rivals("port"), self.rivals("listenaddress")];
            let place = place.iter().find(|place| *place != UNPLACED).unwrap_or(&place[0]);
            self.say("sshd-setting", place, weight, what, probe);
        }
    }

    /// Where a keyword is set besides our drop-in, as far as the files read here tell.
    fn rivals(&self, keyword: &str) -> String {
        let places: Vec<String> =
            self.facts.rivals.iter().filter(|s| s.keyword == keyword).map(|s| s.place()).take(4).collect();
        if places.is_empty() { UNPLACED.into() } else { places.join(" or ") }
    }

    fn findings(self) -> impl Iterator<Item = Finding> {
        self.seen.into_iter().map(|((kind, place, what, weight), connections)| {
            let shown: Vec<String> = connections.iter().take(3).cloned().collect();
            let more = if connections.len() > 3 {
                format!(" and {} more", connections.len() - 3)
            } else {
                String::new()
            };
            let what = format!("{what} (asked for {}{more})", shown.join(", "));
            Finding { kind, place, what, weight, at: None, by: None }
        })
    }
}

/// RSA keys sign with SHA-2 (RFC 8332); the others sign as what they are.
fn accepts(accepted: &BTreeSet<&str>, kind: &str) -> bool {
    match kind {
        "ssh-rsa" => accepted.contains("rsa-sha2-256") || accepted.contains("rsa-sha2-512"),
        kind => accepted.contains(kind),
    }
}
