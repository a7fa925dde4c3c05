//! Faults of meaning in tenants: contracts, stores (a place has exactly one tenant), classes.

use std::collections::BTreeMap;

use tenure_trust::{HostName, TenantId};

use crate::fault::{Fault, FaultCode, Faults, Place, Spanned};
use crate::resolve::backup::known_host;
use crate::resolve::book::Book;
use crate::scalars::{AbsolutePath, ClassName};
use crate::written::{Action, Class, Store, Tenant, Written};

/// Checks all tenants.
pub(crate) fn check(written: &Written, book: &Book, faults: &mut Faults) {
    let mut places = Places::default();
    for (name, tenant) in &written.tenants {
        check_contract(tenant, faults);
        if let Some((host, at)) = HostName::new(name.as_str())
            .ok()
            .and_then(|host| written.hosts.get_key_value(&host))
            .map(|(host, spanned)| (host, &spanned.at))
        {
            let what = format!("the tenant {name} has the name of the host {host} at {at}");
            let hint = "backups stand under the owner's name: give the tenant another";
            faults.push(Fault::new(&tenant.at, FaultCode::DefinedTwice, what).hint(hint));
        }
        for store in tenant.stores.values() {
            check_store(store, written, book, faults);
            places.add(name, store, faults);
        }
        for (class_name, class) in &tenant.classes {
            check_class(class_name, class, tenant, book, faults);
        }
    }
    places.check_nested(faults);
}

fn check_contract(tenant: &Spanned<Tenant>, faults: &mut Faults) {
    let contract = &tenant.contract;
    let started = contract.started.value;
    if let Some(ends) = &contract.ends.0
        && ends.value < started
    {
        let what = format!("the contract ends on {} before it starts on {started}", ends.value);
        faults.push(Fault::new(&ends.at, FaultCode::Rule, what).hint("one of the two dates is wrong"));
    }
    if let Some(older) = &contract.supersedes
        && older.value >= contract.terms.value
    {
        let what = format!("terms of {} cannot supersede those of {}", contract.terms.value, older.value);
        faults.push(
            Fault::new(&older.at, FaultCode::Rule, what).hint("supersedes: is the day of the older terms"),
        );
    }
}

fn check_store(store: &Spanned<Store>, written: &Written, book: &Book, faults: &mut Faults) {
    known_host(&store.host, written, book, faults);
    let mut refuse = |at: &Place, what: &str, hint: &str| {
        faults.push(Fault::new(at, FaultCode::Rule, what).hint(hint));
    };
    let shared = store.shared.as_ref().is_some_and(|shared| shared.value);
    match (&store.path, &store.database) {
        (None, None) => refuse(&store.at, "a store without a place", "say path: or database:"),
        (Some(path), Some(_)) => {
            refuse(&path.at, "a store in two places", "say path: or database:, a store for each")
        }
        (Some(path), None) => {
            if shared {
                refuse(
                    &path.at,
                    "a shared directory",
                    "a directory has exactly one tenant; give each its own",
                );
            }
            if let Some(schema) = &store.schema {
                refuse(&schema.at, "a schema without a database", "leave schema: out");
            }
        }
        (None, Some(_)) => {
            if let Some(user) = &store.user {
                refuse(&user.at, "the user of a directory in a store in a database", "leave user: out");
            }
        }
    }
    if shared && store.filter.is_empty() {
        let hint = "add where: { table: { column: [values] } } for each table";
        refuse(&store.at, "a shared store that does not say which rows are theirs", hint);
    }
    if !shared && let Some((_, filter)) = store.filter.first_key_value() {
        let hint = "add shared: true, or leave where: out";
        refuse(&filter.at, "rows picked out of a store that is not shared", hint);
    }
    let host = written.hosts.get(&store.host.value);
    if let (Some(database), Some(host)) = (&store.database, host)
        && !host.databases.contains_key(&database.value)
    {
        let known = host.databases.keys().map(|name| name.as_str());
        let fault = Fault::unknown(&database.at, "database", database.as_str(), known);
        if book.is_whole() {
            faults.push(fault.hint("see databases: of the host"));
        }
    }
}

/// Which tenant has which place (rule 13).
#[derive(Default)]
struct Places<'w> {
    paths: BTreeMap<(&'w HostName, &'w AbsolutePath), (&'w TenantId, &'w Place)>,
    schemas: BTreeMap<(&'w HostName, &'w str), Vec<Schema<'w>>>,
}

struct Schema<'w> {
    tenant: &'w TenantId,
    at: &'w Place,
    name: Option<&'w str>,
    shared: bool,
}

impl<'w> Places<'w> {
    fn add(&mut self, tenant: &'w TenantId, store: &'w Spanned<Store>, faults: &mut Faults) {
        if let Some(path) = &store.path {
            let before = self.paths.insert((&store.host.value, &path.value), (tenant, &path.at));
            if let Some((other, at)) = before {
                faults.push(taken(&path.at, &format!("{} on {}", path.value, store.host.value), other, at));
            }
        }
        if let Some(database) = &store.database {
            self.schemas.entry((&store.host.value, database.as_str())).or_default().push(Schema {
                tenant,
                at: &store.at,
                name: store.schema.as_ref().map(|schema| schema.as_str()),
                shared: store.shared.as_ref().is_some_and(|shared| shared.value),
            });
        }
    }

    fn check_nested(&self, faults: &mut Faults) {
        for ((host, path), (tenant, at)) in &self.paths {
            for parent in parents(path.as_str()) {
                let Ok(parent) = AbsolutePath::new(parent) else { continue };
                match self.paths.get(&(*host, &parent)) {
                    Some((other, other_at)) if other != tenant => {
                        faults.push(taken(
                            at,
                            &format!("{path} on {host}, inside {parent},"),
                            other,
                            other_at,
                        ));
                    }
                    _ => {}
                }
            }
        }
        for ((host, database), schemas) in &self.schemas {
            check_schemas(host, database, schemas, faults);
        }
    }
}

/// A schema, or a database as a whole, has one tenant, unless every store in it says that it is shared.
fn check_schemas(host: &HostName, database: &str, schemas: &[Schema<'_>], faults: &mut Faults) {
    let mut first: BTreeMap<Option<&str>, &Schema<'_>> = BTreeMap::new();
    let whole = schemas.iter().find(|schema| schema.name.is_none());
    for schema in schemas {
        let earlier = *first.entry(schema.name).or_insert(schema);
        for other in [Some(earlier), whole].into_iter().flatten() {
            if other.tenant != schema.tenant && !(other.shared && schema.shared) {
                let place = match schema.name {
                    Some(name) => format!("the schema {name} of {database} on {host}"),
                    None => format!("the database {database} on {host}"),
                };
                faults.push(taken(schema.at, &place, other.tenant, other.at));
            }
        }
    }
}

fn taken(at: &Place, place: &str, other: &TenantId, other_at: &Place) -> Fault {
    let what = format!("{place} belongs to tenant {other} too, at {other_at}");
    Fault::new(at, FaultCode::Rule, what)
        .hint("a place has exactly one tenant; rows of shared tables are declared by all of them with shared: true and where:")
}

/// `/a/b/c` → `/a/b`, `/a`, `/`.
fn parents(path: &str) -> impl Iterator<Item = &str> {
    path.char_indices()
        .rev()
        .filter(|(_, c)| *c == '/')
        .map(|(i, _)| if i == 0 { "/" } else { &path[..i] })
        .filter(move |parent| *parent != path)
}

fn check_class(name: &ClassName, class: &Spanned<Class>, tenant: &Tenant, book: &Book, faults: &mut Faults) {
    let mut refuse = |at: &Place, what: String, hint: &str| {
        faults.push(Fault::new(at, FaultCode::Rule, what).hint(hint));
    };
    if class.keep_at_least.is_none() && class.keep_at_most.is_none() {
        let hint = "add keep_at_most: or keep_at_least:";
        refuse(&class.at, format!("the class {name} says no period"), hint);
    }
    if let (Some(least), Some(most)) = (&class.keep_at_least, &class.keep_at_most)
        && least.longest_seconds() > most.longest_seconds()
    {
        let what = format!("the class {name} is kept at least {} and at most {}", least.value, most.value);
        refuse(&most.at, what, "the least is longer than the most: one of them is wrong");
    }
    match (class.action(), class.set.first_key_value()) {
        (Action::Anonymise, None) => {
            let hint = "add set: { column: value } for each column that names somebody";
            refuse(&class.at, format!("the class {name} is anonymised, but nothing says how"), hint);
        }
        (Action::Check | Action::Delete, Some((_, set))) => {
            refuse(
                &set.at,
                format!("set: in the class {name}, which is not anonymised"),
                "leave set: out, or write then: anonymise",
            );
        }
        _ => {}
    }
    let Some(store) = tenant.stores.get(&class.store.value) else {
        let known = tenant.stores.keys().map(|store| store.as_str());
        let fault = Fault::unknown(&class.store.at, "store", class.store.as_str(), known);
        if book.is_whole() {
            faults.push(fault.hint("see stores: of the tenant"));
        }
        return;
    };
    if store.database.is_some() && class.table.is_none() {
        refuse(&class.at, format!("the class {name} is in a database and names no table"), "add table:");
    }
    if store.database.is_none()
        && let Some(table) = &class.table
    {
        refuse(
            &table.at,
            format!("the class {name} is in a directory and names a table"),
            "leave table: out",
        );
    }
    if class.table.is_some() && class.age_from.is_none() {
        refuse(
            &class.at,
            format!("the class {name} does not say how old a row is"),
            "add age_from: with the column",
        );
    }
    let shared = store.shared.as_ref().is_some_and(|shared| shared.value);
    if let Some(table) =
        class.table.as_ref().filter(|table| shared && !store.filter.contains_key(&table.value))
    {
        let what = format!(
            "the class {name} is in the shared table {}, and where: does not say which rows are theirs",
            table.value
        );
        refuse(&table.at, what, "add the table to where: of the store");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::read::read;
    use crate::read_tests::{COMPLETE, files};

    #[test]
    fn what_nobody_has_written_down_changes_nothing() {
        let said = "keep_at_most: 25 months, then: check }";
        assert!(COMPLETE.contains(said));
        let actions = |text: &str| -> Vec<(String, Action)> {
            let written = read(&files(&[("fleet.yaml", text)])).expect("no fault");
            let classes = written.tenants.values().flat_map(|tenant| tenant.classes.iter());
            classes.map(|(name, class)| (name.to_string(), class.action())).collect()
        };
        let written = actions(COMPLETE);
        assert!(written.contains(&("campaigns".into(), Action::Check)), "{written:?}");
        assert!(written.contains(&("reports".into(), Action::Anonymise)), "{written:?}");
        assert_eq!(actions(&COMPLETE.replace(said, "keep_at_most: 25 months }")), written);
    }

    #[test]
    fn parents_of_a_path() {
        assert_eq!(parents("/a/b/c").collect::<Vec<_>>(), ["/a/b", "/a", "/"]);
        assert_eq!(parents("/a").collect::<Vec<_>>(), ["/"]);
        assert_eq!(parents("/").count(), 0);
    }
}
