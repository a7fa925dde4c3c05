//! Writes the seeds of one target, those made in code too, into a directory for cargo-fuzz:
//! `cargo run -p tenure-fuzz --example seeds -- <target> <directory>`.

use std::path::Path;
use std::{fs, io};

use tenure_fuzz::TARGETS;

fn main() -> io::Result<()> {
    let mut words = std::env::args().skip(1);
    let (Some(name), Some(directory)) = (words.next(), words.next()) else {
        return Err(io::Error::other("say a target and a directory"));
    };
    let target = TARGETS.iter().find(|target| target.name == name);
    let target = target.ok_or_else(|| io::Error::other("there is no such target"))?;
    fs::create_dir_all(&directory)?;
    for (number, seed) in (target.seeds)().into_iter().enumerate() {
        fs::write(Path::new(&directory).join(format!("made-{number}")), seed)?;
    }
    Ok(())
}
