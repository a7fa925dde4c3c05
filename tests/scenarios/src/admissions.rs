//! Admissions as an operator signs them, for scenarios without a controller: the key that signs them is known to all.

use tenure_trust::{
    Admission, AdmissionList, Epoch, FleetName, Hash, HostName, KeyName, MachineRole, NamedKey, PublicKey,
    Signed, SigningKey, SshKeyText,
};

use crate::Result;

/// A key that admits machines in this lab: every root that `make_operator` makes names it.
fn admitting_key() -> SigningKey {
    SigningKey::from_seed(&[77; 32])
}

/// Its public half as a root takes it.
#[must_use]
pub fn admitting_public() -> String {
    let name = KeyName::new("lab-admits").expect("a valid literal");
    format!("{}\n", NamedKey { name, key: admitting_key().public() })
}

/// Who is to be admitted.
#[derive(Debug, Clone)]
pub struct Machine<'a> {
    /// The name in the policy; of a recovery key a name of its own.
    pub name: &'a str,
    /// In which role.
    pub role: MachineRole,
    /// The public identity key as `identity.pub` has it; none for a recovery key.
    pub identity: Option<&'a str>,
    /// The SSH key, as `ssh-ed25519 BASE64` and perhaps a comment; none where no SSH is spoken.
    pub ssh: Option<&'a str>,
    /// For a recovery key: the hosts that it may read.
    pub reads: &'a [&'a str],
}

/// The list of admissions as a drop directory holds it (`admissions.json`).
///
/// # Errors
/// When a name or key is none.
pub fn list(fleet: &str, machines: &[Machine<'_>]) -> Result<String> {
    let mut list = AdmissionList::default();
    for machine in machines {
        list.admissions.push(admission(fleet, machine)?);
    }
    Ok(serde_json::to_string(&list)?)
}

fn admission(fleet: &str, machine: &Machine<'_>) -> Result<String> {
    let Machine { name, role, identity, ssh, reads } = machine;
    let name = HostName::new(*name)?;
    // where a key is not used, one that nobody holds stands in its place
    let nobody = SigningKey::from_seed(Hash::of(format!("{name} {role}").as_bytes()).as_bytes()).public();
    let identity: PublicKey = match identity {
        Some(text) => text.trim().parse::<NamedKey>()?.key,
        None => nobody,
    };
    let ssh = match ssh {
        Some(text) => text.split_ascii_whitespace().take(2).collect::<Vec<_>>().join(" "),
        None => format!("ssh-ed25519 {:A<68}", &Hash::of(name.as_str().as_bytes()).to_string()[..20]),
    };
    let admission = Admission {
        schema: 1,
        fleet: FleetName::new(fleet)?,
        tls: Hash::of(identity.as_bytes()),
        identity,
        ssh: SshKeyText::new(ssh)?,
        role: *role,
        epoch: Epoch(1),
        replaces: None,
        reads: reads.iter().map(|host| HostName::new(*host)).collect::<std::result::Result<_, _>>()?,
        issued: "2026-01-01T00:00:00Z".parse()?,
        name,
    };
    Ok(Signed::new(&admission, &[&admitting_key()]).to_json())
}
