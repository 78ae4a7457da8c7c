//! Whether the host may work in the name of an account, asked before a plugin is taken that needs it: else every call of it would
//! fail, each in words of its own.

use tenure_cluster::{Cluster, Impersonated, Review};
use tenure_settings::ServiceAccount;

use super::load::Refusal;
use crate::supervise::describe;

/// What the extra of a Pod is called in RBAC.
pub(crate) const POD_NAME: &str = "authentication.kubernetes.io/pod-name";

/// The account, ready to be put into requests.
///
/// # Errors
/// What the host lacks, and what prints the Role that mends it. Looked at again later: Roles come and go.
pub(super) async fn become_account(
    account: &ServiceAccount,
    pod: Option<&str>,
    cluster: &Cluster,
) -> Result<Impersonated, Refusal> {
    let impersonate = Review { verb: "impersonate", ..Review::default() };
    let mut needed = vec![
        (
            format!("impersonate serviceaccounts {:?} in namespace {}", account.name, account.namespace),
            Review {
                resource: "serviceaccounts",
                namespace: Some(&account.namespace),
                name: Some(&account.name),
                ..impersonate
            },
        ),
        (
            "create subjectaccessreviews.authorization.k8s.io".to_owned(),
            Review {
                verb: "create",
                group: "authorization.k8s.io",
                resource: "subjectaccessreviews",
                ..Review::default()
            },
        ),
    ];
    if pod.is_some() {
        let review = Review {
            group: "authentication.k8s.io",
            resource: "userextras",
            subresource: Some(POD_NAME),
            name: pod,
            ..impersonate
        };
        needed.push((format!("impersonate userextras/{POD_NAME} in group authentication.k8s.io"), review));
    }
    let mut lacking = Vec::new();
    for (what, review) in needed {
        let reviewed = cluster.review(None, &review).await;
        let reviewed = reviewed.map_err(|error| {
            Refusal::for_now(format!("the host cannot ask whether it may work as {account}: {}", describe(&error)))
        })?;
        if !reviewed.allowed {
            lacking.push(what);
        }
    }
    if !lacking.is_empty() {
        return Err(Refusal::for_now(format!(
            "its grant names service-account {account}, and the host may not: {}; `tenure plugin rbac --config` prints the Roles that mend it",
            lacking.join("; ")
        )));
    }
    Impersonated::new(&account.namespace, &account.name, pod).map_err(|error| Refusal::for_good(error.to_string()))
}
