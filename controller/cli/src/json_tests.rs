//! Every command that answers something answers in JSON too: the tree of commands against a list, so that none is forgotten.

use clap::CommandFactory;

use super::*;

/// (a command, the file that answers it).
const ANSWERING: &[(&str, &str)] = &[
    ("check", include_str!("cmd_check.rs")),
    ("key create", include_str!("cmd_key.rs")),
    ("key list", include_str!("cmd_key.rs")),
    ("root create", include_str!("cmd_root.rs")),
    ("root show", include_str!("cmd_root.rs")),
    ("sign", include_str!("cmd_sign.rs")),
    ("verify", include_str!("cmd_verify.rs")),
    ("fmt", include_str!("cmd_fmt.rs")),
    ("explain", include_str!("cmd_explain.rs")),
    ("login", include_str!("cmd_login.rs")),
    ("publish", include_str!("cmd_publish.rs")),
    ("token create", include_str!("cmd_token.rs")),
    ("token list", include_str!("cmd_token.rs")),
    ("admit", include_str!("cmd_admit.rs")),
    ("revoke", include_str!("cmd_admit.rs")),
    ("clear", include_str!("cmd_clear.rs")),
    ("obligations", include_str!("cmd_obligations.rs")),
    ("hosts", include_str!("cmd_hosts.rs")),
    ("backups", include_str!("cmd_backups.rs")),
    ("drift", include_str!("cmd_drift.rs")),
    ("patches", include_str!("cmd_patches.rs")),
    ("recover", include_str!("cmd_recover.rs")),
];

/// (a command, why it has no answer of its own).
const OTHERS: &[(&str, &str)] = &[
    ("schema", "its answer is JSON, whatever was asked"),
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
    assert_eq!(found, listed, "the commands of tenure, and those listed here");
    for (name, takes_json) in &leaves {
        assert!(takes_json, "{name} does not take --json");
    }
    for (name, file) in ANSWERING {
        assert!(file.contains("out.value("), "{name} never prints a document");
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
