//! supervisor: the loop that waits for the relay, for children and for time.
//!
//! One thread, one process, between the relay and everything that it runs. It is the subreaper of
//! all of them, so nothing a task starts can leave it; when the relay is gone (its socket closes),
//! it ends them all and goes too; so it does when its guard is gone ([`crate::guard`]). What the process itself must be for that stands in
//! [`crate::own_process`]. The only other thread does slow disk work ([`crate::janitor`]).

use std::fs::{self, File};
use std::io::{self, PipeReader};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hpc_core::lattice::tasks::TaskSet;

use crate::board::{Board, Parts};
use crate::capture::{Captures, private_folder};
use crate::cgroup::{Cgroups, Wanted};
use crate::guard;
use crate::holds::Holds;
use crate::janitor::{Chore, Janitor};
use crate::keeper::{Ends, Keeper, Retention};
use crate::outbox::{News, Outbox};
use crate::own_folders::OwnFolders;
use crate::own_process;
use crate::reap::end_everything;
use crate::slots::Slots;
use crate::sweep;
use crate::sys::{self, Poller};
use crate::tail::{TAIL_MS, Tails};
use crate::timers::Timer;
use crate::wire::{Channel, Order};
use crate::work::{Site, is_id, seconds_to_ms};

/// How long a start waits for company before it is told.
const NEWS_MS: u64 = 50;

/// How long an end waits for company while others wait here for a slot: each report is a commit of
/// the Hub and work of the relay, on cores that tasks could have. What is leased ahead lasts longer: it is
/// some 100 ms of work.
const ENDS_MS: u64 = 25;

/// How often the outbox is synced at most, and tried again where it could not be written.
const SYNC_MS: u64 = 1_000;

/// How often what is kept is looked at where nothing else calls for it.
const KEEP_MS: u64 = 3_600_000;

/// How long the last processes may take to die when the supervisor goes.
pub(crate) const END_MS_MAX: u64 = 5_000;

/// Why the Hub has tasks ended that shall run elsewhere; whatever else it says, it has settled them.
const DRAIN: &str = "drain";

const SOCKET: u64 = 0;
const CHILDREN: u64 = 1;
const TIME: u64 = 2;
const GUARD: u64 = 3;

/// What a supervisor is told at its start.
pub struct Settings {
    /// Its end of the socket pair.
    pub socket: OwnedFd,
    /// The relay's folder, which only this relay uses.
    pub folder: PathBuf,
    /// Origin of its batches: letters and digits.
    pub session: String,
    /// Node id.
    pub node_id: String,
    /// Cores that tasks may be pinned to.
    pub cpus: Vec<u32>,
    /// Memory that tasks may reserve.
    pub memory_mib: u64,
    /// Bytes that are kept of the output of a task that sets no limit of its own.
    pub output_limit: u64,
    /// Whether memory limits are kept by cgroups.
    pub cgroup: Wanted,
    /// Most processes, threads among them, that tasks have together.
    pub processes_max: Option<u64>,
    /// How long and how much of long output is kept for readers.
    pub retention: Retention,
}

/// Runs until the relay says stop or is gone; ends every descendant before it returns.
///
/// Changes this process for good: subreaper, ignored signals, SIGCHLD blocked.
///
/// # Errors
/// What kept it from starting, or the loop from going on; tasks are ended all the same.
pub fn supervise(mut settings: Settings) -> io::Result<()> {
    let folder = settings.folder.clone();
    private_folder(&folder)?;
    let lock = lock(&folder)?;
    let (socket, guard) = guard::stand(&folder, settings.socket, &lock)?;
    settings.socket = socket;
    let mut supervisor = Supervisor::start(settings, guard, lock)?;
    // Also after a fault of ours the tasks are ended, not left to themselves.
    let result = catch_unwind(AssertUnwindSafe(|| supervisor.run()))
        .unwrap_or_else(|_| Err(io::Error::other("a fault of the supervisor; see above")));
    if !end_everything(END_MS_MAX) {
        crate::say!("supervisor: a task's process cannot be killed; it waits in the kernel");
    }
    supervisor.board.janitor.leave(Chore::Remove(run_folder(
        &folder,
        supervisor.board.outbox.session(),
    )));
    // What ended in the same moment as the relay is in no file yet.
    if let Err(error) = supervisor.board.outbox.flush() {
        crate::say!("supervisor: the outbox cannot be written: {error}");
    }
    supervisor.leave_syncs();
    supervisor.board.janitor.finish();
    if let Some(groups) = &supervisor.board.groups {
        groups.sweep();
    }
    result
}

struct Supervisor {
    poller: Poller,
    children: File,
    channel: Channel,
    is_output_watched: bool,
    board: Board,
    old: Vec<Outbox>,
    /// Former sessions of the Hub that this relay joins.
    adopted: Vec<String>,
    tails: Tails,
    are_chunks_taken: bool,
    is_tail_timed: bool,
    is_news_timed: bool,
    /// Until when ends wait for company, if they do.
    ends_ms: Option<u64>,
    is_sync_timed: bool,
    idle_questions: Vec<u64>,
    refused: PathBuf,
    /// At its end once the guard is gone.
    _guard: PipeReader,
    /// Held until this process ends, and its guard: the next supervisor of the folder waits for it.
    _lock: File,
}

impl Supervisor {
    fn start(settings: Settings, guard: PipeReader, lock: File) -> io::Result<Self> {
        let Settings {
            folder, session, ..
        } = settings;
        let children = own_process::prepare()?;
        let place = sweep::place_of(&folder)?;
        let swept = sweep::sweep(&place);
        let groups = Cgroups::open(&folder, &place, settings.cgroup, settings.processes_max)?;
        let run = run_folder(&folder, &session);
        let outbox_folder = folder.join("outbox");
        private_folder(&outbox_folder)?;
        let outbox = Outbox::open(&outbox_folder, &session, &settings.node_id)?;
        let old = old_outboxes(&outbox_folder, &session)?;
        let outputs = folder.join("outputs");
        let ends = unacknowledged(old.iter().chain([&outbox]));
        let keeper = Keeper::new(outputs.clone(), settings.retention, &ends);
        let janitor = Janitor::start(keeper)?;
        clear_runs(&folder, &janitor);
        let mut board = Board::new(Parts {
            captures: Captures::new(run.join("capture"), outputs, !ends.is_empty())?,
            folders: OwnFolders::new(run.join("cwd"))?,
            slots: Slots::new(settings.cpus, settings.memory_mib),
            outbox,
            site: Site {
                node_id: settings.node_id,
                place,
                has_gpus: false,
            },
            janitor,
            output_limit: settings.output_limit,
            groups,
            are_groups_required: settings.cgroup == Wanted::Require,
        })?;
        hold_ended(&mut board.holds, &board.outbox);
        board.timers.set(sys::boottime_ms() + KEEP_MS, Timer::Keep);
        let mut channel = Channel::new(UnixStream::from(settings.socket))?;
        channel.send(b'R', &[ready(swept, &old).as_bytes()]);
        let poller = Poller::new()?;
        poller.add(&channel, SOCKET, false)?;
        poller.add(&children, CHILDREN, false)?;
        poller.add(board.timers.descriptor(), TIME, false)?;
        poller.add(&guard, GUARD, false)?;
        Ok(Self {
            poller,
            children,
            channel,
            is_output_watched: false,
            board,
            old,
            adopted: Vec::new(),
            tails: Tails::default(),
            are_chunks_taken: true,
            is_tail_timed: false,
            is_news_timed: false,
            ends_ms: None,
            is_sync_timed: false,
            idle_questions: Vec::new(),
            refused: folder.join("refused"),
            _guard: guard,
            _lock: lock,
        })
    }

    fn run(&mut self) -> io::Result<()> {
        loop {
            self.deliver();
            let is_waiting = self.channel.flush();
            if is_waiting != self.is_output_watched {
                self.is_output_watched = is_waiting;
                self.poller.change(&self.channel, SOCKET, is_waiting)?;
            }
            self.board.tidy();
            self.board.timers.arm()?;
            let ready = self.poller.wait(-1)?;
            // Time first: on waking from sleep a fence is due before anything else (R29).
            if ready.contains(&TIME) {
                self.board.timers.rang();
            }
            self.be_on_time();
            if ready.contains(&CHILDREN) {
                self.reap();
            }
            if ready.contains(&GUARD) {
                return Err(io::Error::other("the guard was killed"));
            }
            if ready.contains(&SOCKET) {
                let Some(orders) = self.channel.receive() else {
                    return Ok(()); // the relay is gone
                };
                for order in orders {
                    if matches!(order, Order::Stop) {
                        return Ok(());
                    }
                    self.obey(order);
                }
                self.board.start_ready();
            }
        }
    }

    fn reap(&mut self) {
        use std::io::Read;
        // One signal may stand for many children; what they are is asked of the kernel.
        let _ = (&self.children).read(&mut [0; 128 * 8]);
        self.board.reap();
    }

    fn be_on_time(&mut self) {
        let now_ms = sys::boottime_ms();
        let mut looks = Vec::new();
        while let Some(timer) = self.board.timers.due(now_ms) {
            match timer {
                Timer::Fence => self.board.fence_due(),
                Timer::Drain => self.board.drain_due(),
                Timer::TimeLimit(serial) => self.board.time_limit_due(serial),
                Timer::Warn(serial) => self.board.warn_due(serial),
                Timer::Kill(serial) => self.board.kill_due(serial),
                Timer::Swept(serial) => self.board.swept_due(serial),
                Timer::Memory(serial) => looks.push(serial),
                Timer::Output(serial) => self.board.output_due(serial),
                Timer::Confine => self.board.confine_due(),
                Timer::Patrol => self.board.patrol_due(),
                Timer::Starts => self.board.start_ready(),
                Timer::News => self.news_due(),
                Timer::Ends => {} // `deliver` looks at the time
                Timer::Tail => self.is_tail_timed = false, // `deliver` reads
                Timer::Sync => self.sync_due(),
                Timer::Keep => self.keep_due(now_ms),
            }
        }
        if !looks.is_empty() {
            self.board.memory_due(&looks);
        }
    }

    fn obey(&mut self, order: Order) {
        match order {
            Order::Offer { stock } => self.board.offer(stock),
            Order::Hooks { pre, post, limit_s } => {
                self.board.hook(pre, post, seconds_to_ms(limit_s));
            }
            Order::Run { works } => self.board.run(works),
            Order::Refuse { work, detail } => self.board.refuse(&work, detail),
            Order::Cancel {
                job_id,
                attempt,
                tasks,
                reason,
            } => {
                if let Some(tasks) = ranges(&tasks) {
                    let is_drain = reason == DRAIN;
                    self.board.cancel(&job_id, attempt, &tasks, is_drain);
                }
            }
            Order::GiveBack {
                job_id,
                attempt,
                tasks,
            } => {
                if let Some(tasks) = ranges(&tasks) {
                    self.board.give_back(&job_id, attempt, &tasks);
                }
            }
            Order::Fence { boottime_ms } => {
                self.board.fence(boottime_ms);
                self.inherit();
            }
            Order::Lost => self.board.lost(),
            Order::Drain { grace_s } => self.board.drain(seconds_to_ms(grace_s)),
            Order::Tail { streams } => {
                self.tails.replace(streams);
                self.is_tail_timed = false; // what is new is read at once
            }
            Order::Acked { origin, n } => self.acked(&origin, n),
            Order::Refused { origin, n, events } => self.set_aside(&origin, n, &events),
            Order::Adopt { origins } => self.adopt(origins),
            Order::Holds { id } => {
                let holds = self.board.holds.to_json();
                self.channel
                    .send(b'H', &[&id.to_le_bytes(), holds.as_bytes()]);
            }
            Order::Running { id } => {
                let count = self.board.running_count().to_string();
                self.channel
                    .send(b'H', &[&id.to_le_bytes(), count.as_bytes()]);
            }
            Order::Idle { id } => self.idle_questions.push(id),
            Order::Taken => self.are_chunks_taken = true,
            Order::Stop => {}
        }
    }

    fn outbox(&mut self, origin: &str) -> Option<&mut Outbox> {
        if self.board.outbox.session() == origin {
            return Some(&mut self.board.outbox);
        }
        self.old.iter_mut().find(|old| old.session() == origin)
    }

    /// Holds what these former sessions have ended, and not what others have: a task of another
    /// Hub that is called the same must start. Comes before the first work.
    fn adopt(&mut self, origins: Vec<String>) {
        for outbox in &self.old {
            if self.adopted.iter().any(|known| known == outbox.session()) {
                let ended: Vec<_> = outbox
                    .ended()
                    .map(|(lease, tasks)| (Arc::clone(lease), tasks))
                    .collect();
                self.board.holds.remove(&ended);
            }
        }
        self.adopted = origins;
        for outbox in &self.old {
            if self.adopted.iter().any(|known| known == outbox.session()) {
                hold_ended(&mut self.board.holds, outbox);
            }
        }
        hold_ended(&mut self.board.holds, &self.board.outbox);
    }

    /// Takes over what adopted sessions have told in no batch: the Hub has answered a claim, so that it
    /// is settled whose they are.
    fn inherit(&mut self) {
        if self.board.is_blocked {
            return; // the next answer to a claim comes soon
        }
        let adopted = &self.adopted;
        let is_ours = |old: &&mut Outbox| adopted.iter().any(|known| known == old.session());
        let mut ours = self.old.iter_mut().filter(is_ours);
        let handed_over = ours.try_for_each(|old| old.hand_over(&mut self.board.outbox));
        if let Err(error) = handed_over {
            self.block(&error);
        }
        self.remove_told();
    }

    fn acked(&mut self, origin: &str, n: u64) {
        let is_held =
            self.board.outbox.session() == origin || self.adopted.iter().any(|o| o == origin);
        let Some(acknowledged) = self.outbox(origin).map(|outbox| outbox.acknowledge(n)) else {
            return;
        };
        match acknowledged {
            Ok(Some(ended)) => {
                if is_held {
                    self.board.holds.remove(&ended);
                }
                if self.board.captures.is_any_kept() {
                    self.board.janitor.leave(Chore::Acknowledged(ended));
                }
            }
            Ok(None) => {}
            Err(error) => self.block(&error),
        }
        self.remove_told();
    }

    /// Deletes what former sessions have told to the end.
    fn remove_told(&mut self) {
        while let Some(place) = self.old.iter().position(Outbox::is_empty) {
            if let Err(error) = self.old.swap_remove(place).remove() {
                crate::say!("supervisor: an old outbox was not removed: {error}");
            }
        }
    }

    fn set_aside(&mut self, origin: &str, n: u64, events: &[usize]) {
        let refused = self.refused.clone();
        if let Some(Err(error)) = self
            .outbox(origin)
            .map(|outbox| outbox.refuse(n, events, &refused))
        {
            self.block(&error);
        }
    }

    /// Nothing starts until the outbox can be written again.
    fn block(&mut self, error: &io::Error) {
        crate::say!("supervisor: the outbox cannot be written: {error}");
        self.board.is_blocked = true;
    }

    /// Sends what there is to tell, answers who waits, and sets the timers for the rest.
    fn deliver(&mut self) {
        if !self.board.is_blocked
            && let Err(error) = self.make_batches()
        {
            self.block(&error);
        }
        for outbox in self.old.iter_mut().chain([&mut self.board.outbox]) {
            if let Some((n, body)) = outbox.take_offer() {
                self.channel
                    .send_batch(outbox.session(), n, &body, outbox.offered_outputs());
            }
        }
        self.follow();
        if !self.idle_questions.is_empty()
            && self.board.holds.is_empty()
            && self.board.outbox.is_empty()
        {
            for id in self.idle_questions.drain(..) {
                self.channel.send(b'I', &[&id.to_le_bytes()]);
            }
        }
        if !self.is_sync_timed && (self.board.is_blocked || self.board.outbox.is_unsynced()) {
            self.is_sync_timed = true;
            let at_ms = sys::boottime_ms() + SYNC_MS;
            self.board.timers.set(at_ms, Timer::Sync);
        }
    }

    fn make_batches(&mut self) -> io::Result<()> {
        match self.board.outbox.news() {
            News::Ends if self.ends_may_wait() => {}
            News::Ends | News::Again => {
                self.ends_ms = None;
                self.board.outbox.make_batch()?;
            }
            News::Starts if !self.is_news_timed => {
                self.is_news_timed = true;
                let at_ms = sys::boottime_ms() + NEWS_MS;
                self.board.timers.set(at_ms, Timer::News);
            }
            News::Starts | News::None => {}
        }
        self.board.outbox.flush()
    }

    /// Whether ends can be told later with others; the timer is set for the first of them.
    fn ends_may_wait(&mut self) -> bool {
        if self.board.queue.is_empty() {
            return false;
        }
        let now_ms = sys::boottime_ms();
        let until_ms = *self.ends_ms.get_or_insert_with(|| {
            let until_ms = now_ms + ENDS_MS;
            self.board.timers.set(until_ms, Timer::Ends);
            until_ms
        });
        now_ms < until_ms
    }

    fn news_due(&mut self) {
        self.is_news_timed = false;
        if let Err(error) = self.board.outbox.make_batch() {
            self.block(&error);
        }
    }

    fn sync_due(&mut self) {
        self.is_sync_timed = false;
        if self.board.is_blocked {
            let mut all = self.old.iter_mut().chain([&mut self.board.outbox]);
            let is_written = all.all(|outbox| outbox.flush().is_ok());
            drop(all);
            if is_written {
                crate::say!("supervisor: tries to start tasks again");
                self.board.is_blocked = false;
                self.board.start_ready();
            }
        }
        self.leave_syncs();
    }

    fn keep_due(&mut self, now_ms: u64) {
        self.board.janitor.leave(Chore::Look);
        self.board.timers.set(now_ms + KEEP_MS, Timer::Keep);
    }

    fn leave_syncs(&mut self) {
        for outbox in self.old.iter_mut().chain([&mut self.board.outbox]) {
            if let Some(file) = outbox.take_unsynced() {
                self.board.janitor.leave(Chore::Sync(file));
            }
        }
    }

    fn follow(&mut self) {
        if self.is_tail_timed || !self.tails.is_active() {
            return;
        }
        if self.are_chunks_taken {
            let frames = self.tails.read(&self.board);
            if !frames.is_empty() {
                self.are_chunks_taken = false;
                self.channel.send(b'C', &[&frames]);
            }
        }
        self.is_tail_timed = true;
        let at_ms = sys::boottime_ms() + TAIL_MS;
        self.board.timers.set(at_ms, Timer::Tail);
    }
}

fn unacknowledged<'o>(outboxes: impl Iterator<Item = &'o Outbox>) -> Ends {
    let ended = outboxes.flat_map(Outbox::ended);
    ended
        .map(|(lease, tasks)| (Arc::clone(lease), tasks))
        .collect()
}

fn hold_ended(holds: &mut Holds, outbox: &Outbox) {
    for (lease, span) in outbox.ended() {
        holds.add(lease, &span.tasks());
    }
}

fn ready(swept: usize, old: &[Outbox]) -> String {
    // A session is made of letters and digits.
    let old: Vec<String> = old
        .iter()
        .map(|outbox| format!("\"{}\"", outbox.session()))
        .collect();
    let pid = std::process::id();
    format!(
        "{{\"pid\":{pid},\"swept\":{swept},\"old\":[{}]}}",
        old.join(",")
    )
}

fn ranges(tasks: &str) -> Option<TaskSet> {
    TaskSet::parse(tasks)
        .map_err(|error| crate::say!("supervisor: an order names no tasks: {error}"))
        .ok()
}

fn lock(folder: &Path) -> io::Result<File> {
    let file = File::create(folder.join("supervisor.lock"))?;
    // A former supervisor that is still ending its tasks holds it for a moment.
    file.lock()?;
    Ok(file)
}

fn run_folder(folder: &Path, session: &str) -> PathBuf {
    folder.join("run").join(session)
}

/// Has the folders of former incarnations removed; nobody uses them any more.
fn clear_runs(folder: &Path, janitor: &Janitor) {
    for entry in fs::read_dir(folder.join("run"))
        .into_iter()
        .flatten()
        .flatten()
    {
        let before = entry.path();
        // Out of the way first: a session that is continued makes its folder anew.
        let aside = before.with_extension("old");
        match fs::rename(&before, &aside) {
            Ok(()) => janitor.leave(Chore::Remove(aside)),
            Err(_) => janitor.leave(Chore::Remove(before)),
        }
    }
}

/// The outboxes of former sessions that the Hub has not acknowledged.
fn old_outboxes(folder: &Path, session: &str) -> io::Result<Vec<Outbox>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let is_log = path.extension().is_some_and(|extension| extension == "log");
        let stem = path.file_stem().and_then(|stem| stem.to_str());
        let Some(stem) = stem.filter(|stem| is_log && is_id(stem) && *stem != session) else {
            continue;
        };
        match Outbox::load(&path)? {
            Some(outbox) if outbox.session() != stem => {
                crate::say!("supervisor: {} is another session's outbox", path.display());
            }
            Some(outbox) if outbox.is_empty() => outbox.remove()?,
            Some(outbox) => found.push(outbox),
            None => {}
        }
    }
    Ok(found)
}

/// The descriptor of the relay's socket, taken over from the environment of the process.
///
/// # Errors
/// `EBADF` where nothing is open under the number.
pub fn socket(fd: i32) -> io::Result<OwnedFd> {
    let socket = sys::adopt(fd)?;
    debug_assert!(socket.as_raw_fd() > 2, "children have 0, 1 and 2");
    Ok(socket)
}
