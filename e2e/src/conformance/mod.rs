//! One conformance suite for clients in every language: cases as data, and what they run on.
//!
//! The cases and their format are in `e2e/conformance`. A runner is a program that is told a [`setup::Setup`] and tells an
//! [`setup::Outcome`] for each case. Here is the one in [`rust`], and the [`stand`] that all of them run on.

pub mod case;
mod control;
mod fixtures;
mod identities;
pub mod judge;
pub mod matching;
pub mod program;
pub mod rust;
pub mod setup;
pub mod stand;
mod strays;
