//! Signed policy: taken whole under the root, handed on byte for byte, never an older one.

use std::collections::BTreeMap;

use tenure_trust::MachineRole;

use crate::client::{Answer, Client};
use crate::world::{World, key};

async fn publish(operator: &Client, files: &BTreeMap<String, String>) -> Answer {
    operator.put("/api/v1/policy", serde_json::json!({ "files": files }).to_string()).await
}

#[tokio::test]
async fn what_was_signed_is_handed_on_byte_for_byte_and_survives_a_restart() {
    let mut world = World::new().await;
    let mut web1 = world.admitted("web1", MachineRole::Host).await;
    assert_eq!(web1.client().get("/v1/policy/index").await.status, 404, "nothing was published");
    let operator = world.operator().await;
    let files = world.set(1, &["web1", "web2"]);
    let answer = publish(&operator, &files).await;
    assert_eq!(answer.json()["version"], 1, "{answer:?}");
    for restarted in [false, true] {
        if restarted {
            world.restart().await;
            web1.certify(&world).await;
        }
        let index = web1.client().get("/v1/policy/index").await;
        assert_eq!(index.body, files["index.json"].as_bytes());
        let bundle = web1.client().get("/v1/policy/bundle").await;
        assert_eq!(bundle.body, files["web1.bundle.json"].as_bytes(), "its own and no other");
        assert_eq!(web1.client().get("/v1/policy/vault").await.status, 404, "it is no vault");
    }
    let list = web1.client().get("/v1/admissions").await.json();
    assert_eq!(list["admissions"].as_array().map(Vec::len), Some(1));
}

#[tokio::test]
async fn older_forged_incomplete_and_foreign_sets_change_nothing() {
    let world = World::new().await;
    let operator = world.operator().await;
    let good = world.set(5, &["web1"]);
    assert_eq!(publish(&operator, &good).await.status, 200);
    let refused = |files: BTreeMap<String, String>, word: &'static str| {
        let operator = operator.clone();
        async move {
            let answer = publish(&operator, &files).await;
            assert_eq!(answer.status, 422, "{word}: {answer:?}");
            assert!(String::from_utf8_lossy(&answer.body).contains(word), "{word}: {answer:?}");
        }
    };
    refused(world.set(4, &["web1"]), "version 4").await;
    refused(world.set(5, &["web1", "web2"]), "second time").await;
    let mut missing = world.set(6, &["web1", "web2"]);
    missing.remove("web2.bundle.json");
    refused(missing, "did not come along").await;
    let mut more = world.set(6, &["web1"]);
    more.insert("web9.bundle.json".into(), good["web1.bundle.json"].clone());
    refused(more, "does not name").await;
    let mut swapped = world.set(6, &["web1", "web2"]);
    let other = swapped["web2.bundle.json"].clone();
    swapped.insert("web1.bundle.json".into(), other);
    refused(swapped, "web1").await;
    let mut forged = world.set(6, &["web1"]);
    let index = forged["index.json"].replace("\"sig\":\"", "\"sig\":\"AAAA");
    forged.insert("index.json".into(), index);
    refused(forged, "index").await;
    let strange = BTreeMap::from([("../../etc/passwd".to_owned(), String::new())]);
    assert_eq!(publish(&operator, &strange).await.problem(), "malformed");
    assert_eq!(operator.get("/api/v1/policy").await.json()["version"], 5, "the one that is held stays");
}

#[tokio::test]
async fn a_series_is_known_since_the_set_that_first_had_it_and_anew_when_it_comes_again() {
    let mut world = World::new().await;
    async fn publish(world: &World, version: u64, hosts: &[&str]) -> tenure_controller::store::SeriesSince {
        let body = serde_json::json!({ "files": world.set(version, hosts) }).to_string();
        let answer = world.operator().await.put("/api/v1/policy", body).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        world.app.store.series_since(&tenure_controller::store::Access::Itself).await.unwrap()
    }
    let before = world.app.now();
    let first = publish(&world, 1, &["web1"]).await;
    assert!(!first.is_empty() && first.values().all(|since| *since >= before));
    world.restart().await;
    assert_eq!(publish(&world, 2, &["web1", "web2"]).await, first, "another version changes nothing of it");
    assert_eq!(publish(&world, 3, &[]).await.len(), 0, "taken out of the policy it is not expected");
    let again = publish(&world, 4, &["web1"]).await;
    assert!(again.keys().eq(first.keys()) && again.values().min() > first.values().max());
}

#[tokio::test]
async fn under_a_root_of_other_keys_nothing_is_handed_on_until_a_set_of_them_is_published() {
    let mut world = World::new().await;
    let access = tenure_controller::store::Access::Itself;
    assert_eq!(publish(&world.operator().await, &world.set(5, &["web1"])).await.status, 200);
    let series = world.app.store.series_since(&access).await.unwrap();
    world.place_root(key(2));
    world.restart().await;
    let operator = world.operator().await;
    assert!(operator.get("/api/v1/policy").await.json()["version"].is_null());
    let web2 = world.admitted("web2", MachineRole::Host).await;
    assert_eq!(web2.client().get("/v1/policy/index").await.status, 404);

    let older = publish(&operator, &world.set(4, &["web1"])).await;
    assert_eq!(older.status, 422, "the floor stands: {older:?}");
    let files = world.set(6, &["web1"]);
    assert_eq!(publish(&operator, &files).await.json()["version"], 6);
    assert_eq!(web2.client().get("/v1/policy/index").await.body, files["index.json"].as_bytes());
    assert_eq!(world.app.store.series_since(&access).await.unwrap(), series, "it is expected since it was");
    world.restart().await;
    assert_eq!(world.operator().await.get("/api/v1/policy").await.json()["version"], 6);
}
