//! Tracked connections: open ones are entered, chosen ones deleted; network interfaces.

use std::time::Duration;

use tenure_areas::port::{Command, Flow, Query};
use tenure_lab::{Family, Host, wait_for};

use crate::Result;
use crate::script::Script;

const TCP: u8 = 6;

/// Holds connections open between the two hosts, in both directions and families, and asks about them.
pub(crate) fn situations(web1: &Host, peer: &Host) -> Result<Script> {
    let mut flows = Vec::new();
    let mut held = Vec::new();
    for (family, outbound, inbound) in [(Family::V4, 40001, 40002), (Family::V6, 40003, 40004)] {
        let (ours, theirs) = (web1.address(family)?, peer.address(family)?);
        held.push(web1.spawn(&["nc", "-p", &outbound.to_string(), &theirs, "22"])?);
        held.push(peer.spawn(&["nc", "-p", &inbound.to_string(), &ours, "22"])?);
        let flow = |src: &str, dst: &str, sport| -> Result<Flow> {
            Ok(Flow { protocol: TCP, src: src.parse()?, dst: dst.parse()?, sport, dport: 22 })
        };
        flows.push(flow(&ours, &theirs, outbound)?);
        flows.push(flow(&theirs, &ours, inbound)?);
    }
    wait_for("four open connections", Duration::from_secs(20), || {
        web1.sh("ss -Htn state established '( sport >= 40001 and sport <= 40004 ) or ( dport >= 40001 and dport <= 40004 )'")
            .is_ok_and(|out| out.stdout.lines().count() == 4)
    })?;

    let mut script = crate::fresh("tracking");
    let open = flows.clone();
    // The connections are held until the script has been run: they go with it.
    script.situation("four connections are open", "true", move |fake| {
        drop(held);
        open.into_iter().for_each(|flow| fake.open_connection(flow));
    });
    script.ask(Query::Flows);
    for _ in 0..2 {
        script.tell(Command::ConntrackWarm);
        script.ask(Query::Flows);
    }
    let strange = Flow { sport: 7, ..flows[0].clone() };
    for gone in [vec![flows[0].clone()], vec![flows[0].clone(), strange], vec![], flows[1..3].to_vec()] {
        script.tell(Command::ConntrackDelete { flows: gone });
        script.ask(Query::Flows);
    }
    script.tell(Command::ConntrackWarm);
    script.ask(Query::Flows);
    script.tell(Command::ConntrackDelete { flows });
    script.ask(Query::Flows);

    script.situation("lo and eth0", "true", |_| {});
    script.ask(Query::Interfaces);
    script.situation("a container engine's bridge", "ip link add docker0 type bridge", |fake| {
        fake.set_interfaces(&["lo", "eth0", "docker0"]);
    });
    script.ask(Query::Interfaces);
    script.situation("it is gone", "ip link del docker0", |fake| fake.set_interfaces(&["lo", "eth0"]));
    script.ask(Query::Interfaces);
    Ok(script)
}
