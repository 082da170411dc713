//! A test can end the process at any step of publishing, or list the steps.

use std::cell::RefCell;

/// The environment variable that names the step at which the process is to end at once.
pub(super) const END_AT: &str = "WEIR_TEST_END_AT";

thread_local! {
    static STEPS: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

pub(super) fn step(name: &str) {
    if std::env::var(END_AT).is_ok_and(|end| end == name) {
        std::process::abort();
    }
    STEPS.with(|steps| steps.borrow_mut().push(name.to_owned()));
}

/// The steps of this thread so far.
pub(super) fn taken() -> Vec<String> {
    STEPS.with(|steps| steps.borrow().clone())
}
