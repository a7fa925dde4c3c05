//! What comes down: policy and admissions of honest and hostile controllers, and enrolment.

use std::collections::BTreeSet;

use jiff::SignedDuration;
use tenure_trust::enrol::{CertificateAnswer, EnrolAnswer, paths};
use tenure_trust::{AdmissionList, Epoch, MachineRole, Order, OrderKind, Signed, SigningKey};

use super::fake::{Does, Tiny, World, bundle, host, index, now, operator, root};
use crate::store::BundleStore;
use crate::uplink::fetch::Fetcher;
use crate::uplink::{LinkError, Notice, Placed, directory, enrol, http, place_root};

fn mallory() -> SigningKey {
    SigningKey::from_seed(&[9; 32])
}

async fn fetch(world: &World) -> Result<Vec<Notice>, LinkError> {
    let mut line = http::connect(&world.setup.places, &world.ticket, false).await?;
    Fetcher::new(world.setup.clone()).fetch::<Tiny>(&mut line, now()).await
}

/// Takes what lies in the link's directory, as the policy's thread does.
fn take(world: &World) -> Option<(u64, String)> {
    let mut store = BundleStore::open(&world.setup.places, host("web1")).unwrap();
    let taken = store.offer::<Tiny>(&directory(&world.setup.places), now()).ok()?;
    Some((taken.policy.version().unwrap().0, taken.policy.text.clone()))
}

fn honest(world: &World) {
    let (one, two) = (bundle("web1", "first", &operator()), bundle("web2", "other", &operator()));
    world.fake.says(paths::INDEX, &index(3, &[("web1", &one), ("web2", &two)], &operator()).to_json());
    world.fake.says(paths::BUNDLE, &one.to_json());
    let list = AdmissionList { admissions: vec![world.admission(&operator())], revocations: vec![] };
    world.fake.says(paths::ADMISSIONS, &serde_json::to_string(&list).unwrap());
}

fn words(notices: &[Notice]) -> BTreeSet<&str> {
    notices.iter().map(|notice| notice.event).collect()
}

#[tokio::test]
async fn an_honest_controller_is_believed() {
    let world = World::new().await;
    honest(&world);
    assert_eq!(fetch(&world).await.unwrap(), []);
    assert_eq!(take(&world), Some((3, "first".into())));
    assert_eq!(fetch(&world).await.unwrap(), [], "the same again is no news");
}

#[tokio::test]
async fn forged_older_foreign_and_withheld_policy_changes_nothing_and_is_named() {
    let world = World::new().await;
    honest(&world);
    fetch(&world).await.unwrap();
    assert!(take(&world).is_some());
    let lies = directory(&world.setup.places);
    let stands = || ["index.json", "web1.bundle.json"].map(|name| std::fs::read(lies.join(name)).unwrap());
    let before = stands();
    let one = bundle("web1", "evil", &operator());
    let (by_mallory, web2) = (bundle("web1", "evil", &mallory()), bundle("web2", "other", &operator()));
    let set = |i: &Signed<tenure_trust::Index>, b: Option<String>| {
        world.fake.says(paths::INDEX, &i.to_json());
        match b {
            Some(text) => world.fake.says(paths::BUNDLE, &text),
            None => world.fake.set(paths::BUNDLE, Does::Says(404, b"{}".to_vec())),
        }
    };
    let good = |version| index(version, &[("web1", &one)], &operator());
    let cases: Vec<(&str, Signed<tenure_trust::Index>, Option<String>, &str)> = vec![
        ("older", good(2), Some(one.to_json()), "policy_refused"),
        ("the same version with another content", good(3), Some(one.to_json()), "policy_refused"),
        ("forged index", index(9, &[("web1", &one)], &mallory()), Some(one.to_json()), "policy_refused"),
        (
            "forged bundle",
            index(9, &[("web1", &by_mallory)], &operator()),
            Some(by_mallory.to_json()),
            "policy_refused",
        ),
        (
            "another machine's",
            index(9, &[("web1", &one), ("web2", &web2)], &operator()),
            Some(web2.to_json()),
            "policy_refused",
        ),
        (
            "another bundle than the index names",
            good(9),
            Some(bundle("web1", "x", &operator()).to_json()),
            "policy_refused",
        ),
        ("no bundle", good(9), None, "policy_withheld"),
        ("garbage", good(9), Some("\u{1b}[2J{".into()), "policy_refused"),
    ];
    for (what, index, bundle, event) in cases {
        set(&index, bundle);
        let notices = fetch(&world).await.unwrap();
        assert_eq!(words(&notices), [event].into(), "{what}: {notices:?}");
        assert!(!notices[0].what.contains('\u{1b}'));
        assert_eq!(stands(), before, "{what}");
    }
    world.fake.set(paths::INDEX, Does::Says(404, vec![]));
    assert_eq!(words(&fetch(&world).await.unwrap()), ["policy_withheld"].into(), "no index at all");
    world.fake.says(paths::INDEX, "[[[[");
    assert_eq!(words(&fetch(&world).await.unwrap()), ["policy_refused"].into());
    assert_eq!(stands(), before);
}

#[tokio::test]
async fn hanging_flooding_and_breaking_off_are_errors_of_the_link_alone() {
    let world = World::new().await;
    honest(&world);
    fetch(&world).await.unwrap();
    for (path, limit) in [(paths::INDEX, "index"), (paths::ADMISSIONS, "admissions")] {
        world.fake.set(path, Does::Floods);
        let error = fetch(&world).await.unwrap_err();
        assert!(matches!(error, LinkError::TooLarge { .. }), "{limit}: {error:?}");
        world.fake.set(path, Does::Breaks);
        assert!(matches!(fetch(&world).await.unwrap_err(), LinkError::Broken(_)));
        honest(&world);
    }
    for status in [500u16, 302, 403, 204] {
        world.fake.set(paths::INDEX, Does::Says(status, b"\x1b[2J".to_vec()));
        let error = fetch(&world).await.unwrap_err();
        assert!(matches!(error, LinkError::Refused { status: s, .. } if s == status), "{error:?}");
    }
    world.fake.set(paths::INDEX, Does::Hangs);
    let mut line = http::connect(&world.setup.places, &world.ticket, false).await.unwrap();
    line.patience = std::time::Duration::from_millis(300);
    let error = line.get(paths::INDEX, "the index", 1000).await.unwrap_err();
    assert!(matches!(error, LinkError::Slow { .. }), "{error:?}");
}

#[tokio::test]
async fn a_controller_that_does_not_know_the_keys_any_more_is_stated_and_no_other_refusal() {
    let world = World::new().await;
    for (word, stated) in [("revoked", true), ("not-admitted", true), ("store", false), ("", false)] {
        let problem = format!("{{\"type\":\"urn:tenure:{word}\",\"title\":\"no\"}}");
        world.fake.set(paths::INDEX, Does::Says(403, problem.into_bytes()));
        let notice = fetch(&world).await.unwrap_err().notice();
        assert_eq!(notice.map(|notice| notice.event), stated.then_some("policy_withheld"), "{word}");
    }
}

#[tokio::test]
async fn more_admissions_than_there_can_be_and_nonsense_among_them_change_nothing() {
    let world = World::new().await;
    honest(&world);
    fetch(&world).await.unwrap();
    let file = directory(&world.setup.places).join("admissions.json");
    let before = std::fs::read(&file).unwrap();
    let own = world.admission(&operator());
    let mut list = AdmissionList { admissions: vec![String::new(); 40_001], revocations: vec![] };
    world.fake.says(paths::ADMISSIONS, &serde_json::to_string(&list).unwrap());
    assert_eq!(words(&fetch(&world).await.unwrap()), ["policy_refused"].into());
    list.admissions = vec!["\u{202e}\u{1b}[2J".into(), "{}".into(), "[".repeat(100_000), own];
    list.revocations = vec!["null".into()];
    world.fake.says(paths::ADMISSIONS, &serde_json::to_string(&list).unwrap());
    let notices = fetch(&world).await.unwrap();
    assert_eq!((words(&notices), notices.len()), (["policy_refused"].into(), 4));
    for notice in &notices {
        assert_eq!(tenure_trust::neutral(&notice.what), notice.what);
    }
    for nonsense in ["", "[]", "null", "{\"admissions\":[],\"revocations\":[],\"run\":\"id\"}"] {
        world.fake.says(paths::ADMISSIONS, nonsense);
        let error = fetch(&world).await.unwrap_err();
        assert!(matches!(error, LinkError::Nonsense { .. }), "{nonsense}: {error:?}");
    }
    assert_eq!(std::fs::read(&file).unwrap(), before);
}

#[tokio::test]
async fn what_was_signed_once_counts_once_however_often_and_however_it_is_spelled() {
    let world = World::new().await;
    honest(&world);
    fetch(&world).await.unwrap();
    let own = world.admission(&operator());
    let spelled = |n: usize| own.replacen('{', &format!("{{{}", " ".repeat(n)), 1);
    let twice = {
        let mut json: serde_json::Value = serde_json::from_str(&own).unwrap();
        let signature = json["signatures"][0].clone();
        json["signatures"] = vec![signature; 32].into();
        json.to_string()
    };
    let mut admissions: Vec<String> = (0..2000).map(spelled).collect();
    admissions.push(twice);
    let file = directory(&world.setup.places).join("admissions.json");
    let held = || serde_json::from_slice::<AdmissionList>(&std::fs::read(&file).unwrap()).unwrap();
    let say =
        |list: &AdmissionList| world.fake.says(paths::ADMISSIONS, &serde_json::to_string(list).unwrap());
    say(&AdmissionList { admissions, revocations: vec![] });
    assert_eq!(fetch(&world).await.unwrap(), [], "nothing is withheld and nothing is refused");
    assert_eq!(held().admissions.len(), 1, "one statement is kept once");
    // An honest list is taken afterwards as before, however the controller spells what is known.
    let vault = world.admission_of("vault1", &operator());
    say(&AdmissionList { admissions: vec![spelled(3), vault], revocations: vec![] });
    assert_eq!(fetch(&world).await.unwrap(), []);
    assert_eq!(held().admissions.len(), 2);
}

#[tokio::test]
async fn only_the_controller_of_the_invitation_is_spoken_to() {
    let (world, other) = (World::new().await, World::new().await);
    honest(&other);
    let mut ticket = world.ticket.clone();
    ticket.controllers.clone_from(&other.ticket.controllers);
    let error = http::connect(&world.setup.places, &ticket, false).await.unwrap_err();
    assert!(matches!(error, LinkError::Tls { .. }), "another authority: {error:?}");
    ticket = world.ticket.clone();
    ticket.server_name = "ctl2".into();
    let error = http::connect(&world.setup.places, &ticket, false).await.unwrap_err();
    assert!(matches!(error, LinkError::Tls { .. }), "another name: {error:?}");
    ticket.controllers = vec!["127.0.0.1:1".into()];
    let error = http::connect(&world.setup.places, &ticket, false).await.unwrap_err();
    assert!(matches!(error, LinkError::Unreachable(_)), "{error:?}");
}

#[tokio::test]
async fn a_controller_can_add_admissions_and_take_none_away() {
    let world = World::new().await;
    honest(&world);
    fetch(&world).await.unwrap();
    let say = |admissions: Vec<String>, revocations: Vec<String>| {
        let list = AdmissionList { admissions, revocations };
        world.fake.says(paths::ADMISSIONS, &serde_json::to_string(&list).unwrap());
    };
    let book = || {
        let store = BundleStore::open(&world.setup.places, host("web1")).unwrap();
        let admitted = store.admissions(&directory(&world.setup.places), now()).unwrap();
        assert!(admitted.refused.is_empty(), "{:?}", admitted.refused);
        admitted.book.iter().map(|a| a.name.to_string()).collect::<Vec<_>>()
    };
    let (own, vault) = (world.admission(&operator()), world.admission_of("vault1", &operator()));
    say(vec![own.clone(), vault.clone()], vec![]);
    assert_eq!(fetch(&world).await.unwrap(), []);
    assert_eq!(book(), ["vault1", "web1"]);
    say(vec![own.clone(), world.admission_of("vault1", &mallory())], vec![]);
    let notices = fetch(&world).await.unwrap();
    assert_eq!(words(&notices), ["policy_refused", "policy_withheld"].into(), "{notices:?}");
    assert_eq!(book(), ["vault1", "web1"], "what was known stays, what is forged stays out");
    let order = Order {
        schema: 1,
        fleet: super::fake::fleet(),
        issued: now(),
        what: OrderKind::Revoke {
            name: host("web1"),
            role: MachineRole::Host,
            key: world.identity().public().key.id(),
        },
        reason: "stolen".into(),
    };
    say(vec![own.clone(), vault.clone()], vec![Signed::new(&order, &[&mallory()]).to_json()]);
    assert_eq!(words(&fetch(&world).await.unwrap()), ["policy_refused"].into());
    assert_eq!(book().len(), 2, "nobody revokes without an order");
    say(vec![own.clone(), vault.clone()], vec![Signed::new(&order, &[&operator()]).to_json()]);
    assert_eq!(fetch(&world).await.unwrap(), []);
    say(vec![own, vault], vec![]);
    let notices = fetch(&world).await.unwrap();
    assert_eq!(words(&notices), ["policy_withheld"].into(), "{notices:?}");
    assert_eq!(notices[0].what, "1 revocations are known here and withheld: web1 (host)");
    assert!(book().is_empty(), "both have this identity key, and a revocation is never forgotten");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn enrolment_believes_its_own_fingerprint_and_its_own_root() {
    let world = World::new().await;
    let places = world.setup.places.clone();
    let ssh = crate::ssh_key::ensure(&places.state.join("ssh.key"), "web1").unwrap();
    let ask = |invitation: tenure_trust::enrol::Invitation| {
        let (places, ssh) = (places.clone(), ssh.clone());
        let work = move || enrol(&places, &invitation, &ssh, now());
        async move { tokio::task::spawn_blocking(work).await.unwrap() }
    };
    world
        .fake
        .says(paths::ENROL, &serde_json::to_string(&EnrolAnswer { fingerprint: "AAAA".into() }).unwrap());
    let lied = ask(world.invitation.clone()).await.unwrap_err();
    assert!(matches!(lied, LinkError::Nonsense { .. }), "{lied:?}");
    let mut over = world.invitation.clone();
    over.until = now() - SignedDuration::from_secs(1);
    assert!(matches!(ask(over).await.unwrap_err(), LinkError::Invitation(_)));
    let problem = br#"{"type":"urn:tenure:problem:token","title":"no","hint":"ask again"}"#;
    world.fake.set(paths::ENROL, Does::Says(403, problem.to_vec()));
    let refused = ask(world.invitation.clone()).await.unwrap_err();
    assert!(matches!(&refused, LinkError::Refused { word, .. } if word == "token"), "{refused:?}");
    assert_eq!(refused.hint(), "ask again");

    // A root that stands is never replaced.
    let mut other = world.invitation.clone();
    assert_eq!(place_root(&places.root, &other).unwrap(), Placed::Stood);
    other.root = root(&mallory()).to_json();
    assert!(matches!(place_root(&places.root, &other), Err(LinkError::OtherRoot(_))));
    let fresh = world.dir.path().join("etc/trust/root.json");
    assert_eq!(place_root(&fresh, &world.invitation).unwrap(), Placed::Now);
    other.root = "{}".into();
    assert!(matches!(place_root(&fresh, &other), Err(LinkError::Invitation(_))));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn enrolled_anew_a_machine_begins_the_chain_of_its_invitation() {
    let world = World::new().await;
    let places = world.setup.places.clone();
    let ssh = crate::ssh_key::ensure(&places.state.join("ssh.key"), "web1").unwrap();
    std::fs::write(places.state.join("tls.crt"), "of the chain before").unwrap();
    let ask = |epoch: u32| {
        let invitation = tenure_trust::enrol::Invitation { epoch: Epoch(epoch), ..world.invitation.clone() };
        let key = crate::uplink::tls::key(&places.state).unwrap();
        let statement = tenure_trust::enrol::Enrolment {
            schema: 1,
            fleet: invitation.fleet.clone(),
            name: invitation.name.clone(),
            role: invitation.role,
            identity: world.identity().public().key,
            ssh: ssh.clone(),
            tls: crate::uplink::tls::hash(&key),
            epoch: Epoch(epoch).max(crate::uplink::Ticket::epoch_in(&places.state).unwrap()),
        };
        let fingerprint = tenure_trust::enrol::fingerprint(&world.identity().sign(&statement).hash());
        world.fake.says(paths::ENROL, &serde_json::to_string(&EnrolAnswer { fingerprint }).unwrap());
        let (places, ssh) = (places.clone(), ssh.clone());
        let work = move || enrol(&places, &invitation, &ssh, now());
        async move { tokio::task::spawn_blocking(work).await.unwrap() }
    };
    let standing =
        || (crate::uplink::Ticket::epoch_in(&places.state).unwrap(), places.state.join("tls.crt").exists());
    ask(1).await.unwrap();
    assert_eq!(standing(), (Epoch(1), true), "asked again, it states the same");
    ask(2).await.unwrap();
    assert_eq!(standing(), (Epoch(2), false), "the next chain waits for its own admission");
    ask(1).await.unwrap();
    assert_eq!(standing().0, Epoch(2), "never an earlier one");
}

#[tokio::test]
async fn a_certificate_is_kept_only_for_our_key_and_under_our_root() {
    let world = World::new().await;
    let key = crate::uplink::tls::key(&world.setup.places.state).unwrap();
    let signer = rcgen::KeyPair::generate().unwrap();
    let issuer = rcgen::Issuer::new(rcgen::CertificateParams::default(), &signer);
    let mut params = rcgen::CertificateParams::default();
    params.not_after = rcgen::date_time_ymd(2100, 1, 1);
    let made = params.signed_by(&key, &issuer).unwrap().pem();
    let others = params.signed_by(&rcgen::KeyPair::generate().unwrap(), &issuer).unwrap().pem();
    let answer = |certificate: &str, admission: String| {
        let issued = CertificateAnswer::Issued { certificate: certificate.into(), admission };
        world.fake.says(paths::CERTIFICATE, &serde_json::to_string(&issued).unwrap());
    };
    let ask = || super::super::enrol::ask(&world.setup.places, &world.ticket, now());
    world.fake.says(paths::CERTIFICATE, "\"waiting\"");
    assert_eq!(ask().await.unwrap(), crate::uplink::Asked::Waiting);
    answer(&others, world.admission(&operator()));
    assert!(matches!(ask().await.unwrap_err(), LinkError::Nonsense { .. }));
    answer(&made, world.admission(&mallory()));
    assert!(matches!(ask().await.unwrap_err(), LinkError::Issued(_)));
    answer(&made, world.admission_of("web2", &operator()));
    assert!(matches!(ask().await.unwrap_err(), LinkError::Issued(_)));
    assert!(!world.setup.places.state.join("tls.crt").exists());
    answer(&made, world.admission(&operator()));
    assert!(matches!(ask().await.unwrap(), crate::uplink::Asked::Issued { .. }));
    let standing = |at| crate::uplink::tls::standing(&world.setup.places.state, at).unwrap();
    let at = |text: &str| text.parse().unwrap();
    use crate::uplink::tls::Standing;
    // From 1975 to 2100: half of it is in 2037.
    assert_eq!(standing(at("2026-01-01T00:00:00Z")), Standing::Fresh);
    assert_eq!(standing(at("2040-01-01T00:00:00Z")), Standing::Half);
    assert_eq!(standing(at("2101-01-01T00:00:00Z")), Standing::None);
}
