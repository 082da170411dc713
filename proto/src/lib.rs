//! The contract of Weir.
