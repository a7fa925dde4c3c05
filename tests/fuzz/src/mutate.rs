//! Makes many inputs from few, the same ones in every run: bits, pieces, repetition, edges of numbers, other seeds.

/// xorshift64* (Vigna, "An experimental exploration of Marsaglia's xorshift generators, scrambled").
#[derive(Debug, Clone)]
pub struct Dice(u64);

impl Dice {
    /// Dice that fall the same way every time.
    pub fn new(seed: u64) -> Self {
        Self(seed | 1)
    }

    /// The next number below `most` (0 for 0).
    pub fn below(&mut self, most: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let high = self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 32;
        usize::try_from(high).unwrap_or_default() % most.max(1)
    }

    fn span(&mut self, length: usize) -> std::ops::Range<usize> {
        let from = self.below(length + 1);
        let most = [1, 4, 16, 64, 4096][self.below(5)];
        from..(from + self.below(most + 1)).min(length)
    }
}

/// Pieces that parsers of text stumble over.
const PIECES: [&[u8]; 46] = [
    b"\0",
    b"\n",
    b"\r\n",
    b"\t",
    b"\"",
    b"\\",
    b"'",
    b"#",
    b":",
    b": ",
    b"- ",
    b",",
    b"{",
    b"}",
    b"[",
    b"]",
    b"*",
    b"&a ",
    b"!!str ",
    b"|\n",
    b">\n",
    b"%",
    b"@",
    b"=",
    b"~",
    b"null",
    b"true",
    b"[]",
    b"{}",
    b"..",
    b"/",
    b"\x1b[2J",
    b"\x9b",
    b"\xc2\x9b",
    b"\xff",
    b"\xef\xbb\xbf",
    b"\xe2\x80\xae",
    b"\xe2\x80\xa8",
    b"\xf3\xa0\x81\x81",
    b"\xf0\x9f\x98\x80",
    b"\xcc\x81",
    b"\xc2\xa0",
    b"\xc2\x85",
    b"<<: ",
    b"---\n",
    b"? ",
];

/// Numbers at their edges.
const NUMBERS: [&str; 18] = [
    "0",
    "-0",
    "-1",
    "00",
    "1e9",
    "1.5",
    "127",
    "128",
    "255",
    "256",
    "65535",
    "65536",
    "2147483648",
    "4294967295",
    "4294967296",
    "9223372036854775808",
    "18446744073709551615",
    "18446744073709551616",
];

/// No input is made longer than this.
const MOST: usize = 64 << 10;

/// One of the seeds, changed a few times.
pub fn mutated(seeds: &[Vec<u8>], dice: &mut Dice) -> Vec<u8> {
    let mut bytes = seeds.get(dice.below(seeds.len())).cloned().unwrap_or_default();
    for _ in 0..=dice.below(4) {
        once(&mut bytes, seeds, dice);
    }
    bytes.truncate(MOST);
    bytes
}

fn once(bytes: &mut Vec<u8>, seeds: &[Vec<u8>], dice: &mut Dice) {
    let length = bytes.len();
    match dice.below(10) {
        0 => {
            if let Some(byte) = bytes.get_mut(dice.below(length)) {
                *byte ^= 1 << dice.below(8);
            }
        }
        1 => bytes.truncate(dice.below(length + 1)),
        2 => drop(bytes.drain(dice.span(length))),
        3 => {
            let piece = bytes[dice.span(length)].to_vec();
            let times = [1, 2, 8, 200][dice.below(4)];
            let at = dice.below(length + 1);
            insert(bytes, at, &piece.repeat(times.min(MOST / piece.len().max(1))));
        }
        4 | 5 => insert(bytes, dice.below(length + 1), PIECES[dice.below(PIECES.len())]),
        6 => {
            let other = &seeds[dice.below(seeds.len())];
            let piece = other[dice.span(other.len())].to_vec();
            let span = dice.span(length);
            bytes.splice(span, piece);
        }
        7 => number(bytes, dice),
        8 => {
            let (a, b) = (dice.span(length), dice.span(length));
            let (first, second) = (bytes[a.clone()].to_vec(), bytes[b].to_vec());
            insert(bytes, a.start, &second);
            bytes.extend(first);
        }
        _ => {
            let span = dice.span(length);
            for byte in &mut bytes[span] {
                *byte = u8::try_from(dice.below(256)).unwrap_or_default();
            }
        }
    }
}

fn insert(bytes: &mut Vec<u8>, at: usize, piece: &[u8]) {
    bytes.splice(at..at, piece.iter().copied());
}

/// Puts an edge in the place of a run of digits.
fn number(bytes: &mut Vec<u8>, dice: &mut Dice) {
    let start = dice.below(bytes.len());
    let Some(from) = bytes.iter().skip(start).position(u8::is_ascii_digit).map(|at| at + start) else {
        return;
    };
    let to = bytes[from..].iter().position(|b| !b.is_ascii_digit()).map_or(bytes.len(), |at| at + from);
    bytes.splice(from..to, NUMBERS[dice.below(NUMBERS.len())].bytes());
}
