//! The paths of a request as one tree of names: what is walked whole, what only leads there, what is a virtual file.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path};

use super::error::EngineError;
use super::names::is_name;
use super::request::{BackupRequest, Exclude};

/// Names between `/` and a requested path at most.
const DEPTH: usize = 64;

/// A directory or file on the way to what is asked for.
#[derive(Debug, Default)]
pub(crate) struct Target {
    /// All of it is asked for.
    pub(crate) whole: bool,
    /// It is a file of the request's own: which.
    pub(crate) virtual_file: Option<usize>,
    pub(crate) children: BTreeMap<Vec<u8>, Target>,
}

/// What is asked for, and what of it is not.
#[derive(Debug, Default)]
pub(crate) struct Targets {
    pub(crate) root: Target,
    /// Requested paths: a pseudo file system that is named is kept.
    pub(crate) named: HashSet<Vec<u8>>,
    pub(crate) excluded: Excluded,
}

/// What is left out.
#[derive(Debug, Default)]
pub(crate) struct Excluded {
    /// By directory: names in it.
    names: HashMap<Vec<u8>, HashSet<Vec<u8>>>,
    inodes: HashSet<(u64, u64)>,
}

impl Targets {
    /// Sorts a request's paths.
    pub(crate) fn of(request: &BackupRequest) -> Result<Self, EngineError> {
        let mut targets = Self { excluded: Excluded::of(&request.exclude)?, ..Self::default() };
        for path in &request.paths {
            let names = names(path)?;
            targets.named.insert(joined(&names));
            targets.root.place(names)?.whole = true;
        }
        for (number, file) in request.virtual_files.iter().enumerate() {
            let wrong = |why| EngineError::Path { path: file.path.clone(), why };
            let names = names(&file.path)?;
            if names.is_empty() {
                return Err(wrong("is a directory"));
            }
            let target = targets.root.place(names).map_err(|_| wrong("lies below another virtual file"))?;
            if target.virtual_file.is_some() || target.whole || !target.children.is_empty() {
                return Err(wrong("is asked for twice"));
            }
            target.virtual_file = Some(number);
        }
        targets.root.settle()?;
        Ok(targets)
    }
}

impl Target {
    fn place(&mut self, names: Vec<Vec<u8>>) -> Result<&mut Self, EngineError> {
        names.into_iter().try_fold(self, |at, name| match at.virtual_file {
            Some(_) => Err(EngineError::Path { path: "".into(), why: "lies below a virtual file" }),
            None => Ok(at.children.entry(name).or_default()),
        })
    }

    /// What lies below something whole is part of it; a virtual file there would have two sources.
    fn settle(&mut self) -> Result<bool, EngineError> {
        let mut virtual_below = self.virtual_file.is_some();
        for child in self.children.values_mut() {
            virtual_below |= child.settle()?;
        }
        if self.whole && virtual_below {
            let why = "a virtual file lies below a path that is backed up whole";
            return Err(EngineError::Path { path: "/".into(), why });
        }
        if self.whole {
            self.children.clear();
        }
        Ok(virtual_below)
    }

    /// Whether a virtual file stands here or below.
    pub(crate) fn has_virtual(&self) -> bool {
        self.virtual_file.is_some() || self.children.values().any(Self::has_virtual)
    }
}

impl Excluded {
    fn of(exclude: &Exclude) -> Result<Self, EngineError> {
        let mut this = Self { inodes: exclude.inodes.iter().copied().collect(), ..Self::default() };
        for path in &exclude.paths {
            let mut names = names(path)?;
            if let Some(last) = names.pop() {
                this.names.entry(joined(&names)).or_default().insert(last);
            }
        }
        Ok(this)
    }

    /// The excluded names of one directory.
    pub(crate) fn of_directory(&self, path: &[u8]) -> Option<&HashSet<Vec<u8>>> {
        if self.names.is_empty() { None } else { self.names.get(path) }
    }

    /// Whether a device and inode are excluded.
    pub(crate) fn inode(&self, device: u64, inode: u64) -> bool {
        !self.inodes.is_empty() && self.inodes.contains(&(device, inode))
    }
}

/// The names of an absolute path; none of `/`.
pub(crate) fn names(path: &Path) -> Result<Vec<Vec<u8>>, EngineError> {
    let wrong = |why| EngineError::Path { path: path.to_owned(), why };
    let mut names = Vec::new();
    let mut parts = path.components();
    if parts.next() != Some(Component::RootDir) {
        return Err(wrong("is not absolute"));
    }
    for part in parts {
        match part {
            Component::Normal(name) if is_name(name.as_bytes()) => names.push(name.as_bytes().to_vec()),
            _ => return Err(wrong("has `..`, or a name that no file can have")),
        }
    }
    if names.len() > DEPTH { Err(wrong("is too deep")) } else { Ok(names) }
}

/// `/a/b`; the empty path of `/`.
pub(crate) fn joined(names: &[Vec<u8>]) -> Vec<u8> {
    names.iter().flat_map(|name| [&b"/"[..], name]).collect::<Vec<_>>().concat()
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;
    use crate::engine::VirtualFile;

    fn request(paths: &[&str], virtual_files: &[&str]) -> BackupRequest {
        let file = |path: &&str| VirtualFile {
            path: path.into(),
            file: File::open("/dev/null").unwrap(),
            mode: 0o600,
        };
        BackupRequest {
            paths: paths.iter().map(Into::into).collect(),
            virtual_files: virtual_files.iter().map(file).collect(),
            ..BackupRequest::default()
        }
    }

    #[test]
    fn nested_paths_are_one_and_virtual_files_stand_alone() {
        let targets = Targets::of(&request(&["/srv/app", "/srv", "/etc/"], &["/dumps/a"])).unwrap();
        assert_eq!(targets.root.children.len(), 3);
        let srv = &targets.root.children[&b"srv"[..]];
        assert!(srv.whole && srv.children.is_empty());
        assert!(targets.named.contains(&b"/srv/app"[..]));
        for (paths, files) in [
            (&["/"][..], &["/dumps/a"][..]),
            (&["/dumps"], &["/dumps/a"]),
            (&["/dumps/a"], &["/dumps/a"]),
            (&["/dumps/a/b"], &["/dumps/a"]),
            (&[], &["/dumps/a", "/dumps/a"]),
            (&[], &["/dumps/a", "/dumps/a/b"]),
            (&[], &["/"]),
            (&["srv"], &[]),
            (&["/srv/../etc"], &[]),
            (&[""], &[]),
        ] {
            assert!(
                matches!(Targets::of(&request(paths, files)), Err(EngineError::Path { .. })),
                "{paths:?} {files:?}"
            );
        }
    }
}
