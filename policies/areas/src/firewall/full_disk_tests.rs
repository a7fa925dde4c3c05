//! A disk that is full, from any moment of a change on: what is in force is what is written down, and an enforced host is never
//! left open.

use super::crash_tests::{confirm, listing, read, settle, turn};
use super::in_force;
use super::plan_tests::{FLUSH, confirmed, kinds, lost_with};
use super::samples::{web, web_wider};
use super::state::{self, Confirmed};
use crate::fake::FakeHost;
use crate::pass::Verdict;

#[test]
fn a_full_disk_changes_nothing_before_the_trial_and_is_told_after() {
    let host = confirmed();
    let before = host.nft_listing();
    host.fail_write(1);
    let report = turn(&host, &web_wider());
    assert!(report.done[0].error.as_deref().unwrap().contains("no space left"), "{report:#?}");
    assert_eq!((report.done.len(), host.nft_listing()), (1, before));
    turn(&host, &web_wider());
    host.advance_ms(1000);
    confirm(&host);
    host.fail_write(3);
    let report = turn(&host, &web_wider());
    assert_eq!(report.verdict, Verdict::Drifted, "in force, but not kept for the next boot");
    assert_eq!(in_force::unwritten(&host), Ok(Some(2)));
    assert_eq!(turn(&host, &web_wider()).verdict, Verdict::Remediated);
    assert_eq!(turn(&host, &web_wider()).verdict, Verdict::Compliant);
}

#[test]
fn a_disk_that_is_full_when_somebody_confirms_confirms_nothing() {
    let host = confirmed();
    turn(&host, &web_wider());
    host.advance_ms(1000);
    let (trial, before) = (host.nft_listing(), host.content(state::CONFIRMED));
    host.fill_disk_before_write(1);
    confirm(&host);
    let report = turn(&host, &web_wider());
    assert!(report.done[0].error.as_deref().unwrap().contains("no space left"), "{report:#?}");
    assert_eq!((report.done.len(), host.nft_listing()), (1, trial), "confirmed without being written down");
    assert_eq!((in_force::unwritten(&host), host.content(state::CONFIRMED)), (Ok(None), before));
    // room in time: the word still stands
    host.revive();
    assert_eq!(turn(&host, &web_wider()).verdict, Verdict::Remediated);
    assert!(host.content(state::NEXT).is_none() && host.content(state::TRIAL).is_none());
    assert_eq!(read::<Confirmed>(&host, state::CONFIRMED).unwrap().ruleset.number, 2);
}

/// The disk fills up at any moment of the confirmation, and stays full: what is in force is what is written down.
#[test]
fn a_disk_that_fills_up_as_somebody_confirms_leaves_what_is_in_force_written_down() {
    for before in [None, Some(web())] {
        for n in 1..12 {
            let case = format!("write {n}, first {}", before.is_none());
            let host = if before.is_some() { confirmed() } else { FakeHost::debian() };
            turn(&host, &web_wider());
            host.advance_ms(1000);
            confirm(&host);
            host.fill_disk_before_write(n);
            let _ = turn(&host, &web_wider());
            let kept = n > 1;
            let wider = |host: &FakeHost| host.reaches("203.0.113.9", 8443);
            host.advance_ms(61_000);
            let _ = turn(&host, &web_wider());
            // Somebody flushes it long after the trial, with the disk as full as it was.
            host.nft_as(4711, "nft", FLUSH).unwrap();
            let _ = turn(&host, &web_wider());
            let _ = turn(&host, &web_wider());
            assert_eq!(listing(&host).is_some(), kept || before.is_some(), "{case}: open");
            if listing(&host).is_some() {
                assert!(!host.reaches("203.0.113.9", 4444) && host.reaches("203.0.113.9", 22), "{case}");
                assert_eq!(wider(&host), kept, "{case}");
            }
            let number = read::<Confirmed>(&host, state::CONFIRMED).map(|c| c.ruleset.number);
            let old = before.is_some().then_some(1);
            assert_eq!(number, if kept { Some(old.unwrap_or(0) + 1) } else { old }, "{case}");
            // There is room again.
            host.revive();
            let end = settle(&host, &web_wider()).verdict;
            assert_eq!(end == Verdict::Compliant, kept, "{case}: {end}");
            assert_eq!(host.content(state::ENFORCED).is_some(), kept || before.is_some(), "{case}");
            for gone in [state::TRIAL, state::NEXT, state::CONFIRM] {
                assert!(host.content(gone).is_none(), "{case}: {gone} is left");
            }
        }
    }
}

#[test]
fn what_was_written_down_as_confirmed_is_not_taken_back_by_its_trial() {
    let host = confirmed();
    turn(&host, &web_wider());
    host.advance_ms(1000);
    confirm(&host);
    // Killed when it had taken its place, before the trial was dropped.
    host.kill_before_write(4);
    let _ = turn(&host, &web_wider());
    host.revive();
    assert!(host.content(state::TRIAL).is_some(), "not killed where it should be");
    host.advance_ms(120_000);
    host.nft_as(4711, "nft", FLUSH).unwrap();
    let _ = turn(&host, &web_wider());
    assert!(host.reaches("203.0.113.9", 8443) && !host.reaches("203.0.113.9", 4444));
    assert_eq!(settle(&host, &web_wider()).verdict, Verdict::Compliant);
    assert!(host.content(state::TRIAL).is_none());
}

#[test]
fn what_the_kernel_kept_takes_its_place_on_a_full_disk_too() {
    let host = confirmed();
    turn(&host, &web_wider());
    host.advance_ms(1000);
    confirm(&host);
    // Killed when the kernel had kept it; when the agent comes back the disk is full.
    host.kill_before_write(3);
    let _ = turn(&host, &web_wider());
    host.revive();
    host.fill_disk_before_write(1);
    assert_eq!(in_force::unwritten(&host), Ok(Some(2)));
    assert_eq!(turn(&host, &web_wider()).verdict, Verdict::Remediated);
    assert_eq!(read::<Confirmed>(&host, state::CONFIRMED).unwrap().ruleset.number, 2);
}

#[test]
fn a_trial_that_lapses_on_a_full_disk_goes_back_and_what_is_flushed_then_is_restored() {
    let host = confirmed();
    let before = listing(&host);
    turn(&host, &web_wider());
    host.fill_disk_before_write(1);
    host.advance_ms(60_000);
    let report = turn(&host, &web_wider());
    assert_eq!((report.verdict, listing(&host)), (Verdict::Drifted, before.clone()), "{report:#?}");
    for change in [
        FLUSH,
        FLUSH,
        r#"{"nftables":[{"flush":{"chain":{"family":"inet","table":"tenure","name":"input"}}}]}"#,
    ] {
        host.advance_ms(5000);
        host.nft_as(4711, "nft", change).unwrap();
        let _ = turn(&host, &web_wider());
        assert_eq!(listing(&host), before);
    }
    // With room again that trial is over, and not repeated until somebody asks.
    host.revive();
    let report = settle(&host, &web_wider());
    assert_eq!((report.verdict, kinds(&report)), (Verdict::Drifted, vec!["trial-expired"]));
    assert!(host.content(state::REFUSED).is_some() && host.content(state::TRIAL).is_none());
}

#[test]
fn an_enforced_host_that_lost_its_state_is_closed_on_a_full_disk() {
    let host = lost_with("nothing", &web());
    host.nft_as(4711, "nft", FLUSH).unwrap();
    host.fill_disk_before_write(1);
    for _ in 0..2 {
        let report = turn(&host, &web());
        assert!(report.done.iter().any(|d| d.error.is_some()), "the trial is written down: {report:#?}");
        assert!(!host.reaches("192.0.2.1", 443) && host.reaches("203.0.113.9", 22));
    }
    host.revive();
    assert_eq!(turn(&host, &web()).verdict, Verdict::Pending);
    assert!(host.reaches("192.0.2.1", 443) && !host.reaches("192.0.2.1", 22));
}
