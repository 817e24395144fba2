//! Why no node is a place for a job: what the largest lacks, and which would do but for what the job
//! says of places, or for what was said of them.
//!
//! Only the causes that hold are named: that no relay has a resource is said where none has it.

use super::hub::Hub;
use super::nodes::{Node, NodeState, at};
use super::queue::{Shape, ShapeIx};
use super::why::{amount, named, quantity};

impl Hub {
    /// What keeps every task of a shape from running, whoever is ahead.
    pub(super) fn obstacle(&self, ns_id: &str, shape: ShapeIx) -> Option<String> {
        let nodes = self.state.nodes.iter().map(|(_, node)| node);
        let nodes: Vec<&Node> = nodes.filter(|node| node.epoch > 0).collect();
        let serving = nodes.iter().filter(|node| serves(node, ns_id));
        let serving: Vec<&Node> = serving.copied().collect();
        let up = serving.iter().filter(|node| node.state == NodeState::Up);
        let up: Vec<&Node> = up.copied().collect();
        if up.is_empty() {
            return Some(nobody_serves(ns_id, &serving));
        }
        let taking: Vec<&Node> = up.iter().filter(|n| n.takes_work()).copied().collect();
        let shape = self.state.queue.shape_at(shape);
        let now = self.now.mono;
        let could = |nodes: &[&Node]| nodes.iter().any(|node| node.capacity(shape, now) > 0);
        if taking.is_empty() {
            let nobody = nobody_takes(ns_id, &up);
            // Where it could not run either if they took work, that comes first.
            return Some(match could(&up) {
                true => nobody,
                false => {
                    let lacks = self.why_no_place(shape, &up, (&nodes, &serving));
                    format!("{lacks}; and {nobody}")
                }
            });
        }
        if could(&taking) {
            return None;
        }
        Some(self.why_no_place(shape, &taking, (&nodes, &serving)))
    }

    /// Why none of some nodes could run tasks of a shape.
    fn why_no_place(
        &self,
        shape: &Shape,
        among: &[&Node],
        (nodes, serving): (&[&Node], &[&Node]),
    ) -> String {
        let now = self.now.mono;
        let places = among.iter().filter(|node| node.is_place_for(shape, now));
        let places: Vec<&Node> = places.copied().collect();
        match places.is_empty() {
            true => no_place(shape, nodes, serving, now),
            false => self.does_not_fit(shape, &places, serving),
        }
    }

    /// What the nodes lack that are places for a shape, and which others would have it.
    fn does_not_fit(&self, shape: &Shape, places: &[&Node], serving: &[&Node]) -> String {
        let now = self.now.mono;
        let names = self.state.queue.resources();
        let mut parts: Vec<String> = Vec::new();
        for (resource, need) in &shape.needs {
            let most_of = |nodes: &[&Node]| {
                let most = nodes.iter().map(|node| at(&node.total, *resource));
                most.max().unwrap_or(0)
            };
            let most = most_of(places);
            if most >= *need {
                continue;
            }
            let name = names.get(*resource).map_or("", |name| name);
            let need_words = amount(name, *need);
            let that_could = if most_of(serving) > most {
                " that could take it"
            } else {
                ""
            };
            parts.push(match most {
                0 => format!("needs {need_words}, no relay{that_could} has any"),
                // Of two that would look alike the difference is what matters.
                _ if quantity(name, most) == quantity(name, *need) => format!(
                    "needs {need_words}, the largest relay{that_could} has {} less",
                    quantity(name, need - most)
                ),
                _ => format!(
                    "needs {need_words}, the largest relay{that_could} has {}",
                    quantity(name, most)
                ),
            });
        }
        if parts.is_empty() {
            parts.push("no single relay has all that it needs".to_owned());
        }
        let others = serving.iter().filter(|node| node.has(shape));
        let others = others.filter_map(|node| {
            let obstacle = not_a_place(node, shape, now)?;
            Some(format!("{} has enough, but {obstacle}", node.id))
        });
        let others: Vec<String> = others.collect();
        let others: Vec<&str> = others.iter().map(String::as_str).collect();
        if !others.is_empty() {
            parts.push(named(&others));
        }
        parts.join("; ")
    }
}

/// Why a node takes nothing, whatever a job asks for, in words that follow its name.
pub(super) fn takes_nothing(node: &Node) -> Option<&'static str> {
    match node.state {
        NodeState::Unreachable if node.drained.1 => Some("is unreachable, and drained"),
        NodeState::Unreachable => Some("is unreachable"),
        NodeState::Left if node.drained.1 => Some("has left, and is drained"),
        NodeState::Left => Some("has left"),
        NodeState::Up if node.is_leaving => Some("is draining, as its relay was told to end"),
        NodeState::Up if node.drained.1 => Some("is drained"),
        NodeState::Up => None,
    }
}

fn serves(node: &Node, ns_id: &str) -> bool {
    node.namespaces.iter().any(|ns| ns == ns_id)
}

/// Why a node of the namespace is no place for tasks of a shape, be it large enough or not.
fn not_a_place(node: &Node, shape: &Shape, now: i64) -> Option<String> {
    let placement = shape.placement.as_ref();
    let obstacle = placement.and_then(|place| place.obstacle(node, node.left_ms(now)));
    obstacle.or_else(|| takes_nothing(node).map(str::to_owned))
}

fn nobody_serves(ns_id: &str, serving: &[&Node]) -> String {
    let away = serving.iter();
    let away = away.filter(|node| node.state == NodeState::Unreachable);
    let mut away: Vec<&str> = away.map(|node| node.id.as_ref()).collect();
    away.sort_unstable();
    if away.is_empty() {
        format!("no relay follows `{ns_id}`")
    } else {
        format!(
            "no relay follows `{ns_id}` now: {} unreachable",
            away.join(", ")
        )
    }
}

fn nobody_takes(ns_id: &str, up: &[&Node]) -> String {
    let leaving = up.iter().filter(|node| node.is_leaving).count();
    let all = up.len();
    let word = match leaving {
        0 => "drained",
        n if n == all => "draining, as it was told to end",
        _ => "drained, or was told to end",
    };
    format!("every relay of `{ns_id}` is {word}")
}

/// Why no node is a place for tasks of a shape: the nodes that it names, or all; first those that it
/// might run on if they took work.
fn no_place(shape: &Shape, nodes: &[&Node], serving: &[&Node], now: i64) -> String {
    let Some(placement) = &shape.placement else {
        return "no relay is a place for it".to_owned();
    };
    let of_it = |node: &&&Node| placement.nodes.is_empty() || placement.names(&node.id);
    let meant = serving.iter().filter(of_it);
    let (idle, wrong): (Vec<&Node>, Vec<&Node>) =
        meant.partition(|node| placement.allows(node, node.left_ms(now)));
    // Of those that are gone only those are named that could be places again, if there are any.
    let could =
        |node: &Node| node.state == NodeState::Up || placement.allows(node, node.left_ms(now));
    let meant: Vec<&Node> = idle.into_iter().chain(wrong).collect();
    let is_any = meant.iter().any(|node| could(node));
    let says = meant.iter().filter(|node| !is_any || could(node));
    let says = says.filter_map(|node| {
        let obstacle = takes_nothing(node).filter(|_| !could(node));
        let obstacle = obstacle.map(str::to_owned);
        let obstacle = obstacle.or_else(|| not_a_place(node, shape, now))?;
        Some(format!("{} {obstacle}", node.id))
    });
    let missing =
        placement
            .nodes
            .iter()
            .filter_map(|id| match nodes.iter().find(|node| *node.id == **id) {
                None => Some(format!("{id} is not there")),
                Some(node) if !serving.iter().any(|of| of.id == node.id) => {
                    Some(format!("{id} follows {}", node.namespaces.join(", ")))
                }
                Some(_) => None,
            });
    let says: Vec<String> = says.chain(missing).collect();
    let says: Vec<&str> = says.iter().map(String::as_str).collect();
    format!("no relay is a place for it: {}", named(&says))
}
