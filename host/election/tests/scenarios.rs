//! Scenario files: commands and the transcript they give, one idea each. In `scenarios/*.txt` a line that starts at the margin
//! is a command or a `#` comment, an indented one is what was seen. `UPDATE_EXPECT=1 cargo test` writes transcripts anew;
//! read the difference before you keep it.

use std::path::{Path, PathBuf};

use expect_test::expect_file;
use tenure_simulator::commands::Scenario;

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios")
}

fn check(name: &str) {
    let path = directory().join(name).with_extension("txt");
    let text = std::fs::read_to_string(&path).expect("the scenario reads");
    let mut scenario = Scenario::default();
    let mut transcript = String::new();
    for line in text.lines().filter(|line| !line.starts_with(' ')) {
        transcript += &format!("{line}\n");
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        for seen in scenario.run(line) {
            transcript += &format!("  {seen}\n");
        }
    }
    expect_file![path].assert_eq(&transcript);
    assert_eq!(scenario.world.judge.violations, Vec::<String>::new(), "{name}");
}

/// One test a file, so that a failure names its claim.
macro_rules! scenarios {
    ($($name:ident)*) => {
        $(#[test] fn $name() { check(stringify!($name)); })*

        #[test]
        fn every_scenario_file_is_a_test() {
            let mut names = vec![$(stringify!($name)),*];
            names.sort_unstable();
            let mut files = std::fs::read_dir(directory())
                .expect("the scenarios")
                .map(|file| file.expect("a file").path().file_stem().expect("a name").to_string_lossy().into_owned())
                .collect::<Vec<_>>();
            files.sort_unstable();
            assert_eq!(files, names);
        }
    };
}

scenarios! {
    a_client_go_holder_over_ours_is_no_quick_way_in
    a_client_go_release_is_a_release
    a_container_left_by_a_predecessor_is_no_proof
    a_cut_off_leader_turns_soft_and_closes_in_time
    a_dead_leader_is_replaced_before_its_lease_is_over
    a_delayed_renewal_extends_only_from_its_sending
    a_delayed_write_is_void_once_the_version_moved
    a_deleted_lease_ends_the_term_at_once
    a_deleted_lease_waits_even_with_immediate
    a_drain_ends_when_authority_does
    a_drain_kills_and_then_gives_up_answers
    a_drain_renews_until_guests_have_ended
    a_foreign_holder_ends_the_term_at_once
    a_holder_never_seen_to_renew_is_waited_for
    a_holder_that_came_and_went_unseen_is_waited_for
    a_holder_that_came_unseen_is_no_client_go_release
    a_label_under_a_renewal_costs_one_conflict
    a_late_client_go_release_over_a_term_unseen_waits
    a_leader_back_in_touch_takes_its_own_record_in_a_new_term
    a_leader_that_only_seems_dead_is_waited_for
    a_loser_campaigns_again
    a_lost_acquiring_answer_counts_from_its_sending
    a_lost_acquisition_while_shutting_down_is_released
    a_lost_answer_is_read_before_anything_else
    a_lost_release_is_found_out
    a_paused_leader_closes_before_anything_else
    a_pod_that_is_gone_proves_nothing
    a_policy_cannot_claim_early
    a_policy_costs_no_takeover_time
    a_policy_delays_a_claim_but_not_for_ever
    a_policy_that_waits_is_heard
    a_policy_yields_once_a_minute
    a_policy_yields_only_to_one_that_campaigns
    a_policy_yields_only_to_one_that_lives
    a_record_in_our_name_that_is_not_ours_renames_us
    a_record_renewed_without_an_attempt_is_no_proof
    a_refused_renewal_runs_out
    a_refused_write_is_told_and_tried_again
    a_release_after_a_conflict_leaves_another_holder_alone
    a_release_goes_through_an_edit_of_its_own_record
    a_release_is_left_after_a_second_conflict
    a_release_mark_of_an_older_term_waits
    a_release_names_no_container
    a_release_never_overwrites_a_successor
    a_release_tries_once_more_after_a_conflict
    a_release_waits_for_the_renewal_under_way
    a_released_lock_is_taken_without_waiting
    a_renewal_after_a_delete_does_not_bring_the_lease_back
    a_renewal_after_the_proof_voids_it
    a_renewal_always_changes_the_record
    a_renewal_names_its_container_again
    a_restart_with_the_same_name_waits_like_anyone
    a_restored_release_waits
    a_restored_release_waits_even_in_the_newest_term
    a_second_client_go_holder_unseen_is_no_release
    a_second_write_fits_into_the_renew_deadline
    a_shutdown_hands_over_without_waiting
    a_stale_deletion_ends_nothing
    a_term_that_ended_is_not_begun_again
    a_token_on_an_object_ends_nothing
    a_verdict_is_about_the_holder_it_was_asked_under
    a_version_that_came_again_after_a_restore_is_not_taken_for_ours
    a_wait_said_again_does_not_begin_anew
    a_wall_clock_lets_nobody_in
    a_wall_clock_set_back_lengthens_nothing
    a_wall_clock_set_forward_ends_the_term
    a_write_answered_201_ends_the_term
    a_write_refused_for_a_larger_token_ends_the_term
    a_write_that_changed_nothing_is_not_stored
    a_yield_stays_out_for_one_lease
    a_yielder_is_back_when_nobody_would_take_the_lock
    a_yielder_waits_for_whoever_took_the_lock
    an_acquisition_below_a_refused_token_is_not_begun
    an_acquisition_found_too_late_is_not_begun
    an_attempt_is_past_when_the_version_moved_on
    an_edit_does_not_shorten_what_the_holder_was_promised
    an_edit_of_an_emptied_lock_is_no_release
    an_edited_container_is_no_proof
    an_edited_renew_time_ends_the_term
    an_emptied_lock_ends_the_term_at_once
    an_emptied_lock_waits
    an_emptied_lock_waits_for_what_its_holder_was_promised
    an_empty_client_go_record_nobody_saw_held_waits
    an_empty_watch_list_only_asks_for_a_read
    an_expired_lease_is_taken_at_the_exact_instant
    an_unreachable_release_is_given_up
    an_unreadable_term_is_absent_and_reported
    another_duration_or_term_ends_the_term
    etcd_restored_under_a_leader_ends_its_term
    every_renewal_starts_the_wait_again
    labels_and_foreign_annotations_are_kept
    no_lease_waits_and_says_so
    nobody_looks_at_a_leader_that_renews
    old_and_repeated_watch_events_are_ignored
    our_own_duration_counts_where_the_record_says_less
    racing_candidates_do_not_both_acquire
    shutting_down_a_standby_ends_at_once
    soft_is_never_taken_back
    standbys_spread_after_a_release
    terms_rise_over_a_deletion
    the_first_create_may_be_immediate
    the_last_term_cannot_be_followed
    the_longest_duration_seen_in_a_term_counts
    two_processes_with_one_identity_never_lead_together
    unanswered_writes_forbid_the_release
    what_was_acquired_while_shutting_down_is_released
    where_no_watch_is_allowed_the_lock_is_polled
    without_release_the_lease_runs_out
    without_the_right_to_read_pods_nothing_is_proved
}
