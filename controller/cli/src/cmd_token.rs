//! `tenure token create`: a one-time invitation for a machine. `tenure token list` shows which there are.

use std::path::PathBuf;

use hyper::Method;
use serde_json::Value;
use tenure_trust::enrol::Invitation;
use tenure_trust::{HostName, MachineRole, neutral};

use crate::cmd_admit::Role;
use crate::failure::Failure;
use crate::files;
use crate::output::{Exit, Output};
use crate::remote::Remote;

/// Arguments of `token`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Make a one-time invitation that a machine enrols with
    Create {
        /// The machine's name in the policy
        name: HostName,
        /// What it enrols as
        #[arg(long, value_enum, default_value_t = Role::Host)]
        role: Role,
        /// Minutes for which it holds
        #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=1440))]
        minutes: u32,
        /// File to write; whoever reads it can enrol as this machine
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
        #[command(flatten)]
        remote: Remote,
    },
    /// List the invitations that were made, without their secrets
    List {
        #[command(flatten)]
        remote: Remote,
    },
}

/// Makes or lists.
pub(crate) fn run(args: &Args, out: &mut Output) -> Result<Exit, Failure> {
    match &args.verb {
        Verb::Create { name, role, minutes, out: file, remote } => {
            let role = MachineRole::from(*role);
            if role == MachineRole::Recovery {
                let doing = format!("invite {name} as {role}");
                let hint = "`tenure admit NAME --role recovery --ssh-key FILE` admits it without one";
                let why = "a recovery key does not enrol";
                return Err(Failure::because(doing, why).hint(hint).exit(Exit::Usage));
            }
            let doing = format!("make an invitation for {name}");
            let body = serde_json::json!({ "name": name, "role": role, "minutes": minutes });
            let answer: Value =
                remote.send(&doing, Method::POST, "/api/v1/tokens", body.to_string().into_bytes())?;
            let text = answer.to_string();
            let invitation =
                Invitation::parse(text.as_bytes()).map_err(|refused| Failure::refused(&doing, &refused))?;
            files::write_new(file, format!("{text}\n").as_bytes(), 0o600)?;
            out.value(&serde_json::json!({
                "name": invitation.name, "role": invitation.role, "until": invitation.until, "file": file,
            }));
            out.line(format_args!(
                "invited {} as {} until {}",
                invitation.name, invitation.role, invitation.until
            ));
            let path = neutral(&file.display().to_string());
            out.line(format_args!("written {path}; bring it to the machine and run `enrol` there"));
            Ok(Exit::Clean)
        }
        Verb::List { remote } => {
            let tokens: Vec<Value> = remote.get("list the invitations", "/api/v1/tokens")?;
            let text = |token: &Value, key: &str| match &token[key] {
                Value::String(text) => neutral(text),
                Value::Null => "–".to_owned(),
                other => neutral(&other.to_string()),
            };
            out.value(&tokens);
            let mut table = crate::table::Table::new(&["NAME", "ROLE", "UNTIL", "REDEEMED"]);
            for token in &tokens {
                table.row(["name", "role", "until", "redeemed_at"].map(|key| text(token, key)));
            }
            table.print(out);
            Ok(Exit::Clean)
        }
    }
}
