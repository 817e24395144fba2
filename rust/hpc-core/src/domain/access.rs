//! Access: who sends a request, which role that gives, and what a role may send.
//!
//! A Hub keeps of a token its id and a digest. The token itself is made by whoever asks for it and
//! never comes here.

use super::event::{KernelKind, Sender};
use super::ids::is_id;
use super::json::{Map, Value};
use super::problem::FieldError;
use super::reader::{Reader, as_int, as_string};

/// The most namespaces, or nodes, that a token names.
pub const TOKEN_NAMES_MAX: usize = 100;

const SHA256_DIGITS: usize = 64;

/// What a token is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Everything that may come from outside.
    Admin,
    /// Jobs, and reading.
    Submit,
    /// Claims, reports of what was claimed, and reading.
    Relay,
    /// Samples, and reading.
    Monitor,
    /// Reading alone.
    Read,
}

impl Role {
    /// All roles with their names on the wire.
    pub const ALL: [(&'static str, Self); 5] = [
        ("admin", Self::Admin),
        ("submit", Self::Submit),
        ("relay", Self::Relay),
        ("monitor", Self::Monitor),
        ("read", Self::Read),
    ];

    /// The role of this name.
    #[must_use]
    pub fn from_wire(name: &str) -> Option<Self> {
        let mut all = Self::ALL.iter();
        all.find_map(|(wire, role)| (*wire == name).then_some(*role))
    }

    /// Whether it may send what this sender sends; of the kernel's kinds one more may come from a
    /// relay, whose node may be found unfit.
    #[must_use]
    pub fn may_send(self, sender: Sender, kernel: Option<KernelKind>) -> bool {
        match (self, sender) {
            (_, Sender::Hub) | (Self::Read, _) => false,
            (Self::Admin, _)
            | (Self::Submit, Sender::Submit)
            | (Self::Relay, Sender::Relay)
            | (Self::Monitor, Sender::Monitor) => true,
            (Self::Relay, _) => kernel == Some(KernelKind::NodeDrained),
            (Self::Submit | Self::Monitor, _) => false,
        }
    }
}

/// Who sends a request, as the transport says and as it stands in the log: `TOKEN ROLE ADDRESS`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Who<'w> {
    /// Id of the token.
    pub token: &'w str,
    /// Its role.
    pub role: &'w str,
    /// Address of the peer.
    pub from: &'w str,
}

impl<'w> Who<'w> {
    /// Reads the form of the log; `None` where nobody is named: the Hub itself.
    #[must_use]
    pub fn parse(text: &'w str) -> Option<Self> {
        let mut parts = text.splitn(3, ' ');
        Some(Self {
            token: parts.next().filter(|token| !token.is_empty())?,
            role: parts.next().unwrap_or_default(),
            from: parts.next().unwrap_or_default(),
        })
    }
}

/// What a token was made with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenSpec {
    /// What it is for.
    pub role: Role,
    /// In which namespaces it may send; `None`: in all.
    pub namespaces: Option<Vec<String>>,
    /// For which nodes it may speak; `None`: for any.
    pub nodes: Option<Vec<String>>,
    /// From when on it opens nothing, ms since 1970; `None`: never.
    pub expires_at: Option<i64>,
    /// Canonical text.
    pub text: String,
}

impl TokenSpec {
    /// Reads a spec.
    ///
    /// # Errors
    /// Every field that is wrong.
    pub fn parse(spec: &Map<'_>) -> Result<Self, Vec<FieldError>> {
        let mut errors = Vec::new();
        let known = [
            "role",
            "namespaces",
            "nodes",
            "expires_at",
            "label",
            "sha256",
        ];
        let mut reader = Reader::new(spec, "spec", &known, &mut errors);
        let role = reader.required("role", "admin, submit, relay, monitor or read", |v| {
            Role::from_wire(v.as_str()?)
        });
        let namespaces = reader.optional("namespaces", "List of 1 to 100 ids", as_ids);
        let nodes = reader.optional("nodes", "List of 1 to 100 ids", as_ids);
        let expires_at = reader.optional("expires_at", "Int from 0, ms since 1970", |v| {
            as_int(v).filter(|at| *at >= 0)
        });
        reader.optional("label", "String of at most 200 characters", |v| {
            as_string(v).filter(|label| label.chars().count() <= super::event::NAME_CHARS_MAX)
        });
        reader.required("sha256", "64 lower-case hexadecimal digits", |v| {
            as_string(v).filter(|text| is_sha256(text))
        });
        if role == Some(Role::Admin) && namespaces.is_some() {
            reader.refuse("namespaces", "absent: an admin's token is for all of them");
        }
        if nodes.is_some() && !matches!(role, Some(Role::Relay | Role::Monitor)) {
            reader.refuse("nodes", "absent: only relays and monitors speak for nodes");
        }
        match role {
            Some(role) if errors.is_empty() => Ok(Self {
                role,
                namespaces,
                nodes,
                expires_at,
                text: spec.to_text(),
            }),
            _ => Err(errors),
        }
    }

    /// Whether it may send in a namespace.
    #[must_use]
    pub fn is_for(&self, ns_id: &str) -> bool {
        is_named(self.namespaces.as_ref(), ns_id)
    }

    /// Whether it may speak for a node.
    #[must_use]
    pub fn speaks_for(&self, node_id: &str) -> bool {
        is_named(self.nodes.as_ref(), node_id)
    }
}

fn is_named(named: Option<&Vec<String>>, id: &str) -> bool {
    named.is_none_or(|named| named.iter().any(|one| one == id))
}

fn as_ids(value: &Value<'_>) -> Option<Vec<String>> {
    let list = value.as_list()?;
    let is_few = (1..=TOKEN_NAMES_MAX).contains(&list.len());
    let ids = list
        .iter()
        .map(|id| id.as_str().filter(|id| is_id(id)).map(str::to_owned));
    ids.collect::<Option<Vec<_>>>().filter(|_| is_few)
}

fn is_sha256(text: &str) -> bool {
    let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    text.len() == SHA256_DIGITS && text.bytes().all(is_digit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_role_sends_what_its_sender_sends_and_nobody_what_the_hub_does() {
        use Sender::{Admin, Hub, Monitor, Relay, Submit};
        let senders = [Submit, Relay, Monitor, Admin, Hub];
        let may = |role: Role| senders.map(|sender| role.may_send(sender, None));
        assert_eq!(may(Role::Admin), [true, true, true, true, false]);
        assert_eq!(may(Role::Submit), [true, false, false, false, false]);
        assert_eq!(may(Role::Relay), [false, true, false, false, false]);
        assert_eq!(may(Role::Monitor), [false, false, true, false, false]);
        assert_eq!(may(Role::Read), [false; 5]);
        let drained = Some(KernelKind::NodeDrained);
        assert!(Role::Relay.may_send(Admin, drained));
        assert!(!Role::Relay.may_send(Admin, Some(KernelKind::NodeUndrained)));
        assert!(!Role::Submit.may_send(Admin, drained));
    }

    #[test]
    fn who_is_read_as_it_is_written() {
        let who = Who::parse("ab12 relay ::1");
        let parts = who.map(|who| (who.token, who.role, who.from));
        assert_eq!(parts, Some(("ab12", "relay", "::1")));
        assert_eq!(Who::parse(""), None);
    }
}
