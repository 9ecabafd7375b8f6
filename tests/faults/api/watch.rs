//! Watches: each change to everybody who asked for it, in order and once.

use std::{sync::Arc, time::Duration};

use axum::body::{Body, Bytes};
use futures::Stream;
use serde_json::{Value, json};
use tokio::{
    sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

use super::{
    answer,
    object::Object,
    resources::Resource,
    select::Selector,
    store::{Change, Request},
};

/// Between two bookmarks.
const BOOKMARK: Duration = Duration::from_secs(60);

/// Everybody who watches.
#[derive(Default)]
pub struct Watchers {
    all: Vec<Watcher>,
    /// Whether everything is kept back for now.
    held: bool,
}

struct Watcher {
    /// Nothing up to this version is told any more.
    after: u64,
    resource: &'static Resource,
    namespace: String,
    selector: Selector,
    metadata_only: bool,
    sender: UnboundedSender<String>,
    held: Vec<String>,
    cut: CancellationToken,
}

/// The end of a watch that its client reads.
pub struct Feed {
    lines: UnboundedReceiver<String>,
    cut: CancellationToken,
    /// When the server ends it, and when it breaks instead.
    end: Instant,
    breaks: Option<Instant>,
    mark: Instant,
    resource: &'static Resource,
    /// Up to where everything was told; `None` while something is kept back.
    told: Box<dyn Fn() -> Option<u64> + Send>,
}

fn line(type_: &str, object: &str) -> String {
    format!("{{\"type\":\"{type_}\",\"object\":{object}}}\n")
}

impl Watcher {
    /// What a change is for this watcher: an object may come into what it asked for, and leave it.
    fn line(&self, change: &Change) -> Option<String> {
        if change.version <= self.after
            || !std::ptr::eq(change.key.resource, self.resource)
            || !(self.namespace.is_empty() || self.namespace == change.key.namespace)
        {
            return None;
        }
        let holds =
            |object: &Option<Arc<Object>>| object.as_ref().is_some_and(|object| self.selector.holds(object));
        let type_ = match (holds(&change.before), holds(&change.after)) {
            (false, true) => "ADDED",
            (true, true) => "MODIFIED",
            (true, false) => "DELETED",
            (false, false) => return None,
        };
        Some(line(type_, change.last.text(self.metadata_only)))
    }

    /// `false` when nobody reads any more.
    fn send(&mut self, line: String, held: bool) -> bool {
        if held {
            self.held.push(line);
            return true;
        }
        self.sender.send(line).is_ok()
    }
}

impl Watchers {
    pub fn tell(&mut self, change: &Change) {
        let held = self.held;
        self.all.retain_mut(|watcher| match watcher.line(change) {
            Some(line) => watcher.send(line, held),
            None => !watcher.sender.is_closed(),
        });
    }

    /// Whether everything is kept back for now.
    pub fn holds_back(&self) -> bool {
        self.held
    }

    /// Keeps everything back, as a connection does that is open and silent.
    pub fn hold(&mut self) {
        self.held = true;
    }

    /// Lets it come, late and in order.
    pub fn release(&mut self) {
        self.held = false;
        self.all.retain_mut(|watcher| {
            let held = std::mem::take(&mut watcher.held);
            held.into_iter().all(|line| watcher.sender.send(line).is_ok())
        });
    }

    /// Cuts every connection; what was kept back is lost.
    pub fn cut(&mut self) {
        for watcher in self.all.drain(..) {
            watcher.cut.cancel();
        }
        self.held = false;
    }

    /// Ends the watches of some resources.
    pub fn end_of(&mut self, of: impl Fn(&Resource) -> bool) {
        self.all.retain(|watcher| !of(watcher.resource));
    }

    pub fn count(&self) -> usize {
        self.all
            .iter()
            .filter(|watcher| !watcher.sender.is_closed())
            .count()
    }

    /// A new one, of what comes after a version. `before` are the changes that it has missed, or nothing is known of them any
    /// more.
    pub fn add<'a>(
        &mut self,
        request: &Request,
        after: u64,
        before: Option<impl Iterator<Item = &'a Change>>,
        breaks: Option<Duration>,
        told: Box<dyn Fn() -> Option<u64> + Send>,
    ) -> Feed {
        let (sender, lines) = unbounded_channel();
        let cut = CancellationToken::new();
        let mut watcher = Watcher {
            after,
            resource: request.resource,
            namespace: request.namespace.clone(),
            selector: request.selector(),
            metadata_only: request.metadata_only,
            sender,
            held: Vec::new(),
            cut: cut.clone(),
        };
        match before {
            Some(changes) => {
                for line in changes
                    .filter_map(|change| watcher.line(change))
                    .collect::<Vec<_>>()
                {
                    watcher.send(line, self.held);
                }
                self.all.push(watcher);
            }
            None => {
                let gone = answer::status(
                    410,
                    "Expired",
                    "The resourceVersion for the provided watch is too old.",
                    Value::Null,
                );
                // Its sender is dropped: nothing follows.
                let _ = watcher.sender.send(line("ERROR", &gone.object().to_string()));
            }
        }
        let now = Instant::now();
        let seconds = request
            .query
            .get("timeoutSeconds")
            .and_then(|text| text.parse().ok());
        Feed {
            lines,
            cut,
            end: now + Duration::from_secs(seconds.unwrap_or(300)),
            breaks: breaks.map(|after| now + after),
            mark: now + BOOKMARK,
            resource: request.resource,
            told,
        }
    }
}

impl Feed {
    pub fn into_body(self) -> Body {
        Body::from_stream(self.stream())
    }

    fn stream(self) -> impl Stream<Item = Result<Bytes, std::io::Error>> {
        futures::stream::unfold(Some(self), |feed| async move {
            let mut feed = feed?;
            loop {
                let breaks = feed.breaks.unwrap_or(feed.end + Duration::from_secs(1));
                tokio::select! {
                    biased;
                    () = feed.cut.cancelled() => return Some((Err(reset()), None)),
                    line = feed.lines.recv() => {
                        let line = line?;
                        return Some((Ok(Bytes::from(line)), Some(feed)));
                    }
                    () = tokio::time::sleep_until(breaks) => return Some((Err(reset()), None)),
                    () = tokio::time::sleep_until(feed.end) => return None,
                    () = tokio::time::sleep_until(feed.mark) => {
                        feed.mark += BOOKMARK;
                        if let Some(version) = (feed.told)() {
                            return Some((Ok(Bytes::from(bookmark(feed.resource, version))), Some(feed)));
                        }
                    }
                }
            }
        })
    }
}

/// Says up to where everything was told.
fn bookmark(resource: &Resource, version: u64) -> String {
    let mark = json!({
        "kind": resource.kind, "apiVersion": resource.api_version(),
        "metadata": { "resourceVersion": version.to_string() },
    });
    line("BOOKMARK", &mark.to_string())
}

fn reset() -> std::io::Error {
    std::io::Error::new(std::io::ErrorKind::ConnectionReset, "connection reset by peer")
}
