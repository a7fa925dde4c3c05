//! Network namespaces of this machine joined by cables: `host`, which gets rulesets, `far`, which calls it, and, where it is asked
//! for, `behind`, to which the host passes packets on. They are removed when the value is dropped; the machine's own network is not
//! touched. Needs root.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tenure_areas::firewall::listing::{Listing, live_families};
use tenure_lab::{Output, Stopwatch, run, wait_for};

/// The host's addresses on the cable.
pub(crate) const HOST: [&str; 2] = ["198.51.100.11", "2001:db8:1::11"];

/// The addresses of `behind`, and the host's on the cable to it.
pub(crate) const BEHIND: [&str; 2] = ["198.51.100.130", "2001:db8:2::130"];
const GATE: [&str; 2] = ["198.51.100.129", "2001:db8:2::129"];

static COUNT: AtomicU32 = AtomicU32::new(0);

pub(crate) struct Net {
    host: String,
    far: String,
    behind: String,
    scratch: PathBuf,
}

impl Net {
    /// Both namespaces, `far` holding all of `callers`.
    pub(crate) fn new(callers: &[&str]) -> Self {
        let id = format!("tenure-fw-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let net = Self {
            host: format!("{id}-host"),
            far: format!("{id}-far"),
            behind: format!("{id}-behind"),
            scratch: std::env::temp_dir().join(format!("{id}.json")),
        };
        ok(&["ip", "netns", "add", &net.host]);
        ok(&["ip", "-n", &net.host, "link", "set", "lo", "up"]);
        net.join(&net.far, "cable");
        for own in HOST {
            address(&net.host, "cable", own);
        }
        for caller in callers {
            address(&net.far, "cable", caller);
        }
        for all in ["0.0.0.0/0", "::/0"] {
            ok(&["ip", "-n", &net.host, "route", "add", all, "dev", "cable"]);
        }
        net
    }

    /// With `behind`, and a host that passes packets on to it.
    pub(crate) fn with_behind(callers: &[&str]) -> Self {
        let net = Self::new(callers);
        net.join(&net.behind, "inside");
        for ((gate, own), all) in GATE.into_iter().zip(BEHIND).zip(["0.0.0.0/0", "::/0"]) {
            address(&net.host, "inside", gate);
            address(&net.behind, "cable", own);
            ok(&["ip", "-n", &net.host, "route", "add", &whole(own), "dev", "inside"]);
            ok(&["ip", "-n", &net.behind, "route", "add", all, "via", gate, "dev", "cable", "onlink"]);
        }
        for switch in ["net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1"] {
            ok(&["ip", "netns", "exec", &net.host, "sysctl", "-q", "-w", switch]);
        }
        net
    }

    /// A new namespace on a cable, whose end at the host has this name.
    fn join(&self, namespace: &str, end: &str) {
        ok(&["ip", "netns", "add", namespace]);
        ok(&[
            "ip", "-n", &self.host, "link", "add", end, "type", "veth", "peer", "name", "cable", "netns",
            namespace,
        ]);
        ok(&["ip", "-n", namespace, "link", "set", "lo", "up"]);
        ok(&["ip", "-n", namespace, "link", "set", "cable", "up"]);
        ok(&["ip", "-n", &self.host, "link", "set", end, "up"]);
    }

    /// One transaction in `host`.
    pub(crate) fn load(&self, json: &str) -> Result<(), String> {
        std::fs::write(&self.scratch, json).expect("a scratch file");
        let file = self.scratch.to_str().expect("a UTF-8 path");
        let output = self.exec(&self.host, &["nft", "-j", "-f", file]);
        if output.ok() { Ok(()) } else { Err(output.said()) }
    }

    /// What nft lists of our table, in normal form.
    pub(crate) fn listing(&self) -> Option<Listing> {
        let output = self.exec(&self.host, &["nft", "-j", "list", "table", "inet", "tenure"]);
        output.ok().then(|| Listing::parse(output.stdout.as_bytes()).expect("nft's listing is read"))
    }

    /// Waits for a trial's live set to be empty.
    pub(crate) fn lapse(&self, live: &str) -> Duration {
        let empty = || {
            let output = self.exec(&self.host, &["nft", "-j", "list", "set", "inet", "tenure", live]);
            live_families(output.stdout.as_bytes()).expect("nft's listing is read").is_empty()
        };
        wait_for("the trial lapses", Duration::from_secs(20), empty).expect("it lapses")
    }

    pub(crate) fn nft(&self, words: &[&str]) -> Output {
        self.exec(&self.host, &[&["nft"], words].concat())
    }

    /// Does a new connection from `source` get to a port of the host? A port where nobody listens answers with a reset: reached.
    pub(crate) fn comes_in(&self, source: &str, port: u16) -> bool {
        let own = HOST[usize::from(!is_v4(source))];
        ok(&["ip", "-n", &self.far, "route", "replace", &whole(own), "dev", "cable", "src", source]);
        !self.silent(&self.far, &[], own, port)
    }

    /// The same with `behind`, whose own addresses the caller knows.
    pub(crate) fn passes(&self, source: &str, port: u16) -> bool {
        let (gate, to) = (HOST[usize::from(!is_v4(source))], BEHIND[usize::from(!is_v4(source))]);
        let route = ["route", "replace", &whole(to), "via", gate, "dev", "cable", "onlink", "src", source];
        ok(&[&["ip", "-n", self.far.as_str()], &route[..]].concat());
        !self.silent(&self.far, &[], to, port)
    }

    /// Does a new connection of `uid` get out of the host? `far` answers nothing here, so that a reset can only be our own.
    pub(crate) fn goes_out(&self, to: &str, port: u16, uid: u32) -> bool {
        let uid = uid.to_string();
        self.silent(&self.host, &["setpriv", "--clear-groups", "--reuid", &uid], to, port)
    }

    /// From now on `far` drops what comes in.
    pub(crate) fn silence_far(&self) {
        self.silence(&self.far);
    }

    /// From now on `behind` does.
    pub(crate) fn silence_behind(&self) {
        self.silence(&self.behind);
    }

    fn silence(&self, namespace: &str) {
        let table = "table inet silent { chain in { type filter hook input priority 0; policy accept; meta l4proto 6 drop; }; }";
        let output = self.exec(namespace, &["nft", table]);
        assert!(output.ok(), "{}", output.said());
    }

    fn silent(&self, namespace: &str, prefix: &[&str], to: &str, port: u16) -> bool {
        let connect = format!("exec 3<>/dev/tcp/{to}/{port}");
        let argv = [prefix, &["timeout", "0.4", "bash", "-c", &connect]].concat();
        let watch = Stopwatch::start();
        let output = self.exec(namespace, &argv);
        assert!(
            output.ok() || output.status == 124 || output.stderr.contains("refused"),
            "{}",
            output.said()
        );
        output.status == 124 || (!output.ok() && watch.elapsed() > Duration::from_secs(2))
    }

    fn exec(&self, namespace: &str, argv: &[&str]) -> Output {
        run(&[&["ip", "netns", "exec", namespace], argv].concat(), 60).expect("ip netns exec")
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        for name in [&self.host, &self.far, &self.behind] {
            // What cannot be removed is a namespace without processes, of this test's name.
            let _ = run(&["ip", "netns", "del", name], 20);
        }
        let _ = std::fs::remove_file(&self.scratch);
    }
}

fn address(namespace: &str, interface: &str, address: &str) {
    let whole = whole(address);
    let mut argv = vec!["ip", "-n", namespace, "addr", "add", &whole, "dev", interface];
    if !is_v4(address) {
        argv.push("nodad");
    }
    ok(&argv);
}

/// The network of this address alone.
fn whole(address: &str) -> String {
    if is_v4(address) { format!("{address}/32") } else { format!("{address}/128") }
}

pub(crate) fn is_v4(address: &str) -> bool {
    address.parse::<IpAddr>().expect("an address").is_ipv4()
}

fn ok(argv: &[&str]) {
    let output = run(argv, 20).expect("ip starts");
    assert!(output.ok(), "{argv:?} (needs root): {}", output.said());
}
