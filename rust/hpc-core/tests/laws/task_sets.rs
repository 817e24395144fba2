//! Task sets: the range list is canonical text, and what is taken is taken once.

use std::collections::BTreeSet;

use hpc_core::lattice::codec::{Codec, DecodeReason, put_uint};
use hpc_core::lattice::tasks::{TASK_MAX, TaskSet};
use proptest::prelude::*;

use super::config;
use super::elements::tasks;

proptest! {
    #![proptest_config(config())]

    #[test]
    fn text_says_the_set_and_only_it(a in tasks(), b in tasks()) {
        prop_assert_eq!(TaskSet::parse(&a.to_string()), Ok(a.clone()));
        prop_assert_eq!(a.to_string() == b.to_string(), a == b);
    }

    #[test]
    fn ranges_are_ascending_and_never_adjacent(a in tasks()) {
        let ranges = a.ranges();
        prop_assert!(ranges.iter().all(|(first, last)| first <= last));
        prop_assert!(ranges.is_sorted_by(|left, right| left.1 + 1 < right.0));
        let counted: u64 = ranges.iter().map(|(first, last)| u64::from(last - first) + 1).sum();
        prop_assert_eq!(counted, a.len());
    }

    #[test]
    fn parts_may_overlap_and_come_in_any_order(
        parts in proptest::collection::vec((0u32..30, 0u32..5), 1..8),
    ) {
        let text: Vec<_> = parts.iter().map(|(a, n)| format!("{a}-{}", a + n)).collect();
        let expected: BTreeSet<u32> = parts.iter().flat_map(|(a, n)| *a..=a + n).collect();
        let parsed = TaskSet::parse(&text.join(",")).unwrap();
        prop_assert!(parsed.iter().eq(expected));
    }

    #[test]
    fn take_first_takes_the_least(a in tasks(), count in prop_oneof![0u64..20, 0u64..300_000]) {
        let mut rest = a.clone();
        let taken = rest.take_first(count);
        prop_assert_eq!(taken.len(), count.min(a.len()));
        prop_assert!(taken.is_disjoint(&rest));
        prop_assert!(taken.last() < rest.first() || rest.is_empty() || taken.is_empty());
        prop_assert_eq!(taken.union(&rest), a);
    }

    #[test]
    fn set_operations_are_those_of_sets(a in tasks(), b in tasks()) {
        let (inside, outside) = (a.intersection(&b), a.difference(&b));
        prop_assert_eq!(inside.union(&outside), a.clone());
        prop_assert!(inside.is_subset(&b) && outside.is_disjoint(&b));
        let mut subtracted = a.clone();
        subtracted.subtract(&b);
        prop_assert_eq!(subtracted, outside);
        prop_assert_eq!(a.is_subset(&b), inside == a);
    }

    #[test]
    fn any_text_is_parsed_or_refused_with_the_part(text in "[0-9,-]{0,12}|\\PC{0,8}") {
        match TaskSet::parse(&text) {
            Ok(set) => prop_assert_eq!(TaskSet::parse(&set.to_string()), Ok(set)),
            Err(bad) => prop_assert!(text.split(',').any(|part| part == bad.part)),
        }
    }
}

/// The message shows the part, so that a typing error is found in a long list.
#[test]
fn what_is_no_range_is_named() {
    for (text, part) in [
        ("1,,2", ""),
        ("1,2-", "2-"),
        ("5-2", "5-2"),
        ("+1", "+1"),
        (" 1", " 1"),
        ("1-2-3", "1-2-3"),
        ("0-10000000", "0-10000000"),
    ] {
        assert_eq!(TaskSet::parse(text).unwrap_err().part, part);
    }
}

/// A million tasks that are queued, or done, are a few bytes in a snapshot and in a report.
#[test]
fn a_long_range_is_short() {
    let million = TaskSet::range(0, 999_999);
    assert_eq!(million.to_string(), "0-999999");
    assert_eq!(million.to_bytes().len(), 5);
}

/// A few hostile bytes must not ask for gigabytes of bitmap, nor say one set in two ways.
#[test]
fn bytes_beyond_the_last_task_are_refused() {
    let bytes = |numbers: &[u64]| {
        let mut out = Vec::new();
        numbers
            .iter()
            .for_each(|number| put_uint(*number, &mut out));
        out
    };
    let max = u64::from(TASK_MAX);
    assert_eq!(
        TaskSet::from_bytes(&bytes(&[1, max, 0])),
        Ok(TaskSet::one(TASK_MAX))
    );
    for (numbers, reason) in [
        (vec![1, max + 1, 0], DecodeReason::OutOfRange),
        (vec![1, 0, u64::from(u32::MAX)], DecodeReason::OutOfRange),
        (vec![1, u64::from(u32::MAX), 1], DecodeReason::OutOfRange),
        (vec![2, 0, 1, 1, 0], DecodeReason::NotCanonical), // 0-1, 2: adjacent
        (vec![2, 0, 1, 0, 0], DecodeReason::NotCanonical), // 0-1, 1: overlapping
        (vec![9, 0, 0], DecodeReason::CutShort),
    ] {
        let error = TaskSet::from_bytes(&bytes(&numbers)).unwrap_err();
        assert_eq!(error.reason, reason, "{numbers:?}");
    }
}
