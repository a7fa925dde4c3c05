//! An irreducible polynomial over GF(2), which restic demands of every `config` for its own chunker. Ours does not use
//! it; restic's does when a person backs up into one of our repositories.

use super::error::EngineError;

/// restic's degree.
const DEGREE: u32 = 53;

/// Draws one, as restic does: random bits, first and last set, until it is irreducible.
pub(crate) fn draw() -> Result<u64, EngineError> {
    loop {
        let mut bytes = [0; 8];
        getrandom::fill(&mut bytes).map_err(EngineError::Random)?;
        let candidate = u64::from_le_bytes(bytes) & ((1 << DEGREE) - 1) | 1 << DEGREE | 1;
        if irreducible(candidate) {
            return Ok(candidate);
        }
    }
}

/// Ben-Or's test: no polynomial of degree up to half of its own divides it.
fn irreducible(f: u64) -> bool {
    let mut power = 0b10; // x^(2^i) mod f
    for _ in 0..degree(f) / 2 {
        power = square(power, f);
        if gcd(f, power ^ 0b10) != 1 {
            return false;
        }
    }
    true
}

fn degree(f: u64) -> u32 {
    63 - f.leading_zeros()
}

/// `a² mod f`: the bits of `a` spread out, then reduced.
fn square(a: u64, f: u64) -> u64 {
    let top = degree(f);
    let mut wide: u128 = 0;
    for bit in 0..=degree(a | 1) {
        wide |= u128::from(a >> bit & 1) << (2 * bit);
    }
    while wide >> top != 0 {
        wide ^= u128::from(f) << (127 - wide.leading_zeros() - top);
    }
    u64::try_from(wide).unwrap_or_default()
}

fn gcd(mut a: u64, mut b: u64) -> u64 {
    while b != 0 {
        while a != 0 && degree(a) >= degree(b) {
            a ^= b << (degree(a) - degree(b));
        }
        (a, b) = (b, a);
    }
    a
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_ones_are_known() {
        // Lidl and Niederreiter, Finite Fields, table C: over GF(2)
        for f in [0b111, 0b1011, 0b1101, 0b10011, 0b11001, 0b11111, 0x11b] {
            assert!(irreducible(f), "{f:b}");
        }
        // (x+1)², x(x+1), (x²+x+1)², (x+1)(x²+x+1)
        for f in [0b101, 0b110, 0b10101, 0b1001, 0x11a, 0x101] {
            assert!(!irreducible(f), "{f:b}");
        }
        assert!(irreducible(0x3D_A335_8B4D_C173), "restic's own test polynomial");
        assert!(!irreducible(0x3D_A335_8B4D_C175));
    }

    #[test]
    fn drawn_ones_have_the_degree() {
        let f = draw().unwrap();
        assert_eq!((degree(f), f & 1), (DEGREE, 1));
    }
}
