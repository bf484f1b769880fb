use proptest::prelude::*;

use super::*;

fn error(text: &str) -> String {
    RegularExpression::try_new(text).unwrap_err().to_string()
}

#[test]
fn expressions_mean_what_they_mean_in_go() {
    for (expression, matched, not_matched) in [
        // Whole texts, whatever the alternatives; a dot is any character.
        ("b|c", vec!["b", "c"], vec!["bc", "", "ab"]),
        ("", vec![""], vec!["a"]),
        ("a.b", vec!["a\nb", "aéb"], vec!["ab", "a..b"]),
        ("(?-s)a.b", vec!["a.b"], vec!["a\nb"]),
        ("(?m)^a$.^b$", vec!["a\nb"], vec!["ab"]),
        ("^a$", vec!["a"], vec!["a\n"]),
        (r"\Aa\z", vec!["a"], vec!["aa"]),
        // Classes are ASCII.
        (r"\d+", vec!["12"], vec!["٣", "a"]),
        (r"\w+", vec!["aZ_9"], vec!["é", "-"]),
        (r"\D\W\S", vec!["é٣é", "a-a"], vec!["1-a", "aaa", "a- "]),
        (r"[^\d]", vec!["٣"], vec!["3"]),
        (r"\s", vec![" ", "\t", "\x0C"], vec!["\x0B", "\u{A0}"]),
        (r"a\b.", vec!["aé", "a-"], vec!["ab"]),
        (r".\Bé", vec!["éé", "-é"], vec!["aé"]),
        // Words of the syntax.
        (r"\Qa.b\E+", vec!["a.b", "a.bb"], vec!["axb", "a.ba.b"]),
        (r"\Qa.b", vec!["a.b"], vec!["axb"]),
        ("a{,3}", vec!["a{,3}"], vec!["a", "aaa"]),
        ("a{2}b{1,}c{0,1}", vec!["aab", "aabbc"], vec!["ab", "aabcc"]),
        ("{a}{01}", vec!["{a}{01}"], vec!["a"]),
        (r"\x41\x{42}\103\0\a", vec!["ABC\0\x07"], vec!["ABC"]),
        (r"\_\-", vec!["_-"], vec!["\\_"]),
        ("(?i)straSSe", vec!["STRAſsE"], vec!["straße"]),
        ("(?i:a)b", vec!["Ab"], vec!["AB"]),
        ("(?i)[^k]", vec!["a"], vec!["k", "K", "\u{212A}"]),
        (r"(?i)\w", vec!["\u{17F}"], vec!["é"]),
        ("a(?i)b|c", vec!["aB", "C"], vec!["AB"]),
        ("a*(?i)*", vec!["aa", ""], vec!["A"]),
        ("(?P<x>a)(?<x>b)", vec!["ab"], vec!["a"]),
        ("^*a|$+", vec!["a", ""], vec!["b"]),
        // Characters in brackets.
        ("[a-b&&b]", vec!["a", "b", "&"], vec!["c"]),
        (r"[\w&&[^d]]", vec!["a]", "&]", "[]", "^]", "d]"], vec!["a", "é]"]),
        ("[a~~b]+", vec!["a~b"], vec!["c"]),
        ("[]a]+", vec!["]a"], vec!["b"]),
        ("[^]a]", vec!["b"], vec!["]", "a"]),
        ("[a-]+[-a]", vec!["a-a"], vec!["b"]),
        ("[[:word:]]+[[:^alpha:]]", vec!["a_é", "_1"], vec!["é1", "aa"]),
        ("[[:foo]", vec!["[", ":", "f", "o"], vec!["]"]),
        (r"[[:punct:]\pN]+", vec!["!٣½"], vec!["a"]),
        (r"[\x{D7FF}-\x{E000}]\n?", vec!["\u{D7FF}", "\u{E000}\n"], vec!["\u{D7FE}"]),
        (r"a|\x{D800}", vec!["a"], vec!["\u{FFFD}"]),
        (r"\p{Greek}+\P{L}\p{^Lu}", vec!["αβ1a"], vec!["ab1a", "αaa", "α1A"]),
        (r"\p{Thai}|\p{Nd}|\pL", vec!["ก", "٣", "é"], vec!["½"]),
        (r"[^\x00-\x{10FFFF}]|b", vec!["b"], vec!["a", ""]),
    ] {
        let compiled = RegularExpression::try_new(expression).unwrap();
        for text in matched {
            assert!(compiled.matches(text), "{expression:?} matches {text:?}");
        }
        for text in not_matched {
            assert!(!compiled.matches(text), "{expression:?} does not match {text:?}");
        }
    }
}

#[test]
fn what_is_wrong_is_said_in_the_words_of_go() {
    for (expression, reason, place) in [
        ("(", "missing closing )", "("),
        ("a(b|(c)", "missing closing )", "a(b|(c)"),
        (")", "unexpected )", ")"),
        ("1)|(?:2", "unexpected )", "1)|(?:2"),
        ("x[a-z", "missing closing ]", "[a-z"),
        ("[]a", "missing closing ]", "[]a"),
        ("[z-a]", "invalid character class range", "z-a"),
        ("[a--b]", "invalid character class range", "a--"),
        ("[[:foo:]]", "invalid character class range", "[:foo:]"),
        (r"\p{Foo}a", "invalid character class range", r"\p{Foo}"),
        (r"\p{Grek}", "invalid character class range", r"\p{Grek}"),
        (r"\p{Alphabetic}", "invalid character class range", r"\p{Alphabetic}"),
        (r"\p{Greek", "invalid character class range", r"\p{Greek"),
        (r"\p", "invalid character class range", r"\p"),
        (r"a\", "trailing backslash at end of expression", ""),
        (r"\u00e9", "invalid escape sequence", r"\u"),
        (r"\é", "invalid escape sequence", r"\é"),
        (r"\C", "invalid escape sequence", r"\C"),
        (r"\1", "invalid escape sequence", r"\1"),
        (r"\8", "invalid escape sequence", r"\8"),
        (r"\xZZ", "invalid escape sequence", r"\xZZ"),
        (r"\x{110000}", "invalid escape sequence", r"\x{110000"),
        (r"\x{}", "invalid escape sequence", r"\x{}"),
        (r"[\b]", "invalid escape sequence", r"\b"),
        (r"[a-\d]", "invalid escape sequence", r"\d"),
        ("*a", "missing argument to repetition operator", "*"),
        ("a|+?", "missing argument to repetition operator", "+?"),
        ("({2}a)", "missing argument to repetition operator", "{2}"),
        ("(?i)?", "missing argument to repetition operator", "?"),
        ("a**", "invalid nested repetition operator", "**"),
        ("a+?*", "invalid nested repetition operator", "+?*"),
        ("a{2}{3}", "invalid nested repetition operator", "{2}{3}"),
        ("a{1001}", "invalid repeat count", "{1001}"),
        ("a{99999999999}", "invalid repeat count", "{99999999999}"),
        ("a{3,2}", "invalid repeat count", "{3,2}"),
        ("(a{100}){11}", "invalid repeat count", "{11}"),
        ("((a{600}){0,}){2,}", "invalid repeat count", "{2,}"),
        ("(?x)a", "invalid or unsupported Perl syntax", "(?x"),
        ("(?u)a", "invalid or unsupported Perl syntax", "(?u"),
        ("(?R)", "invalid or unsupported Perl syntax", "(?R"),
        ("(?=a)", "invalid or unsupported Perl syntax", "(?="),
        ("(?i-)a", "invalid or unsupported Perl syntax", "(?i-)"),
        ("(?", "invalid or unsupported Perl syntax", "(?"),
        ("(?P<n", "invalid named capture", "(?P<n"),
        ("(?P<n-m>a)", "invalid named capture", "(?P<n-m>"),
        ("(?<>a)", "invalid named capture", "(?<>"),
    ] {
        assert_eq!(error(expression), format!("error parsing regexp: {reason}: `{place}`"));
    }
}

#[test]
fn what_is_too_large_or_too_deep_is_refused() {
    let deep = format!("{}a{}", "(".repeat(300), ")".repeat(300));
    assert!(error(&deep).contains("expression nests too deeply"));
    let stacked = format!("a{}", "*(?i)".repeat(300));
    assert!(error(&stacked).contains("expression nests too deeply"));
    assert!(error(&r"\pL".repeat(1000)).contains("expression too large"));
    assert!(error(r"\pL{1000}").contains("expression too large"));
    let open = "(".repeat(100_000);
    assert!(error(&open).contains("missing closing )"));
}

#[test]
fn expansions_are_filled_as_in_go() {
    let expression = RegularExpression::try_new("(?P<a>x)?(?P<a>y)?(?P<b_1>.*)-(.*)").unwrap();
    for (expansion, expected) in [
        ("$3/$4", "q/r"),
        ("${3}x", "qx"),
        ("$3x", ""),
        ("$0", "yq-r"),
        ("$9|$00|$03|$nothing", "|||"),
        ("$a$b_1", "yq"),
        ("${a-b}", "${a-b}"),
        ("${a", "${a"),
        ("${}", "${}"),
        ("$$a$", "$a$"),
        ("$", "$"),
        ("$-$ $é", "$-$ "),
        ("$12345678901", ""),
    ] {
        assert_eq!(expression.expand("yq-r", &Expansion::new(expansion)).as_deref(), Some(expected), "{expansion}");
    }
    assert_eq!(expression.expand("yqr", &Expansion::new("a")), None);
}

proptest! {
    #[test]
    fn nothing_panics(
        pieces in proptest::collection::vec(proptest::sample::select(vec![
            "a", "b", "é", "\u{212A}", "(", ")", "(?:", "(?i)", "(?P<n>", "(?<", "(?", "-", "[", "]", "[^", "[:alpha:]",
            "[[:^word:]]", "&&", "~~", "|", "*", "+", "?", "{", "}", "{2}", "{,3}", "{2,", "{3,1}", ",", "\\", "\\d", "\\W",
            "\\b", "\\B", "\\pN", "\\p{", "\\P{^Greek}", "\\Q", "\\E", "\\x{D800}", "\\x", "\\07", "$", "^", ".", "\n", ":",
        ]), 0..12),
        text in "[abék\\-\n]{0,6}",
        expansion in "[$a{}0-9é]{0,8}",
    ) {
        if let Ok(expression) = RegularExpression::try_new(&pieces.concat()) {
            let matches = expression.matches(&text);
            let expanded = expression.expand(&text, &Expansion::new(&expansion));
            prop_assert_eq!(matches, expanded.is_some());
        }
    }

    #[test]
    fn any_text_is_an_expression_or_none(text in "\\PC{0,40}") {
        let _ = RegularExpression::try_new(&text);
    }

    #[test]
    fn a_quoted_text_matches_itself_alone(text in "\\PC{0,10}", other in "\\PC{0,10}") {
        let quoted: String = text
            .chars()
            .map(|c| if r"\.+*?()|[]{}^$".contains(c) { format!("\\{c}") } else { c.to_string() })
            .collect();
        let expression = RegularExpression::try_new(&quoted).unwrap();
        prop_assert!(expression.matches(&text));
        prop_assert_eq!(expression.matches(&other), other == text);
    }
}
