//! Snapshots: the whole state at one cursor as bytes, and a Hub from them (design section 10).
//!
//! A snapshot joined with the log after it gives what the whole log gives, in every answer: facts
//! with their last-changed seqs, registrations, jobs, nodes, receipts, stamps and the chain. It is
//! a function of the log up to its cursor: two Hubs that are up to there write equal bytes.
//!
//! What is not in it: open claims, held pulls, deadlines and whatever else is rebuilt by those who
//! ask; receipts of more than 30 days; and the facts of a version of a generator that is being
//! built. Of that only the registration is kept, and recovery builds it from the log's beginning.
//! So no snapshot should be taken meanwhile where the log is to be compacted below it.

use super::generator::Generators;
use super::hub::{Fault, Hub};
use super::job::Job;
use super::jobs::{Form, Jobs};
use super::kernel::KernelFacts;
use super::nodes::{Node, Nodes};
use super::placement::Placement;
use super::queue::{Queue, Shape};
use super::receipts::{RECEIPT_MS, Receipts};
use super::registry::Namespaces;
use super::sections::{self, Damage, Writer};
use super::state::State;
use super::tokens;
use crate::domain::facts::Facts;
use crate::domain::generator::GeneratorSpec;
use crate::domain::json::{Map, Value, decode};
use crate::domain::namespace::NamespaceSpec;
use crate::lattice::codec::{Codec, DecodeError, DecodeReason, Reader, put_bytes, put_uint};
use crate::lattice::last::Stamp;

/// How the section of a generator's facts is named, before its id.
const FACTS: &str = "facts/";

/// How the section of tokens is named, which comes last, where there are any.
const ACCESS: &str = "access";

impl Hub {
    /// The state at [`Hub::last_seq`]. Receipts that are older than their time are forgotten.
    pub fn snapshot(&mut self) -> Vec<u8> {
        let oldest = self.stamp.at.saturating_sub(RECEIPT_MS);
        self.receipts.forget_before(oldest);
        let state = &self.state;
        // The facts in memory and the whole in bytes are about as large.
        let generators = state.generators.iter();
        let facts = generators.map(|(_, generator)| generator.facts().bytes());
        let about = state.kernel.facts().bytes() + facts.sum::<usize>();
        let mut writer = Writer::with_capacity(about);
        writer.section("head", |out| self.encode_head(out));
        writer.section("namespaces", |out| {
            encode_namespaces(&state.namespaces, out)
        });
        writer.section("resources", |out| encode_resources(&state.queue, out));
        writer.section("nodes", |out| encode_nodes(&state.nodes, out));
        writer.section("jobs", |out| encode_jobs(&state.jobs, out));
        writer.section("origins", |out| self.receipts.encode_origins(out));
        writer.section("receipts", |out| self.receipts.encode_receipts(out));
        writer.section("kernel", |out| {
            state.kernel.facts().encode(out);
        });
        writer.section("generators", |out| encode_generators(state, out));
        for (gid, generator) in state.generators.iter() {
            writer.section(&format!("{FACTS}{gid}"), |out| {
                if generator.has_caught_up() {
                    generator.facts().encode(out);
                }
            });
        }
        // A log without tokens has none, as before there were any.
        if tokens::is_any(state) {
            writer.section(ACCESS, |out| tokens::encode(state, out));
        }
        writer.finish()
    }

    /// Takes a state over; this Hub must be new, and of the same log. On an error it is as before.
    ///
    /// # Errors
    /// Names the section that is damaged, or says of which log the snapshot is.
    pub fn restore(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        let restored =
            Restored::read(bytes).map_err(|damage| Fault(format!("Snapshot: {damage}")))?;
        if restored.state.hub_id != self.state.hub_id {
            return Err(Fault(format!(
                "Snapshot: it is of Hub `{}`, this is Hub `{}`",
                restored.state.hub_id, self.state.hub_id
            )));
        }
        self.last_seq = restored.last_seq;
        self.chain = restored.chain;
        self.stamp = restored.stamp;
        self.receipts = restored.receipts;
        let limits = self.state.generators.limits();
        self.state = restored.state;
        self.state.generators.limit(limits);
        Ok(())
    }

    fn encode_head(&self, out: &mut Vec<u8>) {
        self.state.hub_id.encode(out);
        put_uint(self.last_seq, out);
        out.extend_from_slice(&self.chain);
        self.stamp.encode(out);
        self.state.has_events.encode(out);
        put_uint(self.state.jobs.numbered(), out);
    }
}

/// Looks whether bytes are a snapshot that can be used, without using it.
///
/// # Errors
/// As [`Hub::restore`].
pub fn check(bytes: &[u8]) -> Result<(String, u64, [u8; 32]), Damage> {
    let restored = Restored::read(bytes)?;
    let hub_id = restored.state.hub_id.to_string();
    Ok((hub_id, restored.last_seq, restored.chain))
}

fn encode_namespaces(namespaces: &Namespaces, out: &mut Vec<u8>) {
    put_uint(namespaces.iter().count() as u64, out);
    for (ns_id, registered) in namespaces.iter() {
        put_bytes(ns_id.as_bytes(), out);
        put_uint(registered.version, out);
        put_uint(registered.seq, out);
        registered.forgets.encode(out);
        put_bytes(registered.spec.text.as_bytes(), out);
    }
}

fn encode_resources(queue: &Queue, out: &mut Vec<u8>) {
    queue.resources().to_vec().encode(out);
    put_uint(queue.shapes().len() as u64, out);
    for Shape { needs, placement } in queue.shapes() {
        put_uint(needs.len() as u64, out);
        for (resource, amount) in needs {
            put_uint(*resource as u64, out);
            amount.encode(out);
        }
        placement.as_deref().cloned().encode(out);
    }
}

fn encode_nodes(nodes: &Nodes, out: &mut Vec<u8>) {
    put_uint(nodes.iter().count() as u64, out);
    for (_, node) in nodes.iter() {
        node.encode(out);
    }
}

fn encode_jobs(jobs: &Jobs, out: &mut Vec<u8>) {
    put_uint(jobs.len() as u64, out);
    let mut job = Vec::with_capacity(512);
    for ix in jobs.indexes() {
        // Its form and length first: what is sealed need not be read to be put back.
        job.clear();
        jobs.encode(ix, &mut job);
        out.push(jobs.form(ix) as u8);
        put_bytes(&job, out);
    }
}

fn encode_generators(state: &State, out: &mut Vec<u8>) {
    put_uint(state.generators.iter().count() as u64, out);
    for (gid, generator) in state.generators.iter() {
        put_bytes(gid.as_bytes(), out);
        let registrations = generator.registrations();
        put_uint(registrations.len() as u64, out);
        for registration in registrations {
            put_uint(registration.version, out);
            put_uint(registration.seq, out);
            put_uint(registration.since, out);
            registration.is_building.encode(out);
            put_bytes(registration.spec.text.as_bytes(), out);
        }
    }
}

/// What the bytes say, before a Hub has it.
struct Restored {
    state: State,
    receipts: Receipts,
    last_seq: u64,
    chain: [u8; 32],
    stamp: Stamp,
}

/// Sections as they are taken, one after the other.
struct Taken<'b> {
    bytes: &'b [u8],
    sections: std::vec::IntoIter<(String, std::ops::Range<usize>)>,
}

impl<'b> Taken<'b> {
    /// Reads the next section, which must have this name, to its end.
    fn next<T>(
        &mut self,
        name: &str,
        read: impl FnOnce(&mut Reader<'b>) -> Result<T, DecodeError>,
    ) -> Result<T, Damage> {
        let Some((found, range)) = self.sections.next() else {
            return Err(Damage::new(name, "it is missing"));
        };
        if found != name {
            return Err(Damage::new(name, format!("`{found}` stands in its place")));
        }
        let mut reader = Reader::new(self.bytes.get(range).unwrap_or_default());
        let value = read(&mut reader).map_err(|why| Damage::new(name, why))?;
        if reader.remaining() > 0 {
            return Err(Damage::new(name, reader.refuse(DecodeReason::BytesLeft)));
        }
        Ok(value)
    }
}

impl Restored {
    fn read(bytes: &[u8]) -> Result<Self, Damage> {
        let mut taken = Taken {
            bytes,
            sections: sections::open(bytes)?.into_iter(),
        };
        let head = taken.next("head", |reader| {
            Ok((
                reader.text()?,
                reader.uint()?,
                reader.array()?,
                Stamp::decode(reader)?,
                reader.flag()?,
                reader.uint()?,
            ))
        })?;
        let (hub_id, last_seq, chain, stamp, has_events, numbered) = head;
        let mut state = State::new(hub_id);
        state.has_events = has_events;
        state.namespaces = taken.next("namespaces", decode_namespaces)?;
        state.queue = taken.next("resources", decode_resources)?;
        state.nodes = taken.next("nodes", decode_nodes)?;
        let (nodes, shapes) = (state.nodes.iter().count(), state.queue.shapes().len());
        state.jobs = taken.next("jobs", |reader| decode_jobs(reader, nodes, shapes))?;
        state.jobs.number_from(numbered);
        let mut receipts = Receipts::default();
        taken.next("origins", |reader| receipts.decode_origins(reader))?;
        taken.next("receipts", |reader| {
            receipts.decode_receipts(reader)?;
            if receipts.refer_to(state.jobs.len()) {
                Ok(())
            } else {
                Err(reader.refuse(DecodeReason::OutOfRange))
            }
        })?;
        let mut kernel = KernelFacts::default();
        taken.next("kernel", |reader| {
            kernel.restore(|facts| facts.decode_into(last_seq, reader))
        })?;
        state.kernel = kernel;
        state.generators = taken.next("generators", decode_generators)?;
        let gids: Vec<String> = state.generators.iter().map(|(g, _)| g.to_owned()).collect();
        for gid in gids {
            taken.next(&format!("{FACTS}{gid}"), |reader| {
                let read = |facts: &mut Facts| facts.decode_into(last_seq, reader);
                state.generators.restore_facts(&gid, read)
            })?;
        }
        if taken
            .sections
            .as_slice()
            .first()
            .is_some_and(|(name, _)| name == ACCESS)
        {
            let (tokens, nodes) = (&mut state.tokens, &mut state.nodes);
            taken.next(ACCESS, |reader| tokens::decode_into(tokens, nodes, reader))?;
        }
        if let Some((name, _)) = taken.sections.next() {
            return Err(Damage::new(&name, "no such section is known"));
        }
        state.book_all();
        Ok(Self {
            state,
            receipts,
            last_seq,
            chain,
            stamp,
        })
    }
}

fn decode_namespaces(reader: &mut Reader<'_>) -> Result<Namespaces, DecodeError> {
    let mut namespaces = Namespaces::default();
    for _ in 0..reader.length()? {
        let ns_id = reader.text()?;
        let (version, seq, forgets) = (reader.uint()?, reader.uint()?, reader.flag()?);
        let spec = parsed(reader, NamespaceSpec::parse)?;
        namespaces.restore(ns_id, spec, version, seq, forgets);
    }
    Ok(namespaces)
}

fn decode_resources(reader: &mut Reader<'_>) -> Result<Queue, DecodeError> {
    let out_of_range = |reader: &Reader<'_>| reader.refuse(DecodeReason::OutOfRange);
    let mut queue = Queue::default();
    for (place, name) in Vec::<String>::decode(reader)?.iter().enumerate() {
        if queue.resource(name) != place {
            return Err(out_of_range(reader));
        }
    }
    for place in 0..reader.length()? {
        let mut needs = Vec::new();
        for _ in 0..reader.length()? {
            let resource = usize::try_from(reader.uint()?).unwrap_or(usize::MAX);
            if resource >= queue.resources().len() {
                return Err(out_of_range(reader));
            }
            needs.push((resource, reader.int()?));
        }
        let placement: Option<Placement> = Codec::decode(reader)?;
        let placement = placement.map(Box::new);
        if queue.shape(Shape { needs, placement }) as usize != place {
            return Err(out_of_range(reader));
        }
    }
    Ok(queue)
}

fn decode_nodes(reader: &mut Reader<'_>) -> Result<Nodes, DecodeError> {
    let mut nodes = Nodes::default();
    for _ in 0..reader.length()? {
        nodes.push(Node::decode(reader)?);
    }
    Ok(nodes)
}

fn decode_jobs(reader: &mut Reader<'_>, nodes: usize, shapes: usize) -> Result<Jobs, DecodeError> {
    let mut jobs = Jobs::default();
    for _ in 0..reader.length()? {
        let form = reader.byte()?;
        let bytes = reader.bytes()?;
        let pushed = match form {
            form if form == Form::Sealed as u8 => jobs.push_sealed(bytes),
            form if form == Form::Forgotten as u8 => jobs.push_forgotten(bytes),
            form if form == Form::Whole as u8 => {
                let mut inner = Reader::new(bytes);
                let job = Job::read(&mut inner)?;
                if !job.refers_to(nodes, shapes) || inner.remaining() > 0 {
                    return Err(reader.refuse(DecodeReason::OutOfRange));
                }
                let ix = jobs.push(job);
                jobs.seal();
                Some(ix)
            }
            form => return Err(reader.refuse(DecodeReason::UnknownTag(form))),
        };
        pushed.ok_or_else(|| reader.refuse(DecodeReason::NotCanonical))?;
    }
    Ok(jobs)
}

fn decode_generators(reader: &mut Reader<'_>) -> Result<Generators, DecodeError> {
    let mut generators = Generators::default();
    for _ in 0..reader.length()? {
        let gid = reader.text()?;
        for _ in 0..reader.length()? {
            let (version, seq, since) = (reader.uint()?, reader.uint()?, reader.uint()?);
            let is_building = reader.flag()?;
            let spec = parsed(reader, GeneratorSpec::parse)?;
            generators.put_back(gid, spec, version, seq, since, is_building);
        }
    }
    Ok(generators)
}

fn parsed<S, E>(
    reader: &mut Reader<'_>,
    parse: impl FnOnce(&Map<'_>) -> Result<S, E>,
) -> Result<S, DecodeError> {
    let text = reader.bytes()?;
    let spec = match decode(text) {
        Ok(Value::Map(map)) => parse(&map).ok(),
        _ => None,
    };
    spec.ok_or_else(|| reader.refuse(DecodeReason::NotCanonical))
}
