//! Who: people, machine keys, and the machines with a part of their own (controller, confirmer, vaults).

use jiff::civil::Date;
use tenure_trust::{HostName, PersonName};

use crate::calendar::Period;
use crate::fault::Spanned;
use crate::names::NetworkName;
use crate::scalars::{AbsolutePath, Port, Size, Text};
use crate::shape::{NonEmpty, section};

section! {
    /// A person with keys.
    Person = "a person" {
        /// Public keys as OpenSSH writes them, without options.
        keys / "keys": NonEmpty<Spanned<Text>>,
        /// From which networks they may log in.
        from / "from": NonEmpty<Spanned<NetworkName>>,
        /// The last day of every login of theirs.
        until / "until": Spanned<Date>,
    }
}

section! {
    /// A key that no person holds: an owner, an end, one command.
    MachineKey = "a machine key" {
        /// Public keys as OpenSSH writes them, without options.
        keys / "keys": NonEmpty<Spanned<Text>>,
        /// From which networks it may log in.
        from / "from": NonEmpty<Spanned<NetworkName>>,
        /// The last day of every login of it.
        until / "until": Spanned<Date>,
        /// The person who answers for it.
        owner / "owner": Spanned<PersonName>,
        /// The one command it may run.
        command / "command": Spanned<Text>,
    }
}

section! {
    /// Where the controller listens for machines; the opening to it is derived.
    Controller = "the controller" {
        /// The host it runs on.
        host / "host": Spanned<HostName>,
        /// The TCP port of its machines' listener.
        port / "port": Spanned<Port>,
        /// Where it stands.
        site / "site": Option<Spanned<Text>>,
    }
}

section! {
    /// The way in that the guard proves open before any change.
    Management = "the management path" {
        /// People or groups whose way in must survive.
        who / "who": NonEmpty<Spanned<PersonName>>,
        /// How a trial is confirmed.
        confirm / "confirm": Spanned<Confirm>,
    }
}

section! {
    /// How a trial is confirmed.
    Confirm = "the confirmation" {
        /// `person` (by hand), or hosts that connect anew.
        by / "by": NonEmpty<Spanned<NetworkName>>,
        /// After this the kernel falls back by itself.
        within / "within": Spanned<Period>,
    }
}

section! {
    /// Who can open backups when a host is dead.
    Recovery = "recovery" {
        /// age recipients, at least two, in two places.
        recipients / "recipients": NonEmpty<Spanned<Text>>,
    }
}

section! {
    /// A place where backups go.
    Vault = "a vault" {
        /// The host it runs on.
        host / "host": Spanned<HostName>,
        /// Its TCP port.
        port / "port": Spanned<Port>,
        /// The directory that holds the series.
        store / "store": Spanned<AbsolutePath>,
        /// Stays free on its file system whatever comes.
        keep_free / "keep_free": Spanned<Size>,
        /// For each owner.
        quota / "quota": Spanned<Size>,
    }
}
