//! The outbox on a real file system: what was written is told again, torn at whatever byte.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)] // a test may stop at once

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use hpc_executor::outbox::{News, Outbox};
use hpc_executor::record::{Outcome, Record, Span};
use hpc_executor::work::Lease;

/// A folder of its own that is removed with the test.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("hpc-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn log(&self) -> PathBuf {
        self.0.join("s.log")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn lease() -> Arc<Lease> {
    Arc::new(Lease {
        ns_id: "batch".into(),
        job_id: "job".into(),
        attempt: 1,
        epoch: 1,
    })
}

fn started(task: u32) -> Record {
    Record::Started {
        lease: lease(),
        tasks: Span(task, task),
        at: 1,
    }
}

fn ended(task: u32) -> Record {
    Record::Ended {
        lease: lease(),
        tasks: Span(task, task),
        outcome: Outcome {
            exit_code: Some(0),
            finished_at: 2,
            ..Outcome::default()
        },
    }
}

fn body(outbox: &mut Outbox) -> String {
    let (n, body) = outbox.take_offer().unwrap();
    let body = String::from_utf8(body).unwrap();
    assert!(body.starts_with(&format!("{{\"id\":\"s/{n}\"")));
    body
}

/// Whatever byte a power cut or a kill leaves last, the whole records before it count, and what is
/// written next is read back.
#[test]
fn a_file_torn_at_any_byte_is_its_whole_records() {
    let folder = Folder::new("torn");
    let mut outbox = Outbox::open(&folder.0, "s", "n1").unwrap();
    for task in 0..3 {
        outbox.push(started(task));
        outbox.push_output(vec![7; 10]);
        outbox.push(ended(task));
    }
    outbox.flush().unwrap();
    let whole = fs::read(folder.log()).unwrap();
    drop(outbox);
    let mut ends_before = 0;
    for length in 0..=whole.len() {
        fs::write(folder.log(), &whole[..length]).unwrap();
        let Some(mut outbox) = Outbox::load(&folder.log()).unwrap() else {
            assert_eq!(ends_before, 0, "records were lost at byte {length}");
            continue;
        };
        let ends = outbox.ended().count();
        assert!(
            ends >= ends_before,
            "a longer file told less at byte {length}"
        );
        ends_before = ends;
        outbox.push(ended(9));
        outbox.flush().unwrap();
        let outbox = Outbox::load(&folder.log()).unwrap().unwrap();
        assert_eq!(outbox.ended().count(), ends + 1);
    }
    assert_eq!(ends_before, 3);
}

/// A batch that was offered is offered again as it was, also after what came later.
#[test]
fn a_batch_has_the_same_bytes_after_a_restart() {
    let folder = Folder::new("same");
    let mut outbox = Outbox::open(&folder.0, "s", "n1").unwrap();
    outbox.push(started(0));
    assert_eq!(outbox.news(), News::Starts);
    outbox.push_output(vec![1, 2]);
    outbox.push(ended(0));
    assert_eq!(outbox.news(), News::Ends);
    assert!(outbox.make_batch().unwrap());
    let first = body(&mut outbox);
    assert!(outbox.take_offer().is_none(), "it is offered once");
    outbox.push(ended(1));
    outbox.flush().unwrap();
    assert_eq!(outbox.news(), News::None, "one is in flight");

    let mut outbox = Outbox::load(&folder.log()).unwrap().unwrap();
    assert_eq!(body(&mut outbox), first);
    assert_eq!(outbox.offered_outputs(), [1, 2]);
    assert!(
        outbox.acknowledge(2).unwrap().is_none(),
        "nobody was told of 2"
    );
    let forgotten = outbox.acknowledge(1).unwrap().unwrap();
    assert_eq!(forgotten, [(lease(), Span(0, 0))]);
    assert!(outbox.make_batch().unwrap());
    assert!(body(&mut outbox).contains("\"tasks\":\"1\""));

    let mut outbox = Outbox::load(&folder.log()).unwrap().unwrap();
    assert!(outbox.acknowledge(1).unwrap().is_none(), "an old answer");
    assert!(outbox.acknowledge(2).unwrap().is_some());
    assert!(Outbox::load(&folder.log()).unwrap().unwrap().is_empty());
}

/// The file of a relay that runs for months does not grow for ever, and keeps what is not told.
#[test]
fn a_large_file_is_written_anew_with_what_is_still_needed() {
    let folder = Folder::new("anew");
    let mut outbox = Outbox::open(&folder.0, "s", "n1").unwrap();
    for n in 1..=5 {
        outbox.push_output(vec![0; 3 << 20]);
        outbox.push(ended(n));
        assert!(outbox.make_batch().unwrap());
        outbox.push(ended(100 + n));
        outbox.flush().unwrap();
        assert!(body(&mut outbox).contains(&format!("s/{n}\"")));
        outbox.acknowledge(u64::from(n)).unwrap().unwrap();
    }
    assert!(fs::metadata(folder.log()).unwrap().len() < 9 << 20);
    let mut again = Outbox::load(&folder.log()).unwrap().unwrap();
    assert_eq!(again.ended().count(), outbox.ended().count());
    assert!(again.make_batch().unwrap());
    assert!(body(&mut again).contains("s/6\""));
}

/// What the Hub will not take is set aside; the rest keeps its number, also after a restart.
#[test]
fn refused_events_are_set_aside_for_good() {
    let folder = Folder::new("refused");
    let refused = folder.0.join("refused");
    let mut outbox = Outbox::open(&folder.0, "s", "n1").unwrap();
    outbox.push(started(0));
    outbox.push(ended(0));
    assert!(outbox.make_batch().unwrap());
    body(&mut outbox);
    assert!(!outbox.refuse(2, &[0], &refused).unwrap(), "another number");
    assert!(outbox.refuse(1, &[0], &refused).unwrap());
    let rest = body(&mut outbox);
    assert!(!rest.contains("JobStarted") && rest.contains("JobFinished"));
    assert!(outbox.refuse(1, &[0], &refused).unwrap());

    let mut outbox = Outbox::load(&folder.log()).unwrap().unwrap();
    let told = body(&mut outbox);
    assert!(
        told.contains("ReportRefused") && told.contains("\"count\":1"),
        "{told}"
    );
    let aside = fs::read_to_string(refused.join("s-1.jsonl")).unwrap();
    assert_eq!(aside.lines().count(), 2);
    assert_eq!(outbox.acknowledge(1).unwrap().unwrap().len(), 1);
}

/// A node that drains itself must say so although nothing has started or ended, also after a crash,
/// and be done with it once that is acknowledged.
#[test]
fn a_drain_is_news_and_is_forgotten_with_its_batch() {
    let folder = Folder::new("drained");
    let mut outbox = Outbox::open(&folder.0, "s", "n1").unwrap();
    outbox.push(Record::Drained {
        reason: "full".into(),
        at: 1,
    });
    outbox.flush().unwrap();
    drop(outbox);
    let mut outbox = Outbox::load(&folder.log()).unwrap().unwrap();
    assert!(matches!(outbox.news(), News::Ends));
    assert!(outbox.make_batch().unwrap());
    assert!(body(&mut outbox).contains("\"kind\":\"NodeDrained\""));
    assert!(outbox.acknowledge(1).unwrap().unwrap().is_empty());
    assert!(outbox.is_empty());
    outbox.push(started(0));
    assert!(matches!(outbox.news(), News::Starts));
}

/// What no batch of a former session holds is told by the next one: once, also where a crash left it in
/// both files, and nothing of it is lost on the way.
#[test]
fn what_no_batch_holds_is_handed_over_once() {
    let folder = Folder::new("heir");
    let log = |session: &str| folder.0.join(format!("{session}.log"));
    let mut old = Outbox::open(&folder.0, "s", "n1").unwrap();
    old.push(started(0));
    assert!(old.make_batch().unwrap());
    for task in 1..4 {
        old.push(started(task));
        old.push_output(vec![7; 10]);
        old.push(ended(task));
    }
    old.flush().unwrap();
    let before = fs::read(log("s")).unwrap();

    let mut next = Outbox::open(&folder.0, "t", "n1").unwrap();
    old.hand_over(&mut next).unwrap();
    old.hand_over(&mut next).unwrap();
    assert_eq!(next.ended().count(), 3);
    assert_eq!(old.ended().count(), 0);
    assert!(!old.is_empty(), "its batch is still to be told");
    let mut again = Outbox::load(&log("s")).unwrap().unwrap();
    assert!(!again.make_batch().unwrap() && again.take_offer().unwrap().0 == 1);

    fs::write(log("s"), before).unwrap(); // the crash before it was said that they were handed over
    let mut first = Outbox::load(&log("s")).unwrap().unwrap();
    let mut second = Outbox::load(&log("t")).unwrap().unwrap();
    let mut last = Outbox::open(&folder.0, "u", "n1").unwrap();
    for old in [&mut first, &mut second] {
        old.hand_over(&mut last).unwrap();
    }
    assert_eq!(last.ended().count(), 3);
    assert!(last.make_batch().unwrap());
    assert_eq!(last.offered_outputs(), vec![7; 30]);
    let last = Outbox::load(&log("u")).unwrap().unwrap();
    assert_eq!(last.ended().count(), 3);
    assert!(second.is_empty(), "all of it is elsewhere");
}

/// A power cut takes the file's end at any byte, after its batch was sent: the number stands before the
/// same bytes or before nothing, and what is left of the rest goes to the next session (protocol R11).
#[test]
fn fault_06_a_power_cut_leaves_no_number_before_something_else() {
    let folder = Folder::new("cut");
    let mut outbox = Outbox::open(&folder.0, "s", "n1").unwrap();
    for task in 0..2 {
        outbox.push(started(task));
        outbox.push(ended(task));
    }
    assert!(outbox.make_batch().unwrap());
    let sent = body(&mut outbox);
    outbox.push(ended(2));
    outbox.flush().unwrap();
    let whole = fs::read(folder.log()).unwrap();
    let (mut same, mut none) = (0, 0);
    for length in 0..=whole.len() {
        fs::write(folder.log(), &whole[..length]).unwrap();
        let _ = fs::remove_file(folder.0.join("t.log"));
        let Some(mut old) = Outbox::load(&folder.log()).unwrap() else {
            continue;
        };
        let ends = old.ended().count();
        let mut next = Outbox::open(&folder.0, "t", "n1").unwrap();
        old.hand_over(&mut next).unwrap();
        assert_eq!(old.ended().count() + next.ended().count(), ends);
        assert!(
            !old.make_batch().unwrap(),
            "a session that is over makes no batch"
        );
        if old.take_offer().is_some() {
            let mut old = Outbox::load(&folder.log()).unwrap().unwrap();
            assert_eq!(body(&mut old), sent, "cut at byte {length}");
            same += 1;
        } else {
            none += 1;
        }
    }
    assert!(same > 0 && none > 0);
}
