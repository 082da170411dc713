//! What both programs do as processes of an operating system: they end on a signal, read the fields of their log events, and say
//! what they cost. Not part of the contract, and off unless the feature `process` is asked for.

mod fields;
mod figures;
mod signals;

pub use fields::Fields;
pub use figures::Figures;
pub use signals::{Shutdown, until_signalled};
