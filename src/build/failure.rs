//! Why a build failed: the log of its pod and how that ended → what to say, and whether to try again.

mod causes;
mod read;

use crate::words::clean;

pub use read::failure;

/// The most that a sentence has.
const SENTENCE: usize = 300;

/// The most that is kept of a line, and of a message.
const LENGTH: usize = 500;

/// The most that is said of a text of others within it.
const QUOTED: usize = 140;

/// What went wrong. Texts are of the log or the Dockerfile: whatever is a secret in it must be taken out of the log before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// An instruction of the Dockerfile failed: a compile error, most of the time.
    Step {
        /// Which one.
        at: Place,
        /// How its command ended; none where the instruction itself could not be carried out.
        exit_code: Option<i32>,
        /// The last lines that it printed, at most 30.
        tail: Vec<String>,
    },
    /// There was not enough memory.
    OutOfMemory {
        /// Which instruction wanted it, as far as that is known.
        at: Option<Place>,
        /// Whether it was the heap that Node allows itself, and not the limit of the pod.
        heap: bool,
    },
    /// An instruction could not download something.
    Network {
        /// Which one.
        at: Place,
        /// The last lines that it printed, at most 30.
        tail: Vec<String>,
    },
    /// A disk is full.
    DiskFull {
        /// Which instruction wanted it, as far as that is known.
        at: Option<Place>,
    },
    /// The registry has no such base image.
    BaseNotFound {
        /// The image.
        image: String,
    },
    /// The registry does not show the base image to this builder; it may not exist at all.
    BaseDenied {
        /// The image.
        image: String,
    },
    /// The base image does not exist for this processor.
    BasePlatform {
        /// The image.
        image: String,
    },
    /// The registry does not take the image that was built.
    PushDenied {
        /// The image.
        image: String,
    },
    /// A registry does not answer, or answers that it is broken.
    RegistryUnreachable {
        /// Its host.
        host: String,
        /// What was said.
        words: String,
    },
    /// A registry shows a certificate that the builder does not trust.
    RegistryUntrusted {
        /// Its host.
        host: String,
    },
    /// A registry was asked too often, by this cluster's address or account.
    TooManyRequests {
        /// Its host.
        host: String,
    },
    /// The Dockerfile cannot be carried out as it is written.
    Dockerfile {
        /// The line.
        line: Option<u32>,
        /// What is wrong with it.
        words: String,
    },
    /// There is no Dockerfile.
    NoDockerfile {
        /// Where it was looked for.
        path: String,
    },
    /// What COPY or ADD names is not there.
    MissingInContext {
        /// Its path in the context, or in the stage.
        path: String,
        /// The stage or image that it should be copied from; none for the context.
        from: Option<String>,
        /// The line of the Dockerfile.
        line: Option<u32>,
    },
    /// The Dockerfile mounts a secret that the build was not given.
    MissingSecret {
        /// Its id.
        id: String,
    },
    /// The Dockerfile has no such stage.
    NoTarget {
        /// Its name.
        target: String,
    },
    /// The builder cannot run on this node or in this pod, or ended by itself.
    Builder {
        /// What it lacks.
        lack: Lack,
        /// What was said.
        words: String,
    },
    /// The pod was ended from outside.
    Ended {
        /// The reason that Kubernetes gives, or the signal.
        reason: String,
    },
    /// It took longer than it may.
    TimedOut {
        /// The instruction that it was at.
        at: Option<Place>,
    },
    /// Something else.
    Other {
        /// What was said last.
        words: String,
    },
}

/// An instruction of the Dockerfile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Its stage; none where the Dockerfile has but one.
    pub stage: Option<String>,
    /// Which of the stage.
    pub number: u32,
    /// Of how many.
    pub of: u32,
    /// The instruction in one line, at most 80 characters.
    pub words: String,
    /// Its line in the Dockerfile, where that is known.
    pub line: Option<u32>,
}

/// What a builder lacks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lack {
    /// The node lets nobody make user namespaces, or seccomp keeps the pod from it.
    UserNamespaces,
    /// User ids may not be mapped.
    IdMaps,
    /// AppArmor is in the way.
    AppArmor,
    /// Mounts are not allowed.
    Mounts,
    /// `/proc` may not be mounted for a step.
    Proc,
    /// It did not start; nothing says why.
    Start,
    /// It ended while it built.
    Died,
}

impl Lack {
    /// What to do.
    const fn remedy(self) -> &'static str {
        match self {
            Self::UserNamespaces => {
                "user namespaces are not allowed: set user.max_user_namespaces on the node, and seccomp Unconfined for the pod"
            }
            Self::IdMaps => {
                "user ids cannot be mapped: the pod needs allowPrivilegeEscalation, with seccomp and AppArmor Unconfined"
            }
            Self::AppArmor => {
                "AppArmor forbids user namespaces: load a profile with userns for rootlesskit, or set kernel.apparmor_restrict_unprivileged_userns=0 on the node"
            }
            Self::Mounts => {
                "mounts are not allowed: the pod needs seccomp and AppArmor Unconfined, and an emptyDir for BuildKit's state"
            }
            Self::Proc => "a step may not mount /proc: buildkitd needs --oci-worker-no-process-sandbox",
            Self::Start => "it did not start in time",
            Self::Died => "it ended while it built, often for want of memory",
        }
    }
}

/// Whether the same build may succeed if it is tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Again {
    /// Not until somebody changes something.
    No,
    /// Perhaps, after some time.
    AfterPause,
    /// With a higher memory limit.
    WithMoreMemory,
}

impl Failure {
    /// What comes from outside may pass. What the sources cause does not: a compile error stays one however often it is met,
    /// and a node that cannot run the builder stays as it is.
    #[must_use]
    pub const fn again(&self) -> Again {
        match self {
            Self::OutOfMemory { .. } => Again::WithMoreMemory,
            Self::Network { .. }
            | Self::DiskFull { .. }
            | Self::RegistryUnreachable { .. }
            | Self::TooManyRequests { .. }
            | Self::Ended { .. }
            | Self::Builder {
                lack: Lack::Start | Lack::Died,
                ..
            } => Again::AfterPause,
            Self::Step { .. }
            | Self::BaseNotFound { .. }
            | Self::BaseDenied { .. }
            | Self::BasePlatform { .. }
            | Self::PushDenied { .. }
            | Self::RegistryUntrusted { .. }
            | Self::Dockerfile { .. }
            | Self::NoDockerfile { .. }
            | Self::MissingInContext { .. }
            | Self::MissingSecret { .. }
            | Self::NoTarget { .. }
            | Self::Builder { .. }
            | Self::TimedOut { .. }
            | Self::Other { .. } => Again::No,
        }
    }

    /// The last lines that the failed instruction printed, where it is one that failed.
    #[must_use]
    pub fn tail(&self) -> &[String] {
        match self {
            Self::Step { tail, .. } | Self::Network { tail, .. } => tail,
            _ => &[],
        }
    }

    /// What failed and where, in at most 300 characters on one line.
    #[must_use]
    pub fn sentence(&self) -> String {
        let quoted = |text: &str| clean(text, QUOTED);
        let sentence = match self {
            Self::Step { at, exit_code, .. } => match exit_code {
                Some(code) => format!("`{}` ended with exit code {code}{}", at.words, at.whereabouts()),
                None => format!("`{}` could not be carried out{}", at.words, at.whereabouts()),
            },
            Self::OutOfMemory { at, heap: false } => {
                format!("the build ran out of memory{}", during(at.as_ref()))
            }
            Self::OutOfMemory { at, heap: true } => {
                format!("the heap of Node was too small{}", during(at.as_ref()))
            }
            Self::Network { at, .. } => format!(
                "`{}` could not download what it needs{}",
                at.words,
                at.whereabouts()
            ),
            Self::DiskFull { at } => format!(
                "the disk of the node or of the build is full{}",
                during(at.as_ref())
            ),
            Self::BaseNotFound { image } => {
                format!(
                    "there is no base image {}: correct FROM in the Dockerfile",
                    quoted(image)
                )
            }
            Self::BaseDenied { image } => format!(
                "the registry does not show the base image {}: it does not exist, or the builder has no credentials for it",
                quoted(image)
            ),
            Self::BasePlatform { image } => format!(
                "the base image {} is not there for the platform of this build",
                quoted(image)
            ),
            Self::PushDenied { image } => {
                format!(
                    "the registry does not take {}: give the builder credentials that may push there",
                    quoted(image)
                )
            }
            Self::RegistryUnreachable { host, words } => format!(
                "the registry {} cannot be reached: {}",
                quoted(host),
                quoted(words)
            ),
            Self::RegistryUntrusted { host } => {
                format!(
                    "the certificate of the registry {} is not trusted: give the builder its CA",
                    quoted(host)
                )
            }
            Self::TooManyRequests { host } => {
                format!(
                    "the registry {} was asked too often: give the builder credentials for it, or a mirror",
                    quoted(host)
                )
            }
            Self::Dockerfile {
                line: Some(line),
                words,
            } => format!("line {line} of the Dockerfile: {}", quoted(words)),
            Self::Dockerfile { line: None, words } => format!("the Dockerfile: {}", quoted(words)),
            Self::NoDockerfile { path } => format!("there is no {} in the build context", quoted(path)),
            Self::MissingInContext { path, from, line } => {
                let origin = from.as_ref().map_or_else(
                    || "the build context: it is not committed, or .dockerignore holds it back".to_owned(),
                    |from| format!("what is copied from {}", clean(from, 60)),
                );
                format!("{} is not in {origin}{}", quoted(path), line_of(*line))
            }
            Self::MissingSecret { id } => format!(
                "the Dockerfile wants a build secret {}, which is not given",
                quoted(id)
            ),
            Self::NoTarget { target } => format!("the Dockerfile has no stage {}", quoted(target)),
            Self::Builder { lack, words } => {
                // What is to be done comes first, since a long message of a kernel would push it out.
                format!("the builder cannot run: {}; {}", lack.remedy(), clean(words, 90))
            }
            Self::Ended { reason } => {
                format!("the pod of the build was ended from outside: {}", quoted(reason))
            }
            Self::TimedOut { at } => format!("the build took longer than it may{}", during(at.as_ref())),
            Self::Other { words } if words.is_empty() => "the build failed and said nothing".to_owned(),
            Self::Other { words } => format!("the build failed: {}", quoted(words)),
        };
        clean(sentence.trim_end_matches("; "), SENTENCE)
    }
}

impl Place {
    /// ` (builder 5/9, line 12 of the Dockerfile)`.
    fn whereabouts(&self) -> String {
        let stage = self.stage.as_ref().map(|stage| format!("{stage} "));
        let line = self.line.map(|line| format!(", line {line} of the Dockerfile"));
        format!(
            " ({}{}/{}{})",
            stage.unwrap_or_default(),
            self.number,
            self.of,
            line.unwrap_or_default()
        )
    }
}

fn during(at: Option<&Place>) -> String {
    at.map_or_else(String::new, |at| {
        format!(" in `{}`{}", at.words, at.whereabouts())
    })
}

fn line_of(line: Option<u32>) -> String {
    line.map_or_else(String::new, |line| format!(" (line {line} of the Dockerfile)"))
}

#[cfg(test)]
mod tests;
