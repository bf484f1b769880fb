//! A script's commands.

use super::case::{Case, Kind};
use super::loading::{self, Load};

/// One command.
pub(crate) enum Command {
    Clear,
    Load(Result<Load, String>),
    Eval(Box<Case>),
}

/// The commands of a script with their line numbers.
pub(crate) fn parse(text: &str) -> Result<Vec<(usize, Command)>, String> {
    let without_comments = |line: &str| {
        let line = line.trim();
        if line.starts_with('#') { String::new() } else { line.to_owned() }
    };
    let lines: Vec<String> = text.lines().map(without_comments).collect();
    let mut commands = Vec::new();
    let mut at = 0;
    while let Some(line) = lines.get(at) {
        let number = at + 1;
        at += 1;
        let word = line.split_whitespace().next().unwrap_or("").to_ascii_lowercase();
        if word.is_empty() {
            continue;
        }
        let mut block = Vec::new();
        if word != "clear" {
            while let Some(next) = lines.get(at).filter(|next| !next.is_empty()) {
                block.push(next.as_str());
                at += 1;
            }
        }
        let command = match word.as_str() {
            "clear" => Command::Clear,
            word if word.starts_with("load") => Command::Load(loading::parse(line, word, &block)),
            word if word.starts_with("eval") => Command::Eval(Box::new(eval(line, word, &block, number)?)),
            _ => return Err(format!("line {number}: unknown command {line:?}")),
        };
        commands.push((number, command));
    }
    Ok(commands)
}

fn eval(line: &str, word: &str, block: &[&str], number: usize) -> Result<Case, String> {
    let rest = line[word.len()..].trim();
    let wrong = || format!("line {number}: cannot read {line:?}");
    let mut words = rest.splitn(2, char::is_whitespace);
    let (form, rest) = (words.next().ok_or_else(wrong)?, words.next().ok_or_else(wrong)?.trim());
    let next_word = |text: &str| -> Option<(String, String)> {
        let (first, rest) = text.split_once(char::is_whitespace)?;
        Some((first.to_owned(), rest.trim().to_owned()))
    };
    let (kind, query) = match form {
        "instant" => {
            let rest = rest.strip_prefix("at").ok_or_else(wrong)?.trim();
            let (at, query) = next_word(rest).ok_or_else(wrong)?;
            (Kind::Instant { at_ms: duration_ms(&at)? }, query)
        }
        "range" => {
            let mut times = [0i64; 3];
            let mut rest = rest.to_owned();
            for (slot, keyword) in times.iter_mut().zip(["from", "to", "step"]) {
                let after = rest.strip_prefix(keyword).ok_or_else(wrong)?.trim().to_owned();
                let (time, more) = next_word(&after).ok_or_else(wrong)?;
                *slot = duration_ms(&time)?;
                rest = more;
            }
            let [start_ms, end_ms, step_ms] = times;
            (Kind::Range { start_ms, end_ms, step_ms }, rest)
        }
        _ => return Err(wrong()),
    };
    Case::new(kind, query, word, block).map_err(|message| format!("line {number}: {message}"))
}

/// `1h30m`, or seconds.
pub(crate) fn duration_ms(text: &str) -> Result<i64, String> {
    if let Ok(seconds) = text.parse::<f64>() {
        return Ok((seconds * 1000.0).round() as i64);
    }
    let wrong = || format!("no duration: {text:?}");
    let (sign, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    let mut total = 0i64;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
        let number: i64 = rest[..digits].parse().map_err(|_| wrong())?;
        rest = &rest[digits..];
        let end = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        let unit = match &rest[..end] {
            "ms" => 1,
            "s" => 1000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            "w" => 7 * 86_400_000,
            "y" => 365 * 86_400_000,
            _ => return Err(wrong()),
        };
        total += number * unit;
        rest = &rest[end..];
    }
    Ok(sign * total)
}
