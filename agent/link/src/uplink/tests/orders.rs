//! Orders for a vault: what operators signed is laid where the vault looks; what a hostile controller adds is left out
//! and named.

use jiff::SignedDuration;
use tenure_trust::enrol::paths;
use tenure_trust::{MachineRole, Order, OrderKind, OrderList, Signed, SigningKey, VaultName};

use super::fake::{Does, World, fleet, host, now, operator};
use crate::uplink::{LinkError, Notice, ORDERS, directory, http, orders};

async fn pull(world: &World) -> Result<Vec<Notice>, LinkError> {
    let mut line = http::connect(&world.setup.places, &world.ticket, false).await?;
    let mut notices = Vec::new();
    orders::pull(&world.setup.places, &mut line, &mut notices).await?;
    Ok(notices)
}

fn says(world: &World, orders: &[&String]) {
    let list = OrderList { orders: orders.iter().map(|text| (*text).clone()).collect() };
    world.fake.says(paths::ORDERS, &serde_json::to_string(&list).unwrap());
}

fn held(world: &World) -> Option<OrderList> {
    let bytes = std::fs::read(directory(&world.setup.places).join(ORDERS)).ok()?;
    Some(serde_json::from_slice(&bytes).unwrap())
}

#[tokio::test]
async fn what_operators_signed_is_kept_and_nothing_else() {
    let world = World::new().await;
    assert_eq!(pull(&world).await.unwrap(), [], "a controller without orders is none that withholds");
    says(&world, &[]);
    assert_eq!((pull(&world).await.unwrap(), held(&world)), (vec![], None));
    let clear = OrderKind::Clear {
        vault: VaultName::new("vault1").unwrap(),
        series: "acme/web1/server".into(),
        generation: "2026-11-23.1".parse().unwrap(),
        until: now() + SignedDuration::from_hours(24),
    };
    let of = |what| Order { schema: 1, fleet: fleet(), issued: now(), what, reason: "so".into() };
    let order = of(clear);
    let good = Signed::new(&order, &[&operator()]).to_json();
    says(&world, &[&good]);
    let kept = Some(OrderList { orders: vec![good.clone()] });
    assert_eq!((pull(&world).await.unwrap(), held(&world)), (vec![], kept.clone()));

    let mallory = SigningKey::from_seed(&[9; 32]);
    let forged = Signed::new(&order, &[&mallory]).to_json();
    let key = mallory.public().id();
    let revoke = of(OrderKind::Revoke { name: host("web1"), role: MachineRole::Host, key });
    let revoke = Signed::new(&revoke, &[&operator()]).to_json();
    says(&world, &[&forged, &good, &"{}".to_owned(), &revoke]);
    let notices = pull(&world).await.unwrap();
    assert_eq!(held(&world), kept);
    assert!(notices.len() == 3 && notices.iter().all(|one| one.event == "policy_refused"), "{notices:?}");

    for (does, what) in [(Does::Floods, "floods"), (Does::Says(200, b"[[".to_vec()), "nonsense")] {
        world.fake.set(paths::ORDERS, does);
        assert!(pull(&world).await.is_err(), "{what}");
        assert_eq!(held(&world), kept, "{what}");
    }
    says(&world, &[]);
    assert_eq!(pull(&world).await.unwrap(), []);
    assert_eq!(held(&world), Some(OrderList::default()), "what is over is offered no more");
}
