//! What strangers and machines send to a controller, and what a controller answers: lines of records, enrolments,
//! invitations, answers. The keys are fixed, so that what they signed is known: nothing else may ever be believed.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use tenure_trust::admission::verify_machine;
use tenure_trust::enrol::{
    CertificateAnswer, CertificateRequest, EnrolAnswer, EnrolRequest, Enrolment, IngestAnswer, IngestFinding,
    Invitation,
};
use tenure_trust::ingest::{Held, Stand, behind, sound, stand};
use tenure_trust::{
    About, Admission, AdmissionList, Chain, Draft, Epoch, EventName, Hash, HostName, JudgeVersion,
    MachineRole, Payload, Signed, SigningKey, SshKeyText,
};

use crate::check::printable;
use crate::host::at;

const NOW: i64 = 1_800_000_000;

fn key() -> SigningKey {
    SigningKey::from_seed(&[21; 32])
}

fn web1() -> HostName {
    HostName::new("web1").expect("a name")
}

static OF: LazyLock<Admission> = LazyLock::new(|| Admission {
    schema: 1,
    fleet: "lab".parse().expect("a name"),
    name: web1(),
    role: MachineRole::Host,
    identity: key().public(),
    ssh: SshKeyText::new(format!("ssh-ed25519 {}", "A".repeat(68))).expect("a key"),
    tls: Hash::of(b"tls"),
    epoch: Epoch(1),
    replaces: None,
    reads: BTreeSet::new(),
    issued: at(NOW),
});

static ENROLMENT: LazyLock<Signed<Enrolment>> = LazyLock::new(|| {
    let Admission { fleet, name, role, identity, ssh, tls, epoch, .. } = OF.clone();
    Signed::new(&Enrolment { schema: 1, fleet, name, role, identity, ssh, tls, epoch }, &[&key()])
});

/// The one chain that the key signed, and the hashes of its records.
static CHAIN: LazyLock<(Vec<String>, BTreeSet<Hash>)> = LazyLock::new(|| {
    let mut chain = Chain::begin(web1(), Epoch(1));
    let (mut lines, mut hashes) = (Vec::new(), BTreeSet::new());
    for word in ["start", "policy", "stop"] {
        let draft = Draft {
            about: About::Event(EventName::new(word).expect("a name")),
            policy: None,
            judge: JudgeVersion::new("tenure fuzz").expect("a text"),
            observed_at: at(NOW),
            verdict: None,
            reason: None,
        };
        let payload = Payload::new([7; 32], format!("{{\"{word}\":1}}").into_bytes()).expect("it is small");
        let link = chain.link(draft, payload, 0, &key());
        chain.advance(&link);
        hashes.insert(link.signed.hash());
        lines.push(link.line());
    }
    (lines, hashes)
});

/// Lines as a machine sends them: whatever comes, only what was signed is taken, and only as a prefix.
pub fn ingest(bytes: &[u8]) {
    let (_, signed) = &*CHAIN;
    let mut held = Held::nothing(&OF.name, OF.role, OF.epoch);
    let mut taken = 0;
    for line in bytes.split(|byte| *byte == b'\n').take(64) {
        let Ok(line) = sound(line, &OF) else { continue };
        assert!(signed.contains(&line.hash), "a record that nobody signed");
        if let Some(payload) = line.payload() {
            assert!(payload.opens(&line.record.payload), "another payload");
        }
        match stand(&held, &line.record, line.hash) {
            Stand::Next(next) => {
                assert_eq!(next.seq.0, held.seq.0 + 1);
                held = next;
                taken += 1;
            }
            Stand::Behind => {
                let finding = behind(&line.record, line.hash, Some(line.hash));
                assert_eq!(finding, IngestFinding::Replay);
            }
            Stand::Refused(_) => {}
        }
    }
    assert!(taken <= signed.len(), "more records than were signed");
}

/// Good lines, whole and in other orders.
pub fn lines() -> Vec<Vec<u8>> {
    let (lines, _) = &*CHAIN;
    let whole = format!("{}\n", lines.join("\n"));
    let turned: Vec<&str> = lines.iter().rev().map(String::as_str).collect();
    vec![whole.into_bytes(), turned.join("\n").into_bytes(), lines[0].clone().into_bytes()]
}

/// Enrolments and every message around them: nothing is believed that the key did not sign, and no refusal steers a
/// terminal.
pub fn enrolment(bytes: &[u8]) {
    match verify_machine::<Enrolment>(&key().public(), bytes) {
        Ok(read) => {
            let ours = ENROLMENT.unverified().expect("a good enrolment");
            assert_eq!(read, ours, "an enrolment that nobody signed");
        }
        Err(refused) => printable(&refused.to_string(), 2000),
    }
    match Invitation::parse(bytes) {
        Ok(read) => {
            assert!(bytes.len() <= 256 << 10);
            assert!(
                read.secret.is_empty()
                    || !format!("{read:?}").contains(&read.secret)
                    || read.secret.len() < 16
            );
        }
        Err(refused) => printable(&refused.to_string(), 2000),
    }
    // Whatever these are, reading them ends.
    let _ = serde_json::from_slice::<EnrolRequest>(bytes);
    let _ = serde_json::from_slice::<EnrolAnswer>(bytes);
    let _ = serde_json::from_slice::<CertificateRequest>(bytes);
    let _ = serde_json::from_slice::<CertificateAnswer>(bytes);
    let _ = serde_json::from_slice::<IngestAnswer>(bytes);
    let _ = serde_json::from_slice::<AdmissionList>(bytes);
}

/// One good message of each kind.
pub fn enrolments() -> Vec<Vec<u8>> {
    let enrolment = ENROLMENT.to_json();
    let invitation = Invitation {
        schema: 1,
        fleet: OF.fleet.clone(),
        name: web1(),
        role: MachineRole::Host,
        controllers: vec!["[2001:db8::1]:8441".into()],
        server_name: "ctl1".into(),
        ca: "-----BEGIN CERTIFICATE-----".into(),
        root: "{}".into(),
        secret: "5".repeat(64),
        until: at(NOW),
        epoch: Epoch(1),
    };
    let taken = IngestAnswer::Taken { epoch: Epoch(1), seq: tenure_trust::Seq(3), hash: Hash::of(b"x") };
    let request = EnrolRequest { secret: "5".repeat(64), enrolment: enrolment.clone() };
    vec![
        enrolment.into_bytes(),
        serde_json::to_vec(&invitation).expect("texts"),
        serde_json::to_vec(&request).expect("texts"),
        serde_json::to_vec(&taken).expect("texts"),
        serde_json::to_vec(&CertificateAnswer::Waiting).expect("texts"),
    ]
}
