//! Packages and their dependencies, as `cargo metadata` gives them for the locked tree.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

/// One package of the locked tree.
#[derive(Debug, Clone)]
pub struct Package {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// SPDX expression, when it states one.
    pub license: Option<String>,
    /// Where it comes from; none for a member of the workspace.
    pub source: Option<String>,
    /// The folder of its manifest.
    pub folder: String,
    /// What its own manifest names: package name and the name used in code.
    pub named: Vec<(String, String)>,
}

/// The packages of a locked tree and who uses whom.
#[derive(Debug)]
pub struct Graph {
    packages: BTreeMap<String, Package>,
    members: BTreeSet<String>,
    /// Normal and build edges only: what ends up in, or makes, what we ship.
    shipped: BTreeMap<String, Vec<String>>,
}

impl Graph {
    /// Asks cargo about the workspace.
    ///
    /// # Panics
    /// When cargo fails or answers in another shape: then no rule can be checked.
    #[must_use]
    pub fn of_this_workspace() -> Self {
        Self::for_target("x86_64-unknown-linux-gnu")
    }

    /// The same for another target.
    ///
    /// # Panics
    /// As [`Graph::of_this_workspace`].
    #[must_use]
    pub fn for_target(target: &str) -> Self {
        let argv = [env!("CARGO"), "metadata", "--format-version", "1", "--locked", "--filter-platform"];
        let argv = [argv.as_slice(), &[target]].concat();
        let output = tenure_lab::run(&argv, 120).expect("cargo metadata runs");
        assert!(output.ok(), "cargo metadata failed: {}", output.stderr);
        let json: Value = serde_json::from_str(&output.stdout).expect("cargo metadata writes JSON");
        Self::read(&json)
    }

    fn read(json: &Value) -> Self {
        let packages = list(&json["packages"]).iter().map(|p| (text(&p["id"]), package(p))).collect();
        let members = list(&json["workspace_members"]).iter().map(text).collect();
        let shipped = list(&json["resolve"]["nodes"])
            .iter()
            .map(|node| {
                let uses = list(&node["deps"]).iter().filter(|dep| ships(dep)).map(|dep| text(&dep["pkg"]));
                (text(&node["id"]), uses.collect())
            })
            .collect();
        Self { packages, members, shipped }
    }

    /// Our own packages, by name.
    pub fn members(&self) -> impl Iterator<Item = &Package> {
        self.members.iter().filter_map(|id| self.packages.get(id))
    }

    /// All packages of others that end up in, or make, what we ship.
    #[must_use]
    pub fn foreign(&self) -> Vec<&Package> {
        self.packages.values().filter(|p| p.source.is_some()).collect()
    }

    /// The members that `name` uses directly (tests of it excepted).
    #[must_use]
    pub fn uses(&self, name: &str) -> BTreeSet<String> {
        let ids = self.id(name).and_then(|id| self.shipped.get(id)).into_iter().flatten();
        ids.filter(|id| self.members.contains(*id)).map(|id| self.packages[id].name.clone()).collect()
    }

    /// The names of all packages that `name` reaches when it is built for itself. Not from the whole workspace's
    /// graph: there a feature that another member switches on would count against it.
    ///
    /// # Panics
    /// When cargo fails: then no rule can be checked.
    #[must_use]
    pub fn reach(name: &str) -> BTreeSet<String> {
        let argv = [env!("CARGO"), "tree", "--locked", "--package", name, "--edges", "normal,build"];
        let form = ["--target", "x86_64-unknown-linux-gnu", "--prefix", "none", "--format", "{p}"];
        let output =
            tenure_lab::run(&[argv.as_slice(), form.as_slice()].concat(), 120).expect("cargo tree runs");
        assert!(output.ok(), "cargo tree failed: {}", output.stderr);
        let names = output.stdout.lines().filter_map(|line| line.split(' ').next());
        names.filter(|other| *other != name && !other.is_empty()).map(str::to_owned).collect()
    }

    fn id(&self, name: &str) -> Option<&String> {
        self.members.iter().find(|id| self.packages[*id].name == name)
    }
}

fn ships(dep: &Value) -> bool {
    list(&dep["dep_kinds"]).iter().any(|kind| kind["kind"].as_str() != Some("dev"))
}

fn package(json: &Value) -> Package {
    let manifest = text(&json["manifest_path"]);
    let named = list(&json["dependencies"]).iter().map(|dep| {
        let name = text(&dep["name"]);
        let used_as = dep["rename"].as_str().unwrap_or(&name).replace('-', "_");
        (name, used_as)
    });
    Package {
        name: text(&json["name"]),
        version: text(&json["version"]),
        license: json["license"].as_str().map(str::to_owned),
        source: json["source"].as_str().map(str::to_owned),
        folder: manifest.trim_end_matches("/Cargo.toml").to_owned(),
        named: named.collect(),
    }
}

fn text(json: &Value) -> String {
    json.as_str().unwrap_or_default().to_owned()
}

fn list(json: &Value) -> &[Value] {
    json.as_array().map_or(&[], Vec::as_slice)
}
