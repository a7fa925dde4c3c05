//! What stands in a backup's repository once it is decrypted: whoever has its key may have written anything into it.

use tenure_backup::engine::{parse_index, parse_pack_header, parse_snapshot, parse_tree};
use tenure_trust::Hash;

use crate::check::printable;

/// Where blobs stand.
pub fn index(hostile: &[u8]) {
    match parse_index(hostile) {
        Ok(packs) => {
            let blobs: usize = packs.iter().map(|(_, blobs)| blobs).sum();
            assert!(blobs * 100 <= hostile.len(), "more blobs than the text can name");
        }
        Err(fault) => printable(&fault.to_string(), 200),
    }
}

/// What a snapshot says of itself reaches screens.
pub fn snapshot(hostile: &[u8]) {
    match parse_snapshot(Hash::of(hostile), hostile) {
        Ok(snapshot) => {
            printable(&snapshot.hostname, hostile.len() * 4);
            let paths = snapshot.paths.iter().map(|path| path.display().to_string());
            paths.chain(snapshot.tags).for_each(|text| printable(&text, hostile.len() * 4));
        }
        Err(fault) => printable(&fault.to_string(), 200),
    }
}

/// Names become files below a directory, so each must be one that stays there, and each only once.
pub fn tree(hostile: &[u8]) {
    match parse_tree(hostile) {
        Ok(entries) => {
            for (name, blobs) in &entries {
                assert!(!name.is_empty() && name.len() <= 255 && name != b"." && name != b"..");
                assert!(!name.contains(&b'/') && !name.contains(&0), "a name that leads elsewhere");
                assert!(blobs * 64 <= hostile.len());
            }
            assert!(entries.is_sorted_by(|a, b| a.0 < b.0), "a name twice");
        }
        Err(fault) => printable(&fault.to_string(), 200),
    }
}

/// Lengths add up to offsets.
pub fn header(hostile: &[u8]) {
    match parse_pack_header(hostile) {
        Ok(blobs) => {
            assert!(blobs.len() * 37 <= hostile.len());
            let sum: u64 = blobs.iter().map(|(_, length)| u64::from(*length)).sum();
            assert!(sum <= u64::from(u32::MAX), "a pack has no room for them");
        }
        Err(fault) => printable(&fault.to_string(), 200),
    }
}

fn id(text: &str) -> String {
    Hash::of(text.as_bytes()).to_string()
}

/// As restic writes them.
pub fn indexes() -> Vec<Vec<u8>> {
    let (pack, a, b) = (id("pack"), id("a"), id("b"));
    let text = format!(
        r#"{{"supersedes":["{b}"],"packs":[{{"id":"{pack}","blobs":[{{"id":"{a}","type":"data","offset":0,"length":38}},{{"id":"{b}","type":"tree","offset":38,"length":112,"uncompressed_length":511}}]}}]}}"#
    );
    vec![text.into_bytes(), br#"{"packs":[]}"#.to_vec()]
}

/// As restic writes them.
pub fn snapshots() -> Vec<Vec<u8>> {
    let tree = id("tree");
    let text = format!(
        r#"{{"time":"2026-11-23T06:00:01.5+01:00","parent":"{tree}","tree":"{tree}","paths":["/srv/app"],"hostname":"web1","username":"root","uid":0,"gid":0,"excludes":["/tmp"],"tags":["server"],"original":"{tree}"}}"#
    );
    vec![text.into_bytes()]
}

/// As restic writes them, with every kind of node.
pub fn trees() -> Vec<Vec<u8>> {
    let a = id("a");
    let common = r#""mode":420,"mtime":"2026-11-23T06:00:01.5+01:00","atime":"2026-11-23T06:00:01.5Z","ctime":"2026-11-23T06:00:01.5Z","uid":0,"gid":0,"user":"root","group":"root","inode":7,"device_id":2,"links":1"#;
    let nodes = [
        format!(
            r#"{{"name":"a\\xff\\n","type":"file",{common},"size":5,"extended_attributes":[{{"name":"user.x","value":"AAE="}}],"content":["{a}"]}}"#
        ),
        format!(r#"{{"name":"b","type":"dir",{common},"content":null,"subtree":"{a}"}}"#),
        format!(
            r#"{{"name":"c","type":"symlink",{common},"linktarget":"../x","linktarget_raw":"Li4veA==","content":null}}"#
        ),
        format!(r#"{{"name":"d","type":"dev",{common},"device":1792,"content":null}}"#),
        format!(r#"{{"name":"e","type":"chardev",{common},"device":259,"content":null}}"#),
        format!(r#"{{"name":"f","type":"fifo",{common},"content":null}}"#),
    ];
    vec![format!("{{\"nodes\":[{}]}}\n", nodes.join(",")).into_bytes(), b"{\"nodes\":[]}".to_vec()]
}

/// Every kind of entry.
pub fn headers() -> Vec<Vec<u8>> {
    let mut bytes = Vec::new();
    for kind in 0..4u8 {
        bytes.push(kind);
        bytes.extend_from_slice(&200u32.to_le_bytes());
        if kind >= 2 {
            bytes.extend_from_slice(&900u32.to_le_bytes());
        }
        bytes.extend_from_slice(&[kind; 32]);
    }
    vec![bytes]
}
