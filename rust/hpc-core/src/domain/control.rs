//! Control requests: a namespace, a generator or a token is registered, or a token revoked; as they
//! come and as they are stored.

use super::access::TokenSpec;
use super::generator::GeneratorSpec;
use super::json::{Map, Value};
use super::namespace::NamespaceSpec;
use super::problem::FieldError;
use super::reader::{Reader, as_id, as_int, unknown_fields};

/// Kind under which a namespace's registration stands in the log.
pub const REGISTER_NAMESPACE: &str = "RegisterNamespace";
/// Kind under which a generator's registration stands in the log.
pub const REGISTER_GENERATOR: &str = "RegisterGenerator";
/// Kind under which a new token stands in the log.
pub const REGISTER_TOKEN: &str = "RegisterToken";
/// Kind under which the end of a token stands in the log.
pub const REVOKE_TOKEN: &str = "RevokeToken";

/// The kinds of the log that come by control alone.
pub const CONTROL_KINDS: [&str; 4] = [
    REGISTER_NAMESPACE,
    REGISTER_GENERATOR,
    REGISTER_TOKEN,
    REVOKE_TOKEN,
];

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
    /// A token.
    Token {
        /// Its id.
        token_id: String,
        /// What it says.
        spec: TokenSpec,
    },
    /// A token opens nothing any more.
    Revoked {
        /// Its id.
        token_id: String,
    },
}

impl Registration {
    /// The id that it takes.
    #[must_use]
    pub fn id(&self) -> &str {
        match self {
            Self::Namespace { ns_id, .. } => ns_id,
            Self::Generator { gid, .. } => gid,
            Self::Token { token_id, .. } | Self::Revoked { token_id } => token_id,
        }
    }

    /// Kind in the log.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Namespace { .. } => REGISTER_NAMESPACE,
            Self::Generator { .. } => REGISTER_GENERATOR,
            Self::Token { .. } => REGISTER_TOKEN,
            Self::Revoked { .. } => REVOKE_TOKEN,
        }
    }

    /// Name of the id's field.
    #[must_use]
    pub fn id_field(&self) -> &'static str {
        match self {
            Self::Namespace { .. } => "ns_id",
            Self::Generator { .. } => "gid",
            Self::Token { .. } | Self::Revoked { .. } => "token_id",
        }
    }

    /// The spec's canonical text.
    #[must_use]
    pub fn text(&self) -> &str {
        match self {
            Self::Namespace { spec, .. } => &spec.text,
            Self::Generator { spec, .. } => &spec.text,
            Self::Token { spec, .. } => &spec.text,
            Self::Revoked { .. } => "{}",
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
            REGISTER_TOKEN => Some(Self::Token {
                token_id: stored.str("token_id")?.to_owned(),
                spec: TokenSpec::parse(spec).ok()?,
            }),
            REVOKE_TOKEN => Some(Self::Revoked {
                token_id: stored.str("token_id")?.to_owned(),
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
        let id_key = match kind.as_str() {
            REGISTER_NAMESPACE => "ns_id",
            REGISTER_GENERATOR => "gid",
            REGISTER_TOKEN | REVOKE_TOKEN => "token_id",
            _ => {
                let got = map
                    .get("type")
                    .map_or_else(|| "nothing".to_owned(), Value::shown);
                let expected = format!("one of {}", CONTROL_KINDS.join(", "));
                return Err(vec![FieldError::new("type", expected, got)]);
            }
        };
        let is_token = id_key == "token_id";
        let known = ["type", id_key, "spec", "replace"];
        let known = known.get(..if is_token { 3 } else { 4 }).unwrap_or(&known);
        let mut reader = Reader::new(map, "", known, &mut errors);
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
        let registration = match kind.as_str() {
            REGISTER_NAMESPACE => {
                NamespaceSpec::parse(spec).map(|spec| Registration::Namespace { ns_id: id, spec })
            }
            REGISTER_GENERATOR => {
                GeneratorSpec::parse(spec).map(|spec| Registration::Generator { gid: id, spec })
            }
            REGISTER_TOKEN => {
                TokenSpec::parse(spec).map(|spec| Registration::Token { token_id: id, spec })
            }
            _ => {
                unknown_fields(spec, "spec", &[], "no field", &mut errors);
                Ok(Registration::Revoked { token_id: id })
            }
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
