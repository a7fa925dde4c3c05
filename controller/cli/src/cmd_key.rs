//! `tenure key create NAME` and `tenure key list`: an operator's own keys.

use std::path::PathBuf;

use tenure_trust::KeyName;

use crate::failure::Failure;
use crate::output::{Exit, Output};
use crate::passphrase::Source;
use crate::{files, keyfile};

/// Arguments of `key`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Make a key: NAME.key, encrypted with a passphrase, and NAME.pub
    Create {
        /// Whose key it is
        name: KeyName,
        /// Directory for the two files
        #[arg(long, default_value = ".")]
        dir: PathBuf,
        #[command(flatten)]
        passphrase: Source,
    },
    /// List the keys of a directory
    List {
        /// The directory
        #[arg(long, default_value = ".")]
        dir: PathBuf,
    },
}

/// Makes or lists keys.
pub(crate) fn run(args: &Args, out: &mut Output) -> Result<Exit, Failure> {
    match &args.verb {
        Verb::Create { name, dir, passphrase } => {
            files::make_dir(dir)?;
            let made = keyfile::create(dir, name, passphrase)?;
            out.value(&serde_json::json!({
                "name": made.public.name, "id": made.public.key.id(), "public": made.public,
                "secret_file": made.secret, "public_file": made.public_file,
            }));
            out.line(format_args!("key     {}", made.public.key.id().short()));
            out.line(format_args!("secret  {}   encrypted; keep it to yourself", made.secret.display()));
            out.line(format_args!(
                "public  {}   give it to whoever makes the root",
                made.public_file.display()
            ));
        }
        Verb::List { dir } => {
            let found = keyfile::list(dir)?;
            let values: Vec<_> = found
                .iter()
                .map(|(named, secret)| {
                    serde_json::json!({ "name": named.name, "id": named.key.id(), "public": named, "secret_here": secret })
                })
                .collect();
            out.value(&values);
            for (named, secret) in &found {
                let secret = if *secret { "secret here" } else { "public only" };
                out.line(format_args!("{}  {:<16} {secret}", named.key.id().short(), named.name.as_str()));
            }
            if found.is_empty() {
                out.line(format_args!("no keys in {}", dir.display()));
            }
        }
    }
    Ok(Exit::Clean)
}
