//! Whatever stands in a file: the reader, the rules, the canonical form and the rendering of faults come to an end
//! without a panic, and what is shown cannot steer a terminal.

use std::collections::BTreeMap;

use proptest::prelude::*;

use crate::fault::is_hostile;
use crate::read_tests::COMPLETE;
use crate::{fmt, load};

fn survive(path: &str, text: &str) -> Result<(), TestCaseError> {
    let files = BTreeMap::from([
        (path.to_owned(), text.to_owned()),
        ("zz.yaml".to_owned(), "networks: { office: [203.0.113.0/24] }\n".to_owned()),
    ]);
    if let Err(faults) = load(&files) {
        prop_assert!(!faults.is_empty());
        let shown = faults.to_string();
        prop_assert!(!shown.chars().any(|c| c != '\n' && is_hostile(c)), "{:?}", shown);
    }
    if let Ok(once) = fmt::canonical(path, text) {
        let twice = fmt::canonical(path, &once).map_err(|faults| {
            TestCaseError::fail(format!("the form cannot be read: {faults}\n{text}\n---\n{once}"))
        })?;
        prop_assert_eq!(&twice, &once, "\n{}\n---\n{}", text, once);
    }
    Ok(())
}

/// Pieces that YAML gives a meaning to.
const PIECES: [&str; 40] = [
    "{",
    "}",
    "[",
    "]",
    ": ",
    ":",
    "- ",
    "-",
    ", ",
    "\n",
    "\n  ",
    "\n    ",
    "#",
    " # x",
    "\"",
    "'",
    "|\n",
    ">-\n",
    "&a ",
    "*a",
    "!!str ",
    "<<: ",
    "? ",
    "%YAML 1.1\n",
    "---\n",
    "...\n",
    "\t",
    "\u{0}",
    "\u{202e}",
    "\u{feff}",
    "~",
    "null",
    "on",
    "22:00",
    "0x1",
    "2027-06-30",
    "tenure: 1\n",
    "hosts:\n",
    "networks:\n",
    "é€😀",
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        survive("fleet.yaml", &String::from_utf8_lossy(&bytes))?;
    }

    #[test]
    fn any_pieces_of_yaml(pieces in proptest::collection::vec(0..PIECES.len(), 0..60)) {
        let text: String = pieces.into_iter().map(|piece| PIECES[piece]).collect();
        survive("fleet.yaml", &text)?;
    }

    #[test]
    fn the_example_with_pieces_thrown_in(cuts in proptest::collection::vec((any::<u32>(), 0u32..30, 0..PIECES.len()), 1..5)) {
        let mut text: Vec<char> = COMPLETE.chars().collect();
        for (at, length, piece) in cuts {
            let at = at as usize % (text.len() + 1);
            let end = (at + length as usize).min(text.len());
            text.splice(at..end, PIECES[piece].chars());
        }
        survive("fleet.yaml", &text.into_iter().collect::<String>())?;
    }

    #[test]
    fn any_name_of_a_file(path in "[a-z./\\PC]{0,20}") {
        survive(&path, "{ profiles: [base], addresses: [192.0.2.1] }\n")?;
    }
}
