//! Holds the fake host to a real one: every query and every command of the ports, through the real `LinuxHost` on a lab
//! host and through the fake in the same situation. What the areas' own parsers make of both answers must be the same,
//! and errors must be of the same kind.

mod alike;
mod files;
mod jobs;
mod nft;
mod packages;
mod script;
mod sshd;
mod tracking;
mod wire;

use std::collections::BTreeSet;
use std::path::PathBuf;

use tenure_lab::Lab;

use script::{Script, Tally};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// Where the program that asks the real ports lies on the lab host.
const PROGRAM: &str = "/usr/local/lib/tenure-port";

#[test]
fn the_fake_host_answers_as_a_real_one() -> Result<()> {
    let lab = Lab::up("conformance", &["web1", "peer"])?;
    let (web1, peer) = (lab.host("web1"), lab.host("peer"));
    web1.put(PROGRAM, &std::fs::read(example("port")?)?, "755")?;
    // Tracking first: while nothing hooks it, only what is entered is tracked.
    let tracking = tracking::situations(&web1, &peer)?;
    let mut tally = Tally::default();
    tally.run(&web1, tracking)?;
    tally.run(&web1, files::situations())?;
    tally.run(&web1, jobs::situations())?;
    tally.run(&web1, nft::situations())?;
    tally.run(&web1, sshd::situations())?;
    tally.run(&web1, packages::before(&web1)?)?;
    lab.archive("peer", &["web1"], 9)?;
    tally.run(&web1, packages::pending(&web1)?)?;

    let asked = |kinds: &[&'static str]| kinds.iter().copied().collect::<BTreeSet<_>>();
    let all: BTreeSet<_> = alike::QUERIES.iter().chain(&alike::COMMANDS).copied().collect();
    assert_eq!(all.difference(&tally.answered).collect::<Vec<_>>(), Vec::<&&str>::new(), "never answered");
    let can_fail = asked(&[
        "NftOwnTable",
        "NftSet",
        "NftLoad",
        "NftRestore",
        "SshdEffective",
        "SshdTest",
        "SshdReload",
        "StartJob",
        "file",
        "dir",
        "stat",
        "put",
        "replace",
        "remove",
    ]);
    assert_eq!(can_fail.difference(&tally.refused).collect::<Vec<_>>(), Vec::<&&str>::new(), "never refused");
    assert!(tally.differences.is_empty(), "host and fake differ:\n{}", tally.differences.join("\n"));
    Ok(())
}

/// A built example of this workspace, in the profile of the running test. When it was not built the test fails.
fn example(name: &str) -> Result<PathBuf> {
    let running = std::env::current_exe()?;
    let found = running.ancestors().map(|dir| dir.join("examples").join(name)).find(|path| path.is_file());
    found.ok_or_else(|| {
        format!("example {name} is not built beside {}: make test builds all first", running.display()).into()
    })
}

/// A script that asks on a fresh fake host, with the accounts that it has made on the real one too.
fn fresh(topic: &'static str) -> Script {
    let mut script = Script::new(topic);
    script.situation(
        "the fake's accounts",
        "id app >/dev/null 2>&1 || {
           useradd -m -u 1000 -c Admin,,, -s /bin/bash admin; useradd -m -u 1001 -s /bin/sh deploy
           useradd -m -u 1002 -s /bin/bash app; echo app:summer-2019 | chpasswd; }",
        |_| {},
    );
    script
}
