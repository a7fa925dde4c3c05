//! What a new version may not drop (rule 14): a tenant, class, host or vault whose duties are open or whose data is there.

use crate::fault::{Fault, FaultCode, Faults};
use crate::resolve::Set;

/// Faults for everything that `new` drops and that `old` still had duties for. Their places are in the old set.
///
/// Data and duties are known only from the policy here: a certificate, once those exist, closes the duty.
pub(crate) fn refuse(old: &Set, new: &Set) -> Faults {
    let mut faults = Faults::new();
    let (was, is) = (&old.written, &new.written);
    for (name, tenant) in &was.tenants {
        let Some(now) = is.tenants.get(name) else {
            let what = format!("tenant {name} is dropped, and its purge certificate is missing");
            let hint = "set ends: in its contract, which starts the clock; it can go when a purge certificate exists";
            faults.push(Fault::new(&tenant.at, FaultCode::Rule, what).hint(hint));
            continue;
        };
        for (class, spanned) in tenant.classes.iter().filter(|(class, _)| !now.classes.contains_key(class)) {
            let what = format!("class {class} of tenant {name} is dropped while its data is there");
            let hint = "keep it until a purge order for the class is done; a new name is a new class";
            faults.push(Fault::new(&spanned.at, FaultCode::Rule, what).hint(hint));
        }
    }
    for (name, host) in was.hosts.iter().filter(|(name, _)| !is.hosts.contains_key(name)) {
        let stores = was.tenants.values().flat_map(|tenant| tenant.stores.values());
        let holds = stores.filter(|store| store.host.value == *name).count() > 0;
        if holds || old.host_backup(name).is_some() {
            let what = format!("host {name} is dropped, and it holds tenants' data or is backed up");
            let hint = "retire it first: a purge order for what it holds, then its certificate";
            faults.push(Fault::new(&host.at, FaultCode::Rule, what).hint(hint));
        }
    }
    for (name, vault) in was.vaults.iter().filter(|(name, _)| !is.vaults.contains_key(name)) {
        let what = format!("vault {name} is dropped while it holds copies");
        let hint =
            "let the hosts back up elsewhere first; it can go when its last copy is certified as erased";
        faults.push(Fault::new(&vault.at, FaultCode::Rule, what).hint(hint));
    }
    faults
}
