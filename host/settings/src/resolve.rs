//! From layers to settings: picks each value, puts the default where none was given, and holds values against each other.

use std::net::SocketAddr;
use std::time::Duration;

use tenure_election::{FirstCreate, Identity, Timing};

use crate::document::DocumentError;
use crate::identity::{DIRECTORY, is_dns_label, is_dns_name};
use crate::layers::Layers;
use crate::limits::positive;
use crate::place::Given;
use crate::quantity::Span;
use crate::raw::{Key, RawFirstCreate, RawSettings};
use crate::{
    CacheSettings, ConsoleSettings, ElectionSettings, Grant, Limits, LogFormat, LogSettings, OnLoss, Place,
    PluginSettings, Profile, ResourceLock, Settings, SettingsError, Warning,
};

/// The Lease's name unless another one is given.
const ID_DEFAULT: &str = "host.tenure.dev";
/// Where plugins are dropped in unless told otherwise.
const PLUGIN_NAMESPACE_DEFAULT: &str = "tenure-plugins";
const SHUTDOWN_GRACE_DEFAULT: Duration = Duration::from_secs(10);
const WRITE_TIMEOUT_DEFAULT: Duration = Duration::from_secs(5);
/// Below this an ordinary write to the API server is given up before it can be answered.
const WRITE_TIMEOUT_MIN: Duration = Duration::from_millis(100);
const READ_YOUR_WRITES_WAIT_DEFAULT: Duration = Duration::from_secs(5);

type Env<'a> = &'a dyn Fn(&str) -> Option<String>;

pub(crate) fn settings(
    layers: &Layers<'_>,
    env: Env<'_>,
    warnings: &mut Vec<Warning>,
) -> Result<Settings, SettingsError> {
    let profile = layers.pick(|raw| &raw.profile).map_or(Profile::Default, |given| given.value);
    let wait = layers.duration(|raw| &raw.cache.read_your_writes_wait);
    Ok(Settings {
        profile,
        election: election(layers, profile, env, warnings)?,
        plugins: plugins(layers)?,
        limits: limits(layers)?,
        grants: grants(layers)?,
        console: ConsoleSettings { listen: listen(layers, profile)? },
        cache: CacheSettings {
            warm: layers.pick(|raw| &raw.cache.warm).is_none_or(|given| given.value),
            read_your_writes_wait_max: wait.map_or(READ_YOUR_WRITES_WAIT_DEFAULT, |given| given.value),
        },
        log: LogSettings {
            format: layers.pick(|raw| &raw.log.format).map_or(LogFormat::Text, |given| given.value),
            level: layers.pick(|raw| &raw.log.level).map_or(profile.log_level(), |given| given.value),
        },
    })
}

fn election(
    layers: &Layers<'_>,
    profile: Profile,
    env: Env<'_>,
    warnings: &mut Vec<Warning>,
) -> Result<ElectionSettings, SettingsError> {
    let enabled = layers.pick(|raw| &raw.election.enabled).map_or(profile.election_enabled(), |given| given.value);
    if !enabled {
        warnings.push(Warning::new(
            "election.enabled is false: this replica works as if it were alone; keep `replicas: 1` and `strategy: Recreate`"
                .to_owned(),
        ));
    }
    let identity = layers.pick(|raw| &raw.election.identity);
    if let Some(given) = &identity {
        Identity::new(given.value.clone()).map_err(|error| given.error("election.identity", error.to_string()))?;
    }
    let namespace = layers.pick(|raw| &raw.election.namespace).or_else(|| {
        let place = Place::Variable("POD_NAMESPACE".to_owned());
        env("POD_NAMESPACE").map(|value| Given { value, place })
    });
    let first_create = layers.pick(|raw| &raw.election.first_create).map(|given| match given.value {
        RawFirstCreate::Wait => FirstCreate::Wait,
        RawFirstCreate::Immediate => FirstCreate::Immediate,
    });
    let id = id(layers, warnings)?;
    let resource_lock = resource_lock(layers, warnings);
    Ok(ElectionSettings {
        enabled,
        also_hold: also_hold(layers, &id, resource_lock, warnings)?,
        id,
        resource_lock,
        namespace: namespace.map(|given| namespace_name(given, "election.namespace")).transpose()?,
        identity: identity.map(|given| given.value),
        pod_name: env("POD_NAME"),
        pod_uid: env("POD_UID"),
        timing: timing(layers, profile, warnings)?,
        shutdown_grace: layers
            .duration(|raw| &raw.election.shutdown_grace)
            .map_or(SHUTDOWN_GRACE_DEFAULT, |given| given.value),
        write_timeout: write_timeout(layers)?,
        release_on_cancel: layers.pick(|raw| &raw.election.release_on_cancel).is_none_or(|given| given.value),
        first_create: first_create.unwrap_or(profile.first_create()),
        on_loss: layers.pick(|raw| &raw.election.on_loss).map_or(OnLoss::Campaign, |given| given.value),
        container: container(layers, env, warnings)?,
        policy: policy(layers)?,
        zone: layers.pick(|raw| &raw.election.zone).map(|given| given.value),
        labels: labels(layers)?,
    })
}

fn policy(layers: &Layers<'_>) -> Result<Option<String>, DocumentError> {
    let Some(given) = layers.pick(|raw| &raw.election.policy) else { return Ok(None) };
    if given.value.split('/').filter(|part| !part.is_empty()).count() != 2 {
        let message = format!(
            "{:?} is no plugin; write <namespace>/<ConfigMap>, or directory/<file without its ending>",
            given.value
        );
        return Err(given.error("election.policy", message));
    }
    Ok(Some(given.value))
}

fn labels(layers: &Layers<'_>) -> Result<Vec<(String, String)>, DocumentError> {
    let Some(given) = layers.pick(|raw| &raw.election.labels) else { return Ok(Vec::new()) };
    let pair = |text: &String| {
        let (key, value) = text.split_once('=').filter(|(key, _)| !key.is_empty())?;
        Some((key.to_owned(), value.to_owned()))
    };
    let pairs = given.value.iter().map(|text| pair(text).ok_or(text)).collect::<Result<_, _>>();
    let wrong = match pairs {
        Ok(pairs) => return Ok(pairs),
        Err(wrong) => format!("{wrong:?} is no label; write <key>=<value>"),
    };
    Err(given.error("election.labels", wrong))
}

fn container(layers: &Layers<'_>, env: Env<'_>, warnings: &mut Vec<Warning>) -> Result<Option<String>, DocumentError> {
    let Some(given) = layers.pick(|raw| &raw.election.container) else { return Ok(None) };
    if !is_dns_name(&given.value) {
        let message = format!(
            "{:?} is no name for a container; write the one that stands in the Pod's spec.containers",
            given.value
        );
        return Err(given.error("election.container", message));
    }
    for variable in ["POD_NAME", "POD_UID"] {
        if env(variable).is_none() {
            warnings.push(Warning::new(format!(
                "{}: election.container is given, but {variable} is not: no death can be proved; set it by a fieldRef, as \
                 deploy/kustomize/base does",
                given.place
            )));
        }
    }
    Ok(Some(given.value))
}

fn id(layers: &Layers<'_>, warnings: &mut Vec<Warning>) -> Result<String, DocumentError> {
    let Some(given) = layers.pick(|raw| &raw.election.id) else { return Ok(ID_DEFAULT.to_owned()) };
    if !is_dns_name(&given.value) {
        let message = format!(
            "{:?} is no name for a Lease; write lower-case letters, digits, '-' and '.' inside, at most 253",
            given.value
        );
        return Err(given.error("election.id", message));
    }
    if !given.value.contains('.') {
        warnings.push(Warning::new(format!(
            "{}: election.id {:?} has no group after its name, so another program may choose it too; better \"{}.example.com\"",
            given.place, given.value, given.value
        )));
    }
    Ok(given.value)
}

fn resource_lock(layers: &Layers<'_>, warnings: &mut Vec<Warning>) -> ResourceLock {
    let Some(given) = layers.pick(|raw| &raw.election.resource_lock) else { return ResourceLock::default() };
    let kind = given.value.as_str();
    let advice = match given.value {
        ResourceLock::Leases => return given.value,
        ResourceLock::ConfigMaps => {
            "everybody who watches ConfigMaps hears of each renewal, and the Lease fence cannot be used; move to \"leases\" by \
             a rollout of \"configmapsleases\" in between"
        }
        ResourceLock::Endpoints => {
            "everybody who watches Endpoints hears of each renewal, and the Lease fence cannot be used; move to \"leases\" by \
             a rollout of \"endpointsleases\" in between"
        }
        ResourceLock::ConfigMapsLeases | ResourceLock::EndpointsLeases => {
            "it is for the time of a move: once all replicas run with it, roll out \"leases\""
        }
    };
    warnings.push(Warning::new(format!("{}: election.resource-lock is {kind:?}: {advice}", given.place)));
    given.value
}

fn also_hold(
    layers: &Layers<'_>,
    id: &str,
    resource_lock: ResourceLock,
    warnings: &mut Vec<Warning>,
) -> Result<Vec<String>, DocumentError> {
    let Some(given) = layers.pick(|raw| &raw.election.also_hold) else { return Ok(Vec::new()) };
    let names = &given.value;
    let wrong = names.iter().enumerate().find_map(|(place, name)| {
        if !is_dns_name(name) {
            Some(format!(
                "{name:?} is no name for a lock; write lower-case letters, digits, '-' and '.' inside, at most 253"
            ))
        } else if name == id || names[..place].contains(name) {
            Some(format!("{name:?} is held already; remove it"))
        } else {
            None
        }
    });
    let wrong = wrong.or_else(|| {
        let two_moves = !names.is_empty() && resource_lock.beside().is_some();
        let kind = resource_lock.as_str();
        two_moves.then(|| format!("cannot go together with resource-lock {kind:?}: make one move after the other"))
    });
    match wrong {
        Some(wrong) => Err(given.error("election.also-hold", wrong)),
        None => {
            if !names.is_empty() {
                warnings.push(Warning::new(format!(
                    "{}: election.also-hold is for the time of a move: once all replicas run with it, roll out without it",
                    given.place
                )));
            }
            Ok(given.value)
        }
    }
}

fn write_timeout(layers: &Layers<'_>) -> Result<Duration, DocumentError> {
    match layers.duration(|raw| &raw.election.write_timeout) {
        Some(given) if given.value < WRITE_TIMEOUT_MIN => {
            let message =
                format!("{:?} is too short for any answer; the shortest is {WRITE_TIMEOUT_MIN:?}", given.value);
            Err(given.error("election.write-timeout", message))
        }
        given => Ok(given.map_or(WRITE_TIMEOUT_DEFAULT, |given| given.value)),
    }
}

fn timing(layers: &Layers<'_>, profile: Profile, warnings: &mut Vec<Warning>) -> Result<Timing, SettingsError> {
    let base = profile.timing();
    let part = |default: Duration, key: fn(&RawSettings) -> &Key<Span>| {
        layers.duration(key).unwrap_or(Given { value: default, place: Place::Profile(profile) })
    };
    let lease = part(base.lease(), |raw| &raw.election.lease_duration);
    let renew = part(base.renew(), |raw| &raw.election.renew_deadline);
    let retry = part(base.retry(), |raw| &raw.election.retry_period);
    let grace = layers.duration(|raw| &raw.election.grace);
    let timing = Timing::new(lease.value, renew.value, retry.value, grace.as_ref().map(|given| given.value));
    let timing = timing.map_err(|source| {
        let mut places = format!(
            "lease-duration from {}, renew-deadline from {}, retry-period from {}",
            lease.place, renew.place, retry.place
        );
        if let Some(grace) = &grace {
            places.push_str(&format!(", grace from {}", grace.place));
        }
        SettingsError::Timing { places, source }
    })?;
    warnings
        .extend(timing.warnings().into_iter().map(|warning| Warning::new(format!("election timing: {}", warning.0))));
    Ok(timing)
}

fn plugins(layers: &Layers<'_>) -> Result<PluginSettings, DocumentError> {
    let namespaces = match layers.pick(|raw| &raw.plugins.namespaces) {
        None => vec![PLUGIN_NAMESPACE_DEFAULT.to_owned()],
        Some(given) => {
            let Given { value, place } = given;
            let names = value.into_iter().map(|value| Given { value, place: place.clone() });
            names.map(|given| namespace_name(given, "plugins.namespaces")).collect::<Result<_, _>>()?
        }
    };
    Ok(PluginSettings {
        namespaces,
        directory: layers.path(|raw| &raw.plugins.directory),
        code_cache: layers.path(|raw| &raw.plugins.code_cache),
    })
}

fn namespace_name(given: Given<String>, key: &str) -> Result<String, DocumentError> {
    if !is_dns_label(&given.value) {
        let message = format!(
            "{:?} is no namespace's name; write lower-case letters, digits and '-' inside, at most 63",
            given.value
        );
        return Err(given.error(key, message));
    }
    if given.value == DIRECTORY {
        let message = format!("cannot be {DIRECTORY:?}: plugins there would be taken for those of a directory");
        return Err(given.error(key, message));
    }
    Ok(given.value)
}

fn limits(layers: &Layers<'_>) -> Result<Limits, DocumentError> {
    let default = Limits::default();
    macro_rules! limit {
        ($key:literal, $read:ident, $raw:ident, $limit:ident) => {
            positive($key, layers.$read(|raw| &raw.limits.$raw))?.unwrap_or(default.$limit)
        };
    }
    Ok(Limits {
        memory_bytes_max: limit!("memory", size, memory, memory_bytes_max),
        table_elements_max: limit!("table-elements", count, table_elements, table_elements_max),
        reconcile_timeout: limit!("reconcile-timeout", duration, reconcile_timeout, reconcile_timeout),
        concurrency_max: limit!("concurrency", count, concurrency, concurrency_max),
        cpu_millis_max: limit!("cpu", processors, cpu, cpu_millis_max),
        guests_cpu_millis_max: positive("guests-cpu", layers.processors(|raw| &raw.limits.guests_cpu))?,
        requests_per_second: limit!("requests-per-second", count, requests_per_second, requests_per_second),
        request_bytes_max: limit!("request-bytes", size, request_bytes, request_bytes_max),
        response_bytes_max: limit!("response-bytes", size, response_bytes, response_bytes_max),
        log_lines_per_second: limit!("log-lines-per-second", count, log_lines_per_second, log_lines_per_second),
        instances_max: limit!("instances", count, instances, instances_max),
        artifact_bytes_max: limit!("artifact-bytes", size, artifact_bytes, artifact_bytes_max),
        compile_memory_bytes_max: limit!("compile-memory", size, compile_memory, compile_memory_bytes_max),
        compile_timeout: limit!("compile-timeout", duration, compile_timeout, compile_timeout),
    })
}

fn grants(layers: &Layers<'_>) -> Result<Vec<Grant>, DocumentError> {
    let (raw, source) = layers.file();
    raw.grant.iter().map(|grant| Grant::read(grant, source)).collect()
}

fn listen(layers: &Layers<'_>, profile: Profile) -> Result<SocketAddr, DocumentError> {
    let default = Given { value: profile.listen().to_owned(), place: Place::Profile(profile) };
    let given = layers.pick(|raw| &raw.console.listen).unwrap_or(default);
    given.value.parse().map_err(|_| {
        let message = format!("{:?} is no address to listen on; write \"0.0.0.0:8080\" or \"[::]:8080\"", given.value);
        given.error("console.listen", message)
    })
}
