//! What is known of a failure beside what is seen of it. It stands at the end of what is said, wherever that is repeated: a
//! reader looks there for what to do.

const MARK: &str = ". Hint: ";

/// A sentence with a hint at its end.
#[must_use]
pub fn with(sentence: &str, hint: Option<&str>) -> String {
    match hint {
        None => sentence.to_owned(),
        Some(hint) => format!("{}{MARK}{hint}", sentence.trim_end_matches(['.', ' '])),
    }
}

/// What was said before a hint.
#[must_use]
pub fn before(said: &str) -> &str {
    apart(said).0
}

/// A sentence about what was said before, whose hint comes after it.
#[must_use]
pub fn last(said: &str, sentence: impl FnOnce(&str) -> String) -> String {
    let (said, hint) = apart(said);
    with(&sentence(said), hint)
}

fn apart(said: &str) -> (&str, Option<&str>) {
    said.rsplit_once(MARK)
        .map_or((said, None), |(said, hint)| (said, Some(hint)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hint_comes_last_however_often_what_was_said_is_repeated() {
        let said = with("exit code 1: it ended.", Some("set PORT."));
        assert_eq!(said, "exit code 1: it ended. Hint: set PORT.");
        let once = last(&said, |said| format!("migration m failed: {said}"));
        let twice = last(&once, |said| format!("{said}; 1.0.0 keeps serving"));
        assert_eq!(
            twice,
            "migration m failed: exit code 1: it ended; 1.0.0 keeps serving. Hint: set PORT."
        );
        assert_eq!(
            before(&twice),
            "migration m failed: exit code 1: it ended; 1.0.0 keeps serving"
        );
    }

    #[test]
    fn without_a_hint_a_sentence_stays_as_it_is() {
        assert_eq!(with("it ended.", None), "it ended.");
        assert_eq!(last("it ended.", |said| format!("({said})")), "(it ended.)");
    }
}
