//! What each log line of a pass names: the release, the commit that declared it, and its newest revision.

use kube::api::ObjectMeta;
use tracing::{Span, field};

use super::subject::declared_at;
use crate::names::{CommitId, ReleaseId, RevisionNumber};

/// The span of a pass over a release. Of the highest level, so that a filter for warnings does not take the names away.
pub fn release(id: &ReleaseId) -> Span {
    tracing::error_span!("pass", release = %id, commit = field::Empty, revision = field::Empty)
}

/// The span of a pass over a source.
pub fn source(name: &str) -> Span {
    tracing::error_span!("pass", source = name, commit = field::Empty)
}

/// Names the commit of the pass that runs here. Once a pass: what is recorded again stands twice in a line.
pub fn commit(commit: Option<&CommitId>) {
    Span::current().record("commit", field::display(commit.map_or("none", CommitId::as_str)));
}

/// As [`commit`], of an object.
pub fn commit_of(meta: &ObjectMeta) {
    commit(declared_at(meta).as_ref());
}

/// Names the newest revision of the release when the pass began, if it has one.
pub fn revision(number: Option<RevisionNumber>) {
    if let Some(number) = number {
        Span::current().record("revision", number.0);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use tracing_subscriber::{EnvFilter, layer::SubscriberExt as _};

    use super::*;
    use crate::{
        api::meta,
        telemetry::{LogFormat, lines, written::Written},
    };

    /// A warning in a pass, as it is written where only warnings are.
    fn line(format: LogFormat, declared: &ObjectMeta) -> String {
        let written = Written::default();
        let writer = written.clone();
        let subscriber = tracing_subscriber::registry()
            .with(EnvFilter::new("warn"))
            .with(lines(format, move || writer.clone()));
        tracing::subscriber::with_default(subscriber, || {
            let id = ReleaseId {
                namespace: "shop".parse().unwrap(),
                name: "web".parse().unwrap(),
            };
            let _pass = release(&id).entered();
            commit_of(declared);
            revision(Some(RevisionNumber(7)));
            tracing::warn!("others change what is put right");
        });
        let bytes = written.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn a_line_of_a_pass_names_release_commit_and_revision() {
        let declared = ObjectMeta {
            annotations: Some([(meta::COMMIT.to_owned(), "c0ffee".repeat(7)[..40].to_owned())].into()),
            ..ObjectMeta::default()
        };
        let text = line(LogFormat::Text, &declared);
        for field in ["release=shop/web", "commit=c0ffeec0ff", "revision=7"] {
            assert!(text.contains(field), "{field}: {text}");
        }
        let json: Value = serde_json::from_str(&line(LogFormat::Json, &declared)).unwrap();
        assert_eq!(json["span"]["release"], "shop/web");
        assert_eq!(json["span"]["revision"], json!(7));
        assert!(json["span"]["commit"].as_str().unwrap().starts_with("c0ffee"));
    }

    #[test]
    fn a_release_that_nobody_committed_says_so() {
        let text = line(LogFormat::Text, &ObjectMeta::default());
        assert!(text.contains("commit=none"), "{text}");
    }
}
