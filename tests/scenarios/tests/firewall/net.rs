//! Two network namespaces of this machine joined by a cable: `host`, which gets rulesets, and `far`, which calls it. Both are removed
//! when the value is dropped; the machine's own network is not touched. Needs root.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tenure_areas::firewall::listing::{Listing, live_families};
use tenure_lab::{Output, Stopwatch, run, wait_for};

/// The host's addresses on the cable.
pub(crate) const HOST: [&str; 2] = ["198.51.100.11", "2001:db8:1::11"];

static COUNT: AtomicU32 = AtomicU32::new(0);

pub(crate) struct Net {
    host: String,
    far: String,
    scratch: PathBuf,
}

impl Net {
    /// Both namespaces, `far` holding all of `callers`.
    pub(crate) fn new(callers: &[&str]) -> Self {
        let id = format!("tenure-fw-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let net = Self {
            host: format!("{id}-host"),
            far: format!("{id}-far"),
            scratch: std::env::temp_dir().join(format!("{id}.json")),
        };
        ok(&["ip", "netns", "add", &net.host]);
        ok(&["ip", "netns", "add", &net.far]);
        ok(&[
            "ip", "-n", &net.host, "link", "add", "cable", "type", "veth", "peer", "name", "cable", "netns",
            &net.far,
        ]);
        for name in [&net.host, &net.far] {
            ok(&["ip", "-n", name, "link", "set", "lo", "up"]);
            ok(&["ip", "-n", name, "link", "set", "cable", "up"]);
        }
        for own in HOST {
            net.address(&net.host, own);
        }
        for caller in callers {
            net.address(&net.far, caller);
        }
        for all in ["0.0.0.0/0", "::/0"] {
            ok(&["ip", "-n", &net.host, "route", "add", all, "dev", "cable"]);
        }
        net
    }

    fn address(&self, namespace: &str, address: &str) {
        let full = if is_v4(address) { format!("{address}/32") } else { format!("{address}/128") };
        let mut argv = vec!["ip", "-n", namespace, "addr", "add", &full, "dev", "cable"];
        if !is_v4(address) {
            argv.push("nodad");
        }
        ok(&argv);
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
        let full = if is_v4(source) { format!("{own}/32") } else { format!("{own}/128") };
        ok(&["ip", "-n", &self.far, "route", "replace", &full, "dev", "cable", "src", source]);
        !self.silent(&self.far, &[], own, port)
    }

    /// Does a new connection of `uid` get out of the host? `far` answers nothing here, so that a reset can only be our own.
    pub(crate) fn goes_out(&self, to: &str, port: u16, uid: u32) -> bool {
        let uid = uid.to_string();
        self.silent(&self.host, &["setpriv", "--clear-groups", "--reuid", &uid], to, port)
    }

    /// From now on `far` drops what comes in.
    pub(crate) fn silence_far(&self) {
        let table = "table inet silent { chain in { type filter hook input priority 0; policy accept; meta l4proto 6 drop; }; }";
        let output = self.exec(&self.far, &["nft", table]);
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
        for name in [&self.host, &self.far] {
            // What cannot be removed is a namespace without processes, of this test's name.
            let _ = run(&["ip", "netns", "del", name], 20);
        }
        let _ = std::fs::remove_file(&self.scratch);
    }
}

pub(crate) fn is_v4(address: &str) -> bool {
    address.parse::<IpAddr>().expect("an address").is_ipv4()
}

fn ok(argv: &[&str]) {
    let output = run(argv, 20).expect("ip starts");
    assert!(output.ok(), "{argv:?} (needs root): {}", output.said());
}
