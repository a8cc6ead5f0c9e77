//! Finds requirement ids in Rust source and says which test each belongs to.

use super::tokens::{Kind, Token, tokens};

/// An id found in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Citation {
    /// As in the requirements, without the `R-` it may be cited with.
    pub id: String,
    /// From 1.
    pub line: usize,
    /// Name of the test that cites it; nothing where it is only mentioned.
    pub test: Option<String>,
}

/// Ids in the comments of `source` and in the names of its tests. An id counts for a test when it stands in the
/// test's body, in the comments directly above it (no blank line between) or in its name: with `r_` or of a threat
/// anywhere, of an invariant at the start. Ignored tests prove nothing. Strings are not read: an id in one is data.
pub fn rust_citations(source: &str) -> Vec<Citation> {
    let tokens = tokens(source);
    let mut scan = Scan { tokens: &tokens, at: 0, found: Vec::new() };
    scan.run();
    scan.found
}

/// Ids anywhere in `text`, as mentions.
pub fn text_citations(text: &str) -> Vec<Citation> {
    ids_by_line(text, 1).into_iter().map(|(line, id)| Citation { id, line, test: None }).collect()
}

struct Scan<'a> {
    tokens: &'a [Token<'a>],
    at: usize,
    found: Vec<Citation>,
}

/// What stands above an item: ids in its comments, and what its attributes say.
#[derive(Default)]
struct Above {
    ids: Vec<(usize, String)>,
    is_test: bool,
    is_ignored: bool,
}

impl<'a> Scan<'a> {
    fn run(&mut self) {
        let mut above = Above::default();
        while let Some(token) = self.tokens.get(self.at).copied() {
            if !above.ids.is_empty() && token.line > self.line_before() + 1 {
                self.cite(std::mem::take(&mut above.ids), None);
            }
            match token.kind {
                Kind::Comment(text) => {
                    let trails_code = self.at > 0
                        && !matches!(self.tokens[self.at - 1].kind, Kind::Comment(_))
                        && self.line_before() == token.line
                        && !above.is_test;
                    let ids = ids_by_line(text, token.line);
                    if trails_code {
                        self.cite(ids, None);
                    } else {
                        above.ids.extend(ids);
                    }
                    self.at += 1;
                }
                Kind::Punct('#') => self.attribute(&mut above),
                Kind::Word("pub" | "async" | "const" | "unsafe") => self.at += 1,
                Kind::Word("fn") => self.function(std::mem::take(&mut above)),
                Kind::Word(_) | Kind::Punct(_) => {
                    self.cite(std::mem::take(&mut above).ids, None);
                    self.at += 1;
                }
            }
        }
        self.cite(above.ids, None);
    }

    fn line_before(&self) -> usize {
        self.at.checked_sub(1).map_or(0, |before| self.tokens[before].line_last)
    }

    fn cite(&mut self, ids: Vec<(usize, String)>, test: Option<&str>) {
        self.found.extend(ids.into_iter().map(|(line, id)| Citation { id, line, test: test.map(str::to_owned) }));
    }

    fn attribute(&mut self, above: &mut Above) {
        self.at += 1;
        let is_inner = self.take_if(Kind::Punct('!'));
        if !self.take_if(Kind::Punct('[')) {
            return;
        }
        let mut depth = 1_usize;
        let mut last_path_word = "";
        let mut path_is_open = true;
        while let Some(token) = self.tokens.get(self.at) {
            self.at += 1;
            match token.kind {
                Kind::Punct('[') => depth += 1,
                Kind::Punct(']') if depth == 1 => break,
                Kind::Punct(']') => depth -= 1,
                Kind::Punct(':') => {}
                Kind::Punct(_) => path_is_open = false,
                Kind::Word(word) if path_is_open => last_path_word = word,
                Kind::Word(_) => {}
                Kind::Comment(text) => above.ids.extend(ids_by_line(text, token.line)),
            }
        }
        if !is_inner {
            above.is_test |= matches!(last_path_word, "test" | "property_test");
            above.is_ignored |= last_path_word == "ignore";
        }
    }

    fn function(&mut self, above: Above) {
        self.at += 1;
        let name = self.name();
        if name.is_empty() || !above.is_test || above.is_ignored {
            self.cite(above.ids, None);
            return;
        }
        let name_line = self.line_before();
        let mut ids = above.ids;
        ids.extend(ids_in_name(&name).into_iter().map(|id| (name_line, id)));
        let mut parens = 0_usize;
        let mut braces = 0_usize;
        while let Some(token) = self.tokens.get(self.at) {
            self.at += 1;
            match token.kind {
                Kind::Comment(text) => ids.extend(ids_by_line(text, token.line)),
                Kind::Punct('(') if braces == 0 => parens += 1,
                Kind::Punct(')') if braces == 0 => parens = parens.saturating_sub(1),
                Kind::Punct(';') if braces == 0 && parens == 0 => break,
                Kind::Punct('{') if braces > 0 || parens == 0 => braces += 1,
                Kind::Punct('}') if braces == 1 => break,
                Kind::Punct('}') => braces = braces.saturating_sub(1),
                Kind::Punct(_) | Kind::Word(_) => {}
            }
        }
        self.cite(ids, Some(&name));
    }

    /// The word behind `fn`; `$name` inside a macro; empty for a function pointer type.
    fn name(&mut self) -> String {
        let dollar = if self.take_if(Kind::Punct('$')) { "$" } else { "" };
        match self.tokens.get(self.at).map(|t| t.kind) {
            Some(Kind::Word(word)) => {
                self.at += 1;
                format!("{dollar}{word}")
            }
            _ => String::new(),
        }
    }

    fn take_if(&mut self, kind: Kind<'a>) -> bool {
        let is_there = self.tokens.get(self.at).is_some_and(|t| t.kind == kind);
        self.at += usize::from(is_there);
        is_there
    }
}

fn ids_by_line(text: &str, line_first: usize) -> Vec<(usize, String)> {
    text.lines()
        .enumerate()
        .flat_map(|(n, line)| ids_in_text(line).into_iter().map(move |id| (line_first + n, id)))
        .collect()
}

fn ids_in_text(text: &str) -> Vec<String> {
    text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != '-').flat_map(ids_in_hyphenated).collect()
}

/// Without `R-` only threats and invariants count: the other groups' ids can mean many things.
fn ids_in_hyphenated(word: &str) -> Vec<String> {
    let mut after_r = false;
    let mut ids = Vec::new();
    for part in word.split('-') {
        let group = part.trim_end_matches(|c: char| c.is_ascii_digit());
        let is_id = group.len() < part.len() && !group.is_empty() && group.bytes().all(|b| b.is_ascii_uppercase());
        let is_integer_type = matches!(part, "I32" | "I64" | "I128");
        if is_id && !is_integer_type && (after_r || matches!(group, "TH" | "I")) {
            ids.push(part.to_owned());
        }
        after_r = part == "R";
    }
    ids
}

fn ids_in_name(name: &str) -> Vec<String> {
    let parts: Vec<&str> = name.split('_').collect();
    let numbered = |part: &str, group: &str| {
        part.strip_prefix(group).is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()))
    };
    let mut ids = Vec::new();
    for (n, part) in parts.iter().enumerate() {
        let after_r = n > 0 && parts[n - 1] == "r";
        let in_r_group = ["g", "l", "b", "t", "d", "w", "th", "i"].iter().any(|group| numbered(part, group));
        if (after_r && in_r_group) || numbered(part, "th") || (n == 0 && numbered(part, "i")) {
            ids.push(part.to_ascii_uppercase());
        }
    }
    ids
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(source: &str) -> Vec<(String, Option<String>)> {
        rust_citations(source).into_iter().map(|c| (c.id, c.test)).collect()
    }

    fn cited(id: &str, test: &str) -> (String, Option<String>) {
        (id.to_owned(), Some(test.to_owned()))
    }

    fn mentioned(id: &str) -> (String, Option<String>) {
        (id.to_owned(), None)
    }

    #[test]
    fn body_and_comments_above_belong_to_the_test() {
        let source = "
            /// R-G12: a threshold
            // TH20 too
            #[test]
            // I5 between
            fn alpha() { if a { /* R-W27 */ } let s = \"R-G1\"; }
            // R-G2
            fn helper() { /* R-G3 */ }
            #[tokio::test(flavor = \"current_thread\")]
            pub async fn beta() -> Result<(), E> { // R-L4
            }";
        let expected = [
            cited("G12", "alpha"),
            cited("TH20", "alpha"),
            cited("I5", "alpha"),
            cited("W27", "alpha"),
            mentioned("G2"),
            mentioned("G3"),
            cited("L4", "beta"),
        ];
        assert_eq!(found(source), expected);
    }

    #[test]
    fn what_is_not_directly_above_is_only_mentioned() {
        let source = "
            //! R-G1
            use a; // R-G2
            #[test]
            fn alpha() {} // R-G3
            // R-G4: a heading

            // R-G5
            #[test]
            fn beta() {}
            // R-G6";
        let expected =
            [mentioned("G1"), mentioned("G2"), mentioned("G3"), mentioned("G4"), cited("G5", "beta"), mentioned("G6")];
        assert_eq!(found(source), expected);
    }

    #[test]
    fn property_tests_in_a_macro_are_tests() {
        let source = "
            proptest! {
                #![proptest_config(Config { cases: 9, ..Config::default() })]
                /// I4
                #[test]
                fn any_order(x in vec(any::<u8>().prop_map(|b| { b }), 0..4), y in 0..2u8) {
                    // R-W2
                    prop_assert!(x != y);
                }
                // R-G9
                fn not_run(x in 0..1u8) {}
            }";
        assert_eq!(found(source), [cited("I4", "any_order"), cited("W2", "any_order"), mentioned("G9")]);
    }

    #[test]
    fn ignored_tests_prove_nothing() {
        assert_eq!(
            found("#[test]\n#[ignore = \"slow\"]\n// I1\nfn alpha() { /* I2 */ }"),
            [mentioned("I1"), mentioned("I2")]
        );
        assert_eq!(found("#[cfg(test)]\n// I1\nfn alpha() {}"), [mentioned("I1")], "cfg(test) alone is no test");
        assert_eq!(found("#[test_log::test]\n// I1\nfn alpha() {}"), [cited("I1", "alpha")]);
    }

    #[test]
    fn names_of_tests_count() {
        let source = "#[test]\nfn r_g12_and_th20_hold() {}\n#[test]\nfn i5_holds() {}\n#[test]\nfn reads_i8_and_g1() {}\nfn th1_helper() {}";
        let expected =
            [cited("G12", "r_g12_and_th20_hold"), cited("TH20", "r_g12_and_th20_hold"), cited("I5", "i5_holds")];
        assert_eq!(found(source), expected);
    }

    #[test]
    fn ids_have_word_boundaries() {
        let text = "R-G12, (TH20) TH20–TH23 TH4-TH5 R-TH6 R-I7: not AR-G1 R-G1x xTH1 I32 G3 T2 I2C R- R-5 TH I_1 R-Z9";
        assert_eq!(ids_in_text(text), ["G12", "TH20", "TH20", "TH23", "TH4", "TH5", "TH6", "I7", "Z9"]);
    }

    #[test]
    fn lines_are_those_of_the_id() {
        let found = rust_citations("/* a\n R-G1\n I2 */\n#[test]\nfn alpha() {\n\n// TH3\n}");
        assert_eq!(found.iter().map(|c| c.line).collect::<Vec<_>>(), [2, 3, 7]);
        assert_eq!(text_citations("a\n@requirement(\"R-G1\")")[0].line, 2);
    }
}
