//! What the driver does with a lock's object it was sent, for a fuzz target to call. Behind the feature `fuzzing`.

use serde_json::Value;
use tenure_election::Seen;

use crate::LockKind;
use crate::object::LockObject;

/// Reads an object of this kind, and gives what the elector would see and the body of a PUT that changes nothing. `None` where it
/// cannot be a lock.
#[must_use]
pub fn read_and_write_back(kind: LockKind, body: &[u8]) -> Option<(Seen, Value)> {
    let object = LockObject::parse(kind, body).ok()?;
    Some((object.seen().clone(), object.replaced_by(&object.seen().record)))
}
