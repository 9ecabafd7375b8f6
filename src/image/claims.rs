//! What an image says of where it comes from: annotations of its index and manifest, and labels of its config. Pure, and
//! distrustful: what is no short plain text says nothing, and neither does what looks like a secret.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::{
    api::meta::{BUILT, LOCKS, RECIPE},
    plan::observed::{Claim, ClaimedBy, Claims, MadeOf},
    spec::firewall,
};

/// <https://github.com/opencontainers/image-spec/blob/main/annotations.md>
const VERSION: &str = "org.opencontainers.image.version";
const REVISION: &str = "org.opencontainers.image.revision";
const SOURCE: &str = "org.opencontainers.image.source";
/// Longer texts are no versions, commits or addresses.
const LONGEST: usize = 256;
/// Some names of files, and their hashes.
const LONGEST_LOCKS: usize = 1000;

/// These things by their names; everything else that an image says is left out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Said(BTreeMap<&'static str, String>);

impl Said {
    /// Of the annotations of a manifest, or of the labels of a config: a JSON object of texts.
    #[must_use]
    pub fn of(names: Option<&Value>) -> Self {
        let text = |name: &str| {
            let text = names?.get(name)?.as_str()?.trim();
            let plain = text.bytes().all(|c| c.is_ascii_graphic() || c == b' ');
            let longest = if name == LOCKS { LONGEST_LOCKS } else { LONGEST };
            (!text.is_empty() && text.len() <= longest && plain && !firewall::has_secret(text))
                .then(|| text.to_owned())
        };
        let names = [VERSION, REVISION, SOURCE, BUILT, RECIPE, LOCKS].into_iter();
        Self(names.filter_map(|name| Some((name, text(name)?))).collect())
    }
}

/// What one image says: `annotations` from the outermost, index before manifest, win over `labels`.
#[must_use]
pub fn claims(annotations: [&Said; 2], labels: &Said) -> Claims {
    let claim = |name: &'static str| {
        let said = |said: &Said, by| {
            let text = said.0.get(name)?.clone();
            Some(Claim { text, by })
        };
        let mut all = annotations.iter().map(|of| said(of, ClaimedBy::Annotation));
        all.find_map(|claim| claim)
            .or_else(|| said(labels, ClaimedBy::Label))
    };
    // By annotations alone: an image inherits none.
    let annotated = |name: &str| annotations.iter().find_map(|said| said.0.get(name)).cloned();
    let key = annotated(BUILT);
    let built = key.is_some();
    // Each build writes that label anew, so where Slipway built it, it is inherited from nobody.
    let locks = labels.0.get(LOCKS).filter(|_| built).cloned();
    Claims {
        version: claim(VERSION),
        revision: claim(REVISION),
        source: claim(SOURCE),
        recipe: annotated(RECIPE).filter(|_| built),
        key,
        built,
        made_of: MadeOf {
            bases: Vec::new(),
            locks,
            size: 0,
        },
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn said(value: &Value) -> Said {
        Said::of(Some(value))
    }

    #[test]
    fn the_index_is_asked_before_the_manifest_and_labels_last() {
        let index = said(&json!({VERSION: "1.8.2"}));
        let manifest = said(&json!({VERSION: "1.8.1", REVISION: "3f9c2a71"}));
        let labels = said(&json!({VERSION: "24.04", REVISION: "0", SOURCE: "https://git.example.com/a/b"}));
        let claims = claims([&index, &manifest], &labels);
        let words = [&claims.version, &claims.revision, &claims.source].map(|claim| {
            let claim = claim.as_ref().unwrap();
            (claim.text.as_str(), claim.by)
        });
        assert_eq!(
            words,
            [
                ("1.8.2", ClaimedBy::Annotation),
                ("3f9c2a71", ClaimedBy::Annotation),
                ("https://git.example.com/a/b", ClaimedBy::Label)
            ]
        );
        assert!(!claims.built);
    }

    #[test]
    fn only_an_annotation_says_that_slipway_built_it() {
        let built = said(&json!({BUILT: "0123"}));
        assert!(claims([&Said::default(), &built], &Said::default()).built);
        assert!(!claims([&Said::default(), &Said::default()], &built).built);
    }

    #[test]
    fn lock_files_are_believed_of_what_slipway_built_and_of_nothing_that_is_built_upon_it() {
        let locks = format!(
            "mix.lock sha256:{0}, package-lock.json sha256:{0}",
            "0123abcd".repeat(8)
        );
        let (labels, built) = (said(&json!({LOCKS: locks})), said(&json!({BUILT: "0123"})));
        let of = |annotation: &Said| claims([annotation, &Said::default()], &labels).made_of.locks;
        assert_eq!(of(&built), Some(locks.clone()));
        assert_eq!(of(&Said::default()), None);
    }

    #[test]
    fn what_is_no_short_plain_text_says_nothing() {
        for odd in [
            json!(1),
            json!(""),
            json!("a\u{1b}[31m"),
            json!("ü"),
            json!("x".repeat(300)),
            json!(null),
        ] {
            assert_eq!(said(&json!({VERSION: odd})), Said::default(), "{odd}");
        }
        let token = format!("ghp_{}", "a1B2".repeat(9));
        assert_eq!(said(&json!({SOURCE: token})), Said::default());
        assert_eq!(Said::of(Some(&json!([]))), Said::default());
    }
}
