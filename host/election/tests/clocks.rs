//! Rule 6 without a driver: the core looks at the clocks itself before it takes news.

use std::time::Duration;

use tenure_election::{
    Action, Elector, FirstCreate, Identity, Instant, Outcome, Seen, Settings, Source, Timing, Write,
};

fn at(milliseconds: u64) -> Instant {
    let reading = Duration::from_millis(milliseconds);
    Instant { boot: reading, wall: reading }
}

fn actions(elector: &mut Elector, now: Instant) -> Vec<Action> {
    std::iter::from_fn(|| elector.poll_action(now)).collect()
}

fn only_write(actions: Vec<Action>) -> Write {
    actions
        .into_iter()
        .find_map(|action| if let Action::Write(write) = action { Some(write) } else { None })
        .expect("a write")
}

#[test]
fn renewal_shown_after_the_hard_deadline_does_not_revive_the_term() {
    let settings = Settings { timing: Timing::FAST, first_create: FirstCreate::Immediate, ..Settings::default() };
    let mut elector = Elector::new(settings, Identity::new("a").expect("an identity"), 1);
    actions(&mut elector, at(0));
    elector.handle_record(at(0), Source::Quorum { sent_at: at(0) }, None);
    let acquiring = only_write(actions(&mut elector, at(0)));
    let seen = Seen { uid: "u".to_owned(), version: 1, record: acquiring.record };
    elector.handle_write(at(1), acquiring.attempt, Outcome::Stored { seen, created: true });
    actions(&mut elector, at(1));
    let renewal = only_write(actions(&mut elector, at(1000)));
    // Hard was at 4 s. The renewal would have moved it to 5 s, had anyone heard of it in time.
    let seen = Seen { uid: "u".to_owned(), version: 2, record: renewal.record };
    elector.handle_record(at(4500), Source::Watch, Some(seen));
    assert_eq!(elector.authority(), None);
    let then = actions(&mut elector, at(4500));
    assert!(then.iter().any(|action| matches!(action, Action::Close { .. })), "{then:?}");
    assert!(!then.iter().any(|action| matches!(action, Action::Extend(_))), "{then:?}");
}
