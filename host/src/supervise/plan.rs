//! What to start and stop. Pure: the stage of the term x what is wanted x what runs -> steps.

use std::collections::BTreeMap;

/// Which load of an artifact: grows with each, so that a newer one replaces an older.
pub(crate) type Generation = u64;

/// How far the term is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Plugins run.
    Open,
    /// Soft: nothing new starts, running calls come to their end.
    Draining,
    /// Guests are to die.
    Killed,
}

/// One plugin that runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Running {
    /// Which load of it.
    pub(crate) generation: Generation,
    /// What it was told last.
    pub(crate) told: Told,
}

/// What a running plugin was told last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Told {
    /// To work.
    Work,
    /// To come to its end.
    Stop,
    /// To die.
    Die,
}

/// One thing to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    /// Start this load of the plugin.
    Start(String, Generation),
    /// Start no further call; end when those that run have ended.
    Stop(String),
    /// End now.
    Kill(String),
}

/// The steps that bring what runs to what is wanted. Called again after every change; a plugin is started anew only once
/// its older load has ended, so no key is ever reconciled by two loads at once.
#[must_use]
pub(crate) fn plan(
    stage: Stage,
    wanted: &BTreeMap<String, Generation>,
    running: &BTreeMap<String, Running>,
) -> Vec<Step> {
    let mut steps = Vec::new();
    for (identity, now) in running {
        let target = match stage {
            Stage::Killed => Told::Die,
            Stage::Draining => Told::Stop,
            Stage::Open if wanted.get(identity) == Some(&now.generation) => Told::Work,
            Stage::Open => Told::Stop,
        };
        if target > now.told {
            steps.push(match target {
                Told::Die => Step::Kill(identity.clone()),
                _ => Step::Stop(identity.clone()),
            });
        }
    }
    if stage == Stage::Open {
        let absent = wanted.iter().filter(|(identity, _)| !running.contains_key(*identity));
        steps.extend(absent.map(|(identity, generation)| Step::Start(identity.clone(), *generation)));
    }
    steps
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(list: &[(&str, Generation)]) -> BTreeMap<String, Generation> {
        list.iter().map(|(name, generation)| ((*name).to_owned(), *generation)).collect()
    }

    fn running(list: &[(&str, Generation, Told)]) -> BTreeMap<String, Running> {
        list.iter()
            .map(|(name, generation, told)| ((*name).to_owned(), Running { generation: *generation, told: *told }))
            .collect()
    }

    #[test]
    fn an_open_term_starts_what_is_wanted() {
        let steps = plan(Stage::Open, &wanted(&[("a", 1), ("b", 2)]), &running(&[("a", 1, Told::Work)]));
        assert_eq!(steps, [Step::Start("b".into(), 2)]);
    }

    #[test]
    fn a_newer_load_starts_only_after_the_older_has_ended() {
        let wanted = wanted(&[("a", 2)]);
        assert_eq!(plan(Stage::Open, &wanted, &running(&[("a", 1, Told::Work)])), [Step::Stop("a".into())]);
        assert_eq!(plan(Stage::Open, &wanted, &running(&[("a", 1, Told::Stop)])), []);
        assert_eq!(plan(Stage::Open, &wanted, &running(&[])), [Step::Start("a".into(), 2)]);
    }

    #[test]
    fn a_drain_starts_nothing_and_stops_everything_once() {
        let wanted = wanted(&[("a", 1), ("b", 1)]);
        assert_eq!(plan(Stage::Draining, &wanted, &running(&[("a", 1, Told::Work)])), [Step::Stop("a".into())]);
        assert_eq!(plan(Stage::Draining, &wanted, &running(&[("a", 1, Told::Stop)])), []);
    }

    #[test]
    fn the_end_kills_also_what_was_stopping() {
        let all = running(&[("a", 1, Told::Work), ("b", 1, Told::Stop), ("c", 1, Told::Die)]);
        let steps = plan(Stage::Killed, &wanted(&[("a", 1)]), &all);
        assert_eq!(steps, [Step::Kill("a".into()), Step::Kill("b".into())]);
    }

    #[test]
    fn a_plugin_nobody_wants_any_more_is_stopped() {
        assert_eq!(plan(Stage::Open, &wanted(&[]), &running(&[("a", 1, Told::Work)])), [Step::Stop("a".into())]);
    }
}
