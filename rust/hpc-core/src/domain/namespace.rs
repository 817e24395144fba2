//! NamespaceSpec: what a namespace's events look like and how its tasks are run, as data.

use super::control::CONTROL_KINDS;
use super::event::{KernelKind, Sender};
use super::expression::Expression;
use super::field::{ExpectedType, KindSpec, parse_field};
use super::ids::{ID_EXPECTED, is_id};
use super::json::{Map, Value};
use super::problem::FieldError;
use super::reader::{Reader, as_bool, as_int, as_string, unknown_fields};

/// The longest retention, in seconds: a thousand years.
const RETENTION_S_MAX: i64 = 1_000 * 366 * 86_400;
const RETENTION_EXPECTED: &str = "seconds, an Int from 0, or null";

/// What `placement` may hold, and the type of the field that each is read from.
pub const PLACEMENT: [(&str, ExpectedType); 6] = [
    ("require", ExpectedType::Map),
    ("nodes", ExpectedType::List),
    ("exclude", ExpectedType::List),
    ("exclusive", ExpectedType::Bool),
    ("max_per_node", ExpectedType::Int),
    ("min_time", ExpectedType::Float),
];

/// The name under which a namespace takes a map of resources.
const MORE: &str = "*";

/// What a namespace's events look like and how its tasks are run.
#[derive(Clone, Debug, PartialEq)]
pub struct NamespaceSpec {
    /// Greater than that of the specs it supersedes.
    pub revision: i64,
    /// Name of the relay's handler.
    pub handler_type: Option<String>,
    /// What a task takes of each resource.
    pub resources: Vec<(String, Expression)>,
    /// A map of what it takes of others, by name: `resources` under `*`.
    pub more_resources: Option<Expression>,
    /// Where a task may run, by the names in [`PLACEMENT`].
    pub placement: Vec<(String, Expression)>,
    /// Schema by kind, in byte order of the names.
    pub kinds: Vec<(String, KindSpec)>,
    /// For how long the log keeps what its own kinds said, in ms; `None`: for ever.
    pub retention_ms: Option<i64>,
    /// Own kinds that are a lifecycle kind.
    pub acts_as: Vec<(String, KernelKind)>,
    /// Who sends own kinds, where it is not [`Sender::Submit`].
    pub senders: Vec<(String, Sender)>,
    /// The spec as it came, canonical.
    pub text: String,
}

impl NamespaceSpec {
    /// The schema of a kind.
    #[must_use]
    pub fn kind(&self, kind: &str) -> Option<&KindSpec> {
        self.kinds
            .iter()
            .find_map(|(name, spec)| (name == kind).then_some(spec))
    }

    /// The lifecycle kind that a kind is in this namespace.
    #[must_use]
    pub fn acts_as(&self, kind: &str) -> Option<KernelKind> {
        self.acts_as
            .iter()
            .find_map(|(name, acts)| (name == kind).then_some(*acts))
    }

    /// Who sends a kind of its own that is no lifecycle kind.
    #[must_use]
    pub fn sender(&self, kind: &str) -> Sender {
        let named = self.senders.iter().find(|(name, _)| name == kind);
        named.map_or(Sender::Submit, |(_, sender)| *sender)
    }
}

impl NamespaceSpec {
    /// Reads a spec from the wire.
    ///
    /// # Errors
    /// Every field that is wrong, with its path from `spec` on.
    pub fn parse(spec: &Map<'_>) -> Result<Self, Vec<FieldError>> {
        let mut errors = Vec::new();
        let known = [
            "revision",
            "preemptible",
            "handler_type",
            "resources",
            "placement",
            "schema",
            "acts_as",
            "by",
            "open",
            "retention",
        ];
        let mut reader = Reader::new(spec, "spec", &known, &mut errors);
        let revision = reader.optional("revision", "Int from 1", |v| as_int(v).filter(|n| *n >= 1));
        reader.optional("preemptible", "Bool", as_bool);
        let handler_type = reader.optional("handler_type", "String or null", |v| match v {
            Value::Null => Some(None),
            _ => as_string(v).map(Some),
        });
        let resources = reader
            .optional("resources", "Map of resource to expression", Value::as_map)
            .cloned();
        let placement = reader
            .optional("placement", "Map of what to expression", Value::as_map)
            .cloned();
        let schema = reader
            .required("schema", "Map of kind to a list of fields", Value::as_map)
            .cloned();
        let acts_as = reader
            .optional(
                "acts_as",
                "Map of own kind to lifecycle kind",
                Value::as_map,
            )
            .cloned();
        let by = reader
            .optional(
                "by",
                "Map of own kind to submit, relay, monitor or admin",
                Value::as_map,
            )
            .cloned();
        let open = reader
            .optional("open", "List of kinds", Value::as_list)
            .map(<[Value<'_>]>::to_vec);
        let retention = reader.optional("retention", RETENTION_EXPECTED, |v| match v {
            Value::Null => Some(None),
            _ => as_int(v)
                .filter(|s| (0..=RETENTION_S_MAX).contains(s))
                .map(Some),
        });
        let kinds = schema.map_or_else(Vec::new, |s| parse_kinds(&s, &mut errors));
        let mut spec_read = Self {
            revision: revision.unwrap_or(1),
            handler_type: handler_type.flatten(),
            resources: resources.map_or_else(Vec::new, |r| parse_resources(&r, &mut errors)),
            more_resources: None,
            placement: placement.map_or_else(Vec::new, |p| parse_placement(&p, &mut errors)),
            kinds,
            retention_ms: retention.flatten().map(|s| s * 1_000),
            acts_as: Vec::new(),
            senders: Vec::new(),
            text: Value::Map(spec.clone()).to_text(),
        };
        spec_read.read_acts_as(acts_as.as_ref(), &mut errors);
        spec_read.read_senders(by.as_ref(), &mut errors);
        spec_read.read_open(open.as_deref(), &mut errors);
        let more = spec_read
            .resources
            .iter()
            .position(|(name, _)| name == MORE);
        spec_read.more_resources = more.map(|place| spec_read.resources.remove(place).1);
        spec_read.check_resources(&mut errors);
        spec_read.check_placement(&mut errors);
        if errors.is_empty() {
            Ok(spec_read)
        } else {
            Err(errors)
        }
    }

    fn read_acts_as(&mut self, acts_as: Option<&Map<'_>>, errors: &mut Vec<FieldError>) {
        for (kind, value) in acts_as.iter().flat_map(|map| map.iter()) {
            let acts = value.as_str().and_then(KernelKind::from_wire);
            match acts {
                Some(acts) if self.kind(kind).is_some() => {
                    self.acts_as.push((kind.to_owned(), acts));
                }
                Some(_) => errors.push(FieldError::new(
                    format!("spec.acts_as.{kind}"),
                    "a kind of `schema`",
                    "a kind that it does not list",
                )),
                None => errors.push(FieldError::new(
                    format!("spec.acts_as.{kind}"),
                    "a lifecycle kind",
                    value.shown(),
                )),
            }
        }
    }

    fn read_senders(&mut self, by: Option<&Map<'_>>, errors: &mut Vec<FieldError>) {
        for (kind, value) in by.iter().flat_map(|map| map.iter()) {
            let field = format!("spec.by.{kind}");
            if self.kind(kind).is_none() {
                errors.push(FieldError::new(
                    field,
                    "a kind of `schema`",
                    "a kind that it does not list",
                ));
                continue;
            }
            match value.as_str().and_then(Sender::from_wire) {
                Some(sender) => self.senders.push((kind.to_owned(), sender)),
                None => errors.push(FieldError::new(
                    field,
                    "submit, relay, monitor or admin",
                    value.shown(),
                )),
            }
        }
    }

    fn read_open(&mut self, open: Option<&[Value<'_>]>, errors: &mut Vec<FieldError>) {
        for value in open.into_iter().flatten() {
            let kind = value.as_str().unwrap_or_default();
            match self.kinds.iter_mut().find(|(name, _)| name == kind) {
                Some((_, spec)) => spec.open = true,
                None => errors.push(FieldError::new(
                    "spec.open",
                    "kinds of `schema`",
                    value.shown(),
                )),
            }
        }
    }

    /// The kinds that submit jobs.
    fn submits(&self) -> impl Iterator<Item = &(String, KindSpec)> {
        self.kinds.iter().filter(|(name, _)| {
            name == "SubmitJob" || self.acts_as(name) == Some(KernelKind::SubmitJob)
        })
    }

    fn check_resources(&self, errors: &mut Vec<FieldError>) {
        for (kind, schema) in self.submits() {
            for (resource, expression) in &self.resources {
                let is_amount = matches!(expression, Expression::Literal(Value::Int(n)) if *n >= 0);
                if !is_amount && !reads(expression, schema, ExpectedType::Int) {
                    errors.push(FieldError::new(
                        format!("spec.resources.{resource}"),
                        format!("an Int from 0, or `$spec.x` of an Int field of {kind}"),
                        format!("{expression:?}"),
                    ));
                }
            }
            if let Some(expression) = &self.more_resources
                && !reads(expression, schema, ExpectedType::Map)
            {
                errors.push(FieldError::new(
                    format!("spec.resources.{MORE}"),
                    format!("`$spec.x` of a Map field of {kind}"),
                    format!("{expression:?}"),
                ));
            }
        }
    }

    fn check_placement(&self, errors: &mut Vec<FieldError>) {
        for (kind, schema) in self.submits() {
            for (what, expression) in &self.placement {
                let expected = PLACEMENT.iter().find(|(name, _)| name == what);
                let Some((_, expected)) = expected else {
                    continue;
                };
                if !reads(expression, schema, *expected) {
                    errors.push(FieldError::new(
                        format!("spec.placement.{what}"),
                        format!("`$spec.x` of a field of {kind} of type {}", expected.wire()),
                        format!("{expression:?}"),
                    ));
                }
            }
        }
    }
}

/// Whether an expression reads a field of this type.
fn reads(expression: &Expression, schema: &KindSpec, expected: ExpectedType) -> bool {
    match expression {
        Expression::Spec(key) => {
            let field = schema.field(key);
            field.map_or(schema.open, |field| field.expected_type == expected)
        }
        _ => false,
    }
}

fn parse_placement(map: &Map<'_>, errors: &mut Vec<FieldError>) -> Vec<(String, Expression)> {
    let known = PLACEMENT.map(|(name, _)| name);
    unknown_fields(map, "spec.placement", &known, "a known field", errors);
    let parts = map.iter().filter_map(|(name, value)| {
        let expression = Expression::parse(value);
        let expression = expression.map_err(|expected| {
            let field = format!("spec.placement.{name}");
            errors.push(FieldError::new(field, expected, value.shown()));
        });
        Some((name.to_owned(), expression.ok()?))
    });
    parts.collect()
}

fn parse_resources(map: &Map<'_>, errors: &mut Vec<FieldError>) -> Vec<(String, Expression)> {
    let mut resources = Vec::new();
    for (name, value) in map.iter() {
        match Expression::parse(value) {
            Ok(expression) if is_id(name) || name == MORE => {
                resources.push((name.to_owned(), expression))
            }
            Ok(_) => errors.push(FieldError::new(
                format!("spec.resources.{name}"),
                ID_EXPECTED,
                name,
            )),
            Err(expected) => errors.push(FieldError::new(
                format!("spec.resources.{name}"),
                expected,
                value.shown(),
            )),
        }
    }
    resources
}

fn parse_kinds(schema: &Map<'_>, errors: &mut Vec<FieldError>) -> Vec<(String, KindSpec)> {
    let mut kinds = Vec::new();
    for (kind, value) in schema.iter() {
        let path = format!("spec.schema.{kind}");
        if !is_id(kind) {
            errors.push(FieldError::new(&path, ID_EXPECTED, kind));
        }
        let is_registration = CONTROL_KINDS.contains(&kind);
        let reserved =
            kind != "SubmitJob" && (KernelKind::from_wire(kind).is_some() || is_registration);
        if reserved {
            errors.push(FieldError::new(
                &path,
                "SubmitJob or a kind of the namespace's own",
                "a kind of the kernel",
            ));
        }
        // Either the plain list of fields, or {"fields": […], "open": true}.
        let (list, open) = match value {
            Value::List(list) => (Some(list.as_slice()), false),
            Value::Map(map) => {
                let mut reader = Reader::new(map, &path, &["fields", "open"], errors);
                let open = reader.optional("open", "Bool", as_bool).unwrap_or(false);
                (
                    reader.required("fields", "List of fields", Value::as_list),
                    open,
                )
            }
            _ => {
                errors.push(FieldError::new(&path, "List of fields", value.shown()));
                (None, false)
            }
        };
        let mut spec = KindSpec {
            fields: Vec::new(),
            open,
        };
        for (i, field) in list.into_iter().flatten().enumerate() {
            let path = format!("{path}[{i}]");
            // An element {"open": true} opens the kind from within the plain list.
            match field {
                Value::Map(map)
                    if map.len() == 1 && map.get("open").and_then(as_bool).is_some() =>
                {
                    spec.open = map.get("open").and_then(as_bool) == Some(true);
                }
                Value::Map(map) => {
                    if let Some(field) = parse_field(map, &path, errors) {
                        if spec.field(&field.key).is_some() {
                            errors.push(FieldError::new(&path, "each key once", field.key.clone()));
                        }
                        spec.fields.push(field);
                    }
                }
                _ => errors.push(FieldError::new(path, "Map", field.shown())),
            }
        }
        kinds.push((kind.to_owned(), spec));
    }
    kinds
}
