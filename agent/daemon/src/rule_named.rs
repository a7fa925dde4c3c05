//! Which rule of the policy a finding is about, for the journal's field.

use tenure_areas::area::Finding;
use tenure_policy::resolved::FirewallSection;

/// The rule of the section whose loss the finding tells, or at which it stands. What somebody else's rule calls itself in
/// its comment does not count.
pub fn rule_named<'a>(section: Option<&'a FirewallSection>, finding: &Finding) -> Option<&'a str> {
    let FirewallSection { inbound, outbound, .. } = section?;
    let lost = finding.what.strip_prefix("rule removed from ").and_then(|what| {
        let (_, comment) = what.rsplit_once(" comment \"")?;
        comment.strip_suffix('"')?.strip_prefix("rule:")
    });
    let ids = inbound.iter().map(|rule| rule.id.as_str()).chain(outbound.iter().map(|rule| rule.id.as_str()));
    ids.into_iter().find(|id| Some(*id) == lost || *id == finding.place)
}

#[cfg(test)]
mod tests {
    use tenure_areas::area::Weight;

    use super::*;

    #[test]
    fn only_a_rule_of_the_policy_is_named() {
        let section: FirewallSection = serde_json::from_value(serde_json::json!({
            "networks": {},
            "inbound": [{ "id": "web/inbound/1", "from": "anywhere",
                          "ports": [{ "protocol": "tcp", "first": 443, "last": 443 }] }],
            "outbound": [], "blocks": [], "management": [],
            "confirm": { "within_seconds": 60, "by": "person" },
            "neighbours": []
        }))
        .expect("a section");
        let named = |place: &str, what: &str| {
            let finding = Finding {
                kind: "ruleset-changed".into(),
                place: place.into(),
                what: what.into(),
                weight: Weight::Drift,
                at: None,
                by: None,
            };
            rule_named(Some(&section), &finding).map(str::to_owned)
        };
        let table = "table inet tenure";
        let removed = "rule removed from g1_input: tcp dport 443 accept comment \"rule:web/inbound/1\"";
        assert_eq!(named(table, removed).as_deref(), Some("web/inbound/1"));
        assert_eq!(named("web/inbound/1", "the user app does not exist").as_deref(), Some("web/inbound/1"));
        for what in [
            "rule added in g1_input: accept comment \"rule:web/inbound/1\"",
            "rule removed from g1_input: accept comment \"rule:web/inbound/9\"",
            "rule removed from g1_input: counter drop comment \"default:input\"",
            "the table is gone",
        ] {
            assert_eq!(named(table, what), None, "{what}");
        }
        let text = "rule removed from x: a comment \"rule:web/inbound/1\"";
        let finding = Finding {
            kind: String::new(),
            place: String::new(),
            what: text.into(),
            weight: Weight::Note,
            at: None,
            by: None,
        };
        assert_eq!(rule_named(None, &finding), None);
    }
}
