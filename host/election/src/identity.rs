//! Who a candidate is.

/// A candidate's name in the lock: what `spec.holderIdentity` says while it leads.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Identity(String);

/// A name that cannot stand in a lease.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("identity {given:?} {problem}; give a non-empty name of at most 253 visible ASCII characters without '/'")]
pub struct InvalidIdentity {
    given: String,
    problem: &'static str,
}

impl Identity {
    /// Checks a name.
    ///
    /// # Errors
    /// When it is empty, longer than 253 bytes, or holds a `/`, white space or anything but visible ASCII.
    pub fn new(name: impl Into<String>) -> Result<Self, InvalidIdentity> {
        let name = name.into();
        let problem = if name.is_empty() {
            "is empty"
        } else if name.len() > 253 {
            "is too long"
        } else if !name.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'/') {
            "has a character that cannot stand there"
        } else {
            return Ok(Self(name));
        };
        Err(InvalidIdentity { given: name, problem })
    }

    /// As written into the lock.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_cannot_stand_in_a_lease_are_refused() {
        for name in ["", "a/b", "a b", "\u{e4}", "a\n", &"a".repeat(254)] {
            let refused = Identity::new(name).expect_err("refused").to_string();
            assert!(refused.contains("give a non-empty name"), "{refused}");
        }
        assert_eq!(Identity::new("pod-a_0f").expect("accepted").as_str(), "pod-a_0f");
    }
}
