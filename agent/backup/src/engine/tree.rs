//! restic's trees: what one directory holds, written and read as its JSON.

use std::borrow::Cow;
use std::io::Write as _;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::Deserialize;
use tenure_trust::Hash;

use super::error::Fault;
use super::names::{is_name, quote, unquote};
use super::stamp::Stamp;

/// Bytes of the largest tree that is written or read: some 600,000 entries.
pub(crate) const MAX_TREE: usize = 256 << 20;

/// One entry of a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Node {
    pub(crate) name: Vec<u8>,
    pub(crate) meta: Meta,
    pub(crate) kind: NodeKind,
    pub(crate) xattrs: Xattrs,
}

/// Name and value of each extended attribute.
pub(crate) type Xattrs = Vec<(Vec<u8>, Vec<u8>)>;

/// What `stat` says of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Meta {
    /// Permissions with set-user-id, set-group-id and sticky: `0o7777`.
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) inode: u64,
    pub(crate) device: u64,
    pub(crate) size: u64,
    pub(crate) links: u64,
    pub(crate) mtime: Stamp,
    pub(crate) ctime: Stamp,
}

/// What it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum NodeKind {
    /// Its blobs in order.
    File(Vec<Hash>),
    /// Its tree.
    Dir(Hash),
    /// Its target.
    Link(Vec<u8>),
    /// Its device number.
    Block(u64),
    /// Its device number.
    Char(u64),
    Fifo,
    /// Never written; restic's older versions did.
    Socket,
}

// Go's os.FileMode
const DIR: u32 = 1 << 31;
const LINK: u32 = 1 << 27;
const DEVICE: u32 = 1 << 26;
const FIFO: u32 = 1 << 25;
const SOCKET: u32 = 1 << 24;
const SETUID: u32 = 1 << 23;
const SETGID: u32 = 1 << 22;
const CHAR: u32 = 1 << 21;
const STICKY: u32 = 1 << 20;

/// The JSON of a directory whose nodes are sorted by name.
pub(crate) fn encode<'n>(nodes: impl IntoIterator<Item = &'n Node>) -> Vec<u8> {
    let mut out = b"{\"nodes\":[".to_vec();
    for (number, node) in nodes.into_iter().enumerate() {
        if number > 0 {
            out.push(b',');
        }
        node.write(&mut out);
    }
    out.extend_from_slice(b"]}\n");
    out
}

impl Node {
    fn write(&self, out: &mut Vec<u8>) {
        let meta = &self.meta;
        let (word, bits) = match &self.kind {
            NodeKind::File(_) => ("file", 0),
            NodeKind::Dir(_) => ("dir", DIR),
            NodeKind::Link(_) => ("symlink", LINK),
            NodeKind::Block(_) => ("dev", DEVICE),
            NodeKind::Char(_) => ("chardev", DEVICE | CHAR),
            NodeKind::Fifo => ("fifo", FIFO),
            NodeKind::Socket => ("socket", SOCKET),
        };
        let mut mode = meta.mode & 0o777 | bits;
        for (unix, go) in [(0o4000, SETUID), (0o2000, SETGID), (0o1000, STICKY)] {
            if meta.mode & unix != 0 {
                mode |= go;
            }
        }
        out.extend_from_slice(b"{\"name\":");
        json(out, &quote(&self.name));
        let _ = write!(out, ",\"type\":\"{word}\",\"mode\":{mode},\"mtime\":");
        meta.mtime.write(out);
        // as restic does unless told otherwise: reading changes access times, and would change every tree
        out.extend_from_slice(b",\"atime\":");
        meta.mtime.write(out);
        out.extend_from_slice(b",\"ctime\":");
        meta.ctime.write(out);
        let _ = write!(
            out,
            ",\"uid\":{},\"gid\":{},\"inode\":{},\"device_id\":{},\"links\":{}",
            meta.uid, meta.gid, meta.inode, meta.device, meta.links
        );
        if !self.xattrs.is_empty() {
            out.extend_from_slice(b",\"extended_attributes\":");
            let list: Vec<_> = self.xattrs.iter().map(|(name, value)| attribute(name, value)).collect();
            let _ = write!(out, "[{}]", list.join(","));
        }
        match &self.kind {
            NodeKind::File(content) => {
                let _ = write!(out, ",\"size\":{},\"content\":[", meta.size);
                for (number, id) in content.iter().enumerate() {
                    if number > 0 {
                        out.push(b',');
                    }
                    hex(out, id);
                }
                out.push(b']');
            }
            NodeKind::Dir(tree) => {
                out.extend_from_slice(b",\"content\":null,\"subtree\":");
                hex(out, tree);
            }
            NodeKind::Link(target) => {
                out.extend_from_slice(b",\"linktarget\":");
                json(out, &String::from_utf8_lossy(target));
                // restic from 0.16 on; older ones lose what is not UTF-8
                if std::str::from_utf8(target).is_err() {
                    let _ = write!(out, ",\"linktarget_raw\":\"{}\"", BASE64_STANDARD.encode(target));
                }
                out.extend_from_slice(b",\"content\":null");
            }
            NodeKind::Block(device) | NodeKind::Char(device) => {
                let _ = write!(out, ",\"device\":{device},\"content\":null");
            }
            NodeKind::Fifo | NodeKind::Socket => out.extend_from_slice(b",\"content\":null"),
        }
        out.push(b'}');
    }
}

fn attribute(name: &[u8], value: &[u8]) -> String {
    let mut text = b"{\"name\":".to_vec();
    json(&mut text, &String::from_utf8_lossy(name));
    let _ = write!(text, ",\"value\":\"{}\"}}", BASE64_STANDARD.encode(value));
    String::from_utf8(text).unwrap_or_default()
}

fn json(out: &mut Vec<u8>, text: &str) {
    // writing a text into memory cannot fail
    let _ = serde_json::to_writer(out, text);
}

fn hex(out: &mut Vec<u8>, id: &Hash) {
    let mut digits = [0; 64];
    let _ = hex::encode_to_slice(id.as_bytes(), &mut digits);
    out.push(b'"');
    out.extend_from_slice(&digits);
    out.push(b'"');
}

#[derive(Deserialize)]
struct RawTree<'a> {
    #[serde(borrow, default)]
    nodes: Option<Vec<RawNode<'a>>>,
}

#[derive(Deserialize)]
struct RawNode<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
    #[serde(borrow, rename = "type")]
    kind: Cow<'a, str>,
    #[serde(default)]
    mode: u32,
    #[serde(borrow, default)]
    mtime: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    ctime: Option<Cow<'a, str>>,
    #[serde(default)]
    uid: u32,
    #[serde(default)]
    gid: u32,
    #[serde(default)]
    inode: u64,
    #[serde(default)]
    device_id: u64,
    #[serde(default)]
    size: u64,
    #[serde(default)]
    links: u64,
    #[serde(borrow, default)]
    linktarget: Cow<'a, str>,
    #[serde(borrow, default)]
    linktarget_raw: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    extended_attributes: Option<Vec<RawAttribute<'a>>>,
    #[serde(default)]
    device: u64,
    #[serde(default)]
    content: Option<Vec<Hash>>,
    #[serde(default)]
    subtree: Option<Hash>,
}

#[derive(Deserialize)]
struct RawAttribute<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
    #[serde(borrow, default)]
    value: Option<Cow<'a, str>>,
}

/// Reads the JSON of a directory; its nodes come sorted by name.
pub(crate) fn parse(text: &[u8]) -> Result<Vec<Node>, Fault> {
    let raw: RawTree<'_> = serde_json::from_slice(text).map_err(|_| Fault::Form)?;
    let nodes = raw.nodes.unwrap_or_default().into_iter();
    let mut nodes = nodes.map(RawNode::node).collect::<Result<Vec<_>, _>>()?;
    if !nodes.is_sorted_by(|a, b| a.name < b.name) {
        nodes.sort_by(|a, b| a.name.cmp(&b.name));
        if nodes.windows(2).any(|pair| pair[0].name == pair[1].name) {
            return Err(Fault::Name);
        }
    }
    Ok(nodes)
}

impl RawNode<'_> {
    fn node(self) -> Result<Node, Fault> {
        let name = unquote(&self.name)?;
        if !is_name(&name) {
            return Err(Fault::Name);
        }
        let base64 = |text: &str| BASE64_STANDARD.decode(text).map_err(|_| Fault::Form);
        let kind = match &*self.kind {
            "file" => NodeKind::File(self.content.ok_or(Fault::Form)?),
            "dir" => NodeKind::Dir(self.subtree.ok_or(Fault::Form)?),
            "symlink" => {
                let target = match &self.linktarget_raw {
                    Some(raw) => base64(raw)?,
                    None => self.linktarget.as_bytes().to_vec(),
                };
                if target.is_empty() || target.len() > 4095 || target.contains(&0) {
                    return Err(Fault::Form);
                }
                NodeKind::Link(target)
            }
            "dev" => NodeKind::Block(self.device),
            "chardev" => NodeKind::Char(self.device),
            "fifo" => NodeKind::Fifo,
            "socket" => NodeKind::Socket,
            _ => return Err(Fault::Version),
        };
        let mut mode = self.mode & 0o777;
        for (unix, go) in [(0o4000, SETUID), (0o2000, SETGID), (0o1000, STICKY)] {
            if self.mode & go != 0 {
                mode |= unix;
            }
        }
        let stamp = |text: Option<Cow<'_, str>>| match text {
            Some(text) => Stamp::parse(&text).ok_or(Fault::Form),
            None => Ok(Stamp::default()),
        };
        let mut xattrs = Vec::new();
        for attribute in self.extended_attributes.unwrap_or_default() {
            let name = attribute.name.as_bytes();
            if name.is_empty() || name.len() > 255 || name.contains(&0) {
                return Err(Fault::Form);
            }
            xattrs.push((name.to_vec(), base64(&attribute.value.unwrap_or_default())?));
        }
        let meta = Meta {
            mode,
            uid: self.uid,
            gid: self.gid,
            inode: self.inode,
            device: self.device_id,
            size: self.size,
            links: self.links,
            mtime: stamp(self.mtime)?,
            ctime: stamp(self.ctime)?,
        };
        Ok(Node { name, meta, kind, xattrs })
    }
}

/// What a tree's JSON holds, for whoever only wants to know whether it is read: names and number of blobs.
///
/// # Errors
/// `Form`, `Name`, `Version`.
pub fn parse_tree(json: &[u8]) -> Result<Vec<(Vec<u8>, usize)>, Fault> {
    let blobs = |node: &Node| match &node.kind {
        NodeKind::File(content) => content.len(),
        NodeKind::Dir(_) => 1,
        _ => 0,
    };
    Ok(parse(json)?.into_iter().map(|node| (node.name.clone(), blobs(&node))).collect())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn kinds() -> impl Strategy<Value = NodeKind> {
        let id = || any::<[u8; 32]>().prop_map(Hash::from_bytes);
        prop_oneof![
            prop::collection::vec(id(), 0..3).prop_map(NodeKind::File),
            id().prop_map(NodeKind::Dir),
            prop::collection::vec(1u8.., 1..40).prop_map(NodeKind::Link),
            any::<u64>().prop_map(NodeKind::Block),
            any::<u64>().prop_map(NodeKind::Char),
            Just(NodeKind::Fifo),
        ]
    }

    fn nodes() -> impl Strategy<Value = Node> {
        let name =
            prop::collection::vec(any::<u8>().prop_filter("no name", |b| *b != 0 && *b != b'/'), 3..20);
        let xattr = ("[a-z.]{1,9}", prop::collection::vec(any::<u8>(), 0..9));
        let meta =
            (0u32..0o10000, any::<[u32; 2]>(), any::<[u64; 4]>(), -99_999i64..99_999, 0u64..1_000_000_000);
        (name, kinds(), prop::collection::vec(xattr, 0..3), meta).prop_map(|(name, kind, xattrs, meta)| {
            let (mode, [uid, gid], [inode, device, size, links], seconds, nanos) = meta;
            let mtime = Stamp::new(seconds, nanos);
            let size = if matches!(kind, NodeKind::File(_)) { size } else { 0 };
            let meta = Meta { mode, uid, gid, inode, device, size, links, mtime, ctime: mtime };
            let xattrs = xattrs.into_iter().map(|(name, value)| (name.into_bytes(), value)).collect();
            Node { name, meta, kind, xattrs }
        })
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(nodes in prop::collection::vec(nodes(), 0..6)) {
            let mut nodes = nodes;
            nodes.sort_by(|a, b| a.name.cmp(&b.name));
            nodes.dedup_by(|a, b| a.name == b.name);
            prop_assert_eq!(parse(&encode(&nodes)).unwrap(), nodes);
        }
    }

    fn one(fields: &str) -> Result<Vec<Node>, Fault> {
        parse(format!("{{\"nodes\":[{{{fields}}}]}}").as_bytes())
    }

    #[test]
    fn hostile_nodes_are_refused() {
        let id = Hash::of(b"x");
        for (fields, fault) in [
            (r#""name":"..","type":"fifo""#.to_owned(), Fault::Name),
            (r#""name":"a/b","type":"fifo""#.to_owned(), Fault::Name),
            (r#""name":"a\\x00","type":"fifo""#.to_owned(), Fault::Name),
            (r#""name":"a\\x2fb","type":"fifo""#.to_owned(), Fault::Name),
            (r#""name":"","type":"fifo""#.to_owned(), Fault::Name),
            (r#""name":"a","type":"door""#.to_owned(), Fault::Version),
            (r#""name":"a","type":"file","content":null"#.to_owned(), Fault::Form),
            (r#""name":"a","type":"dir""#.to_owned(), Fault::Form),
            (r#""name":"a","type":"symlink""#.to_owned(), Fault::Form),
            (r#""name":"a","type":"symlink","linktarget":"x\u0000""#.to_owned(), Fault::Form),
            (format!(r#""name":"a","type":"dir","subtree":"{}""#, "g".repeat(64)), Fault::Form),
            (r#""name":"a","type":"fifo","mtime":"now""#.to_owned(), Fault::Form),
            (r#""name":"a","type":"fifo","uid":-1"#.to_owned(), Fault::Form),
        ] {
            assert_eq!(one(&fields), Err(fault), "{fields}");
        }
        assert!(one(&format!(r#""name":"a","type":"dir","subtree":"{id}""#)).is_ok());
        let twice = br#"{"nodes":[{"name":"b","type":"fifo"},{"name":"a","type":"fifo"},{"name":"b","type":"fifo"}]}"#;
        assert_eq!(parse(twice), Err(Fault::Name));
        assert_eq!(parse(b"{\"nodes\":null}"), Ok(vec![]));
    }
}
