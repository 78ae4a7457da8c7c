//! What was typed on the command line, as far as it concerns settings. Checks nothing: that is done where all layers meet.

/// The leader-election flags, spelled as Kubernetes' own components spell them. `None`: not given.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Flags {
    /// `--leader-elect`.
    pub leader_elect: Option<bool>,
    /// `--leader-elect-id`: the lock's name.
    pub leader_elect_id: Option<String>,
    /// `--leader-elect-namespace`: the lock's namespace.
    pub leader_elect_namespace: Option<String>,
    /// `--leader-elect-resource-lock`: the lock's kind.
    pub leader_elect_resource_lock: Option<String>,
    /// `--leader-elect-identity`: this candidate's name.
    pub leader_elect_identity: Option<String>,
    /// `--leader-elect-lease-duration`, such as `15s`.
    pub leader_elect_lease_duration: Option<String>,
    /// `--leader-elect-renew-deadline`, such as `10s`.
    pub leader_elect_renew_deadline: Option<String>,
    /// `--leader-elect-retry-period`, such as `2s`.
    pub leader_elect_retry_period: Option<String>,
    /// `--leader-elect-release-on-cancel`.
    pub leader_elect_release_on_cancel: Option<bool>,
}

impl Flags {
    /// Each flag that was given: its name, the key it stands for, its text.
    pub(crate) fn given(&self) -> impl Iterator<Item = (&'static str, &'static str, String)> {
        let switch = |value: Option<bool>| value.map(|value| value.to_string());
        [
            ("--leader-elect", "election.enabled", switch(self.leader_elect)),
            ("--leader-elect-id", "election.id", self.leader_elect_id.clone()),
            ("--leader-elect-namespace", "election.namespace", self.leader_elect_namespace.clone()),
            ("--leader-elect-resource-lock", "election.resource-lock", self.leader_elect_resource_lock.clone()),
            ("--leader-elect-identity", "election.identity", self.leader_elect_identity.clone()),
            ("--leader-elect-lease-duration", "election.lease-duration", self.leader_elect_lease_duration.clone()),
            ("--leader-elect-renew-deadline", "election.renew-deadline", self.leader_elect_renew_deadline.clone()),
            ("--leader-elect-retry-period", "election.retry-period", self.leader_elect_retry_period.clone()),
            (
                "--leader-elect-release-on-cancel",
                "election.release-on-cancel",
                switch(self.leader_elect_release_on_cancel),
            ),
        ]
        .into_iter()
        .filter_map(|(flag, key, text)| text.map(|text| (flag, key, text)))
    }
}
