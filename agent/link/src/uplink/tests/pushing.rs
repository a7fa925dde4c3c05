//! What goes up: the chain on the disk, once and in order, over losses, restarts and lies.

use tenure_trust::enrol::{IngestAnswer, IngestFinding, paths};
use tenure_trust::{Epoch, Hash, Seq};

use super::fake::{Does, World};
use crate::uplink::push::Pusher;
use crate::uplink::{LinkError, http};

async fn push(world: &World, pusher: &mut Pusher) -> Result<(), LinkError> {
    let mut line = http::connect(&world.setup.places, &world.ticket, false).await?;
    pusher.push(&mut line).await
}

fn held(world: &World) -> usize {
    world.fake.held.lock().unwrap().seqs.len()
}

#[tokio::test]
async fn the_whole_chain_goes_up_once_over_segments_and_restarts() {
    let world = World::new().await;
    world.fake.set(paths::RECORDS, Does::Takes);
    let mut pusher = Pusher::new(world.setup.clone(), Epoch(1));
    assert!(!pusher.waits().unwrap(), "there is nothing yet");
    // Three segments of 4 MiB, and a few records.
    world.write(30, 400_000);
    assert!(pusher.waits().unwrap());
    push(&world, &mut pusher).await.unwrap();
    assert_eq!((held(&world), pusher.sent(), pusher.waits().unwrap()), (30, Seq(30), false));
    world.write(700, 10);
    push(&world, &mut pusher).await.unwrap();
    assert_eq!(held(&world), 730);
    let requests = world.fake.held.lock().unwrap().requests;
    // Another process goes on from the cursor on the disk.
    let mut again = Pusher::new(world.setup.clone(), Epoch(1));
    assert!(!again.waits().unwrap());
    world.write(3, 10);
    push(&world, &mut again).await.unwrap();
    assert_eq!((held(&world), again.sent()), (733, Seq(733)));
    assert_eq!(world.fake.held.lock().unwrap().requests, requests + 1, "nothing was sent twice");
}

#[tokio::test]
async fn a_lost_answer_and_a_lost_cursor_repeat_nothing_that_counts() {
    let world = World::new().await;
    world.fake.set(paths::RECORDS, Does::Takes);
    world.write(1300, 10);
    let mut pusher = Pusher::new(world.setup.clone(), Epoch(1));
    *world.fake.loses.lock().unwrap() = 1;
    assert!(push(&world, &mut pusher).await.is_err());
    assert_eq!(pusher.sent(), Seq(0), "without an answer nothing is acknowledged");
    push(&world, &mut pusher).await.unwrap();
    assert_eq!((held(&world), pusher.sent()), (1300, Seq(1300)));
    std::fs::remove_dir_all(world.setup.places.state.join("spool")).unwrap();
    let mut fresh = Pusher::new(world.setup.clone(), Epoch(1));
    push(&world, &mut fresh).await.unwrap();
    assert_eq!((held(&world), fresh.sent()), (1300, Seq(1300)), "it is told where to go on");
    world.write(1, 10);
    push(&world, &mut fresh).await.unwrap();
    assert_eq!(held(&world), 1301);
}

#[tokio::test]
async fn a_controller_restored_from_a_backup_gets_the_rest_again() {
    let world = World::new().await;
    world.fake.set(paths::RECORDS, Does::Takes);
    world.write(20, 10);
    let mut pusher = Pusher::new(world.setup.clone(), Epoch(1));
    push(&world, &mut pusher).await.unwrap();
    world.fake.held.lock().unwrap().seqs.retain(|seq, _| *seq <= Seq(7));
    world.write(1, 10);
    push(&world, &mut pusher).await.unwrap();
    assert_eq!((held(&world), pusher.sent()), (21, Seq(21)));
}

#[tokio::test]
async fn a_half_line_is_not_sent_before_it_is_whole() {
    let world = World::new().await;
    world.fake.set(paths::RECORDS, Does::Takes);
    world.write(2, 10);
    let path = world.setup.places.state.join("chain/0000000001-00000000000000000001.jsonl");
    let whole = std::fs::read(&path).unwrap();
    std::fs::write(&path, &whole[..whole.len() - 20]).unwrap();
    let mut pusher = Pusher::new(world.setup.clone(), Epoch(1));
    push(&world, &mut pusher).await.unwrap();
    assert_eq!(held(&world), 1);
    std::fs::write(&path, &whole).unwrap();
    push(&world, &mut pusher).await.unwrap();
    assert_eq!(held(&world), 2);
}

#[tokio::test]
async fn lies_about_records_move_nothing() {
    let world = World::new().await;
    world.write(5, 10);
    let say = |answer: IngestAnswer| {
        world.fake.says(paths::RECORDS, &serde_json::to_string(&answer).unwrap());
    };
    let refused = |finding, seq| IngestAnswer::Refused { finding, epoch: Epoch(1), seq: Seq(seq) };
    let lies = [
        IngestAnswer::Taken { epoch: Epoch(1), seq: Seq(5), hash: Hash::of(b"x") },
        IngestAnswer::Taken { epoch: Epoch(1), seq: Seq(u64::MAX), hash: Hash::of(b"x") },
        refused(IngestFinding::Replay, u64::MAX),
        refused(IngestFinding::Replay, 6),
        refused(IngestFinding::Gap, 3),
        refused(IngestFinding::Gap, 0),
        refused(IngestFinding::Fork, 5),
        refused(IngestFinding::Reset, 0),
        refused(IngestFinding::Foreign, 0),
        refused(IngestFinding::Malformed, 0),
    ];
    for lie in lies {
        say(lie.clone());
        let mut pusher = Pusher::new(world.setup.clone(), Epoch(1));
        assert!(push(&world, &mut pusher).await.is_err(), "{lie:?}");
        assert_eq!(pusher.sent(), Seq(0), "{lie:?}");
    }
    for does in
        [Does::Floods, Does::Breaks, Does::Says(503, vec![]), Does::Says(200, b"{\"taken\":1}".to_vec())]
    {
        world.fake.set(paths::RECORDS, does);
        let mut pusher = Pusher::new(world.setup.clone(), Epoch(1));
        assert!(push(&world, &mut pusher).await.is_err());
        assert_eq!(pusher.sent(), Seq(0));
    }
    world.fake.set(paths::RECORDS, Does::Takes);
    let mut pusher = Pusher::new(world.setup.clone(), Epoch(1));
    push(&world, &mut pusher).await.unwrap();
    assert_eq!(held(&world), 5, "and the honest one gets all of it");
}

#[tokio::test]
async fn a_controller_without_room_is_sent_little_until_all_has_gone_up() {
    let world = World::new().await;
    world.write(20, 10_000);
    let mut pusher = Pusher::new(world.setup.clone(), Epoch(1));
    for status in [429, 507] {
        world.fake.set(paths::RECORDS, Does::Says(status, b"{}".to_vec()));
        let refused = push(&world, &mut pusher).await;
        assert!(matches!(refused, Err(LinkError::Refused { status: s, .. }) if s == status), "{refused:?}");
    }
    world.fake.set(paths::RECORDS, Does::Takes);
    let before = world.fake.held.lock().unwrap().requests;
    push(&world, &mut pusher).await.unwrap();
    let requests = world.fake.held.lock().unwrap().requests - before;
    assert!(held(&world) == 20 && requests >= 7, "{requests} requests");
    world.write(20, 10_000);
    push(&world, &mut pusher).await.unwrap();
    let all = world.fake.held.lock().unwrap().requests - before;
    assert!(held(&world) == 40 && all == requests + 1, "then as much as ever");
}
