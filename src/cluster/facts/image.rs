//! What a revision has on record of its image, and back.

use crate::{
    api::revision::{ImageDiffers, RevisionImage},
    plan::observed::{Doubts, MadeOf, Origin, Record},
};

/// What a revision has on record of its image.
#[must_use]
pub fn of_image(image: &RevisionImage) -> Record {
    Record {
        platforms: image.platforms.clone(),
        suspicious: image.suspicious.clone(),
        harmless: image.harmless.clone(),
        origin: Origin {
            commit: image
                .source_commit
                .as_ref()
                .and_then(|commit| commit.parse().ok()),
            words: image.origin.clone().unwrap_or_default(),
            doubts: doubts(image),
            made_of: MadeOf {
                bases: image.base.clone(),
                locks: image.locks.clone(),
                size: image.size.and_then(|size| u64::try_from(size).ok()).unwrap_or(0),
            },
        },
        warned: image.warned.clone(),
    }
}

/// What of that is not as it was declared.
#[must_use]
pub fn doubts(image: &RevisionImage) -> Doubts {
    let differs = image.differs.clone().unwrap_or_default();
    Doubts {
        version: differs.version,
        revision: differs.revision,
        built: image.built,
    }
}

/// The same as a revision has it: without what the image is, and how it was found.
#[must_use]
pub fn kept(record: &Record) -> RevisionImage {
    let few = |list: &[String], most: usize, length: usize| -> Vec<String> {
        let cut = |words: &String| words.chars().take(length).collect();
        list.iter().take(most).map(cut).collect()
    };
    let origin = &record.origin;
    let differs = ImageDiffers {
        version: few(&origin.doubts.version, 8, 400),
        revision: few(&origin.doubts.revision, 8, 400),
    };
    RevisionImage {
        platforms: record.platforms.clone(),
        suspicious: record.suspicious.clone(),
        harmless: record.harmless.clone(),
        source_commit: origin.commit.as_ref().map(ToString::to_string),
        origin: Some(origin.words.chars().take(1000).collect()).filter(|words: &String| !words.is_empty()),
        differs: Some(differs).filter(|differs| *differs != ImageDiffers::default()),
        built: origin.doubts.built,
        warned: few(&record.warned, 16, 900),
        base: origin.made_of.bases.clone(),
        locks: origin.made_of.locks.clone(),
        size: i64::try_from(origin.made_of.size).ok().filter(|size| *size > 0),
        ..RevisionImage::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_revision_knows_of_its_image_the_next_one_knows_as_well() {
        let words = |text: &str| vec![text.to_owned()];
        let record = Record {
            platforms: words("linux/amd64"),
            suspicious: words("the variable A holds a URL with a password"),
            harmless: words("the variable RELEASE_COOKIE holds a text"),
            origin: Origin {
                commit: Some("3f9c2a71d0c4b5e6f708192a3b4c5d6e7f809102".parse().unwrap()),
                words: "version agrees by annotation, revision unlabelled".to_owned(),
                doubts: Doubts {
                    version: words("it says that it is version 1.8.3"),
                    revision: words("it says that it was built from commit 1111111"),
                    built: true,
                },
                made_of: MadeOf {
                    bases: words("debian:12"),
                    locks: Some("mix.lock".to_owned()),
                    size: 7,
                },
            },
            warned: words("Dockerfile:1: no suite"),
        };
        assert_eq!(of_image(&kept(&record)), record);
        assert_eq!(of_image(&kept(&Record::default())), Record::default());
        assert_eq!(kept(&Record::default()), RevisionImage::default());
    }
}
