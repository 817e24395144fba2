//! Plans: what a search over the log takes along from the engine, as JSON that travels.
//!
//! The engine has the facts and the specs; whoever has the log reads it. So that neither waits for
//! the other, the engine writes down once what the search must know, and the search needs nothing
//! more of it.

use super::registry::Namespaces;
use super::rules::Rules;
use crate::domain::event::KernelKind;
use crate::domain::facts::Facts;
use crate::domain::generator::GeneratorSpec;
use crate::domain::ids::BatchId;
use crate::domain::json::{Map, Value, decode};
use crate::domain::json_write::{ObjectWriter, write_list, write_str};
use crate::lattice::Cell;
use crate::lattice::codec::Codec;

/// Writes `acts_as`: the kinds of namespaces that act as one of the kernel's.
pub(super) fn write_own_kinds(object: &mut ObjectWriter<'_>, namespaces: &Namespaces) {
    let own = namespaces.iter().flat_map(|(ns_id, ns)| {
        let kinds = ns.spec.acts_as.iter();
        kinds.map(move |(kind, acts)| [ns_id, kind.as_str(), acts.wire()])
    });
    object.list("acts_as", own, |out, words| {
        write_list(out, words, &mut |out, word| write_str(out, word));
    });
}

/// Which kinds of namespaces act as one of the kernel's, as a plan tells it.
#[derive(Clone, Debug, Default)]
pub(super) struct OwnKinds(Vec<(String, String, KernelKind)>);

impl OwnKinds {
    /// Reads `acts_as` of a plan.
    pub fn of(plan: &Map<'_>) -> Self {
        let own = plan.get("acts_as").and_then(Value::as_list).unwrap_or(&[]);
        let own = own.iter().filter_map(|words| match words.as_list()? {
            [ns_id, kind, acts] => Some((
                ns_id.as_str()?.to_owned(),
                kind.as_str()?.to_owned(),
                KernelKind::from_wire(acts.as_str()?)?,
            )),
            _ => None,
        });
        Self(own.collect())
    }

    /// The kernel's kind that an event's is, if any.
    pub fn kernel_kind(&self, kind: &str, ctx: &Map<'_>) -> Option<KernelKind> {
        KernelKind::from_wire(kind).or_else(|| {
            let ns_id = ctx.str("ns_id")?;
            let mut own = self.0.iter();
            own.find(|(ns, name, _)| ns == ns_id && name == kind)
                .map(|(.., acts)| *acts)
        })
    }
}

/// The rules of a spec that travels as text; the empty one is the kernel's.
///
/// # Errors
/// It is none of ours.
pub(super) fn rules(text: &str) -> Result<Option<Rules>, String> {
    if text.is_empty() {
        return Ok(None);
    }
    let spec = decode(text.as_bytes())?;
    let spec = spec.as_map().ok_or("A generator's spec is a map")?;
    let spec = GeneratorSpec::parse(spec).map_err(|_| "A spec that was registered")?;
    Ok(Some(Rules::compile(&spec, &mut Facts::new())))
}

/// A cell's bytes as text.
pub(super) fn hex(cell: &Cell) -> String {
    use std::fmt::Write as _;
    cell.to_bytes()
        .iter()
        .fold(String::new(), |mut text, byte| {
            let _ = write!(text, "{byte:02x}"); // writing to a String cannot fail
            text
        })
}

/// The cell of a plan, if it has one.
///
/// # Errors
/// It is none of ours.
pub(super) fn cell(plan: &Map<'_>) -> Result<Option<Cell>, String> {
    let text = plan.str("cell").unwrap_or_default();
    if text.is_empty() {
        return Ok(None);
    }
    let pairs = text.as_bytes().chunks(2);
    let bytes: Option<Vec<u8>> = pairs
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
        .collect();
    let cell = Cell::from_bytes(&bytes.ok_or("A cell's bytes are text")?);
    cell.map(Some).map_err(|error| error.to_string())
}

/// Where a batch comes from: the ORIGIN of an id `ORIGIN/N`.
pub(super) fn origin(batch_id: &str) -> Option<&str> {
    match BatchId::parse(batch_id) {
        Some(BatchId::Numbered { origin, .. }) => Some(origin),
        _ => None,
    }
}
