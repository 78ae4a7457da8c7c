//! `tenure fence reset`: takes a fencing token off an object. With the rights of whoever types it, and in the group that the object
//! fence lets pass.

use anyhow::{Context as _, bail};
use k8s_openapi::api::authentication::v1::SelfSubjectReview;
use kube::Client;
use kube::api::{Api, DynamicObject, Patch, PatchParams, PostParams};
use kube::core::{GroupVersion, GroupVersionKind};
use kube::discovery::{Scope, pinned_kind};
use serde_json::json;
use tenure_settings::PluginIdentity;

use super::{agree, say, unless_nobody_reads};
use crate::cli::FenceResetArgs;
use crate::run::kube_config;

/// Whom the object fence lets pass: deploy/kustomize/components/object-fence.
const BREAK_GLASS: &str = "tenure.dev:break-glass";
/// The API server puts everybody who logs in into it, also who is impersonated.
const EVERYBODY: &str = "system:authenticated";

/// Says what is about to be done, asks, and does it.
pub(crate) async fn reset(args: FenceResetArgs) -> anyhow::Result<()> {
    let identity = PluginIdentity::parse(&args.plugin)?;
    let annotation = identity.fence();
    let kind = kind(&args.kind)
        .with_context(|| format!("{:?} is no kind; write it as in v1/ConfigMap or apps/v1/Deployment", args.kind))?;
    let config = kube_config(&args.cluster).await?;
    let client = Client::try_from(config.clone())?;
    let (resource, capabilities) =
        pinned_kind(&client, &kind).await.with_context(|| format!("the API server does not serve {}", args.kind))?;
    let here = |client: Client| -> Api<DynamicObject> {
        match (&capabilities.scope, &args.namespace) {
            (Scope::Namespaced, Some(namespace)) => Api::namespaced_with(client, namespace, &resource),
            (Scope::Namespaced, None) => Api::default_namespaced_with(client, &resource),
            (Scope::Cluster, _) => Api::all_with(client, &resource),
        }
    };
    let object = here(client.clone()).get(&args.name).await;
    let object = object.with_context(|| format!("cannot read {} {}", args.kind, args.name))?;
    let Some(token) = object.metadata.annotations.as_ref().and_then(|all| all.get(&annotation)) else {
        bail!("{} {} carries no token of plugin {identity} ({annotation}): nothing to reset", args.kind, args.name);
    };
    if !args.yes {
        agree(&format!(
            "{} {} carries {annotation} = {token}. Without it the API server refuses no late write to it until the plugin has written \
             to it again.",
            args.kind, args.name
        ))
        .await?;
    }
    let path = format!("/metadata/annotations/{}", annotation.replace('~', "~0").replace('/', "~1"));
    let patch = json!([{"op": "test", "path": path, "value": token}, {"op": "remove", "path": path}]);
    let patch = Patch::Json::<()>(serde_json::from_value(patch)?);
    let allowed = here(in_break_glass(config, client).await?);
    allowed.patch(&args.name, &PatchParams::default(), &patch).await.with_context(|| {
        format!(
            "the token is still there; it takes patch on {}, and to be in the group {BREAK_GLASS} or to be allowed to impersonate \
             yourself with it",
            resource.plural
        )
    })?;
    unless_nobody_reads(say!("took {annotation} = {token} off {} {}", args.kind, args.name).map_err(Into::into))
}

/// `v1/ConfigMap`, `apps/v1/Deployment`.
fn kind(text: &str) -> Option<GroupVersionKind> {
    let (version, kind) = text.rsplit_once('/')?;
    let version: GroupVersion = version.parse().ok()?;
    let is_whole = !version.version.is_empty() && !version.version.contains('/') && !kind.is_empty();
    is_whole.then(|| version.with_kind(kind))
}

/// A client as whoever calls, with the group added where the caller is not in it: by impersonation, which the API server asks RBAC about.
async fn in_break_glass(mut config: kube::Config, client: Client) -> anyhow::Result<Client> {
    let reviews: Api<SelfSubjectReview> = Api::all(client.clone());
    let review = reviews.create(&PostParams::default(), &SelfSubjectReview::default()).await;
    let user =
        review.context("cannot ask the API server who you are to it")?.status.and_then(|status| status.user_info);
    let user = user.unwrap_or_default();
    let mut groups = user.groups.unwrap_or_default();
    if groups.iter().any(|group| group == BREAK_GLASS) {
        return Ok(client);
    }
    groups.retain(|group| group != EVERYBODY);
    groups.push(BREAK_GLASS.to_owned());
    config.auth_info.impersonate = user.username;
    config.auth_info.impersonate_groups = Some(groups);
    Ok(Client::try_from(config)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_is_written_with_its_api_version() {
        assert_eq!(kind("v1/ConfigMap"), Some(GroupVersionKind::gvk("", "v1", "ConfigMap")));
        assert_eq!(kind("apps/v1/Deployment"), Some(GroupVersionKind::gvk("apps", "v1", "Deployment")));
        for text in ["ConfigMap", "v1/", "/ConfigMap", "a/b/c/d"] {
            assert_eq!(kind(text), None, "{text}");
        }
    }
}
