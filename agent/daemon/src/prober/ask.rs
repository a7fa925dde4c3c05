//! The side of the host on trial: asks the probers that its policy names until one proves a new way in, or the trial ends.

use std::io::Write;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::Duration;

use tenure_areas::port::{Flow, Query};
use tenure_policy::bundles::Prober;
use tenure_policy::resolved::ConfirmBy;
use tenure_policy::services;
use tenure_sys::text;
use tenure_trust::probe::ProbeQuestion;
use tenure_trust::{Hash, MachineRole};

use super::judge::judge;
use super::serve::read_line_within;
use super::{LOOK, Shared};
use crate::areas::Area;
use crate::desk::Counter;
use crate::journal;
use crate::session::Confirmer;

/// How long a prober may take to be connected to …
const CONNECT: Duration = Duration::from_secs(2);
/// … and to connect back on both families and answer.
const ANSWER: Duration = Duration::from_secs(15);
/// Pause before probers are asked again about the same trial.
const AGAIN: Duration = Duration::from_secs(2);

/// Waits for trials and has them confirmed.
pub(super) fn run(shared: &Shared, desk: &Counter) {
    let mut done = None;
    let mut told = None;
    while !shared.stopped() {
        let board = &shared.tools.board;
        let firewall = |board: &crate::board::Board| board.under_way_since(Area::Firewall);
        if firewall(board).is_none() || firewall(board) == done {
            // Not by the board's own waiting, which looks at everything twenty times a second: this is what an idle host does.
            std::thread::sleep(LOOK);
            continue;
        }
        let since = firewall(board);
        let policy = shared.tools.policy.get().map(|held| held.policy());
        let by = policy.and_then(|policy| policy.firewall).map(|firewall| firewall.confirm.by);
        let Some(ConfirmBy::Hosts(probers)) = by else {
            done = since;
            continue;
        };
        let mut why = Vec::new();
        for prober in &probers {
            match prove(shared, prober).and_then(|()| confirm(desk, prober)) {
                Ok(()) => {
                    done = since;
                    break;
                }
                Err(reason) => why.push(format!("{}: {reason}", prober.host)),
            }
        }
        if done != since {
            let why = why.join("; ");
            if told.as_ref() != Some(&(since, why.clone())) {
                journal::warning(&format!("the trial is not confirmed by {why}; asked again until it ends"));
                told = Some((since, why));
            }
            board.wait_until(AGAIN, |_| shared.stopped() || firewall(board) != since);
        }
    }
}

fn confirm(desk: &Counter, prober: &Prober) -> Result<(), String> {
    let by = Confirmer {
        account: None,
        from: prober.addresses.first().copied(),
        prober: Some(prober.host.clone()),
    };
    desk.confirm_by_prober(by).map_err(|refused| refused.what)
}

/// Asks one prober at each of its addresses about the address that this host uses towards it.
fn prove(shared: &Shared, prober: &Prober) -> Result<(), String> {
    let book = shared.admissions.get();
    let admission = book.of(&prober.host, MachineRole::Host).ok_or("no admission names its key")?;
    let mut asked = 0;
    for address in &prober.addresses {
        let mut stream = match TcpStream::connect_timeout(&SocketAddr::new(*address, prober.port), CONNECT) {
            Ok(stream) => stream,
            // a family that this host does not have is no way in that could be lost
            Err(error) if no_such_family(&error) => continue,
            Err(error) => return Err(format!("cannot ask it at {address}: {}", said(&error))),
        };
        let own = stream.local_addr().map_err(|e| said(&e))?.ip();
        let question = ProbeQuestion {
            schema: 1,
            host: shared.host.clone(),
            nonce: nonce()?,
            addresses: vec![own],
            port: services::SSH.first,
        };
        let mut line = serde_json::to_vec(&question).map_err(|e| e.to_string())?;
        line.push(b'\n');
        stream.write_all(&line).map_err(|e| format!("cannot ask it at {address}: {}", said(&e)))?;
        let answer = read_line_within(&mut stream, ANSWER).map_err(|why| format!("no answer: {why}"))?;
        judge(&question, prober, &admission.identity, &answer, &flows(shared, own)?)
            .map_err(|e| e.to_string())?;
        asked += 1;
    }
    if asked == 0 { Err("it has no address that this host can reach".into()) } else { Ok(()) }
}

/// What the kernel tracked here towards this host's SSH port.
fn flows(shared: &Shared, own: IpAddr) -> Result<Vec<Flow>, String> {
    let lines = shared.tools.host.ask(&Query::Flows).map_err(|e| e.to_string())?;
    let flows = lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    let flows = flows.filter_map(|line| serde_json::from_slice::<Flow>(line).ok());
    Ok(flows.filter(|flow| flow.dst == own && flow.dport == services::SSH.first).collect())
}

/// ENETUNREACH, EADDRNOTAVAIL, EAFNOSUPPORT of connect(2).
fn no_such_family(error: &std::io::Error) -> bool {
    matches!(error.raw_os_error(), Some(101 | 99 | 97))
}

fn said(error: &std::io::Error) -> String {
    text::neutral(error.to_string().as_bytes(), 200)
}

/// 32 bytes that nobody has seen before.
fn nonce() -> Result<Hash, String> {
    let mut bytes = [0u8; 32];
    getrandom::fill(&mut bytes).map_err(|e| format!("no randomness: {e}"))?;
    Ok(Hash::from_bytes(bytes))
}
