//! `slipway status`: one line per release, problems first.

use std::{io::IsTerminal as _, pin::pin, time::Duration};

use futures::{
    StreamExt as _,
    stream::{self, BoxStream},
};
use jiff::Timestamp;
use kube::{
    Resource,
    api::{ApiResource, DynamicObject},
    core::object::HasStatus,
    runtime::{
        WatchStreamExt as _,
        reflector::{Store, store::Writer},
        watcher,
    },
};
use serde::de::DeserializeOwned;

use super::reach::{self, Cluster, Format, Reach, or_say, pretty, print, told};
use crate::{
    api::{Release, ReleaseSource},
    cluster::custom,
    names::Namespace,
    words::{
        clean,
        status::{self, Seen},
    },
};

/// A burst of changes is one line of news.
const QUIET: Duration = Duration::from_millis(300);
/// How often ages are printed anew on a terminal.
const REFRESH: Duration = Duration::from_secs(15);

/// Arguments of `slipway status`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Sources with problems come first, then releases that need somebody, then those that wait or are on their way.

Examples:
  slipway status -A                      every release of the cluster
  slipway status -n shop -w              those of one namespace, again at each change
  slipway status -A --format json | jq '.releases[] | select(.problem)'")]
pub struct Args {
    /// The namespace to look at; that of the kubeconfig's context when absent.
    #[arg(long, short)]
    pub namespace: Option<Namespace>,
    /// Look at all namespaces.
    #[arg(long, short = 'A', conflicts_with = "namespace")]
    pub all_namespaces: bool,
    /// Stay, and print again at each change.
    #[arg(long, short)]
    pub watch: bool,
    /// How it is printed.
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
    /// Which cluster.
    #[command(flatten)]
    pub reach: Reach,
}

/// Asks and prints.
pub fn run(args: &Args) -> anyhow::Result<()> {
    args.reach.run("list the releases", |cluster| async move {
        let look = Look::new(args, cluster);
        if args.watch {
            look.watch().await
        } else {
            let seen = look.once().await?;
            print(&look.show(&seen)?)
        }
    })
}

struct Look {
    cluster: Cluster,
    /// `None` for all.
    namespace: Option<String>,
    format: Format,
}

impl Look {
    fn new(args: &Args, cluster: Cluster) -> Self {
        let own = args.namespace.as_ref().map(ToString::to_string);
        let namespace = (!args.all_namespaces).then(|| own.unwrap_or_else(|| cluster.namespace.clone()));
        Self {
            cluster,
            namespace,
            format: args.format,
        }
    }

    fn scope(&self) -> String {
        match &self.namespace {
            Some(namespace) => format!("in namespace {namespace} (-A looks at all)"),
            None => "in this cluster".to_owned(),
        }
    }

    fn show(&self, seen: &Seen) -> anyhow::Result<String> {
        match self.format {
            Format::Text => Ok(status::text(seen, &self.scope(), Timestamp::now())),
            Format::Json => pretty(&status::json(seen)),
        }
    }

    async fn once(&self) -> anyhow::Result<Seen> {
        let releases = reach::list(&self.cluster, self.namespace.as_deref()).await;
        let releases = releases.map_err(told)?;
        let mut unread = Vec::new();
        // A person who may see one namespace may still be told of that one.
        let sources = or_say(&mut unread, reach::list(&self.cluster, None).await);
        Ok(Seen {
            releases,
            sources: sources.unwrap_or_default(),
            unread,
        })
    }

    /// Prints at each change, until it is stopped.
    async fn watch(&self) -> anyhow::Result<()> {
        // What cannot be listed at all is said at once and ends the command; a watch would only try for ever.
        let first = self.once().await?;
        print(&self.frame(&first)?)?;
        let mut shown = status::json(&first);
        let (releases, events) = self.events::<Release>(self.namespace.as_deref());
        let (sources, of_sources) = self.events::<ReleaseSource>(None);
        let of_sources = if first.unread.is_empty() {
            of_sources
        } else {
            stream::once(async { Ok(true) }).chain(stream::pending()).boxed()
        };
        let mut events = pin!(stream::select(
            events.map(|event| (0_usize, event)),
            of_sources.map(|event| (1, event)),
        ));
        let terminal = std::io::stdout().is_terminal();
        let mut listed = [false, false];
        loop {
            let pause = if terminal {
                REFRESH
            } else {
                Duration::from_secs(3600)
            };
            let mut next = tokio::time::timeout(pause, events.next()).await;
            while let Ok(Some((which, event))) = next {
                match event {
                    Ok(done) => {
                        if let Some(listed) = listed.get_mut(which) {
                            *listed |= done;
                        }
                    }
                    Err(error) => eprintln!("the watch broke off, and is tried again: {error}"),
                }
                next = tokio::time::timeout(QUIET, events.next()).await;
            }
            if listed != [true, true] {
                continue;
            }
            let seen = Seen {
                releases: whole(&releases),
                sources: whole(&sources),
                unread: first.unread.clone(),
            };
            let news = status::json(&seen);
            if terminal || news != shown {
                print(&self.frame(&seen)?)?;
                shown = news;
            }
        }
    }

    /// What is watched of a kind, and its events: whether the first list is whole. Objects are watched without their
    /// types, so that one that cannot be read does not end the watch.
    fn events<K>(
        &self,
        namespace: Option<&str>,
    ) -> (Store<DynamicObject>, BoxStream<'static, Result<bool, String>>)
    where
        K: Resource<DynamicType = ()>,
    {
        let writer = Writer::new(ApiResource::erase::<K>(&()));
        let store = writer.as_reader();
        let api = custom::untyped::<K>(&self.cluster.clients.watch, namespace);
        let events = watcher(api, watcher::Config::default())
            .default_backoff()
            .reflect(writer)
            .map(|event| {
                event
                    .map(|event| matches!(event, watcher::Event::InitDone))
                    .map_err(|error| sentence(&error))
            });
        (store, events.boxed())
    }

    /// On a terminal the newest takes the place of the one before; elsewhere each has its time.
    fn frame(&self, seen: &Seen) -> anyhow::Result<String> {
        let text = self.show(seen)?;
        Ok(match self.format {
            Format::Text if std::io::stdout().is_terminal() => format!("\u{1b}[H\u{1b}[2J{text}"),
            Format::Text => format!("# {}\n{text}", crate::words::utc(Timestamp::now())),
            Format::Json => text,
        })
    }
}

fn sentence(error: &watcher::Error) -> String {
    clean(&crate::telemetry::chain(error), 500)
}

fn whole<K>(store: &Store<DynamicObject>) -> Vec<K>
where
    K: Resource<DynamicType = ()> + HasStatus + DeserializeOwned + Default,
    K::Status: DeserializeOwned,
{
    let state = store.state();
    state
        .iter()
        .map(|object| reach::readable(object.as_ref().clone()))
        .collect()
}

#[cfg(test)]
mod tests {
    use kube::Config;
    use serde_json::json;
    use wiremock::{
        Mock, MockServer, ResponseTemplate,
        matchers::{path, path_regex},
    };

    use super::*;
    use crate::{cluster::Clients, words::fixtures::release};

    #[tokio::test]
    async fn an_object_that_cannot_be_read_hides_no_other_and_sources_that_may_not_be_read_are_said() {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let server = MockServer::start().await;
        let mut odd = json!(release("odd", "Rejected", "`env.X` must be a text"));
        odd["spec"]["env"] = json!({"X": 5});
        let items = json!([release("good", "Live", "1.9.0 is live (v5)"), odd]);
        let body = json!({
            "apiVersion": "slipway.dev/v1alpha1", "kind": "ReleaseList", "metadata": {"resourceVersion": "1"},
            "items": items,
        });
        Mock::given(path("/apis/slipway.dev/v1alpha1/namespaces/shop/releases"))
            .respond_with(ResponseTemplate::new(200).set_body_json(body))
            .mount(&server)
            .await;
        Mock::given(path_regex(".*"))
            .respond_with(ResponseTemplate::new(403).set_body_json(json!({
                "apiVersion": "v1", "kind": "Status", "status": "Failure", "reason": "Forbidden",
                "message": "no", "code": 403,
            })))
            .with_priority(200)
            .mount(&server)
            .await;
        let clients = Clients::from_config(&Config::new(server.uri().parse().unwrap())).unwrap();
        let look = Look {
            cluster: Cluster {
                clients,
                namespace: "shop".into(),
            },
            namespace: Some("shop".into()),
            format: Format::Text,
        };
        let text = look.show(&look.once().await.unwrap()).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert!(
            lines[0].starts_with("shop/odd") && lines[0].contains("`env.X` must be a text"),
            "{text}"
        );
        assert!(lines[1].starts_with("shop/good"), "{text}");
        assert!(
            lines[2].starts_with("not shown: failed to list ReleaseSources"),
            "{text}"
        );
    }
}
