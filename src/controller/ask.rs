//! What a pass asks registries: which image is declared, whether its tag has moved, and what is in it.

use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use tokio::time::Instant;

use super::{act, context::Context, subject::Subject};
use crate::{
    cluster::{
        error::ClusterError,
        objects::{found, within},
        resolve::References,
    },
    image::{
        DockerConfig, ResolveError,
        baked::{self, Own, Texts},
    },
    names::{Digest, ReleaseId},
    plan::{
        Decision, Observed, Step,
        decision::BuildStep,
        observed::{ImageSeen, Revision},
        renew::DECLARED,
    },
    spec::{
        Declared,
        declared::{ImagePick, ImageRequest},
    },
};

/// What the registry said in this pass.
pub struct Asked {
    seen: ImageSeen,
    /// What the image says of itself.
    texts: Vec<Texts>,
}

impl Asked {
    /// Nothing yet.
    pub fn nothing() -> Self {
        Self::failed(ImageSeen::NotAsked)
    }

    fn failed(seen: ImageSeen) -> Self {
        Self {
            seen,
            texts: Vec::new(),
        }
    }

    /// The same, with the secrets that the image holds of this release as it is declared.
    pub fn of(&self, declared: Option<&Declared>, references: &References) -> ImageSeen {
        let mut seen = self.seen.clone();
        if let (ImageSeen::Found { baked, .. }, Some(declared)) = (&mut seen, declared) {
            let own = Own {
                values: &references.values,
                declared,
            };
            *baked = baked::find(&self.texts, &own);
        }
        seen
    }
}

/// Asks the registry about the declared image.
///
/// # Errors
/// The API server did not give the pull Secret.
pub async fn ask(context: &Context, id: &ReleaseId, declared: &Declared) -> Result<Asked, ClusterError> {
    let config = match pull_config(context, id, declared).await? {
        Ok(config) => config,
        Err(message) => {
            return Ok(Asked::failed(ImageSeen::Failed {
                reason: "PullSecretInvalid".into(),
                message,
            }));
        }
    };
    let asking = context.registry.resolve(&declared.image, config.as_ref());
    Ok(match answered(context, &declared.image, asking).await {
        Ok(image) => Asked {
            seen: ImageSeen::Found {
                digest: image.digest,
                platforms: image.platforms.iter().map(ToString::to_string).collect(),
                obtained: "registry".to_owned(),
                baked: Vec::new(),
                claims: image.claims,
            },
            texts: image.texts,
        },
        Err(ResolveError::NotFound { .. }) => Asked::failed(ImageSeen::Missing),
        Err(error) => Asked::failed(ImageSeen::Failed {
            reason: error.reason().to_owned(),
            message: act::clip(&error.to_string(), 600),
        }),
    })
}

/// What a registry says, or said last where it did not answer then.
async fn answered<T>(
    context: &Context,
    image: &ImageRequest,
    asking: impl Future<Output = Result<T, ResolveError>>,
) -> Result<T, ResolveError> {
    let host = image.repository.split('/').next().unwrap_or_default();
    if let Some(error) = context.silences.of(host) {
        return Err(about(&error, &image.reference()));
    }
    let began = Instant::now();
    let answer = asking.await;
    let word = answer.as_ref().map_or_else(ResolveError::reason, |_| "Resolved");
    context.metrics.resolved(word);
    match &answer {
        Err(error) if error.is_silence() => context.silences.note(host, error, began),
        _ => context.silences.end(host),
    }
    answer
}

/// The same of another image: one namespace does not hear of those of another.
fn about(error: &ResolveError, reference: &str) -> ResolveError {
    let mut error = error.clone();
    if let ResolveError::Unreachable { reference: of, .. } | ResolveError::TimedOut { reference: of, .. } =
        &mut error
    {
        reference.clone_into(of);
    }
    error
}

/// Asks the registry about a declared digest that is about to become a revision; whether it said something. None is needed
/// for that, so nobody waits for one. But where one answers, it tells the platforms of the image and what is in it.
pub async fn ask_digest(
    context: &Context,
    subject: &Subject,
    decision: &Decision,
    image: &mut Asked,
) -> Result<bool, ClusterError> {
    let next = decision.steps.iter().find_map(|step| match step {
        Step::CreateRevision(draft) => Some(draft),
        _ => None,
    });
    let unasked = image.seen == ImageSeen::NotAsked && next.is_some_and(|draft| draft.obtained == DECLARED);
    let Some(declared) = subject.declared().filter(|_| unasked) else {
        return Ok(false);
    };
    let asked = ask(context, &subject.id, declared).await?;
    if let ImageSeen::Failed { reason, message } = &asked.seen {
        tracing::info!(reason, message, "of a declared digest the registry said nothing");
    }
    let found = matches!(asked.seen, ImageSeen::Found { .. });
    *image = asked;
    Ok(found)
}

/// Whether a registry has an image by now that is about to be built. What was seen of Jobs may be older than what the registry
/// said before: the one that built it may have pushed it and be gone since, and a key that succeeded is not built again.
///
/// # Errors
/// The API server did not give the pull Secret.
pub async fn came_meanwhile(
    context: &Context,
    subject: &Subject,
    decision: &Decision,
) -> Result<bool, ClusterError> {
    let begins = |step: &Step| matches!(step, Step::Build(BuildStep::Create { .. }));
    let is_used = |declared: &&Declared| declared.build.as_ref().is_some_and(|build| !build.always);
    let Some(declared) = subject.declared().filter(is_used) else {
        return Ok(false);
    };
    if !decision.steps.iter().any(begins) {
        return Ok(false);
    }
    let Ok(config) = pull_config(context, &subject.id, declared).await? else {
        return Ok(true);
    };
    let asking = context.registry.digest(&declared.image, config.as_ref());
    let answer = answered(context, &declared.image, asking).await;
    // Where it says nothing now the next pass asks it, and tells why.
    Ok(!matches!(answer, Err(ResolveError::NotFound { .. })))
}

/// The credentials of the pull Secret that is declared, or what is wrong with it.
async fn pull_config(
    context: &Context,
    id: &ReleaseId,
    declared: &Declared,
) -> Result<Result<Option<DockerConfig>, String>, ClusterError> {
    let Some(name) = &declared.pull_secret else {
        return Ok(Ok(None));
    };
    let api: Api<Secret> = Api::namespaced(context.client.clone(), id.namespace.as_str());
    let secret = found(within(|| format!("get pull Secret {name}"), api.get(name.as_str())).await)?;
    let Some(secret) = secret else {
        return Ok(Err(format!(
            "pull Secret {name} does not exist in namespace {}; it goes on by itself when it comes",
            id.namespace
        )));
    };
    let data = secret.data.unwrap_or_default();
    let Some(bytes) = data.get(".dockerconfigjson") else {
        return Ok(Err(format!(
            "pull Secret {name} has no key .dockerconfigjson; it must be of type kubernetes.io/dockerconfigjson"
        )));
    };
    Ok(DockerConfig::parse(&bytes.0)
        .map(Some)
        .map_err(|error| format!("pull Secret {name}: {error}")))
}

/// The digest that the tag of what runs had when it was last asked, where that is another one.
pub fn moved_tag(context: &Context, subject: &Subject, observed: &Observed) -> Option<Digest> {
    let live = tagged(subject, observed)?;
    let (_, asked_of, digest) = context.memory.get(&subject.id).tag?;
    digest.filter(|digest| asked_of == resolved(live) && *digest != live.digest)
}

/// The serving revision, if it is the one whose tag is declared.
fn tagged<'a>(subject: &Subject, observed: &'a Observed) -> Option<&'a Revision> {
    let declared = subject.declared()?;
    let live = observed.live.as_ref()?;
    (matches!(declared.image.pick, ImagePick::Tag(_)) && live.reference == declared.image.reference())
        .then_some(live)
}

/// What a tag was resolved to: where `repin` makes it another one, an answer from before says nothing.
fn resolved(live: &Revision) -> String {
    format!("{}@{}", live.reference, live.digest)
}

/// Asks for the tag of what runs, if that is due; whether it was asked. Only when nothing else is to be done: a registry
/// that hangs must not keep a repair waiting. No answer is no news, and is not asked for again before its time.
///
/// # Errors
/// The API server did not give the pull Secret.
pub async fn ask_tag(
    context: &Context,
    subject: &Subject,
    observed: &Observed,
) -> Result<bool, ClusterError> {
    let (Some(live), Some(declared)) = (tagged(subject, observed), subject.declared()) else {
        return Ok(false);
    };
    let asked = context.memory.get(&subject.id).tag;
    if asked
        .is_some_and(|(at, asked_of, _)| at.elapsed() < context.tag_interval && asked_of == resolved(live))
    {
        return Ok(false);
    }
    let digest = match pull_config(context, &subject.id, declared).await? {
        Ok(config) => {
            let asking = context.registry.digest(&declared.image, config.as_ref());
            answered(context, &declared.image, asking).await.ok()
        }
        Err(_) => None,
    };
    let resolved = resolved(live);
    context.memory.update(&subject.id, |memory| {
        // No answer is no news: what was known of the same tag still is.
        let before = memory.tag.take().filter(|(_, of, _)| *of == resolved);
        let digest = digest.or(before.and_then(|(.., digest)| digest));
        memory.tag = Some((Instant::now(), resolved, digest));
    });
    Ok(true)
}
