//! Whose key is whose: the admissions that hold, judged by the controller itself under the root. It believes nobody's
//! certificate by its text, and no row of its database by being there.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, PoisonError, RwLock};

use tenure_trust::admission::verify_order;
use tenure_trust::{
    Admission, AdmissionBook, AdmissionList, Hash, HostName, KeyId, MachineRole, OrderKind, Root, Verified,
};

/// What is judged once for every change and read for every request.
#[derive(Debug, Default)]
struct Judged {
    book: AdmissionBook,
    by_tls: BTreeMap<Hash, (HostName, MachineRole)>,
    revoked: BTreeSet<KeyId>,
    list: Arc<Vec<u8>>,
}

/// The book. Clones are the same one.
#[derive(Debug, Clone, Default)]
pub struct Book(Arc<RwLock<Arc<Judged>>>);

impl Book {
    /// Judges the list under the root, with what the policy's index revokes beside it. Returns how many were refused.
    pub fn judge(&self, root: &Verified<Root>, list: &AdmissionList, in_index: &BTreeSet<KeyId>) -> usize {
        let mut revoked = in_index.clone();
        for order in &list.revocations {
            if let Ok(order) = verify_order(root, order.as_bytes())
                && let OrderKind::Revoke { key, .. } = &order.what
            {
                revoked.insert(*key);
            }
        }
        let (book, refused) = AdmissionBook::judge(root, list, &revoked);
        let by_tls = book.iter().map(|a| (a.tls, (a.name.clone(), a.role))).collect();
        let list = Arc::new(serde_json::to_vec(list).unwrap_or_default());
        let judged = Arc::new(Judged { book, by_tls, revoked, list });
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = judged;
        refused.len()
    }

    /// The machine whose TLS key this is, if an admission names it and none revokes it.
    pub fn by_tls(&self, key: &Hash) -> Option<Verified<Admission>> {
        let judged = self.read();
        let (name, role) = judged.by_tls.get(key)?;
        judged.book.of(name, *role).cloned()
    }

    /// The admission of this name in this role.
    pub fn of(&self, name: &HostName, role: MachineRole) -> Option<Verified<Admission>> {
        self.read().book.of(name, role).cloned()
    }

    /// Was this identity key revoked?
    pub fn is_revoked(&self, key: &KeyId) -> bool {
        self.read().revoked.contains(key)
    }

    /// All admissions that hold, by name and role.
    pub fn all(&self) -> Vec<Verified<Admission>> {
        self.read().book.iter().cloned().collect()
    }

    /// The whole list as it is handed on: each machine judges it itself.
    pub fn list(&self) -> Arc<Vec<u8>> {
        self.read().list.clone()
    }

    fn read(&self) -> Arc<Judged> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
