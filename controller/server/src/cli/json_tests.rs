//! Every command that answers something answers in JSON too: the tree of commands against a list, so that none is forgotten.

use clap::CommandFactory;

use super::*;

/// (a command, the file that answers it).
const ANSWERING: &[(&str, &str)] = &[
    ("init", include_str!("init.rs")),
    ("token create", include_str!("token.rs")),
    ("user password", include_str!("user.rs")),
    ("user remove", include_str!("user.rs")),
    ("user list", include_str!("user.rs")),
    ("session list", include_str!("session.rs")),
    ("session end", include_str!("session.rs")),
    ("status", include_str!("status.rs")),
];

/// (a command, why it has no answer of its own).
const OTHERS: &[(&str, &str)] = &[
    ("run", "the service: it speaks to the journal"),
    ("completions", "its answer is the script itself"),
    ("man", "it writes files and is for packagers"),
];

#[test]
fn every_command_answers_in_json_or_says_why_not() {
    let mut root = Cli::command();
    // Hands global arguments down, as the parser does.
    root.build();
    let mut leaves = Vec::new();
    collect(&root, "", &mut leaves);
    let listed = ANSWERING.iter().chain(OTHERS).map(|(name, _)| (*name).to_owned());
    let (mut found, mut listed): (Vec<_>, Vec<_>) =
        (leaves.iter().map(|(name, _)| name.clone()).collect(), listed.collect());
    found.sort();
    listed.sort();
    assert_eq!(found, listed, "the commands of tenure-controller, and those listed here");
    for (name, takes_json) in &leaves {
        assert!(takes_json, "{name} does not take --json");
    }
    for (name, file) in ANSWERING {
        assert!(file.contains("out.document("), "{name} never prints a document");
    }
    assert!(OTHERS.iter().all(|(_, why)| !why.is_empty()));
}

/// Every command without commands of its own, by its words, and whether it takes `--json`.
fn collect(command: &clap::Command, words: &str, out: &mut Vec<(String, bool)>) {
    let below: Vec<_> = command.get_subcommands().filter(|sub| sub.get_name() != "help").collect();
    if below.is_empty() {
        let takes = command.get_arguments().any(|argument| argument.get_long() == Some("json"));
        out.push((words.trim_start().to_owned(), takes));
    }
    for sub in below {
        collect(sub, &format!("{words} {}", sub.get_name()), out);
    }
}
