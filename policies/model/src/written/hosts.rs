//! The machines.

use std::net::IpAddr;

use crate::fault::Spanned;
use crate::names::ProfileName;
use crate::scalars::{AbsolutePath, EnvironmentName, SqlName, Text};
use crate::shape::{Map, NonEmpty, section};
use crate::written::profiles::{Access, Backup, Firewall, Modes, Patch};

section! {
    /// A machine. Its own sections add to its profiles; overriding one of their values needs `because`.
    Host = "a host" {
        /// Its profiles; their sections add up.
        profiles / "profiles": NonEmpty<Spanned<ProfileName>>,
        /// Its addresses.
        addresses / "addresses": NonEmpty<Spanned<IpAddr>>,
        /// Production, development and so on: kept apart.
        environment / "environment": Option<Spanned<EnvironmentName>>,
        /// Where it stands.
        site / "site": Option<Spanned<Text>>,
        /// Its databases by name.
        databases / "databases": Map<SqlName, Database>,
        /// Its own modes.
        mode / "mode": Option<Spanned<Modes>>,
        /// Its own rules, in addition.
        firewall / "firewall": Option<Spanned<Firewall>>,
        /// Its own logins, in addition.
        access / "access": Option<Spanned<Access>>,
        /// Its own deadlines.
        patch / "patch": Option<Spanned<Patch>>,
        /// Its own backups.
        backup / "backup": Option<Spanned<Backup>>,
        /// Why it overrides a profile's value.
        because / "because": Option<Spanned<Text>>,
    }
}

section! {
    /// A database of a host.
    Database = "a database" {
        /// The PostgreSQL database's name on the server.
        postgresql / "postgresql": Spanned<SqlName>,
        /// The directory of the server's socket.
        socket / "socket": Spanned<AbsolutePath>,
    }
}
