//! Go's syntax of regular expressions (`regexp/syntax` with the flags of Perl), into what it means.

use regex_syntax::hir::{Capture, Class, ClassUnicode, Dot, Hir, Look, Repetition};

use super::class;
use super::escape::{before, escape};
use super::fault::{Fault, InvalidExpression};

/// The most copies that counted repetitions within each other may make of what they repeat, as in Go.
const MAX_COPIES: u32 = 1000;
/// How deep groups, repetitions, sequences and alternatives may lie in each other: compiling is recursive.
const MAX_DEPTH: usize = 250;
/// The most ranges of characters that all classes of an expression may have: `\pL` has more than 600.
const MAX_RANGES: usize = 1 << 18;

/// A regular expression that was understood.
pub(super) struct Parsed {
    pub(super) hir: Hir,
    /// Names of groups, with their numbers.
    pub(super) names: Vec<(String, usize)>,
}

pub(super) fn parse(text: &str) -> Result<Parsed, InvalidExpression> {
    let mut parser = Parser {
        whole: text,
        rest: text,
        level: Level::new(Flags { dot_is_any: true, ..Flags::default() }),
        outer: Vec::new(),
        groups: 0,
        ranges: 0,
        names: Vec::new(),
    };
    let mut repetition = None;
    while let Some(next) = parser.rest.chars().next() {
        repetition = parser.element(next, repetition)?;
    }
    if !parser.outer.is_empty() {
        return Err(InvalidExpression::new(Fault::MissingParenthesis, text));
    }
    let hir = parser.end_of_level()?.hir;
    Ok(Parsed { hir, names: parser.names })
}

/// What letters behind `(?` switch on.
#[derive(Debug, Clone, Copy, Default)]
struct Flags {
    ignores_case: bool,
    is_multi_line: bool,
    dot_is_any: bool,
    is_lazy: bool,
}

/// A part of an expression.
struct Node {
    hir: Hir,
    depth: usize,
    /// How many copies of something in it its counted repetitions make.
    copies: u32,
}

impl Node {
    fn of(hir: Hir) -> Self {
        Self { hir, depth: 1, copies: 1 }
    }
}

/// What stands between two parentheses, as far as it was read.
struct Level {
    flags: Flags,
    alternatives: Vec<Node>,
    sequence: Vec<Node>,
    /// The number of the group that it is.
    group: Option<u32>,
}

impl Level {
    fn new(flags: Flags) -> Self {
        Self { flags, alternatives: Vec::new(), sequence: Vec::new(), group: None }
    }
}

struct Parser<'t> {
    whole: &'t str,
    rest: &'t str,
    level: Level,
    outer: Vec<Level>,
    groups: u32,
    ranges: usize,
    names: Vec<(String, usize)>,
}

impl<'t> Parser<'t> {
    /// Reads one element; gives the text from its beginning if it is a repetition.
    fn element(&mut self, next: char, repeated: Option<&'t str>) -> Result<Option<&'t str>, InvalidExpression> {
        let begin = self.rest;
        let behind = begin.get(next.len_utf8()..).unwrap_or_default();
        self.rest = behind;
        let flags = self.level.flags;
        match next {
            '(' if behind.starts_with('?') => self.special_group(begin)?,
            '(' => self.open_group(),
            ')' => self.close_group()?,
            '|' => self.end_alternative()?,
            '^' => self.look(if flags.is_multi_line { Look::StartLF } else { Look::Start }),
            '$' => self.look(if flags.is_multi_line { Look::EndLF } else { Look::End }),
            '.' => self.push(Hir::dot(if flags.dot_is_any { Dot::AnyChar } else { Dot::AnyCharExceptLF })),
            '[' => {
                let (class, rest) = class::bracketed(begin, flags.ignores_case)?;
                self.rest = rest;
                self.class(class)?;
            }
            '\\' => self.escaped(begin)?,
            '*' => return self.repeat((0, None), begin, behind, repeated).map(Some),
            '+' => return self.repeat((1, None), begin, behind, repeated).map(Some),
            '?' => return self.repeat((0, Some(1)), begin, behind, repeated).map(Some),
            '{' => match counts(begin) {
                Some((counts, rest)) => {
                    let wrong = || InvalidExpression::new(Fault::RepeatCount, before(begin, rest));
                    let counts = counts.ok_or_else(wrong)?;
                    return self.repeat(counts, begin, rest, repeated).map(Some);
                }
                None => self.literal('{' as u32)?,
            },
            plain => self.literal(plain as u32)?,
        }
        Ok(None)
    }

    fn push(&mut self, hir: Hir) {
        self.level.sequence.push(Node::of(hir));
    }

    fn look(&mut self, look: Look) {
        self.push(Hir::look(look));
    }

    fn literal(&mut self, code: u32) -> Result<(), InvalidExpression> {
        let ignores_case = self.level.flags.ignores_case;
        match char::from_u32(code).filter(|_| !ignores_case) {
            Some(character) => {
                self.push(Hir::literal(character.encode_utf8(&mut [0; 4]).as_bytes()));
                Ok(())
            }
            None => self.class(class::single(code, ignores_case)),
        }
    }

    fn class(&mut self, class: ClassUnicode) -> Result<(), InvalidExpression> {
        self.ranges += class.ranges().len();
        if self.ranges > MAX_RANGES {
            return Err(InvalidExpression::new(Fault::Large, self.whole));
        }
        self.push(Hir::class(Class::Unicode(class)));
        Ok(())
    }

    /// A backslash, not in brackets.
    fn escaped(&mut self, begin: &'t str) -> Result<(), InvalidExpression> {
        let mut characters = begin.chars();
        let letter = characters.nth(1);
        let behind = characters.as_str();
        let look = match letter {
            Some('A') => Look::Start,
            Some('z') => Look::End,
            Some('b') => Look::WordAscii,
            Some('B') => Look::WordAsciiNegate,
            Some('Q') => {
                let (quoted, rest) = behind.split_once("\\E").unwrap_or((behind, ""));
                self.rest = rest;
                return quoted.chars().try_for_each(|c| self.literal(c as u32));
            }
            _ => return self.escaped_character(begin),
        };
        self.rest = behind;
        self.look(look);
        Ok(())
    }

    fn escaped_character(&mut self, begin: &'t str) -> Result<(), InvalidExpression> {
        if let Some((class, rest)) = class::escaped(begin, self.level.flags.ignores_case)? {
            self.rest = rest;
            return self.class(class);
        }
        let (code, rest) = escape(begin)?;
        self.rest = rest;
        self.literal(code)
    }

    // Repetitions

    fn repeat(
        &mut self,
        (min, max): (u32, Option<u32>),
        begin: &'t str,
        behind: &'t str,
        repeated: Option<&'t str>,
    ) -> Result<&'t str, InvalidExpression> {
        let (is_switched, rest) = behind.strip_prefix('?').map_or((false, behind), |rest| (true, rest));
        if let Some(last) = repeated {
            return Err(InvalidExpression::new(Fault::NestedRepetition, before(last, rest)));
        }
        let Some(sub) = self.level.sequence.pop() else {
            return Err(InvalidExpression::new(Fault::MissingArgument, before(begin, rest)));
        };
        let copies = match max {
            Some(0) => 1,
            Some(times) => sub.copies.saturating_mul(times),
            None => sub.copies.saturating_mul(min.max(1)),
        };
        if copies > MAX_COPIES {
            return Err(InvalidExpression::new(Fault::RepeatCount, before(begin, rest)));
        }
        let greedy = self.level.flags.is_lazy == is_switched;
        let hir = Hir::repetition(Repetition { min, max, greedy, sub: Box::new(sub.hir) });
        let node = self.nested(hir, sub.depth, copies)?;
        self.level.sequence.push(node);
        self.rest = rest;
        Ok(begin)
    }

    /// A node around one of a depth.
    fn nested(&self, hir: Hir, depth: usize, copies: u32) -> Result<Node, InvalidExpression> {
        if depth >= MAX_DEPTH {
            return Err(InvalidExpression::new(Fault::Nesting, self.whole));
        }
        Ok(Node { hir, depth: depth + 1, copies })
    }

    // Groups and alternatives

    /// A sequence or alternatives, which are one node.
    fn joined(&self, mut nodes: Vec<Node>, join: fn(Vec<Hir>) -> Hir) -> Result<Node, InvalidExpression> {
        match nodes.len() {
            1 => Ok(nodes.swap_remove(0)),
            _ => {
                let depth = nodes.iter().map(|node| node.depth).max().unwrap_or(0);
                let copies = nodes.iter().map(|node| node.copies).max().unwrap_or(1);
                self.nested(join(nodes.into_iter().map(|node| node.hir).collect()), depth, copies)
            }
        }
    }

    fn end_alternative(&mut self) -> Result<(), InvalidExpression> {
        let sequence = std::mem::take(&mut self.level.sequence);
        let alternative = self.joined(sequence, Hir::concat)?;
        self.level.alternatives.push(alternative);
        Ok(())
    }

    fn end_of_level(&mut self) -> Result<Node, InvalidExpression> {
        self.end_alternative()?;
        let alternatives = std::mem::take(&mut self.level.alternatives);
        self.joined(alternatives, Hir::alternation)
    }

    fn open_level(&mut self, flags: Flags, group: Option<u32>) {
        let level = Level { group, ..Level::new(flags) };
        self.outer.push(std::mem::replace(&mut self.level, level));
    }

    fn open_group(&mut self) {
        self.groups += 1;
        self.open_level(self.level.flags, Some(self.groups));
    }

    /// What begins with `(?`: a name, flags, or a group without a number.
    fn special_group(&mut self, begin: &'t str) -> Result<(), InvalidExpression> {
        for opening in ["(?P<", "(?<"] {
            if let Some(inside) = begin.strip_prefix(opening).filter(|inside| !inside.is_empty()) {
                return self.named_group(begin, inside);
            }
        }
        let mut flags = self.level.flags;
        let (mut is_on, mut is_complete) = (true, true);
        let mut characters = begin.chars();
        characters.nth(1);
        while let Some(letter) = characters.next() {
            match letter {
                'i' => flags.ignores_case = is_on,
                'm' => flags.is_multi_line = is_on,
                's' => flags.dot_is_any = is_on,
                'U' => flags.is_lazy = is_on,
                '-' if is_on => is_on = false,
                ':' | ')' if is_complete => {
                    self.rest = characters.as_str();
                    match letter {
                        ':' => self.open_level(flags, None),
                        _ => self.level.flags = flags,
                    }
                    return Ok(());
                }
                _ => break,
            }
            // A minus needs a letter.
            is_complete = letter != '-';
        }
        Err(InvalidExpression::new(Fault::PerlSyntax, before(begin, characters.as_str())))
    }

    fn named_group(&mut self, begin: &'t str, inside: &'t str) -> Result<(), InvalidExpression> {
        let wrong = |place: &str| InvalidExpression::new(Fault::GroupName, place);
        let (name, rest) = inside.split_once('>').ok_or_else(|| wrong(begin))?;
        if name.is_empty() || !name.chars().all(|c| c == '_' || c.is_ascii_alphanumeric()) {
            return Err(wrong(before(begin, rest)));
        }
        self.open_group();
        self.names.push((name.to_owned(), self.groups as usize));
        self.rest = rest;
        Ok(())
    }

    fn close_group(&mut self) -> Result<(), InvalidExpression> {
        let inner = self.end_of_level()?;
        let unexpected = || InvalidExpression::new(Fault::UnexpectedParenthesis, self.whole);
        let outer = self.outer.pop().ok_or_else(unexpected)?;
        let group = std::mem::replace(&mut self.level, outer).group;
        let node = match group {
            None => inner,
            Some(index) => {
                let hir = Hir::capture(Capture { index, name: None, sub: Box::new(inner.hir) });
                self.nested(hir, inner.depth, inner.copies)?
            }
        };
        self.level.sequence.push(node);
        Ok(())
    }
}

/// The least and the most of a counted repetition.
type Counts = (u32, Option<u32>);

/// `{2}`, `{2,}` or `{2,5}` at the beginning of a text, and what follows it; `Some(None)` if the counts are none that may
/// be. Another brace stands for itself.
fn counts(text: &str) -> Option<(Option<Counts>, &str)> {
    let (min, rest) = count(text.strip_prefix('{')?)?;
    let (max, rest) = match rest.strip_prefix(',') {
        None => (Some(min), rest),
        Some(rest) if rest.starts_with('}') => (None, rest),
        Some(rest) => count(rest).map(|(max, rest)| (Some(max), rest))?,
    };
    let rest = rest.strip_prefix('}')?;
    let are_good = min <= MAX_COPIES && max.is_none_or(|max| (min..=MAX_COPIES).contains(&max));
    Some((are_good.then_some((min, max)), rest))
}

/// A number without leading zeros; one that is too large is large.
fn count(text: &str) -> Option<(u32, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, rest) = text.split_at(end);
    if digits.is_empty() || (digits.len() > 1 && digits.starts_with('0')) {
        return None;
    }
    Some((digits.parse().unwrap_or(u32::MAX), rest))
}
