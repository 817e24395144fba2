//! What the engine costs by itself: CPU time of one core, and bytes that are allocated.

mod desk;
mod joins;
mod measure;
mod workload;

use measure::Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn main() {
    let which = std::env::args().nth(1).unwrap_or_default();
    let events: usize = std::env::args().nth(2).and_then(|n| n.parse().ok()).unwrap_or(1_000_000);
    if which == "join" {
        let cost = joins::generator(&workload::job_events(events / 3));
        println!("generator: {:.0} ns/event, {:.0} B/row, {:.2} allocations/event", cost.ns, cost.bytes, cost.allocations);
    }
    if which == "kernel" {
        let cost = joins::kernel(&workload::kernel_events(events / 4));
        println!("kernel: {:.0} ns/event, {:.0} B/job, {:.2} allocations/event", cost.ns, cost.bytes, cost.allocations);
    }
}
