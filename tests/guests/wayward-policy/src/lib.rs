//! A lock policy that gives no verdict, in the way its settings say.

use serde::Deserialize;
use tenure_plugin::{LockPolicy, Observation, Reader, Result, Role, Verdict};

/// The manifest's `[settings]`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// What to do instead.
    pub does: Does,
}

/// Ways not to answer.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Does {
    /// Trap.
    Trap,
    /// Compute for ever.
    Spin,
    /// Answer as the other role would.
    Nonsense,
}

/// The policy.
pub struct Wayward(Does);

tenure_plugin::lock_policy!(Wayward);

impl LockPolicy for Wayward {
    type Settings = Settings;

    fn new(settings: Settings) -> Result<Self> {
        Ok(Self(settings.does))
    }

    fn decide(&mut self, observation: &Observation, _: &Reader) -> Verdict {
        match (self.0, observation.role) {
            (Does::Trap, _) => panic!("told to"),
            (Does::Spin, _) => loop {
                std::hint::spin_loop();
            },
            (Does::Nonsense, Role::Standby) => Verdict::Yield("told to".to_owned()),
            (Does::Nonsense, Role::Leader) => Verdict::Campaign,
        }
    }
}
