//! Stamps: the producer's time, or one that is greater than every stamp before.

use serde_json::{Value, json};

use crate::desk::{Desk, WALL};

fn desk() -> Desk {
    Desk::with_schema(json!({"Said": []}))
}

/// Offers an event with this time; its stamp in the log.
fn say(desk: &mut Desk, at: Option<i64>) -> (i64, i64) {
    let mut event = json!({"kind": "Said", "payload": {"ctx": {"ns_id": "ns"}, "spec": {}}});
    if let Some(at) = at {
        event["at"] = json!(at);
    }
    assert_eq!(desk.ingest(&[event]).status, 200);
    let stored = desk.newest();
    let int = |key: &str| stored[key].as_i64();
    (int("at").unwrap(), int("counter").unwrap_or(0))
}

#[test]
fn the_producers_time_is_kept_as_it_is() {
    let mut desk = desk();
    for at in [0, 1, WALL - 9_999_999, WALL, WALL + 5_000] {
        assert_eq!(say(&mut desk, Some(at)), (at, 0));
    }
}

/// One whose clock is ahead would win every `last` for ever.
#[test]
fn a_time_too_far_ahead_is_brought_back() {
    let mut desk = desk();
    assert!(say(&mut desk, Some(WALL + 5_001)).0 <= WALL + 1);
    assert!(say(&mut desk, Some(i64::MAX)).0 <= WALL + 1);
}

/// What the Hub stamps is greater than all that it recorded: after a burst, after a clock that was
/// set back, after a producer's time a little ahead, and after a restart.
#[test]
fn the_hubs_own_stamps_rise() {
    let mut desk = desk();
    let mut last = (0, 0);
    let mut rises = |desk: &mut Desk| {
        let stamp = say(desk, None);
        assert!(stamp > last, "{stamp:?} after {last:?}");
        last = stamp;
    };
    for _ in 0..3 {
        rises(&mut desk);
    }
    desk.now.wall -= 3_600_000;
    rises(&mut desk);
    desk.restart();
    rises(&mut desk);
    desk.now.wall = WALL + 10;
    rises(&mut desk);
    let ahead = say(&mut desk, Some(WALL + 4_000));
    let next = say(&mut desk, None);
    assert!(next > ahead, "{next:?} after {ahead:?}");
    desk.restart();
    assert!(say(&mut desk, Some(i64::MAX)) > next);
}

/// Content is compared before the Hub stamps it: a retry without a time is a duplicate.
#[test]
fn a_retry_without_a_time_is_a_duplicate() {
    let mut desk = desk();
    let body: Value =
        json!({"id": "b", "events": [{"kind": "Said", "payload": {"ctx": {"ns_id": "ns"}}}]});
    let body = body.to_string();
    desk.send("ingest", "", body.as_bytes());
    desk.now.wall += 1_000;
    assert_eq!(
        desk.send("ingest", "", body.as_bytes()).body["duplicate"],
        true
    );
}
