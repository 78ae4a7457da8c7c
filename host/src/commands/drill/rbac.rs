//! What to say when the API server refuses: which rule is missing, as it would stand in a Role. Pure.

use anyhow::anyhow;

/// The error for a request that RBAC refused.
pub(super) fn forbidden(verb: &str, group: &str, resource: &str, namespace: &str, said: &str) -> anyhow::Error {
    let (place, role) = match namespace {
        "" => ("in no namespace".to_owned(), "ClusterRole".to_owned()),
        namespace => (format!("in namespace {namespace:?}"), format!("Role in {namespace:?}")),
    };
    anyhow!(
        "forbidden to {verb} {resource} {place}: bind this account to a {role} with apiGroups [{group:?}], resources \
         [{resource:?}], verbs [{verb:?}]; the API server says: {said}"
    )
}

/// An error of a request on `resource` (of the core group), with what to do about it where that is known.
pub(super) fn explain(error: kube::Error, verb: &str, resource: &str, namespace: &str, what: &str) -> anyhow::Error {
    match error {
        kube::Error::Api(status) if status.code == 403 => forbidden(verb, "", resource, namespace, &status.message),
        error => anyhow::Error::from(error).context(format!("cannot {verb} {what}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_names_verb_resource_and_namespace() {
        let error = forbidden("delete", "", "pods", "shop", "no RBAC policy matched").to_string();
        for part in
            ["delete", "pods", "Role in \"shop\"", "apiGroups [\"\"]", "verbs [\"delete\"]", "no RBAC policy matched"]
        {
            assert!(error.contains(part), "{part} is not in: {error}");
        }
        assert!(forbidden("create", "", "namespaces", "", "no").to_string().contains("ClusterRole"));
    }
}
