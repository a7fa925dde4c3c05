//! What profiles and host say together: lists add up, a scalar is said once (rule 4).

use tenure_trust::HostName;

use crate::fault::{Fault, FaultCode, Faults, Spanned};
use crate::names::ProfileName;
use crate::written::{Access, Backup, Firewall, Host, Modes, Patch, Written};

/// One of the sources of a host's policy: its profiles in order, then the host.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Source<'w> {
    /// The profile's or host's name.
    pub(crate) name: &'w str,
    /// Is it the host itself?
    pub(crate) is_host: bool,
    pub(crate) mode: Option<&'w Spanned<Modes>>,
    pub(crate) firewall: Option<&'w Spanned<Firewall>>,
    pub(crate) access: Option<&'w Spanned<Access>>,
    pub(crate) patch: Option<&'w Spanned<Patch>>,
    pub(crate) backup: Option<&'w Spanned<Backup>>,
}

impl<'w> Source<'w> {
    /// A profile as a source.
    pub(crate) fn profile(name: &'w ProfileName, profile: &'w Spanned<crate::written::Profile>) -> Self {
        Self {
            name: name.as_str(),
            is_host: false,
            mode: profile.mode.as_ref(),
            firewall: profile.firewall.as_ref(),
            access: profile.access.as_ref(),
            patch: profile.patch.as_ref(),
            backup: profile.backup.as_ref(),
        }
    }

    /// A host as a source.
    pub(crate) fn host(name: &'w HostName, host: &'w Spanned<Host>) -> Self {
        Self {
            name: name.as_str(),
            is_host: true,
            mode: host.mode.as_ref(),
            firewall: host.firewall.as_ref(),
            access: host.access.as_ref(),
            patch: host.patch.as_ref(),
            backup: host.backup.as_ref(),
        }
    }

    /// In words: `profile web`, `host web1`.
    pub(crate) fn say(&self) -> String {
        format!("{} {}", if self.is_host { "host" } else { "profile" }, self.name)
    }
}

/// Where the policy of a host comes from, in order.
pub(crate) fn sources<'w>(
    written: &'w Written,
    name: &'w HostName,
    host: &'w Spanned<Host>,
) -> Vec<Source<'w>> {
    let profiles = host.profiles.iter().filter_map(|p| written.profiles.get_key_value(&p.value));
    let mut sources: Vec<Source<'w>> =
        profiles.map(|(name, profile)| Source::profile(name, profile)).collect();
    sources.push(Source::host(name, host));
    sources
}

/// A scalar as it holds on a host.
#[derive(Debug, Clone)]
pub(crate) struct Said<'w, T> {
    /// The value and its place.
    pub(crate) value: &'w Spanned<T>,
    /// Who says it, and what it overrides.
    pub(crate) reason: String,
}

/// The value of a scalar over the sources; two different values are a fault with both places unless the host says its
/// own with `because`.
pub(crate) fn scalar<'w, T: PartialEq>(
    key: &str,
    sources: &[Source<'w>],
    because: Option<&str>,
    get: impl Fn(&Source<'w>) -> Option<&'w Spanned<T>>,
    say: impl Fn(&T) -> String,
    faults: &mut Faults,
) -> Option<Said<'w, T>> {
    let mut first: Option<(&Source<'w>, &'w Spanned<T>)> = None;
    let mut conflict: Option<&'w Spanned<T>> = None;
    for source in sources {
        let Some(value) = get(source) else { continue };
        match first {
            None => first = Some((source, value)),
            Some((_, earlier)) if earlier.value == value.value => {}
            Some((before, earlier)) if source.is_host => {
                let Some(because) = because else {
                    let what = format!(
                        "{key} is {} here and {} in {} at {}",
                        say(&value.value),
                        say(&earlier.value),
                        before.say(),
                        earlier.at
                    );
                    let hint = "a host overrides only with a reason: add because: to the host, or drop one of the values";
                    faults.push(Fault::new(&value.at, FaultCode::Rule, what).hint(hint));
                    return None;
                };
                let reason = format!(
                    "{}, overriding {} of {} at {}, because: {because}",
                    source.say(),
                    say(&earlier.value),
                    before.say(),
                    earlier.at
                );
                return Some(Said { value, reason });
            }
            Some(_) => conflict = conflict.or(Some(value)),
        }
    }
    let (source, value) = first?;
    if let Some(other) = conflict {
        let what = format!("{key} is {} here and {} at {}", say(&other.value), say(&value.value), value.at);
        let hint = "a value is said once: drop one of the two, or let the host say its own with because:";
        faults.push(Fault::new(&other.at, FaultCode::Rule, what).hint(hint));
        return None;
    }
    Some(Said { value, reason: source.say() })
}
