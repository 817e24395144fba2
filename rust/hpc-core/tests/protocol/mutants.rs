//! Each rule of the protocol, broken: the tests that hold it must fail.
//!
//! A mutant that lives is a missing test. Rules that are a relay's or a client's to keep are broken
//! in the simulation of those (`hpc.testing.sim`); R1 and R4, that answers leave after the commit, are
//! the Python side's and broken there.

use std::panic::{AssertUnwindSafe, catch_unwind};

use hpc_core::mutants::{Rule, break_rule};

use crate::{
    scheduling, traces_batches, traces_gate, traces_leases, traces_nodes, traces_verdicts,
};

use crate::search::search;

/// How many courses the search has to find it.
const COURSES: u32 = 1_000;

type Test = fn();

/// The rules, and for each the tests of which every one must notice.
const CAUGHT_BY: &[(Rule, &[Test])] = &[
    (
        Rule::R2,
        &[traces_batches::fault_33_a_repeat_gets_the_first_receipt],
    ),
    (
        Rule::R3,
        &[traces_verdicts::a_cancel_before_ok_stays_cancelled],
    ),
    (
        Rule::R5,
        &[traces_verdicts::a_cancel_before_ok_stays_cancelled],
    ),
    (
        Rule::R6,
        &[traces_verdicts::a_cancel_is_told_at_once_to_an_open_claim],
    ),
    (
        Rule::R6Dependents,
        &[traces_gate::what_can_never_be_met_is_settled_at_once],
    ),
    (
        Rule::R7,
        &[traces_leases::fault_22_a_delayed_grant_is_the_next_attempt_of_another_relay],
    ),
    (
        Rule::R8,
        &[traces_verdicts::a_late_failure_of_a_lost_attempt_counts_nothing],
    ),
    (
        Rule::R8Ok,
        &[traces_verdicts::fault_28_a_late_ok_of_a_lost_attempt_settles],
    ),
    (
        Rule::R9,
        &[traces_verdicts::a_late_ok_of_a_lost_attempt_takes_the_task_off_the_queue],
    ),
    (
        Rule::R10,
        &[traces_batches::numbered_batches_come_without_gaps],
    ),
    (
        Rule::R17,
        &[traces_leases::a_lost_answer_heals_with_the_next_claim],
    ),
    (
        Rule::R18,
        &[traces_leases::fault_34_an_old_claim_after_a_newer_one_gives_nothing_up],
    ),
    (
        Rule::R19,
        &[traces_leases::a_newer_epoch_keeps_what_it_holds_and_loses_the_rest_at_once],
    ),
    (
        Rule::R20,
        &[traces_leases::fault_28_what_was_given_up_is_adopted_when_it_comes_back],
    ),
    (
        Rule::R20Ended,
        &[traces_leases::what_has_ended_is_never_adopted],
    ),
    (
        Rule::R20Beside,
        &[traces_leases::nothing_is_adopted_beside_an_active_attempt],
    ),
    (
        Rule::R21,
        &[traces_verdicts::a_cancel_is_told_at_once_to_an_open_claim],
    ),
    (
        Rule::R22,
        &[traces_nodes::an_epoch_belongs_to_one_session_and_ends_with_the_next],
    ),
    (
        Rule::R23,
        &[traces_nodes::fault_25_a_second_place_is_taken_until_the_first_is_lost],
    ),
    (
        Rule::R24,
        &[traces_leases::a_shorter_lease_after_a_restart_does_not_shorten_what_was_promised],
    ),
    (
        Rule::R25,
        &[traces_leases::fault_23_silence_loses_stop_at_the_lease_and_finish_at_the_reclaim_time],
    ),
    (
        Rule::R28,
        &[scheduling::grants_keep_to_the_books_and_to_the_order],
    ),
    (Rule::R29, &[traces_leases::a_late_turn_renews_all_leases]),
    (
        Rule::R30,
        &[traces_verdicts::a_cancel_is_told_at_once_to_an_open_claim],
    ),
    (
        Rule::Poison,
        &[traces_verdicts::fault_20_losses_of_what_had_not_started_are_no_poison],
    ),
];

/// Rules that the random search finds broken too, without knowing where to look.
const FOUND_BY_SEARCH: &[Rule] = &[
    Rule::R3,
    Rule::R5,
    Rule::R6,
    Rule::R7,
    Rule::R8,
    Rule::R17,
    Rule::R18,
    Rule::R21,
    Rule::R23,
];

fn fails(rule: Rule, test: Test) -> bool {
    break_rule(Some(rule));
    let result = catch_unwind(AssertUnwindSafe(test));
    break_rule(None);
    result.is_err()
}

/// Runs in one thread: the panics that are wanted are not printed.
#[test]
fn every_broken_rule_is_noticed() {
    std::panic::set_hook(Box::new(|_| {}));
    let mut living: Vec<String> = Vec::new();
    for (rule, tests) in CAUGHT_BY {
        for (place, test) in tests.iter().enumerate() {
            if !fails(*rule, *test) {
                living.push(format!("{rule:?} lives through test {place} of its row"));
            }
        }
    }
    for rule in FOUND_BY_SEARCH {
        break_rule(Some(*rule));
        if search(COURSES, 0).is_ok() {
            living.push(format!("{rule:?} lives through the search"));
        }
    }
    break_rule(None);
    let _ = std::panic::take_hook();
    assert!(living.is_empty(), "{living:#?}");
    println!("{} rules broken, each noticed", CAUGHT_BY.len());
}
