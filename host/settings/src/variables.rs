//! The environment variables: one for each key outside grants. Reads none itself.

use crate::Warning;
use crate::document::nearest;

/// What all of our variables begin with.
const PREFIX: &str = "TENURE_";

/// A key that can be given in the environment.
pub(crate) struct Variable {
    /// The key, with its table.
    pub(crate) key: &'static str,
    pub(crate) word: Word,
}

/// How a variable's text becomes TOML.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Word {
    /// As it is: names, durations, sizes.
    Text,
    /// `true`, `false` or a number.
    Bare,
    /// Texts with commas between them.
    List,
}

impl Word {
    pub(crate) fn toml(self, text: &str) -> String {
        let quoted = |text: &str| toml::Value::String(text.to_owned()).to_string();
        let is_bare = text.parse::<bool>().is_ok() || text.parse::<i64>().is_ok();
        match self {
            Self::Bare if is_bare => text.to_owned(),
            Self::Text | Self::Bare => quoted(text),
            Self::List => {
                let items = text.split(',').map(str::trim).filter(|item| !item.is_empty()).map(quoted);
                format!("[{}]", items.collect::<Vec<_>>().join(", "))
            }
        }
    }
}

impl Variable {
    /// `election.lease-duration` is `TENURE_ELECTION_LEASE_DURATION`.
    pub(crate) fn name(key: &str) -> String {
        format!("{PREFIX}{}", key.replace(['.', '-'], "_").to_ascii_uppercase())
    }
}

const fn variable(key: &'static str, word: Word) -> Variable {
    Variable { key, word }
}

/// Every variable there is. A test holds this against the keys there are.
pub(crate) const VARIABLES: [Variable; 42] = [
    variable("profile", Word::Text),
    variable("election.enabled", Word::Bare),
    variable("election.id", Word::Text),
    variable("election.namespace", Word::Text),
    variable("election.resource-lock", Word::Text),
    variable("election.also-hold", Word::List),
    variable("election.identity", Word::Text),
    variable("election.lease-duration", Word::Text),
    variable("election.renew-deadline", Word::Text),
    variable("election.retry-period", Word::Text),
    variable("election.grace", Word::Text),
    variable("election.shutdown-grace", Word::Text),
    variable("election.write-timeout", Word::Text),
    variable("election.release-on-cancel", Word::Bare),
    variable("election.first-create", Word::Text),
    variable("election.on-loss", Word::Text),
    variable("election.container", Word::Text),
    variable("election.policy", Word::Text),
    variable("election.zone", Word::Text),
    variable("election.labels", Word::List),
    variable("plugins.namespaces", Word::List),
    variable("plugins.directory", Word::Text),
    variable("plugins.code-cache", Word::Text),
    variable("limits.memory", Word::Text),
    variable("limits.table-elements", Word::Bare),
    variable("limits.instances", Word::Bare),
    variable("limits.reconcile-timeout", Word::Text),
    variable("limits.concurrency", Word::Bare),
    variable("limits.cpu", Word::Text),
    variable("limits.guests-cpu", Word::Text),
    variable("limits.requests-per-second", Word::Bare),
    variable("limits.request-bytes", Word::Text),
    variable("limits.response-bytes", Word::Text),
    variable("limits.log-lines-per-second", Word::Bare),
    variable("limits.artifact-bytes", Word::Text),
    variable("limits.compile-memory", Word::Text),
    variable("limits.compile-timeout", Word::Text),
    variable("console.listen", Word::Text),
    variable("cache.warm", Word::Bare),
    variable("cache.read-your-writes-wait", Word::Text),
    variable("log.format", Word::Text),
    variable("log.level", Word::Text),
];

/// A warning for each of `names` that looks like one of the host's variables and is none. Not an error, because Kubernetes
/// itself sets such names for a Service called `tenure`.
pub fn unknown_variables(names: impl IntoIterator<Item = String>) -> Vec<Warning> {
    let known = VARIABLES.iter().map(|variable| Variable::name(variable.key)).collect::<Vec<_>>();
    let known = known.iter().map(String::as_str).collect::<Vec<_>>();
    names
        .into_iter()
        .filter(|name| name.starts_with(PREFIX) && !known.contains(&name.as_str()) && !is_service_link(name))
        .map(|name| {
            let hint = nearest(&known, &name);
            Warning::new(format!("environment variable {name} sets nothing; {hint}"))
        })
        .collect()
}

/// What the kubelet sets for a Service: `<NAME>_SERVICE_HOST`, `<NAME>_SERVICE_PORT..`, `<NAME>_PORT..`.
fn is_service_link(name: &str) -> bool {
    name.contains("_SERVICE_HOST")
        || name.contains("_SERVICE_PORT")
        || name.ends_with("_PORT")
        || name.contains("_PORT_")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn misspelt_variables_are_noticed_and_those_of_the_kubelet_are_not() {
        let names = ["TENURE_LOG_LEVLE", "TENURE_SERVICE_HOST", "TENURE_PORT_80_TCP_ADDR", "TENURE_LOG_LEVEL", "PATH"];
        let warnings = unknown_variables(names.map(str::to_owned));
        let texts = warnings.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(texts, ["environment variable TENURE_LOG_LEVLE sets nothing; did you mean `TENURE_LOG_LEVEL`?"]);
    }
}
