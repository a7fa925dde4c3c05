//! A set of files read as one: parts add up, a name given twice is a fault, all faults come at once.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use crate::fault::{Fault, FaultCode, Faults, Place};
use crate::shape::{FromNode, Shape};
use crate::tree::{self, Key, Kind, Node};
use crate::written::Written;

/// The most files of a set.
pub const MAX_FILES: usize = 1000;
/// The most bytes of a set.
pub const MAX_SET: usize = 8 << 20;

/// A set as far as it can be read. Rules of meaning run over it even when there are faults already, so that a person
/// sees all of them at once; it becomes a policy only through [`Reading::finish`].
#[derive(Debug)]
pub struct Reading {
    /// What could be read; parts with faults are left out. `None` when nothing could.
    pub written: Option<Written>,
    /// Every name that the files define, by section, also of entries that could not be read:
    /// who looks for a name that stands here but not in `written` finds its fault reported already.
    pub names: BTreeMap<String, BTreeSet<String>>,
    /// Whether a file could not be read at all (syntax, limits): what is missing may stand there.
    pub partial: bool,
    /// What is wrong so far.
    pub faults: Faults,
}

impl Reading {
    /// The set, when nothing is wrong with it.
    ///
    /// # Errors
    /// All faults, sorted, each with the line it points at.
    pub fn finish(self, files: &BTreeMap<String, String>) -> Result<Written, Faults> {
        self.faults.with_sources(files).or(self.written)
    }

    /// Whether a name is defined in a section (`networks`, `hosts` …), read or not; with a file missing: perhaps.
    pub fn may_have(&self, section: &str, name: &str) -> bool {
        self.partial || self.names.get(section).is_some_and(|names| names.contains(name))
    }
}

/// Reads a set, `files` being relative paths → texts: `fleet.yaml` and other parts at the top, single values in
/// `profiles/web.yaml`, `hosts/web1.yaml`, `tenants/acme.yaml` and so on (POLICY.md rule 20).
///
/// # Errors
/// All faults of reading, over all files.
pub fn read(files: &BTreeMap<String, String>) -> Result<Written, Faults> {
    read_all(files).finish(files)
}

/// As [`read`], but gives what could be read together with the faults.
pub fn read_all(files: &BTreeMap<String, String>) -> Reading {
    let mut faults = Faults::new();
    let first = files.keys().find(|path| *path == "fleet.yaml").or_else(|| files.keys().next());
    let top = Place::new(first.map_or("fleet.yaml", String::as_str), 1, 1);
    if let Some(fault) = refuse_size(files, &top) {
        faults.push(fault);
        return Reading { written: None, names: BTreeMap::new(), partial: true, faults };
    }
    let mut set = Set::default();
    let mut partial = false;
    for (path, text) in files {
        let Some(role) = role(path) else {
            faults.push(unknown_file(path));
            continue;
        };
        match (tree::parse(path, text, &mut faults), role) {
            (None, _) => partial = true,
            (Some(tree), Role::Part) => set.add_part(tree.root, &mut faults),
            (Some(tree), Role::Value { section, name }) => {
                let key = Key { at: Place::new(path, 1, 1), text: name.to_owned() };
                let map =
                    Node { at: key.at.clone(), end: tree.root.end, kind: Kind::Map(vec![(key, tree.root)]) };
                let key = Key { at: map.at.clone(), text: section.to_owned() };
                set.add_section(key, map, &mut faults);
            }
        }
    }
    let names = set.names();
    let root = Node { at: top.clone(), end: (1, 1), kind: Kind::Map(set.entries) };
    let mut meaning = Faults::new();
    let mut written = match files.is_empty() {
        true => None,
        false => Written::from_node(&root, &mut meaning),
    };
    if written.is_none() && !files.is_empty() {
        written = Written::from_node(&patched(root), &mut Faults::new());
    }
    if files.is_empty() {
        let fault = Fault::new(&top, FaultCode::EmptyFile, "the set has no file");
        faults.push(fault.hint("a set is fleet.yaml, or a directory of *.yaml files"));
    }
    for fault in meaning {
        let elsewhere = partial && fault.code == FaultCode::MissingKey && fault.place == top;
        if !elsewhere {
            faults.push(fault);
        }
    }
    Reading { written, names, partial, faults }
}

fn refuse_size(files: &BTreeMap<String, String>, top: &Place) -> Option<Fault> {
    if files.len() > MAX_FILES {
        let what = format!("the set has {} files, at most {MAX_FILES} are read", files.len());
        return Some(Fault::new(top, FaultCode::TooMany, what));
    }
    let bytes: usize = files.values().map(String::len).sum();
    (bytes > MAX_SET).then(|| {
        let what = format!("the set has {bytes} bytes, at most {MAX_SET} are read");
        Fault::new(top, FaultCode::TooLarge, what)
    })
}

/// What a file of a set holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role<'a> {
    /// Sections of the policy.
    Part,
    /// The value of one name of a section.
    Value {
        /// The section.
        section: &'static str,
        /// The name.
        name: &'a str,
    },
}

/// What the file of this path holds; `None` when it is no part of a set.
pub fn role(path: &str) -> Option<Role<'_>> {
    let stem = path.strip_suffix(".yaml")?;
    match stem.split_once('/') {
        None => (!stem.is_empty()).then_some(Role::Part),
        Some((directory, name)) => {
            let section = sections_of_names().find(|section| *section == directory)?;
            (!name.is_empty() && !name.contains('/')).then_some(Role::Value { section, name })
        }
    }
}

/// What may stand in a file of this role.
pub fn shape_of(role: Role<'_>) -> Shape {
    let value = |section: &str| {
        Written::SECTION.fields.iter().find(|field| field.key == section).map(|field| (field.shape)())
    };
    match role {
        Role::Part => Written::shape(),
        Role::Value { section, .. } => match value(section) {
            Some(Shape::Map(_, inner)) => inner(),
            Some(other) => other,
            None => Written::shape(),
        },
    }
}

/// The sections that are maps of names: those that may be moved out into directories.
fn sections_of_names() -> impl Iterator<Item = &'static str> {
    const { &Written::SECTION }
        .fields
        .iter()
        .filter(|field| matches!((field.shape)(), Shape::Map(..)))
        .map(|field| field.key)
}

fn unknown_file(path: &str) -> Fault {
    let directories = sections_of_names().collect::<Vec<_>>().join(", ");
    let hint = match path.strip_suffix(".yml") {
        Some(stem) => format!("rename it to {stem}.yaml"),
        None => format!("files are *.yaml at the top, and *.yaml in the directories {directories}"),
    };
    Fault::new(&Place::new(path, 1, 1), FaultCode::UnknownFile, "this file is no part of a set").hint(hint)
}

/// The sections of all files.
#[derive(Default)]
struct Set {
    entries: Vec<(Key, Node)>,
    /// Section and name → where it is defined.
    known: BTreeMap<(String, String), Place>,
}

impl Set {
    fn add_part(&mut self, root: Node, faults: &mut Faults) {
        match root.kind {
            Kind::Map(entries) => {
                for (key, node) in entries {
                    self.add_section(key, node, faults);
                }
            }
            Kind::Bad => {}
            other => {
                let what = format!("expected the sections of a policy (key: value), found {}", other.name());
                faults.push(Fault::new(&root.at, FaultCode::NotAMap, what));
            }
        }
    }

    fn add_section(&mut self, key: Key, mut node: Node, faults: &mut Faults) {
        if sections_of_names().any(|section| section == key.text)
            && let Kind::Map(entries) = &mut node.kind
        {
            entries.retain(|(name, _)| match self.known.entry((key.text.clone(), name.text.clone())) {
                Entry::Vacant(free) => {
                    free.insert(name.at.clone());
                    true
                }
                Entry::Occupied(first) => {
                    faults.push(twice(name, first.get()));
                    false
                }
            });
        }
        let Some((first, present)) = self.entries.iter_mut().find(|(k, _)| k.text == key.text) else {
            self.entries.push((key, node));
            return;
        };
        let names = sections_of_names().any(|section| section == key.text);
        match (&mut present.kind, node.kind) {
            (Kind::Map(entries), Kind::Map(more)) if names => entries.extend(more),
            (Kind::List(items), Kind::List(more)) => items.extend(more),
            (Kind::Scalar { text: a, plain: p }, Kind::Scalar { text: b, plain: q })
                if *a == b && *p == q => {}
            (Kind::Bad, kind) => present.kind = kind,
            (_, Kind::Bad) => {}
            _ => faults.push(twice(&key, &first.at)),
        }
    }

    fn names(&self) -> BTreeMap<String, BTreeSet<String>> {
        let keys = |node: &Node| match &node.kind {
            Kind::Map(entries) => entries.iter().map(|(key, _)| key.text.clone()).collect(),
            _ => BTreeSet::new(),
        };
        self.entries.iter().map(|(key, node)| (key.text.clone(), keys(node))).collect()
    }
}

fn twice(key: &Key, first: &Place) -> Fault {
    let what = format!("{:?} is defined twice, first in {first}", key.text);
    Fault::new(&key.at, FaultCode::DefinedTwice, what).hint("keep one of them")
}

/// The same with stand-ins for top values that must be there and could not be read: only so that the rules of
/// meaning can look at the rest.
fn patched(root: Node) -> Node {
    let Kind::Map(mut entries) = root.kind else { return root };
    for field in Written::SECTION.fields {
        let stand_in = match field.key {
            "tenure" => "1",
            "fleet" => "fleet",
            "timezone" => "UTC",
            "valid_for" => "90d",
            _ => {
                entries.retain(|(key, node)| key.text != field.key || reads(field.key, node));
                continue;
            }
        };
        entries.retain(|(key, _)| key.text != field.key);
        let kind = Kind::Scalar { text: stand_in.to_owned(), plain: true };
        let key = Key { at: root.at.clone(), text: field.key.to_owned() };
        entries.push((key, Node { at: root.at.clone(), end: root.end, kind }));
    }
    Node { at: root.at, end: root.end, kind: Kind::Map(entries) }
}

/// Whether a section can be read as it is.
fn reads(key: &str, node: &Node) -> bool {
    use crate::fault::Spanned;
    use crate::written::{Controller, Management, Recovery};
    let mut faults = Faults::new();
    match key {
        "controller" => Controller::from_node(node, &mut faults).is_some(),
        "management" => Management::from_node(node, &mut faults).is_some(),
        "recovery" => Recovery::from_node(node, &mut faults).is_some(),
        "heartbeat" => Spanned::<crate::calendar::Period>::from_node(node, &mut faults).is_some(),
        "waivers" | "tests" => matches!(&node.kind, Kind::List(items) if !items.is_empty()),
        _ => matches!(&node.kind, Kind::Map(entries) if !entries.is_empty()),
    }
}
