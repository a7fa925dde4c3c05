//! `tenure login`: begins a session with the controller. The controller is known by its CA and nothing else.

use std::path::PathBuf;

use hyper::Method;
use jiff::Timestamp;
use serde::Deserialize;
use tenure_trust::neutral;
use zeroize::Zeroizing;

use crate::failure::Failure;
use crate::output::{Exit, Output};
use crate::remote::http::Place;
use crate::remote::{Remote, Session, ask};
use crate::{files, passphrase};

/// A CA's certificate is a few hundred bytes.
const LIMIT: u64 = 64 << 10;

/// Arguments of `login`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The controller's people's listener
    #[arg(long, value_name = "HOST:PORT")]
    server: String,
    /// The certificate of the controller's CA (ca.crt in its state directory), brought on a way of its own
    #[arg(long, value_name = "FILE")]
    ca: PathBuf,
    /// The name in the controller's certificate; without it the host of --server
    #[arg(long)]
    name: Option<String>,
    /// The account
    #[arg(long)]
    user: String,
    /// Read the password from this file (mode 0600)
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
    #[command(flatten)]
    remote: Remote,
}

#[derive(Deserialize)]
struct Token {
    token: String,
    until: Timestamp,
}

/// Logs in and keeps the session.
pub(crate) fn run(args: &Args, out: &mut Output) -> Result<Exit, Failure> {
    let ca = String::from_utf8_lossy(&files::read(&args.ca, LIMIT)?).into_owned();
    let host = args.server.rsplit_once(':').map(|(host, _)| host.trim_matches(['[', ']']).to_owned());
    let Some(name) = args.name.clone().or(host) else {
        let failure = Failure::because("log in", format!("{:?} has no port", args.server));
        return Err(failure.hint("write --server HOST:PORT").exit(Exit::Usage));
    };
    let place = Place { server: args.server.clone(), name, ca };
    let prompt = format!("Password of {} at {}: ", neutral(&args.user), neutral(&args.server));
    let password = passphrase::password(args.password_file.as_deref(), &prompt)?;
    let body = serde_json::json!({ "user": args.user, "password": *password, "label": "tenure" });
    let body = Zeroizing::new(body.to_string());
    let answer = ask("log in", &place, Method::POST, "/api/v1/login", None, body.as_bytes().to_vec())?;
    let Token { token, until } =
        serde_json::from_slice(&answer).map_err(|error| Failure::new("log in", &error))?;
    let path = args.remote.path()?;
    let session = Session::new(place, args.user.clone(), token, until);
    session.write(&path)?;
    out.value(&serde_json::json!({ "user": session.user, "until": session.until, "session": path }));
    out.line(format_args!("logged in as {} until {}", neutral(&session.user), session.until));
    Ok(Exit::Clean)
}
