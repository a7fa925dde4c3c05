//! Everything signed. The keys are fixed, so that what they signed is known: nothing else may ever be taken for signed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use tenure_policy::resolved::HostPolicy;
use tenure_trust::{
    About, AreaName, Arrival, Chain, ChainVerifier, Draft, Envelope, Epoch, Expected, ExportHeader,
    ExportLine, Floor, Hash, Index, JudgeVersion, KeyName, Kind, Link, NamedKey, Payload, PolicyVersion,
    PublicKey, Refused, Role, RoleKeys, Root, RootVersion, Seq, Signed, SigningKey, VerdictTag, Verified,
    verify_bundle, verify_index,
};

use crate::check::{printable, reads_back};
use crate::host::at;
use crate::policy::WEB;

const NOW: i64 = 1_800_000_000;
const DAY: i64 = 86_400;

/// A fleet with everything that its keys ever signed.
struct Fleet {
    root: Verified<Root>,
    next_root: Signed<Root>,
    indexes: [Signed<Index>; 2],
    index: Verified<Index>,
    bundle: Signed<HostPolicy>,
}

static FLEET: LazyLock<Fleet> = LazyLock::new(|| {
    let root = Signed::new(&root(1), &[&key(1)]);
    let bundle = Signed::new(&*WEB, &[&key(2)]);
    let indexes = [7, 8].map(|version| Signed::new(&index(version, bundle.hash()), &[&key(2)]));
    let root = Root::anchor_signed(&root).expect("a good root");
    let text = indexes[1].to_json();
    let index = verify_index(&root, &Floor::NONE, Arrival::Offered, at(NOW), text.as_bytes());
    let next_root = Signed::new(&self::root(2), &[&key(1), &key(4)]);
    Fleet { root, next_root, indexes, index: index.expect("a good index"), bundle }
});

fn key(number: u8) -> SigningKey {
    SigningKey::from_seed(&[number; 32])
}

fn named(number: u8) -> NamedKey {
    NamedKey { name: KeyName::new(format!("key{number}")).expect("a name"), key: key(number).public() }
}

fn root(version: u64) -> Root {
    let role = |keys: &[u8]| RoleKeys { threshold: 1, keys: keys.iter().map(|n| named(*n)).collect() };
    let roots: &[u8] = if version == 1 { &[1] } else { &[4] };
    Root {
        schema: 1,
        version: RootVersion(version),
        fleet: WEB.fleet.clone(),
        issued: at(NOW - DAY),
        expires: at(NOW + 365 * DAY),
        roles: BTreeMap::from([(Role::Root, role(roots)), (Role::Policy, role(&[2, 3]))]),
    }
}

fn index(version: u64, bundle: Hash) -> Index {
    Index {
        schema: 1,
        fleet: WEB.fleet.clone(),
        version: PolicyVersion(version),
        issued: at(NOW - 60),
        expires: at(NOW + 90 * DAY),
        machines: BTreeMap::from([(WEB.host.clone(), bundle)]),
        vaults: BTreeMap::new(),
        controllers: BTreeMap::new(),
        revoked: BTreeSet::new(),
    }
}

fn refused(refused: &Refused) {
    printable(&refused.to_string(), 2000);
    printable(refused.hint(), 400);
}

/// An envelope that nobody has checked yet.
pub fn envelope(bytes: &[u8]) {
    match Envelope::parse(bytes) {
        Err(fault) => refused(&fault),
        Ok(envelope) => {
            let text = envelope.to_json();
            printable(&text, 32 << 20);
            assert_eq!(Envelope::parse(text.as_bytes()).as_ref(), Ok(&envelope), "it reads back as another");
            assert!(envelope.claimed_keys().count() <= 32);
        }
    }
}

/// Bytes that claim to be a root, an index or a bundle: what is taken was signed, byte for byte.
pub fn signed(bytes: &[u8]) {
    let fleet = &*FLEET;
    match Root::anchor(bytes) {
        // Whoever makes keys may make a root of them; it is a person who places one.
        Ok(root) => {
            reads_back(root.value());
        }
        Err(fault) => refused(&fault),
    }
    match fleet.root.accept(bytes, at(NOW)) {
        Ok(root) => assert_eq!(root.hash(), fleet.next_root.hash(), "a forged root"),
        Err(fault) => refused(&fault),
    }
    for (floor, known) in
        [(Floor::NONE, &fleet.indexes[..]), (Floor::NONE.raised(&fleet.index), &fleet.indexes[1..])]
    {
        match verify_index(&fleet.root, &floor, Arrival::Offered, at(NOW), bytes) {
            Ok(index) => {
                assert!(known.iter().any(|k| k.hash() == index.hash()), "a forged or replayed index")
            }
            Err(fault) => refused(&fault),
        }
    }
    match verify_bundle::<HostPolicy>(&fleet.root, &fleet.index, &Floor::NONE, &WEB.host, bytes) {
        Ok(bundle) => assert_eq!((bundle.hash(), bundle.value()), (fleet.bundle.hash(), &*WEB)),
        Err(fault) => refused(&fault),
    }
}

/// Any payload under good signatures: what stands inside is judged as if its signer were hostile.
pub fn statement(bytes: &[u8]) {
    let fleet = &*FLEET;
    let hash = Hash::of(bytes);
    let sign = |kind: Kind, number: u8| Envelope::sign(kind, bytes.to_vec(), &[&key(number)]).to_json();
    match Root::anchor(sign(Kind::Root, 1).as_bytes()) {
        Err(fault) => refused(&fault),
        Ok(root) => {
            assert_eq!(root.hash(), hash);
            reads_back(root.value());
            for keys in root.roles.values() {
                let different: BTreeSet<_> = keys.keys.iter().map(|named| named.key.id()).collect();
                assert!(
                    (1..=different.len()).contains(&(keys.threshold as usize)),
                    "a threshold that is none"
                );
            }
        }
    }
    match verify_index(&fleet.root, &Floor::NONE, Arrival::Offered, at(NOW), sign(Kind::Index, 2).as_bytes())
    {
        Err(fault) => refused(&fault),
        Ok(index) => {
            assert_eq!((index.hash(), &index.fleet), (hash, &fleet.root.fleet));
            reads_back(index.value());
            assert!(index.version.0 > 0 && index.issued < index.expires && index.expires > at(NOW));
            let floor = Floor::NONE.raised(&index);
            assert!(floor.version == index.version && floor.latest >= index.issued);
        }
    }
    let naming = Signed::new(&self::index(9, hash), &[&key(2)]).to_json();
    let naming = verify_index(&fleet.root, &Floor::NONE, Arrival::Offered, at(NOW), naming.as_bytes());
    let naming = naming.expect("a good index");
    let text = sign(Kind::HostPolicy, 3);
    match verify_bundle::<HostPolicy>(&fleet.root, &naming, &Floor::NONE, &WEB.host, text.as_bytes()) {
        Err(fault) => refused(&fault),
        Ok(bundle) => {
            assert_eq!((bundle.hash(), &bundle.host, &bundle.fleet), (hash, &WEB.host, &fleet.root.fleet));
            reads_back(bundle.value());
        }
    }
}

/// The records that the host's key signed, in order.
static CHAIN: LazyLock<Vec<Link>> = LazyLock::new(|| {
    let mut chain = Chain::begin(WEB.host.clone(), Epoch(1));
    let link = |chain: &Chain, number: u8| {
        let draft = Draft {
            about: About::Area(AreaName::new("firewall").expect("a name")),
            policy: Some(PolicyVersion(7)),
            judge: JudgeVersion::new("tenure 0.1.0").expect("a version"),
            observed_at: at(NOW + i64::from(number)),
            verdict: Some(VerdictTag::Compliant),
            reason: None,
        };
        let payload = Payload::new([number; 32], format!("{{\"fact\":{number}}}").into_bytes());
        chain.link(draft, payload.expect("a small payload"), 0, &key(5))
    };
    let links = (1..=5).map(|number| {
        let link = link(&chain, number);
        chain.advance(&link);
        link
    });
    links.collect()
});

/// An exported chain: nothing is believed that the host did not sign, and a clean report means that nothing is missing,
/// double, changed or moved.
pub fn chain(bytes: &[u8]) {
    let known = CHAIN.last().map(|link| link.signed.hash());
    let mut verifier = ChainVerifier::new(key(5).public(), Expected { from: Seq(1), known });
    let mut believed = Vec::new();
    for line in bytes.split(|b| *b == b'\n') {
        if line.len() > ExportLine::MAX {
            verifier.oversized_line();
        } else if let Some((record, payload)) = verifier.line(line) {
            let link = CHAIN.iter().find(|link| link.record == record).expect("a record that nobody signed");
            assert!(
                payload.is_none_or(|payload| payload == link.payload),
                "a payload that was not committed to"
            );
            believed.push(record.seq.0);
        }
    }
    let report = verifier.finish();
    assert_eq!(report.records, believed.len() as u64);
    assert!(report.findings.len() <= 1000);
    report.findings.iter().for_each(|finding| printable(&finding.fault.to_string(), 2000));
    let whole = believed == (1..=CHAIN.len() as u64).collect::<Vec<_>>();
    assert!(!report.is_clean() || whole, "called clean: {believed:?}");
    reads_as_json(&report);
}

fn reads_as_json(report: &tenure_trust::ChainReport) {
    serde_json::to_string(report).expect("a report is plain data");
}

/// Keys, hashes and names as people copy them.
pub fn key_text(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    match text.parse::<NamedKey>() {
        Ok(named) => assert_eq!(named.to_string().parse().as_ref(), Ok(&named)),
        Err(fault) => printable(&fault.to_string(), 400),
    }
    match text.parse::<PublicKey>() {
        Ok(key) => assert_eq!(key.to_string().parse(), Ok(key)),
        Err(fault) => printable(&fault.to_string(), 400),
    }
    match text.parse::<Hash>() {
        Ok(hash) => assert_eq!(hash.to_string(), text),
        Err(fault) => printable(&fault.to_string(), 400),
    }
    match text.parse::<Kind>() {
        Ok(kind) => assert_eq!(kind.payload_type(), text),
        Err(fault) => printable(&fault.to_string(), 400),
    }
    match text.parse::<KeyName>() {
        Ok(name) => assert_eq!(name.as_str(), text),
        Err(fault) => printable(&fault.to_string(), 1000),
    }
    if let Ok(header) = ExportHeader::parse(bytes) {
        assert_eq!(ExportHeader::parse(header.to_json().as_bytes()), Ok(header));
    }
}

/// One of each kind.
pub fn envelopes() -> Vec<Vec<u8>> {
    let fleet = &*FLEET;
    let mut texts = vec![
        Signed::new(&root(1), &[&key(1)]).to_json(),
        fleet.next_root.to_json(),
        fleet.bundle.to_json(),
        CHAIN[0].signed.to_json(),
    ];
    texts.extend(fleet.indexes.iter().map(Signed::to_json));
    texts.into_iter().map(String::into_bytes).collect()
}

/// One payload of each kind.
pub fn statements() -> Vec<Vec<u8>> {
    use tenure_trust::statement::bytes;
    vec![bytes(&root(1)), bytes(&index(7, Hash::of(b"any"))), bytes(&*WEB)]
}

/// An export with its payloads, and one without the second.
pub fn chains() -> Vec<Vec<u8>> {
    let head = ExportHeader::new(WEB.host.clone(), Epoch(1), key(5).public()).to_json();
    let whole: Vec<String> = CHAIN.iter().map(Link::line).collect();
    let mut thinned = whole.clone();
    thinned[1] = ExportLine { record: CHAIN[1].signed.envelope().clone(), payload: None }.to_json();
    [whole, thinned].map(|lines| format!("{head}\n{}", lines.join("\n")).into_bytes()).to_vec()
}

/// Texts of every form that is read.
pub fn key_texts() -> Vec<Vec<u8>> {
    let header = ExportHeader::new(WEB.host.clone(), Epoch(1), key(5).public()).to_json();
    let texts = [named(2).to_string(), key(2).public().to_string(), Hash::of(b"any").to_string(), header];
    let kinds = Kind::ALL.iter().map(|kind| kind.payload_type());
    texts.into_iter().chain(kinds).map(String::into_bytes).collect()
}
