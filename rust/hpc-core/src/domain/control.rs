//! Control requests: the registration of a namespace or a generator, as it comes and as it is stored.

use super::generator::GeneratorSpec;
use super::json::{Map, Value};
use super::namespace::NamespaceSpec;
use super::problem::FieldError;
use super::reader::{Reader, as_id, as_int};

/// Kind under which a namespace's registration stands in the log.
pub const REGISTER_NAMESPACE: &str = "RegisterNamespace";
/// Kind under which a generator's registration stands in the log.
pub const REGISTER_GENERATOR: &str = "RegisterGenerator";

/// What is to be registered.
#[derive(Clone, Debug, PartialEq)]
pub enum Registration {
    /// A namespace.
    Namespace {
        /// Its id.
        ns_id: String,
        /// What it says.
        spec: NamespaceSpec,
    },
    /// A generator.
    Generator {
        /// Its id.
        gid: String,
        /// What it says.
        spec: GeneratorSpec,
    },
}

impl Registration {
    /// The id that it takes.
    #[must_use]
    pub fn id(&self) -> &str {
        match self {
            Self::Namespace { ns_id, .. } => ns_id,
            Self::Generator { gid, .. } => gid,
        }
    }

    /// Kind in the log.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Namespace { .. } => REGISTER_NAMESPACE,
            Self::Generator { .. } => REGISTER_GENERATOR,
        }
    }

    /// Name of the id's field.
    #[must_use]
    pub fn id_field(&self) -> &'static str {
        match self {
            Self::Namespace { .. } => "ns_id",
            Self::Generator { .. } => "gid",
        }
    }

    /// The spec's canonical text.
    #[must_use]
    pub fn text(&self) -> &str {
        match self {
            Self::Namespace { spec, .. } => &spec.text,
            Self::Generator { spec, .. } => &spec.text,
        }
    }

    /// Reads the form that stands in the log: ctx is empty, spec is `{ns_id|gid, spec}`.
    #[must_use]
    pub fn from_log(kind: &str, stored: &Map<'_>) -> Option<Self> {
        let spec = stored.get("spec")?.as_map()?;
        match kind {
            REGISTER_NAMESPACE => Some(Self::Namespace {
                ns_id: stored.str("ns_id")?.to_owned(),
                spec: NamespaceSpec::parse(spec).ok()?,
            }),
            REGISTER_GENERATOR => Some(Self::Generator {
                gid: stored.str("gid")?.to_owned(),
                spec: GeneratorSpec::parse(spec).ok()?,
            }),
            _ => None,
        }
    }
}

/// A control request.
#[derive(Clone, Debug, PartialEq)]
pub struct Control {
    /// What is to be registered.
    pub registration: Registration,
    /// The spec as it came.
    pub spec: Map<'static>,
    /// The version that it replaces.
    pub replace: Option<u64>,
}

impl Control {
    /// Reads a request.
    ///
    /// # Errors
    /// Every field that is wrong.
    pub fn parse(map: &Map<'_>) -> Result<Self, Vec<FieldError>> {
        let mut errors = Vec::new();
        let kind = map.str("type").unwrap_or_default().to_owned();
        let (id_key, is_namespace) = match kind.as_str() {
            REGISTER_NAMESPACE => ("ns_id", true),
            REGISTER_GENERATOR => ("gid", false),
            _ => {
                let got = map
                    .get("type")
                    .map_or_else(|| "nothing".to_owned(), Value::shown);
                let expected = format!("\"{REGISTER_NAMESPACE}\" or \"{REGISTER_GENERATOR}\"");
                return Err(vec![FieldError::new("type", expected, got)]);
            }
        };
        let mut reader = Reader::new(map, "", &["type", id_key, "spec", "replace"], &mut errors);
        let id = reader.required(id_key, super::ids::ID_EXPECTED, as_id);
        let replace = reader.optional("replace", "the current version, an Int from 1", |v| {
            as_int(v)
                .and_then(|n| u64::try_from(n).ok())
                .filter(|n| *n >= 1)
        });
        let spec = reader.required("spec", "Map", Value::as_map);
        let (Some(id), Some(spec)) = (id, spec) else {
            return Err(errors);
        };
        let registration = if is_namespace {
            NamespaceSpec::parse(spec).map(|spec| Registration::Namespace { ns_id: id, spec })
        } else {
            GeneratorSpec::parse(spec).map(|spec| Registration::Generator { gid: id, spec })
        };
        match registration {
            Ok(registration) if errors.is_empty() => Ok(Self {
                registration,
                spec: spec.clone().into_owned(),
                replace,
            }),
            Ok(_) => Err(errors),
            Err(more) => {
                errors.extend(more);
                Err(errors)
            }
        }
    }
}
