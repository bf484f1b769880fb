//! The tree of a template, and the words of which its actions are made.

use super::TemplateError;

/// A piece of a template.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Node {
    Text(String),
    Action(Pipeline),
    If(Block),
    With(Block),
    Range(Block),
    Break,
    Continue,
}

/// `if`, `with` or `range` with what they enclose.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Block {
    pub(super) pipeline: Pipeline,
    pub(super) body: Vec<Node>,
    pub(super) otherwise: Vec<Node>,
}

/// Commands, each given the value of the one before, perhaps kept in variables.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Pipeline {
    pub(super) variables: Vec<String>,
    /// `=` rather than `:=`.
    pub(super) assigns: bool,
    pub(super) commands: Vec<Vec<Operand>>,
}

/// A word of a command.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Operand {
    Dot,
    Nil,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
    Function(String),
    Variable(String),
    Paren(Box<Pipeline>),
    /// A value and the fields that are read from it one after another.
    Fields(Box<Operand>, Vec<String>),
}

/// What an action is made of.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Token {
    /// `if`, `printf`, `true`.
    Word(String),
    /// `.` alone.
    Dot,
    /// `.Labels`.
    Field(String),
    /// `$labels`, or `$` alone.
    Variable(String),
    Text(String),
    Int(i64),
    Float(f64),
    Pipe,
    Open,
    Close,
    Declare,
    Assign,
    Comma,
    /// Space matters between a value and a `.Field`.
    Space,
}

/// Splits the inside of an action into tokens.
pub(super) fn tokens(action: &str) -> Result<Vec<Token>, TemplateError> {
    let mut found = Vec::new();
    let mut rest = action;
    while let Some(first) = rest.chars().next() {
        let (token, length) = match first {
            c if c.is_whitespace() => (Token::Space, rest.find(|c: char| !c.is_whitespace()).unwrap_or(rest.len())),
            '|' => (Token::Pipe, 1),
            '(' => (Token::Open, 1),
            ')' => (Token::Close, 1),
            ',' => (Token::Comma, 1),
            '=' => (Token::Assign, 1),
            ':' if rest.starts_with(":=") => (Token::Declare, 2),
            '"' => quoted(rest)?,
            '`' => raw(rest)?,
            '\'' => character(rest)?,
            '$' => {
                let length = 1 + word_length(rest.get(1..).unwrap_or(""));
                (Token::Variable(rest.get(..length).unwrap_or("$").to_owned()), length)
            }
            '.' if !rest[1..].starts_with(|c: char| c.is_ascii_digit()) => {
                let length = word_length(rest.get(1..).unwrap_or(""));
                match rest.get(1..=length) {
                    Some(field) if length > 0 => (Token::Field(field.to_owned()), 1 + length),
                    _ => (Token::Dot, 1),
                }
            }
            c if c.is_ascii_digit() || matches!(c, '.' | '-' | '+') => number(rest)?,
            c if c.is_alphabetic() || c == '_' => {
                let length = word_length(rest);
                (Token::Word(rest.get(..length).unwrap_or("").to_owned()), length)
            }
            other => return Err(TemplateError::Syntax(format!("unexpected {other:?} in action"))),
        };
        found.push(token);
        rest = rest.get(length..).unwrap_or("");
    }
    Ok(found)
}

fn word_length(text: &str) -> usize {
    text.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(text.len())
}

fn quoted(text: &str) -> Result<(Token, usize), TemplateError> {
    let unterminated = || TemplateError::Syntax("unterminated quoted string".to_owned());
    let mut value = String::new();
    let mut characters = text.char_indices().skip(1);
    while let Some((at, c)) = characters.next() {
        match c {
            '"' => return Ok((Token::Text(value), at + 1)),
            '\\' => {
                let (_, escape) = characters.next().ok_or_else(unterminated)?;
                value.push(match escape {
                    'n' => '\n',
                    't' => '\t',
                    'r' => '\r',
                    '\\' | '"' | '\'' => escape,
                    other => return Err(TemplateError::Syntax(format!("unknown escape \\{other}"))),
                });
            }
            '\n' => return Err(unterminated()),
            other => value.push(other),
        }
    }
    Err(unterminated())
}

fn raw(text: &str) -> Result<(Token, usize), TemplateError> {
    let inner = text.get(1..).unwrap_or("");
    let end = inner.find('`').ok_or_else(|| TemplateError::Syntax("unterminated raw string".to_owned()))?;
    Ok((Token::Text(inner.get(..end).unwrap_or("").to_owned()), end + 2))
}

fn character(text: &str) -> Result<(Token, usize), TemplateError> {
    let mut characters = text.chars().skip(1);
    match (characters.next(), characters.next()) {
        (Some(c), Some('\'')) if c != '\\' => Ok((Token::Int(i64::from(u32::from(c))), 2 + c.len_utf8())),
        _ => Err(TemplateError::Syntax("wrong character constant".to_owned())),
    }
}

fn number(text: &str) -> Result<(Token, usize), TemplateError> {
    let mut length = 0;
    let mut before = ' ';
    for c in text.chars() {
        let sign = matches!(c, '+' | '-') && (length == 0 || matches!(before, 'e' | 'E'));
        if !(c.is_ascii_alphanumeric() || c == '.' || sign) {
            break;
        }
        before = c;
        length += 1;
    }
    let literal = text.get(..length).unwrap_or("");
    let token = match literal.strip_prefix("0x") {
        Some(hex) => i64::from_str_radix(hex, 16).ok().map(Token::Int),
        None => literal.parse().map(Token::Int).or_else(|_| literal.parse().map(Token::Float)).ok(),
    };
    token.map(|token| (token, length)).ok_or_else(|| TemplateError::Syntax(format!("bad number {literal:?}")))
}
