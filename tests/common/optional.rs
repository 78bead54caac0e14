//! Tests that need more than Rust: where their means are missing they are shown as SKIPPED, never as ok.
//!
//! The standard harness cannot say at run time that a test was not run, so these bring their own. An environment
//! variable turns SKIPPED into a failure, for machines that are meant to have the means.

use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};

/// A test by name.
pub(crate) type Test = (&'static str, fn());

/// Runs tests one after the other if their means are there.
pub(crate) fn run(tests: &[Test], means: &Result<(), String>, required_by: &'static str) -> ExitCode {
    let mut arguments = Arguments::from_args();
    arguments.test_threads = Some(1);
    let required = std::env::var_os(required_by).is_some_and(|value| !value.is_empty());
    let trials = tests.iter().map(|&(name, test)| match means {
        Ok(()) => Trial::test(name, move || {
            test();
            Ok(())
        }),
        Err(missing) if required => {
            let missing = format!("{missing}, and {required_by} is set");
            Trial::test(name, move || Err(missing.into()))
        }
        Err(missing) => {
            let missing_again = missing.clone();
            Trial::test(name, move || Err(missing_again.into()))
                .with_kind(format!("SKIPPED: {missing}"))
                .with_ignored_flag(true)
        }
    });
    libtest_mimic::run(&arguments, trials.collect()).exit_code()
}
