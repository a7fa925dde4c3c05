//! What hosts have in common: modes, firewall, access, patches, backups.

use jiff::civil::Time;
use tenure_trust::PersonName;

use crate::calendar::Period;
use crate::fault::{Faults, Spanned};
use crate::names::{NetworkName, UnixUser};
use crate::scalars::{
    AbsolutePath, AtLeastRows, Every, InterfaceName, Service, SqlName, TableName, Text, Throughput, VaultName,
};
use crate::shape::{FromNode, Map, NonEmpty, Shape, section, words};
use crate::tree::{Kind, Node};
use crate::written::networks::Peers;

section! {
    /// What every host with this profile keeps to.
    Profile = "a profile" {
        /// What each area may do; an area left out observes.
        mode / "mode": Option<Spanned<Modes>>,
        /// Default drop both ways, and what is let through.
        firewall / "firewall": Option<Spanned<Firewall>>,
        /// Who logs in; opens port 22 itself.
        access / "access": Option<Spanned<Access>>,
        /// How current the software is kept.
        patch / "patch": Option<Spanned<Patch>>,
        /// What is backed up, when and whereto.
        backup / "backup": Option<Spanned<Backup>>,
    }
}

section! {
    /// One mode for each area.
    Modes = "the modes" {
        /// Area `firewall`.
        firewall / "firewall": Option<Spanned<ModeWord>>,
        /// Areas of `access`.
        access / "access": Option<Spanned<ModeWord>>,
        /// Area `backup`.
        backup / "backup": Option<Spanned<ModeWord>>,
        /// Area `patch`.
        patch / "patch": Option<Spanned<ModeWord>>,
    }
}

words! {
    /// What an area may do.
    ModeWord = "a mode" {
        /// Touches nothing.
        Observe / "observe",
        /// Loads everything and drops nothing.
        Permissive / "permissive",
        /// Keeps the host as the policy says.
        Enforce / "enforce",
    }
}

section! {
    /// What is let through, both ways; rules only allow, and add up.
    Firewall = "the firewall" {
        /// What may be reached on the host; the port is the one the client used.
        inbound / "inbound": Vec<Spanned<Inbound>>,
        /// What the host may reach.
        outbound / "outbound": Vec<Spanned<Outbound>>,
        /// Networks that are never let in or reached; wins over every rule.
        block / "block": Option<NonEmpty<Spanned<NetworkName>>>,
        /// The forward hook: containers' bridges.
        containers / "containers": Option<Spanned<Containers>>,
        /// nftables tables of other programs that may exist.
        neighbours / "neighbours": Vec<Spanned<TableName>>,
    }
}

section! {
    /// Lets something in.
    Inbound = "an inbound rule" {
        /// Services.
        allow / "allow": NonEmpty<Spanned<Service>>,
        /// From where.
        from / "from": Spanned<Peers>,
    }
}

section! {
    /// Lets something out.
    Outbound = "an outbound rule" {
        /// Services.
        allow / "allow": NonEmpty<Spanned<Service>>,
        /// To where.
        to / "to": Spanned<Peers>,
        /// For which local users; left out: for every one.
        users / "users": Option<NonEmpty<Spanned<UnixUser>>>,
    }
}

section! {
    /// The forward hook: default drop between bridges and out.
    Containers = "containers" {
        /// Names → bridges of the kernel.
        bridges / "bridges": Map<NetworkName, InterfaceName>,
        /// What containers may reach.
        outbound / "outbound": Vec<Spanned<ContainerRule>>,
    }
}

section! {
    /// Lets something out of a bridge.
    ContainerRule = "a rule of containers" {
        /// Services.
        allow / "allow": NonEmpty<Spanned<Service>>,
        /// From which bridges.
        from / "from": Spanned<Peers>,
        /// To where.
        to / "to": Spanned<Peers>,
    }
}

section! {
    /// Who logs in.
    Access = "access" {
        /// Local accounts that must exist.
        accounts / "accounts": Map<UnixUser, Account>,
        /// Who logs in as whom.
        logins / "logins": Vec<Spanned<LoginRule>>,
        /// What to do about keys in homes.
        unmanaged_keys / "unmanaged_keys": Option<Spanned<UnmanagedKeys>>,
    }
}

section! {
    /// A local account.
    Account = "an account" {
        /// Its supplementary groups.
        groups / "groups": Vec<Spanned<UnixUser>>,
        /// Its shell.
        shell / "shell": Option<Spanned<AbsolutePath>>,
    }
}

section! {
    /// Lets people or machine keys log in as an account.
    LoginRule = "a login" {
        /// People, groups or machine keys.
        who / "who": NonEmpty<Spanned<PersonName>>,
        /// The account.
        account / "as": Spanned<UnixUser>,
        /// What they may do as root; left out: nothing.
        sudo / "sudo": Option<Spanned<Sudo>>,
    }
}

/// What a login may do as root (rule 17).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sudo {
    /// Nothing.
    Nothing,
    /// Everything.
    All,
    /// Absolute commands.
    Commands(NonEmpty<Spanned<Text>>),
}

words! {
    /// The words of `sudo`.
    SudoWord = "none, all or a list of commands" {
        /// Nothing.
        Nothing / "none",
        /// Everything.
        All / "all",
    }
}

impl FromNode for Sudo {
    fn from_node(node: &Node, faults: &mut Faults) -> Option<Self> {
        if let Kind::List(_) = node.kind {
            return NonEmpty::from_node(node, faults).map(Self::Commands);
        }
        SudoWord::from_node(node, faults).map(|word| match word {
            SudoWord::Nothing => Self::Nothing,
            SudoWord::All => Self::All,
        })
    }

    fn shape() -> Shape {
        Shape::OneOf(&[SudoWord::shape, NonEmpty::<Text>::shape])
    }
}

words! {
    /// What to do about keys in homes that the policy does not name.
    UnmanagedKeys = "report or quarantine" {
        /// Report them.
        Report / "report",
        /// Move them away.
        Quarantine / "quarantine",
    }
}

section! {
    /// How current the software is kept.
    Patch = "patch" {
        /// A security update is installed within this.
        security_within / "security_within": Option<Spanned<Period>>,
        /// A needed reboot has happened within this.
        reboot_within / "reboot_within": Option<Spanned<Period>>,
        /// The package lists are refreshed within this.
        lists_within / "lists_within": Option<Spanned<Period>>,
    }
}

section! {
    /// What is backed up, when and whereto.
    Backup = "backup" {
        /// The whole server.
        server / "server": Option<Spanned<BackupSet>>,
        /// Databases and uploads, once a night.
        nightly / "nightly": Option<Spanned<BackupSet>>,
        /// A missed run is caught up within this.
        catch_up / "catch_up": Option<Spanned<Period>>,
        /// To which vaults.
        to / "to": Option<NonEmpty<Spanned<VaultName>>>,
        /// How copies are kept.
        ring / "ring": Option<Spanned<Ring>>,
        /// A superseded copy is erased after this.
        erase_after / "erase_after": Option<Spanned<Period>>,
        /// How long the host keeps the key of a copy.
        keys / "keys": Option<Spanned<BackupKeys>>,
        /// How much of the machine it may use.
        limits / "limits": Option<Spanned<Limits>>,
        /// How restoring is proved.
        drill / "drill": Option<Spanned<Drill>>,
    }
}

section! {
    /// One set of a backup.
    BackupSet = "a backup set" {
        /// At which times.
        at / "at": NonEmpty<Spanned<Time>>,
        /// Which paths.
        paths / "paths": Vec<Spanned<AbsolutePath>>,
        /// Which paths inside those are left out.
        exclude / "exclude": Vec<Spanned<AbsolutePath>>,
        /// Which databases of the host.
        databases / "databases": Vec<Spanned<SqlName>>,
    }
}

words! {
    /// How copies are kept.
    Ring = "weekday or weekly" {
        /// A full copy for each day of the week.
        Weekday / "weekday",
        /// Two copies, incremental inside the week.
        Weekly / "weekly",
    }
}

words! {
    /// How long the host keeps the key of a copy.
    BackupKeys = "how long keys are kept" {
        /// Until the copy leaves its place in the ring.
        KeepWithCopy / "keep-with-copy",
        /// Until the copy was drilled.
        ForgetAfterDrill / "forget-after-drill",
    }
}

section! {
    /// How much of the machine a backup may use.
    Limits = "limits" {
        /// Of the network.
        upload / "upload": Option<Spanned<Throughput>>,
    }
}

section! {
    /// How restoring is proved.
    Drill = "a drill" {
        /// How often.
        every / "every": Spanned<Every>,
        /// What the restored data must show.
        expect / "expect": Vec<Spanned<Expectation>>,
    }
}

section! {
    /// What a restored table must show.
    Expectation = "an expectation" {
        /// The database.
        database / "database": Spanned<SqlName>,
        /// The table.
        table / "table": Spanned<SqlName>,
        /// How many rows at least.
        rows / "rows": Option<Spanned<AtLeastRows>>,
        /// How fresh its newest row is.
        newest / "newest": Option<Spanned<Newest>>,
    }
}

section! {
    /// How fresh the newest row of a table is.
    Newest = "the newest row" {
        /// By this column.
        column / "column": Spanned<SqlName>,
        /// At most this old.
        within / "within": Spanned<Period>,
    }
}
