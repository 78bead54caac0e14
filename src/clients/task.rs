//! What a load thread does when one of its tasks ends.

use std::panic::resume_unwind;

use tokio::task::JoinError;

/// A task that panicked takes its thread with it: a bug of ours must not pass for a server that says nothing.
pub(super) fn pass_on(ended: Result<(), JoinError>) {
    if let Some(panic) = ended.err().and_then(|error| error.try_into_panic().ok()) {
        resume_unwind(panic);
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use tokio::task::JoinSet;

    use super::*;

    #[tokio::test]
    async fn only_a_panic_is_passed_on() {
        let mut tasks = JoinSet::new();
        tasks.spawn(async {});
        pass_on(tasks.join_next().await.expect("it ends"));
        tasks.spawn(std::future::pending());
        tasks.abort_all();
        pass_on(tasks.join_next().await.expect("it ends"));
        tasks.spawn(async { panic!("a bug") });
        let ended = tasks.join_next().await.expect("it ends");
        let panic = catch_unwind(AssertUnwindSafe(|| pass_on(ended))).expect_err("it goes on");
        assert_eq!(panic.downcast_ref(), Some(&"a bug"));
    }
}
