//! Faults of meaning in the sections of profiles and hosts, each looked at once however many hosts use it.

use std::collections::{BTreeMap, BTreeSet};

use crate::fault::{Fault, FaultCode, Faults, Place, Spanned};
use crate::resolve::book::{Book, Who};
use crate::resolve::merge::Source;
use crate::scalars::Service;
use crate::services;
use crate::written::{Access, Firewall, ModeWord, Sudo, UnmanagedKeys, Written};

/// Checks every profile and every host's own sections.
pub(crate) fn check(written: &Written, book: &Book, faults: &mut Faults) {
    let profiles = written.profiles.iter().map(|(name, profile)| Source::profile(name, profile));
    let hosts = written.hosts.iter().map(|(name, host)| Source::host(name, host));
    for source in profiles.chain(hosts) {
        check_modes(&source, faults);
        if let Some(firewall) = source.firewall {
            check_firewall(firewall, book, faults);
        }
        if let Some(access) = source.access {
            check_access(access, book, faults);
        }
    }
    for (name, host) in &written.hosts {
        let mut seen: BTreeMap<&str, &Place> = BTreeMap::new();
        for profile in &host.profiles {
            if !written.profiles.contains_key(&profile.value) && !faults.is_full() {
                let known = written.profiles.keys().map(|p| p.as_str());
                let fault = Fault::unknown(&profile.at, "profile", profile.as_str(), known);
                book.unknown(&["profiles"], profile.as_str(), fault, faults);
            }
            if seen.insert(profile.as_str(), &profile.at).is_some() {
                let what = format!("host {name} has the profile {:?} twice", profile.as_str());
                faults.push(
                    Fault::new(&profile.at, FaultCode::DefinedTwice, what).hint("leave one of them out"),
                );
            }
        }
    }
}

fn check_modes(source: &Source<'_>, faults: &mut Faults) {
    let Some(modes) = source.mode else { return };
    let areas = [
        ("firewall", &modes.firewall),
        ("access", &modes.access),
        ("backup", &modes.backup),
        ("patch", &modes.patch),
    ];
    for (area, mode) in areas {
        let Some(mode) = mode else { continue };
        match mode.value {
            ModeWord::Permissive => {
                let what = format!("mode permissive for {area} cannot be enforced yet");
                let hint = "write observe to look without touching, or enforce";
                faults.push(Fault::new(&mode.at, FaultCode::NotYet, what).hint(hint));
            }
            ModeWord::Enforce if area == "patch" => {
                let what = "mode enforce for patch cannot be enforced yet";
                let hint = "write observe: ages and deadlines are judged, nothing is installed";
                faults.push(Fault::new(&mode.at, FaultCode::NotYet, what).hint(hint));
            }
            _ => {}
        }
    }
}

fn check_firewall(firewall: &Spanned<Firewall>, book: &Book, faults: &mut Faults) {
    for rule in &firewall.inbound {
        book.must_be_peers(&rule.from, faults);
        check_services(&rule.allow, book, faults);
        for service in &rule.allow {
            refuse_ssh(service, book, faults);
        }
    }
    for rule in &firewall.outbound {
        book.must_be_peers(&rule.to, faults);
        check_services(&rule.allow, book, faults);
        if let Some(users) = &rule.users {
            refuse_twice(users, "user", faults);
        }
    }
    for network in firewall.block.iter().flatten() {
        book.must_have_addresses(network, faults);
    }
    if let Some(containers) = &firewall.containers {
        let what = "rules for containers cannot be enforced yet";
        let hint =
            "leave containers out: the forward hook is then not touched where a container engine is found";
        faults.push(Fault::new(&containers.at, FaultCode::NotYet, what).hint(hint));
    }
    for table in &firewall.neighbours {
        if table.as_str() == "tenure" {
            let what = "the table tenure is our own and no neighbour";
            faults.push(Fault::new(&table.at, FaultCode::Rule, what).hint("leave it out"));
        }
    }
}

fn check_services(services: &[Spanned<Service>], book: &Book, faults: &mut Faults) {
    for service in services {
        book.ports(service, faults);
    }
    refuse_twice(services, "service", faults);
}

/// SSH is opened by logins and by nothing else (rule 6).
fn refuse_ssh(service: &Spanned<Service>, book: &Book, faults: &mut Faults) {
    let Ok(ports) = book.ports_of(service) else { return };
    let ssh = services::SSH;
    if ports.iter().any(|p| p.protocol == ssh.protocol && p.first <= ssh.first && ssh.last <= p.last) {
        let what = format!("{} opens SSH (tcp/22), which only logins do", service.value);
        let hint = "name who logs in under access.logins: port 22 is opened to where those people come from";
        faults.push(Fault::new(&service.at, FaultCode::Rule, what).hint(hint));
    }
}

fn refuse_twice<'a, T: Ord + std::fmt::Display + 'a>(
    list: impl IntoIterator<Item = &'a Spanned<T>>,
    kind: &str,
    faults: &mut Faults,
) {
    let mut seen: BTreeSet<&T> = BTreeSet::new();
    for item in list {
        if !seen.insert(&item.value) {
            let what = format!("the {kind} {} stands twice in one list", item.value);
            faults.push(Fault::new(&item.at, FaultCode::DefinedTwice, what).hint("leave one of them out"));
        }
    }
}

fn check_access(access: &Spanned<Access>, book: &Book, faults: &mut Faults) {
    if let Some((name, account)) = access.accounts.first_key_value() {
        let what = format!("accounts cannot be made yet (account {name})");
        let hint = "make the account on the host and leave accounts: out; logins need it to exist";
        faults.push(Fault::new(&account.at, FaultCode::NotYet, what).hint(hint));
    }
    for login in &access.logins {
        for who in &login.who {
            if let Some(Who::Group(members)) = book.who(who, faults)
                && members.is_empty()
                && book.is_whole()
            {
                let what = format!("the group {:?} has nobody in it", who.as_str());
                faults.push(Fault::new(&who.at, FaultCode::Rule, what).hint("see groups:"));
            }
        }
        refuse_twice(&login.who, "name", faults);
        if let Some(sudo) = &login.sudo {
            check_sudo(sudo, faults);
        }
    }
    if let Some(keys) = &access.unmanaged_keys
        && keys.value == UnmanagedKeys::Quarantine
    {
        let what = "unmanaged_keys: quarantine cannot be enforced yet";
        let hint =
            "write report: keys in homes are reported, and sshd does not read them while access enforces";
        faults.push(Fault::new(&keys.at, FaultCode::NotYet, what).hint(hint));
    }
}

/// Programs that let their user run anything (rule 17).
const ESCAPES: &[&str] = &[
    "awk", "bash", "busybox", "csh", "dash", "ed", "emacs", "env", "ex", "expect", "find", "fish", "gawk",
    "gdb", "ksh", "less", "lua", "man", "mawk", "more", "most", "nano", "node", "perl", "php", "pico",
    "python", "rlwrap", "rsh", "ruby", "rview", "rvim", "screen", "script", "sed", "sh", "ssh", "su", "sudo",
    "sudoedit", "tar", "tcsh", "tclsh", "tmux", "vi", "view", "vim", "vimdiff", "visudo", "watch", "xargs",
    "zsh",
];

fn check_sudo(sudo: &Spanned<Sudo>, faults: &mut Faults) {
    let commands = match &sudo.value {
        Sudo::Nothing => return,
        Sudo::All => None,
        Sudo::Commands(commands) => Some(commands),
    };
    for command in commands.into_iter().flatten() {
        if let Err((what, hint)) = sudo_command(command.as_str()) {
            faults.push(Fault::new(&command.at, FaultCode::Rule, what).hint(hint));
        }
    }
    let what = "sudo cannot be enforced yet";
    let hint = "leave sudo out, or write none; sudoers stays as it is on the host";
    faults.push(Fault::new(&sudo.at, FaultCode::NotYet, what).hint(hint));
}

/// Is this an absolute command that leads nowhere else?
fn sudo_command(text: &str) -> Result<(), (String, &'static str)> {
    let program = text.split_ascii_whitespace().next().unwrap_or_default();
    if !program.starts_with('/') || program.split('/').any(|part| part == "..") {
        return Err((format!("{text:?} is not an absolute command"), "write the program's whole path"));
    }
    if text.contains(['*', '?', '[', ']', '\\', '!', '\n']) {
        return Err((
            format!("{text:?} has a wildcard"),
            "write each command in full; a wildcard matches spaces too",
        ));
    }
    let name = program.rsplit('/').next().unwrap_or_default();
    let stem = name.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.');
    if ESCAPES.contains(&name) || ESCAPES.contains(&stem) {
        return Err((
            format!("{name} lets its user run anything"),
            "shells, editors, pagers and interpreters need sudo: all",
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sudo_commands_lead_nowhere_else() {
        for good in ["/usr/bin/systemctl reload app", "/usr/local/bin/deploy"] {
            assert_eq!(sudo_command(good), Ok(()), "{good}");
        }
        for bad in [
            "systemctl reload app",
            "/usr/bin/systemctl reload *",
            "/bin/sh",
            "/bin/bash -c x",
            "/usr/bin/python3.11 x",
            "/usr/bin/vim /etc/hosts",
            "/usr/bin/../bin/sh",
            "/usr/bin/less /var/log/syslog",
            "",
        ] {
            assert!(sudo_command(bad).is_err(), "{bad}");
        }
    }
}
