//! A Hub in memory, asked as its transport would.

use hpc_core::logic::hub::{Config, Hub, Input, Now};

/// The time of every turn.
pub const NOW: Now = Now { wall: 1_800_000_000_000, mono: 1 };

/// A Hub with its namespace and generator registered.
pub struct Desk(pub Hub);

impl Desk {
    /// With these registrations.
    pub fn with(registrations: &[&str]) -> Self {
        let config = Config { hub_id: "hub".to_owned(), lease_ms: 30_000, reclaim_ms: 300_000 };
        let mut desk = Self(Hub::new(config));
        desk.0.start(NOW);
        for registration in registrations {
            desk.ask("control", "", registration.as_bytes());
        }
        desk
    }

    /// Asks once; the answer must be a 200.
    pub fn ask(&mut self, verb: &str, query: &str, body: &[u8]) -> Vec<u8> {
        let input = Input { token: 1, verb, query, body, who: "" };
        let mut turn = self.0.step(&[input], NOW, &[]).expect("no fault");
        let reply = turn.replies.pop().expect("an answer");
        assert_eq!(reply.status, 200, "{}", String::from_utf8_lossy(&reply.body));
        reply.body
    }
}
