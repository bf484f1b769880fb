use std::fmt;

/// Why a text is no regular expression, as Go says it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("error parsing regexp: {fault}: `{text}`")]
pub struct InvalidExpression {
    fault: Fault,
    text: String,
}

impl InvalidExpression {
    pub(super) fn new(fault: Fault, text: &str) -> Self {
        Self { fault, text: text.to_owned() }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    CharacterRange,
    Escape,
    GroupName,
    PerlSyntax,
    NestedRepetition,
    RepeatCount,
    MissingBracket,
    MissingParenthesis,
    MissingArgument,
    TrailingBackslash,
    UnexpectedParenthesis,
    Nesting,
    Large,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Fault::CharacterRange => "invalid character class range",
            Fault::Escape => "invalid escape sequence",
            Fault::GroupName => "invalid named capture",
            Fault::PerlSyntax => "invalid or unsupported Perl syntax",
            Fault::NestedRepetition => "invalid nested repetition operator",
            Fault::RepeatCount => "invalid repeat count",
            Fault::MissingBracket => "missing closing ]",
            Fault::MissingParenthesis => "missing closing )",
            Fault::MissingArgument => "missing argument to repetition operator",
            Fault::TrailingBackslash => "trailing backslash at end of expression",
            Fault::UnexpectedParenthesis => "unexpected )",
            Fault::Nesting => "expression nests too deeply",
            Fault::Large => "expression too large",
        })
    }
}
