//! Whether a namespace pattern is covered by others. Matching names is globset's work; this compares the patterns.

use std::collections::{BTreeSet, HashSet};

/// States looked at before giving up and calling the pattern uncovered. Ordinary patterns need some dozens.
const STATES_MAX: usize = 4096;
/// A character that stands in no pattern, for all those that don't.
const ANY_OTHER: u8 = 0;

/// Whether each name that `pattern` matches is matched by one of `covers` at least. `*` stands for any characters, all
/// else for itself. Exact up to [`STATES_MAX`] states; past that, and for names over an alphabet used up by the
/// patterns, it errs towards `false`.
#[must_use]
pub(crate) fn is_covered(pattern: &str, covers: &[&str]) -> bool {
    // Patterns as automata: a state is a position in the pattern. Walk through all names the pattern matches at once,
    // keeping the set of states the covers are in; a name that the pattern ends on and no cover does is a witness.
    let covers = covers.iter().map(|cover| cover.as_bytes()).collect::<Vec<_>>();
    let alphabet = pattern
        .bytes()
        .chain(covers.iter().flat_map(|cover| cover.iter().copied()))
        .filter(|byte| *byte != b'*')
        .chain([ANY_OTHER])
        .collect::<BTreeSet<_>>();
    let start = covers.iter().enumerate().flat_map(|(index, cover)| closure(cover, 0).map(move |at| (index, at)));
    let start = start.collect::<BTreeSet<_>>();
    let mut waiting = closure(pattern.as_bytes(), 0).map(|at| (at, start.clone())).collect::<Vec<_>>();
    let mut seen = waiting.iter().cloned().collect::<HashSet<_>>();
    while let Some((at, states)) = waiting.pop() {
        if states.iter().any(|(index, at)| accepts_everything(covers[*index], *at)) {
            continue;
        }
        if at == pattern.len() && !states.iter().any(|(index, at)| *at == covers[*index].len()) {
            return false;
        }
        for byte in &alphabet {
            let next =
                states.iter().flat_map(|(index, at)| step(covers[*index], *at, *byte).map(move |at| (*index, at)));
            let next = next.collect::<BTreeSet<_>>();
            for at in step(pattern.as_bytes(), at, *byte) {
                if seen.insert((at, next.clone())) {
                    waiting.push((at, next.clone()));
                }
            }
        }
        if seen.len() > STATES_MAX {
            return false;
        }
    }
    true
}

fn accepts_everything(pattern: &[u8], at: usize) -> bool {
    pattern.get(at) == Some(&b'*') && at + 1 == pattern.len()
}

/// The positions reachable without reading: past each `*`.
fn closure(pattern: &[u8], at: usize) -> impl Iterator<Item = usize> + use<> {
    let stars = pattern[at..].iter().take_while(|byte| **byte == b'*').count();
    at..=at + stars
}

fn step(pattern: &[u8], at: usize, byte: u8) -> impl Iterator<Item = usize> + use<> {
    let next = match pattern.get(at) {
        Some(b'*') => Some(at),
        Some(literal) if *literal == byte => Some(at + 1),
        _ => None,
    };
    next.map(|next| closure(pattern, next)).into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn patterns_are_covered_by_wider_ones_and_by_several_together() {
        assert!(is_covered("team-a", &["team-*"]));
        assert!(is_covered("team-a-*", &["team-*"]));
        assert!(is_covered("a*b*c", &["a*c"]));
        assert!(is_covered("*", &["*"]));
        assert!(is_covered("a*", &["b*", "a*"]));
        assert!(!is_covered("team-*", &["team-a*", "team-b*"]));
        assert!(!is_covered("*", &["*a*"]));
        assert!(!is_covered("*-prod", &["team-*"]));
        assert!(!is_covered("a", &[]));
    }

    fn matcher(pattern: &str) -> globset::GlobMatcher {
        globset::Glob::new(pattern).unwrap().compile_matcher()
    }

    proptest! {
        #[test]
        fn a_covered_pattern_matches_no_name_its_covers_do_not(
            pattern in "[ab*]{1,5}", covers in prop::collection::vec("[ab*]{1,4}", 0..4), name in "[abc]{0,7}",
        ) {
            prop_assume!(!pattern.contains("**") && covers.iter().all(|cover| !cover.contains("**")));
            let covers = covers.iter().map(String::as_str).collect::<Vec<_>>();
            if is_covered(&pattern, &covers) && matcher(&pattern).is_match(&name) {
                prop_assert!(covers.iter().any(|cover| matcher(cover).is_match(&name)));
            }
        }

        #[test]
        fn an_uncovered_pattern_has_a_short_witness(
            pattern in "[ab*]{1,4}", covers in prop::collection::vec("[ab*]{1,3}", 0..3),
        ) {
            prop_assume!(!pattern.contains("**") && covers.iter().all(|cover| !cover.contains("**")));
            let covers = covers.iter().map(String::as_str).collect::<Vec<_>>();
            let (own, others) = (matcher(&pattern), covers.iter().map(|cover| matcher(cover)).collect::<Vec<_>>());
            let mut names = vec![String::new()];
            let mut witness = false;
            for _ in 0..=7 {
                let escapes = |name: &String| own.is_match(name) && !others.iter().any(|other| other.is_match(name));
                witness |= names.iter().any(escapes);
                names = names.iter().flat_map(|name| ["a", "b", "c"].map(|next| format!("{name}{next}"))).collect();
            }
            prop_assert_eq!(is_covered(&pattern, &covers), !witness);
        }
    }
}
