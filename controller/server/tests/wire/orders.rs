//! Orders for vaults: taken when somebody entitled signed them, handed on to vaults alone until their time is over.

use jiff::{SignedDuration, Timestamp};
use tenure_trust::{MachineRole, Order, OrderKind, OrderList, Signed, VaultName};

use crate::world::{World, fleet, key};

fn order(issued: Timestamp, hours: i64) -> Order {
    Order {
        schema: 1,
        fleet: fleet(),
        issued,
        what: OrderKind::Clear {
            vault: VaultName::new("vault1").unwrap(),
            series: "acme/web1/server".into(),
            generation: "2026-11-23.1".parse().unwrap(),
            until: issued + SignedDuration::from_hours(hours),
        },
        reason: "half of it was logs".into(),
    }
}

#[tokio::test]
async fn an_order_is_kept_once_and_handed_to_vaults_byte_for_byte() {
    let mut world = World::new().await;
    let mut vault = world.admitted("vault1", MachineRole::Vault).await;
    let mut web1 = world.admitted("web1", MachineRole::Host).await;
    let list = vault.client().get("/v1/orders").await.json();
    assert_eq!(list, serde_json::json!({ "orders": [] }));
    let signed = Signed::new(&order(world.app.now(), 24), &[&world.operator]).to_json();
    let operator = world.operator().await;
    for new in [true, false] {
        let answer = operator.post("/api/v1/orders", signed.clone()).await;
        assert_eq!(answer.json()["new"], new, "{answer:?}");
    }
    world.restart().await;
    vault.certify(&world).await;
    let list: OrderList = serde_json::from_slice(&vault.client().get("/v1/orders").await.body).unwrap();
    assert_eq!(list.orders, [signed]);
    web1.certify(&world).await;
    assert_eq!(web1.client().get("/v1/orders").await.status, 404, "it is no vault");
    assert_eq!(world.machines().get("/v1/orders").await.problem(), "not-admitted");
}

#[tokio::test]
async fn what_nobody_entitled_signed_is_not_kept_and_what_is_over_is_not_handed_on() {
    let world = World::new().await;
    let vault = world.admitted("vault1", MachineRole::Vault).await;
    let operator = world.operator().await;
    let now = world.app.now();
    let good = order(now, 24);
    let revocation =
        OrderKind::Revoke { name: vault.name.clone(), role: vault.role, key: vault.identity.public().id() };
    let mine = &world.operator;
    for (what, text) in [
        ("another's key", Signed::new(&good, &[&key(9)]).to_json()),
        ("over", Signed::new(&order(now - SignedDuration::from_hours(48), 24), &[mine]).to_json()),
        ("for too long", Signed::new(&order(now, 24 * 32), &[mine]).to_json()),
        ("without a reason", Signed::new(&Order { reason: " ".into(), ..good.clone() }, &[mine]).to_json()),
        ("another kind", Signed::new(&Order { what: revocation, ..good.clone() }, &[mine]).to_json()),
        ("nothing", "{}".into()),
    ] {
        let answer = operator.post("/api/v1/orders", text).await;
        assert_eq!(answer.problem(), "refused", "{what}: {answer:?}");
    }
    let clear = operator.post("/api/v1/revocations", Signed::new(&good, &[mine]).to_json()).await;
    assert_eq!(clear.problem(), "malformed", "it is no revocation");
    let list = vault.client().get("/v1/orders").await.json();
    assert_eq!(list["orders"].as_array().map(Vec::len), Some(0));
    let access = tenure_controller::store::Access::Itself;
    assert_eq!(operator.post("/api/v1/orders", Signed::new(&good, &[mine]).to_json()).await.status, 200);
    let at = |hours| now + SignedDuration::from_hours(hours);
    assert_eq!(world.app.store.orders(&access, at(23)).await.unwrap().orders.len(), 1);
    assert_eq!(world.app.store.orders(&access, at(24)).await.unwrap().orders.len(), 0);
}
