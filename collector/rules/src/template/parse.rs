//! Text to tree. Functions and variables are checked here, so that a wrong template is found before it is needed.

use super::functions;
use super::syntax::{Block, Node, Operand, Pipeline, Token, tokens};
use super::{MAX_DEPTH, TemplateError};

/// The variables that every template of a rule has.
pub(super) const PREDECLARED: [&str; 5] = ["$", "$labels", "$externalLabels", "$externalURL", "$value"];

pub(super) fn parse(text: &str) -> Result<Vec<Node>, TemplateError> {
    let pieces = split(text)?;
    let mut parser =
        Parser { pieces: pieces.into_iter(), scope: PREDECLARED.map(str::to_owned).to_vec(), depth: 0, loops: 0 };
    match parser.nodes()? {
        (nodes, End::Text) => Ok(nodes),
        (_, End::Else(_)) => Err(TemplateError::Syntax("unexpected {{else}}".to_owned())),
        (_, End::Block) => Err(TemplateError::Syntax("unexpected {{end}}".to_owned())),
    }
}

enum Piece {
    Text(String),
    Action(Vec<Token>),
}

/// Splits at `{{` and `}}`, applies the trim markers `{{-` and `-}}`, drops comments.
fn split(text: &str) -> Result<Vec<Piece>, TemplateError> {
    let mut pieces = Vec::new();
    let mut rest = text;
    let mut trim_next = false;
    while let Some((before, after)) = rest.split_once("{{") {
        let trim_before = after.starts_with("- ") || after.starts_with("-\n");
        let before = if trim_next { before.trim_start() } else { before };
        let before = if trim_before { before.trim_end() } else { before };
        pieces.push(Piece::Text(before.to_owned()));
        let after = if trim_before { after.get(1..).unwrap_or("") } else { after };
        let end = action_end(after)?;
        let inside = after.get(..end).unwrap_or("");
        rest = after.get(end + 2..).unwrap_or("");
        trim_next = inside.ends_with(" -") || inside.ends_with("\n-");
        let inside = if trim_next { inside.get(..inside.len() - 1).unwrap_or("") } else { inside };
        let comment = inside.trim();
        if !(comment.starts_with("/*") && comment.ends_with("*/")) {
            pieces.push(Piece::Action(tokens(inside)?));
        }
    }
    pieces.push(Piece::Text(if trim_next { rest.trim_start() } else { rest }.to_owned()));
    Ok(pieces)
}

/// Where the action's `}}` is: not inside a string.
fn action_end(text: &str) -> Result<usize, TemplateError> {
    let mut quote = None;
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        match quote {
            Some('"') if escaped => escaped = false,
            Some('"') if c == '\\' => escaped = true,
            Some(q) if c == q => quote = None,
            Some(_) => {}
            None if matches!(c, '"' | '`') => quote = Some(c),
            None if text.get(at..).is_some_and(|rest| rest.starts_with("}}")) => return Ok(at),
            None => {}
        }
    }
    Err(TemplateError::Syntax("unclosed action: {{ without }}".to_owned()))
}

/// What ended a list of nodes.
enum End {
    Text,
    Block,
    Else(Vec<Token>),
}

struct Parser {
    pieces: std::vec::IntoIter<Piece>,
    scope: Vec<String>,
    depth: usize,
    loops: usize,
}

impl Parser {
    fn nodes(&mut self) -> Result<(Vec<Node>, End), TemplateError> {
        let mut nodes = Vec::new();
        while let Some(piece) = self.pieces.next() {
            let action = match piece {
                Piece::Text(text) if text.is_empty() => continue,
                Piece::Text(text) => {
                    nodes.push(Node::Text(text));
                    continue;
                }
                Piece::Action(action) => action,
            };
            let words = trimmed(&action);
            match words.first() {
                Some(Token::Word(word)) if word == "end" && words.len() == 1 => return Ok((nodes, End::Block)),
                Some(Token::Word(word)) if word == "else" => {
                    return Ok((nodes, End::Else(trimmed(words.get(1..).unwrap_or(&[])).to_vec())));
                }
                _ => nodes.push(self.action(words)?),
            }
        }
        Ok((nodes, End::Text))
    }

    fn action(&mut self, words: &[Token]) -> Result<Node, TemplateError> {
        let Some(Token::Word(word)) = words.first() else { return self.pipeline(words).map(Node::Action) };
        let rest = trimmed(words.get(1..).unwrap_or(&[]));
        match word.as_str() {
            "if" | "with" | "range" => self.block(word, rest),
            "break" | "continue" if self.loops == 0 => {
                Err(TemplateError::Syntax(format!("{{{{{word}}}}} outside {{{{range}}}}")))
            }
            "break" => Ok(Node::Break),
            "continue" => Ok(Node::Continue),
            "define" | "template" | "block" => {
                Err(TemplateError::Syntax(format!("{{{{{word}}}}} is not supported in a rule's template")))
            }
            _ => self.pipeline(words).map(Node::Action),
        }
    }

    fn block(&mut self, kind: &str, words: &[Token]) -> Result<Node, TemplateError> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(TemplateError::TooDeep);
        }
        let outer = self.scope.len();
        let in_range = usize::from(kind == "range");
        let pipeline = self.pipeline(words)?;
        self.loops += in_range;
        let (body, end) = self.nodes()?;
        self.loops -= in_range;
        let otherwise = match end {
            End::Block => Vec::new(),
            End::Else(words) if words.is_empty() => match self.nodes()? {
                (nodes, End::Block) => nodes,
                _ => return Err(TemplateError::Syntax(format!("{{{{{kind}}}}} with two {{{{else}}}} or no end"))),
            },
            // `else if` and `else with` are a block of their own that shares the `end`.
            End::Else(words) => vec![self.action(&words)?],
            End::Text => return Err(TemplateError::Syntax(format!("{{{{{kind}}}}} without {{{{end}}}}"))),
        };
        self.scope.truncate(outer);
        self.depth -= 1;
        let block = Block { pipeline, body, otherwise };
        Ok(match kind {
            "if" => Node::If(block),
            "with" => Node::With(block),
            _ => Node::Range(block),
        })
    }

    fn pipeline(&mut self, words: &[Token]) -> Result<Pipeline, TemplateError> {
        let sign = words.iter().position(|token| matches!(token, Token::Declare | Token::Assign));
        let Some(at) = sign else {
            return Ok(Pipeline { variables: Vec::new(), assigns: false, commands: self.commands(words)? });
        };
        let mut variables = Vec::new();
        for token in words.get(..at).unwrap_or(&[]) {
            match token {
                Token::Variable(name) => variables.push(name.clone()),
                Token::Space | Token::Comma => {}
                _ => return Err(TemplateError::Syntax("only variables can be assigned to".to_owned())),
            }
        }
        let assigns = words.get(at) == Some(&Token::Assign);
        let commands = self.commands(words.get(at + 1..).unwrap_or(&[]))?;
        match variables.iter().find(|name| assigns && !self.scope.contains(name)) {
            Some(unknown) => return Err(TemplateError::UndefinedVariable(unknown.clone())),
            None if assigns => {}
            None => self.scope.extend(variables.iter().cloned()),
        }
        Ok(Pipeline { variables, assigns, commands })
    }

    fn commands(&mut self, words: &[Token]) -> Result<Vec<Vec<Operand>>, TemplateError> {
        let mut commands = Vec::new();
        let mut depth = 0usize;
        let mut start = 0;
        for (at, token) in words.iter().enumerate() {
            match token {
                Token::Open => depth += 1,
                Token::Close => depth = depth.saturating_sub(1),
                Token::Pipe if depth == 0 => {
                    commands.push(self.command(words.get(start..at).unwrap_or(&[]))?);
                    start = at + 1;
                }
                _ => {}
            }
        }
        commands.push(self.command(words.get(start..).unwrap_or(&[]))?);
        Ok(commands)
    }

    fn command(&mut self, words: &[Token]) -> Result<Vec<Operand>, TemplateError> {
        let mut operands: Vec<Operand> = Vec::new();
        let mut at = 0;
        let mut after_space = true;
        while let Some(token) = words.get(at) {
            at += 1;
            let operand = match token {
                Token::Space => {
                    after_space = true;
                    continue;
                }
                Token::Field(name) if !after_space => {
                    let base = operands.pop().ok_or_else(|| TemplateError::Syntax("field of nothing".to_owned()))?;
                    operands.push(field_of(base, name));
                    continue;
                }
                Token::Field(name) => field_of(Operand::Dot, name),
                Token::Dot => Operand::Dot,
                Token::Variable(name) if self.scope.contains(name) => Operand::Variable(name.clone()),
                Token::Variable(name) => return Err(TemplateError::UndefinedVariable(name.clone())),
                Token::Text(text) => Operand::Text(text.clone()),
                Token::Int(value) => Operand::Int(*value),
                Token::Float(value) => Operand::Float(*value),
                Token::Word(word) => word_operand(word)?,
                Token::Open => {
                    let end = closing(words, at)?;
                    let inner = self.nested(words.get(at..end).unwrap_or(&[]))?;
                    at = end + 1;
                    Operand::Paren(Box::new(inner))
                }
                other => return Err(TemplateError::Syntax(format!("unexpected {other:?} in command"))),
            };
            operands.push(operand);
            after_space = false;
        }
        if operands.is_empty() {
            return Err(TemplateError::Syntax("missing value for command".to_owned()));
        }
        Ok(operands)
    }

    fn nested(&mut self, words: &[Token]) -> Result<Pipeline, TemplateError> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(TemplateError::TooDeep);
        }
        let inner = self.pipeline(words);
        self.depth -= 1;
        inner
    }
}

fn trimmed(words: &[Token]) -> &[Token] {
    match words {
        [Token::Space, rest @ ..] => trimmed(rest),
        [rest @ .., Token::Space] => trimmed(rest),
        other => other,
    }
}

fn closing(words: &[Token], from: usize) -> Result<usize, TemplateError> {
    let mut depth = 1usize;
    for (at, token) in words.iter().enumerate().skip(from) {
        match token {
            Token::Open => depth += 1,
            Token::Close => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return Ok(at);
        }
    }
    Err(TemplateError::Syntax("unclosed parenthesis".to_owned()))
}

fn field_of(base: Operand, name: &str) -> Operand {
    match base {
        Operand::Fields(base, mut names) => {
            names.push(name.to_owned());
            Operand::Fields(base, names)
        }
        other => Operand::Fields(Box::new(other), vec![name.to_owned()]),
    }
}

fn word_operand(word: &str) -> Result<Operand, TemplateError> {
    match word {
        "nil" => Ok(Operand::Nil),
        "true" => Ok(Operand::Bool(true)),
        "false" => Ok(Operand::Bool(false)),
        _ if functions::exists(word) => Ok(Operand::Function(word.to_owned())),
        _ => Err(TemplateError::UnknownFunction(word.to_owned())),
    }
}
