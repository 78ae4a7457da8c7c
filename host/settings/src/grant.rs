//! What the cluster's owner allows to which plugin. Judges no requests: that is the capability room's.

use globset::{GlobBuilder, GlobMatcher};
use serde::Deserialize;
use tenure_capability::Rule;

use crate::document::{DocumentError, Source};
use crate::identity::{is_dns_label, is_dns_name};
use crate::raw::RawGrant;
use crate::{PluginIdentity, Provenance, SigningKey};

/// Hex characters of a SHA-256.
const DIGEST_CHARS: usize = 64;

/// One `[[grant]]`.
#[derive(Debug, Clone)]
pub struct Grant {
    /// The pattern as written, such as `tenure-plugins/label-*`; `*` stands for any characters but `/`.
    pub plugin: String,
    /// The SHA-256 of the Wasm this is for, as 64 lower-case hex characters; `None`: any.
    pub digest: Option<String>,
    /// Who must have signed the Wasm; `None`: nobody need.
    pub key: Option<SigningKey>,
    /// The account under which the plugin's requests go out; `None`: the host's own.
    pub service_account: Option<ServiceAccount>,
    /// How the plugin's writes are fenced at the API server; `None`: only as the host does anyway.
    pub fence: Option<Fence>,
    /// What is allowed.
    pub rules: Vec<Rule>,
    matcher: GlobMatcher,
}

/// How a plugin's writes are fenced at the API server, beyond what the host does by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fence {
    /// By the term of the last write, which stands on each object: a policy of the API server refuses a smaller one.
    Object,
}

/// A ServiceAccount of the cluster.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServiceAccount {
    /// Where it is.
    pub namespace: String,
    /// What it is called.
    pub name: String,
}

impl ServiceAccount {
    /// What the API server calls it.
    #[must_use]
    pub fn user(&self) -> String {
        format!("system:serviceaccount:{}:{}", self.namespace, self.name)
    }

    fn read(text: &str) -> Option<Self> {
        let (namespace, name) = text.split_once('/')?;
        let is_one = is_dns_label(namespace) && is_dns_name(name);
        is_one.then(|| Self { namespace: namespace.to_owned(), name: name.to_owned() })
    }
}

impl std::fmt::Display for ServiceAccount {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

impl PartialEq for Grant {
    fn eq(&self, other: &Self) -> bool {
        (&self.plugin, &self.digest, &self.key, &self.service_account, &self.fence, &self.rules)
            == (&other.plugin, &other.digest, &other.key, &other.service_account, &other.fence, &other.rules)
    }
}

impl Eq for Grant {}

impl Grant {
    /// Whether this is for the plugin of that identity, made of that Wasm.
    #[must_use]
    pub fn matches(&self, identity: &PluginIdentity, wasm: &Provenance) -> bool {
        self.wants(identity, wasm).is_some_and(|key| key.is_none_or(|key| wasm.check_signed_by(key).is_ok()))
    }

    /// Whether this is for that plugin but for the signature: whose, if anybody's.
    #[must_use]
    pub fn wants(&self, identity: &PluginIdentity, wasm: &Provenance) -> Option<Option<&SigningKey>> {
        let fits = self.matcher.is_match(identity.as_str())
            && self.digest.as_ref().is_none_or(|wanted| wanted.eq_ignore_ascii_case(wasm.digest()));
        fits.then_some(self.key.as_ref())
    }

    /// Whether a plugin that is dropped in one of these namespaces, or comes from a directory, could match.
    pub(crate) fn could_match_in(&self, places: &[String]) -> bool {
        let place = self.plugin.split('/').next().unwrap_or_default();
        pattern(place).is_some_and(|pattern| places.iter().any(|one| pattern.is_match(one)))
    }

    pub(crate) fn read(raw: &RawGrant, source: &Source<'_>) -> Result<Self, DocumentError> {
        let plugin = source.given_value(&raw.plugin);
        let invalid = |message: &str| DocumentError::Value {
            place: plugin.place.clone(),
            key: "grant.plugin".to_owned(),
            message: format!("{:?} {message}", plugin.value),
        };
        if plugin.value.split('/').filter(|part| !part.is_empty()).count() != 2
            || plugin.value.matches('/').count() != 1
        {
            return Err(invalid(
                "is no pattern for a plugin; write \"<namespace>/<ConfigMap>\" or \"directory/<file stem>\", with '*' for \
                 any characters but '/'",
            ));
        }
        let matcher = pattern(&plugin.value).ok_or_else(|| {
            invalid("is no pattern that can be matched; only '*' has a meaning, for any characters but '/'")
        })?;
        let digest = source.given(&raw.digest).map(|given| {
            digest_of(&given.value).ok_or_else(|| DocumentError::Value {
                place: given.place,
                key: "grant.digest".to_owned(),
                message: format!("{:?} is no SHA-256; write \"sha256:\" and 64 hex characters", given.value),
            })
        });
        let key = source.given(&raw.key).map(|given| {
            SigningKey::read(&given.value).ok_or_else(|| DocumentError::Value {
                place: given.place,
                key: "grant.key".to_owned(),
                message: format!("{:?} is no minisign public key; write the line that begins with \"RW\"", given.value),
            })
        });
        let service_account = source.given(&raw.service_account).map(|given| {
            ServiceAccount::read(&given.value).ok_or_else(|| DocumentError::Value {
                place: given.place,
                key: "grant.service-account".to_owned(),
                message: format!("{:?} is no ServiceAccount; write \"<namespace>/<name>\"", given.value),
            })
        });
        let rules = raw.permission.iter().map(|rule| read_rule(rule, source, "grant.permission"));
        Ok(Self {
            plugin: plugin.value.clone(),
            digest: digest.transpose()?,
            key: key.transpose()?,
            service_account: service_account.transpose()?,
            fence: source.given(&raw.fence).map(|given| given.value),
            rules: rules.collect::<Result<_, _>>()?,
            matcher,
        })
    }
}

/// A `permission` table, of a grant or a manifest.
pub(crate) fn read_rule(
    raw: &toml::Spanned<crate::raw::RawRule>,
    source: &Source<'_>,
    key: &str,
) -> Result<Rule, DocumentError> {
    let rule = Rule::from(raw.get_ref().clone());
    rule.check().map_err(|invalid| DocumentError::Value {
        place: source.place(&raw.span()),
        key: key.to_owned(),
        message: format!("is not valid: {invalid}"),
    })?;
    Ok(rule)
}

fn pattern(text: &str) -> Option<GlobMatcher> {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'/' | b'*');
    if !text.bytes().all(is_allowed) || text.contains("**") {
        return None;
    }
    GlobBuilder::new(text).literal_separator(true).build().ok().map(|glob| glob.compile_matcher())
}

/// `sha256:<hex>` or `<hex>`, as lower-case hex.
pub(crate) fn digest_of(text: &str) -> Option<String> {
    let hex = text.strip_prefix("sha256:").unwrap_or(text);
    let valid = hex.len() == DIGEST_CHARS && hex.bytes().all(|byte| byte.is_ascii_hexdigit());
    valid.then(|| hex.to_ascii_lowercase())
}
