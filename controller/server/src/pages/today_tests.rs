//! The page from hostile facts: nothing of a machine or a contract becomes markup, steers a line or hides.

use tenure_obligations::view::Judgement;

use super::*;

/// What the fleet of the judge's tests comes to, with a silent vault and updates that wait.
const JUDGEMENT: &str = include_str!("../../tests/judgement.json");

fn judgement() -> Judgement {
    serde_json::from_str(JUDGEMENT).unwrap()
}

#[test]
fn hostile_texts_are_escaped_and_neutralised_everywhere() {
    let hostile = "<script>alert(1)</script>\u{202e}\u{1b}[2J\" onload='x'&amp;";
    let mut judged = judgement();
    let mut text = serde_json::to_string(&judged).unwrap();
    let of_backups = ["no room on the disk", "the dump broke off", "its store is not mounted"];
    let others = ["Server software wordt", "openssl", "Amsterdam", "the table is gone"];
    for known in of_backups.into_iter().chain(others) {
        assert!(text.contains(known), "{known}");
        text = text.replace(known, serde_json::to_string(hostile).unwrap().trim_matches('"'));
    }
    judged = serde_json::from_str(&text).unwrap();
    judged.head.timezone = "Europe/Amsterdam".into();
    let page = render(&judged, hostile, Some("c5rf")).unwrap();
    assert!(page.matches("alert(1)").count() > 10, "the texts are on the page");
    assert!(!page.contains("<script") && !page.contains("' onload") && !page.contains("\" onload"));
    assert!(!page.chars().any(|c| c == '\u{202e}' || c == '\u{1b}'));
    assert!(page.contains("\\u{202e}"));
}

#[test]
fn the_bad_stands_first_and_a_state_is_word_and_sign_and_class() {
    let page = render(&judgement(), "marit", Some("c5rf")).unwrap();
    let (now, rest) = page.split_once("id=\"duties\"").unwrap();
    assert!(now.contains("overdue") && now.contains("patch.security") && !now.contains("✓"));
    assert!(rest.contains("<span class=\"state met\"><span aria-hidden=\"true\">✓</span> met</span>"));
    assert!(page.contains("as of <strong>2026-11-22 14:03 Amsterdam</strong>"));
    assert!(page.contains("name=\"csrf\" value=\"c5rf\""));
    for part in ["id=\"hosts\"", "id=\"backups\"", "id=\"drift\"", "id=\"patches\""] {
        assert!(page.contains(part), "{part}");
    }
    let (_, drift) = page.split_once("id=\"drift\"").unwrap();
    let (row, _) = drift.split_once("ctl1").expect("a host that nobody hears of is no host in order");
    assert!(row.contains("<span class=\"state unknown\">") && !row.contains("drifted"), "{row}");
    let cells = page.matches("<td").count();
    assert_eq!(page.matches("<td data-label=\"").count(), cells, "on a phone each cell names its column");
    assert!(page.contains("<td data-label=\"SUN 22\" class=\"slots\">"), "{page}");
    let (_, history) = page.split_once("id=\"history\"").unwrap();
    for told in
        ["today 13:58", "pid 4711 nft", "reported only", "3 times since 20 Nov 09:00", "2 findings more"]
    {
        assert!(history.contains(told), "{told} in {history}");
    }
    assert!(history.contains(&format!("title=\"{}\"", "0b".repeat(32))), "the record by its hash");
    for inline in ["style=", "<style", "onclick", "javascript:", "http:", "src="] {
        assert!(!page.contains(inline), "{inline} does not stand under the strict policy");
    }
}
