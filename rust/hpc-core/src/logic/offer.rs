//! What a claim says: a relay's offer and what it holds, decoded and checked.

use super::nodes::Hold;
use crate::domain::ids::{ID_EXPECTED, is_id};
use crate::domain::json::{Map, Value};
use crate::domain::msgpack::decode_either;
use crate::domain::problem::{FieldError, Problem};
use crate::domain::reader::{Reader, as_bool, as_id, as_int, as_string};
use crate::lattice::Lattice as _;
use crate::lattice::tasks::TaskSet;

/// The most resources that a relay offers, and namespaces that it serves.
pub(super) const NAMES_MAX: usize = 64;
/// The longest name of a machine or place, in bytes.
const PLACE_BYTES_MAX: usize = 512;
/// The longest value of a label, in bytes.
const LABEL_BYTES_MAX: usize = 256;
/// The most tasks that one claim takes.
pub const CLAIM_TASKS_MAX: u64 = 100_000;
const CLAIM_TASKS_DEFAULT: u64 = 64;

/// A claim.
#[derive(Clone, Debug)]
pub struct Offer {
    /// Node.
    pub node_id: String,
    /// Machine.
    pub host: String,
    /// Folder and boot.
    pub place: String,
    /// One start of the relay.
    pub session: String,
    /// The relay's own counter.
    pub epoch: u32,
    /// Number of this send.
    pub n: i64,
    /// Namespaces that it serves.
    pub namespaces: Vec<String>,
    /// All that it has.
    pub resources: Vec<(String, i64)>,
    /// What it says of itself, by key.
    pub labels: Vec<(String, String)>,
    /// How long it will still be there, ms, where that is known.
    pub time_left_ms: Option<i64>,
    /// Whether it takes nothing more, ends what it runs, and goes.
    pub is_leaving: bool,
    /// The most tasks that it takes.
    pub max: u64,
    /// How long it waits, ms.
    pub wait_ms: i64,
    /// What it holds, in the order of (job, attempt), each once.
    pub holds: Vec<Hold>,
    /// Whether it takes the name over from another place.
    pub takeover: bool,
}

impl Offer {
    /// Reads a claim's body.
    ///
    /// # Errors
    /// 400 or 422.
    pub fn parse(body: &[u8]) -> Result<Self, Box<Problem>> {
        let Value::Map(map) = decode_either(body).map_err(Problem::bad_request)? else {
            let error = FieldError::new("", "a map with `node_id`", "another value");
            return Err(Problem::not_well_formed(vec![error]).into());
        };
        let mut errors = Vec::new();
        let offer = Self::read(&map, &mut errors);
        match offer {
            Some(offer) if errors.is_empty() => Ok(offer),
            _ => Err(Problem::not_well_formed(errors).into()),
        }
    }

    fn read(map: &Map<'_>, errors: &mut Vec<FieldError>) -> Option<Self> {
        let known = [
            "node_id",
            "host",
            "place",
            "session",
            "epoch",
            "n",
            "ns",
            "resources",
            "labels",
            "time_left",
            "leaving",
            "max",
            "wait",
            "holds",
            "takeover",
        ];
        let mut reader = Reader::new(map, "", &known, errors);
        let node_id = reader.required("node_id", ID_EXPECTED, as_id);
        let short = |v: &Value<'_>| as_string(v).filter(|text| text.len() <= PLACE_BYTES_MAX);
        let host = reader.required("host", "String of at most 512 bytes", short);
        let place = reader.required("place", "String of at most 512 bytes", short);
        let session = reader.required("session", ID_EXPECTED, as_id);
        let epoch = reader.required("epoch", "Int from 1", |v| {
            as_int(v)
                .and_then(|n| u32::try_from(n).ok())
                .filter(|n| *n >= 1)
        });
        let n = reader.required("n", "Int from 0", |v| as_int(v).filter(|n| *n >= 0));
        let namespaces = reader.required("ns", "List of at most 64 namespace ids", |v| {
            let ids = v.as_list().filter(|list| list.len() <= NAMES_MAX)?;
            ids.iter().map(as_id).collect::<Option<Vec<_>>>()
        });
        let expected = "Map of at most 64 resources, named like ids, to Int from 0";
        let resources = reader.required("resources", expected, |v| {
            let offered = v.as_map().filter(|map| map.iter().count() <= NAMES_MAX)?;
            let pairs = offered.iter().map(|(name, amount)| {
                let amount = as_int(amount).filter(|n| *n >= 0 && is_id(name))?;
                Some((name.to_owned(), amount))
            });
            pairs.collect::<Option<Vec<_>>>()
        });
        let expected = "Map of at most 64 labels, named like ids, to String of at most 256 bytes";
        let labels = reader.optional("labels", expected, labels);
        let time_left_ms = reader.optional("time_left", "seconds from 0", time_left_ms);
        let leaving = reader.optional("leaving", "Bool", as_bool);
        let max = reader.optional("max", "Int from 0 to 100000", |v| {
            as_int(v)
                .and_then(|n| u64::try_from(n).ok())
                .filter(|n| *n <= CLAIM_TASKS_MAX)
        });
        let wait_ms = reader.optional("wait", "seconds from 0 to 60", wait_ms);
        let takeover = reader.optional("takeover", "Bool", as_bool);
        let holds = reader.optional("holds", "List of {job_id, attempt, tasks}", |v| {
            v.as_list()?
                .iter()
                .map(read_hold)
                .collect::<Option<Vec<_>>>()
        });
        Some(Self {
            node_id: node_id?,
            host: host?,
            place: place?,
            session: session?,
            epoch: epoch?,
            n: n?,
            namespaces: namespaces?,
            resources: resources?,
            labels: labels.unwrap_or_default(),
            time_left_ms,
            is_leaving: leaving.unwrap_or(false),
            max: max.unwrap_or(CLAIM_TASKS_DEFAULT),
            wait_ms: wait_ms.unwrap_or(0),
            holds: merged(holds.unwrap_or_default()),
            takeover: takeover.unwrap_or(false),
        })
    }
}

fn labels(value: &Value<'_>) -> Option<Vec<(String, String)>> {
    let said = value
        .as_map()
        .filter(|map| map.iter().count() <= NAMES_MAX)?;
    let pairs = said.iter().map(|(key, value)| {
        let value = as_string(value).filter(|text| text.len() <= LABEL_BYTES_MAX);
        Some((key.to_owned(), value.filter(|_| is_id(key))?))
    });
    pairs.collect()
}

fn time_left_ms(value: &Value<'_>) -> Option<i64> {
    #[expect(clippy::cast_precision_loss, reason = "a length of time")]
    let seconds = match value {
        Value::Int(n) => *n as f64,
        Value::Float(x) => *x,
        _ => return None,
    };
    #[expect(clippy::cast_possible_truncation, reason = "bounded")]
    (seconds >= 0.0).then(|| (seconds * 1000.0).min(1e15) as i64)
}

fn wait_ms(value: &Value<'_>) -> Option<i64> {
    #[expect(clippy::cast_precision_loss, reason = "bounded right after")]
    let seconds = match value {
        Value::Int(n) => *n as f64,
        Value::Float(x) => *x,
        _ => return None,
    };
    #[expect(clippy::cast_possible_truncation, reason = "at most 60,000")]
    (0.0..=60.0)
        .contains(&seconds)
        .then_some((seconds * 1000.0) as i64)
}

fn read_hold(value: &Value<'_>) -> Option<Hold> {
    // All three must be there, so that there is no other.
    let map = value.as_map().filter(|map| map.len() == 3)?;
    let attempt = u32::try_from(map.int("attempt")?).ok();
    let tasks = TaskSet::parse(map.str("tasks")?).ok();
    Some(Hold {
        job_id: as_id(map.get("job_id")?)?,
        attempt: attempt.filter(|attempt| *attempt >= 1)?,
        tasks: tasks.filter(|tasks| !tasks.is_empty())?,
    })
}

/// Sorts by job and attempt, so that each can be found by bisection, and joins what is said twice.
fn merged(mut holds: Vec<Hold>) -> Vec<Hold> {
    holds.sort_by(|a, b| (&a.job_id, a.attempt).cmp(&(&b.job_id, b.attempt)));
    holds.dedup_by(|next, kept| {
        let same = next.job_id == kept.job_id && next.attempt == kept.attempt;
        if same {
            kept.tasks.join(&next.tasks);
        }
        same
    });
    holds
}
