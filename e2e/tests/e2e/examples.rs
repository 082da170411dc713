//! The example controllers below `examples/`, each against a real artifact server and with a real consumer.

mod go;

pub(crate) use go::{configmaps_in_go, configmaps_in_go_share};
