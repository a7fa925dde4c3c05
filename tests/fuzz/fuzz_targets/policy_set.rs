//! Any bytes as a policy set: reading, rules, rendering of faults and the canonical form end without a panic,
//! and the canonical form is final.
#![no_main]

use std::collections::BTreeMap;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let text = String::from_utf8_lossy(bytes).into_owned();
    if let Ok(once) = tenure_policy::fmt::canonical("fleet.yaml", &text) {
        let twice = tenure_policy::fmt::canonical("fleet.yaml", &once);
        assert_eq!(twice.as_deref(), Ok(once.as_str()));
    }
    if let Err(faults) = tenure_policy::load(&BTreeMap::from([("fleet.yaml".to_owned(), text)])) {
        let shown = faults.to_string();
        assert!(!shown.chars().any(|c| c != '\n' && tenure_policy::fault::is_hostile(c)));
    }
});
