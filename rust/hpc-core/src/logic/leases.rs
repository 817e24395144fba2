//! Leases over time: deadlines, losses and reclaims. Silent is not lost at once (protocol R24, R25).

use super::attempts::NodeIx;
use super::check::Checked;
use super::hub::{Fault, Hub, NewEvent, RowWriter, map};
use super::nodes::NodeState;
use super::offer::Offer;
use crate::domain::event::KernelKind;
use crate::domain::json::Value;
use crate::mutants::{Rule, is_broken};

/// A node whose epoch an event ends, and why.
pub(super) type EndedNode = (NodeIx, &'static str);

/// Why attempts are lost whose node a person has given up.
const ON_REQUEST: &str = "given up on request";

impl Hub {
    /// The shortest lease that a live node was promised; the Hub's own where there is none.
    pub(super) fn shortest_lease_ms(&self) -> i64 {
        let nodes = self.state.nodes.iter();
        let up = nodes.filter(|(_, node)| node.state == NodeState::Up);
        let shortest = up.map(|(_, node)| node.lease_ms).min();
        shortest.map_or(self.config.lease_ms, |lease| {
            lease.min(self.config.lease_ms)
        })
    }

    /// Gives every live node a whole lease from now, and every lost one a whole reclaim time.
    pub(super) fn renew_all(&mut self) {
        let (now, reclaim_ms) = (self.now.mono, self.config.reclaim_ms);
        for (_, node) in self.state.nodes.iter_mut() {
            match node.state {
                NodeState::Up if is_broken(Rule::R24) => node.deadline = Some(now),
                NodeState::Up => node.deadline = Some(now + node.lease_ms),
                NodeState::Left if node.leases.is_empty() => {}
                // Also of one that has none: it may run what was settled otherwise.
                NodeState::Unreachable | NodeState::Left => {
                    node.deadline = Some(now + node.lease_ms);
                    node.reclaim = (!node.leases.is_empty()).then_some(now + reclaim_ms);
                }
            }
        }
    }

    /// Ends what is due: epochs that were silent for their lease, leases past their reclaim time.
    pub(super) fn expire_leases(&mut self) -> Result<(), Fault> {
        let now = self.now.mono;
        let due = |at: Option<i64>| at.is_some_and(|at| at <= now);
        let nodes = self.state.nodes.iter();
        let due: Vec<(NodeIx, bool, bool)> = nodes
            .map(|(ix, node)| (ix, due(node.deadline), due(node.reclaim)))
            .filter(|(_, silent, reclaim)| *silent || *reclaim)
            .collect();
        for (ix, silent, reclaim) in due {
            let mut row = self.begin_row();
            let node = self.state.nodes.get(ix);
            let is_up = node.is_some_and(|node| node.state == NodeState::Up);
            if silent && is_up {
                self.lose_node(&mut row, ix)?;
            } else if silent {
                self.lose_stops(&mut row, ix, ON_REQUEST)?;
            }
            if reclaim {
                self.reclaim(&mut row, ix, "reclaimed: the node did not come back")?;
            }
            self.end_own_row(row);
        }
        Ok(())
    }

    /// Commits that a node was silent: `stop` attempts are lost, `finish` attempts stay its own
    /// until the reclaim time.
    fn lose_node(&mut self, row: &mut RowWriter, ix: NodeIx) -> Result<(), Fault> {
        let reclaim_at = self.now.mono + self.config.reclaim_ms;
        let Some(node) = self.state.nodes.get(ix) else {
            return Ok(());
        };
        let ctx = map([
            ("node_id", Value::text(node.id.to_string())),
            ("epoch", Value::Int(i64::from(node.epoch))),
        ]);
        let spec = map([("reason", Value::text("silent for its lease"))]);
        self.record(row, &NewEvent::own("NodeLost", &ctx, &spec))?;
        self.lose_stops(row, ix, "its relay was silent")?;
        self.close_claim(ix);
        if let Some(node) = self.state.nodes.get_mut(ix) {
            node.reclaim = (!node.leases.is_empty()).then_some(reclaim_at);
        }
        Ok(())
    }

    /// Nothing that must never overlap can live at a node any more: its relay has reached its fence.
    fn lose_stops(
        &mut self,
        row: &mut RowWriter,
        ix: NodeIx,
        reason: &'static str,
    ) -> Result<(), Fault> {
        for (job, attempt, tasks) in self.leases_of(ix) {
            if self.state.jobs.live(job).is_some_and(|job| job.stops) {
                self.lose_attempt(row, ix, job, attempt, &tasks, reason)?;
            }
        }
        if let Some(node) = self.state.nodes.get_mut(ix) {
            node.deadline = None;
            node.taken_by = None;
        }
        Ok(())
    }

    /// Whether what must never overlap may live at a node, whoever gives it up: its fence is to come.
    pub(super) fn has_live_stops(&self, ix: NodeIx) -> bool {
        let node = self.state.nodes.get(ix);
        let node = node.filter(|node| node.deadline.is_some());
        let mut jobs = node.into_iter().flat_map(|node| &node.leases);
        jobs.any(|job| self.state.jobs.live(*job).is_some_and(|job| job.stops))
    }

    fn reclaim(
        &mut self,
        row: &mut RowWriter,
        ix: NodeIx,
        reason: &'static str,
    ) -> Result<(), Fault> {
        let node = self.state.nodes.get(ix);
        let is_fenced = node.is_none_or(|node| node.deadline.is_none());
        for (job, attempt, tasks) in self.leases_of(ix) {
            let stops = self.state.jobs.live(job).is_some_and(|job| job.stops);
            if is_fenced || !stops {
                self.lose_attempt(row, ix, job, attempt, &tasks, reason)?;
            }
        }
        if let Some(node) = self.state.nodes.get_mut(ix) {
            node.reclaim = None;
        }
        Ok(())
    }

    /// The node that an event ends, if it speaks of that node's newest epoch: a person says that it
    /// will not come back, or its relay that it has left.
    pub(super) fn node_ended_by(&self, event: &Checked<'_>) -> Option<EndedNode> {
        let reason = match event.kernel? {
            KernelKind::NodeLost => ON_REQUEST,
            KernelKind::NodeLeft => "its relay left",
            _ => return None,
        };
        let ix = self.state.nodes.find(event.ctx.str("node_id")?)?;
        let epoch = i64::from(self.state.nodes.get(ix)?.epoch);
        (event.ctx.int("epoch") == Some(epoch)).then_some((ix, reason))
    }

    /// What follows from the end of nodes: their attempts are lost now, but those that must never
    /// overlap once the fence of a relay that may live has come. It stands in a row of the Hub's own
    /// behind the client's, whose receipt and event ids are those of what was sent.
    pub(super) fn end_nodes(&mut self, ended: Vec<EndedNode>) -> Result<(), Fault> {
        let mut row = self.begin_row();
        for (ix, reason) in ended {
            self.close_claim(ix);
            self.reclaim(&mut row, ix, reason)?;
            if let Some(node) = self.state.nodes.get_mut(ix) {
                node.holds.clear(); // whoever held them is gone: nothing is ending there any more
            }
        }
        self.end_own_row(row);
        Ok(())
    }

    /// Has those looked at whose drain's deadline has passed: they are told to give back what they
    /// still run. The deadline is a time of day, so it is judged anew in every turn.
    pub(super) fn end_drains(&mut self) {
        let now = self.now.wall;
        for (_, node) in self.state.nodes.iter_mut() {
            let is_due = node.drain_deadline.is_some_and(|at| at <= now);
            node.attention |= is_due && !node.is_drain_due;
            node.is_drain_due = is_due;
        }
    }

    /// The next deadline of a drain, ms since 1970; of what has nothing to give back none is waited
    /// for.
    pub(super) fn next_drain_end(&self) -> Option<i64> {
        let nodes = self.state.nodes.iter().map(|(_, node)| node);
        let waited_for = nodes.filter(|node| !node.is_drain_due && !node.leases.is_empty());
        waited_for.filter_map(|node| node.drain_deadline).min()
    }

    /// A relay that takes the name of another waits while that one may run what must never overlap;
    /// from now on the other is not served, so that its fence comes.
    pub(super) fn begin_takeover(&mut self, ix: NodeIx, offer: &Offer) {
        let node = self.state.nodes.get_mut(ix).filter(|_| offer.takeover);
        let Some(node) = node.filter(|node| node.place != offer.place) else {
            return;
        };
        node.taken_by = Some((offer.host.clone(), offer.place.clone()));
        if let Some(open) = node.open.take() {
            let problem = self.taken(ix);
            self.refuse(open.token, &problem);
        }
    }

    /// A claim that waits is answered 409: its epoch is over.
    fn close_claim(&mut self, ix: NodeIx) {
        let Some(node) = self.state.nodes.get_mut(ix) else {
            return;
        };
        let (id, epoch) = (node.id.clone(), node.epoch);
        if let Some(open) = node.open.take() {
            let problem = super::claim::lost_epoch(&id, epoch, epoch);
            self.refuse(open.token, &problem);
        }
    }
}
