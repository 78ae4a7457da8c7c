//! A lock's object as somebody left it in the cluster: read, and written back.

use serde_json::Value;
use tenure_lease::{Candidacy, LockKind, fuzzing};

/// Reads the input as each kind of lock, and as what a candidate says of itself.
///
/// # Panics
/// When a lock is read that does not read the same after it was written back.
pub fn lease(input: &[u8]) {
    for kind in [LockKind::Lease, LockKind::ConfigMap, LockKind::Endpoints] {
        let Some((seen, body)) = fuzzing::read_and_write_back(kind, input) else { continue };
        let again = fuzzing::read_and_write_back(kind, body.to_string().as_bytes());
        assert_eq!(again.expect("what we write can be read").0, seen);
        let before: Value = serde_json::from_slice(input).expect("it was read");
        for foreign in ["labels", "ownerReferences", "name", "namespace"] {
            assert_eq!(
                body["metadata"].get(foreign),
                before["metadata"].get(foreign),
                "{foreign} is not ours to change"
            );
        }
    }
    if let Ok(candidacy) = serde_json::from_slice::<Candidacy>(input) {
        let again: Candidacy =
            serde_json::from_value(serde_json::to_value(&candidacy).expect("JSON")).expect("the same");
        assert_eq!(again, candidacy);
    }
}
