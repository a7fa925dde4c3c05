//! Lines of authorized_keys files as sshd(8), "AUTHORIZED_KEYS FILE FORMAT", reads them. The text may be hostile.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD_NO_PAD};
use tenure_trust::Hash;

/// Lines longer than this are no keys (16,384-bit RSA keys have 2,800).
const LINE_LIMIT: usize = 16 * 1024;

const KINDS: [&str; 8] = [
    "ssh-ed25519",
    "ssh-rsa",
    "ssh-dss",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "sk-ssh-ed25519@openssh.com",
    "sk-ecdsa-sha2-nistp256@openssh.com",
];

const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// One usable line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyLine {
    /// Options in order, names in lower case, values without their quotes.
    pub options: Vec<(String, Option<String>)>,
    /// Key type.
    pub kind: String,
    /// The key in its wire form (RFC 4253 section 6.6).
    pub blob: Vec<u8>,
    /// The rest of the line, as it stands there.
    pub comment: String,
}

impl KeyLine {
    /// `SHA256:…` as ssh-keygen(1) prints it.
    pub fn fingerprint(&self) -> String {
        fingerprint(&self.blob)
    }

    /// The value of an option; the first counts.
    pub fn option(&self, name: &str) -> Option<&str> {
        self.options.iter().find(|(n, _)| n == name).and_then(|(_, v)| v.as_deref())
    }
}

/// `SHA256:…` of a key's wire form.
pub fn fingerprint(blob: &[u8]) -> String {
    format!("SHA256:{}", STANDARD_NO_PAD.encode(Hash::of(blob).as_bytes()))
}

/// The keys of a file with their line numbers, counted from 1. What sshd would skip is skipped.
pub fn parse(bytes: &[u8]) -> Vec<(u32, KeyLine)> {
    let lines = bytes.split(|b| *b == b'\n').zip(1u32..);
    lines.filter_map(|(line, number)| Some((number, parse_line(line)?))).collect()
}

/// One line; `None` for what sshd takes no key from.
pub fn parse_line(line: &[u8]) -> Option<KeyLine> {
    if line.len() > LINE_LIMIT {
        return None;
    }
    // As C strings end: sshd sees nothing behind a NUL.
    let line = line.split(|b| *b == 0).next().unwrap_or_default();
    let text = String::from_utf8_lossy(line);
    let text = text.trim_start_matches([' ', '\t']).trim_end_matches(['\r', ' ', '\t']);
    if text.is_empty() || text.starts_with('#') {
        return None;
    }
    if let Some((kind, blob, comment)) = key(text) {
        return Some(KeyLine { options: Vec::new(), kind, blob, comment });
    }
    let (options, rest) = text.split_at(end_of_options(text)?);
    let (kind, blob, comment) = key(rest.trim_start_matches([' ', '\t']))?;
    Some(KeyLine { options: split_options(options), kind, blob, comment })
}

/// `type base64 comment`.
fn key(text: &str) -> Option<(String, Vec<u8>, String)> {
    let (kind, rest) = text.split_once([' ', '\t'])?;
    let certificate = kind.strip_suffix("-cert-v01@openssh.com").is_some();
    if !certificate && !KINDS.contains(&kind) {
        return None;
    }
    let rest = rest.trim_start_matches([' ', '\t']);
    let (base64, comment) = rest.split_once([' ', '\t']).unwrap_or((rest, ""));
    let blob = LENIENT.decode(base64).ok()?;
    let length = usize::try_from(u32::from_be_bytes(*blob.first_chunk()?)).ok()?;
    let inner = blob.get(4..)?.get(..length)?;
    (inner == kind.as_bytes()).then(|| (kind.to_owned(), blob, comment.trim().to_owned()))
}

/// Options end at the first blank outside double quotes; `\"` inside quotes is a quote.
fn end_of_options(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let (mut at, mut quoted) = (0, false);
    while at < bytes.len() {
        match bytes[at] {
            b'\\' if bytes.get(at + 1) == Some(&b'"') => at += 1,
            b'"' => quoted = !quoted,
            b' ' | b'\t' if !quoted => return Some(at),
            _ => {}
        }
        at += 1;
    }
    None
}

fn split_options(text: &str) -> Vec<(String, Option<String>)> {
    let mut parts = vec![String::new()];
    let (mut quoted, mut escaped) = (false, false);
    for c in text.chars() {
        let part = parts.last_mut().expect("it starts with one and never shrinks");
        match c {
            '"' if escaped => {
                part.pop();
                part.push('"');
            }
            '"' => quoted = !quoted,
            ',' if !quoted => parts.push(String::new()),
            c => part.push(c),
        }
        escaped = c == '\\';
    }
    let named = |part: String| match part.split_once('=') {
        Some((name, value)) => (name.to_ascii_lowercase(), Some(value.to_owned())),
        None => (part.to_ascii_lowercase(), None),
    };
    parts.into_iter().filter(|part| !part.is_empty()).map(named).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Made with ssh-keygen; its fingerprint is what `ssh-keygen -l` printed.
    const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIEtrZXkga2V5IGtleSBrZXkga2V5IGtleSBrZXkga2V5";

    #[test]
    fn lines_are_read_as_sshd_reads_them() {
        let plain = parse_line(format!("  {KEY} marit@laptop\r").as_bytes()).unwrap();
        assert_eq!((plain.kind.as_str(), plain.comment.as_str()), ("ssh-ed25519", "marit@laptop"));
        let line = format!(r#"restrict,COMMAND="echo \"a, b\" x",from="10.0.0.0/8,::1" {KEY}"#);
        let with = parse_line(line.as_bytes()).unwrap();
        assert_eq!(with.option("command"), Some(r#"echo "a, b" x"#));
        assert_eq!(with.option("from"), Some("10.0.0.0/8,::1"));
        assert_eq!(with.options[0], ("restrict".into(), None));
        assert_eq!(with.fingerprint(), plain.fingerprint());
    }

    #[test]
    fn what_is_no_key_is_skipped() {
        for text in [
            "",
            "# comment",
            "ssh-ed25519",
            "ssh-ed25519 AAAA",
            "ssh-rsa !!!! x",
            "nonsense",
            "ssh-rsa AAAAC3NzaC1lZDI1NTE5AAAAIEtrZXkga2V5IGtleSBrZXkga2V5IGtleSBrZXkga2V5",
            "from=\"unterminated ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIEtrZXk",
            "ssh-ed25519 /////w==",
        ] {
            assert_eq!(parse_line(text.as_bytes()), None, "{text}");
        }
        let nul = [KEY.as_bytes(), b"\0 behind"].concat();
        assert_eq!(parse_line(&nul).unwrap().comment, "");
        assert_eq!(parse_line(&[b"x ".as_slice(), &[b'a'; LINE_LIMIT]].concat()), None);
    }

    #[test]
    fn lines_are_counted_from_one() {
        let file = format!("# mine\n\n{KEY} a\njunk\n{KEY} b");
        let found: Vec<_> = parse(file.as_bytes()).into_iter().map(|(n, k)| (n, k.comment)).collect();
        assert_eq!(found, [(3, "a".into()), (5, "b".into())]);
    }
}
