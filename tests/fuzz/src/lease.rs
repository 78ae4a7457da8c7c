//! A Lease as somebody left it in the cluster: read, and written back.

use serde_json::Value;
use tenure_lease::{Candidacy, fuzzing};

/// Reads the input as a Lease, and as what a candidate says of itself.
///
/// # Panics
/// When a Lease is read that does not read the same after it was written back.
pub fn lease(input: &[u8]) {
    if let Some((seen, body)) = fuzzing::read_and_write_back(input) {
        let (again, _) = fuzzing::read_and_write_back(body.to_string().as_bytes()).expect("what we write can be read");
        assert_eq!(again, seen);
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
