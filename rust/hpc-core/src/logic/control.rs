//! Control: a namespace or a generator is registered, or replaced by compare and set.

use super::check::unknown_namespace;
use super::hub::{Fault, Hub, NewEvent, map};
use super::ingest::too_large;
use super::kernel::KERNEL_GID;
use super::registry::incompatibilities;
use super::type_check::type_check;
use crate::domain::control::{Control, Registration};
use crate::domain::entry::{FLAG_CONTROL, digest};
use crate::domain::event::EVENT_BYTES_MAX;
use crate::domain::json::{Map, Value};
use crate::domain::json_write::ObjectWriter;
use crate::domain::msgpack::decode_either;
use crate::domain::problem::{FieldError, Problem};

impl Hub {
    /// Answers one control request.
    ///
    /// # Errors
    /// A mistake of ours; what the client sent is answered, never an error.
    pub(super) fn control(&mut self, token: u64, body: &[u8]) -> Result<(), Fault> {
        match self.check_control(body) {
            Ok((control, duplicate)) => {
                if !duplicate {
                    self.record_control(&control)?;
                }
                let body = self.render_control(&control.registration, duplicate);
                self.reply(token, 200, body);
            }
            Err(problem) => self.refuse(token, &problem),
        }
        Ok(())
    }

    /// The request, and whether it says what is registered already.
    fn check_control(&self, body: &[u8]) -> Result<(Control, bool), Box<Problem>> {
        let Value::Map(request) = decode_either(body).map_err(Problem::bad_request)? else {
            let error = FieldError::new("", "a map with `type`", "another value");
            return Err(Problem::not_well_formed(vec![error]).into());
        };
        let request = Value::Map(request);
        // A registration is an event of the log, and no larger than one may be.
        let bytes = request.to_text().len();
        if bytes > EVENT_BYTES_MAX {
            let detail = format!("The request has {bytes} bytes: at most {EVENT_BYTES_MAX}");
            return Err(too_large(detail));
        }
        let Value::Map(request) = request else {
            return Err(Problem::bad_request("the request is no map").into());
        };
        let control = Control::parse(&request).map_err(Problem::not_well_formed)?;
        if let Some(is_known) = self.check_token(&control.registration)? {
            return Ok((control, is_known));
        }
        let (current, text) = self.current(&control.registration);
        if text.as_deref() == Some(control.registration.text()) {
            return Ok((control, true));
        }
        if control.replace != current {
            return Err(version_conflict(&control, current));
        }
        match &control.registration {
            Registration::Namespace { ns_id, spec } => {
                if ns_id == KERNEL_GID {
                    let expected = "another id: `kernel` is the kernel's own";
                    refuse_if(vec![FieldError::new("ns_id", expected, ns_id.clone())])?;
                }
                let mut errors = match self.state.namespaces.get(ns_id) {
                    Some(old) => incompatibilities(&old.spec, spec),
                    None => Vec::new(),
                };
                if errors.is_empty() {
                    errors = self.ill_typed_generators(ns_id, spec.clone());
                }
                refuse_if(errors)?;
            }
            Registration::Generator { gid, spec } => {
                if gid == KERNEL_GID {
                    let expected = "another id: `kernel` is the kernel's own";
                    refuse_if(vec![FieldError::new("gid", expected, gid.clone())])?;
                }
                let namespaces = &self.state.namespaces;
                let missing = spec.namespaces.iter();
                if let Some(ns) = missing.into_iter().find(|ns| namespaces.get(ns).is_none()) {
                    return Err(unknown_namespace(&self.state, ns));
                }
                refuse_if(type_check(spec, namespaces))?;
            }
            Registration::Token { .. } | Registration::Revoked { .. } => {}
        }
        Ok((control, false))
    }

    /// Version and spec of what is registered under the id.
    fn current(&self, registration: &Registration) -> (Option<u64>, Option<String>) {
        match registration {
            Registration::Namespace { ns_id, .. } => {
                let ns = self.state.namespaces.get(ns_id);
                (ns.map(|ns| ns.version), ns.map(|ns| ns.spec.text.clone()))
            }
            Registration::Generator { gid, .. } => {
                let generator = self.state.generators.get(gid);
                let text = generator.map(|g| g.spec().text.clone());
                (generator.map(|g| g.version().0), text)
            }
            Registration::Token { .. } | Registration::Revoked { .. } => (None, None),
        }
    }

    /// All generators but the kernel's: id and canonical spec.
    #[must_use]
    pub fn generators(&self) -> Vec<(String, String)> {
        let all = self.state.generators.iter();
        all.map(|(gid, generator)| (gid.to_owned(), generator.spec().text.clone()))
            .collect()
    }

    fn ill_typed_generators(
        &self,
        ns_id: &str,
        spec: crate::domain::namespace::NamespaceSpec,
    ) -> Vec<FieldError> {
        let mut namespaces = self.state.namespaces.clone();
        namespaces.put(ns_id, spec, 0);
        let mut errors = Vec::new();
        for (gid, generator) in self.state.generators.iter() {
            for error in type_check(generator.spec(), &namespaces) {
                let hint = format!("generator `{gid}` would be ill-typed: replace it first");
                errors.push(error.hint(hint));
            }
        }
        errors
    }

    fn record_control(&mut self, control: &Control) -> Result<(), Fault> {
        let registration = &control.registration;
        let id = Value::text(registration.id().to_owned());
        let spec = Value::Map(control.spec.clone());
        let stored = map([(registration.id_field(), id), ("spec", spec)]);
        let content = digest(&Value::Map(stored.clone()));
        let batch_id = self.own_batch_id();
        let mut row = self.begin_row();
        let none = Map::new();
        self.record(
            &mut row,
            &NewEvent::own(registration.kind(), &none, &stored),
        )?;
        self.end_row(row, &batch_id, content, FLAG_CONTROL);
        if let Registration::Revoked { token_id } = registration {
            self.end_claims_by(token_id);
        }
        Ok(())
    }

    fn render_control(&self, registration: &Registration, duplicate: bool) -> Vec<u8> {
        let mut out = Vec::new();
        if matches!(
            registration,
            Registration::Token { .. } | Registration::Revoked { .. }
        ) {
            ObjectWriter::new(&mut out)
                .str(registration.id_field(), registration.id())
                .bool("duplicate", duplicate)
                .end();
            return out;
        }
        let (version, seq, building) = match registration {
            Registration::Namespace { ns_id, .. } => {
                let ns = self.state.namespaces.get(ns_id);
                ns.map_or((0, 0, false), |ns| (ns.version, ns.seq, false))
            }
            Registration::Generator { gid, .. } => {
                let generator = self.state.generators.get(gid);
                generator.map_or((0, 0, false), |g| {
                    (g.version().0, g.version().1, g.is_building())
                })
            }
            Registration::Token { .. } | Registration::Revoked { .. } => (0, 0, false),
        };
        ObjectWriter::new(&mut out)
            .str(registration.id_field(), registration.id())
            .int("version", version)
            .int("seq", seq)
            .bool("duplicate", duplicate)
            .bool("building", building)
            .end();
        out
    }
}

fn refuse_if(errors: Vec<FieldError>) -> Result<(), Box<Problem>> {
    if errors.is_empty() {
        Ok(())
    } else {
        Err(Problem::not_well_formed(errors).into())
    }
}

fn version_conflict(control: &Control, current: Option<u64>) -> Box<Problem> {
    let id = control.registration.id();
    let current = current.unwrap_or(0);
    let (detail, hint) = match control.replace {
        None => (
            format!("`{id}` is registered with another spec, version {current}"),
            format!("to replace it, send \"replace\": {current}"),
        ),
        Some(replace) => (
            format!("`{id}` is at version {current}, not {replace}"),
            "read what it is now, and replace that".to_owned(),
        ),
    };
    let problem = Problem::new(409, "version", "Another version is registered", detail);
    let current = Value::Int(i64::try_from(current).unwrap_or(i64::MAX));
    Box::new(problem.hint(hint).with("version", current))
}
