//! Keeps the leader in the most preferred zone that has a replica to lead from.

use std::time::Duration;

use serde::Deserialize;
use tenure_plugin::{Candidate, Error, LockPolicy, Observation, Reader, Result, Role, Verdict};

/// The manifest's `[settings]`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Settings {
    /// Most preferred first.
    pub zones: Vec<String>,
    /// For how long a free lock is left to a replica in a better zone.
    pub wait_seconds: u32,
}

/// The policy.
pub struct PreferZone {
    settings: Settings,
}

tenure_plugin::lock_policy!(PreferZone);

impl LockPolicy for PreferZone {
    type Settings = Settings;

    fn new(settings: Settings) -> Result<Self> {
        if settings.zones.is_empty() {
            return Err(Error::guest("settings.zones is empty; name the zones, most preferred first"));
        }
        Ok(Self { settings })
    }

    fn decide(&mut self, observation: &Observation, _: &Reader) -> Verdict {
        let own = self.rank(&observation.own);
        // Only one that campaigns would take the lock: a peer that leads, waits or is on its way out is nobody to leave it to.
        let better = observation.peers.iter().filter(|peer| peer.campaigns && self.rank(peer) < own);
        match (observation.role, better.min_by_key(|peer| self.rank(peer))) {
            (Role::Standby, None) => Verdict::Campaign,
            (Role::Standby, Some(_)) => Verdict::Wait(Duration::from_secs(self.settings.wait_seconds.into())),
            (Role::Leader, None) => Verdict::Keep,
            (Role::Leader, Some(peer)) => {
                let zone = peer.zone.as_deref().unwrap_or_default();
                Verdict::Yield(format!("{} is in the preferred zone {zone}", peer.name))
            }
        }
    }
}

impl PreferZone {
    /// The place of a candidate's zone in the list; after all of them where it is in none.
    fn rank(&self, candidate: &Candidate) -> usize {
        let place = self.settings.zones.iter().position(|zone| Some(zone) == candidate.zone.as_ref());
        place.unwrap_or(self.settings.zones.len())
    }
}

#[cfg(test)]
mod tests {
    use tenure_plugin::testing::FakeCluster;

    use super::*;

    fn candidate(name: &str, zone: Option<&str>, campaigns: bool) -> Candidate {
        Candidate { name: name.to_owned(), zone: zone.map(str::to_owned), campaigns, ..Candidate::default() }
    }

    fn decide(role: Role, own_zone: Option<&str>, peers: &[Candidate]) -> Verdict {
        let settings = Settings { zones: vec!["a".to_owned(), "b".to_owned()], wait_seconds: 5 };
        let mut policy = PreferZone::new(settings).expect("settings that make sense");
        let observation = Observation {
            lock: "tenure-system/host.tenure.dev".to_owned(),
            role,
            record: None,
            own: candidate("own", own_zone, false),
            labels: [].into(),
            peers: peers.to_vec(),
            wait_max: Duration::from_secs(30),
        };
        policy.decide(&observation, &Reader::new(FakeCluster::new()))
    }

    #[test]
    fn a_leader_yields_to_a_better_zone_that_campaigns_and_to_no_other() {
        let [a, b] = ["a", "b"].map(|zone| candidate(zone, Some(zone), true));
        let there = Verdict::Yield("a is in the preferred zone a".to_owned());
        assert_eq!(decide(Role::Leader, Some("b"), &[b.clone(), a.clone()]), there);
        assert_eq!(decide(Role::Leader, None, &[b.clone(), a.clone()]), there);
        assert_eq!(decide(Role::Leader, Some("a"), &[a.clone(), b]), Verdict::Keep);
        let on_its_way_out = Candidate { campaigns: false, ..a };
        assert_eq!(decide(Role::Leader, Some("b"), &[on_its_way_out]), Verdict::Keep);
    }

    #[test]
    fn a_standby_leaves_a_free_lock_to_a_better_zone_that_campaigns_and_to_no_other() {
        let waits = Verdict::Wait(Duration::from_secs(5));
        let [a, b] = ["a", "b"].map(|zone| candidate(zone, Some(zone), true));
        assert_eq!(decide(Role::Standby, Some("b"), std::slice::from_ref(&a)), waits);
        assert_eq!(decide(Role::Standby, Some("z"), std::slice::from_ref(&b)), waits);
        assert_eq!(decide(Role::Standby, Some("b"), &[b, candidate("c", None, true)]), Verdict::Campaign);
        assert_eq!(decide(Role::Standby, Some("b"), &[Candidate { campaigns: false, ..a }]), Verdict::Campaign);
    }

    #[test]
    fn settings_without_zones_are_refused() {
        assert!(PreferZone::new(Settings { zones: Vec::new(), wait_seconds: 5 }).is_err());
    }
}
