//! Weir on real parts: an embedded control plane, Flux's controllers, a git
//! server and both Weir processes, for end-to-end tests, the playground and
//! the benchmark.
//!
//! Nothing here is a mock. The parts are built once from Go modules
//! ([`tools`]), started on free loopback ports ([`process`]), and end with the
//! process that started them, whatever ends it ([`guard`]).
//!
//! A test takes a [`scene::Scene`]: its own namespace on the shared
//! [`stage::Stage`]. It waits with [`eventually::eventually`], never with a
//! bare sleep.

pub mod bench;
pub mod certificates;
pub mod conformance;
pub mod control_plane;
pub mod eventually;
pub mod fetch;
pub mod flux;
pub mod git_server;
pub mod guard;
pub mod manifest;
pub mod oracle;
pub mod peer;
pub mod playground;
pub mod port;
pub mod process;
pub mod progress;
pub mod receiver;
pub mod resources;
pub mod run_dir;
pub mod scene;
pub mod source_watcher;
pub mod stage;
pub mod tools;
pub mod trial;
pub mod weir;
