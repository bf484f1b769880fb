//! The lexer. What a character means depends on the brackets around it: in braces words are label names, in square
//! brackets only numbers, durations and a few words may stand.

use winnow::combinator::{alt, opt, peek};
use winnow::error::EmptyError;
use winnow::prelude::*;
use winnow::stream::{LocatingSlice, Location};
use winnow::token::{any, take_till, take_while};

use super::fault::Fault;
use super::number::{looks_like_duration, looks_like_number};
use super::token::{Keyword, Kind, Token, duration_word, word_kind};
use crate::ast::{BinaryOp, Position};
use crate::quoting::{Numbered, Quoted, QuotedCharacter};

/// The text that is left, with its place.
pub(super) type Text<'t> = LocatingSlice<&'t str>;

/// What a scanner of characters gives; it fails by not matching.
type Scan<T> = winnow::Result<T, EmptyError>;

/// Characters that begin `step`, `range`, `max_of` and `min_of`.
const DURATION_WORD_STARTS: [char; 6] = ['s', 'r', 'm', 'S', 'R', 'M'];

/// Reads the tokens of a query. The last one is the end, or what cannot be read with the reason.
pub(super) fn tokens(text: &str) -> (Vec<Token<'_>>, Option<Fault>) {
    let mut lexer = Lexer { whole: text, input: Text::new(text), start: 0, ..Lexer::default() };
    let mut tokens = Vec::new();
    loop {
        match lexer.next() {
            Ok(Some(kind)) => {
                tokens.push(lexer.token(kind));
                if kind == Kind::EndOfInput {
                    return (tokens, None);
                }
            }
            Ok(None) => {}
            Err(message) => {
                let position = Position { start: lexer.start, end: text.len() };
                tokens.push(Token { kind: Kind::Unreadable, text: "", position });
                return (tokens, Some(Fault::new(position, message)));
            }
        }
    }
}

#[derive(Default)]
struct Lexer<'t> {
    whole: &'t str,
    input: Text<'t>,
    /// Where the token that is read starts.
    start: usize,
    open_parens: usize,
    in_braces: bool,
    in_brackets: bool,
    /// Directly after a bracket or an operator in brackets, where a duration is expected.
    expects_duration: bool,
    /// Whether the brackets had a colon.
    had_colon: bool,
    /// Whether any brackets had a number.
    had_duration: bool,
}

impl<'t> Lexer<'t> {
    fn token(&self, kind: Kind) -> Token<'t> {
        let position = Position { start: self.start, end: self.place() };
        Token { kind, text: self.whole.get(position.start..position.end).unwrap_or_default(), position }
    }

    fn place(&self) -> usize {
        self.input.current_token_start()
    }

    /// The next token, or nothing where there was space or a comment; an error is one at `start`.
    fn next(&mut self) -> Result<Option<Kind>, String> {
        self.start = self.place();
        if self.skip(spaces) || (!self.expects_duration && self.skip(comment)) {
            return Ok(None);
        }
        let kind = if self.in_braces {
            self.in_braces()
        } else if self.expects_duration {
            self.in_duration()
        } else {
            self.outside()
        };
        kind.map(Some)
    }

    fn skip(&mut self, skipped: impl Parser<Text<'t>, &'t str, EmptyError>) -> bool {
        self.scan(skipped).is_some_and(|skipped| !skipped.is_empty())
    }

    fn scan<T>(&mut self, scanned: impl Parser<Text<'t>, T, EmptyError>) -> Option<T> {
        opt(scanned).parse_next(&mut self.input).ok().flatten()
    }

    fn peek(&mut self) -> Option<char> {
        self.scan(peek(any))
    }

    fn peek_second(&mut self) -> Option<char> {
        self.scan(peek((any, any)).map(|(_, second)| second))
    }

    /// A token from the top of the language, and from brackets after a number.
    fn outside(&mut self) -> Result<Kind, String> {
        let Some(first) = self.peek() else { return self.end() };
        match first {
            '=' if self.peek_second() == Some('~') => return Err("unexpected character after '=': '~'".to_owned()),
            '!' if self.peek_second() != Some('=') => {
                let second = QuotedCharacter(self.peek_second());
                return Err(format!("unexpected character after '!': {second}"));
            }
            '"' | '\'' | '`' => return self.string(first),
            '0'..='9' => return self.number(),
            '.' if self.peek_second().is_some_and(|second| second.is_ascii_digit()) => return self.number(),
            'a'..='z' | 'A'..='Z' | '_' | ':' if !self.in_brackets => return self.word(),
            'a'..='z' | 'A'..='Z' | '_' => {
                return self.duration_word().ok_or_else(|| format!("unexpected character: '{first}', expected ':'"));
            }
            ':' if self.had_colon => return Err("unexpected colon ':'".to_owned()),
            ':' => self.had_colon = true,
            '[' if self.in_brackets => return Err("unexpected left bracket '['".to_owned()),
            ']' if !self.in_brackets => return Err("unexpected right bracket ']'".to_owned()),
            _ => {}
        }
        let Some(kind) = self.scan(alt((operator, punctuation))) else {
            return Err(format!("unexpected character: {}", QuotedCharacter(Some(first))));
        };
        self.opened_or_closed(kind)
    }

    fn opened_or_closed(&mut self, kind: Kind) -> Result<Kind, String> {
        match kind {
            Kind::LeftParen => self.open_parens += 1,
            Kind::RightParen => match self.open_parens.checked_sub(1) {
                Some(open) => self.open_parens = open,
                None => {
                    self.start = self.place();
                    return Err("unexpected right parenthesis ')'".to_owned());
                }
            },
            Kind::LeftBrace => self.in_braces = true,
            Kind::RightBrace => self.in_braces = false,
            Kind::LeftBracket => {
                self.in_brackets = true;
                self.expects_duration = true;
                self.had_colon = false;
            }
            Kind::RightBracket => {
                self.in_brackets = false;
                self.expects_duration = false;
            }
            _ => {}
        }
        Ok(kind)
    }

    fn end(&self) -> Result<Kind, String> {
        if self.open_parens > 0 {
            return Err("unclosed left parenthesis".to_owned());
        }
        if self.in_brackets { Err("unclosed left bracket".to_owned()) } else { Ok(Kind::EndOfInput) }
    }

    fn in_braces(&mut self) -> Result<Kind, String> {
        let Some(first) = self.peek() else {
            return Err("unexpected end of input inside braces".to_owned());
        };
        match first {
            '"' | '\'' | '`' => return self.string(first),
            'a'..='z' | 'A'..='Z' | '_' => {
                self.scan(identifier);
                return Ok(Kind::Identifier);
            }
            '{' => return Err("unexpected left brace '{'".to_owned()),
            _ => {}
        }
        let in_braces = alt((
            "=~".value(Kind::Matches),
            "!~".value(Kind::MatchesNot),
            "!=".value(Kind::Operator(BinaryOp::NotEqual)),
            "=".value(Kind::Assign),
            ",".value(Kind::Comma),
            "}".value(Kind::RightBrace),
        ));
        match self.scan(in_braces) {
            Some(kind) => self.opened_or_closed(kind),
            None if first == '!' => {
                let second = QuotedCharacter(self.peek_second());
                Err(format!("unexpected character after '!' inside braces: {second}"))
            }
            None => Err(format!("unexpected character inside braces: {}", QuotedCharacter(Some(first)))),
        }
    }

    /// A token where a duration is expected: `]` and `:` end that.
    fn in_duration(&mut self) -> Result<Kind, String> {
        let Some(first) = self.peek() else {
            return Err("unexpected end of input in duration expression".to_owned());
        };
        let is_number = match first {
            '.' => self.peek_second().is_some_and(|second| second.is_ascii_digit()),
            first => first.is_ascii_digit(),
        };
        if is_number {
            self.had_duration = true;
            self.expects_duration = false;
            return self.number();
        }
        let unexpected = || format!("unexpected character in duration expression: {}", QuotedCharacter(Some(first)));
        if DURATION_WORD_STARTS.contains(&first) {
            return self.duration_word().ok_or_else(unexpected);
        }
        let kind = match first {
            '+' | '-' | '*' | '/' | '%' | '^' => self.scan(operator),
            '(' | ')' | ',' | ':' | ']' => self.scan(punctuation),
            _ => None,
        };
        match kind.ok_or_else(unexpected)? {
            Kind::Colon => self.colon_in_duration(),
            kind => self.opened_or_closed(kind),
        }
    }

    fn colon_in_duration(&mut self) -> Result<Kind, String> {
        if self.had_duration && !self.had_colon {
            self.had_colon = true;
            return Ok(Kind::Colon);
        }
        self.start = self.place();
        Err(match self.had_duration {
            false => "unexpected colon before duration in duration expression".to_owned(),
            true => "unexpected repeated colon in duration expression".to_owned(),
        })
    }

    fn duration_word(&mut self) -> Option<Kind> {
        let mut letters = take_while(1.., |c: char| c.is_ascii_alphabetic() || c == '_');
        let word = self.scan(peek(letters.by_ref()))?;
        let kind = duration_word(word).map(Kind::Call)?;
        self.scan(letters);
        Some(kind)
    }

    fn word(&mut self) -> Result<Kind, String> {
        let word: &str = self.scan(take_while(1.., is_word_character)).unwrap_or_default();
        let kind = word_kind(word);
        let is_fill = matches!(kind, Some(Kind::Keyword(Keyword::Fill | Keyword::FillLeft | Keyword::FillRight)));
        Ok(match kind {
            // So that metrics named like these late comers are still metrics.
            Some(_) if is_fill && !self.is_called() => Kind::Identifier,
            Some(kind) => kind,
            None if word.contains(':') => Kind::MetricIdentifier,
            None => Kind::Identifier,
        })
    }

    fn is_called(&mut self) -> bool {
        self.scan(peek((opt(spaces), "("))).is_some()
    }

    fn number(&mut self) -> Result<Kind, String> {
        if looks_like_number(&mut self.input) {
            return Ok(Kind::Number);
        }
        if looks_like_duration(&mut self.input) {
            return Ok(Kind::Duration);
        }
        let read = self.whole.get(self.start..self.place()).unwrap_or_default();
        Err(format!("bad number or duration syntax: {}", Quoted(read)))
    }

    fn string(&mut self, quote: char) -> Result<Kind, String> {
        self.scan(any);
        while let Some(character) = self.scan(any) {
            match character {
                char::REPLACEMENT_CHARACTER => return Err("invalid UTF-8 rune".to_owned()),
                '\n' if quote != '`' => break,
                '\\' if quote != '`' => self.escape(quote)?,
                character if character == quote => return Ok(Kind::Text),
                _ => {}
            }
        }
        Err(if quote == '`' { "unterminated raw string" } else { "unterminated quoted string" }.to_owned())
    }

    fn escape(&mut self, quote: char) -> Result<(), String> {
        let unterminated = || "escape sequence not terminated".to_owned();
        let escape = self.scan(peek(any)).ok_or_else(unterminated)?;
        let (digits, base, most) = match escape {
            'a' | 'b' | 'f' | 'n' | 'r' | 't' | 'v' | '\\' => (0, 0, 0),
            escape if escape == quote => (0, 0, 0),
            '0'..='7' => (3, 8, 0xff),
            'x' => (2, 16, 0xff),
            'u' => (4, 16, 0x10_ffff),
            'U' => (8, 16, 0x10_ffff),
            other => return Err(format!("unknown escape sequence {}", Numbered(other))),
        };
        if base != 8 {
            self.scan(any);
        }
        let mut number = 0u32;
        for _ in 0..digits {
            let character = self.scan(any).ok_or_else(unterminated)?;
            let digit = character.to_digit(base);
            let digit = digit.ok_or_else(|| format!("illegal character {} in escape sequence", Numbered(character)))?;
            number = number.saturating_mul(base).saturating_add(digit);
        }
        if number > most || (0xd800..0xe000).contains(&number) {
            return Err("escape sequence is an invalid Unicode code point".to_owned());
        }
        Ok(())
    }
}

fn is_space(character: char) -> bool {
    matches!(character, ' ' | '\t' | '\n' | '\r')
}

fn is_word_character(character: char) -> bool {
    character.is_ascii_alphanumeric() || character == '_' || character == ':'
}

fn spaces<'t>(input: &mut Text<'t>) -> Scan<&'t str> {
    take_while(1.., is_space).parse_next(input)
}

fn comment<'t>(input: &mut Text<'t>) -> Scan<&'t str> {
    ('#', take_till(0.., ['\n', '\r'])).take().parse_next(input)
}

fn identifier<'t>(input: &mut Text<'t>) -> Scan<&'t str> {
    take_while(1.., |c: char| c.is_ascii_alphanumeric() || c == '_').parse_next(input)
}

fn operator(input: &mut Text<'_>) -> Scan<Kind> {
    alt((
        alt(("==".value(BinaryOp::Equal), "!=".value(BinaryOp::NotEqual))),
        alt(("<=".value(BinaryOp::LessEqual), "</".value(BinaryOp::TrimUpper), "<".value(BinaryOp::Less))),
        alt((">=".value(BinaryOp::GreaterEqual), ">/".value(BinaryOp::TrimLower), ">".value(BinaryOp::Greater))),
        alt(("+".value(BinaryOp::Add), "-".value(BinaryOp::Sub), "*".value(BinaryOp::Mul))),
        alt(("/".value(BinaryOp::Div), "%".value(BinaryOp::Mod), "^".value(BinaryOp::Pow))),
    ))
    .map(Kind::Operator)
    .parse_next(input)
}

fn punctuation(input: &mut Text<'_>) -> Scan<Kind> {
    alt((
        alt(("(".value(Kind::LeftParen), ")".value(Kind::RightParen))),
        alt(("{".value(Kind::LeftBrace), "[".value(Kind::LeftBracket), "]".value(Kind::RightBracket))),
        alt((",".value(Kind::Comma), ":".value(Kind::Colon), "=".value(Kind::Assign), "@".value(Kind::At))),
    ))
    .parse_next(input)
}
