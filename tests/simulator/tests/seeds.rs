//! What a few seeds must show: that a seed repeats itself, that nothing is wrong, and that the simulator finds what is known to be
//! wrong elsewhere. Many seeds are `cargo xtask simulate`'s.

use std::time::Duration;

use tenure_simulator::episode::{Cast, Episode};
use tenure_simulator::tally::Tally;

fn sum(seeds: std::ops::Range<u64>, cast: Cast) -> (Tally, Vec<String>) {
    let (mut tally, mut wrong) = (Tally::default(), Vec::new());
    for seed in seeds {
        let episode = Episode::run(seed, cast, false);
        tally.add(&episode);
        if episode.is_wrong() {
            wrong.push(episode.told());
        }
    }
    (tally, wrong)
}

#[test]
fn one_seed_does_the_same_twice() {
    for seed in 0..8 {
        let [one, other] = [(); 2].map(|()| Episode::run(seed, Cast::Drawn, true).world.log);
        assert!(one.len() > 50, "seed {seed} says {} lines", one.len());
        assert_eq!(one, other);
    }
}

#[test]
fn nothing_is_wrong_under_any_fault() {
    let (tally, wrong) = sum(0..150, Cast::Drawn);
    assert!(wrong.is_empty(), "cargo xtask simulate --seed <seed> --trace shows each:\n{}", wrong.join("\n"));
    assert!(tally.terms > 5 * tally.seeds, "the faults leave nothing to judge: {tally}");
    let missing = tenure_simulator::fault_kinds().filter(|kind| !tally.faults.contains_key(kind)).collect::<Vec<_>>();
    assert!(missing.is_empty(), "faults that never came: {missing:?}");
}

/// election.md, "What others get wrong", 1: a late release overwrites the successor's lease, and two lead for seconds. Nobody
/// told the simulator: its candidate does as client-go does, its network keeps what a broken link has not delivered.
#[test]
fn client_go_overwrites_its_successors_lease_and_two_lead() {
    let (tally, _) = sum(0..300, Cast::ClientGo);
    assert!(tally.overwritten > 0, "{tally}");
    assert!(tally.client_go_overlap_max > Duration::from_secs(5), "{tally}");
}
