//! Layers of files → the releases that they declare, each judged as a whole.
//!
//! # What is held
//!
//! A release whose layers are not all known is **held**: it is in no result, so what was applied before stays. An overlay
//! that does not parse must never let the base alone through. Which releases a broken document touches:
//!
//! 1. the one that it names, where namespace and name can still be read, even in a text that is no YAML;
//! 2. else those that the last good reading of its file named and that its layer no longer speaks of, if they account for
//!    every such document;
//! 3. else, as on a first reading, every release that its layer speaks of nowhere else. A layer speaks of a release once,
//!    so whatever a readable document of the same layer names cannot be in the broken one, and goes on.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::{
    conflict,
    declare::{Rejection, declare, doubts},
    declared::Declared,
    document::{Document, Problem},
    file::{Broken, File},
    merge::{Merged, assemble},
};
use crate::names::{Namespace, ReleaseId};

/// The releases that each file named when it was last read well.
pub type Named = BTreeMap<String, BTreeSet<ReleaseId>>;

/// What layers declare.
#[derive(Debug, Default)]
pub struct Reading {
    /// What can be acted on.
    pub releases: BTreeMap<ReleaseId, Release>,
    /// Every release that is spoken of, and every one that is held.
    pub mentioned: BTreeSet<ReleaseId>,
    /// Of them those that cannot be known now: what was applied before stays.
    pub held: BTreeSet<ReleaseId>,
    /// For the next reading.
    pub named: Named,
    /// Everything that is wrong, in the order of files and lines.
    pub problems: Vec<Problem>,
    /// What of releases that are right as a whole may be meant otherwise.
    pub warnings: Vec<Problem>,
}

/// A release that is right as a whole.
#[derive(Debug)]
pub struct Release {
    /// What all layers say.
    pub merged: Merged,
    /// The same, complete; `None` without a version.
    pub declared: Option<Declared>,
}

/// Namespaces that no release may live in unless a source names them.
const SYSTEM: [&str; 3] = ["kube-system", "kube-public", "kube-node-lease"];

/// Whether a namespace is Kubernetes' own.
#[must_use]
pub fn is_system(namespace: &Namespace) -> bool {
    SYSTEM.contains(&namespace.as_str())
}

/// Namespaces of this installation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Own {
    /// Slipway's own.
    pub slipway: Namespace,
    /// That of builds and their credentials.
    pub builds: Namespace,
}

/// Why no release of a source may live in a namespace. In that of builds none may, whoever names it: its pods could be given
/// every credential that is kept there, whatever the annotation of the Secret says.
#[must_use]
pub fn forbidden(namespace: &Namespace, allowed: &[String], own: &Own) -> Option<String> {
    if *namespace == own.builds {
        return Some(format!(
            "no release may live in namespace {namespace}, where the credentials of builds are; give it another one"
        ));
    }
    let permitted = if allowed.is_empty() {
        !is_system(namespace) && *namespace != own.slipway
    } else {
        allowed.iter().any(|name| name == namespace.as_str())
    };
    (!permitted).then(|| {
        format!("this source may not write to namespace {namespace}; see `namespaces` of the ReleaseSource")
    })
}

/// Reads layers, the first being the base. `before` is of the last reading; `forbidden` says why a release may not live in
/// a namespace.
#[must_use]
pub fn read(
    layers: &[Vec<Arc<File>>],
    before: &Named,
    forbidden: &dyn Fn(&Namespace) -> Option<String>,
) -> Reading {
    let mut reading = Reading::default();
    for file in layers.iter().flatten() {
        reading.problems.extend(file.problems.iter().cloned());
        reading.mentioned.extend(spoken(file));
        let mut named: BTreeSet<ReleaseId> = spoken(file).collect();
        if nameless(file).next().is_some() {
            named.extend(before.get(&file.path).into_iter().flatten().cloned());
        }
        reading.named.insert(file.path.clone(), named);
    }
    hold(layers, before, &mut reading);
    let documents: Vec<Vec<_>> = layers
        .iter()
        .map(|layer| layer.iter().flat_map(|file| &file.documents).collect())
        .collect();
    let (merged, problems, twice) = assemble(&documents);
    reading.problems.extend(problems);
    reading.held.extend(twice);
    for (id, merged) in merged {
        if reading.held.contains(&id) {
            continue;
        }
        let mut wrong: Vec<Problem> = forbidden(&id.namespace)
            .map(|why| merged.problem("", &why))
            .into_iter()
            .collect();
        match declare(&id.name, &merged.spec) {
            Ok(declared) if wrong.is_empty() => {
                let doubts = doubts(&merged.spec).into_iter();
                let say =
                    |doubt: Rejection| merged.problem(&doubt.pointer, &format!("release {id}: {doubt}"));
                reading.warnings.extend(doubts.map(say));
                reading.releases.insert(id, Release { merged, declared });
                continue;
            }
            Ok(_) => {}
            Err(rejections) => {
                let say = |rejection: Rejection| {
                    merged.problem(&rejection.pointer, &format!("release {id}: {rejection}"))
                };
                wrong.extend(rejections.into_iter().map(say));
            }
        }
        wrong.extend(mistyped(&id, &documents));
        reading.problems.extend(wrong);
        reading.held.insert(id);
    }
    for (id, problem) in conflict::find(&reading.releases) {
        reading.problems.push(problem);
        reading.held.insert(id);
    }
    reading.releases.retain(|id, _| !reading.held.contains(id));
    reading.mentioned.extend(reading.held.iter().cloned());
    let order = |p: &Problem| (p.path.clone(), p.line, p.column);
    reading.problems.sort_by_cached_key(order);
    reading
}

/// A release that one layer alone speaks of, and is not whole by that: its name may be a slip of the pen.
fn mistyped(id: &ReleaseId, layers: &[Vec<&Document>]) -> Option<Problem> {
    let speaks = |layer: &&Vec<&Document>| layer.iter().any(|document| document.id == *id);
    let mut own = layers.iter().filter(speaks);
    let (Some(layer), None) = (own.next(), own.next()) else {
        return None;
    };
    let document = layer.iter().find(|document| document.id == *id)?;
    let others = layers.iter().filter(|layer| !speaks(layer)).flatten();
    let distance = |other: &ReleaseId| strsim::damerau_levenshtein(&other.to_string(), &id.to_string());
    let near = others
        .filter(|other| !layer.iter().any(|own| own.id == other.id))
        .map(|other| (distance(&other.id), &other.id))
        .min()
        .filter(|(distance, _)| *distance <= 1 || *distance * 3 <= id.name.as_str().len())?;
    let message = format!("no other layer speaks of {id}: did you mean {}?", near.1);
    Some(Problem::error(&document.path, document.id_place, &message))
}

/// The releases that a file is known to speak of.
fn spoken(file: &File) -> impl Iterator<Item = ReleaseId> + '_ {
    let read = file.documents.iter().map(|document| document.id.clone());
    read.chain(file.broken.iter().filter_map(Broken::id))
}

/// The documents of a file of which that is not known.
fn nameless(file: &File) -> impl Iterator<Item = &Broken> {
    file.broken.iter().filter(|broken| broken.id().is_none())
}

fn hold(layers: &[Vec<Arc<File>>], before: &Named, reading: &mut Reading) {
    let known: BTreeSet<&ReleaseId> = before.values().flatten().collect();
    for layer in layers {
        let here: BTreeSet<ReleaseId> = layer.iter().flat_map(|file| spoken(file)).collect();
        for file in layer {
            reading.held.extend(file.broken.iter().filter_map(Broken::id));
            let lost: Vec<&Broken> = nameless(file).collect();
            if lost.is_empty() {
                continue;
            }
            let may_be = |id: &&ReleaseId| !here.contains(*id) && lost.iter().any(|broken| broken.may_be(id));
            let named = before.get(&file.path).into_iter().flatten();
            let mut held: BTreeSet<ReleaseId> = named.filter(may_be).cloned().collect();
            if held.len() < lost.len() {
                let all = reading.mentioned.iter().chain(known.iter().copied());
                held = all.filter(may_be).cloned().collect();
            }
            // Of what is wrong with the file it is a part, and no problem of its own.
            let first = file.problems.first();
            let known = reading
                .problems
                .iter_mut()
                .find(|problem| Some(&**problem) == first);
            if let (Some(problem), Some(said)) = (known, said(&held)) {
                let message = format!("{}; {said}", problem.message);
                *problem = Problem {
                    secret: problem.secret,
                    ..Problem::error(&file.path, (problem.line, problem.column), &message)
                };
            }
            reading.held.extend(held);
        }
    }
}

/// So that nobody asks in vain why a release does not move.
fn said(held: &BTreeSet<ReleaseId>) -> Option<String> {
    let names: Vec<String> = held.iter().take(10).map(ToString::to_string).collect();
    let more = held.len().saturating_sub(names.len());
    let (last, rest) = names.split_last()?;
    let all = match (more, rest.is_empty()) {
        (0, true) => format!("{last} stays as it is"),
        (0, false) => format!("{} and {last} stay as they are", rest.join(", ")),
        _ => format!("{} and {more} others stay as they are", names.join(", ")),
    };
    Some(format!(
        "of which release this speaks cannot be read: until it can, {all}"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(name: &str, spec: &str) -> String {
        format!(
            "apiVersion: slipway.dev/v1alpha1\nkind: Release\nmetadata: {{name: {name}, namespace: shop}}\nspec: {spec}\n"
        )
    }

    fn base(name: &str) -> String {
        document(name, "{image: ghcr.io/acme/x, port: 80, version: 1.0.0}")
    }

    fn file(path: &str, documents: &[String]) -> Arc<File> {
        Arc::new(File::read(path, documents.join("---\n").as_bytes()))
    }

    fn reading(layers: &[Vec<Arc<File>>], before: &Named) -> Reading {
        read(layers, before, &|_| None)
    }

    fn names<'a>(ids: impl IntoIterator<Item = &'a ReleaseId>) -> Vec<String> {
        ids.into_iter().map(|id| id.name.to_string()).collect()
    }

    const BROKEN: &str = "metadata: [\n";

    /// A base of three releases, and an overlay of two in a file each.
    fn layers(overlay: &[(&str, &str)]) -> Vec<Vec<Arc<File>>> {
        let overlay = overlay
            .iter()
            .map(|(path, text)| file(path, &[(*text).to_owned()]));
        vec![
            vec![file("base/all.yaml", &[base("a"), base("b"), base("c")])],
            overlay.collect(),
        ]
    }

    #[test]
    fn an_overlay_that_does_not_parse_never_lets_the_base_alone_through() {
        let (a, b) = (document("a", "{replicas: 5}"), document("b", "{replicas: 5}"));
        let good = reading(&layers(&[("p/a.yaml", &a), ("p/b.yaml", &b)]), &Named::new());
        assert_eq!(names(good.releases.keys()), ["a", "b", "c"]);
        assert_eq!((good.held.len(), good.problems.len()), (0, 0));
        let bad = reading(&layers(&[("p/a.yaml", BROKEN), ("p/b.yaml", &b)]), &good.named);
        assert_eq!(names(bad.releases.keys()), ["b", "c"]);
        assert_eq!(names(&bad.held), ["a"]);
        assert!(bad.mentioned.contains(bad.held.first().unwrap()));
    }

    #[test]
    fn where_the_name_is_readable_only_that_release_is_held() {
        let broken = format!("{}  x: [\n", document("a", ""));
        let bad = reading(&layers(&[("p/x.yaml", &broken)]), &Named::new());
        assert_eq!(
            (names(&bad.held), names(bad.releases.keys())),
            (vec!["a".into()], vec!["b".into(), "c".into()])
        );
        let mistyped = document("a", "{replcias: 5}");
        assert_eq!(
            names(&reading(&layers(&[("p/x.yaml", &mistyped)]), &Named::new()).held),
            ["a"]
        );
    }

    #[test]
    fn on_a_first_reading_everything_is_held_that_the_layer_speaks_of_nowhere_else() {
        let b = document("b", "{replicas: 5}");
        let bad = reading(&layers(&[("p/x.yaml", BROKEN), ("p/b.yaml", &b)]), &Named::new());
        assert_eq!(names(&bad.held), ["a", "c"]);
        let said = bad
            .problems
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join("\n");
        assert!(
            said.contains("until it can, shop/a and shop/c stay as they are"),
            "{said}"
        );
    }

    #[test]
    fn a_file_that_is_not_read_is_one_problem() {
        let mut layers = layers(&[]);
        layers[1].push(Arc::new(File::unread("p/a.yaml", "is a symbolic link")));
        let problems = reading(&layers, &Named::new()).problems;
        assert_eq!(problems.len(), 1);
        assert_eq!(
            problems[0].to_string(),
            "p/a.yaml:1:1: the file is a symbolic link; of which release this speaks cannot be read: until it can, shop/a, \
             shop/b and shop/c stay as they are"
        );
    }

    #[test]
    fn a_name_that_is_a_slip_of_the_pen_is_told_with_the_one_that_is_near() {
        let shop = document("shop", "{image: ghcr.io/acme/x, port: 80}");
        let read = |name: &str, spec: &str| {
            let top = document(name, spec);
            reading(
                &[
                    vec![file("b.yaml", std::slice::from_ref(&shop))],
                    vec![file("p.yaml", &[top])],
                ],
                &Named::new(),
            )
            .problems
        };
        let said = read("shpo", "{version: 1.0.0}");
        assert!(
            said.iter().any(|problem| problem.to_string()
                == "p.yaml:3:12: no other layer speaks of shop/shpo: did you mean shop/shop?"),
            "{said:?}"
        );
        let mentions = |problems: &[Problem]| {
            problems
                .iter()
                .any(|problem| problem.message.contains("no other layer"))
        };
        assert!(!mentions(&read("quite-another", "{version: 1.0.0}")));
        assert!(!mentions(&read("shop", "{version: 1.0.0, replicas: -1}")));
        assert_eq!(read("shpo", "{version: 1.0.0, image: x, port: 80}"), []);
    }

    #[test]
    fn half_a_name_narrows_what_is_held() {
        let nameless = document("a", "{}").replace(", namespace: shop", "");
        let bad = reading(&layers(&[("p/x.yaml", &nameless)]), &Named::new());
        assert_eq!(names(&bad.held), ["a"]);
    }

    #[test]
    fn a_file_that_stays_broken_keeps_holding_what_it_named_when_it_was_good() {
        let a = document("a", "{replicas: 5}");
        let mut named = reading(&layers(&[("p/a.yaml", &a)]), &Named::new()).named;
        for _ in 0..3 {
            let bad = reading(&layers(&[("p/a.yaml", BROKEN)]), &named);
            assert_eq!(names(&bad.held), ["a"]);
            named = bad.named;
        }
        let mended = reading(&layers(&[("p/a.yaml", &a)]), &named);
        assert!(mended.held.is_empty() && mended.releases.len() == 3);
    }

    #[test]
    fn a_broken_document_that_is_new_in_its_file_may_be_of_any_release() {
        let a = document("a", "{replicas: 5}");
        let named = reading(&layers(&[("p/a.yaml", &a)]), &Named::new()).named;
        let more = format!("{a}---\n{BROKEN}");
        let bad = reading(&layers(&[("p/a.yaml", &more)]), &named);
        assert_eq!(names(&bad.held), ["b", "c"], "the document of a is readable");
        let renamed = reading(&layers(&[("p/renamed.yaml", BROKEN)]), &named);
        assert_eq!(names(&renamed.held), ["a", "b", "c"]);
    }

    #[test]
    fn one_broken_file_of_a_single_layer_stops_no_other() {
        let layer = vec![
            file("r/a.yaml", &[base("a")]),
            file("r/b.yaml", &[base("b")]),
            file("r/c.yaml", &[BROKEN.to_owned()]),
        ];
        let bad = reading(&[layer], &Named::new());
        assert_eq!(names(bad.releases.keys()), ["a", "b"]);
        assert!(bad.held.is_empty() && !bad.problems.is_empty());
    }

    #[test]
    fn a_link_in_place_of_a_file_holds_what_it_may_hide() {
        let mut layers = layers(&[]);
        layers[1].push(Arc::new(File::unread("p/a.yaml", "is a symbolic link")));
        assert_eq!(names(&reading(&layers, &Named::new()).held), ["a", "b", "c"]);
    }

    #[test]
    fn what_is_another_programs_holds_nothing() {
        let secret = "apiVersion: v1\nkind: Secret\nmetadata: {name: x}\n";
        let bad = reading(&layers(&[("p/x.yaml", secret)]), &Named::new());
        assert!(bad.held.is_empty() && bad.problems.len() == 1);
    }

    #[test]
    fn releases_that_would_share_an_object_are_both_held() {
        let shop = document(
            "shop",
            "{image: x, port: 80, version: 1.0.0, processes: {worker: {}}}",
        );
        let layer = vec![file("r.yaml", &[shop, base("shop-worker"), base("other")])];
        let bad = reading(&[layer], &Named::new());
        assert_eq!(names(&bad.held), ["shop", "shop-worker"]);
        assert_eq!(bad.problems.len(), 2);
        assert!(
            bad.problems[0].message.contains("Deployment shop-worker"),
            "{:?}",
            bad.problems
        );
    }

    #[test]
    fn a_budget_that_a_migration_needs_is_an_object_like_any_other() {
        let migrates = document("shop", "{image: x, port: 80, version: 1.0.0, migrate: [m]}");
        let layer = |replicas: u32, migrates: &str| {
            let other = format!("{{image: x, port: 80, version: 1.0.0, replicas: {replicas}}}");
            vec![vec![file(
                "r.yaml",
                &[migrates.to_owned(), document("shop-migrate", &other)],
            )]]
        };
        let bad = reading(&layer(2, &migrates), &Named::new());
        assert_eq!(names(&bad.held), ["shop", "shop-migrate"]);
        let said: Vec<&str> = bad.problems.iter().map(|p| p.message.as_str()).collect();
        assert_eq!(
            said,
            [
                "release shop/shop: its PodDisruptionBudget shop-migrate would also be that of shop/shop-migrate: rename a process or a release",
                "release shop/shop-migrate: its PodDisruptionBudget shop-migrate would also be that of shop/shop: rename a process or a release",
            ]
        );
        assert_eq!((bad.problems[0].line, bad.problems[0].column), (4, 44));
        // One pod has no budget, and what never migrates needs none.
        for fine in [
            layer(1, &migrates),
            layer(2, &migrates.replace("[m]", "false")),
            layer(2, &migrates.replace("namespace: shop", "namespace: other")),
        ] {
            assert_eq!(reading(&fine, &Named::new()).problems, []);
        }
    }

    #[test]
    fn whatever_a_release_makes_besides_is_of_no_other_release() {
        let spec = "{image: x, port: 80, version: 1.0.0, host: a.example.com, migrate: [m], env: {A: {generate: hex/32}}}";
        let all = [
            "shop",
            "shop-ledger",
            "shop-generated",
            "shop-v1",
            "shop-migrate-01234567-1",
        ];
        let documents: Vec<String> = all.iter().map(|name| document(name, spec)).collect();
        assert_eq!(
            reading(&[vec![file("r.yaml", &documents)]], &Named::new()).problems,
            []
        );
    }
}
