//! Keys of generations on disk: made, lost, and forgotten only for what a vault states as gone.

use age::x25519;
use jiff::civil::date;
use tenure_trust::{HostName, Owner, SetName, VaultName};

use super::*;

fn series() -> SeriesId {
    SeriesId {
        vault: VaultName::new("vault1").unwrap(),
        host: HostName::new("web1").unwrap(),
        owner: Owner::Host,
        set: SetName::Server,
    }
}

fn recipients() -> [String; 2] {
    [x25519::Identity::generate(), x25519::Identity::generate()]
        .map(|identity| identity.to_public().to_string())
}

fn id(text: &str) -> GenerationId {
    text.parse().unwrap()
}

#[test]
fn a_lost_key_begins_the_next_number_and_forgotten_keys_are_gone() {
    let state = tempfile::tempdir_in("/run").expect("root's directory");
    let keys = KeyStore::open(state.path()).unwrap();
    let (series, recipients, date) = (series(), recipients(), date(2026, 11, 23));
    let of = |lost| keys.of_date(&series, date, lost, &recipients, Timestamp::UNIX_EPOCH).unwrap();
    let first = of(0);
    assert_eq!((first.generation.number, first.escrow.len()), (1, 2));
    assert_eq!(of(0).config, first.config, "the same again");
    assert_eq!(of(1).generation.number, 2, "the vault has another first");
    assert_eq!(of(0).generation.number, 2, "and from then on");
    let dir = state.path().join("keys/web1/web1/server/2026-11-23.2");
    std::fs::write(dir.join("master"), "short").unwrap();
    assert_eq!(of(0).generation.number, 3, "damaged is lost");
    std::fs::remove_file(state.path().join("keys/web1/web1/server/2026-11-23.3/password")).unwrap();
    assert_eq!(keys.list(&series).unwrap().len(), 2, "without a password it was never used");
    keys.note_accepted(&series, first.generation).unwrap();
    keys.forget(&series, first.generation).unwrap();
    assert!(keys.load(&series, first.generation).unwrap().is_none());
    assert!(!state.path().join("keys/web1/web1/server/2026-11-23.1").exists());
    keys.forget(&series, first.generation).unwrap();
    keys.note_accepted(&series, first.generation).unwrap();
    assert!(!state.path().join("keys/web1/web1/server/2026-11-23.1").exists(), "nothing to remember");
}

#[test]
fn a_recipient_who_is_new_in_the_policy_begins_the_next_number() {
    let state = tempfile::tempdir_in("/run").expect("root's directory");
    let keys = KeyStore::open(state.path()).unwrap();
    let ([first, second], [third, _]) = (recipients(), recipients());
    let of = |recipients: &[&String]| {
        let recipients: Vec<String> = recipients.iter().map(|name| (*name).clone()).collect();
        let date = date(2026, 11, 23);
        keys.of_date(&series(), date, 0, &recipients, Timestamp::UNIX_EPOCH).unwrap()
    };
    assert_eq!(of(&[&first, &second]).generation.number, 1);
    assert_eq!(of(&[&second, &first]).generation.number, 1, "in whatever order");
    let next = of(&[&first, &third]);
    assert_eq!(next.generation.number, 2);
    assert_eq!(next.escrow.iter().map(|e| &e.recipient).collect::<Vec<_>>(), [&first, &third]);
    assert_eq!(of(&[&first, &third]).generation.number, 2, "and from then on");
    assert_eq!(of(&[&third]).generation.number, 2, "one who left the policy has it until the date is over");
}

/// Two Mondays and the Tuesday after them; the receipt is one of that Tuesday.
#[test]
fn keys_are_forgotten_for_what_a_receipt_states_and_never_for_what_is_absent() {
    let state = tempfile::tempdir_in("/run").expect("root's directory");
    let keys = KeyStore::open(state.path()).unwrap();
    let (series, recipients) = (series(), recipients());
    let [old, new, today] = ["2026-11-23.1", "2026-11-30.1", "2026-12-01.1"].map(id);
    for generation in [old, new, today] {
        keys.make(&series, generation, &recipients, Timestamp::UNIX_EPOCH).unwrap();
    }
    let forget = |gone: &[GenerationId]| keys.forget_gone(&series, gone, today.date).unwrap();
    keys.note_accepted(&series, today).unwrap();
    assert!(forget(&[old]).is_empty(), "nothing newer of its weekday was accepted, by what this host knows");
    keys.note_accepted(&series, old).unwrap();
    keys.note_accepted(&series, new).unwrap();
    assert!(forget(&[]).is_empty(), "a vault that has lost its store names nothing");
    assert!(forget(&[old, new, today]).is_empty(), "that all is gone is no reason to forget any");
    assert!(forget(&[new, today]).is_empty(), "the last of a weekday, and today's");
    assert_eq!(keys.list(&series).unwrap(), [old, new, today]);
    assert_eq!(forget(&[id("2026-11-16.1"), old]), [old]);
    assert_eq!(keys.list(&series).unwrap(), [new, today]);
    assert!(forget(&[old]).is_empty(), "once");
}
