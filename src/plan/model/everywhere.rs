//! A small scope, searched to its end: every order in which two controllers, their crashes, Kubernetes and commits can
//! follow each other.
//!
//! States that differ in nothing but names are one: UIDs, resourceVersions and pods are named anew in the order in which
//! they stand in the text of a state, and the two controllers, which run the same code, are put in the order of their
//! texts. No time passes, so that what a controller remembers beside its pass (clocks of stages) has no influence, and a
//! crash is the loss of the pass: a reply that is lost, a request that is not done, and a process that is started anew are
//! one and the same. It may happen at any time and any number of times: to count them would make more states, and no more
//! orders.
//!
//! The first version is live at the beginning.
//!
//! A step is judged by every predicate with all that they have seen on the way by which its state was found first. That is
//! enough where what they have seen is a function of the state, and it is: what was written last by whom does not matter
//! under one name or the other, which Jobs were let run, where their containers ran and how they ended is part of the state
//! here, and entries of the ledger and revisions are never dropped in so few versions.

use std::collections::{BTreeMap, HashMap};

mod name;

use super::{
    super::fixtures::DATABASE,
    act::word,
    cluster::{self, Event},
    controller::{Controller, Fate},
    eyes::{History, Reading},
    outside,
    random::Random,
    recorder::Who,
    run::Run,
};
use crate::{
    api::Duration,
    spec::Declared,
    trace::{Court, event::Fact},
};

/// What is searched.
#[derive(Debug, Clone, Copy)]
pub struct Scope {
    /// Versions; from the second on they are committed one after the other, at any time. The third crashes when it is rolled
    /// out.
    pub versions: u32,
    /// How many times somebody deletes a Job, or a pod of one.
    pub hands: usize,
    /// Whether a quota or a node may be in the way of a pod for a while.
    pub hindered: bool,
}

/// What was found.
#[derive(Debug, Default)]
pub struct Found {
    pub states: usize,
    pub steps: usize,
    /// The states in which nothing is left to do, by the phase that is reported.
    pub ends: BTreeMap<String, usize>,
    /// The longest way.
    pub depth: usize,
    /// Steps that were judged, by invariant.
    pub judged: crate::trace::Coverage,
}

/// A state, and what has been judged on the way to it.
#[derive(Clone)]
struct Node {
    run: Run,
    court: Court,
    committed: u32,
    hands: usize,
}

/// A step from one state to another.
enum Move {
    Look(usize),
    Send(usize),
    Crash(usize),
    Cluster(Event),
    Commit,
    DeleteJob(usize),
    DeletePod(usize),
}

/// A state whose successors are being gone through.
struct Frame {
    at: usize,
    after: Vec<(String, Node)>,
}

/// Searches a scope.
pub fn search(scope: Scope) -> Found {
    let mut found = Found::default();
    let mut known: HashMap<u128, usize> = HashMap::new();
    // From where each state was reached, for the question whether all can come to rest.
    let mut before: Vec<Vec<u32>> = Vec::new();
    let mut at_rest: Vec<usize> = Vec::new();
    let first = Node::new(scope);
    known.insert(first.name(), 0);
    before.push(Vec::new());
    let mut way: Vec<String> = vec!["the beginning".into()];
    let mut stack = vec![first.opened(scope, &way, 0, &mut found, &mut at_rest)];
    while let Some(frame) = stack.last_mut() {
        let Some((told, node)) = frame.after.pop() else {
            stack.pop();
            way.pop();
            continue;
        };
        found.steps += 1;
        if found.steps.is_multiple_of(200_000) {
            say(&format!("model: {} states, {} steps\n", known.len(), found.steps));
        }
        let from = frame.at;
        let next = known.len();
        let to = *known.entry(node.name()).or_insert(next);
        if to == next {
            before.push(Vec::new());
        }
        before[to].push(u32::try_from(from).unwrap());
        way.push(told);
        if let Some(violation) = node.court.violations().first() {
            panic!("{violation}\n{}", way.join("\n"));
        }
        if to == next {
            found.depth = found.depth.max(way.len());
            let frame = node.opened(scope, &way, to, &mut found, &mut at_rest);
            stack.push(frame);
        } else {
            way.pop();
        }
    }
    found.states = known.len();
    let mut calm = vec![false; known.len()];
    while let Some(state) = at_rest.pop() {
        if !std::mem::replace(&mut calm[state], true) {
            at_rest.extend(before[state].iter().map(|from| *from as usize));
        }
    }
    let restless = calm.iter().filter(|calm| !**calm).count();
    assert!(restless == 0, "{restless} states never come to rest");
    found
}

fn declared(version: u32) -> Declared {
    let mut declared = outside::declared(version);
    declared.verify_window = Duration::from_secs(0);
    declared
}

impl Node {
    fn new(scope: Scope) -> Self {
        let reading = Reading {
            direct: true,
            start_time_only: false,
        };
        let mut run = Run::new(declared(1), DATABASE, reading, false);
        run.world.change_outside(|outside| outside.generate(0));
        run.happened(Who::Cluster);
        let mut node = Self {
            court: Court::new(&run.recorder.trace),
            run,
            committed: 1,
            hands: scope.hands,
        };
        node.judge();
        // The first version goes out as if there were nobody else.
        let alone = Scope {
            versions: 1,
            hands: 0,
            hindered: false,
        };
        let well = |next: &Move| matches!(next, Move::Look(0) | Move::Send(0) | Move::Cluster(_));
        while let Some(told) = node
            .moves(alone)
            .iter()
            .filter(|next| well(next))
            .find_map(|next| node.make(next, &mut Random::first()))
        {
            assert!(!told.is_empty());
            node.judge();
        }
        node
    }

    /// What happened is judged, and let go of.
    fn judge(&mut self) {
        self.run.history = History::only(&self.run.world);
        let events = std::mem::take(&mut self.run.recorder.trace.events);
        for event in &events {
            self.court.take(&self.run.recorder.trace, event);
        }
        self.run.controllers.iter_mut().for_each(Controller::forget);
    }

    /// With all that can follow; where that is nothing it has come to rest.
    fn opened(
        mut self,
        scope: Scope,
        way: &[String],
        at: usize,
        found: &mut Found,
        at_rest: &mut Vec<usize>,
    ) -> Frame {
        let after = self.after(scope);
        if after.is_empty() {
            at_rest.push(at);
            let end = self.end(way);
            *found.ends.entry(end).or_default() += 1;
            let verdict = self.court.clone().end(&self.run.recorder.trace);
            if let Some(violation) = verdict.violations.first() {
                panic!("{violation}\n{}", way.join("\n"));
            }
            found.judged.add(&verdict.coverage);
        }
        Frame { at, after }
    }

    /// What is said at the end.
    fn end(&mut self, way: &[String]) -> String {
        for which in 0..2 {
            self.run.look(which, None);
            let report = self.run.controllers[which].last.take();
            let Some(report) = report else {
                panic!("nothing is said\n{}", way.join("\n"))
            };
            let world = &self.run.world;
            self.run.recorder.status(world, Who::Controller(which), &report);
            if which == 1 {
                let phase = super::controller::phase_word(&report.phase);
                let version = report.live_version.unwrap_or_default();
                self.run.recorder.fact(&self.run.world, Fact::Rest);
                self.judge();
                return format!("{phase} {version}");
            }
        }
        String::new()
    }

    fn moves(&self, scope: Scope) -> Vec<Move> {
        let mut moves = Vec::new();
        let idle = |which: usize| self.run.controllers[which].pass.is_none();
        for which in 0..2 {
            if !idle(which) {
                moves.push(Move::Send(which));
                moves.push(Move::Crash(which));
            } else if which == 0 || !idle(0) {
                // Of two that have nothing in hand it does not matter which one looks.
                moves.push(Move::Look(which));
            }
        }
        moves.extend(cluster::possible(&self.run.world).into_iter().map(Move::Cluster));
        if self.committed < scope.versions {
            moves.push(Move::Commit);
        }
        if self.hands > 0 {
            let world = &self.run.world;
            moves.extend((0..world.jobs.len()).map(Move::DeleteJob));
            let running = world.pods.iter().filter(|pod| !pod.deleting);
            moves.extend(running.map(|pod| Move::DeletePod(pod.number)));
        }
        moves
    }

    /// All that can follow.
    fn after(&self, scope: Scope) -> Vec<(String, Self)> {
        let mut after = Vec::new();
        for next in self.moves(scope) {
            let mut take = |random: &mut Random| {
                let mut node = self.clone();
                if let Some(told) = node.make(&next, random) {
                    node.judge();
                    after.push((told, node));
                }
            };
            if scope.hindered || !matches!(next, Move::Cluster(Event::Sync(_) | Event::Start(_))) {
                Random::each(take);
            } else {
                take(&mut Random::first());
            }
        }
        after
    }

    /// One move in words; `None` where it changes nothing.
    fn make(&mut self, next: &Move, random: &mut Random) -> Option<String> {
        let run = &mut self.run;
        match next {
            Move::Look(which) => {
                run.look(*which, None);
                let controller = &run.controllers[*which];
                controller.pass.as_ref()?;
                let said = controller.last.as_ref().map(|report| report.message.clone());
                said.map(|said| format!("controller {which} sees: {said}"))
            }
            Move::Send(which) => {
                let told = run.controllers[*which].next().map(word)?;
                run.send(*which, Fate::Done);
                run.happened(Who::Cluster);
                Some(format!("controller {which}: {told}"))
            }
            Move::Crash(which) => {
                run.controllers[*which] = Controller::default();
                Some(format!("controller {which} crashes"))
            }
            Move::Cluster(event) => {
                cluster::happen(&mut run.world, &mut run.truth, random, event);
                run.happened(Who::Cluster);
                Some(format!("cluster: {event:?}"))
            }
            Move::Commit => {
                self.committed += 1;
                run.world.bump();
                run.world.generation += 1;
                run.world.declared = std::rc::Rc::new(declared(self.committed));
                run.happened(Who::People);
                Some(format!("version {} is committed", self.committed))
            }
            Move::DeleteJob(at) => {
                let uid = run.world.jobs.get(*at)?.uid.clone();
                run.world.jobs.remove(*at);
                run.world.delete_pods_of(&uid);
                run.world.collect();
                self.hands -= 1;
                run.happened(Who::People);
                Some(format!("Job {uid} is deleted by hand"))
            }
            Move::DeletePod(number) => {
                run.world.change_pod(*number, |pod| pod.deleting = true);
                run.world.collect();
                self.hands -= 1;
                run.happened(Who::People);
                Some(format!("pod {number} is deleted by hand"))
            }
        }
    }
}

fn say(report: &str) {
    std::io::Write::write_all(&mut std::io::stderr(), report.as_bytes()).unwrap();
}

#[cfg(test)]
mod tests;
