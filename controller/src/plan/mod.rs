//! Decisions without I/O: what is wrong with a spec, what has drifted, what to publish, which conditions follow, when to come
//! back. Nothing here knows a client, a clock or a file; the reconcile half hands in what it saw and carries out the answer.
//!
//! Rows of the tests name their rule by section (`§8.2`), as docs/differences.md does.

pub mod commit;
pub mod conditions;
pub mod depends;
pub mod drift;
pub mod election;
pub mod fight;
pub mod guard;
pub mod inventory;
pub mod observe;
pub mod output;
pub mod pattern;
pub mod requeue;
pub mod sources;
pub mod stored;
pub mod trigger;
pub mod validate;
pub mod wanted;
