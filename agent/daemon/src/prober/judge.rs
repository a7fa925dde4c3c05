//! What a prober's answer proves: pure.

use std::net::IpAddr;

use tenure_areas::port::Flow;
use tenure_policy::bundles::Prober;
use tenure_trust::admission::verify_machine;
use tenure_trust::probe::{ProbeAnswer, ProbeQuestion};
use tenure_trust::{PublicKey, Refused};

/// IANA protocol number of TCP.
const TCP: u8 = 6;

/// Why an answer proves nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum NoProof {
    /// Not signed by the prober's admitted key, or not an answer.
    #[error("its answer is refused: {0}")]
    Refused(#[from] Refused),
    /// It answers another question.
    #[error("it answers another question than the one asked")]
    OtherQuestion,
    /// It says nothing of an address that was asked about.
    #[error("it says nothing of {0}")]
    Missing(IpAddr),
    /// It could not connect: the trial would cut it, and perhaps others, off.
    #[error("it cannot connect to {0} anew")]
    NotReached(IpAddr),
    /// What answered there is no SSH server.
    #[error("no SSH server answered it at {0}")]
    NoBanner(IpAddr),
    /// It says that it came from an address that is none of its own.
    #[error("it says that it came from {0}, which is no address of it")]
    ForeignSource(IpAddr),
    /// This host's own connection tracking does not have the connection.
    #[error("no connection from {from}:{port} to {to} was seen here")]
    NotSeenHere {
        /// Where it says that it came from.
        from: IpAddr,
        /// From which port.
        port: u16,
        /// Where to.
        to: IpAddr,
    },
}

/// Does the answer prove that the prober reached every address anew? The prober is believed as its key is; that the
/// connections really came in is looked up among those that the kernel tracked here.
pub(super) fn judge(
    question: &ProbeQuestion,
    prober: &Prober,
    key: &PublicKey,
    answer: &[u8],
    flows: &[Flow],
) -> Result<(), NoProof> {
    let answer: ProbeAnswer = verify_machine(key, answer)?;
    if (answer.nonce, &answer.host, &answer.prober) != (question.nonce, &question.host, &prober.host) {
        return Err(NoProof::OtherQuestion);
    }
    for to in &question.addresses {
        let reached = answer.reached.iter().find(|reached| reached.to == *to).ok_or(NoProof::Missing(*to))?;
        let from = reached.from.ok_or(NoProof::NotReached(*to))?;
        if !reached.banner {
            return Err(NoProof::NoBanner(*to));
        }
        if !prober.addresses.contains(&from) {
            return Err(NoProof::ForeignSource(from));
        }
        let port = reached.from_port;
        let seen = flows.iter().any(|flow| {
            (flow.protocol, flow.src, flow.dst, flow.sport, flow.dport)
                == (TCP, from, *to, port, question.port)
        });
        if !seen {
            return Err(NoProof::NotSeenHere { from, port, to: *to });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use tenure_trust::probe::Reached;
    use tenure_trust::{Hash, HostName, Signed, SigningKey, Statement};

    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    fn name(text: &str) -> HostName {
        HostName::new(text).expect("a name")
    }

    fn question() -> ProbeQuestion {
        let addresses = vec![address("10.0.0.1"), address("fd00::1")];
        ProbeQuestion { schema: 1, host: name("web1"), nonce: Hash::of(b"once"), addresses, port: 22 }
    }

    fn prober() -> Prober {
        Prober { host: name("vault1"), addresses: vec![address("10.0.0.7"), address("fd00::7")], port: 8443 }
    }

    fn good() -> ProbeAnswer {
        let reached = |to: &str, from: &str, from_port| Reached {
            to: address(to),
            from: Some(address(from)),
            from_port,
            banner: true,
        };
        ProbeAnswer {
            schema: ProbeAnswer::SCHEMA,
            prober: name("vault1"),
            host: name("web1"),
            nonce: Hash::of(b"once"),
            at: "2026-11-25T08:00:00Z".parse().expect("a time"),
            reached: vec![reached("10.0.0.1", "10.0.0.7", 4001), reached("fd00::1", "fd00::7", 4002)],
        }
    }

    fn flows() -> Vec<Flow> {
        let flow = |src: &str, dst: &str, sport| Flow {
            protocol: TCP,
            src: address(src),
            dst: address(dst),
            sport,
            dport: 22,
        };
        vec![flow("10.0.0.7", "10.0.0.1", 4001), flow("fd00::7", "fd00::1", 4002)]
    }

    fn judged(answer: &ProbeAnswer, by: u8, flows: &[Flow]) -> Result<(), NoProof> {
        let (key, signer) = (SigningKey::from_seed(&[7; 32]), SigningKey::from_seed(&[by; 32]));
        let text = Signed::new(answer, &[&signer]).to_json();
        judge(&question(), &prober(), &key.public(), text.as_bytes(), flows)
    }

    #[test]
    fn new_connections_on_every_address_seen_on_both_sides_are_proof() {
        assert_eq!(judged(&good(), 7, &flows()), Ok(()));
    }

    #[test]
    fn anything_less_proves_nothing() {
        let changed = |change: fn(&mut ProbeAnswer)| {
            let mut answer = good();
            change(&mut answer);
            judged(&answer, 7, &flows()).expect_err("no proof")
        };
        assert_eq!(changed(|a| a.nonce = Hash::of(b"twice")), NoProof::OtherQuestion, "an older answer");
        assert_eq!(changed(|a| a.host = name("db1")), NoProof::OtherQuestion);
        assert_eq!(changed(|a| a.prober = name("db1")), NoProof::OtherQuestion);
        assert_eq!(changed(|a| a.reached.truncate(1)), NoProof::Missing(address("fd00::1")));
        assert_eq!(changed(|a| a.reached[1].from = None), NoProof::NotReached(address("fd00::1")));
        assert_eq!(changed(|a| a.reached[0].banner = false), NoProof::NoBanner(address("10.0.0.1")));
        let elsewhere = |a: &mut ProbeAnswer| a.reached[0].from = Some(address("10.0.0.66"));
        assert_eq!(changed(elsewhere), NoProof::ForeignSource(address("10.0.0.66")));
        assert!(matches!(changed(|a| a.reached[0].from_port = 4003), NoProof::NotSeenHere { .. }));
        assert!(matches!(judged(&good(), 8, &flows()), Err(NoProof::Refused(_))), "another key");
        assert!(matches!(judged(&good(), 7, &flows()[..1]), Err(NoProof::NotSeenHere { .. })));
    }
}
