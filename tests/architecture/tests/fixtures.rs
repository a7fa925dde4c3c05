//! Fixtures that another program makes are what it makes today, byte for byte.

use std::fs;

use tenure_architecture::holds;

/// (the program, what it prints).
const MADE: &[(&str, &str)] =
    &[("policies/obligations/tests/calendar/vectors.py", "policies/obligations/tests/calendar/vectors.json")];

#[test]
fn a_fixture_is_what_its_program_prints() {
    let root = tenure_lab::repository();
    let mut broken = Vec::new();
    for (program, fixture) in MADE {
        let program = root.join(program).display().to_string();
        // -I: neither this directory's files nor anybody's settings change what it computes
        let printed = tenure_lab::run(&["python3", "-I", &program], 60).expect("python3 runs");
        assert!(printed.ok(), "{program}: {}", printed.stderr);
        let kept = fs::read_to_string(root.join(fixture)).expect("the fixture is there");
        if printed.stdout != kept {
            broken.push(format!("{fixture} is not what {program} prints"));
        }
    }
    holds(
        "calendar vectors owe nothing to our own code: they are printed anew, never written by hand",
        &broken,
    );
}
