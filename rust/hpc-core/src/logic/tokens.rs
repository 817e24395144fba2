//! Tokens, and what the one that sends a request may say: by its role, its namespaces and its nodes.
//!
//! Which routes a role opens is the transport's; here it is kinds of events, and of whom they speak.
//! A relay speaks for the nodes that joined by its token, and for those whose token is over.

use std::collections::BTreeMap;

use super::hub::Hub;
use super::nodes::{Node, NodeState, Nodes};
use super::offer::Offer;
use super::state::State;
use crate::domain::access::{Role, TokenSpec, Who};
use crate::domain::control::Registration;
use crate::domain::event::{Ctx, KernelKind, Sender};
use crate::domain::json::{Map, Value, decode};
use crate::domain::problem::{FieldError, Problem};
use crate::lattice::codec::{Codec as _, DecodeError, DecodeReason, Reader, put_bytes, put_uint};

/// The id under which the access file's token is named: it is no token of the log.
pub const ACCESS_TOKEN: &str = "access";

/// One token.
#[derive(Clone, Debug)]
pub struct Token {
    /// What it was made with.
    pub spec: TokenSpec,
    /// Whether it opens nothing any more.
    pub is_revoked: bool,
}

/// All tokens of the log. A token is made once and revoked once; what comes after changes nothing.
#[derive(Clone, Debug, Default)]
pub struct Tokens {
    by_id: BTreeMap<String, Token>,
}

impl Tokens {
    /// A token by its id.
    #[must_use]
    pub fn get(&self, id: &str) -> Option<&Token> {
        self.by_id.get(id)
    }

    /// Takes a token in, if its id is new.
    pub fn put(&mut self, id: String, spec: TokenSpec) {
        let is_revoked = false;
        self.by_id.entry(id).or_insert(Token { spec, is_revoked });
    }

    /// Ends a token.
    pub fn revoke(&mut self, id: &str) {
        if let Some(token) = self.by_id.get_mut(id) {
            token.is_revoked = true;
        }
    }

    /// Whether the token of an id opens something at a time, ms since 1970.
    fn is_valid(&self, id: &str, now: i64) -> bool {
        self.by_id.get(id).is_some_and(|token| {
            !token.is_revoked && token.spec.expires_at.is_none_or(|until| now < until)
        })
    }
}

/// What whoever sends a request may say.
#[derive(Clone, Copy, Debug)]
pub struct Allowed<'h> {
    state: &'h State,
    now: i64,
    by: Option<By<'h>>,
}

/// A token and its role; without a spec it is the access file's.
#[derive(Clone, Copy, Debug)]
struct By<'h> {
    token: &'h str,
    role: Role,
    spec: Option<&'h TokenSpec>,
}

impl<'h> Allowed<'h> {
    fn of(hub: &'h Hub) -> Result<Self, Box<Problem>> {
        let (state, now) = (&hub.state, hub.now.wall);
        let Some(who) = Who::parse(&hub.who) else {
            return Ok(Self {
                state,
                now,
                by: None,
            });
        };
        let known = state.tokens.get(who.token);
        let known = known.filter(|_| state.tokens.is_valid(who.token, now));
        let (role, spec) = match (Role::from_wire(who.role), known) {
            (Some(Role::Admin), None) if who.token == ACCESS_TOKEN => (Role::Admin, None),
            (Some(role), Some(token)) if role == token.spec.role => (role, Some(&token.spec)),
            _ => {
                return Err(over(who.token));
            }
        };
        let by = Some(By {
            token: who.token,
            role,
            spec,
        });
        Ok(Self { state, now, by })
    }

    /// Checks that events of a kind may come from here.
    ///
    /// # Errors
    /// 403.
    pub fn check_kind(
        &self,
        kind: &str,
        kernel: Option<KernelKind>,
        ns_id: Option<&str>,
    ) -> Result<(), Box<Problem>> {
        let own = || self.state.namespaces.get(ns_id?);
        let sender = match kernel {
            Some(kernel) => kernel.sender(),
            None => own().map_or(Sender::Submit, |ns| ns.spec.sender(kind)),
        };
        let field = Value::text("kind");
        if sender == Sender::Hub {
            let detail = format!("Kind `{kind}` is written by the Hub alone");
            let hint =
                "ask for it: CancelJob, HoldJob, ReleaseJob, SetPriority, RetryJob, ForgetJob";
            return Err(not_allowed(detail, hint).with("field", field).into());
        }
        match self.by {
            Some(by) if !by.role.may_send(sender, kernel) => {
                let (role, wanted) = (wire(by.role), sender.wire());
                let detail = format!("A token of role `{role}` may not send kind `{kind}`");
                let hint = match sender {
                    Sender::Admin => "send it with a token of role `admin`".to_owned(),
                    _ => format!("send it with a token of role `{wanted}` or `admin`"),
                };
                Err(not_allowed(detail, hint).with("field", field).into())
            }
            _ => Ok(()),
        }
    }

    /// Checks of which namespace and node an event speaks.
    ///
    /// # Errors
    /// 403.
    pub fn check_ctx(&self, ctx: &Map<'_>) -> Result<(), Box<Problem>> {
        let ctx = Ctx::new(ctx);
        if let Some(ns_id) = ctx.ns_id() {
            self.check_namespace(ns_id, "ctx.ns_id")?;
        }
        let Some((by, node_id)) = self.by.zip(ctx.node_id()) else {
            return Ok(());
        };
        let node = self.state.nodes.find(node_id);
        let node = node.and_then(|ix| self.state.nodes.get(ix));
        let is_own = || node.is_some_and(|node| self.speaks_for(by, node));
        if by.is_named(node_id) && (by.role != Role::Relay || is_own()) {
            return Ok(());
        }
        Err(other_node(by, node_id, "ctx.node_id"))
    }

    fn check_namespace(&self, ns_id: &str, field: &'static str) -> Result<(), Box<Problem>> {
        match self.by {
            Some(By {
                token,
                spec: Some(spec),
                ..
            }) if !spec.is_for(ns_id) => {
                let detail = format!("Token `{token}` is not for namespace `{ns_id}`");
                let hint = "the namespaces that it is for: hpc token list";
                let problem = not_allowed(detail, hint);
                Err(problem.with("field", Value::text(field)).into())
            }
            _ => Ok(()),
        }
    }

    /// Checks that a claim may come from here: whose node it is, and what that serves.
    fn check_offer(&self, offer: &Offer) -> Result<(), Box<Problem>> {
        for ns_id in &offer.namespaces {
            self.check_namespace(ns_id, "ns")?;
        }
        let Some(by) = self.by else {
            return Ok(());
        };
        let node = self.state.nodes.find(&offer.node_id);
        let node = node.and_then(|ix| self.state.nodes.get(ix));
        let is_free = |node: &Node| node.state != NodeState::Up || self.speaks_for(by, node);
        let may = match by.role {
            Role::Admin => true,
            Role::Relay => by.is_named(&offer.node_id) && node.is_none_or(is_free),
            Role::Submit | Role::Monitor | Role::Read => false,
        };
        if may {
            Ok(())
        } else {
            Err(other_node(by, &offer.node_id, "node_id"))
        }
    }

    fn speaks_for(&self, by: By<'_>, node: &Node) -> bool {
        let joined_by = node.token.as_deref();
        joined_by.is_some_and(|id| id == by.token || !self.state.tokens.is_valid(id, self.now))
    }
}

impl By<'_> {
    fn is_named(&self, node_id: &str) -> bool {
        self.spec.is_none_or(|spec| spec.speaks_for(node_id))
    }
}

fn wire(role: Role) -> &'static str {
    let mut all = Role::ALL.iter();
    all.find_map(|(wire, one)| (*one == role).then_some(*wire))
        .unwrap_or_default()
}

fn over(token: &str) -> Box<Problem> {
    let detail = format!("Token `{token}` opens nothing any more");
    let hint = "ask an administrator for a new one: hpc token create --role submit";
    not_allowed(detail, hint)
}

fn not_allowed(detail: String, hint: impl Into<String>) -> Box<Problem> {
    Box::new(Problem::new(403, "not_allowed", "Not allowed", detail).hint(hint))
}

fn other_node(by: By<'_>, node_id: &str, field: &'static str) -> Box<Problem> {
    let detail = format!("Token `{}` does not speak for node `{node_id}`", by.token);
    let hint = "a node is its token's until it has left, is lost, or the token is revoked";
    let problem = not_allowed(detail, hint);
    Box::new(problem.with("field", Value::text(field)))
}

impl Hub {
    /// All tokens: id, canonical spec, and whether it was revoked.
    #[must_use]
    pub fn tokens(&self) -> Vec<(String, String, bool)> {
        let all = self.state.tokens.by_id.iter();
        all.map(|(id, token)| (id.clone(), token.spec.text.clone(), token.is_revoked))
            .collect()
    }

    /// Refuses the claims that wait of nodes that joined by a token that was just revoked: whoever has it is
    /// leased nothing more, and told no more of jobs.
    pub(super) fn end_claims_by(&mut self, token_id: &str) {
        let nodes = self.state.nodes.iter_mut();
        let nodes = nodes.filter(|(_, node)| node.token.as_deref() == Some(token_id));
        let open: Vec<_> = nodes.filter_map(|(_, node)| node.open.take()).collect();
        for claim in open {
            self.refuse(claim.token, &over(token_id));
        }
    }

    /// What the sender of what is being taken may say.
    ///
    /// # Errors
    /// 403: its token is over.
    pub(super) fn allowed(&self) -> Result<Allowed<'_>, Box<Problem>> {
        Allowed::of(self)
    }

    /// Checks that a claim may come from whoever sends it.
    pub(super) fn check_claimant(&self, offer: &Offer) -> Result<(), Box<Problem>> {
        self.allowed()?.check_offer(offer)
    }

    /// The token by which a node joins now; `None` where it is an administrator's.
    pub(super) fn joining_token(&self) -> Option<String> {
        let by = self.allowed().ok()?.by?;
        (by.role == Role::Relay).then(|| by.token.to_owned())
    }

    /// Of a registration of a token, or the end of one: whether it stands already. `None` for others.
    ///
    /// # Errors
    /// 404, 409, 422.
    pub(super) fn check_token(
        &self,
        registration: &Registration,
    ) -> Result<Option<bool>, Box<Problem>> {
        match registration {
            Registration::Token { token_id, spec } => {
                if token_id == ACCESS_TOKEN {
                    let expected = "another id: `access` is the access file's own";
                    let error = FieldError::new("token_id", expected, token_id.clone());
                    return Err(Problem::not_well_formed(vec![error]).into());
                }
                match self.state.tokens.get(token_id) {
                    None => Ok(Some(false)),
                    Some(known) if known.spec == *spec => Ok(Some(true)),
                    Some(_) => {
                        let detail = format!("Token `{token_id}` exists and is another");
                        let title = "Another token has this id";
                        let problem = Problem::new(409, "token_conflict", title, detail);
                        Err(problem.hint("make one under another id").into())
                    }
                }
            }
            Registration::Revoked { token_id } => match self.state.tokens.get(token_id) {
                Some(known) => Ok(Some(known.is_revoked)),
                None => {
                    let detail = format!("No token has the id `{token_id}`");
                    let problem = Problem::new(404, "unknown_token", "Unknown token", detail);
                    Err(problem.hint("which there are: hpc token list").into())
                }
            },
            Registration::Namespace { .. } | Registration::Generator { .. } => Ok(None),
        }
    }
}

/// Whether there is anything that [`encode`] would write.
pub(super) fn is_any(state: &State) -> bool {
    let mut nodes = state.nodes.iter();
    !state.tokens.by_id.is_empty() || nodes.any(|(_, node)| node.token.is_some())
}

/// The canonical bytes of all tokens, and of which nodes joined by one.
pub(super) fn encode(state: &State, out: &mut Vec<u8>) {
    put_uint(state.tokens.by_id.len() as u64, out);
    for (id, token) in &state.tokens.by_id {
        put_bytes(id.as_bytes(), out);
        put_bytes(token.spec.text.as_bytes(), out);
        token.is_revoked.encode(out);
    }
    let joined = || state.nodes.iter().filter(|(_, node)| node.token.is_some());
    put_uint(joined().count() as u64, out);
    for (_, node) in joined() {
        put_bytes(node.id.as_bytes(), out);
        put_bytes(node.token.as_deref().unwrap_or_default().as_bytes(), out);
    }
}

/// Reads what [`encode`] wrote.
pub(super) fn decode_into(
    tokens: &mut Tokens,
    nodes: &mut Nodes,
    reader: &mut Reader<'_>,
) -> Result<(), DecodeError> {
    for _ in 0..reader.length()? {
        let id = reader.text()?.to_owned();
        let spec = match decode(reader.bytes()?) {
            Ok(Value::Map(map)) => TokenSpec::parse(&map).ok(),
            _ => None,
        };
        let spec = spec.ok_or_else(|| reader.refuse(DecodeReason::NotCanonical))?;
        let is_revoked = reader.flag()?;
        tokens.by_id.insert(id, Token { spec, is_revoked });
    }
    for _ in 0..reader.length()? {
        let node = nodes.find(reader.text()?);
        let token = reader.text()?.to_owned();
        match node.and_then(|ix| nodes.get_mut(ix)) {
            Some(node) => node.token = Some(token),
            None => return Err(reader.refuse(DecodeReason::OutOfRange)),
        }
    }
    Ok(())
}
