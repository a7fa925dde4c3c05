//! The link as a whole, turn by turn.

use std::time::Duration;

use rcgen::CertificateParams;
use tenure_trust::enrol::paths;

use super::fake::{Does, Tiny, World};
use crate::uplink::{Uplink, tls};

/// Gives the machine a certificate of its own key, of which most is left.
fn certify(world: &World) {
    let state = &world.setup.places.state;
    let key = tls::key(state).unwrap();
    let params = CertificateParams::default();
    tls::keep(state, &key, &params.self_signed(&key).unwrap().pem()).unwrap();
}

#[tokio::test]
async fn records_go_up_whatever_is_wrong_with_policy() {
    for wrong in [Does::Breaks, Does::Floods, Does::Says(500, b"{}".to_vec())] {
        let world = World::new().await;
        certify(&world);
        world.write(5, 10);
        world.fake.set(paths::INDEX, wrong);
        world.fake.set(paths::RECORDS, Does::Takes);
        let link = Uplink::start::<Tiny>(world.setup.clone(), Box::new(|_| {})).unwrap();
        let status = || link.bell().status();
        wait("the records", || status().sent.0 == 5).await;
        wait("that it fails", || status().failing.is_some()).await;
        world.fake.set(paths::INDEX, Does::Says(404, b"{}".to_vec()));
        wait("that it works", || status().failing.is_none()).await;
        assert_eq!(world.fake.held.lock().unwrap().seqs.len(), 5);
        assert!(link.stop());
    }
}

async fn wait(what: &str, done: impl Fn() -> bool) {
    for _ in 0..600 {
        if done() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("waited half a minute for {what}");
}
