//! The seam between the contract's types and the crate's own, and what runs around a reconcile: settings, the panic hook,
//! the log. Owns no decision. Public only for [`reconciler!`](crate::reconciler), [`task!`](crate::task!) and
//! [`lock_policy!`](crate::lock_policy).

#[cfg(target_family = "wasm")]
mod exports;
#[cfg(target_family = "wasm")]
mod imports;

#[cfg(target_family = "wasm")]
pub use exports::{PolicySlot, Slot, run};
#[cfg(target_family = "wasm")]
pub use imports::{Imports, ReadingImports};

use crate::log::Level;

#[cfg(target_family = "wasm")]
pub(crate) fn emit(level: Level, message: &str, fields: &[(&str, String)]) {
    imports::emit(level, message, fields);
}

#[cfg(not(target_family = "wasm"))]
pub(crate) fn emit(level: Level, message: &str, fields: &[(&str, String)]) {
    crate::testing::record_line(level, message, fields);
}
