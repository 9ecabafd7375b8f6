//! What keeps one pass from taking the loop down with it: a deadline, and panics caught.

use std::{any::Any, panic::AssertUnwindSafe, time::Duration};

use futures::FutureExt as _;
use kube::{Resource, runtime::reflector::Store};

use crate::server::Gate;

/// A pass that did not come to its end.
#[derive(Debug, thiserror::Error)]
pub enum Stopped {
    /// A mistake of Slipway; the others go on.
    #[error("the pass panicked: {0}")]
    Panicked(String),
    /// Something blocked beyond its own deadline.
    #[error("the pass took longer than {} s", .0.as_secs())]
    TooLong(Duration),
}

/// Runs a pass with a deadline, its panics caught: one poisonous object must not end the loop for the others.
pub async fn bounded<T>(deadline: Duration, pass: impl Future<Output = T>) -> Result<T, Stopped> {
    let pass = AssertUnwindSafe(pass).catch_unwind();
    match tokio::time::timeout(deadline, pass).await {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(panic)) => Err(Stopped::Panicked(words(panic.as_ref()))),
        Err(_) => Err(Stopped::TooLong(deadline)),
    }
}

fn words(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "without words".to_owned())
}

/// Runs a loop, and opens the gate once its first list has come.
pub async fn opening<K>(gate: Gate, store: &Store<K>, passes: impl Future<Output = ()>)
where
    K: Resource<DynamicType = ()> + Clone + 'static,
{
    tokio::pin!(passes);
    tokio::select! {
        () = &mut passes => return,
        ready = store.wait_until_ready() => if ready.is_ok() { gate.open() },
    }
    passes.await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_and_an_endless_pass_are_errors_of_that_pass_alone() {
        let long = Duration::from_secs(60);
        assert_eq!(bounded(long, async { 1 }).await.unwrap(), 1);
        let panicked = bounded(long, async { panic!("index {}", 7) }).await;
        assert!(matches!(panicked, Err(Stopped::Panicked(words)) if words == "index 7"));
        let endless = bounded(Duration::from_millis(1), std::future::pending::<()>()).await;
        assert!(matches!(endless, Err(Stopped::TooLong(_))));
    }
}
