//! The words and their remedies.

use super::Place::{self, Detail, Failed, Phase, Pod, Source, Waiting};

/// All words. Where several can be true at once the sentence of the status says more; this says what to do.
pub(super) const REMEDIES: &[(Place, &str, &str)] = &[
    // === phases ===
    (
        Phase,
        "Pending",
        "nothing yet; if it stays, read the controller's log",
    ),
    (
        Phase,
        "Resolving",
        "nothing yet; the registry is being asked, and what it says comes next",
    ),
    (
        Phase,
        "Building",
        "nothing yet; past build.timeout it is ended. What it does: kubectl -n slipway-builds get jobs, and its log",
    ),
    (
        Phase,
        "Preparing",
        "nothing yet; if it stays: kubectl -n {ns} describe release {name}",
    ),
    (
        Phase,
        "Migrating",
        "nothing yet; past migrate.timeout it is ended. Its log: kubectl -n {ns} logs -l slipway.dev/release={name},slipway.dev/task=migrate",
    ),
    (
        Phase,
        "RollingOut",
        "nothing yet; what is in its way is named below, and at rollout.deadline it fails",
    ),
    (Phase, "Verifying", "nothing; it lasts verify.window"),
    (Phase, "Live", "nothing"),
    (
        Phase,
        "RolledBack",
        "commit a version that works, or the one that runs; to try the same again, raise attempt",
    ),
    (
        Phase,
        "Suspended",
        "nothing until the pause ends; to end it now, take suspend out of the spec in git",
    ),
    (
        Phase,
        "Rejected",
        "mend the field that the message names, and commit",
    ),
    (
        Phase,
        "NotDeployed",
        "to deploy it here, give a version in the last layer",
    ),
    // === waiting ===
    (
        Waiting,
        "NamespaceMissing",
        "create it: kubectl create namespace {ns}; or say createNamespaces: true in its ReleaseSource",
    ),
    (
        Waiting,
        "NamespaceTerminating",
        "wait until it is gone, or find what holds it: kubectl get namespace {ns} -o yaml",
    ),
    (
        Waiting,
        "WaitingForImage",
        "push the image, or correct version or image in git",
    ),
    (
        Waiting,
        "ImageNotFound",
        "push the image, or correct version or image in git",
    ),
    (
        Waiting,
        "RegistryAuth",
        "give a pullSecret that may read the image, or renew the one that is given",
    ),
    (
        Waiting,
        "PullSecretInvalid",
        "make it with kubectl -n {ns} create secret docker-registry, under the name in pullSecret",
    ),
    (
        Waiting,
        "RegistryUnreachable",
        "nothing if it passes, it is asked again; if it lasts, see DNS, networkPolicy.egressPorts, caBundle and registry.plainHttp of the chart",
    ),
    (
        Waiting,
        "RegistryTimeout",
        "nothing if it passes, it is asked again; if it lasts, see the registry, and DNS and networkPolicy.egressPorts of the chart",
    ),
    (
        Waiting,
        "ImageInvalid",
        "push the image anew, or declare another one",
    ),
    (
        Waiting,
        "BuilderNotReady",
        "mend what the message names on the nodes, or choose another builds.isolation in the chart; or push the image yourself",
    ),
    (
        Waiting,
        "BuildRefused",
        "have the chart's builds.repositories list the repository for this namespace, or correct image in git",
    ),
    (
        Waiting,
        "BuildSecret",
        "make the Secret in the namespace for builds, with the annotation slipway.dev/for, or correct source.secret or build.secrets in git",
    ),
    (
        Waiting,
        "RefNotFound",
        "push the tag to the repository that source.git names, or correct source.ref in git",
    ),
    (
        Waiting,
        "GitAuth",
        "give source.secret a Secret that may read the repository, or renew the one that is given",
    ),
    (
        Waiting,
        "GitUnreachable",
        "nothing if it passes, it is asked again; if it lasts, see the git server, DNS, networkPolicy.egressPorts and caBundle of the chart",
    ),
    (
        Waiting,
        "GitRefused",
        "correct source.git or source.secret as the message says; an annotation slipway.dev/for of the Secret names what it is shown to",
    ),
    (
        Waiting,
        "PlatformMismatch",
        "push an image for the processor of the nodes, or add such a node",
    ),
    (
        Waiting,
        "SecretMissing",
        "create it in namespace {ns}, or correct the reference in git; it is noticed at once",
    ),
    (
        Waiting,
        "NameTaken",
        "rename the release in git, remove the object that is in its way, or raise adopt where the message says that it can be taken over",
    ),
    (
        Waiting,
        "VersionRemoved",
        "give the version in git again; to remove the release, remove its file",
    ),
    (
        Waiting,
        "Removing",
        "nothing; to keep the release, put its file back in git",
    ),
    (
        Waiting,
        "Drifted",
        "nothing, its source puts the spec back; make changes in git",
    ),
    (
        Waiting,
        "SourceGone",
        "create the source again, or another one that declares it",
    ),
    (
        Waiting,
        "ApiServer",
        "see to the API server: the message has what was asked and its words; it is tried again by itself",
    ),
    (
        Waiting,
        "Stopped",
        "report it with the controller's log; what is decided over this release does not come to its end",
    ),
    (
        Waiting,
        "DatabaseLocked",
        "nothing; it goes on when that migration has ended",
    ),
    (Waiting, "DatabaseMoved", "nothing; a new revision takes over"),
    (
        Waiting,
        "ImagePull",
        "let the node pull the image: pullSecret, its CA or its network; the message has the node's words",
    ),
    (
        Waiting,
        "Unschedulable",
        "add room, or lower resources in git; the message has the scheduler's words",
    ),
    (
        Waiting,
        "PodSecurity",
        "let the namespace admit the pod, or harden security in git: kubectl get namespace {ns} --show-labels",
    ),
    (
        Waiting,
        "Quota",
        "raise the quota of the namespace, or lower resources in git: kubectl -n {ns} describe resourcequota",
    ),
    (
        Waiting,
        "Config",
        "mend the container: often security.runAsUser is needed, or the command does not exist in the image",
    ),
    (
        Waiting,
        "NotStarted",
        "mend the container: the message has the node's words",
    ),
    (
        Waiting,
        "Retrying",
        "nothing yet, it runs again by itself; mend what the message names, or commit another version",
    ),
    (
        Waiting,
        "LogUnreadable",
        "let the node give the log out: the proof of migrate.proof must be found in it",
    ),
    (Waiting, "Running", "nothing; past migrate.timeout it is ended"),
    (
        Waiting,
        "Starting",
        "nothing yet; if it stays: kubectl -n {ns} describe job -l slipway.dev/release={name}",
    ),
    (Waiting, "Suspending", "nothing; its pod is going"),
    (
        Waiting,
        "JobDeleting",
        "nothing; somebody deletes the Job, and its outcome may become unknown",
    ),
    // === failed ===
    (
        Failed,
        "RollingOut",
        "commit a version that works, or the one that ran before; to try the same again, raise attempt",
    ),
    (
        Failed,
        "RollingBack",
        "see to the cluster first: a version that was live does not come back either; the message says what is in its way",
    ),
    (
        Failed,
        "Migrating",
        "commit a version whose migration is mended; if the cause was outside, raise attempt and it runs again",
    ),
    (
        Failed,
        "Applying",
        "let the API server accept the object (often an admission policy or a quota), or change the spec; it is tried every 30 s",
    ),
    (
        Failed,
        "SecretInImage",
        "change the value where it is used, since whoever can pull the image has it; build the image without it, and commit its version",
    ),
    (
        Failed,
        "BuildFailed",
        "mend what the message names and declare the version that has it; to build the same again, raise attempt",
    ),
    (
        Failed,
        "ImageMismatch",
        "push the right image under another version and declare that, or correct source and match in git",
    ),
    // === details ===
    (
        Detail,
        "TagMoved",
        "nothing runs differently; use a new version for a new image, or raise repin to run what the tag names now",
    ),
    (
        Detail,
        "ImageMismatch",
        "see what image was pushed; with match set to enforce such an image is not run",
    ),
    (
        Detail,
        "SchemaAhead",
        "roll forward when you can, and see that the old code copes with the schema",
    ),
    (
        Detail,
        "SourceGone",
        "create the source again, or another one that declares it; without the label slipway.dev/source the release is followed as it is",
    ),
    (
        Detail,
        "Degraded",
        "look at its pods: kubectl -n {ns} get pods -l slipway.dev/release={name}",
    ),
    (
        Detail,
        "Drifted",
        "make changes in git; who changes the object is told by kubectl get … --show-managed-fields",
    ),
    (
        Detail,
        "SecretsMissing",
        "create what is missing in namespace {ns}, or correct the reference in git",
    ),
    (
        Detail,
        "ValuesOutdated",
        "start its pods anew when it suits: kubectl -n {ns} rollout restart deployment -l slipway.dev/release={name}; a version that goes live has the new values, too",
    ),
    (
        Detail,
        "SecretInImage",
        "change what is a secret where it is used, and build the image without it; what is public can be declared so in env",
    ),
    // === pods ===
    (Pod, "InvalidImageName", "correct image in git"),
    (
        Pod,
        "ErrImageNeverPull",
        "let the node pull images: it is forbidden to",
    ),
    (
        Pod,
        "ErrImagePull",
        "give a pullSecret that the node can use; it cannot pull what Slipway could resolve",
    ),
    (
        Pod,
        "ImagePullBackOff",
        "give a pullSecret that the node can use; it cannot pull what Slipway could resolve",
    ),
    (
        Pod,
        "CreateContainerConfigError",
        "give security.runAsUser if the image's user is a name; else create what the container refers to",
    ),
    (
        Pod,
        "CreateContainerError",
        "correct command, writable or security in git; the message has the node's words",
    ),
    (
        Pod,
        "RunContainerError",
        "correct command in git: it does not exist in the image or may not be run",
    ),
    (
        Pod,
        "CrashLoopBackOff",
        "read why it crashes: kubectl -n {ns} logs -l slipway.dev/release={name} --previous",
    ),
    // === sources ===
    (Source, "Applied", "nothing"),
    (
        Source,
        "Problems",
        "mend the files at the places that are named; the other releases went on",
    ),
    (
        Source,
        "Invalid",
        "correct git.url, the reference or git.secret of the ReleaseSource",
    ),
    (
        Source,
        "ApiServer",
        "see to the API server: the message has what was asked and its words; it is tried again by itself",
    ),
    (
        Source,
        "Stopped",
        "report it with the controller's log; a pass over this source does not come to its end",
    ),
    (
        Source,
        "Panicked",
        "report it with the controller's log; it is a mistake of Slipway",
    ),
    (
        Source,
        "HistoryRewritten",
        "if the rewrite is meant, set git.allowRewrite or name the commit in git.commit; else push the old history again",
    ),
    (
        Source,
        "Unreachable",
        "nothing if it passes; if it lasts, see DNS, networkPolicy.egressPorts and the proxy of the chart",
    ),
    (
        Source,
        "TimedOut",
        "nothing if it passes; if it lasts, see the git server, and networkPolicy.egressPorts of the chart",
    ),
    (
        Source,
        "AuthFailed",
        "renew the credentials in git.secret; they are read again at the next interval",
    ),
    (
        Source,
        "HostKeyMismatch",
        "find out why the server shows another key before you change known_hosts: it may be another server",
    ),
    (
        Source,
        "HostKeyUnknown",
        "add the server's key to known_hosts of git.secret, after comparing its fingerprint",
    ),
    (
        Source,
        "CertificateUnknown",
        "give the CA of the git server in caBundle of the chart",
    ),
    (Source, "Redirected", "name the final URL in git.url"),
    (
        Source,
        "RepositoryNotFound",
        "correct git.url, or let the credentials see the repository",
    ),
    (
        Source,
        "RefNotFound",
        "correct git.branch, git.tag or git.commit, or push it",
    ),
    (
        Source,
        "TooLarge",
        "keep releases in a repository, and in directories, of their own",
    ),
    (
        Source,
        "Corrupt",
        "nothing, it is fetched anew; if it lasts, check the repository with git fsck",
    ),
    (
        Source,
        "StorageFailed",
        "make room for the mirror: cache.sizeLimit of the chart, or the disk of the node",
    ),
    (
        Source,
        "InvalidCredentials",
        "give git.secret the keys that fit the URL: username and password, or token; for ssh identity and known_hosts",
    ),
    (
        Source,
        "CommitMissing",
        "nothing, it is fetched again; if it lasts, correct git.commit",
    ),
    (
        Source,
        "DirectoryMissing",
        "put the directory back, or correct paths of the ReleaseSource",
    ),
    (Source, "InvalidPath", "correct paths of the ReleaseSource"),
    (
        Source,
        "NoSpecs",
        "put spec files there, or correct paths of the ReleaseSource",
    ),
];

/// Words in the problems of a source that are not, or not only, mended in the file → what to do. The first that fit count.
pub(super) const PROBLEMS: &[(&str, &str)] = &[
    (
        "looks like a secret",
        "move the value into a Secret, refer to it in the file, and change it where it is used, since git keeps it",
    ),
    (
        "a Secret must not be in git",
        "remove it, and change its values where they are used, since git keeps them",
    ),
    (
        "Waiting(NamespaceMissing)",
        "create it: kubectl create namespace {ns}; or say createNamespaces: true in its ReleaseSource",
    ),
    (
        "Waiting(NamespaceTerminating)",
        "wait until it is gone, or find what holds it: kubectl get namespace {ns} -o yaml",
    ),
    (
        "may not write to namespace",
        "add the namespace to namespaces of the ReleaseSource, or correct the file",
    ),
    (
        "belongs to ReleaseSource",
        "remove it from what one of the two sources reads",
    ),
    (
        "is not part of the history of",
        "if the rewrite is meant, set git.allowRewrite or name the commit in git.commit; else push the old history again",
    ),
    (
        "VersionRemoved",
        "give the version in git again; to remove the release, remove its file",
    ),
    (
        "is kept: the source says prune: false",
        "put its file back in git; if it is meant to go, say prune: true in the ReleaseSource",
    ),
    (
        "is kept until the commit has no problem",
        "mend the other problems, which slipway status names, if it is meant to go; to keep it, put its file back in git",
    ),
    (
        "this is the first commit since",
        "put its file back in git to keep it; if it is meant to go, commit once more to the paths of the source",
    ),
    (
        "may go in one commit",
        "put the files back in git; if it is meant, let so many go by maxDeletions of the ReleaseSource",
    ),
    (
        "when the outcome of its migration is known",
        "nothing; it goes when its migration has ended",
    ),
    (
        "of its migration has ended, of which nobody books the outcome",
        "nothing where it ends by itself; delete that Job if it hangs, since its timeout ends it no more",
    ),
];
