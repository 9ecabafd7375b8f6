//! Documents that are plainly no `Release`: of other programs, Secrets, what is encrypted.

use serde_json::Value;
use serde_yaml::Spanned;

use super::{
    super::{file::Broken, yaml::Node},
    API_VERSION, Fields, Place, Problem, Reader, Refused, at, text,
};

const SECRET: &str = "a Secret must not be in git: remove it and rotate its values, since git keeps them; make it in the \
                      cluster and refer to it as {secret: name/key}";

impl Reader<'_> {
    /// What is plainly no `Release`.
    pub(super) fn foreign(&mut self, start: Place, fields: &Fields<'_>) -> Option<Refused> {
        let own = text(fields, "apiVersion").is_none_or(|version| version.starts_with("slipway.dev/"));
        let kind_at = at(fields, "kind", start);
        let elsewhere = |what: &str| {
            format!("only Release documents of {API_VERSION} may be here: move {what} elsewhere")
        };
        match text(fields, "kind") {
            Some("Release") => {}
            // Its values are encrypted by SOPS: whoever reads them learns nothing.
            Some(kind)
                if fields
                    .get("sops")
                    .is_some_and(|(_, node)| matches!(node.value, Node::Map(_))) =>
            {
                let message = elsewhere(&format!("kind {kind}"));
                let problem = Problem::error(self.path, kind_at, &message);
                return Some(Refused::foreign(vec![problem], true));
            }
            Some("Secret") => {
                let problem = Problem::error(self.path, kind_at, SECRET);
                return Some(Refused::foreign(vec![problem], true));
            }
            // One of the two may be a slip of the pen; both together are another program's.
            Some(kind) if !own => {
                let items = fields.get("items");
                let secrets = items.map_or_else(Vec::new, |(_, items)| self.secrets(items));
                if !secrets.is_empty() {
                    let each = secrets.into_iter();
                    let problems = each.map(|place| Problem::error(self.path, place, SECRET));
                    return Some(Refused::foreign(problems.collect(), true));
                }
                let problem = Problem::error(self.path, kind_at, &elsewhere(&format!("kind {kind}")));
                return Some(Refused::foreign(vec![problem], kind == "SealedSecret"));
            }
            None if !["kind", "apiVersion", "metadata", "spec"]
                .iter()
                .any(|name| fields.contains_key(*name)) =>
            {
                if self.problems.is_empty() {
                    self.say(start, &elsewhere("this"));
                }
                return Some(Refused::of(Broken::default(), std::mem::take(&mut self.problems)));
            }
            Some(kind @ "ReleaseSource") => {
                let message = format!("kind {kind} is not read here: apply it with kubectl");
                let problem = Problem::error(self.path, kind_at, &message);
                return Some(Refused::foreign(vec![problem], false));
            }
            Some(kind) => self.say(kind_at, &format!("kind {kind} is not read here, only Release")),
            None => self.say(kind_at, "kind must be Release"),
        }
        None
    }

    /// Where each Secret of a list of objects says that it is one.
    fn secrets(&self, items: &Spanned<Node>) -> Vec<Place> {
        let Node::List(items) = &items.value else {
            return Vec::new();
        };
        let is = |node: &Spanned<Node>, text: &str| matches!(&node.value, Node::Scalar(Value::String(is)) if is == text);
        items
            .iter()
            .filter_map(|item| match &item.value {
                Node::Map(fields) => fields
                    .iter()
                    .find(|(key, value)| is(key, "kind") && is(value, "Secret")),
                _ => None,
            })
            .map(|(key, _)| self.place(key))
            .collect()
    }
}
