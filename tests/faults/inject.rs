//! Faults, by rule: which requests, from the n-th on and how many, and what befalls them.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use rand::rngs::StdRng;

use super::api::{Answer, Request, Server, Verb};

/// What befalls a request.
#[derive(Clone)]
pub enum Fault {
    /// It is answered so, and not done.
    Answer(Answer),
    /// It is done, and answered so.
    DoneBut(Answer),
    /// The connection is cut before it arrives.
    Cut,
    /// It is done, and the connection is cut before the answer.
    LostReply,
    /// Nothing is ever answered, and nothing done.
    Silence,
    /// It is done, and nothing is ever answered.
    DoneInSilence,
    /// It takes any time up to so long.
    Jitter(Arc<Mutex<StdRng>>, Duration),
    /// It arrives so much later, whoever may have given up on it.
    Late(Duration),
    /// Of a read: it is answered as the server would have answered at this version.
    AsOf(u64),
    /// Of a watch: its connection is cut after so long.
    BreaksAfter(Duration),
    /// Somebody else is quicker.
    First(Arc<dyn Fn(&Server, &Request) + Send + Sync>),
}

type Matches = Box<dyn Fn(&Request) -> bool + Send + Sync>;

/// Which requests suffer what.
pub struct Rule {
    matches: Matches,
    fault: Fault,
    from: usize,
    times: usize,
}

#[derive(Default)]
struct Counts {
    seen: AtomicUsize,
    hits: AtomicUsize,
    lifted: AtomicBool,
}

/// A rule that is in force until it is lifted.
#[derive(Clone)]
pub struct Injected(Arc<Counts>);

impl Rule {
    /// Every request of Slipway that fits.
    pub fn on(matches: impl Fn(&Request) -> bool + Send + Sync + 'static, fault: Fault) -> Self {
        Self {
            matches: Box::new(move |request| request.is_slipway() && matches(request)),
            fault,
            from: 1,
            times: usize::MAX,
        }
    }

    /// Only the n-th of them, counted from 1.
    pub fn nth(mut self, n: usize) -> Self {
        (self.from, self.times) = (n, 1);
        self
    }

    /// At most so many.
    pub fn times(mut self, times: usize) -> Self {
        self.times = times;
        self
    }
}

impl Injected {
    /// How many requests suffered.
    pub fn hits(&self) -> usize {
        self.0.hits.load(Ordering::SeqCst)
    }

    pub fn lift(&self) {
        self.0.lifted.store(true, Ordering::SeqCst);
    }
}

/// All rules; the first that fits counts.
#[derive(Default)]
pub struct Rules(Vec<(Rule, Arc<Counts>)>);

impl Rules {
    pub fn add(&mut self, rule: Rule) -> Injected {
        let counts: Arc<Counts> = Arc::default();
        self.0.push((rule, Arc::clone(&counts)));
        Injected(counts)
    }

    /// Before all others.
    pub fn add_first(&mut self, rule: Rule) -> Injected {
        let injected = self.add(rule);
        self.0.rotate_right(1);
        injected
    }

    pub fn meet(&mut self, request: &Request) -> Option<Fault> {
        self.0.retain(|(_, counts)| !counts.lifted.load(Ordering::SeqCst));
        for (rule, counts) in &self.0 {
            if !(rule.matches)(request) {
                continue;
            }
            let number = counts.seen.fetch_add(1, Ordering::SeqCst) + 1;
            if number >= rule.from && number - rule.from < rule.times {
                counts.hits.fetch_add(1, Ordering::SeqCst);
                return Some(rule.fault.clone());
            }
        }
        None
    }
}

/// Every request.
pub fn any(_: &Request) -> bool {
    true
}

/// Requests that would change something: of status, events and dry runs, too; the lease of the controller is not the story.
pub fn writes(request: &Request) -> bool {
    // A create has its name in its body.
    let names = [
        &request.name,
        request.body["metadata"]["name"].as_str().unwrap_or(""),
    ];
    request.mutates() && !(request.is_of("Lease") && names.contains(&"slipway-controller"))
}

/// Reads that are no watches.
pub fn reads(request: &Request) -> bool {
    matches!(request.verb, Verb::Get | Verb::List)
}

pub fn watches(request: &Request) -> bool {
    request.verb == Verb::Watch
}
