//! What a lock policy may do (docs/election.md, "Lock policies"): its verdicts within their bounds, and the other candidates it
//! can yield to. A policy delays or gives up this candidate's own claim; nothing here shortens another's.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Elector;
use super::messages::{Drain, PeerSeen, Phase, Verdict};
use crate::Instant;

/// Whoever has not written its candidate Lease for so long is gone; it is written every 30 s.
pub const PEER_SILENT_AFTER: Duration = Duration::from_secs(90);

/// More are not remembered: more replicas than any host has, and a bound on what others can make us keep.
pub const PEERS_MAX: usize = 64;

/// The other candidates, by name.
#[derive(Debug, Clone, Default)]
pub(crate) struct Peers {
    known: BTreeMap<String, Peer>,
}

#[derive(Debug, Clone)]
struct Peer {
    version: u64,
    campaigns: bool,
    /// When, by the boot clock, it last wrote; absent while all that is known was there before we looked.
    heard: Option<Duration>,
}

impl Peers {
    fn note(&mut self, now: Instant, name: &str, seen: Option<PeerSeen>) {
        let Some(PeerSeen { version, campaigns, listed }) = seen else {
            self.known.remove(name);
            return;
        };
        let known = self.known.get(name);
        let heard = match known {
            Some(peer) if peer.version == version => peer.heard,
            None if listed => None,
            None | Some(_) => Some(now.boot),
        };
        if known.is_none() && self.known.len() >= PEERS_MAX {
            return;
        }
        self.known.insert(name.to_owned(), Peer { version, campaigns, heard });
    }

    /// The boot reading up to which one of them is known to live and to campaign; zero where none is.
    pub(crate) fn campaign_until(&self) -> Duration {
        let campaigning = self.known.values().filter(|peer| peer.campaigns);
        let heard = campaigning.filter_map(|peer| peer.heard).max();
        heard.map_or(Duration::ZERO, |heard| heard.saturating_add(PEER_SILENT_AFTER))
    }
}

impl Verdict {
    /// Whether it answers what was asked: a standby campaigns or waits, a leader keeps or yields.
    #[must_use]
    pub const fn fits(&self, leads: bool) -> bool {
        match self {
            Self::Campaign | Self::Wait(_) => !leads,
            Self::Keep | Self::Yield { .. } => leads,
        }
    }
}

impl Elector {
    /// What the lock policy says; without one, or with a verdict that does not fit, the default policy campaigns for a free lock
    /// and keeps a held one. It holds until the next, so that it costs nothing when the lock becomes free.
    pub fn handle_verdict(&mut self, now: Instant, verdict: Verdict) {
        self.look(now);
        match verdict {
            Verdict::Wait(pause) => self.campaign.wait(now, pause),
            Verdict::Campaign | Verdict::Keep => self.campaign.wait_no_more(),
            Verdict::Yield { reason } => self.take_yield(now, &reason),
        }
    }

    /// Another candidate under a lock policy, as its candidate Lease says it; absent: that Lease is gone.
    pub fn handle_peer(&mut self, now: Instant, name: &str, seen: Option<PeerSeen>) {
        self.look(now);
        self.peers.note(now, name, seen);
    }

    /// Only to one that lives and would take the lock, and once a minute.
    fn take_yield(&mut self, now: Instant, reason: &str) {
        let Some(term) = self.authority().map(|authority| authority.term) else { return };
        if self.phase() != Phase::Leading || now.boot >= self.peers.campaign_until() {
            return;
        }
        if self.campaign.may_yield(now, term) {
            self.drain(now, Drain::Yield, format!("the lock policy yields: {reason}"));
        }
    }

    /// The boot reading until which others have the lock to themselves after a yield: one lease duration, or for as long as
    /// one is left that would take it.
    pub(super) fn out_until(&self) -> Duration {
        let untaken = self.campaign.yielded_term().is_some_and(|term| self.floors.seen() == Some(term));
        let out_until = self.campaign.out_until;
        if untaken { out_until.min(self.peers.campaign_until()) } else { out_until }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Instant {
        let reading = Duration::from_secs(seconds);
        Instant { boot: reading, wall: reading }
    }

    fn seen(version: u64, listed: bool) -> Option<PeerSeen> {
        Some(PeerSeen { version, campaigns: true, listed })
    }

    #[test]
    fn what_stood_there_before_shows_nobody_alive() {
        let mut peers = Peers::default();
        peers.note(at(10), "b", seen(7, true));
        peers.note(at(11), "b", seen(7, true));
        assert_eq!(peers.campaign_until(), Duration::ZERO);
        peers.note(at(12), "b", seen(8, true));
        assert_eq!(peers.campaign_until(), Duration::from_secs(102));
        peers.note(at(13), "b", seen(8, false));
        assert_eq!(peers.campaign_until(), Duration::from_secs(102));
    }

    #[test]
    fn others_cannot_make_us_remember_without_end() {
        let mut peers = Peers::default();
        for number in 0..1000 {
            peers.note(at(1), &format!("peer-{number}"), seen(number, false));
        }
        assert_eq!(peers.known.len(), PEERS_MAX);
        peers.note(at(2), "peer-0", seen(1001, false));
        assert_eq!(peers.campaign_until(), Duration::from_secs(92));
        peers.note(at(3), "peer-0", None);
        assert_eq!(peers.known.len(), PEERS_MAX - 1);
    }

    #[test]
    fn standbys_campaign_or_wait_and_leaders_keep_or_yield() {
        let fit = |leads| {
            let reason = String::new();
            let all = [Verdict::Campaign, Verdict::Wait(Duration::ZERO), Verdict::Keep, Verdict::Yield { reason }];
            all.map(|verdict| verdict.fits(leads))
        };
        assert_eq!(fit(false), [true, true, false, false]);
        assert_eq!(fit(true), [false, false, true, true]);
    }
}
