//! The tree to text.

use std::sync::Arc;

use super::syntax::{Block, Node, Operand, Pipeline};
use super::value::Value;
use super::{MAX_OUTPUT_BYTES, TemplateData, TemplateError, functions};

pub(super) fn expand(nodes: &[Node], data: &TemplateData<'_>) -> Result<String, TemplateError> {
    let labels = Value::of_labels(data.labels);
    let external_labels = data.external_labels.iter().map(|(n, v)| (n.clone(), Value::Text(v.clone()))).collect();
    let external_labels = Value::Map(Arc::new(external_labels));
    let external_url = Value::Text(data.external_url.to_owned());
    let root = Value::of_map([
        ("Labels", labels.clone()),
        ("ExternalLabels", external_labels.clone()),
        ("ExternalURL", external_url.clone()),
        ("Value", Value::Float(data.value)),
    ]);
    let variables = vec![
        ("$".to_owned(), root.clone()),
        ("$labels".to_owned(), labels),
        ("$externalLabels".to_owned(), external_labels),
        ("$externalURL".to_owned(), external_url),
        ("$value".to_owned(), Value::Float(data.value)),
    ];
    let mut run = Run { data, variables, output: String::new() };
    run.nodes(nodes, &root)?;
    Ok(run.output)
}

/// Whether the loop around goes on.
#[derive(PartialEq)]
enum Flow {
    Next,
    Continue,
    Break,
}

struct Run<'a> {
    data: &'a TemplateData<'a>,
    variables: Vec<(String, Value)>,
    output: String,
}

impl Run<'_> {
    fn nodes(&mut self, nodes: &[Node], dot: &Value) -> Result<Flow, TemplateError> {
        for node in nodes {
            let flow = match node {
                Node::Text(text) => self.write(text)?,
                Node::Action(pipeline) => {
                    let value = self.pipeline(pipeline, dot)?;
                    if pipeline.variables.is_empty() { self.write(&value.print())? } else { Flow::Next }
                }
                Node::If(block) => self.condition(block, dot, false)?,
                Node::With(block) => self.condition(block, dot, true)?,
                Node::Range(block) => self.range(block, dot)?,
                Node::Break => Flow::Break,
                Node::Continue => Flow::Continue,
            };
            if flow != Flow::Next {
                return Ok(flow);
            }
        }
        Ok(Flow::Next)
    }

    fn write(&mut self, text: &str) -> Result<Flow, TemplateError> {
        if self.output.len() + text.len() > MAX_OUTPUT_BYTES {
            return Err(TemplateError::TooLong);
        }
        self.output.push_str(text);
        Ok(Flow::Next)
    }

    fn condition(&mut self, block: &Block, dot: &Value, moves_dot: bool) -> Result<Flow, TemplateError> {
        let outer = self.variables.len();
        let value = self.pipeline(&block.pipeline, dot)?;
        let flow = match (value.truth(), moves_dot) {
            (true, true) => self.nodes(&block.body, &value),
            (true, false) => self.nodes(&block.body, dot),
            (false, _) => self.nodes(&block.otherwise, dot),
        };
        self.variables.truncate(outer);
        flow
    }

    fn range(&mut self, block: &Block, dot: &Value) -> Result<Flow, TemplateError> {
        let outer = self.variables.len();
        // The variables of a range are its elements, not the whole.
        let over = self.commands(&block.pipeline, dot)?;
        let elements: Vec<(Value, Value)> = match &over {
            Value::Nil => Vec::new(),
            Value::List(list) => (0..).map(Value::Int).zip(list.iter().cloned()).collect(),
            Value::Map(map) => map.iter().map(|(name, value)| (Value::Text(name.clone()), value.clone())).collect(),
            Value::Int(count) => (0..*count).map(|i| (Value::Int(i), Value::Int(i))).collect(),
            other => return Err(TemplateError::Expansion(format!("range can't iterate over {}", other.kind()))),
        };
        if elements.is_empty() {
            let flow = self.nodes(&block.otherwise, dot);
            self.variables.truncate(outer);
            return flow;
        }
        for (key, value) in elements {
            match block.pipeline.variables.as_slice() {
                [] => {}
                [element] => self.variables.push((element.clone(), value.clone())),
                [index, element, ..] => {
                    self.variables.push((index.clone(), key));
                    self.variables.push((element.clone(), value.clone()));
                }
            }
            let flow = self.nodes(&block.body, &value)?;
            self.variables.truncate(outer);
            if flow == Flow::Break {
                break;
            }
        }
        Ok(Flow::Next)
    }

    fn pipeline(&mut self, pipeline: &Pipeline, dot: &Value) -> Result<Value, TemplateError> {
        let value = self.commands(pipeline, dot)?;
        for name in &pipeline.variables {
            let known = self.variables.iter_mut().rev().find(|(known, _)| known == name);
            match known {
                Some((_, held)) if pipeline.assigns => *held = value.clone(),
                _ => self.variables.push((name.clone(), value.clone())),
            }
        }
        Ok(value)
    }

    fn commands(&mut self, pipeline: &Pipeline, dot: &Value) -> Result<Value, TemplateError> {
        let mut piped = None;
        for command in &pipeline.commands {
            piped = Some(self.command(command, dot, piped)?);
        }
        Ok(piped.unwrap_or(Value::Nil))
    }

    fn command(&mut self, command: &[Operand], dot: &Value, piped: Option<Value>) -> Result<Value, TemplateError> {
        let (Some(first), rest) = (command.first(), command.get(1..).unwrap_or(&[])) else { return Ok(Value::Nil) };
        let Operand::Function(name) = first else {
            if !rest.is_empty() || piped.is_some() {
                return Err(TemplateError::Expansion("can't give argument to non-function".to_owned()));
            }
            return self.operand(first, dot);
        };
        if matches!(name.as_str(), "and" | "or") {
            return self.short_circuit(name == "and", rest, dot, piped);
        }
        let mut arguments = Vec::with_capacity(rest.len() + 1);
        for operand in rest {
            arguments.push(self.operand(operand, dot)?);
        }
        arguments.extend(piped);
        functions::call(name, &arguments, self.data)
    }

    /// `and` stops at the first false, `or` at the first true; what stopped them is the value.
    fn short_circuit(
        &mut self,
        all: bool,
        operands: &[Operand],
        dot: &Value,
        piped: Option<Value>,
    ) -> Result<Value, TemplateError> {
        let mut last = Value::Nil;
        for operand in operands {
            last = self.operand(operand, dot)?;
            if last.truth() != all {
                return Ok(last);
            }
        }
        Ok(piped.unwrap_or(last))
    }

    fn operand(&mut self, operand: &Operand, dot: &Value) -> Result<Value, TemplateError> {
        Ok(match operand {
            Operand::Dot => dot.clone(),
            Operand::Nil => Value::Nil,
            Operand::Bool(value) => Value::Bool(*value),
            Operand::Int(value) => Value::Int(*value),
            Operand::Float(value) => Value::Float(*value),
            Operand::Text(text) => Value::Text(text.clone()),
            Operand::Function(name) => functions::call(name, &[], self.data)?,
            Operand::Variable(name) => {
                let found = self.variables.iter().rev().find(|(known, _)| known == name);
                let (_, value) = found.ok_or_else(|| TemplateError::UndefinedVariable(name.clone()))?;
                value.clone()
            }
            Operand::Paren(pipeline) => self.pipeline(pipeline, dot)?,
            Operand::Fields(base, names) => {
                let mut value = self.operand(base, dot)?;
                for name in names {
                    value = value.field(name)?;
                }
                value
            }
        })
    }
}
