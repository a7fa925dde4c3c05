//! passwd(5) and shadow(5) as far as logging in goes. No password field is ever kept.

use std::collections::BTreeSet;

/// One account of passwd(5).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// Name, as it stands there.
    pub name: String,
    /// User id.
    pub uid: u32,
    /// Home directory, as it stands there.
    pub home: String,
    /// Shell; empty means /bin/sh.
    pub shell: String,
}

impl Account {
    /// Can a session start as this account?
    pub fn has_login_shell(&self) -> bool {
        let program = self.shell.rsplit('/').next().unwrap_or_default();
        !matches!(program, "nologin" | "false" | "true" | "sync" | "halt" | "shutdown")
    }
}

/// Accounts of a passwd(5) file. Lines that are none (NIS marks, broken ones) are left out, of two equal names the first counts.
pub fn passwd(bytes: &[u8]) -> Vec<Account> {
    let mut seen = BTreeSet::new();
    let mut accounts = Vec::new();
    for line in String::from_utf8_lossy(bytes).lines() {
        let fields: Vec<&str> = line.split(':').collect();
        let [name, _, uid, _, _, home, shell] = fields[..] else { continue };
        let Ok(uid) = uid.parse() else { continue };
        if !name.is_empty() && seen.insert(name.to_owned()) {
            accounts.push(Account { name: name.into(), uid, home: home.into(), shell: shell.into() });
        }
    }
    accounts
}

/// The names whose shadow(5) entry has a password that somebody could type, an empty one included.
pub fn with_password(shadow: &[u8]) -> BTreeSet<String> {
    let text = String::from_utf8_lossy(shadow);
    let entries = text.lines().filter_map(|line| {
        let mut fields = line.split(':');
        Some((fields.next()?, fields.next()?))
    });
    let usable = entries.filter(|(name, field)| !name.is_empty() && !field.starts_with(['!', '*', 'x']));
    usable.map(|(name, _)| name.to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn broken_lines_are_no_accounts() {
        let text = b"root:x:0:0:root:/root:/bin/bash\n+::::::\nshort:x:1\nbad:x:abc:1::/:/bin/sh\nroot:x:0:0::/evil:/bin/sh\nd:x:1:1::/:/usr/sbin/nologin\n\xff:x:7:7::/h:\n";
        let found = passwd(text);
        let names: Vec<_> = found.iter().map(|a| a.name.as_str()).collect();
        assert_eq!(names, ["root", "d", "\u{fffd}"]);
        assert_eq!(found[0].home, "/root");
        let shells: Vec<_> = found.iter().map(Account::has_login_shell).collect();
        assert_eq!(shells, [true, false, true]);
    }

    #[test]
    fn locked_accounts_have_no_password() {
        let shadow = b"root:*:1::::::\na:!:1\nb:!$y$x:1\nc:$y$j9T$x:1\nd::1\n:x\njunk";
        assert_eq!(with_password(shadow).into_iter().collect::<Vec<_>>(), ["c", "d"]);
    }
}
