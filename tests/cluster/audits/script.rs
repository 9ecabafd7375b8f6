//! Who commits what, and what comes of it.

/// Images of its own: tags of the two images of the probe.
pub const IMAGES: &str = "registry.bed.test:5000/acme/told";
/// The same image in another repository.
pub const MOVED: &str = "image: registry.bed.test:5000/acme/told-moved";
/// The images of the probe, and the tags that they are given.
pub const TAGS: [(&str, &str); 10] = [
    ("1.0.0", "told:1.0.0"),
    ("1.1.0", "told:1.1.0"),
    ("1.0.0", "told:1.2.0"),
    ("1.1.0", "told:1.3.0"),
    ("1.1.0", "told-moved:1.3.0"),
    ("1.0.0", "told:2.0.0"),
    ("1.1.0", "told:2.1.0"),
    ("1.0.0", "told:2.2.0"),
    ("1.1.0", "told:2.3.0"),
    ("1.0.0", "told:2.4.0"),
];

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Who {
    Dana,
    Ada,
}

use Who::{Ada, Dana};

impl Who {
    pub fn name(self) -> (&'static str, &'static str) {
        match self {
            Dana => ("Dana Platform", "dana@example.com"),
            Ada => ("Ada Owner", "ada@example.com"),
        }
    }

    pub fn shown(self) -> String {
        let (name, mail) = self.name();
        format!("{name} <{mail}>")
    }
}

/// What a commit does.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Does {
    /// Changes what no source reads.
    Words,
    /// Writes the production layer of `app`: its version, and more fields.
    App(&'static str, &'static [&'static str]),
    /// The same in a commit of a branch, by the other one; merged by who is named.
    Merge(&'static str, &'static [&'static str]),
    /// Takes the commit before back.
    Revert,
    /// Makes the layer of `app` unreadable.
    Break,
    /// Writes it as it was, with a remark.
    Mend,
    /// Writes the production layer of `second`, which has no pods.
    Second(&'static str),
    /// Removes it.
    Remove,
}

/// What comes of it, which is waited for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Comes {
    Nothing,
    Live,
    MigrationFails,
    RollsBack,
    /// The next commit comes at once.
    Overtaken,
}

use Comes::{Live, MigrationFails, Nothing, Overtaken, RollsBack};
use Does::{App, Break, Mend, Merge, Remove, Revert, Second, Words};

pub const FAILS: &str = "migrate: {args: [/bin/sh, -c, 'exit 7']}";
pub const NO_PROGRAM: &str = "command: [/no/such/program]";
pub const REMARK: &str = "# a remark";

macro_rules! migrates {
    ($label:literal) => {
        concat!(
            "migrate: {args: [/app/bin/migrate, ",
            $label,
            "], env: {RELEASE: ",
            $label,
            "}}"
        )
    };
}

pub const M1: &str = migrates!("m1");
pub const M2: &str = migrates!("m2");
pub const M3: &str = migrates!("m3");
pub const M4: &str = migrates!("m4");
pub const M5: &str = migrates!("m5");
pub const M6: &str = migrates!("m6");

/// Fifty commits: a merge is two.
pub const SCRIPT: [(Who, Does, Comes); 49] = [
    (Dana, Words, Nothing),
    (Dana, App("1.0.0", &[M1]), Live),
    (Ada, Second("1.0.0"), Live),
    (Dana, Words, Nothing),
    (Dana, App("1.0.0", &["env: {GREETING: one}"]), Live),
    (Ada, App("1.1.0", &[M2]), Live),
    (Dana, App("1.1.0", &[M2, REMARK]), Live),
    (Dana, App("1.1.0", &[M2, "replicas: 2"]), Live),
    (Dana, App("1.1.0", &[M2]), Live),
    (Ada, Second("1.1.0"), Live),
    // The digest of 1.0.0 under another tag.
    (Dana, App("1.2.0", &[]), Live),
    (Dana, Revert, Live),
    (Ada, App("1.3.0", &[FAILS]), MigrationFails),
    (Dana, App("1.3.0", &[M3]), Live),
    (Dana, Break, Nothing),
    (Dana, Mend, Live),
    (Ada, Remove, Nothing),
    (Dana, Words, Nothing),
    // The version of Ada, from where Dana says.
    (Dana, App("1.3.0", &[MOVED]), Live),
    (Ada, App("2.0.0", &[M4]), Live),
    (Dana, App("2.0.0", &[M4, NO_PROGRAM]), RollsBack),
    (Dana, Revert, Live),
    (Dana, Merge("2.1.0", &[]), Live),
    (Dana, Second("1.1.0"), Live),
    (Ada, Words, Nothing),
    (Dana, App("1.0.0", &[M1]), Live),
    (Ada, Second("1.2.0"), Live),
    (Dana, Words, Nothing),
    (Ada, App("1.1.0", &["env: {GREETING: two}"]), Live),
    (Ada, Words, Nothing),
    (Dana, App("1.2.0", &["env: {GREETING: three}"]), Overtaken),
    (Ada, App("1.3.0", &[]), Live),
    (Dana, Words, Nothing),
    (Dana, App("2.0.0", &[]), Live),
    (Ada, Second("1.3.0"), Live),
    (Dana, Words, Nothing),
    (Ada, Words, Nothing),
    (Dana, App("2.1.0", &[M5]), Live),
    (Dana, Words, Nothing),
    (Ada, App("2.2.0", &[FAILS]), MigrationFails),
    (Ada, Revert, Live),
    (Dana, App("2.3.0", &[M6]), Live),
    (Dana, Words, Nothing),
    (Ada, App("2.3.0", &[M6, "env: {GREETING: four}"]), Live),
    (Dana, App("2.4.0", &[NO_PROGRAM]), RollsBack),
    (Ada, Revert, Live),
    (Dana, Words, Nothing),
    (Ada, App("1.2.0", &[]), Live),
    (Dana, Words, Nothing),
];
