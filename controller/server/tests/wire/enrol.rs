//! Tokens, enrolments, certificates: who gets what before and after an operator has admitted the keys.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use tenure_controller::secret::Secret;
use tenure_controller::store::{Access, Redeemed, Redemption};
use tenure_trust::enrol::{CertificateRequest, fingerprint};
use tenure_trust::{Chain, Epoch, HostName, MachineRole, Order, OrderKind, Signed};

use crate::world::{Machine, World, key};

#[tokio::test]
async fn a_machine_enrols_waits_is_admitted_and_gets_a_certificate() {
    let world = World::new().await;
    let mut machine = Machine::new("web1", MachineRole::Host);
    assert_eq!(machine.ask_certificate(&world).await.problem(), "not-admitted", "nobody knows it yet");
    let invitation = world.invite("web1", MachineRole::Host).await;
    assert_eq!(invitation.ca, world.ca);
    let answer = machine.enrol(&world, &invitation.secret).await;
    let shown = fingerprint(&machine.enrolment().hash());
    assert_eq!(answer.json()["fingerprint"], shown, "both sides show the same");
    assert_eq!(machine.ask_certificate(&world).await.json(), "waiting");
    assert_eq!(machine.enrol(&world, &invitation.secret).await.status, 200, "the answer was lost: ask again");

    let listed = world.operator().await.get("/api/v1/enrolments?name=web1").await.json();
    assert_eq!(listed[0]["fingerprint"], shown);
    assert_eq!(listed[0]["enrolment"], machine.enrolment().to_json());

    world.admit(&machine).await;
    machine.certify(&world).await;
    assert_eq!(machine.client().get("/v1/admissions").await.status, 200);
    let issued = machine.ask_certificate(&world).await.json();
    assert_eq!(issued["issued"]["admission"].as_str().map(|a| a.contains("admission")), Some(true));
}

#[tokio::test]
async fn a_machine_that_lost_its_state_is_admitted_anew_and_begins_the_next_chain() {
    let world = World::new().await;
    assert_eq!(world.invite("web1", MachineRole::Host).await.epoch, Epoch(1));
    let mut web1 = world.admitted("web1", MachineRole::Host).await;
    let lines = web1.lines(5);
    assert_eq!(web1.send(&lines).await.json()["taken"]["seq"], 5);
    let invitation = world.invite("web1", MachineRole::Host).await;
    assert_eq!(invitation.epoch, Epoch(2));
    assert_eq!(world.invite("web1", MachineRole::Vault).await.epoch, Epoch(1), "a chain of its own");

    let mut anew = Machine::new("web1", MachineRole::Host);
    anew.epoch = invitation.epoch;
    anew.chain = Chain::begin(anew.name.clone(), invitation.epoch);
    assert_eq!(anew.enrol(&world, &invitation.secret).await.status, 200);
    world.admit(&anew).await;
    anew.certify(&world).await;
    let lines = anew.lines(3);
    assert_eq!(anew.send(&lines).await.json()["taken"], {
        let last = &anew.chain.prev;
        serde_json::json!({ "epoch": 2, "seq": 3, "hash": last })
    });
    let late = web1.lines(1);
    assert_eq!(web1.send(&late).await.problem(), "not-admitted", "the key before counts no longer");
    let operator = world.operator().await;
    for (epoch, records) in [(1, 5), (2, 3)] {
        let export = operator.get(&format!("/api/v1/hosts/web1/export?epoch={epoch}")).await;
        let lines = export.body.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).count();
        assert_eq!(lines, records + 1, "epoch {epoch} is kept");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_at_once_redeem_a_token_once() {
    let world = Arc::new(World::new().await);
    let invitation = Arc::new(world.invite("web1", MachineRole::Host).await);
    let now = world.app.now();
    let tries: Vec<_> = (0..200)
        .map(|_| {
            let (world, invitation) = (world.clone(), invitation.clone());
            let machine = Machine::new("web1", MachineRole::Host);
            tokio::spawn(async move { redeem(&world, &machine, &invitation.secret, now).await })
        })
        .collect();
    let mut redeemed = 0;
    for one in tries {
        redeemed += u32::from(one.await.unwrap() == Redeemed::Yes);
    }
    assert_eq!(redeemed, 1);
    let enrolled = world.operator().await.get("/api/v1/enrolments").await.json();
    assert_eq!(enrolled.as_array().map(Vec::len), Some(1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_hundred_requests_at_once_one_enrols() {
    let world = World::new().await;
    let invitation = world.invite("web1", MachineRole::Host).await;
    let machines: Vec<Machine> = (0..200).map(|_| Machine::new("web1", MachineRole::Host)).collect();
    let tries = machines.iter().map(|machine| {
        let request = tenure_trust::enrol::EnrolRequest {
            secret: invitation.secret.clone(),
            enrolment: machine.enrolment().to_json(),
        };
        let (client, body) = (world.machines(), serde_json::to_vec(&request).unwrap());
        tokio::spawn(async move { client.post("/v1/enrol", body).await.status.as_u16() })
    });
    let tries: Vec<_> = tries.collect();
    let mut statuses = Vec::new();
    for one in tries {
        statuses.push(one.await.unwrap());
    }
    assert_eq!(statuses.iter().filter(|s| **s == 200).count(), 1, "{statuses:?}");
    assert!(statuses.iter().all(|s| matches!(s, 200 | 403 | 429)), "{statuses:?}");
    let enrolled = world.operator().await.get("/api/v1/enrolments").await.json();
    assert_eq!(enrolled.as_array().map(Vec::len), Some(1));
}

/// Redeems straight at the database, where no address is slowed down.
async fn redeem(world: &World, machine: &Machine, secret: &str, now: Timestamp) -> Redeemed {
    let signed = machine.enrolment();
    let (enrolment, envelope) = (signed.unverified().unwrap(), signed.to_json());
    let offer = Redemption {
        secret: Secret::brought(secret).unwrap().hash(),
        enrolment: &enrolment,
        payload: signed.hash(),
        envelope: &envelope,
        address: "192.0.2.1",
    };
    world.app.store.redeem(&Access::Stranger, &offer, now).await.unwrap()
}

#[tokio::test]
async fn a_token_ends_to_the_second() {
    let world = World::new().await;
    let web1 = Machine::new("web1", MachineRole::Host);
    let second = SignedDuration::from_secs(1);
    let late = world.invite("web1", MachineRole::Host).await;
    assert_eq!(redeem(&world, &web1, &late.secret, late.until).await, Redeemed::No, "its end is over");
    assert_eq!(redeem(&world, &web1, &late.secret, late.until + second).await, Redeemed::No);
    assert_eq!(redeem(&world, &web1, &late.secret, late.until - second).await, Redeemed::Yes);
    // Who asks again because the answer was lost gets it until then, and nobody else.
    assert_eq!(redeem(&world, &web1, &late.secret, late.until - second).await, Redeemed::Yes);
    assert_eq!(redeem(&world, &web1, &late.secret, late.until + second).await, Redeemed::No);
    let other = Machine::new("web1", MachineRole::Host);
    assert_eq!(redeem(&world, &other, &late.secret, late.until - second).await, Redeemed::No);

    let operator = world.operator().await;
    let ask = async |minutes: u32| {
        let wanted = serde_json::json!({ "name": "web1", "role": "host", "minutes": minutes });
        operator.post("/api/v1/tokens", wanted.to_string()).await
    };
    for minutes in [0, 1441, u32::MAX] {
        assert_eq!(ask(minutes).await.problem(), "malformed", "{minutes} minutes");
    }
    for minutes in [1, 1440] {
        let before = world.app.now();
        let until: Timestamp = ask(minutes).await.json()["until"].as_str().unwrap().parse().unwrap();
        let span = SignedDuration::from_mins(i64::from(minutes));
        assert!(before + span <= until && until <= world.app.now() + span, "{minutes} minutes: {until}");
    }
}

#[tokio::test]
async fn a_token_is_for_one_name_and_one_role() {
    let world = World::new().await;
    let invitation = world.invite("web1", MachineRole::Host).await;
    let other = Machine::new("web2", MachineRole::Host).enrol(&world, &invitation.secret).await;
    let vault = Machine::new("web1", MachineRole::Vault).enrol(&world, &invitation.secret).await;
    let guess = Machine::new("web1", MachineRole::Host).enrol(&world, &"0".repeat(64)).await;
    for answer in [&other, &vault, &guess] {
        assert_eq!((answer.status.as_u16(), answer.problem().as_str()), (403, "token"));
        assert_eq!(answer.body, other.body, "nothing tells what was wrong");
    }
    assert_eq!(Machine::new("web1", MachineRole::Host).enrol(&world, &invitation.secret).await.status, 200);
    // Guessing slows down, also for the right secret.
    for _ in 0..4 {
        Machine::new("web3", MachineRole::Host).enrol(&world, &"1".repeat(64)).await;
    }
    let right = world.invite("web3", MachineRole::Host).await;
    assert_eq!(Machine::new("web3", MachineRole::Host).enrol(&world, &right.secret).await.status, 429);
}

#[tokio::test]
async fn an_enrolment_must_be_signed_by_its_own_key() {
    let world = World::new().await;
    let invitation = world.invite("web1", MachineRole::Host).await;
    let (mut mallory, web1) =
        (Machine::new("web1", MachineRole::Host), Machine::new("web1", MachineRole::Host));
    let stolen = web1.enrolment().envelope().to_json();
    // Its bytes under another's signature.
    let forged = Signed::new(&web1.enrolment().unverified().unwrap(), &[&mallory.identity]);
    for text in [forged.to_json(), stolen.replace("enrolment", "record"), "{}".into(), String::new()] {
        let request = serde_json::json!({ "secret": invitation.secret, "enrolment": text }).to_string();
        let answer = world.machines().post("/v1/enrol", request).await;
        assert_eq!(answer.problem(), "refused", "{text}: {answer:?}");
    }
    mallory.name = HostName::new("web1").unwrap();
    assert_eq!(web1.enrol(&world, &invitation.secret).await.status, 200, "the token is still good");
}

#[tokio::test]
async fn a_certificate_is_only_for_who_holds_the_admitted_key() {
    let world = World::new().await;
    let web1 = world.admitted("web1", MachineRole::Host).await;
    let mallory = Machine::new("web1", MachineRole::Host);
    let ask = |enrolment: String, csr: String| {
        let (client, request) = (world.machines(), CertificateRequest { enrolment, csr });
        async move { client.post("/v1/certificate", serde_json::to_vec(&request).unwrap()).await }
    };
    let stolen = ask(web1.enrolment().to_json(), mallory.csr()).await;
    assert_eq!(stolen.problem(), "csr", "web1's statement, and mallory's key: {stolen:?}");
    let own = ask(mallory.enrolment().to_json(), mallory.csr()).await;
    assert_eq!(own.problem(), "not-admitted");
    for bad in ["", "x", "-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n"] {
        assert_eq!(ask(web1.enrolment().to_json(), bad.into()).await.problem(), "csr");
    }
    let mut copied = mallory;
    // A certificate by another authority is refused in the handshake.
    let mut client = world.machines();
    let foreign = rcgen::CertificateParams::default().self_signed(&copied.tls).unwrap();
    client.identity = Some((foreign.pem(), copied.tls.serialize_pem()));
    copied.client = Some(client);
    assert!(copied.client().try_ask(hyper::Method::GET, "/v1/admissions", vec![]).await.is_err());
}

#[tokio::test]
async fn a_revoked_key_is_refused_at_once_and_gets_no_certificate() {
    let world = World::new().await;
    let mut web1 = world.admitted("web1", MachineRole::Host).await;
    assert_eq!(web1.client().get("/v1/admissions").await.status, 200);
    let order = Order {
        schema: 1,
        fleet: world.app.root.fleet.clone(),
        issued: world.app.now(),
        what: OrderKind::Revoke {
            name: web1.name.clone(),
            role: web1.role,
            key: web1.identity.public().id(),
        },
        reason: "stolen".into(),
    };
    let operator = world.operator().await;
    let forged = operator.post("/api/v1/revocations", Signed::new(&order, &[&key(9)]).to_json()).await;
    assert_eq!(forged.problem(), "refused");
    let signed = Signed::new(&order, &[&world.operator]).to_json();
    assert_eq!(operator.post("/api/v1/revocations", signed).await.status, 200);
    assert_eq!(web1.client().get("/v1/admissions").await.problem(), "not-admitted");
    let lines = web1.lines(1);
    assert_eq!(web1.send(&lines).await.problem(), "not-admitted");
    assert_eq!(web1.ask_certificate(&world).await.problem(), "revoked");
    // Its admission comes again: it stays revoked.
    world.admit(&web1).await;
    assert_eq!(web1.client().get("/v1/admissions").await.problem(), "not-admitted");
}
