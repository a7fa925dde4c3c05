//! Our backup engine beside Debian's restic and borg: the same files, into a directory of this machine, by turns, in one
//! run.

use std::fs::{self, File};
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};

use serde_json::Value;
use tenure_lab::{run, run_in};
use tenure_scenarios::Result;

use crate::numbers::quantile;
use crate::{ratio, row, say};

const USAGE: &str = include_str!("usage.py");
/// Each work is done so often by each side; medians count.
const ROUNDS: usize = 3;
/// Files of the mixed source, and their bytes together, about.
const FILES: u64 = 20_000;
const BYTES: u64 = 1 << 30;
/// Tiny files.
const TINY: u64 = 100_000;
/// Seconds that one command may take.
const LIMIT: u32 = 600;

/// Who is measured.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Ours,
    Restic,
    Borg,
}

const SIDES: [Side; 3] = [Side::Ours, Side::Restic, Side::Borg];

/// What one side did with one work, in rounds.
#[derive(Default)]
struct Costs {
    wall: Vec<f64>,
    cpu: Vec<f64>,
    peak: Vec<f64>,
    stored: f64,
}

/// A directory that goes when the run ends.
struct Room(PathBuf);

impl Drop for Room {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Measures and prints.
pub(crate) fn backups() -> Result<()> {
    let room = Room(std::env::temp_dir().join(format!("tenure-bench-{}", std::process::id())));
    let place = &room.0;
    fs::create_dir_all(place)?;
    say("");
    say("Backups beside restic 0.14 and borg 1.2.4 (Debian 12), into a directory of this machine, by turns.");
    say(&format!(
        "Medians of {ROUNDS} rounds: processor seconds with children, seconds, peak memory, bytes stored."
    ));
    fs::write(place.join("usage.py"), USAGE)?;
    fs::write(place.join("password"), "bench")?;
    mixed(&place.join("mixed"))?;
    dump(&place.join("dump"))?;
    tiny(&place.join("tiny"))?;
    let sides = Sides { place, engine: engine()? };
    let [first, again, restore] = sides.directory("mixed", true)?;
    table(
        "1 GiB in 20,000 files, first",
        &first,
        &[(Cell::Cpu, Side::Borg, 0.9), (Cell::Wall, Side::Restic, 0.6), (Cell::Peak, Side::Ours, 110e6)],
    );
    table("the same, unchanged, our key held", &again, &[(Cell::Cpu, Side::Ours, 0.3)]);
    table(
        "the same, restored",
        &restore,
        &[(Cell::Wall, Side::Restic, 1.0), (Cell::Peak, Side::Ours, 135e6)],
    );
    let [tiny, ..] = sides.directory("tiny", false)?;
    table(
        "100,000 tiny files, first",
        &tiny,
        &[(Cell::Cpu, Side::Restic, 0.4), (Cell::Peak, Side::Ours, 110e6)],
    );
    let dump = sides.dump()?;
    table("1 GiB dump, first", &dump, &[(Cell::Cpu, Side::Restic, 0.45), (Cell::Peak, Side::Ours, 110e6)]);
    Ok(())
}

/// The driver of the engine beside this program: an example, not shipped.
fn engine() -> Result<String> {
    let here = std::env::current_exe()?;
    let path = here.parent().ok_or("this program is nowhere")?.join("examples/engine");
    if !path.exists() {
        return Err(format!(
            "{} is missing: cargo build --release -p tenure-backup --example engine",
            path.display()
        )
        .into());
    }
    Ok(path.display().to_string())
}

struct Sides<'p> {
    place: &'p Path,
    engine: String,
}

impl Sides<'_> {
    /// First and unchanged backup of a directory, and its restore.
    fn directory(&self, name: &str, all: bool) -> Result<[[Costs; 3]; 3]> {
        let mut costs: [[Costs; 3]; 3] = Default::default();
        for _ in 0..ROUNDS {
            for (number, side) in SIDES.into_iter().enumerate() {
                self.found(side)?;
                let source = self.path(name);
                self.measure(&mut costs[0][number], None, &self.backup(side, "1", &source))?;
                costs[0][number].stored = self.stored(side)?;
                if !all {
                    continue;
                }
                self.measure(&mut costs[1][number], None, &self.backup(side, "2", &source))?;
                let target = self.place.join("restored");
                fs::create_dir(&target)?;
                let to = target.display().to_string();
                let argv = match side {
                    Side::Ours => {
                        words(&[&self.engine, "restore", &self.repository(side), &self.path("key"), &to])
                    }
                    Side::Restic => self.restic(&["restore", "latest", "--target", &to]),
                    Side::Borg => words(&["borg", "extract", &format!("{}::1", self.repository(side))]),
                };
                self.measure_in(&target, &mut costs[2][number], None, &argv)?;
                fs::remove_dir_all(&target)?;
            }
        }
        Ok(costs)
    }

    /// First backup of one large file: ours takes it open, the others on standard input.
    fn dump(&self) -> Result<[Costs; 3]> {
        let mut costs: [Costs; 3] = Default::default();
        for _ in 0..ROUNDS {
            for (number, side) in SIDES.into_iter().enumerate() {
                self.found(side)?;
                let dump = self.path("dump");
                let (feed, argv) = match side {
                    Side::Ours => {
                        let mut argv = self.backup(side, "1", "--");
                        argv.extend(words(&["/dumps/dump", &dump]));
                        (None, argv)
                    }
                    Side::Restic => (Some(&dump), self.restic(&["backup", "--stdin"])),
                    Side::Borg => (Some(&dump), self.backup(side, "1", "-")),
                };
                self.measure(&mut costs[number], feed.map(String::as_str), &argv)?;
                costs[number].stored = self.stored(side)?;
            }
        }
        Ok(costs)
    }

    fn path(&self, name: &str) -> String {
        self.place.join(name).display().to_string()
    }

    fn repository(&self, side: Side) -> String {
        self.path(match side {
            Side::Ours => "ours",
            Side::Restic => "restic",
            Side::Borg => "borg",
        })
    }

    fn restic(&self, arguments: &[&str]) -> Vec<String> {
        let (cache, password) = (self.path("restic-cache"), self.path("password"));
        let fixed =
            ["restic", "-q", "--cache-dir", &cache, "-r", &self.repository(Side::Restic), "-p", &password];
        words(&[&fixed[..], arguments].concat())
    }

    fn backup(&self, side: Side, name: &str, source: &str) -> Vec<String> {
        let repository = self.repository(side);
        match side {
            // long after the files were made, so that the second run may believe what it saw
            Side::Ours => words(&[
                &self.engine,
                "backup",
                &repository,
                &self.path("key"),
                &self.path("cache"),
                "4000000000",
                source,
            ]),
            Side::Restic => self.restic(&["backup", source]),
            Side::Borg => words(&["borg", "create", &format!("{repository}::{name}"), source]),
        }
    }

    /// An empty repository, and nothing left of the one before.
    fn found(&self, side: Side) -> Result<()> {
        let repository = self.repository(side);
        for path in [&repository, &self.path("restic-cache"), &self.path("borg-base")] {
            if Path::new(path).exists() {
                fs::remove_dir_all(path)?;
            }
        }
        let _ = fs::remove_file(self.place.join("cache"));
        let argv = match side {
            Side::Ours => {
                words(&[&self.engine, "create", &repository, &self.path("password"), &self.path("key"), "0"])
            }
            Side::Restic => self.restic(&["init"]),
            Side::Borg => words(&["borg", "init", "-e", "repokey", &repository]),
        };
        let argv = self.surrounded(&argv);
        let output = run(&argv.iter().map(String::as_str).collect::<Vec<_>>(), LIMIT)?;
        if output.ok() { Ok(()) } else { Err(format!("{argv:?}: {}", output.said()).into()) }
    }

    /// borg takes its passphrase and its places from the environment only.
    fn surrounded(&self, argv: &[String]) -> Vec<String> {
        let base = format!("BORG_BASE_DIR={}", self.path("borg-base"));
        let mut all = words(&["env", "BORG_PASSPHRASE=bench", &base]);
        all.extend_from_slice(argv);
        all
    }

    fn measure(&self, costs: &mut Costs, feed: Option<&str>, argv: &[String]) -> Result<()> {
        self.measure_in(self.place, costs, feed, argv)
    }

    fn measure_in(&self, dir: &Path, costs: &mut Costs, feed: Option<&str>, argv: &[String]) -> Result<()> {
        let mut all = words(&["python3", &self.path("usage.py"), feed.unwrap_or("-")]);
        all.extend(self.surrounded(argv));
        let output = run_in(dir, &all.iter().map(String::as_str).collect::<Vec<_>>(), LIMIT)?;
        let failed = || format!("{argv:?}: {}", output.said());
        let cost: Value = output
            .stdout
            .lines()
            .last()
            .and_then(|line| serde_json::from_str(line).ok())
            .ok_or_else(failed)?;
        let number = |name: &str| cost[name].as_f64().ok_or_else(failed);
        if number("status")? != 0.0 {
            return Err(failed().into());
        }
        costs.wall.push(number("wall")?);
        costs.cpu.push(number("cpu")?);
        costs.peak.push(number("peak")?);
        Ok(())
    }

    fn stored(&self, side: Side) -> Result<f64> {
        let repository = self.repository(side);
        let output = run(&["du", "-sb", &repository], LIMIT)?;
        let bytes = output.stdout.split_whitespace().next().and_then(|word| word.parse().ok());
        bytes.ok_or_else(|| format!("du {repository}: {}", output.said()).into())
    }
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

/// What a target speaks of.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Cell {
    Cpu,
    Wall,
    Peak,
    Stored,
}

impl Cell {
    fn of(self, costs: &Costs) -> f64 {
        match self {
            Self::Cpu => quantile(&costs.cpu, 0.5),
            Self::Wall => quantile(&costs.wall, 0.5),
            Self::Peak => quantile(&costs.peak, 0.5),
            Self::Stored => costs.stored,
        }
    }

    fn text(self, value: f64) -> String {
        match self {
            Self::Cpu | Self::Wall => format!("{value:.2} s"),
            Self::Peak | Self::Stored => format!("{:.0} MB", value / 1e6),
        }
    }
}

/// Prints a work's rows; each target says beside whom it is meant, and whether it is reached.
fn table(what: &str, costs: &[Costs; 3], targets: &[(Cell, Side, f64)]) {
    row(&[what, "ours", "restic", "borg", "of restic", "of borg", "target"]);
    for (name, cell) in [
        ("processor", Cell::Cpu),
        ("wall", Cell::Wall),
        ("peak memory", Cell::Peak),
        ("stored", Cell::Stored),
    ] {
        let [ours, restic, borg] = [0, 1, 2].map(|side| cell.of(&costs[side]));
        if ours == 0.0 {
            continue;
        }
        let target = targets.iter().find(|(of, ..)| *of == cell).map(|(_, beside, limit)| {
            let (limit, text) = match beside {
                Side::Ours => (*limit, format!("≤ {}", cell.text(*limit))),
                Side::Restic => (limit * restic, format!("≤ {limit} × restic")),
                Side::Borg => (limit * borg, format!("≤ {limit} × borg")),
            };
            let word = if ours <= limit { "reached" } else { "BEHIND" };
            format!("  {text}: {word}")
        });
        row(&[
            &format!("  {name}"),
            &cell.text(ours),
            &cell.text(restic),
            &cell.text(borg),
            &ratio(ours, restic),
            &ratio(ours, borg),
            &target.unwrap_or_default(),
        ]);
    }
}

/// Numbers that look random and are the same in every run (xorshift64*).
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    fn below(&mut self, limit: u64) -> usize {
        usize::try_from(self.next() % limit.max(1)).unwrap_or_default()
    }

    fn noise(&mut self, len: usize, out: &mut Vec<u8>) {
        let end = out.len() + len;
        while out.len() < end {
            out.extend_from_slice(&self.next().to_le_bytes());
        }
        out.truncate(end);
    }
}

/// What files are made of: text of a few thousand words, noise, and both by turns.
struct Matter {
    dice: Dice,
    text: Vec<u8>,
}

impl Matter {
    fn new(seed: u64) -> Self {
        let mut dice = Dice(seed);
        let words: Vec<Vec<u8>> = (0..4000)
            .map(|_| (0..2 + dice.below(8)).map(|_| b"etaoinshrdlucmfwypvbgkqjxz"[dice.below(26)]).collect())
            .collect();
        let mut text = Vec::new();
        while text.len() < 4 << 20 {
            text.extend_from_slice(&words[dice.below(4000)]);
            text.push(if dice.below(12) == 0 { b'\n' } else { b' ' });
        }
        Self { dice, text }
    }

    /// Half of all files are text, a quarter noise, a quarter both.
    fn piece(&mut self, len: usize) -> Vec<u8> {
        let kind = self.dice.below(4);
        let mut out = Vec::with_capacity(len + 8192);
        while out.len() < len {
            if kind >= 2 {
                let noise = if kind == 2 { len } else { 100 + self.dice.below(3000) };
                self.dice.noise(noise, &mut out);
            }
            let from = self.dice.below(4 << 20 >> 1);
            let run = 64 + self.dice.below(4000);
            out.extend_from_slice(&self.text[from..from + run]);
            out.extend_from_slice(self.dice.next().to_string().as_bytes());
        }
        out.truncate(len);
        out
    }
}

/// Most files are small, and fifty have eight mebibytes.
fn mixed(place: &Path) -> Result<()> {
    let mut matter = Matter::new(7);
    let small = (BYTES - FILES / 400 * (8 << 20)) / FILES;
    for number in 0..FILES {
        let len = match number % 400 {
            0 => 8 << 20,
            // the sum of two dice: most are near the middle, some tiny, some twice as large
            _ => matter.dice.below(small) + matter.dice.below(small),
        };
        write(place, number, 37, 1613, &matter.piece(len))?;
    }
    Ok(())
}

fn tiny(place: &Path) -> Result<()> {
    let mut matter = Matter::new(8);
    for number in 0..TINY {
        let len = 1 + matter.dice.below(400);
        write(place, number, 1, 991, &matter.piece(len))?;
    }
    Ok(())
}

fn dump(path: &Path) -> Result<()> {
    let mut matter = Matter::new(9);
    let mut out = BufWriter::new(File::create(path)?);
    for _ in 0..BYTES >> 20 {
        out.write_all(&matter.piece(1 << 20))?;
    }
    out.flush()?;
    Ok(())
}

fn write(place: &Path, number: u64, outer: u64, inner: u64, bytes: &[u8]) -> Result<()> {
    let dir = place.join(format!("d{}/s{}", number % outer, number % inner));
    fs::create_dir_all(&dir)?;
    fs::write(dir.join(format!("f{number}")), bytes)?;
    Ok(())
}
