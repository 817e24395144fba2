//! What the engine costs by itself: CPU time of one core, and bytes that are allocated.
//!
//! `make bench-engine` runs it. Every part verifies what it made.

mod arrays;
mod desk;
mod ingest;
mod joins;
mod measure;
mod others;
mod pulls;
mod queued;
mod workload;

use measure::Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn main() {
    let only = std::env::args().nth(1);
    let events: usize = std::env::args().nth(2).and_then(|n| n.parse().ok()).unwrap_or(1_000_000);
    let is_wanted = |part: &str| only.as_ref().is_none_or(|only| only == part || only == "all");
    if is_wanted("joins") {
        joins(events);
    }
    if is_wanted("ingest") {
        ingest(events);
    }
    if is_wanted("pulls") {
        pulls(events);
    }
    if is_wanted("arrays") {
        arrays();
    }
    if is_wanted("queued") {
        queued(events);
    }
    if is_wanted("start") {
        start(events);
    }
}

fn joins(events: usize) {
    for events in [events / 10, events] {
        let texts = workload::job_events(events / 3);
        println!("three events per job, {events} events, ns/event (B/row):");
        let said = others::said(&texts);
        let cost = joins::generator(&texts);
        let ours = cost.ns;
        println!("  hpc, a generator of 4 columns   {ours:7.0} ({:4.0})  {:.2} allocations/event; the same again {:.0} ns", cost.bytes, cost.allocations, cost.again);
        let peers: [(&str, fn(&[others::Said]) -> others::Cost); 3] =
            [("HashMap by hand", others::by_hand), ("lattices 0.7", others::hydro), ("crdts 7.3", others::crdts)];
        for (name, run) in peers {
            let (ns, bytes) = run(&said);
            println!("  {name:<31} {ns:7.0} ({bytes:4.0})  {:.1} x ours", ns / ours);
        }
    }
    let texts = workload::kernel_events(events / 4);
    let facts = joins::kernel_facts(&texts);
    println!("kernel's facts, jobs of one task, {events} events: {:.0} ns/event, {:.0} B/job, {:.2} allocations/event", facts.ns, facts.bytes, facts.allocations);
    let (all, left) = joins::kernel(&texts);
    println!("  with jobs, queue, nodes, attempts: {:.0} ns/event, {:.0} B/job, {:.2} allocations/event", all.ns, all.bytes, all.allocations);
    println!("  of that, once all are forgotten: {left:.0} B/job");
}

fn ingest(events: usize) {
    let costs = ingest::run(&workload::job_events(events / 3));
    let show = |name: &str, ns: f64| println!("  {name:<34} {ns:6.0} ns/event {:10.0} events/s", 1e9 / ns);
    println!("bytes to joined facts and log rows, {events} events, 1,000 a call:");
    show("JSON", costs.json);
    show("MessagePack", costs.msgpack);
    show("every batch again", costs.duplicates);
    show("every event again, new batches", costs.said_again);
}

fn pulls(events: usize) {
    println!("pull of 10 changed rows (µs): events in the log, found, as JSON, by replay");
    for length in [events / 100, events / 10, events, 10 * events] {
        let pull = pulls::after(length as u64);
        println!("  {length:>10} {:8.2} {:8.2} {:12.0}", pull.find, pull.json, pull.replay);
    }
}

fn arrays() {
    let array = arrays::run();
    println!("array of 1,000,000 tasks, kB above an empty Hub: queued {:.0}, done {:.0}, 5 % failed {:.0}; submitted in {:.1} ms", array.queued, array.done, array.failed, array.submit_ms);
}

fn queued(events: usize) {
    let queued = queued::run(events / 10);
    println!("{} jobs queued, each with a command of its own: {:.0} ns/job, {:.0} B/job", events / 10, queued.ns, queued.bytes);
    for (part, bytes) in queued.parts {
        println!("  {part:<22} {bytes:6.0} B/job");
    }
}

fn start(events: usize) {
    let (replay, write, restore, bytes) = ingest::start(events / 2);
    println!("{events} events of {} jobs, ms: replay {replay:.0}, snapshot written {write:.0} ({} MB), read {restore:.0}", events / 2, bytes / 1_000_000);
}
