//! The admissions that hold now: one place that the policy's thread sets and whoever checks a key reads.

use std::sync::{Arc, PoisonError, RwLock};

use tenure_trust::AdmissionBook;

/// The admissions in force. Clones are the same; it begins with a book in which nobody has a key.
#[derive(Debug, Clone, Default)]
pub struct AdmissionInForce(Arc<RwLock<Arc<AdmissionBook>>>);

impl AdmissionInForce {
    /// The book as it stands.
    pub fn get(&self) -> Arc<AdmissionBook> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Puts another book in its place.
    pub fn set(&self, book: AdmissionBook) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(book);
    }
}
