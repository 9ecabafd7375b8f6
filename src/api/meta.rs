//! Labels and annotations, in one place because they are promises: selectors are for ever.

/// Label: the name of the release that an object belongs to. Part of every selector.
pub const RELEASE: &str = "slipway.dev/release";
/// Label: the process that a pod runs. Part of every Deployment's and Service's selector; Job pods have none.
pub const PROCESS: &str = "slipway.dev/process";
/// Label: the task that a Job's pod runs (`migrate`).
pub const TASK: &str = "slipway.dev/task";
/// Label: the `ReleaseSource` that a `Release` came from.
pub const SOURCE: &str = "slipway.dev/source";
/// Annotation: `<kind>/<namespace>/<name>` of the object itself; a copy made by hand does not fit it.
pub const OBJECT: &str = "slipway.dev/object";
/// Annotation on objects and pod templates: the number of the revision that they were rendered for.
pub const REVISION: &str = "slipway.dev/revision";
/// Annotation on Deployments: hash of all that pods and database see, as in the revision. With the next one it tells what
/// runs where the revisions are lost.
pub const ATTEMPT: &str = "slipway.dev/attempt";
/// Annotation on objects without a revision: hash of what was rendered.
pub const RENDERED: &str = "slipway.dev/rendered";
/// Annotation: the commit that last changed the files of this release.
pub const COMMIT: &str = "slipway.dev/commit";
/// Annotation: author of that commit, `Name <mail>`.
pub const AUTHOR: &str = "slipway.dev/author";
/// Annotation: when that commit was made, RFC 3339.
pub const COMMITTED_AT: &str = "slipway.dev/committed-at";
/// Annotation: the file that gave the version, relative to the repository.
pub const PATH: &str = "slipway.dev/path";
/// Annotation on a `Release`: hash of the spec that the source wrote; any other spec is a hand edit.
pub const SPEC_HASH: &str = "slipway.dev/spec-hash";
/// Annotation on a `Release`: hash of the repository and reference that it was read from; commits of others are not
/// compared.
pub const ORIGIN: &str = "slipway.dev/origin";
/// Annotation on a `Release` that git removed: the release loop lets go of it.
pub const REMOVING: &str = "slipway.dev/removing";
/// Annotation on Jobs and Deployments: the whole migration key.
pub const MIGRATION_KEY: &str = "slipway.dev/migration-key";
/// Annotation on Jobs: hash of what of them a commit may change without a new attempt.
pub const GIVEN: &str = "slipway.dev/given";
/// Annotation on Secrets of the namespace for builds: the addresses, or their beginnings, that they are shown to.
pub const FOR: &str = "slipway.dev/for";
/// Annotation on the pods of migrations: keyed hash of what they were given of Secrets when they were let run.
pub const VALUES: &str = "slipway.dev/values";
/// Annotation on Jobs: the variable that names the database.
pub const DATABASE: &str = "slipway.dev/database";
/// Annotation on a migration's Job: it was taken back before it ran, and nobody resumes it.
pub const WITHDRAWN: &str = "slipway.dev/withdrawn";
/// Its value where a node had the pod of that Job already.
pub const ON_NODE: &str = "on-node";
/// Annotation on a lock: `<namespace>/<job>` of its holder.
pub const LOCK_HOLDER: &str = "slipway.dev/holder";
/// Annotation on the Secret of generated values: the counter `rotate` that they were made under.
pub const ROTATED: &str = "slipway.dev/rotated";

/// Label on Jobs that build, and their pods: the key of the build.
pub const BUILD: &str = "slipway.dev/build";
/// Label on them: all that goes into the image but the commit.
pub const BUILD_INPUTS: &str = "slipway.dev/build-inputs";
/// What the labels and annotations begin with by which releases wait for a Job: `want.slipway.dev/<hash>`.
pub const WANT: &str = "want.slipway.dev/";
/// Annotation on such Jobs: the commit that is built.
pub const SOURCE_COMMIT: &str = "slipway.dev/source-commit";
/// Annotation on them: `repository:tag`.
pub const IMAGE: &str = "slipway.dev/image";
/// Annotation on them: they were given more memory than usual.
pub const LARGER: &str = "slipway.dev/larger";
/// Annotation on them: which Job of its key it is, from 1, since somebody asked for another attempt.
pub const TRIES: &str = "slipway.dev/tries";
/// Annotation on them: how it failed, as JSON, since its pod may go at any time.
pub const FAILED: &str = "slipway.dev/failed";
/// Label on the Job that shows whether the builder can run.
pub const TRIAL: &str = "slipway.dev/builder-trial";
/// Annotation of images: Slipway built this one, by the key of its build. No image inherits it.
pub const BUILT: &str = "dev.slipway.build";
/// Annotation of images that Slipway built: a hash of what a spec says of how they are made.
pub const RECIPE: &str = "dev.slipway.recipe";
/// Label of images that Slipway built: the lock files of the source, with the hash of each; empty where there are none.
pub const LOCKS: &str = "dev.slipway.locks";
