//! The example controllers below `examples/`, each against a real artifact server and with a real consumer.

mod go;
mod python;

pub(crate) use go::{configmaps_in_go, configmaps_in_go_share};
pub(crate) use python::{
    python_publishes_a_directory_as_long_as_it_is_wanted, python_stays_below_the_url,
    python_stores_again_what_the_server_lost,
};
