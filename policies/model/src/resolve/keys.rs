//! Public keys of people, machines and recovery: read strictly, written in one form.

use ssh_key::PublicKey;
use ssh_key::public::KeyData;

/// The least size of an RSA key in bits.
const LEAST_RSA_BITS: u32 = 2048;

/// An SSH public key as `type base64`, from a line as OpenSSH writes it (comment dropped).
///
/// # Errors
/// What is wrong with it, and what to write instead.
pub(crate) fn ssh_public_key(line: &str) -> Result<String, (String, &'static str)> {
    let refuse = |what: &str, hint| Err((what.to_owned(), hint));
    if line.contains("PRIVATE KEY") {
        return refuse(
            "this is a private key",
            "write the line of the .pub file, and replace the key: it is no longer secret",
        );
    }
    if line.contains('\n') {
        return refuse("a key is one line", "write one line of the .pub file for each key");
    }
    let mut words = line.split_ascii_whitespace();
    let (Some(kind), Some(_)) = (words.next(), words.next()) else {
        return refuse("this is not a public key", "write the line of the .pub file: its type, then the key");
    };
    if kind.contains("-cert-") {
        return refuse(
            "this is a certificate",
            "write the plain public key; `from` and `until` stand in the policy",
        );
    }
    if !(kind.starts_with("ssh-") || kind.starts_with("ecdsa-") || kind.starts_with("sk-")) {
        return refuse(
            "options before the key",
            "write the key alone; from, until and command are keys of the policy",
        );
    }
    let Ok(key) = PublicKey::from_openssh(line) else {
        return refuse("this is not a public key that can be read", "copy the whole line of the .pub file");
    };
    match key.key_data() {
        KeyData::Ed25519(_) | KeyData::Ecdsa(_) | KeyData::SkEd25519(_) | KeyData::SkEcdsaSha2NistP256(_) => {
        }
        KeyData::Rsa(rsa) if rsa.key_size() >= LEAST_RSA_BITS => {}
        KeyData::Rsa(_) => {
            return refuse("an RSA key of fewer than 2048 bits", "make a new one: ssh-keygen -t ed25519");
        }
        _ => return refuse("a kind of key that is not accepted", "make a new one: ssh-keygen -t ed25519"),
    }
    let mut bare = key.clone();
    bare.set_comment("");
    match bare.to_openssh() {
        Ok(text) => Ok(text.trim_end().to_owned()),
        Err(_) => {
            refuse("this is not a public key that can be written", "make a new one: ssh-keygen -t ed25519")
        }
    }
}

/// Checks an age recipient (`age1…`, bech32 with the prefix `age`, as age-keygen prints it).
///
/// # Errors
/// What is wrong with it, and what to write instead.
pub(crate) fn age_recipient(text: &str) -> Result<(), (&'static str, &'static str)> {
    if text.starts_with("AGE-SECRET-KEY-") {
        return Err((
            "this is a secret key",
            "write the public key (age1…), and replace the key: it is no longer secret",
        ));
    }
    let hint = "write a public key of age as age-keygen prints it (age1 and 58 letters and digits)";
    let Some(data) = text.strip_prefix("age1") else {
        return Err(("this is not an age recipient", hint));
    };
    let values: Option<Vec<u8>> =
        data.bytes().map(|b| BECH32.iter().position(|c| *c == b).map(|i| i as u8)).collect();
    match values {
        Some(values) if values.len() == 58 && bech32_whole(b"age", &values) => Ok(()),
        Some(_) => Err(("this age recipient has a slip of the pen (its checksum does not fit)", hint)),
        None => Err(("this is not an age recipient", hint)),
    }
}

const BECH32: &[u8; 32] = b"qpzry9x8gf2tvdw0s3jn54khce6mua7l";

/// The checksum of BIP 173.
fn bech32_whole(prefix: &[u8], data: &[u8]) -> bool {
    const GENERATOR: [u32; 5] = [0x3b6a_57b2, 0x2650_8e6d, 0x1ea1_19fa, 0x3d42_33dd, 0x2a14_62b3];
    let expanded = prefix.iter().map(|b| b >> 5).chain([0]).chain(prefix.iter().map(|b| b & 31));
    let checksum = expanded.chain(data.iter().copied()).fold(1u32, |sum, value| {
        let top = sum >> 25;
        let next = (sum & 0x01ff_ffff) << 5 ^ u32::from(value);
        GENERATOR.iter().enumerate().filter(|(i, _)| top >> i & 1 == 1).fold(next, |sum, (_, g)| sum ^ g)
    });
    checksum == 1
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAILM+rvN+ot98qgEN796jTiQfZfG1KaT0PtFDJ/XFSqti";

    #[test]
    fn a_key_is_read_without_its_comment() {
        assert_eq!(ssh_public_key(&format!("{KEY} marit@laptop")).unwrap(), KEY);
        assert_eq!(ssh_public_key(KEY).unwrap(), KEY);
    }

    #[test]
    fn what_is_no_plain_public_key_is_refused_with_a_hint() {
        let cut = &KEY[..KEY.len() - 4];
        for bad in [
            "",
            "ssh-ed25519",
            "ssh-ed25519 AAAA",
            cut,
            &format!("from=\"10.0.0.1\" {KEY}"),
            &format!("{KEY}\n{KEY}"),
            "-----BEGIN OPENSSH PRIVATE KEY-----",
            "ssh-ed25519-cert-v01@openssh.com AAAA",
            "ssh-dss AAAAB3NzaC1kc3MAAACBAP",
        ] {
            assert!(ssh_public_key(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_recipient_has_a_checksum() {
        // from age's own README
        let good = "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p";
        assert_eq!(age_recipient(good), Ok(()));
        assert!(age_recipient(&good.replace("ql3z", "ql3x")).is_err());
        assert!(age_recipient("age1safe").is_err());
        assert!(age_recipient("AGE-SECRET-KEY-1QQQ").is_err());
    }
}
