//! Log records: rows of the table, and what LogQL asks of them.

pub(crate) mod encode;
mod labels;
mod metric;
pub(crate) mod query;
pub(crate) mod row;
pub(crate) mod stream;

pub(crate) use encode::FORM;
