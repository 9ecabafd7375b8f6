//! What of an object is not as it should be.
//!
//! Only fields that `desired` names are looked at: what others added is theirs. The reverse, a field of ours that is
//! no longer wanted, is not seen here and need not be: a Deployment carries the number of its revision and the others a
//! hash of what was rendered, so such an object is applied, and server-side apply removes what its manager no longer
//! names.

use serde_json::{Map, Value};

use super::quantity::Quantity;

/// The paths of fields of `desired` that `live` lacks or has differently, as in
/// `spec.template.spec.containers[web].image`. A path holds names and never a value, so it may be shown to anybody.
#[must_use]
pub fn drift(desired: &Value, live: &Value) -> Vec<String> {
    let mut found = Vec::new();
    compare(&mut Path::default(), desired, live, &mut found);
    found
}

/// Where in an object: the field names from the top, and their rendering.
#[derive(Default)]
struct Path {
    fields: Vec<String>,
    text: String,
}

impl Path {
    /// Runs `then` one step further in.
    fn within(&mut self, field: Option<&str>, step: &str, then: impl FnOnce(&mut Self)) {
        let length = self.text.len();
        self.text.push_str(step);
        self.fields.extend(field.map(str::to_owned));
        then(self);
        if field.is_some() {
            self.fields.pop();
        }
        self.text.truncate(length);
    }

    /// A field of a map: `.name`, or `[name]` where it has characters that would read as further steps.
    fn field(&mut self, name: &str, then: impl FnOnce(&mut Self)) {
        let plain = name.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'_');
        let step = match (plain, self.text.is_empty()) {
            (true, true) => name.to_owned(),
            (true, false) => format!(".{name}"),
            (false, _) => format!("[{name}]"),
        };
        self.within(Some(name), &step, then);
    }

    /// An item of a list.
    fn item(&mut self, name: &str, then: impl FnOnce(&mut Self)) {
        self.within(None, &format!("[{name}]"), then);
    }

    fn last(&self) -> &str {
        self.fields.last().map_or("", String::as_str)
    }

    /// Whether the value here is a quantity.
    fn is_quantity(&self) -> bool {
        matches!(
            self.fields.as_slice(),
            [.., resources, kind, _] if resources == "resources" && (kind == "requests" || kind == "limits")
        ) || self.last() == "sizeLimit"
    }
}

fn compare(path: &mut Path, desired: &Value, live: &Value, found: &mut Vec<String>) {
    match (desired, live) {
        (Value::Object(desired), Value::Object(live)) => compare_maps(path, desired, live, found),
        (Value::Array(desired), Value::Array(live)) => compare_lists(path, desired, live, found),
        _ => {
            if desired != live && !(path.is_quantity() && same_amount(desired, live)) {
                found.push(path.text.clone());
            }
        }
    }
}

fn compare_maps(
    path: &mut Path,
    desired: &Map<String, Value>,
    live: &Map<String, Value>,
    found: &mut Vec<String>,
) {
    // What is equal needs no path, and nearly all is.
    for (name, desired) in desired
        .iter()
        .filter(|(name, desired)| live.get(*name) != Some(*desired))
    {
        path.field(name, |path| match live.get(name) {
            Some(live) => compare(path, desired, live, found),
            // The API server leaves it out where it is 0.
            None if name == "minReadySeconds" && *desired == 0 => {}
            None => found.push(path.text.clone()),
        });
    }
}

fn compare_lists(path: &mut Path, desired: &[Value], live: &[Value], found: &mut Vec<String>) {
    let list = path.last().to_owned();
    let identities: Option<Vec<Identity>> = desired.iter().map(|item| Identity::of(&list, item)).collect();
    let Some(identities) = identities.filter(|_| !desired.is_empty()) else {
        return compare_by_index(path, desired, live, found);
    };
    for (identity, desired) in identities.iter().zip(desired) {
        let live = live
            .iter()
            .find(|item| Identity::of(&list, item).as_ref() == Some(identity));
        path.item(&identity.shown, |path| match live {
            Some(live) => compare(path, desired, live, found),
            None => found.push(path.text.clone()),
        });
    }
}

/// A list that Kubernetes replaces as a whole: other lengths are another list.
fn compare_by_index(path: &mut Path, desired: &[Value], live: &[Value], found: &mut Vec<String>) {
    if desired.len() != live.len() {
        found.push(path.text.clone());
        return;
    }
    for (index, (desired, live)) in desired.iter().zip(live).enumerate() {
        path.item(&index.to_string(), |path| compare(path, desired, live, found));
    }
}

/// What makes an item of a list the same item: the merge key that Kubernetes gives that list.
#[derive(PartialEq)]
struct Identity {
    shown: String,
    rest: Option<String>,
}

impl Identity {
    /// `None` where the list has no merge key, or the item lacks it.
    fn of(list: &str, item: &Value) -> Option<Self> {
        let text = |field: &str| match item.get(field) {
            Some(Value::String(text)) => Some(text.clone()),
            Some(Value::Number(number)) => Some(number.to_string()),
            _ => None,
        };
        let (shown, rest) = match list {
            "containers" | "initContainers" | "env" | "volumes" | "imagePullSecrets" => (text("name"), None),
            "volumeMounts" => (text("mountPath"), None),
            "conditions" => (text("type"), None),
            "ownerReferences" => (text("uid"), None),
            "topologySpreadConstraints" => (text("topologyKey"), text("whenUnsatisfiable")),
            // Of a container, or else of a Service.
            "ports" => (
                text("containerPort").or_else(|| text("port")),
                Some(text("protocol").unwrap_or_else(|| "TCP".to_owned())),
            ),
            _ => return None,
        };
        Some(Self { shown: shown?, rest })
    }
}

fn same_amount(desired: &Value, live: &Value) -> bool {
    let amount = |value: &Value| match value {
        Value::String(text) => Quantity::parse(text),
        Value::Number(number) => Quantity::parse(&number.to_string()),
        _ => None,
    };
    amount(desired).is_some_and(|desired| amount(live) == Some(desired))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::render::{fixtures::Fixture, render};

    fn yaml(text: &str) -> Value {
        serde_yaml::from_str(text).unwrap()
    }

    #[test]
    fn an_object_does_not_differ_from_itself_whatever_others_add() {
        for object in render(&Fixture::web().input()) {
            let mut live = object.value.clone();
            assert_eq!(drift(&object.value, &live), [""; 0]);
            live["metadata"]["resourceVersion"] = json!("7");
            live["metadata"]["annotations"]["other/tool"] = json!("1");
            live["status"] = json!({ "replicas": 2 });
            assert_eq!(drift(&object.value, &live), [""; 0]);
        }
    }

    #[test]
    fn paths_lead_to_the_field_and_hold_no_value() {
        let desired = yaml(
            "{metadata: {annotations: {slipway.dev/commit: aaa}}, spec: {replicas: 3, template: {spec: {containers:
              [{name: web, image: 'x:1', env: [{name: KEY, value: hush}, {name: GONE, value: hush}]}]}}}}",
        );
        let live = yaml(
            "{metadata: {annotations: {slipway.dev/commit: bbb}}, spec: {replicas: 1, template: {spec: {containers:
              [{name: sidecar}, {name: web, image: 'x:2', env: [{name: EXTRA, value: a}, {name: KEY, value: loud}]}]}}}}",
        );
        assert_eq!(
            drift(&desired, &live),
            [
                "metadata.annotations[slipway.dev/commit]",
                "spec.replicas",
                "spec.template.spec.containers[web].env[KEY].value",
                "spec.template.spec.containers[web].env[GONE]",
                "spec.template.spec.containers[web].image",
            ]
        );
    }

    #[test]
    fn lists_with_a_key_are_matched_by_it() {
        for list in [
            "{volumes: [{name: a, emptyDir: {}}]}",
            "{volumeMounts: [{mountPath: /tmp, name: tmp}]}",
            "{ports: [{containerPort: 4000, name: http}]}",
            "{ports: [{port: 80, targetPort: http, protocol: TCP}]}",
            "{conditions: [{type: Ready, status: 'True'}]}",
            "{topologySpreadConstraints: [{topologyKey: zone, maxSkew: 1}]}",
            "{imagePullSecrets: [{name: ghcr}]}",
        ] {
            let desired = yaml(list);
            let mut live = desired.clone();
            for items in live.as_object_mut().unwrap().values_mut() {
                items
                    .as_array_mut()
                    .unwrap()
                    .insert(0, json!({ "name": "injected" }));
            }
            assert_eq!(drift(&desired, &live), [""; 0], "{list}");
        }
    }

    #[test]
    fn ports_of_one_number_differ_by_protocol() {
        let desired = yaml("{ports: [{containerPort: 53, protocol: UDP, name: dns}]}");
        let live = yaml("{ports: [{containerPort: 53, protocol: TCP, name: dns}]}");
        assert_eq!(drift(&desired, &live), ["ports[53]"]);
    }

    #[test]
    fn other_lists_are_compared_as_a_whole() {
        assert_eq!(
            drift(&yaml("{args: [a, b]}"), &yaml("{args: [a, c]}")),
            ["args[1]"]
        );
        assert_eq!(drift(&yaml("{args: [a]}"), &yaml("{args: [a, b]}")), ["args"]);
        assert_eq!(drift(&yaml("{drop: []}"), &yaml("{drop: [ALL]}")), ["drop"]);
    }

    #[test]
    fn equal_quantities_are_equal_only_where_quantities_stand() {
        let at = |cpu: &str, size: &str| {
            yaml(&format!(
                "{{resources: {{requests: {{cpu: {cpu}}}}}, volumes: [{{name: tmp, emptyDir: {{sizeLimit: {size}}}}}]}}"
            ))
        };
        assert_eq!(drift(&at("1000m", "1024Mi"), &at("'1'", "1Gi")), [""; 0]);
        assert_eq!(drift(&at("0.5", "1Gi"), &at("500m", "1Gi")), [""; 0]);
        assert_eq!(
            drift(&at("1", "1G"), &at("2", "1Gi")),
            ["resources.requests.cpu", "volumes[tmp].emptyDir.sizeLimit"]
        );
        assert_eq!(
            drift(
                &yaml("{env: [{name: A, value: '1000m'}]}"),
                &yaml("{env: [{name: A, value: '1'}]}")
            ),
            ["env[A].value"]
        );
    }

    #[test]
    fn another_type_is_drift_at_that_very_place() {
        assert_eq!(
            drift(&yaml("{spec: {a: {b: 1}}}"), &yaml("{spec: {a: 3}}")),
            ["spec.a"]
        );
        assert_eq!(drift(&yaml("{spec: {a: 1}}"), &yaml("{}")), ["spec"]);
        assert_eq!(drift(&yaml("{spec: {a: 1}}"), &Value::Null), [""]);
    }
}
