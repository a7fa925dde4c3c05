//! The chain as its verifier sees it: every kind of tampering is found, named and placed.

use jiff::Timestamp;

use crate::*;

fn key() -> SigningKey {
    SigningKey::from_seed(&[5; 32])
}

fn host() -> HostName {
    HostName::new("web1").unwrap()
}

fn draft(number: u64) -> Draft {
    Draft {
        about: About::Area(AreaName::new("firewall").unwrap()),
        policy: Some(PolicyVersion(7)),
        judge: JudgeVersion::new("tenure 0.1.0").unwrap(),
        observed_at: Timestamp::from_second(1_800_000_000 - number as i64).unwrap(), // the clock goes backwards: no matter
        verdict: Some(VerdictTag::Compliant),
        reason: None,
    }
}

fn payload(number: u64) -> Payload {
    Payload::new([number as u8; 32], format!("{{\"fact\":{number}}}").into_bytes()).unwrap()
}

/// A header and `count` records; lines[n] is the record with seq n.
fn export(epoch: u32, count: u64) -> (Vec<String>, Chain) {
    let mut chain = Chain::begin(host(), Epoch(epoch));
    let mut lines = vec![ExportHeader::new(host(), Epoch(epoch), key().public()).to_json()];
    for number in 1..=count {
        let link = chain.link(draft(number), payload(number), 0, &key());
        lines.push(link.line());
        chain.advance(&link);
    }
    (lines, chain)
}

fn verify(lines: &[String]) -> ChainReport {
    verify_expecting(lines, Expected::default())
}

fn verify_expecting(lines: &[String], expected: Expected) -> ChainReport {
    let mut verifier = ChainVerifier::new(key().public(), expected);
    for line in lines {
        verifier.line(line.as_bytes());
    }
    verifier.finish()
}

fn found(lines: &[String]) -> Vec<(usize, Option<u64>, ChainFault)> {
    verify(lines).findings.into_iter().map(|f| (f.line, f.seq.map(|seq| seq.0), f.fault)).collect()
}

#[test]
fn a_whole_chain_is_clean_and_tells_its_head() {
    let (lines, chain) = export(1, 6);
    let report = verify(&lines);
    assert!(report.is_clean(), "{report:?}");
    assert_eq!((report.records, report.first, report.last), (6, Some(Seq(1)), Some(Seq(6))));
    assert_eq!(report.head, Some(chain.prev));
    let expected = Expected { known: Some(chain.prev), ..Expected::default() };
    assert!(verify_expecting(&lines, expected.clone()).is_clean());
    let cut = verify_expecting(&lines[..6], expected);
    assert_eq!(cut.findings[0].fault, ChainFault::KnownMissing { hash: chain.prev });
}

#[test]
fn the_verifier_hands_out_what_it_believes() {
    let (lines, _) = export(1, 1);
    let mut verifier = ChainVerifier::new(key().public(), Expected::default());
    assert!(verifier.line(lines[0].as_bytes()).is_none());
    let (record, facts) = verifier.line(lines[1].as_bytes()).unwrap();
    assert_eq!((record.seq, record.host), (Seq(1), host()));
    assert_eq!(facts.unwrap().bytes(), b"{\"fact\":1}");
}

#[test]
fn a_gap_names_what_is_missing() {
    let (mut lines, _) = export(1, 6);
    lines.drain(3..5);
    assert_eq!(found(&lines), [(4, Some(5), ChainFault::Gap { from: Seq(3), to: Seq(4) })]);
}

#[test]
fn a_missing_start_is_found_unless_it_is_what_was_asked_for() {
    let (mut lines, _) = export(1, 6);
    lines.drain(1..3);
    assert_eq!(found(&lines), [(2, Some(3), ChainFault::StartsLate { expected: Seq(1) })]);
    let expected = Expected { from: Seq(3), known: None };
    assert!(verify_expecting(&lines, expected).is_clean());
}

#[test]
fn a_fork_names_the_other_line() {
    let (mut lines, _) = export(1, 3);
    let (mut chain, mut other) = (Chain::begin(host(), Epoch(1)), None);
    for number in 1..=2 {
        let link = chain.link(draft(number), payload(number + 40), 0, &key());
        chain.advance(&link);
        other = Some(link.line());
    }
    lines.push(other.unwrap());
    assert_eq!(found(&lines), [(5, Some(2), ChainFault::Fork { other: 3 })]);
}

#[test]
fn a_replay_names_the_first_line() {
    let (mut lines, _) = export(1, 3);
    lines.push(lines[2].clone());
    assert_eq!(found(&lines), [(5, Some(2), ChainFault::Replay { other: 3 })]);
}

#[test]
fn a_changed_order_is_found() {
    let (mut lines, _) = export(1, 4);
    lines.swap(2, 3);
    let gap = (3, Some(3), ChainFault::Gap { from: Seq(2), to: Seq(2) });
    let order = (4, Some(2), ChainFault::OutOfOrder { after: Seq(3) });
    assert_eq!(found(&lines), [gap, order]);
}

#[test]
fn a_new_epoch_is_a_reset_and_its_chain_is_followed() {
    let (mut lines, _) = export(1, 2);
    let (next, _) = export(2, 3);
    lines.extend_from_slice(&next[1..]);
    let reset = ChainFault::Reset { from: Epoch(1), to: Epoch(2) };
    assert_eq!(found(&lines), [(4, Some(1), reset.clone())]);
    lines.remove(3);
    let gap = ChainFault::Gap { from: Seq(1), to: Seq(1) };
    assert_eq!(found(&lines), [(4, Some(2), reset), (4, Some(2), gap)]);
}

#[test]
fn a_changed_record_is_placed_exactly() {
    let (mut lines, _) = export(1, 5);
    let line = ExportLine::parse(lines[3].as_bytes()).unwrap();
    let changed =
        String::from_utf8(line.record.payload().to_vec()).unwrap().replace("compliant", "remediated");
    let encoded = |text: &[u8]| base64::Engine::encode(&base64::engine::general_purpose::STANDARD, text);
    lines[3] = lines[3].replace(&encoded(line.record.payload()), &encoded(changed.as_bytes()));
    assert_eq!(found(&lines), [(4, Some(3), ChainFault::BadSignature)]);
}

#[test]
fn a_changed_payload_is_placed_exactly_and_a_deleted_one_is_only_counted() {
    let (mut lines, _) = export(1, 5);
    let encoded = |text: &str| base64::Engine::encode(&base64::engine::general_purpose::STANDARD, text);
    let whole = lines.clone();
    lines[4] = lines[4].replace(&encoded("{\"fact\":4}"), &encoded("{\"fact\":5}"));
    assert_ne!(lines, whole);
    assert_eq!(found(&lines), [(5, Some(4), ChainFault::PayloadMismatch)]);
    let mut line = ExportLine::parse(whole[4].as_bytes()).unwrap();
    line.payload = None;
    lines[4] = line.to_json();
    let report = verify(&lines);
    assert!(report.is_clean());
    assert_eq!((report.payloads_missing, report.first_missing_line), (1, Some(5)));
}

#[test]
fn bytes_shifted_between_salt_and_facts_do_not_pass() {
    let (mut lines, _) = export(1, 1);
    let encoded = |bytes: &[u8]| base64::Engine::encode(&base64::engine::general_purpose::STANDARD, bytes);
    let all = [&[1u8; 32][..], b"{\"fact\":1}"].concat();
    let before = lines[0].clone();
    lines[1] = lines[1]
        .replace(&encoded(&[1; 32]), &encoded(&all[..31]))
        .replace(&encoded(b"{\"fact\":1}"), &encoded(&all[31..]));
    assert_eq!(before, lines[0]);
    assert_eq!(found(&lines), [(2, Some(1), ChainFault::PayloadMismatch)]);
}

#[test]
fn a_record_with_another_past_does_not_follow() {
    let (mut lines, _) = export(1, 2);
    let mut chain = Chain::begin(host(), Epoch(1));
    for number in 1..=3 {
        let link = chain.link(draft(number), payload(number + 40), 0, &key());
        chain.advance(&link);
        if number == 3 {
            lines.push(link.line());
        }
    }
    assert_eq!(found(&lines), [(4, Some(3), ChainFault::PrevMismatch)]);
}

#[test]
fn another_key_and_another_host_are_told_apart() {
    let (lines, _) = export(1, 2);
    let mut verifier = ChainVerifier::new(SigningKey::from_seed(&[6; 32]).public(), Expected::default());
    for line in &lines {
        verifier.line(line.as_bytes());
    }
    let faults: Vec<_> = verifier.finish().findings.into_iter().map(|f| f.fault).collect();
    assert_eq!(faults, [ChainFault::OtherKey, ChainFault::OtherKey, ChainFault::OtherKey]);

    let db1 = HostName::new("db1").unwrap();
    let link = Chain::begin(db1.clone(), Epoch(1)).link(draft(1), payload(1), 0, &key());
    let (mut lines, _) = export(1, 1);
    lines.push(link.line());
    assert_eq!(found(&lines), [(3, Some(1), ChainFault::WrongHost { found: db1 })]);
}

#[test]
fn unreadable_lines_are_placed_and_the_rest_is_still_judged() {
    let (mut lines, _) = export(1, 4);
    lines[2] = "{\"record\":\u{1b}".into();
    let report = verify(&lines);
    assert_eq!(report.findings.len(), 1, "{report:?}");
    assert_eq!(report.findings[0].line, 3);
    assert!(matches!(&report.findings[0].fault, ChainFault::Malformed(why) if !why.contains('\u{1b}')));
    // a line that was put in between explains nothing away
    let (mut lines, _) = export(1, 4);
    lines.insert(3, "junk".into());
    lines.remove(2);
    assert_eq!(found(&lines).len(), 1);
    lines.remove(2);
    assert_eq!(found(&lines), [(3, Some(3), ChainFault::Gap { from: Seq(2), to: Seq(2) })]);
}

#[test]
fn an_unsigned_record_and_an_empty_file_are_not_clean() {
    let (mut lines, _) = export(1, 1);
    let at = lines[1].find("\"signatures\":[").unwrap();
    let end = lines[1].find("]}").unwrap();
    lines[1].replace_range(at..end, "\"signatures\":[");
    assert!(matches!(found(&lines)[..], [(2, _, ChainFault::Malformed(_))]));
    assert_eq!(found(&lines[..1]), [(1, None, ChainFault::Empty)]);
    assert_eq!(found(&[]), [(0, None, ChainFault::Empty)]);
}

#[test]
fn lost_records_are_counted() {
    let mut chain = Chain::begin(host(), Epoch(1));
    let mut lines = vec![ExportHeader::new(host(), Epoch(1), key().public()).to_json()];
    for lost in [0, 3, 0] {
        let link = chain.link(draft(1), payload(1), lost, &key());
        lines.push(link.line());
        chain.advance(&link);
    }
    let report = verify(&lines);
    assert!(report.is_clean());
    assert_eq!(report.lost, 3);
}

#[test]
fn no_more_findings_are_kept_than_anybody_reads() {
    let (mut lines, _) = export(1, 1);
    lines.extend(std::iter::repeat_n("junk".to_owned(), 2000));
    let report = verify(&lines);
    assert_eq!((report.findings.len(), report.more), (1000, 1000));
    assert!(!report.is_clean());
}

#[test]
fn a_payload_has_a_largest_size() {
    assert!(Payload::new([0; 32], vec![0; Payload::MAX]).is_ok());
    assert!(matches!(Payload::new([0; 32], vec![0; Payload::MAX + 1]), Err(Refused::TooLarge { .. })));
    let link = Chain::begin(host(), Epoch(1)).link(
        draft(1),
        Payload::new([0; 32], vec![0; Payload::MAX]).unwrap(),
        0,
        &key(),
    );
    assert!(ExportLine::parse(link.line().as_bytes()).is_ok(), "the largest payload fits a line");
}

mod properties {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Whatever byte of an exported chain is changed after the header: the report is not clean, and the first
        /// finding stands on that line.
        #[test]
        fn a_changed_byte_is_found_on_its_line(line in 1usize..5, place in any::<prop::sample::Index>(), change in 1u8..=255) {
            let (lines, _) = export(1, 4);
            let mut verifier = ChainVerifier::new(key().public(), Expected::default());
            for (number, text) in lines.iter().enumerate() {
                let mut bytes = text.clone().into_bytes();
                if number == line {
                    let place = place.index(bytes.len());
                    bytes[place] ^= change;
                }
                verifier.line(&bytes);
            }
            let report = verifier.finish();
            prop_assert!(!report.is_clean());
            prop_assert_eq!(report.findings[0].line, line + 1);
        }
    }
}
