//! `slipway build processes`: how many processes a pod may have. The kubelet bounds them by the cgroup of the pod, which no
//! container sees (<https://kubernetes.io/docs/concepts/policy/pid-limiting/>), so it is tried. To the kernel a thread is one of
//! them, and costs a few KiB.

use std::{
    sync::{Arc, Mutex, PoisonError},
    thread,
};

use crate::build::message::Message;

/// More than any build needs: where so many are let run, nothing that helps bounds them.
const MOST: u32 = 8192;
/// Of threads that do nothing but wait. Little of it is touched, but what libraries keep for each thread lies in it, too.
const STACK: usize = 128 << 10;

pub(super) fn run() -> Message {
    let gate = Arc::new(Mutex::new(()));
    let closed = gate.lock().unwrap_or_else(PoisonError::into_inner);
    let mut threads = Vec::new();
    let mut bounded = false;
    // This one counts, too.
    let mut count = 1;
    while count < MOST {
        let gate = Arc::clone(&gate);
        let waits = move || drop(gate.lock().unwrap_or_else(PoisonError::into_inner));
        let Ok(one) = thread::Builder::new().stack_size(STACK).spawn(waits) else {
            bounded = true;
            break;
        };
        threads.push(one);
        count += 1;
    }
    drop(closed);
    for one in threads {
        // It has nothing to tell.
        let _ = one.join();
    }
    Message::Processes { count, bounded }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_run_as_are_let_run_and_all_of_them_end() {
        let Message::Processes { count, bounded } = run() else {
            panic!("it counts")
        };
        assert!(count > 100 && (bounded || count == MOST), "{count}");
    }
}
