//! Names and numbers that identify things, one type per kind, parsed once at the border.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Why a text is not an id of some kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a {kind}: {rule}")]
pub struct IdError {
    /// What it should have been.
    pub kind: &'static str,
    /// The text that was given, at most 100 characters of it.
    pub text: String,
    /// The rule that it breaks, in words.
    pub rule: &'static str,
}

/// Defines a name type: a non-empty ASCII text of at most `$max` bytes of which `$ok` accepts the whole.
#[macro_export]
macro_rules! name_type {
    ($(#[$doc:meta])* $name:ident, $kind:literal, $max:literal, $rule:literal, $ok:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(String);

        impl $name {
            /// Parses a text of this kind.
            ///
            /// # Errors
            /// `IdError` that names the rule when the text is not of this kind.
            pub fn new(text: impl Into<String>) -> Result<Self, $crate::ids::IdError> {
                let text = text.into();
                let ok: fn(&str) -> bool = $ok;
                if text.is_empty() || text.len() > $max || !ok(&text) {
                    let text = $crate::text::shortened(text, 100);
                    return Err($crate::ids::IdError { kind: $kind, text, rule: $rule });
                }
                Ok(Self(text))
            }

            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl ::std::fmt::Display for $name {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                f.write_str(&self.0)
            }
        }
        impl ::std::fmt::Debug for $name {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                ::std::fmt::Debug::fmt(&self.0, f)
            }
        }
        impl ::std::str::FromStr for $name {
            type Err = $crate::ids::IdError;
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Self::new(text)
            }
        }
        impl ::serde::Serialize for $name {
            fn serialize<S: ::serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }
        impl<'de> ::serde::Deserialize<'de> for $name {
            fn deserialize<D: ::serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = <String as ::serde::Deserialize>::deserialize(deserializer)?;
                Self::new(text).map_err(::serde::de::Error::custom)
            }
        }
    };
}

/// Defines a name type of the commonest form: an RFC 1123 label.
#[macro_export]
macro_rules! label_type {
    ($(#[$doc:meta])* $name:ident, $kind:literal) => {
        $crate::name_type! {
            $(#[$doc])*
            $name, $kind, 63, "lower-case letters, digits and inner hyphens, at most 63", $crate::ids::is_label
        }
    };
}

/// Lower-case letters, digits and inner hyphens: an RFC 1123 label.
pub fn is_label(text: &str) -> bool {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    text.bytes().all(inner) && !text.starts_with('-') && !text.ends_with('-')
}

label_type! {
    /// A host's name, chosen once in the policy and never reused. Not the kernel's hostname, which is only a fact.
    HostName, "host name"
}
label_type! {
    /// One organisation: one policy set and one controller.
    FleetName, "fleet name"
}
label_type! {
    /// A party whose data the fleet holds under contract.
    TenantId, "tenant name"
}
label_type! {
    /// A person (or a machine key's name) in the policy.
    PersonName, "person name"
}
name_type! {
    /// The name of an area of the loop (`firewall`, `ssh_access`, …). `trust` knows no more of it.
    AreaName, "area name", 32, "lower-case letters and underscores", |t| t.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')
}

name_type! {
    /// What an event record is about (`start`, `policy_refused`, …).
    EventName, "event name", 32, "lower-case letters and underscores", |t| t.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')
}
name_type! {
    /// Which code judged: the program's name and version as text (`tenure 0.1.0`).
    JudgeVersion, "judge version", 64, "printable ASCII, at most 64", |t| t.bytes().all(|b| (0x20..0x7f).contains(&b))
}
name_type! {
    /// Why a verdict is what it is, in a few fixed words; never a name, an address or other data of a person.
    ReasonTag, "reason", 64, "lower-case letters, digits, spaces, hyphens and underscores",
    |t| t.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b' ' | b'-' | b'_'))
}
label_type! {
    /// The name of a signing key, given when it is made (`marit`, `jeroen-token`).
    KeyName, "key name"
}

label_type! {
    /// A vault of the policy.
    VaultName, "vault name"
}
name_type! {
    /// One run of a backup, restore or drill; never used twice on a host.
    RunId, "run", 100, "lower-case letters, digits and inner hyphens, at most 100", is_label
}

macro_rules! number_type {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
        impl FromStr for $name {
            type Err = std::num::ParseIntError;
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                text.parse().map(Self)
            }
        }
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                self.0.serialize(serializer)
            }
        }
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                <$inner>::deserialize(deserializer).map(Self)
            }
        }
    };
}

number_type! {
    /// The number of a policy set; only rises.
    PolicyVersion(u64)
}
number_type! {
    /// The number of a root; rises by exactly one.
    RootVersion(u64)
}
number_type! {
    /// Place in a host's record chain, from 1, without gaps inside an epoch.
    Seq(u64)
}
number_type! {
    /// Which chain of a host this is: a restored machine is re-admitted and starts the next.
    Epoch(u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_quotes_no_book() {
        let error = HostName::new("A\u{1b}".repeat(100_000)).unwrap_err().to_string();
        assert!(error.len() < 1000 && crate::neutral(&error) == error, "{error}");
    }

    #[test]
    fn a_host_name_is_a_label() {
        for good in ["web1", "a", "db-2"] {
            assert!(HostName::new(good).is_ok(), "{good}");
        }
        for bad in ["", "Web1", "-a", "a-", "a.b", "a/../b", "a\u{202e}", &"a".repeat(64)] {
            assert!(HostName::new(bad).is_err(), "{bad}");
        }
    }
}
