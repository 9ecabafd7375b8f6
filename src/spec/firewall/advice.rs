//! What to do about a secret, by the place where it stands: not every place can refer to one.

/// What becomes of it.
pub(super) fn certain(pointer: &str) -> String {
    let public = if is_variable(pointer) {
        ". If it is none, write {value: …, public: true}"
    } else {
        ""
    };
    format!(
        "{}; git keeps history, so change it where it is used, too{public}",
        instead(pointer)
    )
}

/// What becomes of it, if it is one.
pub(super) fn suspect(pointer: &str) -> String {
    let public = if is_variable(pointer) {
        "; if it is none, write {value: …, public: true}"
    } else {
        ""
    };
    format!(
        "{} and change it where it is used, since git keeps history{public}",
        instead(pointer)
    )
}

/// Only variables can be declared public.
fn is_variable(pointer: &str) -> bool {
    pointer.contains("/env/")
}

fn instead(pointer: &str) -> &'static str {
    let within = |name: &str| pointer.split('/').skip(1).any(|part| part == name);
    let words = ["args", "command", "migrate"].into_iter().any(within);
    let numbered = pointer
        .rsplit('/')
        .next()
        .is_some_and(|last| last.parse::<usize>().is_ok());
    if within("env") || within("files") {
        "put it into a Secret and refer to it by {secret: name/key}"
    } else if words && numbered {
        "put it into a Secret and give it to the program as a variable, env: {NAME: {secret: name/key}}, since whoever may \
         list processes reads their words"
    } else if within("headers") {
        "a secret cannot stand in a header: remove it, and let health.path be one that answers without"
    } else if within("annotations") || within("labels") {
        "a secret cannot stand there: remove it; where the annotation may name a Secret instead, let it do so"
    } else if within("image") {
        "a secret cannot stand in the name of an image: remove it; pullSecret names the Secret that it is pulled with"
    } else if within("host") {
        "a secret cannot stand in the name of a host: remove it"
    } else if within("args") {
        "an image keeps the arguments of its build: put it into a Secret of the namespace for builds, and mount it by build.secrets: {id: name/key}"
    } else {
        "a secret cannot stand there: remove it, and give it to the program by env: {NAME: {secret: name/key}}"
    }
}
