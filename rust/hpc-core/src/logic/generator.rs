//! Generators: materialised views over the log, each the join of what its rules say of every event.
//!
//! One that is registered late, or replaced, is built over the whole log in chunks, in log order,
//! so that the last-changed seqs are what they would be had it been there from the start; the old
//! version serves until the new one has caught up.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::conflicts::Conflicts;
use super::rules::{EventView, Rules};
use crate::domain::facts::{Facts, Page, RowOf};
use crate::domain::generator::GeneratorSpec;
use crate::lattice::KindMismatch;

/// Rules with the facts that they made.
#[derive(Clone, Debug)]
struct View {
    spec: GeneratorSpec,
    rules: Rules,
    facts: Facts,
    /// Which cells contradict themselves.
    conflicts: Conflicts,
    /// While it is built: how far it has come.
    built: Option<u64>,
    version: u64,
    seq: u64,
    /// From which seq on its facts count; 1 unless the log was compacted before it was built.
    since: u64,
    /// The seq at which it passed a limit: the last event that it has.
    failed: Option<u64>,
}

/// One version of a generator as a snapshot keeps it.
#[derive(Debug)]
pub struct Registration<'g> {
    /// Its rules.
    pub spec: &'g GeneratorSpec,
    /// See [`Generator::version`].
    pub version: u64,
    /// Likewise.
    pub seq: u64,
    /// See [`Generator::since`].
    pub since: u64,
    /// Whether its facts are to be built.
    pub is_building: bool,
}

/// One registered generator.
#[derive(Clone, Debug)]
pub struct Generator {
    serving: View,
    /// A replacement on its way.
    next: Option<View>,
}

/// How much a generator may hold. One that passes a limit has failed at that event: it tells what it
/// has up to there, says so, and takes nothing more; no row is ever dropped.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Rows over all its tables.
    pub rows: usize,
    /// Bytes of memory, about; looked at after every 1,024th event of the log.
    pub bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            rows: 10_000_000,
            bytes: 4 << 30,
        }
    }
}

/// After how many events of the log the bytes are counted.
const BYTES_EVERY: u64 = 1024;

/// All registered generators by id; the kernel's own is not among them.
#[derive(Clone, Debug, Default)]
pub struct Generators {
    by_id: BTreeMap<String, Generator>,
    limits: Limits,
}

impl View {
    fn apply(
        &mut self,
        event: &EventView<'_>,
        hub_id: &Arc<str>,
        limits: Limits,
    ) -> Result<bool, KindMismatch> {
        if self.failed.is_some() {
            return Ok(false);
        }
        let (facts, conflicts) = (&mut self.facts, &mut self.conflicts);
        let has_grown = self.rules.apply(event, hub_id, facts, conflicts)?;
        let is_counted = event.seq.is_multiple_of(BYTES_EVERY);
        if has_grown && self.facts.rows() > limits.rows
            || is_counted && self.facts.bytes() > limits.bytes
        {
            self.failed = Some(event.seq);
        }
        Ok(has_grown)
    }

    fn new(spec: GeneratorSpec, version: u64, seq: u64, built: Option<u64>) -> Self {
        let mut facts = Facts::new();
        let rules = Rules::compile(&spec, &mut facts);
        Self {
            spec,
            rules,
            facts,
            conflicts: Conflicts::default(),
            built,
            version,
            seq,
            since: 1,
            failed: None,
        }
    }
}

impl View {
    /// Whether its facts are to be built anew after a restart: those of one that has failed as well,
    /// since limits may have been raised.
    fn is_unfinished(&self) -> bool {
        self.built.is_some() || self.failed.is_some()
    }
}

impl Generator {
    /// The newest spec, which may still be building.
    #[must_use]
    pub fn spec(&self) -> &GeneratorSpec {
        &self.newest().spec
    }

    /// The newest version and the seq of its registration.
    #[must_use]
    pub fn version(&self) -> (u64, u64) {
        (self.newest().version, self.newest().seq)
    }

    /// The version that pulls are answered from.
    #[must_use]
    pub fn serving_version(&self) -> u64 {
        self.serving.version
    }

    /// Whether the newest version has not caught up.
    #[must_use]
    pub fn is_building(&self) -> bool {
        self.newest().built.is_some()
    }

    /// From which seq on the facts that pulls are answered from count; 1 is the whole log.
    #[must_use]
    pub fn since(&self) -> u64 {
        self.serving.since
    }

    /// The seq at which the version that pulls are answered from passed a limit.
    #[must_use]
    pub fn failed(&self) -> Option<u64> {
        self.serving.failed
    }

    /// Whether a snapshot keeps the facts of the version that pulls are answered from.
    #[must_use]
    pub fn has_caught_up(&self) -> bool {
        !self.serving.is_unfinished()
    }

    /// The version that serves, and the one on its way.
    #[must_use]
    pub fn registrations(&self) -> Vec<Registration<'_>> {
        let views = std::iter::once(&self.serving).chain(&self.next);
        let registrations = views.map(|view| Registration {
            spec: &view.spec,
            version: view.version,
            seq: view.seq,
            since: if view.is_unfinished() { 1 } else { view.since },
            is_building: view.is_unfinished(),
        });
        registrations.collect()
    }

    /// The cursor up to which the serving version has come, given the end of the log.
    #[must_use]
    pub fn head(&self, head: u64) -> u64 {
        let reached = self.serving.built.unwrap_or(head);
        self.serving
            .failed
            .map_or(reached, |failed| failed.min(reached))
    }

    /// The cells that changed after a cursor.
    #[must_use]
    pub fn pull(&self, cursor: u64, head: u64, limit: usize, table: Option<&str>) -> Page {
        self.serving
            .facts
            .pull(cursor, self.head(head), limit, table)
    }

    /// Answers a pull of one row.
    #[must_use]
    pub fn pull_row(&self, cursor: u64, head: u64, of: RowOf<'_>) -> Page {
        self.serving.facts.pull_row(cursor, self.head(head), of)
    }

    /// The spec of the version that pulls are answered from, canonical.
    #[must_use]
    pub fn serving_text(&self) -> &str {
        &self.serving.spec.text
    }

    /// The namespaces that the version reads which pulls are answered from.
    #[must_use]
    pub fn namespaces(&self) -> &[String] {
        &self.serving.spec.namespaces
    }

    /// The facts of the version that pulls are answered from.
    #[must_use]
    pub fn facts(&self) -> &Facts {
        &self.serving.facts
    }

    /// The cells of these facts that contradict themselves.
    #[must_use]
    pub fn conflicts(&self) -> &Conflicts {
        &self.serving.conflicts
    }

    /// The longest row key that an event leads to, in bytes.
    #[must_use]
    pub fn key_bytes(&self, event: &EventView<'_>) -> usize {
        let views = std::iter::once(&self.serving).chain(&self.next);
        let lengths = views.map(|view| view.rules.key_bytes(event));
        lengths.max().unwrap_or_default()
    }

    fn newest(&self) -> &View {
        self.next.as_ref().unwrap_or(&self.serving)
    }

    fn views(&mut self) -> impl Iterator<Item = &mut View> {
        std::iter::once(&mut self.serving).chain(self.next.as_mut())
    }
}

impl Generators {
    /// How much each may hold.
    #[must_use]
    pub fn limits(&self) -> Limits {
        self.limits
    }

    /// Sets how much each may hold from now on.
    pub fn limit(&mut self, limits: Limits) {
        self.limits = limits;
    }

    /// The generator of this id.
    #[must_use]
    pub fn get(&self, gid: &str) -> Option<&Generator> {
        self.by_id.get(gid)
    }

    /// All of them in byte order of their ids.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Generator)> {
        self.by_id
            .iter()
            .map(|(gid, generator)| (gid.as_str(), generator))
    }

    /// Registers or replaces; `head` is the end of the log before the registration.
    ///
    /// Where the log is empty there is nothing to build.
    pub fn put(&mut self, gid: &str, spec: GeneratorSpec, seq: u64, head: u64) -> u64 {
        let built = (head > 0).then_some(0);
        match self.by_id.get_mut(gid) {
            None => {
                let serving = View::new(spec, 1, seq, built);
                let generator = Generator {
                    serving,
                    next: None,
                };
                self.by_id.insert(gid.to_owned(), generator);
                1
            }
            Some(generator) => {
                let version = generator.version().0 + 1;
                let view = View::new(spec, version, seq, built);
                // A first version that never caught up has nothing that is worth serving.
                if generator.serving.built.is_some() || built.is_none() {
                    generator.serving = view;
                    generator.next = None;
                } else {
                    generator.next = Some(view);
                }
                version
            }
        }
    }

    /// The same generators without any facts: what is joined into them is a delta.
    #[must_use]
    pub fn without_facts(&self) -> Self {
        let mut empty = Self::default();
        for (gid, generator) in &self.by_id {
            let View {
                spec, version, seq, ..
            } = &generator.serving;
            empty.restore(gid, spec.clone(), *version, *seq);
            if let Some(copy) = empty.by_id.get_mut(gid) {
                copy.serving.failed = generator.serving.failed;
            }
        }
        empty
    }

    /// Recovery: a generator as its last registration made it, live from the first event on.
    pub fn restore(&mut self, gid: &str, spec: GeneratorSpec, version: u64, seq: u64) {
        let serving = View::new(spec, version, seq, None);
        self.by_id.insert(
            gid.to_owned(),
            Generator {
                serving,
                next: None,
            },
        );
    }

    /// Restores one version; a second one of the same id is on its way.
    pub fn put_back(
        &mut self,
        gid: &str,
        spec: GeneratorSpec,
        version: u64,
        seq: u64,
        since: u64,
        is_building: bool,
    ) {
        let mut view = View::new(spec, version, seq, is_building.then_some(0));
        view.since = since;
        match self.by_id.get_mut(gid) {
            Some(generator) => generator.next = Some(view),
            None => {
                let (serving, next) = (view, None);
                self.by_id
                    .insert(gid.to_owned(), Generator { serving, next });
            }
        }
    }

    /// Reads the facts of the version that serves back; what contradicts itself is listed again.
    ///
    /// # Errors
    /// Those of `read`.
    pub(super) fn restore_facts<E>(
        &mut self,
        gid: &str,
        read: impl FnOnce(&mut Facts) -> Result<(), E>,
    ) -> Result<(), E> {
        if let Some(view) = self.by_id.get_mut(gid).map(|g| &mut g.serving) {
            read(&mut view.facts)?;
            view.conflicts = Conflicts::of(&view.facts);
        }
        Ok(())
    }

    /// Joins one new event into every view that has caught up; pushes the ids of those that grew.
    ///
    /// # Errors
    /// A mistake of ours: see [`Rules::apply`].
    pub fn apply(
        &mut self,
        event: &EventView<'_>,
        hub_id: &Arc<str>,
        grew: &mut Vec<String>,
    ) -> Result<(), KindMismatch> {
        for (gid, generator) in &mut self.by_id {
            let view = &mut generator.serving;
            if view.built.is_none()
                && view.apply(event, hub_id, self.limits)?
                && !grew.contains(gid)
            {
                grew.push(gid.clone());
            }
        }
        Ok(())
    }

    /// The least cursor of the views that are being built.
    #[must_use]
    pub fn build_cursor(&self) -> Option<u64> {
        self.by_id
            .values()
            .flat_map(|g| [Some(&g.serving), g.next.as_ref()])
            .flatten()
            .filter_map(|view| view.built)
            .min()
    }

    /// Gives an event of the log to the views that are being built and have not had it; returns
    /// the ids of those that serve and grew.
    ///
    /// # Errors
    /// A mistake of ours: see [`Rules::apply`].
    pub fn build(
        &mut self,
        event: &EventView<'_>,
        hub_id: &Arc<str>,
    ) -> Result<Vec<String>, KindMismatch> {
        let mut grew = Vec::new();
        let limits = self.limits;
        for (gid, generator) in &mut self.by_id {
            for (place, view) in generator.views().enumerate() {
                if view.built.is_some_and(|built| event.seq == built + 1) {
                    let has_grown = view.apply(event, hub_id, limits)?;
                    view.built = Some(event.seq);
                    if has_grown && place == 0 {
                        grew.push(gid.clone());
                    }
                }
            }
        }
        Ok(grew)
    }

    /// Passes over a batch of which no body is left: what is being built counts from behind it.
    pub fn skip(&mut self, first_seq: u64, end: u64) {
        for generator in self.by_id.values_mut() {
            for view in generator.views() {
                if view
                    .built
                    .is_some_and(|built| (first_seq..end).contains(&(built + 1)))
                {
                    view.built = Some(end - 1);
                    view.since = end;
                }
            }
        }
    }

    /// Ends the building of views that have reached `head`; returns the ids that advanced, and of
    /// those the ones whose new version serves from now on.
    pub fn caught_up(&mut self, head: u64) -> (Vec<String>, Vec<String>) {
        let (mut advanced, mut replaced) = (Vec::new(), Vec::new());
        for (gid, generator) in &mut self.by_id {
            if generator.is_building() {
                advanced.push(gid.clone());
            }
            for view in generator.views() {
                if view.built == Some(head) {
                    view.built = None;
                }
            }
            if generator
                .next
                .as_ref()
                .is_some_and(|next| next.built.is_none())
                && let Some(next) = generator.next.take()
            {
                generator.serving = next;
                replaced.push(gid.clone());
            }
        }
        (advanced, replaced)
    }
}
