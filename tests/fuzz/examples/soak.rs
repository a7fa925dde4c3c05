//! As many rounds of one target as wanted, with dice of one's choice; no special compiler is needed:
//! `cargo run --release -p tenure-fuzz --example soak -- <target> <rounds> <dice>`.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};

use tenure_fuzz::TARGETS;
use tenure_fuzz::mutate::{Dice, mutated};

fn main() -> io::Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [name, rounds, dice] = &words[..] else {
        return Err(io::Error::other("say a target, how many rounds, and a number for the dice"));
    };
    let target = TARGETS.iter().find(|target| target.name == name.as_str());
    let target = target.ok_or_else(|| io::Error::other("there is no such target"))?;
    let (rounds, dice): (u64, u64) =
        (rounds.parse().map_err(io::Error::other)?, dice.parse().map_err(io::Error::other)?);
    let seeds = (target.seeds)();
    let mut dice = Dice::new(dice);
    for round in 0..rounds {
        let bytes = mutated(&seeds, &mut dice);
        if catch_unwind(AssertUnwindSafe(|| (target.run)(&bytes))).is_err() {
            let file = std::env::temp_dir().join(format!("soak-{name}"));
            std::fs::write(&file, bytes)?;
            return Err(io::Error::other(format!("round {round}: the input is in {}", file.display())));
        }
    }
    Ok(())
}
