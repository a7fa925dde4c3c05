//! Records: once, in order, of the admitted key alone; every fault its own answer and its own finding.

use serde_json::{Value, json};
use tenure_trust::{Chain, Epoch, MachineRole};

use crate::world::{Machine, World, host, key};

async fn findings(world: &World) -> Vec<(String, u64)> {
    let found = world.operator().await.get("/api/v1/findings").await.json();
    let rows = found.as_array().cloned().unwrap_or_default();
    let mut rows: Vec<_> = rows
        .iter()
        .map(|row| (row["kind"].as_str().unwrap().to_owned(), row["count"].as_u64().unwrap()))
        .collect();
    rows.sort();
    rows
}

fn refused(answer: &Value) -> (&str, u64) {
    let refused = &answer["refused"];
    (refused["finding"].as_str().unwrap_or("none"), refused["seq"].as_u64().unwrap_or(99))
}

#[tokio::test]
async fn records_are_taken_once_and_in_order_over_restarts() {
    let mut world = World::new().await;
    let mut web1 = world.admitted("web1", MachineRole::Host).await;
    let first = web1.lines(40);
    let answer = web1.send(&first).await.json();
    assert_eq!(answer["taken"]["seq"], 40, "{answer}");
    assert_eq!(answer["taken"]["hash"], json!(web1.chain.prev));
    world.restart().await;
    web1.certify(&world).await;
    let again = web1.send(&first).await.json();
    assert_eq!(again, answer, "the answer was lost, and is the same again");
    let part = web1.send(&first[3..7]).await.json();
    let export = tenure_trust::ExportLine::parse(first[6].as_bytes()).unwrap();
    assert_eq!(part["taken"], json!({ "epoch": 1, "seq": 7, "hash": export.record.hash() }));
    let rest = web1.lines(2);
    let from_the_middle: Vec<String> = first[30..].iter().chain(&rest).cloned().collect();
    assert_eq!(web1.send(&from_the_middle).await.json()["taken"]["seq"], 42, "only what is new is kept");
    assert_eq!(web1.send(&rest).await.json()["taken"]["seq"], 42);
    assert_eq!(web1.send(&[]).await.json()["taken"]["seq"], 42, "nothing is nothing");

    let operator = world.operator().await;
    let hosts = operator.get("/api/v1/machines").await.json();
    assert_eq!(hosts[0]["chain"]["seq"], 42, "{hosts}");
    let newest = operator.get("/api/v1/hosts/web1/records?limit=2&facts=true").await.json();
    assert_eq!(
        (&newest[0]["seq"], &newest[1]["seq"], &newest[0]["facts"]),
        (&json!(42), &json!(41), &json!({}))
    );
    let export = operator.get("/api/v1/hosts/web1/export").await;
    let mut verifier =
        tenure_trust::ChainVerifier::new(web1.identity.public(), tenure_trust::Expected::default());
    for line in export.body.split(|b| *b == b'\n').filter(|line| !line.is_empty()) {
        verifier.line(line);
    }
    let report = verifier.finish();
    assert!(report.is_clean() && report.records == 42, "{report:?}");
    assert!(findings(&world).await.is_empty(), "an honest repetition is nothing to look at");
}

#[tokio::test]
async fn every_fault_is_a_finding_of_its_own_and_changes_nothing() {
    let world = World::new().await;
    let mut web1 = world.admitted("web1", MachineRole::Host).await;
    let lines = web1.lines(10);
    assert_eq!(web1.send(&lines[..4]).await.json()["taken"]["seq"], 4);

    assert_eq!(refused(&web1.send(&lines[6..]).await.json()), ("gap", 4));
    assert_eq!(refused(&web1.send(&[lines[4].clone(), lines[6].clone()]).await.json()), ("gap", 4));
    assert_eq!(refused(&web1.send(&[lines[4].clone(), lines[4].clone()]).await.json()), ("replay", 4));

    for odd in [vec![2, 1], vec![1, 3], vec![1, 1], vec![0, 1, 2, 3, 2]] {
        let odd: Vec<String> = odd.into_iter().map(|n: usize| lines[n].clone()).collect();
        assert_eq!(refused(&web1.send(&odd).await.json()), ("replay", 4), "nobody sends {odd:?} honestly");
    }

    let kept = std::mem::replace(&mut web1.chain, Chain::begin(host("web1"), Epoch(1)));
    let twin = [web1.line("other", b"[]"), web1.line("other", b"[1]"), web1.line("other", b"[2]")];
    assert_eq!(refused(&web1.send(&twin[..1]).await.json()), ("reset", 4));
    assert_eq!(refused(&web1.send(&twin[1..2]).await.json()), ("fork", 4));
    web1.chain =
        Chain { prev: tenure_trust::Hash::of(b"elsewhere"), next: tenure_trust::Seq(5), ..kept.clone() };
    let forked = web1.line("other", b"{}");
    assert_eq!(refused(&web1.send(&[forked]).await.json()), ("fork", 4));

    web1.chain = Chain::begin(host("web1"), Epoch(2));
    let later = web1.line("other", b"{}");
    assert_eq!(refused(&web1.send(&[later]).await.json()), ("reset", 4), "no admission began this epoch");
    web1.chain = kept;

    let mut other = Machine::new("web1", MachineRole::Host);
    other.identity = key(77);
    let foreign = other.lines(1);
    assert_eq!(refused(&web1.send(&foreign).await.json()), ("foreign", 4));
    let mut web2 = world.admitted("web2", MachineRole::Host).await;
    let others = web2.lines(1);
    assert_eq!(refused(&web1.send(&others).await.json()), ("foreign", 4));
    let mut as_vault = Chain::begin_as(host("web1"), MachineRole::Vault, Epoch(1));
    std::mem::swap(&mut web1.chain, &mut as_vault);
    let vaults = web1.line("other", b"{}");
    assert_eq!(refused(&web1.send(&[vaults]).await.json()), ("foreign", 4), "a role of another key");
    web1.chain = as_vault;

    for bad in ["", "{}", "\u{202e}\u{1b}[2J", &lines[4][..lines[4].len() - 1], &"[".repeat(100_000)] {
        let answer = web1.send(&[bad.to_owned()]).await.json();
        assert_eq!(refused(&answer), ("malformed", 4), "{bad:.40}");
    }
    let half = web1.client().post("/v1/records", lines[4].clone()).await.json();
    assert_eq!(refused(&half), ("malformed", 4), "a line without its end never counted");

    assert_eq!(
        web1.send(&lines[4..]).await.json()["taken"]["seq"],
        10,
        "the right ones are taken all the same"
    );
    let kinds = findings(&world).await;
    let expected = [("foreign", 3), ("fork", 2), ("gap", 2), ("malformed", 6), ("replay", 5), ("reset", 2)];
    assert_eq!(kinds, expected.map(|(kind, count)| (kind.to_owned(), count)));
}

#[tokio::test]
async fn one_machine_has_two_chains_when_a_vault_stands_on_it() {
    let world = World::new().await;
    let mut host = world.admitted("vault1", MachineRole::Host).await;
    let mut vault = world.admitted("vault1", MachineRole::Vault).await;
    let (of_host, of_vault) = (host.lines(2), vault.lines(3));
    assert_eq!(host.send(&of_host).await.json()["taken"]["seq"], 2);
    assert_eq!(vault.send(&of_vault).await.json()["taken"]["seq"], 3);
    assert_eq!(refused(&host.send(&of_vault).await.json()), ("foreign", 2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_machines_at_once_lose_nothing_and_mix_nothing() {
    let world = World::new().await;
    let mut senders = Vec::new();
    for n in 0..12 {
        let mut machine = world.admitted(&format!("web{n}"), MachineRole::Host).await;
        senders.push(tokio::spawn(async move {
            for round in 1..=8 {
                let lines = machine.lines(25);
                let answer = machine.send(&lines).await.json();
                assert_eq!(answer["taken"]["seq"], round * 25, "{answer}");
            }
        }));
    }
    for sender in senders {
        sender.await.unwrap();
    }
    let heads = world.operator().await.get("/api/v1/machines").await.json();
    let sent: u64 = heads.as_array().unwrap().iter().map(|h| h["chain"]["seq"].as_u64().unwrap()).sum();
    assert_eq!(sent, 12 * 200);
    assert!(findings(&world).await.is_empty());
}
