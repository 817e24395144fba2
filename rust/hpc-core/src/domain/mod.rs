//! The universal domain schema: what every namespace's events have in common.
//!
//! | file         | what it defines                                                       |
//! |--------------|-----------------------------------------------------------------------|
//! | `json`       | values, canonical text; `json_decode` reads them with limits          |
//! | `ids`        | which names are allowed                                               |
//! | `problem`    | refusals as problem documents (RFC 9457)                              |
//! | `event`      | batches, events, ctx, the kinds that the kernel understands           |
//! | `namespace`  | NamespaceSpec: kinds, their fields, resources                         |
//! | `field`      | what a value must be                                                  |
//! | `generator`  | GeneratorSpec: rules as data                                          |
//! | `expression` | what rules and resources read from an event                           |
//! | `reader`     | the fields of one JSON object, with errors                            |
//! | `control`    | requests that register them                                           |
//! | `access`     | roles, what each may send, and tokens                                 |
//! | `facts`      | tables of cells with an index by last change                          |
//! | `index`      | from the hash of a key to its row                                     |
//! | `texts`      | texts that many speak of, each once                                   |
//! | `alike`      | texts that are mostly alike, each as what it differs in               |
//! | `batch_text` | the canonical text of a batch as it was sent                          |
//! | `entry`      | one batch of the log: its canonical body and its place in the chain   |

pub mod access;
pub mod alike;
pub mod batch_text;
pub mod control;
pub mod entry;
pub mod event;
pub mod expression;
pub mod facts;
pub mod field;
pub mod generator;
pub mod ids;
pub mod index;
pub mod json;
mod json_decode;
pub mod json_write;
pub mod msgpack;
pub mod namespace;
pub mod problem;
pub mod reader;
pub mod texts;
