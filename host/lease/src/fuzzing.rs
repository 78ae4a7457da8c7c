//! What the driver does with a Lease it was sent, for a fuzz target to call. Behind the feature `fuzzing`.

use serde_json::Value;
use tenure_election::Seen;

use crate::object::LeaseObject;

/// Reads a Lease, and gives what the elector would see and the body of a PUT that changes nothing. `None` where it is no Lease.
#[must_use]
pub fn read_and_write_back(body: &[u8]) -> Option<(Seen, Value)> {
    let object = LeaseObject::parse(body).ok()?;
    Some((object.seen().clone(), object.replaced_by(&object.seen().record)))
}
