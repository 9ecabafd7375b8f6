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
/// Annotation on Jobs: the whole migration key.
pub const MIGRATION_KEY: &str = "slipway.dev/migration-key";
/// Annotation on revisions: hash of all that pods and database see; equal hashes are one attempt.
pub const ATTEMPT: &str = "slipway.dev/attempt";
/// Annotation on revisions: the declared version, the requested image reference and its digest.
pub const VERSION: &str = "slipway.dev/version";
/// Annotation on revisions: the image reference that was resolved.
pub const IMAGE: &str = "slipway.dev/image";
/// Annotation on revisions: the digest that the reference had.
pub const DIGEST: &str = "slipway.dev/digest";
/// Annotation on a lock: `<namespace>/<job>` of its holder.
pub const LOCK_HOLDER: &str = "slipway.dev/holder";
