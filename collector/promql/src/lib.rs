//! PromQL: expressions and an engine over anything that is Select.
