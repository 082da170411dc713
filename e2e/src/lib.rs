//! Weir on real parts.
