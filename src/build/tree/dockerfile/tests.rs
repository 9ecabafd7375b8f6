use super::*;

fn one(text: &str) -> Instruction {
    let mut file = read(&format!("FROM a\n{text}"));
    assert_eq!(file.problems, [], "{text}");
    assert_eq!(file.instructions.len(), 2, "{text}");
    file.instructions.remove(1)
}

/// `name=value in line`, or `name in line`.
fn pairs(text: &str) -> Vec<String> {
    let (Kind::Arg(pairs) | Kind::Env(pairs)) = one(text).kind else {
        panic!("{text}");
    };
    let with = |pair: &Pair| {
        pair.value
            .as_ref()
            .map_or_else(String::new, |value| format!("={value}"))
    };
    let pairs = pairs.iter();
    pairs
        .map(|pair| format!("{}{} in {}", pair.name, with(pair), pair.line))
        .collect()
}

fn lines(text: &str) -> Vec<u32> {
    read(text).instructions.iter().map(|one| one.line).collect()
}

#[test]
fn a_line_goes_on_after_a_backslash_over_comments_and_empty_lines() {
    let run = one("RUN a \\\n  # why\n\n  && b \\  \n  && c\n");
    assert_eq!(run.arguments(), "a   && b   && c");
    assert_eq!((run.line, run.last), (2, 6));
    assert_eq!(run.line_at(0), 2);
    let place = |word: &str| run.line_at(run.arguments().find(word).unwrap());
    assert_eq!((place("b"), place("c")), (5, 6));
    // Two of them are one, and end the line.
    assert_eq!(lines("FROM a\nRUN a \\\\\nRUN b\n"), [1, 2, 3]);
}

#[test]
fn the_escape_directive_is_read_before_everything_else() {
    let file = read("# syntax=docker/dockerfile:1\n# escape=`\nFROM a\nRUN a `\n  b\nRUN c \\\nRUN d\n");
    assert_eq!(file.syntax.as_deref(), Some("docker/dockerfile:1"));
    assert_eq!(file.escape, '`');
    assert_eq!(file.instructions.len(), 4);
    // After a comment it is one, too.
    assert_eq!(read("# hello\n# escape=`\nFROM a\n").escape, '\\');
}

#[test]
fn carriage_returns_a_mark_of_byte_order_and_no_last_newline_change_nothing() {
    let file = read("\u{feff}FROM a\r\nENV A=1 \\\r\n  B=2\r\nRUN x");
    assert_eq!(file.instructions.len(), 3);
    assert_eq!(file.problems, []);
    assert_eq!(pairs("ENV A=1 \\\r\n  B=2\r\n"), ["A=1 in 2", "B=2 in 3"]);
}

#[test]
fn heredocs_stand_anywhere_in_a_run_and_may_be_several() {
    for text in [
        "RUN <<EOF\nFROM b\nEOF\n",
        "RUN <<'EOF'\nFROM b\nEOF\n",
        "RUN <<\"EOF\" bash\nFROM b\nEOF\n",
        "RUN <<-EOF\n\tFROM b\n\tEOF\n",
        "RUN cat <<EOF > /x\nFROM b\nEOF\n",
        "RUN --mount=type=secret,id=x cat 3<<EOF\nFROM b\nEOF\n",
        "RUN a && \\\n cat <<EOF\nFROM b\nEOF",
        "COPY <<EOF /x\nFROM b\nEOF\n",
        "ONBUILD RUN <<EOF\nFROM b\nEOF\n",
    ] {
        let instruction = one(text);
        let bodies: Vec<_> = instruction.heredocs.iter().map(Text::as_str).collect();
        assert_eq!(bodies, ["FROM b\n"], "{text}");
    }
    let two = one("RUN <<A cat > /f && <<B cat > /g\none\nA\ntwo\nB\n");
    let bodies: Vec<_> = two
        .heredocs
        .iter()
        .map(|text| (text.as_str(), text.line(0)))
        .collect();
    assert_eq!(bodies, [("one\n", 3), ("two\n", 5)]);
    assert_eq!(two.last, 6);
}

#[test]
fn what_only_looks_like_a_heredoc_takes_no_line() {
    for text in [
        "RUN echo $((1<<2))\n",
        "RUN cat <<< x\n",
        "RUN echo '<<EOF'\n",
        "RUN [\"a\", \"<<EOF\"]\n",
        "ENV A=<<EOF\n",
        "RUN a << b\n",
    ] {
        assert_eq!(one(text).heredocs.len(), 0, "{text}");
    }
}

#[test]
fn a_heredoc_without_an_end_is_said_and_hides_nothing() {
    let file = read("FROM a\nRUN <<EOF\nENV A=1\nRUN <<END\nx\nEND\n");
    assert_eq!(file.problems.first().unwrap().0, 2);
    assert!(matches!(file.instructions.get(2).unwrap().kind, Kind::Env(_)));
}

#[test]
fn both_forms_of_env_are_read_with_the_line_of_each_name() {
    assert_eq!(pairs("ENV A b c\n"), ["A=b c in 2"]);
    assert_eq!(pairs("ENV LANG en_US.UTF-8"), ["LANG=en_US.UTF-8 in 2"]);
    assert_eq!(
        pairs("ENV A=\"b c\" \\\n B='d $e' \\\n C=f\\ g D=\n"),
        ["A=b c in 2", "B=d $e in 3", "C=f g in 4", "D= in 4",]
    );
}

#[test]
fn an_arg_has_a_default_or_none() {
    assert_eq!(
        pairs("ARG A B=1 C=\"x y\"\n"),
        ["A in 2", "B=1 in 2", "C=x y in 2"]
    );
}

#[test]
fn flags_are_apart_from_what_follows_them() {
    let run = one("RUN --mount=type=secret,id=a --mount=\"type=cache,target=/x y\" --network=none make\n");
    assert_eq!(
        run.flag("mount").collect::<Vec<_>>(),
        ["type=secret,id=a", "type=cache,target=/x y"]
    );
    assert_eq!(run.arguments(), "make");
    assert_eq!(one("RUN --network=none -- --odd\n").arguments(), "--odd");
    let Kind::Copy { sources, from } = one("COPY --from=builder --chown=a:b /x \"/y z\" ./\n").kind else {
        panic!()
    };
    assert_eq!(
        (sources, from.as_deref()),
        (vec!["/x".to_owned(), "/y z".to_owned()], Some("builder"))
    );
    let Kind::Copy { sources, .. } = one("COPY [\"a b\", \"c\"]\n").kind else {
        panic!()
    };
    assert_eq!(sources, ["a b"]);
}

#[test]
fn stages_have_a_name_or_none() {
    let from = |text: &str| match read(text).instructions.remove(0).kind {
        Kind::From { image, name } => (image, name),
        kind => panic!("{kind:?}"),
    };
    assert_eq!(from("FROM a"), ("a".into(), None));
    assert_eq!(
        from("from --platform=$BUILDPLATFORM ${A} as Builder"),
        ("${A}".into(), Some("builder".into()))
    );
    assert_eq!(read("FROM a AS b # c\n").problems.len(), 1);
    assert_eq!(read("FROM\n").problems.len(), 1);
}

#[test]
fn commands_are_a_list_or_a_text_for_a_shell() {
    assert_eq!(
        one("ENTRYPOINT [\"a\", \"b\"]").kind,
        Kind::Entrypoint(Form::Exec(vec!["a".into(), "b".into()]))
    );
    assert_eq!(one("ENTRYPOINT a b").kind, Kind::Entrypoint(Form::Shell));
    // No JSON, so a shell gets it.
    assert_eq!(one("CMD ['a']").kind, Kind::Command(Form::Shell));
    let health = one("HEALTHCHECK --interval=5s CMD curl -f http://localhost/\n");
    assert_eq!(health.kind, Kind::Command(Form::Shell));
    assert_eq!(health.arguments(), "curl -f http://localhost/");
    assert_eq!(one("HEALTHCHECK NONE").kind, Kind::Other);
}

#[test]
fn an_instruction_for_later_builds_is_read_as_what_it_will_be() {
    let later = one("ONBUILD ENV A=1\n");
    assert!(later.on_build && matches!(later.kind, Kind::Env(_)));
}

#[test]
fn what_is_no_instruction_is_said_and_what_follows_is_read() {
    let file = read("FROM a\nFOO x\nENV A=1\n");
    assert_eq!(file.problems.first().unwrap().0, 2);
    assert!(matches!(file.instructions.last().unwrap().kind, Kind::Env(_)));
}

#[test]
fn a_comment_directly_above_or_within_declares_that_nothing_is_secret() {
    let public = |text: &str| read(text).instructions.last().unwrap().public;
    assert!(public("FROM a\n# slipway: public\nENV A=1\n"));
    assert!(public(
        "FROM a\n# slipway: public, the key of the demo\n# more\nENV A=1\n"
    ));
    assert!(public("FROM a\nENV A=1 \\\n  # slipway:public\n  B=2\n"));
    for text in [
        "FROM a\n# slipway: public\n\nENV A=1\n",
        "FROM a\n# slipway: public\nENV A=1\nENV B=1\n",
        "FROM a\n# slipway: public-key\nENV A=1\n",
        "FROM a\n# not slipway: public\nENV A=1\n",
    ] {
        assert!(!public(text), "{text}");
    }
}
