//! Names that stand in a policy, parsed once at the border.

use tenure_trust::{label_type, name_type};

label_type! {
    /// A network, host, profile or bridge: one name space (POLICY.md rule 3).
    NetworkName, "network name"
}
label_type! {
    /// A profile of a policy.
    ProfileName, "profile name"
}
name_type! {
    /// A local account (useradd(8): what Debian accepts, at most 32).
    UnixUser, "user name", 32, "a lower-case letter or underscore, then lower-case letters, digits, underscores, hyphens",
    |t| t.bytes().enumerate().all(|(i, b)| match b {
        b'a'..=b'z' | b'_' => true,
        b'0'..=b'9' | b'-' => i > 0,
        _ => false,
    })
}
name_type! {
    /// The stable id of a rule: `<profile or host>/<inbound|outbound|ssh>/<number>`, or `implied:<reason>/…` for derived ones.
    RuleId, "rule id", 100, "lower-case letters, digits and `-_/.:`",
    |t| t.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'/' | b'.' | b':'))
}
