//! The namespaces that are registered, and how one may replace another.

use std::collections::BTreeMap;

use super::type_check::kernel_fields;
use crate::domain::event::KernelKind;
use crate::domain::field::{ExpectedType, KindSpec};
use crate::domain::json::Value;
use crate::domain::namespace::NamespaceSpec;
use crate::domain::problem::FieldError;

/// One registered namespace.
#[derive(Clone, Debug)]
pub struct Registered {
    /// What it is now.
    pub spec: NamespaceSpec,
    /// Version, from 1; each replacement raises it.
    pub version: u64,
    /// Seq of the registration that made it so.
    pub seq: u64,
    /// Whether it has, or ever had, a retention, or a job of it was forgotten: events of its own may
    /// be gone.
    pub forgets: bool,
}

/// All namespaces by id.
#[derive(Clone, Debug, Default)]
pub struct Namespaces(BTreeMap<String, Registered>);

impl Namespaces {
    /// The namespace of this id.
    #[must_use]
    pub fn get(&self, ns_id: &str) -> Option<&Registered> {
        self.0.get(ns_id)
    }

    /// The ids in byte order.
    pub fn ids(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// All namespaces in byte order of their ids.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Registered)> {
        self.0.iter().map(|(id, ns)| (id.as_str(), ns))
    }

    /// Registers or replaces; the caller has checked that it may.
    pub fn put(&mut self, ns_id: &str, spec: NamespaceSpec, seq: u64) -> u64 {
        let former = self.0.get(ns_id);
        let version = former.map_or(1, |ns| ns.version + 1);
        let forgets = former.is_some_and(|ns| ns.forgets);
        self.restore(ns_id, spec, version, seq, forgets);
        version
    }

    /// Puts a registration back as it was.
    pub fn restore(
        &mut self,
        ns_id: &str,
        spec: NamespaceSpec,
        version: u64,
        seq: u64,
        forgets: bool,
    ) {
        let registered = Registered {
            forgets: forgets || spec.retention_ms.is_some(),
            spec,
            version,
            seq,
        };
        self.0.insert(ns_id.to_owned(), registered);
    }

    /// Says that a job of a namespace was forgotten: events about it may be dropped.
    pub fn note_forgets(&mut self, ns_id: &str) {
        if let Some(known) = self.0.get_mut(ns_id) {
            known.forgets = true;
        }
    }

    /// Whether no event of these namespaces was ever dropped from the log.
    #[must_use]
    pub fn keep_all(&self, ns_ids: &[String]) -> bool {
        let mut known = ns_ids.iter().filter_map(|ns_id| self.get(ns_id));
        known.all(|ns| !ns.forgets)
    }

    /// Whether events of a namespace can be of this kind.
    #[must_use]
    pub fn has_kind(&self, ns_id: &str, kind: &str) -> bool {
        self.get(ns_id).is_some_and(|ns| {
            ns.spec.kind(kind).is_some()
                || KernelKind::from_wire(kind).is_some_and(|k| k != KernelKind::SubmitJob)
        })
    }

    /// The values that a field of a kind's spec can have, where its schema lists them.
    #[must_use]
    pub fn values_of(&self, ns_id: &str, kind: &str, key: &str) -> Option<&[Value<'static>]> {
        let field = self.get(ns_id)?.spec.kind(kind)?.field(key)?;
        field.one_of.as_deref()
    }

    /// The type of a field of a kind's spec, `None` where it can be any.
    ///
    /// # Errors
    /// The fields that there are, in words.
    pub fn field_type(
        &self,
        ns_id: &str,
        kind: &str,
        key: &str,
    ) -> Result<Option<ExpectedType>, String> {
        let Some(ns) = self.get(ns_id) else {
            return Err("no such namespace".to_owned());
        };
        let lifecycle = ns
            .spec
            .acts_as(kind)
            .or_else(|| KernelKind::from_wire(kind));
        let lifecycle = lifecycle.filter(|kernel| *kernel != KernelKind::SubmitJob);
        // What a lifecycle kind says is checked by the kernel's schema alone.
        if let Some(schema) = ns.spec.kind(kind).filter(|_| lifecycle.is_none()) {
            return match schema.field(key) {
                Some(field) => Ok(Some(field.expected_type)),
                None if schema.open => Ok(None),
                None => {
                    let known = schema.fields.iter().map(|field| field.key.as_str());
                    Err(format!("known: {}", known.collect::<Vec<_>>().join(", ")))
                }
            };
        }
        let fields = lifecycle.map_or(&[][..], kernel_fields);
        if fields.contains(&key) {
            Ok(None)
        } else {
            Err(format!("known: {}", fields.join(", ")))
        }
    }
}

/// What a replacement breaks: it may add kinds and optional fields and loosen bounds, no more.
#[must_use]
pub fn incompatibilities(old: &NamespaceSpec, new: &NamespaceSpec) -> Vec<FieldError> {
    let mut errors = Vec::new();
    for (kind, schema) in &old.kinds {
        let path = format!("spec.schema.{kind}");
        match new.kind(kind) {
            None => errors.push(FieldError::new(
                path,
                "every kind of the version before",
                "nothing",
            )),
            Some(next) => compare_kind(&path, schema, next, &mut errors),
        }
        if old.acts_as(kind) != new.acts_as(kind) && new.kind(kind).is_some() {
            errors.push(FieldError::new(
                format!("spec.acts_as.{kind}"),
                "as in the version before",
                "another lifecycle kind",
            ));
        }
    }
    errors
}

fn compare_kind(path: &str, old: &KindSpec, new: &KindSpec, errors: &mut Vec<FieldError>) {
    if old.open && !new.open {
        errors.push(FieldError::new(
            path,
            "open, as in the version before",
            "closed",
        ));
    }
    for field in &old.fields {
        let path = format!("{path}.{}", field.key);
        let Some(next) = new.field(&field.key) else {
            errors.push(FieldError::new(
                path,
                "every field of the version before",
                "nothing",
            ));
            continue;
        };
        if next.expected_type != field.expected_type {
            errors.push(FieldError::new(
                &path,
                field.expected_type.wire(),
                next.expected_type.wire(),
            ));
        }
        if next.required && !field.required {
            errors.push(FieldError::new(
                &path,
                "optional, as in the version before",
                "required",
            ));
        }
        let tighter = next.min.is_some_and(|n| field.min.is_none_or(|o| n > o))
            || next.max.is_some_and(|n| field.max.is_none_or(|o| n < o))
            || match (&field.one_of, &next.one_of) {
                (_, None) => false,
                (None, Some(_)) => true,
                (Some(old), Some(new)) => old.iter().any(|value| !new.contains(value)),
            }
            || next.format.is_some() && next.format != field.format;
        if tighter {
            errors.push(FieldError::new(
                &path,
                "bounds at least as wide as in the version before",
                "narrower ones",
            ));
        }
    }
    for field in new
        .fields
        .iter()
        .filter(|f| f.required && old.field(&f.key).is_none())
    {
        errors.push(FieldError::new(
            format!("{path}.{}", field.key),
            "an optional field: events of the version before lack it",
            "a new required one",
        ));
    }
}
