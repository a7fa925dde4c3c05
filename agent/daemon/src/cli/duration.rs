//! Times as a person writes and reads them: `60s`, `5m`.

/// Seconds of a trial: 5 seconds to 1 hour, as the policy language has it.
pub(super) fn seconds(text: &str) -> Result<u32, String> {
    const RULE: &str = "write 5s to 3600s, or 1m to 60m";
    let (number, factor) = match text.strip_suffix('m') {
        Some(minutes) => (minutes, 60),
        None => (text.strip_suffix('s').ok_or(RULE)?, 1),
    };
    let number: u32 = number.parse().map_err(|_| RULE)?;
    let seconds = number.checked_mul(factor).ok_or(RULE)?;
    if (5..=3600).contains(&seconds) { Ok(seconds) } else { Err(RULE.into()) }
}

/// A span in its largest fitting unit.
pub(super) fn words(seconds: i64) -> String {
    match seconds.max(0) {
        s @ 0..=119 => format!("{s} s"),
        s @ 120..=7199 => format!("{} min", s / 60),
        s @ 7200..=172_799 => format!("{} h", s / 3600),
        s => format!("{} d", s / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_writes_times_as_people_do() {
        assert_eq!(seconds("60s"), Ok(60));
        assert_eq!(seconds("5m"), Ok(300));
        for bad in ["", "60", "4s", "61m", "s", "-5s", "4294967296s", "100000000m", "1h"] {
            assert!(seconds(bad).is_err(), "{bad}");
        }
        assert_eq!(
            [words(-1), words(90), words(600), words(9000), words(400_000)],
            ["0 s", "90 s", "10 min", "2 h", "4 d"]
        );
    }
}
