//! Asks the real ports of this host what it is told on standard input, one JSON line each, and prints the answers, one
//! JSON line each. For the conformance test of the fake host; not installed and no part of the product.

#[path = "../../../tests/scenarios/tests/conformance/wire.rs"]
mod wire;

use std::error::Error;
use std::io::{BufRead as _, Write as _};
use std::time::Duration;

use tenure_agent::linux::{ChangeLog, LinuxHost, Watcher};
use tenure_areas::port::{HostRead as _, Query};
use tenure_sys::command::{Program, capture};

use wire::{Answer, Line, perform};

/// Longer than answers about files are believed without another look (20 ms, see linux/memo.rs).
const ONE_LOOK: Duration = Duration::from_millis(40);
/// Within this, the watcher has read a notification that the kernel has sent.
const TOLD: Duration = Duration::from_secs(5);

fn main() -> Result<(), Box<dyn Error>> {
    let log = ChangeLog::new();
    let (bell, rung) = std::sync::mpsc::channel();
    let _watcher = Watcher::start(log.clone(), move || {
        // Nobody listens any more only when the program ends.
        let _ = bell.send(());
    })?;
    let host = LinuxHost::new(log.clone());
    let mut out = std::io::stdout().lock();
    for line in std::io::stdin().lock().lines() {
        let answer = match serde_json::from_str(&line?)? {
            Line::Port(request) => perform(&host, &request),
            Line::Outsider(shell) => {
                let before = generation(&host)?;
                let did = outsider(&shell);
                let after = generation(&host)?;
                // The kernel tells after the fact: what was made must have arrived before a question about it is fair.
                while after != before && !arrived(&log, after) && rung.recv_timeout(TOLD).is_ok() {}
                std::thread::sleep(ONE_LOOK);
                Answer::Outsider(did)
            }
        };
        serde_json::to_writer(&mut out, &answer)?;
        out.write_all(b"\n")?;
    }
    Ok(())
}

/// Whether somebody else's change that made this generation was seen.
fn arrived(log: &ChangeLog, generation: u32) -> bool {
    log.since(generation.wrapping_sub(1)).iter().any(|c| c.generation == generation)
}

fn generation(host: &LinuxHost) -> Result<u32, Box<dyn Error>> {
    Ok(String::from_utf8(host.ask(&Query::NftGeneration)?)?.parse()?)
}

fn outsider(shell: &str) -> Result<(), String> {
    // The runner gives no environment; an outsider's shell has the usual search path.
    let line = format!("export PATH=/usr/sbin:/usr/bin:/sbin:/bin\nset -e\n{shell}");
    let program = Program::new("/bin/sh", ["-c", line.as_str()]).timeout(Duration::from_secs(60));
    let out = capture(&program).map_err(|e| e.to_string())?;
    out.success().map(drop).map_err(|e| e.to_string())
}
