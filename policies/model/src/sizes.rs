//! Sizes and rates as a policy writes them: `400 GiB`, `20 MB/s`.

/// Parses a whole number, a space and a unit (`B`, `kB`, `MB`, `GB`, `TB`, `KiB`, `MiB`, `GiB`, `TiB`) into bytes.
///
/// # Errors
/// A sentence with the remedy when the text is not of this form or too large.
pub fn parse_size(text: &str) -> Result<u64, String> {
    let bad = || {
        format!("{text:?} is not a size: write a whole number, a space and a unit, such as 400 GiB or 20 MB")
    };
    let (number, unit) = text.split_once(' ').ok_or_else(bad)?;
    if number.is_empty() || number.starts_with('0') || !number.bytes().all(|b| b.is_ascii_digit()) {
        return Err(bad());
    }
    let factor: u64 = match unit {
        "B" => 1,
        "kB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "TB" => 1_000_000_000_000,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "TiB" => 1 << 40,
        _ => return Err(bad()),
    };
    number.parse::<u64>().ok().and_then(|n| n.checked_mul(factor)).ok_or_else(bad)
}

/// Parses a size and `/s` into bytes a second.
///
/// # Errors
/// As [`parse_size`].
pub fn parse_rate(text: &str) -> Result<u64, String> {
    text.strip_suffix("/s")
        .and_then(|size| parse_size(size).ok())
        .ok_or_else(|| format!("{text:?} is not a rate: write a size and /s, such as 20 MB/s"))
}

/// As a policy writes it, in the largest unit that divides it: `400 GiB`, `20 MB`.
pub fn say(bytes: u64) -> String {
    let units: [(u64, &str); 8] = [
        (1 << 40, "TiB"),
        (1_000_000_000_000, "TB"),
        (1 << 30, "GiB"),
        (1_000_000_000, "GB"),
        (1 << 20, "MiB"),
        (1_000_000, "MB"),
        (1 << 10, "KiB"),
        (1_000, "kB"),
    ];
    match units.iter().find(|(size, _)| bytes > 0 && bytes.is_multiple_of(*size)) {
        Some((size, unit)) => format!("{} {unit}", bytes / size),
        None => format!("{bytes} B"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_a_number_and_a_unit() {
        assert_eq!(parse_size("400 GiB").unwrap(), 400 << 30);
        assert_eq!(parse_rate("20 MB/s").unwrap(), 20_000_000);
        for same in ["400 GiB", "20 MB", "1 TiB", "7 B", "3 kB", "1 GB"] {
            assert_eq!(say(parse_size(same).unwrap()), same);
        }
        for bad in [
            "",
            "400GiB",
            "400",
            "0 GiB",
            "-1 GiB",
            "4 gb",
            "1.5 GiB",
            "99999999999999999999 TiB",
            "99999999 TiB",
            "4 GiB/s",
        ] {
            assert!(parse_size(bad).is_err(), "{bad}");
        }
        assert!(parse_rate("20 MB").is_err());
    }
}
