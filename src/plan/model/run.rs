//! A world with its two controllers, what happened in it, and what may happen next.

use std::rc::Rc;

use super::{
    super::decision::{MigrationStep, Step},
    act::{act, word},
    controller::{Controller, Fate, Request, Sent, creates},
    eyes::{Eyes, History, Reading},
    random::Random,
    reach::{Place, Reached},
    recorder::{Recorder, Who},
    truth::Truth,
    world::{Refused, World},
};
use crate::spec::Declared;

/// Everything of one story.
#[derive(Clone)]
pub struct Run {
    pub world: World,
    pub truth: Truth,
    pub controllers: [Controller; 2],
    pub history: History,
    pub recorder: Recorder,
    pub reached: Reached,
    pub reading: Reading,
    /// Requests that are still under way, each with its controller.
    pub late: Vec<(usize, Rc<Request>)>,
    came_late: usize,
    /// What happened in words, where it is to be told.
    pub story: Option<Vec<String>>,
}

/// What may become of a request, and how often.
pub struct Fates;

impl Fates {
    pub const ALL: &[(usize, Fate)] = &[
        (76, Fate::Done),
        (7, Fate::LostReply),
        (5, Fate::NotDone),
        (4, Fate::Late),
        (5, Fate::CrashAfter),
        (3, Fate::CrashBefore),
    ];
}

impl Run {
    pub fn new(declared: Declared, database: &'static str, reading: Reading, told: bool) -> Self {
        let mut run = Self {
            world: World::new(declared, database),
            truth: Truth::default(),
            controllers: [Controller::default(), Controller::default()],
            history: History::default(),
            recorder: Recorder::new(reading.direct),
            reached: Reached::default(),
            reading,
            late: Vec::new(),
            came_late: 0,
            story: told.then(Vec::new),
        };
        run.happened(Who::People);
        run
    }

    pub fn tell(&mut self, text: impl FnOnce() -> String) {
        if let Some(story) = &mut self.story {
            story.push(text());
        }
    }

    /// The world is another one: it is remembered and recorded.
    pub fn happened(&mut self, who: Who) {
        let claimed = self.world.ledger.as_ref().and_then(|seen| seen.ledger.claimed());
        let vanished = claimed.is_some_and(|(_, entry)| self.world.job(&entry.uid).is_none());
        self.reached.add_if(vanished, Place::Vanished);
        let last = self.history.last();
        if last.is_none_or(|last| last.version != self.world.version || last.clock != self.world.clock) {
            self.history.push(&self.world);
        }
        if let Some(now) = self.history.last() {
            self.recorder.record(now, &mut self.truth, who, None);
        }
    }

    /// A controller looks, freshly where nothing else is said.
    pub fn look(&mut self, which: usize, drawn: Option<(usize, &mut Random)>) {
        let since = self.controllers[which].since;
        let eyes = match drawn {
            Some((oldest, random)) => Eyes::drawn(&self.history, (oldest, since), self.reading, random),
            None => Eyes::fresh(&self.history, self.reading),
        };
        let decision = self.controllers[which].look(&eyes);
        if let Some(decision) = &decision {
            self.reached.decided(decision);
            let gated = decision
                .steps
                .iter()
                .any(|step| matches!(step, Step::Apply { .. } | Step::Migrate(_)));
            self.reached.add_if(gated && eyes.is_stale(), Place::StaleGate);
            let asks = decision.steps.contains(&Step::AskRegistry);
            self.reached.add_if(asks, Place::Asked);
        }
        self.tell(|| match decision {
            Some(decision) => format!("controller {which}: sees {}", decision.report.message),
            None => format!("controller {which}: looks again"),
        });
    }

    /// A controller sends its next request.
    pub fn send(&mut self, which: usize, fate: Fate) {
        if self.story.is_some()
            && let Some(step) = self.controllers[which].next()
        {
            let text = format!("controller {which}: {} ({fate:?})", word(step));
            self.tell(|| text);
        }
        let now = self.history.len();
        let mut controller = std::mem::take(&mut self.controllers[which]);
        let sent = controller.send(fate, &mut self.world, now);
        self.controllers[which] = controller;
        match sent {
            Sent::Nothing | Sent::Lost => {}
            Sent::Late(request) => self.late.push((which, request)),
            Sent::Arrived(request, refused) => {
                self.arrived(Who::Controller(which), &request, refused);
                let lost = refused.is_none() && fate == Fate::LostReply;
                self.reached
                    .add_if(lost && creates(&request.step), Place::LostCreate);
            }
        }
        if matches!(fate, Fate::CrashAfter | Fate::CrashBefore) {
            self.reached
                .add_if(self.claimed_and_never_resumed(), Place::CrashAfterClaim);
        }
        // A look begins after what the same process did before; the world is remembered as it is then.
        self.controllers[which].since = self.history.len() + 1;
    }

    /// One of the requests that are still under way arrives, or is lost; whether there was any.
    pub fn arrive(&mut self, random: &mut Random) -> bool {
        if self.late.is_empty() {
            return false;
        }
        let (which, request) = self.late.remove(random.below(self.late.len()));
        if random.percent(30) {
            return true;
        }
        self.tell(|| format!("controller {which}, late: {}", word(&request.step)));
        let refused = act(&mut self.world, &request).err();
        self.reached.add(Place::Late);
        self.reached.add_if(refused.is_some(), Place::LateRefused);
        self.came_late += 1;
        self.arrived(Who::Late(which, self.came_late), &request, refused);
        true
    }

    fn arrived(&mut self, who: Who, request: &Request, refused: Option<Refused>) {
        if let Some(refused) = refused {
            self.recorder.refused(&self.world, who, request, refused);
            self.tell(|| format!("refused: {refused:?}"));
            return;
        }
        match &request.step {
            Step::CreateRevision(draft) => {
                if let Some(migration) = &draft.migration {
                    let (key, database) = (migration.key.clone(), migration.database.clone());
                    self.truth.databases.insert(key, database);
                }
            }
            Step::Migrate(MigrationStep::Resume { uid, .. }) => {
                self.truth.resumed.insert(uid.clone());
            }
            _ => {}
        }
        self.reached.done(&request.step);
        let now = Rc::new(self.world.clone());
        self.recorder.record(&now, &mut self.truth, who, Some(request));
    }

    pub fn crash(&mut self, which: usize) {
        self.reached
            .add_if(self.claimed_and_never_resumed(), Place::CrashAfterClaim);
        let now = self.history.len();
        self.controllers[which].crash(now);
        self.tell(|| format!("controller {which}: crashes"));
    }

    /// A claim whose Job has never been resumed.
    fn claimed_and_never_resumed(&self) -> bool {
        let claimed = self.world.ledger.as_ref().and_then(|seen| seen.ledger.claimed());
        claimed.is_some_and(|(_, entry)| !self.truth.resumed.contains(&entry.uid))
    }
}
