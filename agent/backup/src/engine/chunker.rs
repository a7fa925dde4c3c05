//! Where a file is cut into blobs: a gear hash over its bytes, keyed, so that cuts tell nothing of the contents and an
//! insertion moves only the cuts beside it.

use sha2::{Digest as _, Sha256};

use super::keys::MasterKey;

/// No blob but a file's last is smaller.
pub(crate) const MIN: usize = 512 << 10;
/// From here on a cut is sixteen times as likely.
const AVERAGE: usize = 1 << 20;
/// No blob is larger.
pub(crate) const MAX: usize = 4 << 20;

// 21 bits must be zero before the average, 17 behind it; high bits, because they have seen the most bytes
const BEFORE: u64 = ((1 << 21) - 1) << 40;
const BEHIND: u64 = ((1 << 17) - 1) << 40;

/// The keyed table.
pub(crate) struct Gear(Box<[u64; 256]>);

/// One search for a cut, which goes on when more bytes are there.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Search {
    at: usize,
    hash: u64,
}

impl Gear {
    /// The table of a repository: the same in every run of a generation.
    pub(crate) fn of(master: &MasterKey) -> Self {
        let mut table = Box::new([0; 256]);
        for (byte, value) in (0..=255u8).zip(table.iter_mut()) {
            let digest: [u8; 32] = Sha256::new()
                .chain_update(b"tenure backup gear 1")
                .chain_update(master.bytes())
                .chain_update([byte])
                .finalize()
                .into();
            let [a, b, c, d, e, f, g, h, ..] = digest;
            *value = u64::from_le_bytes([a, b, c, d, e, f, g, h]);
        }
        Self(table)
    }

    /// Where the blob that `bytes` begin with ends; none while more bytes are needed. `bytes` are the same as in the
    /// call before, and more. `last`: no more will come.
    pub(crate) fn cut(&self, search: &mut Search, bytes: &[u8], last: bool) -> Option<usize> {
        let end = bytes.len().min(MAX);
        let mut at = search.at.max(MIN);
        let mut hash = search.hash;
        for (limit, mask) in [(AVERAGE, BEFORE), (MAX, BEHIND)] {
            let limit = limit.min(end);
            if at < limit {
                for (ahead, byte) in bytes[at..limit].iter().enumerate() {
                    hash = (hash << 1).wrapping_add(self.0[usize::from(*byte)]);
                    if hash & mask == 0 {
                        *search = Search::default();
                        return Some(at + ahead + 1);
                    }
                }
                at = limit;
            }
        }
        if end == MAX || last {
            *search = Search::default();
            return Some(end);
        }
        *search = Search { at, hash };
        None
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn gear(byte: u8) -> Gear {
        Gear::of(&MasterKey::from_bytes(&[byte; 64]).unwrap())
    }

    /// Bytes that look random and are the same in every run.
    fn noise(seed: u64, len: usize) -> Vec<u8> {
        let mut state = seed | 1;
        let next = move || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 24) as u8
        };
        std::iter::repeat_with(next).take(len).collect()
    }

    /// The cuts of `bytes` when they come in pieces.
    fn cuts(gear: &Gear, bytes: &[u8], piece: usize) -> Vec<usize> {
        let (mut cuts, mut start, mut seen, mut search) = (Vec::new(), 0, 0, Search::default());
        while start < bytes.len() {
            let last = seen == bytes.len();
            match gear.cut(&mut search, &bytes[start..seen], last) {
                Some(len) => {
                    assert!(len <= MAX && (len >= MIN || start + len == bytes.len()), "{len}");
                    start += len;
                    cuts.push(start);
                    seen = seen.max(start);
                }
                None => seen = (seen + piece).min(bytes.len()),
            }
        }
        cuts
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(12))]
        #[test]
        fn cuts_do_not_depend_on_how_bytes_arrive(seed: u64, len in 0usize..6_000_000, piece in 1usize..3_000_000) {
            let bytes = noise(seed, len);
            let gear = gear(1);
            prop_assert_eq!(cuts(&gear, &bytes, piece.max(4096)), cuts(&gear, &bytes, len.max(1)));
        }
    }

    #[test]
    fn cuts_are_the_same_when_every_few_bytes_are_looked_at() {
        let bytes = noise(5, 5 << 20);
        assert_eq!(cuts(&gear(1), &bytes, 16), cuts(&gear(1), &bytes, 5 << 20));
    }

    #[test]
    fn cuts_find_each_other_again_behind_an_insertion() {
        let bytes = noise(7, 24 << 20);
        let mut moved = bytes.clone();
        moved.splice(3_000_000..3_000_000, *b"an insertion");
        let gear = gear(2);
        let before: Vec<usize> = cuts(&gear, &bytes, 1 << 20).into_iter().map(|at| at + 12).collect();
        let after = cuts(&gear, &moved, 1 << 20);
        let same = after.iter().filter(|at| before.contains(at)).count();
        assert!(same + 6 >= after.len() && same > 8, "{same} of {}", after.len());
        assert!((12..=32).contains(&after.len()), "about 1.2 MiB each: {}", after.len());
    }

    #[test]
    fn another_key_cuts_elsewhere_and_sameness_is_cut_at_the_most() {
        let bytes = noise(9, 8 << 20);
        assert_ne!(cuts(&gear(1), &bytes, 1 << 20), cuts(&gear(2), &bytes, 1 << 20));
        let zeros = vec![0; 9 << 20];
        assert!(cuts(&gear(1), &zeros, 1 << 20).len() <= 18);
        assert_eq!(cuts(&gear(1), &bytes[..MIN], 1 << 20), [MIN]);
        assert_eq!(cuts(&gear(1), b"", 1), [0; 0]);
    }
}
