//! Every folder of policies/examples is a set without faults, in which every host resolves.

use std::collections::BTreeMap;
use std::path::Path;

/// The *.yaml files below a folder, as relative path → text.
fn files_of(folder: &Path) -> BTreeMap<String, String> {
    let mut files = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(&next).expect("the folder can be read") {
            let path = entry.expect("the folder can be read").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "yaml") {
                let name = path
                    .strip_prefix(folder)
                    .ok()
                    .and_then(Path::to_str)
                    .expect("below the folder")
                    .to_owned();
                files.insert(name, std::fs::read_to_string(&path).expect("the file can be read"));
            }
        }
    }
    files
}

#[test]
fn every_example_loads() {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples");
    let mut seen = 0;
    for entry in std::fs::read_dir(&examples).unwrap() {
        let folder = entry.unwrap().path();
        if !folder.is_dir() {
            continue;
        }
        seen += 1;
        let files = files_of(&folder);
        for (name, text) in &files {
            let canonical = tenure_policy::fmt::canonical(name, text).map_err(|faults| faults.to_string());
            assert_eq!(canonical.as_ref(), Ok(text), "{}/{name} is in its canonical form", folder.display());
        }
        let set = match tenure_policy::load(&files) {
            Ok(set) => set,
            Err(faults) => panic!("{}:\n{faults}", folder.display()),
        };
        assert!(set.hosts().count() > 0, "{} has no host", folder.display());
        for host in set.hosts() {
            let policy = set.host_policy(host).unwrap();
            let section = policy.firewall.as_ref().unwrap();
            assert!(!section.management.is_empty(), "{host} has a management path");
            assert!(!set.explain(host, "").unwrap().is_empty(), "{host} is explained");
            let bytes = serde_json::to_vec(&policy).unwrap();
            let back: tenure_policy::resolved::HostPolicy = serde_json::from_slice(&bytes).unwrap();
            assert_eq!(back, policy, "{host} is read back as it was written");
        }
        assert!(!set.tests().is_empty() && !set.promises().is_empty());
    }
    assert!(seen > 0, "no example was found");
}
