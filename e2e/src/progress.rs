//! One place that talks to the person waiting at the terminal.

/// Prints one line of progress on standard error.
#[expect(clippy::print_stderr, reason = "progress for a person is what this is for")]
pub fn say(line: impl std::fmt::Display) {
    eprintln!("{line}");
}

/// Prints one line of result on standard output.
#[expect(clippy::print_stdout, reason = "results of the playground and the benchmark")]
pub fn tell(line: impl std::fmt::Display) {
    println!("{line}");
}
