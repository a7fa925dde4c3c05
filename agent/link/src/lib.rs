//! Bundle store, record chain on disk and spool; used by agent and vault.
