//! Secrets in images: which image is not run because of them, and what is told of the others.

use std::time::Duration;

use super::{
    decision::{Decision, Phase},
    keep::meanwhile,
    observed::{Baked, Observed, Weight},
};
use crate::spec::Declared;

/// How long until the registry is asked again whether there is another image. A value that is changed is noticed at once.
const AGAIN: Duration = Duration::from_secs(300);
/// So many places stand in a sentence.
const SHOWN: usize = 3;

/// Refuses an image in which there is a secret: whoever may pull it has the value. What runs is kept.
pub(super) fn refused(o: &Observed, declared: &Declared, baked: &[Baked]) -> Option<Decision> {
    let found = words(baked, Weight::Refused);
    if found.is_empty() {
        return None;
    }
    let message = format!(
        "{} is refused, and nothing is changed: {}. Whoever may pull it can read that: change the value where it is used, and \
         build the image without it, under another version",
        declared.image.reference(),
        listed(&found)
    );
    Some(
        meanwhile(o, declared)
            .saying(Phase::Failed("SecretInImage"), message)
            .after(AGAIN),
    )
}

/// What is told as long as an image runs in which something looks like a secret.
pub(super) fn told(o: &Observed) -> Option<(&'static str, String)> {
    if o.suspicious.is_empty() {
        return None;
    }
    let sentence = format!(
        "the image that runs looks as if secrets were in it: {}. Change each that is one where it is used, and build the image \
         without it; one that is public can be declared as {{value: …, public: true}} under some name of env",
        listed(&o.suspicious)
    );
    Some(("SecretInImage", sentence))
}

/// What is worth a warning.
pub(super) fn warnings(baked: &[Baked]) -> Vec<String> {
    words(baked, Weight::Warned)
}

/// What is worth knowing.
pub(super) fn harmless(baked: &[Baked]) -> Vec<String> {
    words(baked, Weight::Told)
}

fn words(baked: &[Baked], weight: Weight) -> Vec<String> {
    let of = baked.iter().filter(|found| found.weight == weight);
    of.map(|found| found.words.clone()).collect()
}

fn listed(found: &[String]) -> String {
    let shown: Vec<&str> = found.iter().take(SHOWN).map(String::as_str).collect();
    match found.len() - shown.len() {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{
        Step, Wait, decide,
        fixtures::{declared, digest, live, rehash},
        observed::ImageSeen,
    };
    use crate::spec::declared::ImagePick;

    fn baked(weight: Weight, words: &str) -> Baked {
        Baked {
            weight,
            words: words.to_owned(),
        }
    }

    /// Version 1 is live, and of version 2 the registry says this.
    fn declares(baked: Vec<Baked>) -> Observed {
        let mut spec = declared(2);
        spec.image.pick = ImagePick::Tag("2.0.0".into());
        rehash(&mut spec);
        let mut o = live(spec);
        o.image = ImageSeen::Found {
            digest: digest(2),
            platforms: Vec::new(),
            obtained: "registry".into(),
            baked,
            claims: Vec::new(),
        };
        o
    }

    #[test]
    fn an_image_with_a_secret_in_it_is_refused_and_what_runs_is_kept() {
        let refused = (1..=5).map(|n| {
            baked(
                Weight::Refused,
                &format!("the variable A{n} holds a GitHub token"),
            )
        });
        let o = declares(refused.collect());
        let decision = decide(&o);
        assert_eq!(decision.report.phase, Phase::Failed("SecretInImage"));
        assert!(decision.steps.is_empty(), "{:?}", decision.steps);
        assert_eq!(decision.wait, Wait::After(AGAIN));
        let message = &decision.report.message;
        for word in [
            ":2.0.0 is refused, and nothing is changed",
            "the variable A3 holds a GitHub token and 2 more",
            "change the value where it is used",
        ] {
            assert!(message.contains(word), "{word}: {message}");
        }
    }

    #[test]
    fn what_only_looks_like_a_secret_is_kept_with_the_revision_and_stops_nothing() {
        let found = vec![
            baked(Weight::Warned, "the variable A holds a URL with a password"),
            baked(
                Weight::Told,
                "the variable RELEASE_COOKIE holds a text under a name that contains COOKIE",
            ),
        ];
        let decision = decide(&declares(found.clone()));
        let [Step::CreateRevision(draft)] = &decision.steps[..] else {
            panic!("{:?}", decision.steps)
        };
        assert_eq!(
            draft.record.suspicious,
            ["the variable A holds a URL with a password"]
        );
        assert_eq!(draft.record.harmless, [found[1].words.clone()]);
    }

    #[test]
    fn as_long_as_such_an_image_runs_that_is_told() {
        let mut o = live(declared(1));
        assert_eq!(decide(&o).report.details, []);
        o.suspicious = vec!["the variable A holds a URL with a password".into()];
        let decision = decide(&o);
        assert!(decision.is_settled() && decision.report.phase == Phase::Live);
        let details = &decision.report.details;
        assert!(
            matches!(&details[..], [("SecretInImage", sentence)] if sentence.contains("the variable A holds")),
            "{details:?}"
        );
    }

    #[test]
    fn no_revision_is_made_before_every_secret_is_there_that_its_image_is_compared_with() {
        let mut o = declares(Vec::new());
        let mut spec = declared(2);
        spec.image.pick = ImagePick::Tag("2.0.0".into());
        spec.migrate = None;
        rehash(&mut spec);
        o.declaration = crate::plan::observed::Declaration::Valid(Box::new(spec));
        assert!(matches!(decide(&o).steps[..], [Step::CreateRevision(_)]));
        o.missing = vec!["Secret app with key token".into()];
        let decision = decide(&o);
        assert_eq!(decision.report.phase, Phase::Waiting("SecretMissing".into()));
        assert!(decision.steps.is_empty(), "{:?}", decision.steps);
    }
}
