//! Man pages and shell completions from the one definition of the command line.

use std::path::Path;

use clap_complete::Shell;
use clap_mangen::Man;

use super::output::Output;
use super::{Exit, Failure};

/// What no argument tells, on the page of the program itself.
const FILES: &str = "\
.SH FILES
.TP
/etc/tenure/vault.yaml
Which host this vault stands on and where its policy comes from. It and every directory above it must belong to root and be \
writable by nobody else.
.TP
/etc/tenure/trust/root.json
Which keys may sign this vault's policy. A person places it; the vault never writes it.
.TP
/var/lib/tenure-vault
State: keys, the policy that was taken, the witnessed clock, the chain of records; stores.json says which store was used.
.SH SEE ALSO
.BR tenure (1),
.BR tenure-agent (8),
.BR restic (1)
";

/// Writes `tenure-vault.8` and one page per command.
pub(super) fn write(command: clap::Command, dir: &Path) -> Result<Exit, Failure> {
    // The table of exit codes is a section of its own here.
    let mut command = command.after_help("");
    command.build();
    pages(&command, command.get_name(), FILES, dir)?;
    Ok(Exit::Clean)
}

/// Prints the script for a shell.
pub(super) fn completions(mut command: clap::Command, shell: Shell, out: Output) -> Result<Exit, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command, "tenure-vault", &mut script);
    out.product(&String::from_utf8_lossy(&script));
    Ok(Exit::Clean)
}

fn pages(command: &clap::Command, name: &str, more: &str, dir: &Path) -> Result<(), Failure> {
    let path = dir.join(format!("{name}.8"));
    let failed = |e: std::io::Error| Failure::of(&format!("cannot write {}", path.display()), &e);
    let mut page = Vec::new();
    Man::new(command.clone()).section("8").render(&mut page).map_err(failed)?;
    page.extend_from_slice(b".SH \"EXIT STATUS\"\n");
    for exit in Exit::ALL {
        page.extend_from_slice(format!(".TP\n{}\n{}\n", exit.code(), exit.meaning()).as_bytes());
    }
    page.extend_from_slice(more.as_bytes());
    std::fs::write(&path, page).map_err(failed)?;
    for sub in command.get_subcommands().filter(|c| !c.is_hide_set() && c.get_name() != "help") {
        pages(sub, &format!("{name}-{}", sub.get_name()), "", dir)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;
    use crate::cli::Cli;

    #[test]
    fn every_command_has_a_page_with_the_exit_codes() {
        let dir = tempfile::tempdir().expect("a directory");
        assert_eq!(write(Cli::command(), dir.path()).expect("written"), Exit::Clean);
        for name in ["tenure-vault", "tenure-vault-status", "tenure-vault-evidence-export"] {
            let page = std::fs::read_to_string(dir.path().join(format!("{name}.8"))).expect(name);
            assert!(page.contains(".SH \"EXIT STATUS\"\n.TP\n0\n") && page.contains(".TP\n78\n"), "{page}");
            assert_eq!(page.contains(".SH FILES"), name == "tenure-vault");
        }
        assert!(!dir.path().join("tenure-vault-man.8").exists(), "it is no command for people");
    }
}
